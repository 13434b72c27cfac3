"""Tokens of an issuer on a real socket: found, asked for, kept, shared, replaced, and bounded."""

import asyncio
import base64
import gzip
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs

import pytest
from aiohttp import ClientSession, TCPConnector, web
from aiohttp.test_utils import TestServer

from flowker.executors.authentication import Grant
from flowker.executors.calls import Call, CallFailed, CallSucceeded
from flowker.executors.client import Caller
from flowker.executors.oidc import ANSWER_BYTES_MAX, TOKENS_MAX, Tokens, _Kept

SECRET = "s3cret of/the:client"
CallTo = Callable[..., Call]


class FarSide(Protocol):
    url: str
    received: list[Any]
    answer: Any

    def answers(self, **response: Any) -> None: ...


@dataclass
class Clock:
    """Turned by hand."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Issuer:
    """Gives out numbered tokens and remembers what it was asked; a test changes what it says."""

    far_side: FarSide
    metadata: dict[str, Any] = field(default_factory=dict)
    token: dict[str, Any] = field(default_factory=lambda: {"token_type": "Bearer", "expires_in": 300})
    given: int = 0
    delay: asyncio.Event | None = None
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.far_side.url}/realms/a"

    @property
    def asked(self) -> list[Any]:
        return [received for received in self.far_side.received if received.method == "POST"]

    async def answer(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"issuer": self.url, "token_endpoint": f"{self.url}/token", **self.metadata})
        self.was_asked.set()
        if self.delay is not None:
            await self.delay.wait()
        self.given += 1
        return web.json_response({"access_token": f"t0ken-{self.given}", **self.token})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def turned_caller(clock: Clock) -> AsyncIterator[Caller]:
    started = Caller(egress_allow=["127.0.0.0/8"], monotonic=clock)
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as opened:
        yield opened


@pytest.fixture
def issuer(elsewhere: FarSide) -> Issuer:
    issuer = Issuer(elsewhere)
    elsewhere.answer = issuer.answer
    return issuer


def client_of(issuer_url: str, **members: Any) -> dict[str, Any]:
    config = {"issuer_url": issuer_url, "client_id": "flowker/1", "client_secret": SECRET, **members}
    return {"auth": {"type": "oidc_client_credentials", "config": config}}


def grant_of(issuer: Issuer, **members: Any) -> Grant:
    return Grant(**{"issuer_url": issuer.url, "client_id": "flowker", "client_secret": SECRET, **members})


async def test_a_call_has_a_token(turned_caller: Caller, far_side: FarSide, issuer: Issuer, call_to: CallTo) -> None:
    """Found through discovery, asked for with the client's secret, sent to the far side only."""
    call = call_to(far_side.url, client_of(issuer.url, scopes=["ledger:read", "ledger:write"], audience="ledger"))

    result = await turned_caller.call(call)

    assert isinstance(result, CallSucceeded)
    assert far_side.received[0].headers["authorization"] == "Bearer t0ken-1"
    discovery, asked = issuer.far_side.received
    assert discovery.path == "/realms/a/.well-known/openid-configuration"
    assert "authorization" not in discovery.headers
    assert (asked.method, asked.path) == ("POST", "/realms/a/token")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["ledger:read ledger:write"],
        "audience": ["ledger"],
    }
    basic = base64.b64decode(asked.headers["authorization"].removeprefix("Basic "))
    assert basic == b"flowker%2F1:s3cret+of%2Fthe%3Aclient"


async def test_a_secret_can_be_sent_in_the_form(session: ClientSession, issuer: Issuer) -> None:
    """When the issuer takes it nowhere else."""
    issuer.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"]}

    await Tokens().get(session, grant_of(issuer))

    (asked,) = issuer.asked
    assert "authorization" not in asked.headers
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["flowker"],
        "client_secret": [SECRET],
    }


@pytest.mark.parametrize("supported", [None, "client_secret_post", ["client_secret_post", "client_secret_basic"]])
async def test_a_secret_is_sent_in_the_header_otherwise(
    session: ClientSession, issuer: Issuer, supported: Any
) -> None:
    """The default of the specification, also for an issuer that says nothing that makes sense."""
    issuer.metadata = {"token_endpoint_auth_methods_supported": supported}

    await Tokens().get(session, grant_of(issuer))

    (asked,) = issuer.asked
    assert asked.headers["authorization"].startswith("Basic ")
    assert b"secret" not in asked.body


@pytest.mark.parametrize("secret", [None, SECRET])
async def test_a_user_has_a_token(session: ClientSession, issuer: Issuer, secret: str | None) -> None:
    """By name and password, through a client that may be public."""
    grant = grant_of(issuer, client_secret=secret, username="mé", password="p&ss")

    assert await Tokens().get(session, grant) == "t0ken-1"

    (asked,) = issuer.asked
    form = parse_qs(asked.body.decode())
    assert form.pop("client_id", ["none"]) == (["flowker"] if secret is None else ["none"])
    assert form == {"grant_type": ["password"], "username": ["mé"], "password": ["p&ss"]}
    assert ("authorization" in asked.headers) == (secret is not None)


@pytest.mark.parametrize(
    ("expires_in", "kept_s"),
    [(300, 270), ("300", 270), (40, 20), (None, 30), ("soon", 30), (10**9, 86_370), (10**400, 30), (0.2, 0.1)],
)
async def test_a_token_is_kept_until_shortly_before_it_expires(
    session: ClientSession, issuer: Issuer, clock: Clock, expires_in: Any, kept_s: float
) -> None:
    """Half a minute, or half its life; a minute where the issuer does not say, a day at most."""
    issuer.token = {"expires_in": expires_in}
    tokens, grant = Tokens(clock), grant_of(issuer)
    await tokens.get(session, grant)

    clock.now_s += kept_s - 0.01
    before = await tokens.get(session, grant)
    clock.now_s += 0.02
    after = await tokens.get(session, grant)

    assert [before, after] == ["t0ken-1", "t0ken-2"]


@pytest.mark.parametrize("expires_in", [0, -5])
async def test_a_token_that_does_not_last_is_used_once(
    session: ClientSession, issuer: Issuer, clock: Clock, expires_in: int
) -> None:
    """By the calls that waited for it."""
    issuer.token = {"expires_in": expires_in}
    tokens = Tokens(clock)

    assert [await tokens.get(session, grant_of(issuer)) for _ in range(2)] == ["t0ken-1", "t0ken-2"]


async def test_grants_have_tokens_of_their_own(session: ClientSession, issuer: Issuer, clock: Clock) -> None:
    """One with another scope or a new secret is another one."""
    tokens = Tokens(clock)
    grants = [grant_of(issuer), grant_of(issuer, scopes=("a",)), grant_of(issuer, client_secret="new")]

    first = [await tokens.get(session, grant) for grant in grants]
    second = [await tokens.get(session, grant) for grant in grants]

    assert first == second == ["t0ken-1", "t0ken-2", "t0ken-3"]


async def test_not_every_token_is_kept(session: ClientSession, issuer: Issuer, clock: Clock) -> None:
    """The oldest one goes when there are too many."""
    tokens = Tokens(clock)
    tokens._kept.update({grant_of(issuer, client_id=str(n)): _Kept(str(n), clock.now_s) for n in range(TOKENS_MAX)})

    await tokens.get(session, grant_of(issuer))

    assert len(tokens._kept) == TOKENS_MAX
    assert grant_of(issuer, client_id="0") not in tokens._kept
    assert grant_of(issuer) in tokens._kept


async def test_a_token_is_fetched_once_for_many_calls(
    turned_caller: Caller, far_side: FarSide, issuer: Issuer, call_to: CallTo
) -> None:
    """Fifty at once, and fifty later."""
    call = call_to(far_side.url, client_of(issuer.url))

    for _ in range(2):
        results = await asyncio.gather(*(turned_caller.call(call) for _ in range(50)))
        assert all(isinstance(result, CallSucceeded) for result in results)

    assert {received.headers["authorization"] for received in far_side.received} == {"Bearer t0ken-1"}
    assert len(far_side.received) == 100
    assert len(issuer.far_side.received) == 2


async def test_a_refused_token_is_replaced_once_for_many_calls(
    turned_caller: Caller, far_side: FarSide, issuer: Issuer, call_to: CallTo
) -> None:
    """The issuer may have withdrawn it before its time."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers["Authorization"] == "Bearer t0ken-2" else 401)

    far_side.answer = answer
    call = call_to(far_side.url, client_of(issuer.url), input={"amount": "1"})

    results = await asyncio.gather(*(turned_caller.call(call) for _ in range(50)))

    assert all(isinstance(result, CallSucceeded) for result in results)
    assert issuer.given == 2
    assert {received.body for received in far_side.received} == {b'{"amount":"1"}'}


async def test_a_call_that_is_refused_twice_has_failed(
    turned_caller: Caller, far_side: FarSide, issuer: Issuer, call_to: CallTo
) -> None:
    """With what the far side says about it, without the tokens."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=401, text=f"{request.headers['Authorization']} {SECRET}")

    far_side.answer = answer

    result = await turned_caller.call(call_to(far_side.url, client_of(issuer.url)))

    assert isinstance(result, CallFailed)
    assert not result.retryable
    assert result.output is not None
    assert result.output["body"] == "Bearer ******** ********"
    assert len(far_side.received) == issuer.given == 2


async def test_a_token_that_cannot_be_replaced_fails_the_call(
    turned_caller: Caller, far_side: FarSide, issuer: Issuer, call_to: CallTo
) -> None:
    """By what the issuer says, since that is what has to be repaired."""
    far_side.answers(status=401)
    call = call_to(far_side.url, client_of(issuer.url))
    await turned_caller.call(call)
    issuer.metadata = {"issuer": "https://other.example.com"}

    result = await turned_caller.call(call)

    assert result == CallFailed("the configuration of the issuer is that of another issuer", retryable=False)


async def test_a_token_does_not_cross_origins(
    turned_caller: Caller, far_side: FarSide, issuer: Issuer, call_to: CallTo
) -> None:
    """A far side that redirects to somewhere else does not give it away, not even to the issuer."""
    far_side.answers(status=307, headers={"Location": f"{issuer.far_side.url}/elsewhere"})
    call = call_to(far_side.url, {**client_of(issuer.url), "allow_redirects": True}, method="GET")

    result = await turned_caller.call(call)

    assert isinstance(result, CallSucceeded)
    redirected = issuer.far_side.received[-1]
    assert redirected.path == "/elsewhere"
    assert "authorization" not in redirected.headers


async def test_another_issuer_is_not_asked(session: ClientSession, issuer: Issuer) -> None:
    """Its configuration could lead the secret anywhere; a slash at the end makes no other issuer."""
    issuer.metadata = {"issuer": f"{issuer.url}/"}
    alike = await Tokens().get(session, grant_of(issuer))
    for name in ("https://id.example.com", f"{issuer.url}/b", None, 5):
        issuer.metadata = {"issuer": name}

        refused = await Tokens().get(session, grant_of(issuer))

        assert refused == CallFailed("the configuration of the issuer is that of another issuer", retryable=False)
    assert alike == "t0ken-1"
    assert issuer.given == 1


@pytest.mark.parametrize("endpoint", [None, 5, "", "token", "ftp://id.example.com", "https://me:pass@id.example.com"])
async def test_a_token_endpoint_that_is_none_is_refused(
    session: ClientSession, issuer: Issuer, endpoint: Any
) -> None:
    """Before a secret goes there."""
    issuer.metadata = {"token_endpoint": endpoint}

    result = await Tokens().get(session, grant_of(issuer))

    assert isinstance(result, CallFailed)
    assert not result.retryable
    assert issuer.given == 0


async def test_a_secret_is_not_sent_without_tls(issuer: Issuer) -> None:
    """By an issuer that has TLS itself: somebody else may have written its configuration."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Path(__file__).parent / "untrusted.pem")
    application = web.Application()
    application.router.add_get("/.well-known/openid-configuration", issuer.answer)
    server = TestServer(application, scheme="https")
    await server.start_server(ssl=tls)
    url = str(server.make_url("")).rstrip("/")
    issuer.metadata = {"issuer": url}

    async with ClientSession(connector=TCPConnector(ssl=False)) as trusting:
        result = await Tokens().get(trusting, Grant(url, "flowker", SECRET))
    await server.close()

    assert result == CallFailed("the issuer wants the secret sent without TLS", retryable=False)
    assert issuer.given == 0


@pytest.mark.parametrize("supported", [[], ["private_key_jwt", 5]])
async def test_an_issuer_that_takes_no_secret_is_refused(
    session: ClientSession, issuer: Issuer, supported: Any
) -> None:
    """Rather than sent one in a way that it did not ask for."""
    issuer.metadata = {"token_endpoint_auth_methods_supported": supported}

    result = await Tokens().get(session, grant_of(issuer))

    assert result == CallFailed("the issuer takes no client secret", retryable=False)
    assert issuer.given == 0


@pytest.mark.parametrize(
    "token",
    [
        {"access_token": ""},
        {"access_token": None},
        {"access_token": "a b"},
        {"access_token": "a\r\nX-A: b"},
        {"token_type": "DPoP"},
        {"token_type": None},
    ],
)
async def test_a_token_that_cannot_be_sent_is_refused(
    session: ClientSession, issuer: Issuer, token: dict[str, Any]
) -> None:
    """It is none that `Authorization: Bearer` could hold."""
    issuer.token = token

    result = await Tokens().get(session, grant_of(issuer))

    assert isinstance(result, CallFailed)
    assert not result.retryable


@pytest.mark.parametrize(
    ("response", "message", "retryable"),
    [
        ({"status": 401, "text": '{"error":"invalid_client"}'}, "answered 401 (invalid_client)", False),
        ({"status": 400, "text": f'{{"error":"{SECRET}"}}'}, "answered 400", False),
        ({"status": 400, "text": '{"error":5}'}, "answered 400", False),
        ({"status": 302, "headers": {"Location": "/"}}, "answered 302", False),
        ({"status": 503, "headers": {"Retry-After": "7"}}, "answered 503", True),
        ({"status": 429}, "answered 429", True),
        ({"text": "[]"}, "is not a JSON object", False),
        ({"text": "no JSON"}, "is not a JSON object", False),
        ({"body": b" " * (ANSWER_BYTES_MAX + 1)}, f"is larger than {ANSWER_BYTES_MAX} bytes", False),
        (
            {"body": gzip.compress(b" " * 10_000_000), "headers": {"Content-Encoding": "gzip"}},
            f"is larger than {ANSWER_BYTES_MAX} bytes",
            False,
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_that_is_no_success_fails(
    session: ClientSession, issuer: Issuer, response: dict[str, Any], message: str, retryable: bool, method: str
) -> None:
    """Of discovery and of the token endpoint, within bounds, and with nothing repeated that may be a secret."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(**response) if request.method == method else await issuer.answer(request)

    issuer.far_side.answer = answer

    result = await Tokens().get(session, grant_of(issuer))

    assert isinstance(result, CallFailed)
    assert result.message.endswith(message)
    assert result.retryable is retryable
    assert result.retry_after_s == (7 if response.get("status") == 503 else None)


async def test_a_failure_is_not_kept(session: ClientSession, issuer: Issuer) -> None:
    """The next attempt asks again."""
    tokens = Tokens()
    issuer.token = {"access_token": ""}
    await tokens.get(session, grant_of(issuer))
    issuer.token = {}

    assert await tokens.get(session, grant_of(issuer)) == "t0ken-2"


async def test_an_issuer_is_not_asked_where_calls_may_not_go(issuer: Issuer, call_to: CallTo) -> None:
    """The rule is that of the far side: here nothing is allowed beside the public internet."""
    strict = Caller()
    await strict.start()

    result = await strict.call(call_to("https://example.com", client_of(issuer.url)))
    await strict.stop()

    assert result == CallFailed("address not allowed", retryable=False)
    assert issuer.far_side.received == []


async def test_an_issuer_that_is_not_there_can_be_there_later(session: ClientSession) -> None:
    """Nobody listens on this port."""
    result = await Tokens().get(session, Grant("http://127.0.0.1:1", "flowker", SECRET))

    assert result == CallFailed("no connection to the issuer", retryable=True)


@pytest.mark.parametrize("issuer_url", ["id.example.com", "ftp://id.example.com", "https://["])
async def test_an_issuer_that_is_no_url_is_refused(session: ClientSession, issuer_url: str) -> None:
    """For what got past the schema."""
    result = await Tokens().get(session, Grant(issuer_url, "flowker", SECRET))

    assert isinstance(result, CallFailed)
    assert not result.retryable


async def test_a_slow_issuer_is_given_up(session: ClientSession, issuer: Issuer) -> None:
    """After a time for discovery and token together."""
    issuer.delay = asyncio.Event()

    result = await Tokens(timeout_s=0.05).get(session, grant_of(issuer))

    assert result == CallFailed("the issuer gave no token within 0.05 s", retryable=True)


async def test_a_call_that_gives_up_leaves_the_fetch_to_the_others(
    turned_caller: Caller, far_side: FarSide, issuer: Issuer, call_to: CallTo
) -> None:
    """Its time includes that for the token."""
    issuer.delay = asyncio.Event()
    call = call_to(far_side.url, client_of(issuer.url))
    others = [asyncio.create_task(turned_caller.call(call)) for _ in range(3)]

    others[0].cancel()
    await asyncio.wait(others[:1])
    hurried = await turned_caller.call(call_to(far_side.url, client_of(issuer.url), timeout_s=1))
    issuer.delay.set()
    results = await asyncio.gather(*others[1:])

    assert hurried == CallFailed("there was no complete response within 1 s", retryable=True)
    assert all(isinstance(result, CallSucceeded) for result in results)
    assert issuer.given == 1


async def test_stopping_gives_up_what_is_being_fetched(session: ClientSession, issuer: Issuer) -> None:
    """Whoever waits for it is told, and nothing goes on in the background."""
    issuer.delay = asyncio.Event()
    tokens = Tokens()
    waiting = asyncio.create_task(tokens.get(session, grant_of(issuer)))
    await issuer.was_asked.wait()

    await tokens.stop()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert tokens._fetches == {}
