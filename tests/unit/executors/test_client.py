"""Calls over real sockets: what is sent, what comes back, what is refused, and that nothing is ever raised."""

import asyncio
import gzip
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowker.executors.client import Call, Caller, CallFailed, CallSucceeded
from tests.unit.executors.conftest import EXECUTION_ID

CallTo = Callable[..., Call]
SECRET = "s3cret-of-the-far-side"
BEARER = {"auth": {"type": "bearer", "config": {"token": SECRET}}}


class FarSide(Protocol):
    url: str
    received: list[Any]
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None

    def answers(self, **response: Any) -> None: ...


@asynccontextmanager
async def raw_far_side(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[int, list[int]]]:
    """A server for answers that are not proper HTTP: its port, and a list with an entry for every connection."""
    connections: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, host, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], connections


async def says_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    await writer.drain()


class Threads(ThreadPoolExecutor):
    """Counts what it is asked for."""

    asked = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return super().submit(*args, **kwargs)


@pytest.mark.parametrize(("characters", "asked"), [(1_000, 0), (20_000, 1)])
async def test_a_large_body_is_read_beside_the_event_loop(
    caller: Caller, far_side: FarSide, call_to: CallTo, characters: int, asked: int
) -> None:
    """The others do not wait for it."""
    threads = Threads(1)
    asyncio.get_running_loop().set_default_executor(threads)
    far_side.answers(text=f'{{"text": "{"x" * characters}"}}', content_type="application/json")

    result = await caller.call(call_to(far_side.url))

    assert (result.output or {})["body"] == {"text": "x" * characters}
    assert threads.asked == asked


async def test_a_call_arrives_as_it_was_prepared(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """Method, path, query, headers, credentials and an exact body."""
    call = call_to(
        f"{far_side.url}/v1",
        BEARER,
        method="PUT",
        path="/orders/a%2Fb c",
        input={"query": {"x": ["1", 2]}, "headers": {"X-A": "é"}, "amount": Decimal("100.10")},
    )

    result = await caller.call(call)

    (received,) = far_side.received
    assert isinstance(result, CallSucceeded)
    assert (received.method, received.path) == ("PUT", "/v1/orders/a%2Fb%20c?x=1&x=2")
    assert received.body == b'{"amount":100.10}'
    assert received.headers["authorization"] == f"Bearer {SECRET}"
    assert received.headers["idempotency-key"] == f"{EXECUTION_ID}:n1"
    assert received.headers["x-a"] == "é"
    assert "cookie" not in received.headers


async def test_an_api_key_in_the_query_is_sent_and_not_told(
    caller: Caller, far_side: FarSide, call_to: CallTo
) -> None:
    """The envelope has the URL without it."""
    auth = {"type": "api_key", "config": {"key": "k&y=", "header": "key", "location": "query"}}
    result = await caller.call(call_to(far_side.url, {"auth": auth}, path="a", input={"query": {"x": "%"}}))
    await caller.call(call_to(far_side.url, {"auth": auth}, path="a"))

    assert isinstance(result, CallSucceeded)
    assert [received.path for received in far_side.received] == ["/a?x=%25&key=k%26y%3D", "/a?key=k%26y%3D"]
    assert result.output["url"] == f"{far_side.url}/a?x=%25"


async def test_json_comes_back_exact(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """In the envelope that the next node sees."""
    far_side.answers(
        status=201,
        body=b'{"amount":100.10,"big":12345678901234567890}',
        headers={"Content-Type": "application/vnd.api+json; charset=utf-8", "X-Many": "1"},
    )

    result = await caller.call(call_to(far_side.url, path="x"))

    assert isinstance(result, CallSucceeded)
    assert result.output["status"] == 201
    assert result.output["status_text"] == "Created"
    assert result.output["url"] == f"{far_side.url}/x"
    assert result.output["headers"]["x-many"] == "1"
    assert result.output["body"] == {"amount": Decimal("100.10"), "big": 12345678901234567890}
    assert str(result.output["body"]["amount"]) == "100.10"


@pytest.mark.parametrize(
    ("content_type", "body", "understood"),
    [
        ("application/json", b"", None),
        ("application/json", b"[1]", [1]),
        ("application/problem+json; charset=utf-8", b"[1]", [1]),
        ("Model/gltf+JSON", b"[1]", [1]),
        ("application/json", b"{broken", "{broken"),
        ("application/json", b'{"a":1,"a":2}', '{"a":1,"a":2}'),
        ("application/json", b"NaN", "NaN"),
        ("text/plain", b"[1]", "[1]"),
        ("text/plain; charset=iso-8859-1", b"\xe9", "é"),
        ("text/plain; charset=idna", b"\xc3\xa9", "é"),
        ("text/plain; charset=nonsense", b"\xc3\xa9", "é"),
        ("text/plain", b"\xff", "\ufffd"),
        ("text/plain; charset=utf-16", b"\xff\xfe\x00\xd8a\x00", "\ufffda"),
        ("application/octet-stream", b"\x00\xff", "\x00\ufffd"),
        ("application/jsonx", b"[1]", "[1]"),
        ("application/+json", b"[1]", "[1]"),
        ("text/json", b"[1]", "[1]"),
    ],
)
async def test_a_body_is_json_when_it_says_so_and_is(
    caller: Caller, far_side: FarSide, call_to: CallTo, content_type: str, body: bytes, understood: Any
) -> None:
    """Everything else is text, in a charset of the web, and always valid Unicode."""
    far_side.answers(body=body, headers={"Content-Type": content_type})

    result = await caller.call(call_to(far_side.url))

    assert isinstance(result, CallSucceeded)
    assert result.output["body"] == understood


async def test_cookies_are_neither_kept_nor_told(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """Two executions never share a session; other repeated headers are joined."""

    async def answer(_: web.Request) -> web.Response:
        response = web.Response()
        response.set_cookie("session", "1")
        response.headers.extend([("X-Many", "1"), ("X-Many", "2")])
        return response

    far_side.answer = answer
    result = await caller.call(call_to(far_side.url))
    await caller.call(call_to(far_side.url))

    assert isinstance(result, CallSucceeded)
    assert result.output["headers"]["x-many"] == "1, 2"
    assert "set-cookie" not in result.output["headers"]
    assert "cookie" not in far_side.received[1].headers


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (302, False),
        (400, False),
        (401, False),
        (404, False),
        (409, False),
        (422, False),
        (408, True),
        (425, True),
        (429, True),
        (500, True),
        (502, True),
        (503, True),
        (599, True),
    ],
)
async def test_an_error_status_fails_the_call(
    caller: Caller, far_side: FarSide, call_to: CallTo, status: int, retryable: bool
) -> None:
    """And says whether the same call can succeed later."""
    far_side.answers(status=status, body=b'{"why":1}', headers={"Content-Type": "application/json"})

    result = await caller.call(call_to(far_side.url))

    assert isinstance(result, CallFailed)
    assert result.retryable is retryable
    assert result.message.startswith(f"the far side answered {status}")
    assert result.output is not None
    assert result.output["status"] == status
    assert result.output["body"] == {"why": 1}


async def test_a_node_can_say_which_statuses_are_success(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """Then they are, and no others."""
    far_side.answers(status=404)
    wanted = await caller.call(call_to(far_side.url, success_status_codes=frozenset({404})))
    far_side.answers(status=200)
    unwanted = await caller.call(call_to(far_side.url, success_status_codes=frozenset({404})))

    assert isinstance(wanted, CallSucceeded)
    assert isinstance(unwanted, CallFailed)
    assert not unwanted.retryable


@pytest.mark.parametrize(
    ("headers", "retry_after_s"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "9" * 30}, 86_400),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 -0000", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2026 07:27:00 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT", "Date": "nonsense"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "1.5"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_understood(
    caller: Caller, far_side: FarSide, call_to: CallTo, headers: dict[str, str], retry_after_s: float | None
) -> None:
    """Seconds, or a date seen from the far side's own clock."""
    far_side.answers(status=503, headers=headers)

    result = await caller.call(call_to(far_side.url))

    assert isinstance(result, CallFailed)
    assert result.retry_after_s == retry_after_s


async def test_an_error_keeps_four_kilobytes_without_secrets(
    caller: Caller, far_side: FarSide, call_to: CallTo
) -> None:
    """Also when the far side repeats what it was sent, and where the cut would hide half of a secret."""
    body = f"you sent {SECRET} " + "x" * 4080 + SECRET
    far_side.answers(status=400, body=body.encode(), headers={"X-Echo": f"Bearer {SECRET}"})

    result = await caller.call(call_to(far_side.url, BEARER))

    assert isinstance(result, CallFailed)
    assert result.output is not None
    assert result.output["body"].startswith("you sent ******** xxx")
    assert len(result.output["body"]) == 4096
    assert result.output["headers"]["x-echo"] == "Bearer ********"
    assert "s3cret" not in repr(result)


@pytest.mark.parametrize("status", [200, 400])
async def test_a_body_that_is_understood_has_no_secrets(
    caller: Caller, far_side: FarSide, call_to: CallTo, status: int
) -> None:
    """In texts and names at any depth, also where JSON spells a character otherwise; what is no text stays."""
    escaped = f"\\u{ord(SECRET[0]):04x}{SECRET[1:]}"
    body = f'{{"sent": ["Bearer {SECRET}", {{"{SECRET}": "{escaped}", "limit": 1.50, "more": null}}]}}'
    far_side.answers(status=status, body=body.encode(), content_type="application/json")

    result = await caller.call(call_to(far_side.url, BEARER))

    assert result.output is not None
    assert result.output["body"] == {
        "sent": ["Bearer ********", {"********": "********", "limit": Decimal("1.50"), "more": None}]
    }


async def test_a_text_body_has_no_secrets(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """In whatever charset it comes."""
    far_side.answers(body=f"you sent {SECRET}".encode("utf-16"), content_type="text/plain", charset="utf-16")

    result = await caller.call(call_to(far_side.url, BEARER))

    assert isinstance(result, CallSucceeded)
    assert result.output["body"] == "you sent ********"


async def test_digits_of_a_secret_do_not_change_a_number(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """Masked, it would be no JSON any more."""
    far_side.answers(body=b'{"amount": 123456, "sent": "123456"}', content_type="application/json")

    result = await caller.call(call_to(far_side.url, {"auth": {"type": "bearer", "config": {"token": "123456"}}}))

    assert isinstance(result, CallSucceeded)
    assert result.output["body"] == {"amount": 123456, "sent": "********"}


async def test_a_response_over_a_megabyte_fails_the_call(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """Exactly a megabyte is taken."""
    far_side.answers(body=b"x" * 1_048_576)
    largest = await caller.call(call_to(far_side.url))
    far_side.answers(body=b"x" * 1_048_577)
    larger = await caller.call(call_to(far_side.url))

    assert isinstance(largest, CallSucceeded)
    assert len(largest.output["body"]) == 1_048_576
    assert isinstance(larger, CallFailed)
    assert larger.message == "the response is larger than 1048576 bytes"
    assert not larger.retryable


async def test_the_bound_counts_what_is_decompressed(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """A small bomb is not blown up, a compressed answer is read."""
    far_side.answers(body=gzip.compress(b"x" * 200_000_000), headers={"Content-Encoding": "gzip"})
    started = time.perf_counter()
    bomb = await caller.call(call_to(far_side.url))
    took_s = time.perf_counter() - started
    far_side.answers(body=gzip.compress(b"hello"), headers={"Content-Encoding": "gzip"})
    small = await caller.call(call_to(far_side.url))
    far_side.answers(body=b"not gzip", headers={"Content-Encoding": "gzip"})
    broken = await caller.call(call_to(far_side.url))

    assert isinstance(bomb, CallFailed)
    assert "larger" in bomb.message
    assert took_s < 5
    assert isinstance(small, CallSucceeded)
    assert small.output["body"] == "hello"
    assert broken == CallFailed("the response is broken or incomplete", retryable=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
async def test_an_answer_that_breaks_off_can_be_retried(caller: Caller, call_to: CallTo, answer: bytes) -> None:
    """The call may or may not have had its effect: the idempotency key is for that."""

    async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with raw_far_side(breaks_off) as (port, _):
        result = await caller.call(call_to(f"http://127.0.0.1:{port}"))

    assert isinstance(result, CallFailed)
    assert result.retryable
    assert result.message in {"the response is broken or incomplete", "the connection to the far side was lost"}


async def test_no_listener_can_be_retried(caller: Caller, call_to: CallTo) -> None:
    """It may come up."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    result = await caller.call(call_to(f"http://127.0.0.1:{port}"))

    assert result == CallFailed("no connection to the far side", retryable=True)


async def test_a_far_side_that_does_not_accept_is_left_in_time(call_to: CallTo) -> None:
    """Connecting has a bound of its own, so that a dead address does not take the time of the whole call."""
    caller = Caller(egress_allow=["127.0.0.0/8"], connect_timeout_s=0.2)
    await caller.start()
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for taken in (first, second):  # what the listener has no room for gets no answer at all
            taken.setblocking(False)
            taken.connect_ex(full.getsockname())
        result = await caller.call(call_to(f"http://127.0.0.1:{full.getsockname()[1]}"))
    await caller.stop()

    assert result == CallFailed("no connection to the far side", retryable=True)


async def test_a_name_that_does_not_resolve_can_be_retried(caller: Caller, call_to: CallTo) -> None:
    """Name servers have bad days."""
    result = await caller.call(call_to("http://far-side.invalid"))

    assert result == CallFailed("the host name of the far side does not resolve", retryable=True)


async def test_a_certificate_that_is_not_trusted_fails_at_once(caller: Caller, call_to: CallTo) -> None:
    """Nothing is sent to whoever it is."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(__file__).parent / "untrusted.pem")
    async with raw_far_side(says_hello, tls=context) as (port, connections):
        result = await caller.call(call_to(f"https://localhost:{port}", BEARER))

    assert result == CallFailed("the certificate of the far side is not valid", retryable=False)
    assert connections == []


async def test_a_far_side_that_stays_silent_is_left_in_time(caller: Caller, call_to: CallTo) -> None:
    """The timeout counts for the call as a whole, also while an answer drips."""

    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with raw_far_side(drips) as (port, _):
        started = time.perf_counter()
        result = await caller.call(call_to(f"http://127.0.0.1:{port}", timeout_s=1))
        took_s = time.perf_counter() - started

    assert result == CallFailed("there was no complete response within 1 s", retryable=True)
    assert 0.9 < took_s < 3


async def test_a_call_can_be_cancelled(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """That is the one thing that is raised, and the far side sees that nobody waits for its answer."""
    arrived, left = asyncio.Event(), asyncio.Event()

    async def waits(_: web.Request) -> web.Response:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return web.Response()

    far_side.answer = waits
    task = asyncio.create_task(caller.call(call_to(far_side.url)))
    await arrived.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(left.wait(), 5)


@pytest.mark.parametrize(
    ("listening", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:{}"),
        ("127.0.0.1", "http://localhost:{}"),
        ("127.0.0.1", "http://127.1:{}"),
        ("127.0.0.1", "http://2130706433:{}"),
        ("127.0.0.1", "http://0x7f.0.0.1:{}"),
        ("127.0.0.1", "http://0.0.0.0:{}"),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]:{}"),
        ("127.0.0.1", "http://[::ffff:7f00:1]:{}"),
        ("127.0.0.1", "http://①②⑦.0.0.1:{}"),
        ("::1", "http://[::1]:{}"),
        ("::1", "http://[0:0:0:0:0:0:0:1]:{}"),
    ],
)
async def test_nothing_arrives_at_an_address_that_is_not_allowed(call_to: CallTo, listening: str, url: str) -> None:
    """However the address is written: a listener proves it, and the message does not show the address."""
    caller = Caller()
    await caller.start()
    async with raw_far_side(says_hello, listening) as (port, connections):
        result = await caller.call(call_to(url.format(port)))
        await asyncio.sleep(0)
    await caller.stop()

    assert connections == []
    assert isinstance(result, CallFailed)
    assert result.message in {
        "address not allowed",
        "the URL is not valid",
        "the configuration has no valid base_url",
    }
    assert not result.retryable


async def test_the_proxies_of_the_environment_are_ignored(
    caller: Caller, far_side: FarSide, call_to: CallTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would connect where we would not."""
    async with raw_far_side(says_hello) as (port, connections):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        result = await caller.call(call_to(far_side.url))

    assert isinstance(result, CallSucceeded)
    assert connections == []


async def test_redirects_are_off(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """A redirect is an answer like any other."""
    far_side.answers(status=307, headers={"Location": "/elsewhere"})

    result = await caller.call(call_to(far_side.url))

    assert isinstance(result, CallFailed)
    assert result.message == "the far side answered 307 Temporary Redirect"
    assert len(far_side.received) == 1


async def test_a_redirect_is_followed_where_it_is_allowed(
    caller: Caller, far_side: FarSide, elsewhere: FarSide, call_to: CallTo
) -> None:
    """To another origin without credentials and without the headers of configuration and input."""
    far_side.answers(status=308, headers={"Location": f"{elsewhere.url}/there?x=1"})
    elsewhere.answers(text="hello")
    config = {**BEARER, "allow_redirects": True, "headers": {"X-Tenant": "t1"}}

    result = await caller.call(call_to(far_side.url, config, input={"headers": {"X-A": "b"}, "amount": 1}))

    (received,) = elsewhere.received
    assert isinstance(result, CallSucceeded)
    assert result.output["url"] == f"{elsewhere.url}/there?x=1"
    assert result.output["body"] == "hello"
    assert (received.method, received.path, received.body) == ("POST", "/there?x=1", b'{"amount":1}')
    assert not {"authorization", "x-tenant", "x-a"} & received.headers.keys()
    assert received.headers["idempotency-key"] == f"{EXECUTION_ID}:n1"
    assert far_side.received[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_a_redirect_to_an_address_that_is_not_allowed_is_not_followed(
    caller: Caller, far_side: FarSide, call_to: CallTo
) -> None:
    """Each hop is checked where it connects."""
    async with raw_far_side(says_hello, "::1") as (port, connections):
        far_side.answers(status=302, headers={"Location": f"http://[::1]:{port}/"})
        result = await caller.call(call_to(far_side.url, {"allow_redirects": True}))

    assert result == CallFailed("address not allowed", retryable=False)
    assert connections == []


async def test_redirects_end_after_five(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """A circle is not walked for ever; a redirect that leads nowhere is an answer."""
    far_side.answers(status=302, headers={"Location": "/again"})
    circle = await caller.call(call_to(far_side.url, {"allow_redirects": True}))
    far_side.answers(status=302)
    nowhere = await caller.call(call_to(far_side.url, {"allow_redirects": True}))

    assert circle == CallFailed("the far side redirects more than 5 times", retryable=False)
    assert len(far_side.received) == 1 + 5 + 1
    assert isinstance(nowhere, CallFailed)
    assert nowhere.message == "the far side answered 302 Found"


async def test_connections_are_kept_and_shared(caller: Caller, call_to: CallTo) -> None:
    """Ten calls, one connection."""

    async def keeps(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()

    async with raw_far_side(keeps) as (port, connections):
        results = [await caller.call(call_to(f"http://127.0.0.1:{port}")) for _ in range(10)]
        await caller.stop()

    assert all(isinstance(result, CallSucceeded) for result in results)
    assert connections == [1]


async def test_a_call_costs_less_than_a_few_milliseconds(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """A loose bound against something that blocks; benchmarks measure."""
    await caller.call(call_to(far_side.url))
    started = time.thread_time()
    for _ in range(50):
        await caller.call(call_to(far_side.url))

    assert time.thread_time() - started < 1


async def test_what_cannot_be_called_fails_at_once(caller: Caller, far_side: FarSide, call_to: CallTo) -> None:
    """An unknown executor, a configuration of another provider, an authentication without its secret."""
    call = call_to(far_side.url)
    bearer = {"auth": {"type": "bearer", "config": {}}}

    results = [
        await caller.call(replace(call, executor_id="nope")),
        await caller.call(replace(call, configuration=replace(call.configuration, provider_id="tracer"))),
        await caller.call(call_to(far_side.url, bearer)),
    ]

    assert results == [
        CallFailed("the executor is not in the catalog", retryable=False),
        CallFailed("the provider configuration belongs to another provider", retryable=False),
        CallFailed("the token of the authentication is missing or not valid", retryable=False),
    ]
    assert far_side.received == []


async def test_a_caller_that_was_stopped_calls_nobody(far_side: FarSide, call_to: CallTo) -> None:
    """Stopping twice is the same as once."""
    caller = Caller(egress_allow=["127.0.0.0/8"])
    before = await caller.call(call_to(far_side.url))
    await caller.start()
    await caller.stop()
    await caller.stop()
    after = await caller.call(call_to(far_side.url))

    assert before == after == CallFailed("Flowker is not connected", retryable=True)
    assert far_side.received == []


async def test_a_mistake_of_ours_is_a_failed_call_too(
    caller: Caller, call_to: CallTo, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logged with its place and whose it was, and without its message, which could show a secret."""

    class Broken(dict[str, Any]):
        def get(self, *_: object) -> Any:
            raise LookupError(SECRET)

    call = call_to("http://127.0.0.1")
    result = await caller.call(replace(call, configuration=replace(call.configuration, config=Broken())))

    logged = capsys.readouterr().out
    assert result == CallFailed("the call failed inside of Flowker", retryable=False)
    assert "LookupError" in logged
    assert f"execution_id={call.execution_id} node_id={call.node_id}" in re.sub(r"\x1b\[[0-9;]*m", "", logged)
    assert SECRET not in logged


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=20),
    st.dictionaries(st.sampled_from(["query", "headers", "a"]), json_values),
    st.dictionaries(st.sampled_from(["auth", "headers", "timeout_seconds", "allow_redirects"]), json_values),
)
async def test_no_input_and_no_configuration_makes_a_call_raise(
    call_to: CallTo, path: str, input_: dict[str, Any], config: dict[str, Any]
) -> None:
    """Everything is a result, and what is refused is not our mistake."""
    caller = Caller()
    await caller.start()
    result = await caller.call(call_to("http://127.0.0.1:9", config, path=path, input=input_, timeout_s=1))
    await caller.stop()

    assert isinstance(result, CallFailed)
    assert result.message != "the call failed inside of Flowker"
