"""Names and redirects that change their mind: the address that is connected to is what counts, each time.

127.0.0.1 stands for the public internet here, which is all that is allowed; 127.0.0.2 is inside, with a listener on
the same port that sees whatever gets through.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from flowker.executors.client import Call, Caller, CallFailed, CallSucceeded
from flowker.executors.redirects import REDIRECTS_MAX

CallTo = Callable[..., Call]

PUBLIC, INSIDE = "127.0.0.1", "127.0.0.2"
REFUSED = CallFailed("address not allowed", retryable=False)
SECRET = "s3cret-of-the-far-side"
BEARER = {"auth": {"type": "bearer", "config": {"token": SECRET}}}


@dataclass
class Place:
    """What listens at one address: who connected, and the requests that came."""

    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Internet:
    """The same port at both addresses; `answers` are what the public side says, the last one for ever."""

    port: int = 0
    answers: list[bytes] = field(default_factory=lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"])
    public: Place = field(default_factory=Place)
    inside: Place = field(default_factory=Place)

    def url(self, host: str = "name.example") -> str:
        return f"http://{host}:{self.port}"

    def redirects_to(self, *locations: str) -> None:
        """Answer with these redirects, one after the other, and then with success."""
        redirects = [
            f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
            for location in locations
        ]
        self.answers = [*redirects, *self.answers]

    async def inside_saw_nothing(self) -> bool:
        """Connects inside: whoever came before was seen before."""
        _, writer = await asyncio.open_connection(INSIDE, self.port)
        writer.close()
        await writer.wait_closed()
        await self.inside.came.wait()
        return self.inside.connections == 1 and not self.inside.requests

    async def serve(self, place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place.connections += 1
        place.came.set()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                place.requests.append(head + body)
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def internet() -> AsyncIterator[Internet]:
    made = Internet()
    public = await asyncio.start_server(lambda *streams: made.serve(made.public, *streams), PUBLIC, 0)
    made.port = public.sockets[0].getsockname()[1]
    inside = await asyncio.start_server(lambda *streams: made.serve(made.inside, *streams), INSIDE, made.port)
    async with public, inside:
        yield made


class Resolver(AbstractResolver):
    """Names lead to these addresses: each look-up takes the next of them, and the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = chain(answers, repeat(answers[-1]))
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family or socket.AF_INET, proto=0, flags=0)
            for address in next(self._answers)
        ]

    async def close(self) -> None:
        """There is nothing to close."""


@asynccontextmanager
async def started(resolver: AbstractResolver, **more: Any) -> AsyncIterator[Caller]:
    caller = Caller(egress_allow=[f"{PUBLIC}/32"], resolver=resolver, **more)
    await caller.start()
    yield caller
    await caller.stop()


async def test_a_name_that_is_rebound_is_refused(internet: Internet, call_to: CallTo) -> None:
    """What was public when somebody looked is inside when the call is made."""
    resolver = Resolver([PUBLIC], [INSIDE])
    async with started(resolver) as caller:
        looked = await caller.resolve(URL(internet.url()))
        result = await caller.call(call_to(internet.url(), BEARER))

    assert looked == [PUBLIC]
    assert resolver.asked == ["name.example", "name.example"]
    assert result == REFUSED
    assert await internet.inside_saw_nothing()


async def test_a_name_that_is_rebound_between_calls_is_refused(internet: Internet, call_to: CallTo) -> None:
    """The first call went well; its connection is gone, and the name is looked up again."""
    internet.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"]
    resolver = Resolver([PUBLIC], [INSIDE])
    async with started(resolver) as caller:
        first = await caller.call(call_to(internet.url()))
        _forget_names(caller)
        second = await caller.call(call_to(internet.url(), BEARER))

    assert isinstance(first, CallSucceeded)
    assert second == REFUSED
    assert len(resolver.asked) == 2
    assert await internet.inside_saw_nothing()


async def test_a_connection_that_is_kept_goes_where_it_was_allowed(internet: Internet, call_to: CallTo) -> None:
    """A name that is rebound meanwhile does not move it; a new connection is judged anew."""
    async with started(Resolver([PUBLIC], [INSIDE])) as caller:
        first = await caller.call(call_to(internet.url()))
        _forget_names(caller)
        kept = await caller.call(call_to(internet.url()))
        connections = internet.public.connections
        together = await asyncio.gather(*[caller.call(call_to(internet.url())) for _ in range(2)])

    assert isinstance(first, CallSucceeded)
    assert isinstance(kept, CallSucceeded)
    assert connections == 1
    assert sorted(isinstance(result, CallSucceeded) for result in together) == [False, True]
    assert REFUSED in together
    assert await internet.inside_saw_nothing()


@pytest.mark.parametrize("spelling", ["name.example", "127.0.0.2", "0x7f.2"])
async def test_a_connection_that_is_kept_is_for_its_own_host(
    internet: Internet, call_to: CallTo, spelling: str
) -> None:
    """Whatever another host has in common with it, port and address of the far side too."""
    async with started(Resolver([INSIDE])) as caller:
        allowed = await caller.call(call_to(internet.url(PUBLIC)))
        refused = await caller.call(call_to(internet.url(spelling)))

    assert isinstance(allowed, CallSucceeded)
    assert refused == REFUSED
    assert await internet.inside_saw_nothing()


@pytest.mark.parametrize(
    "addresses",
    [
        [INSIDE, PUBLIC],
        [PUBLIC, INSIDE],
        ["10.0.0.1", "169.254.169.254", INSIDE, PUBLIC, "192.168.0.1"],
        ["0.0.0.0", "127.0.0.3", PUBLIC],  # noqa: S104 - nothing is bound
    ],
    ids="-".join,
)
async def test_of_several_addresses_only_allowed_ones_are_connected_to(
    internet: Internet, call_to: CallTo, addresses: list[str]
) -> None:
    """In whatever order the name has them."""
    async with started(Resolver(addresses)) as caller:
        results = [await caller.call(call_to(internet.url())) for _ in range(3)]

    assert all(isinstance(result, CallSucceeded) for result in results)
    assert await internet.inside_saw_nothing()


async def test_an_address_that_does_not_answer_opens_no_way_to_another(internet: Internet, call_to: CallTo) -> None:
    """The allowed one is tried, fails, and the refused ones stay refused."""
    with socket.socket() as unused:
        unused.bind((PUBLIC, 0))
        port = unused.getsockname()[1]
    inside = await asyncio.start_server(lambda *streams: internet.serve(internet.inside, *streams), INSIDE, port)
    async with inside, started(Resolver([PUBLIC, INSIDE, "10.0.0.1"])) as caller:
        result = await caller.call(call_to(f"http://name.example:{port}"))

        assert isinstance(result, CallFailed)
        assert result.message in {"no connection to the far side", "address not allowed"}
        assert await internet.inside_saw_nothing()


async def test_a_chain_of_redirects_is_followed_to_its_limit(internet: Internet, call_to: CallTo) -> None:
    """Five hops and no more; each with the body and the key of the call."""
    internet.redirects_to(*(f"/hop/{number}" for number in range(1, REDIRECTS_MAX + 1)))
    config = {**BEARER, "allow_redirects": True}
    async with started(Resolver([PUBLIC])) as caller:
        result = await caller.call(call_to(internet.url(PUBLIC), config, input={"amount": 1}))

    assert isinstance(result, CallSucceeded)
    assert result.output["url"] == f"{internet.url(PUBLIC)}/hop/{REDIRECTS_MAX}"
    assert len(internet.public.requests) == 1 + REDIRECTS_MAX
    assert len({_header(request, b"Idempotency-Key") for request in internet.public.requests}) == 1
    assert all(request.endswith(b'{"amount":1}') for request in internet.public.requests)
    assert all(SECRET.encode() in request for request in internet.public.requests)


async def test_a_chain_that_is_longer_is_given_up(internet: Internet, call_to: CallTo) -> None:
    """Nobody walks through it to the end."""
    internet.redirects_to(*(f"/hop/{number}" for number in range(REDIRECTS_MAX + 1)))
    async with started(Resolver([PUBLIC])) as caller:
        result = await caller.call(call_to(internet.url(PUBLIC), {"allow_redirects": True}))

    assert result == CallFailed("the far side redirects more than 5 times", retryable=False)
    assert len(internet.public.requests) == 1 + REDIRECTS_MAX


@pytest.mark.parametrize("hops", range(REDIRECTS_MAX))
async def test_every_hop_of_a_chain_is_checked(internet: Internet, call_to: CallTo, hops: int) -> None:
    """Also the one after some that were allowed, by address or by a name that leads inside."""
    way_in = internet.url(INSIDE) if hops % 2 else internet.url("inside.example")
    internet.redirects_to(*(f"/hop/{number}" for number in range(hops)), f"{way_in}/secret")
    async with started(Resolver([INSIDE])) as caller:
        result = await caller.call(call_to(internet.url(PUBLIC), {**BEARER, "allow_redirects": True}))

    assert result == REFUSED
    assert len(internet.public.requests) == 1 + hops
    assert await internet.inside_saw_nothing()


async def test_credentials_do_not_come_back_on_a_way_round(internet: Internet, call_to: CallTo) -> None:
    """Once the origin has changed, nobody gets them: not the other origin, and not the first one again."""
    config = {**BEARER, "allow_redirects": True, "headers": {"X-Tenant": "t1"}}
    internet.redirects_to("/same", f"{internet.url('other.example')}/there", f"{internet.url(PUBLIC)}/back")
    async with started(Resolver([PUBLIC])) as caller:
        result = await caller.call(call_to(internet.url(PUBLIC), config, input={"headers": {"X-A": "b"}}))

    told = [
        (SECRET.encode() in request, _header(request, b"X-Tenant"), _header(request, b"X-A"))
        for request in internet.public.requests
    ]
    assert isinstance(result, CallSucceeded)
    assert told == [(True, b"t1", b"b"), (True, b"t1", b"b"), (False, b"", b""), (False, b"", b"")]


async def test_a_redirect_from_https_to_http_is_refused(internet: Internet, call_to: CallTo) -> None:
    """Nothing of the call is sent in clear, not even to the same host."""
    identity = Path(__file__).parent / "untrusted.pem"
    serves, trusts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=identity)
    serves.load_cert_chain(identity)
    trusts.check_hostname = False
    internet.redirects_to(f"{internet.url(PUBLIC)}/in-clear")
    secure = await asyncio.start_server(lambda *streams: internet.serve(Place(), *streams), PUBLIC, 0, ssl=serves)
    async with secure, started(Resolver([PUBLIC]), tls=trusts) as caller:
        url = f"https://{PUBLIC}:{secure.sockets[0].getsockname()[1]}"
        result = await caller.call(call_to(url, {**BEARER, "allow_redirects": True}))

    assert result == CallFailed("the far side redirects from https to http", retryable=False)
    assert internet.public.connections == 0


def _forget_names(caller: Caller) -> None:
    """As when the seconds are over for which aiohttp remembers what a name resolved to."""
    assert caller._session is not None
    assert isinstance(caller._session.connector, TCPConnector)
    caller._session.connector.clear_dns_cache()


def _header(request: bytes, name: bytes) -> bytes:
    return request.partition(b"\r\n" + name + b": ")[2].partition(b"\r\n")[0]
