"""The protocol below the seam, behind a real uvicorn with little patience: what clients may send, and put off."""

import asyncio
import contextlib
import gc
import json
import re
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
import uvicorn
from uvicorn.server import ServerState

from flowker.http.connections import Connections, Limits
from flowker.http.protocol import HEAD_BYTES_MAX, PIPELINED_MAX, BoundedProtocol, connections_of
from tests.unit.http.servers import Server

PATIENCE_S = 10.0
IDLE_S = 1
GET = b"GET /here HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /here HTTP/1.1\r\nHost: x\r\n"


class _Hurried(BoundedProtocol):
    limits = Limits(head_s=0.3, body_s=0.3, bytes_per_s=100_000_000, close_s=0.2, look_every_s=0.02)


@dataclass
class App:
    """Reads a body and tells what it was asked; what it may not answer yet waits."""

    asked: list[str] = field(default_factory=list)
    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    abandoned: int = 0
    answer: bytes = b"{}"
    cycles: "weakref.WeakSet[Any]" = field(default_factory=weakref.WeakSet)
    """What uvicorn has of each request and its answer, as long as anything holds it."""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        self.cycles.add(receive.__self__)
        await self.may_read.wait()
        if scope["path"] != "/unread":
            message = await receive()
            while message.get("more_body"):
                message = await receive()
            if message["type"] == "http.disconnect":
                self.abandoned += 1
                return
        self.headers = scope["headers"]
        await self.may_answer.wait()
        length = (b"content-length", b"%d" % len(self.answer))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": self.answer})


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def read(self) -> bytes:
        """All that comes until the service closes."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while chunk := await asyncio.wait_for(self.reader.read(65_536), PATIENCE_S):
                received += chunk
        return received

    async def read_answer(self) -> bytes:
        """What comes first."""
        return await asyncio.wait_for(self.reader.read(65_536), PATIENCE_S)


Connect = Callable[[], Awaitable[Client]]


@pytest.fixture
def app() -> App:
    made = App()
    made.may_read.set()
    made.may_answer.set()
    return made


@pytest.fixture
async def server(app: App) -> AsyncIterator[Server]:
    options = {"http": _Hurried, "loop": "none", "ws": "none", "lifespan": "off", "log_config": None}
    options["timeout_keep_alive"] = IDLE_S
    config = uvicorn.Config(app, port=0, access_log=False, limit_concurrency=3, **options)  # type: ignore[arg-type]
    server = Server(config)
    running = asyncio.create_task(server.serve())
    await server.listening.wait()
    yield server
    app.may_read.set()
    app.may_answer.set()
    server.should_exit = True
    await running


@pytest.fixture
async def connect(server: Server) -> AsyncIterator[Connect]:
    clients: list[Client] = []

    async def connect() -> Client:
        port = server.servers[0].sockets[0].getsockname()[1]
        clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
        return clients[-1]

    yield connect
    for client in clients:
        client.writer.close()
        with contextlib.suppress(ConnectionError):
            await client.writer.wait_closed()


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", received)]


def refusal(received: bytes) -> Any:
    """The last answer, which has to be in the one shape, and to be the last."""
    head, _, body = received.rpartition(b"\r\n\r\n")
    assert b"\r\ncontent-type: application/json\r\n" in head
    assert head.endswith(b"\r\nconnection: close")
    value = json.loads(body)
    assert value.keys() == {"code", "title", "message"}
    return value


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what uvicorn does it tells nobody
            await asyncio.sleep(0.01)


async def test_headers_that_take_too_long_are_answered_with_408(app: App, connect: Connect) -> None:
    """From their first byte on: bytes that drip in do not help."""
    client = await connect()

    await client.send(GET[:20])
    received = await client.read()

    assert statuses(received) == [408]
    assert refusal(received)["code"] == "FLK-0408"
    assert app.asked == []


async def test_a_connection_without_a_request_is_closed_without_an_answer(connect: Connect) -> None:
    """An answer could be taken for that of a request which is just being sent."""
    silent, empty_lines = await connect(), await connect()

    await empty_lines.send(b"\r\n")

    assert await silent.read() == b""
    assert statuses(await empty_lines.read()) in ([], [408])


async def test_a_body_that_takes_too_long_is_answered_with_408(app: App, connect: Connect) -> None:
    """Whoever waits for the body hears that nobody is there any more."""
    client = await connect()

    await client.send(POST + b"Content-Length: 10\r\n\r\n{")
    received = await client.read()

    assert statuses(received) == [408]
    assert refusal(received)["code"] == "FLK-0408"
    assert app.abandoned == 1


async def test_a_client_that_waits_to_be_asked_for_its_body_has_time(app: App, connect: Connect) -> None:
    """Until it is asked: then its time begins."""
    app.may_read.clear()
    quick, slow = await connect(), await connect()
    for client in (quick, slow):
        await client.send(POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    await asyncio.sleep(3 * _Hurried.limits.body_s)

    app.may_read.set()
    asked = [await client.read_answer() for client in (quick, slow)]
    await quick.send(b"{}")
    received = [await client.read() for client in (quick, slow)]

    assert [statuses(answer) for answer in asked] == [[100], [100]]
    assert [statuses(answer) for answer in received] == [[200], [408]]


async def test_a_body_whose_answer_was_given_already_is_only_cut(connect: Connect) -> None:
    """A second answer would belong to no request."""
    client = await connect()

    await client.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")

    assert statuses(await client.read()) == [200]


async def test_a_slow_body_behind_another_request_waits_for_its_answer(app: App, connect: Connect) -> None:
    """Answers have the order of their requests, refusals too."""
    app.may_answer.clear()
    client = await connect()

    await client.send(GET + POST + b"Content-Length: 10\r\n\r\n{")
    await asyncio.sleep(0.5)
    app.may_answer.set()

    assert statuses(await client.read()) == [200, 408]
    assert app.asked == ["/here"]


async def test_what_is_no_http_is_answered_with_400_in_the_one_shape(connect: Connect) -> None:
    client = await connect()

    await client.send(b"\x16\x03\x01\x00\xa5")
    received = await client.read()

    assert statuses(received) == [400]
    assert refusal(received)["code"] == "FLK-0001"


async def test_what_is_no_http_behind_a_request_is_answered_after_it(app: App, connect: Connect) -> None:
    app.may_answer.clear()
    client = await connect()

    await client.send(GET + b"nonsense\r\n\r\n")
    await asyncio.sleep(0.05)
    app.may_answer.set()

    assert statuses(await client.read()) == [200, 400]


async def test_a_body_that_breaks_off_in_nonsense_is_answered_with_400(app: App, connect: Connect) -> None:
    client = await connect()

    await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n")

    assert statuses(await client.read()) == [400]
    assert app.abandoned == 1


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/0.9\r\nHost: x\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST / RTSP/1.0\r\nHost: x\r\n\r\n",
        b"SOURCE / ICE/1.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"GET ftp://x/y HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_others_may_understand_in_another_way_is_refused(app: App, connect: Connect, data: bytes) -> None:
    """The parser takes all of these. One byte at a time they are the same."""
    at_once, in_pieces = await connect(), await connect()

    await at_once.send(data)
    for byte in data:
        await in_pieces.send(bytes([byte]))
        await asyncio.sleep(0)

    assert statuses(await at_once.read()) == [400]
    assert statuses(await in_pieces.read()) == [400]
    assert app.asked == []


async def test_an_older_client_is_served(connect: Connect) -> None:
    """HTTP/1.0 has no Host."""
    client = await connect()

    await client.send(b"GET /here HTTP/1.0\r\n\r\n")

    assert statuses(await client.read()) == [200]


async def test_a_head_without_an_end_is_refused(app: App, connect: Connect) -> None:
    """Before the application could count its headers."""
    client = await connect()

    await client.send(GET[:-2])
    await asyncio.sleep(0.05)
    for _ in range(2 * HEAD_BYTES_MAX // 10_000):
        await client.send(b"x-more: %s\r\n" % (b"x" * 10_000))
    received = await client.read()

    assert statuses(received) == [400]
    assert app.asked == []


async def test_a_request_behind_a_large_body_is_none_with_a_large_head(app: App, connect: Connect) -> None:
    """Its head begins somewhere in the piece that the body ends in."""
    client = await connect()
    body = b"x" * 60_000

    await client.send(POST + b"Content-Length: 60000\r\n\r\n" + body + LAST[:20])
    await client.send(LAST[20:])

    assert statuses(await client.read()) == [200, 200]
    assert app.asked == ["/here", "/last"]


async def test_trailers_do_not_become_headers(app: App, connect: Connect) -> None:
    """They come when the request is being answered already, by its headers."""
    client = await connect()

    await client.send(
        POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n"
    )

    assert statuses(await client.read()) == [200]
    assert b"x-late" not in dict(app.headers)


async def test_so_many_pipelined_requests_are_answered_and_no_more(app: App, connect: Connect) -> None:
    app.may_answer.clear()
    client = await connect()

    await client.send(GET * 100)
    await asyncio.sleep(0.05)
    app.may_answer.set()

    assert statuses(await client.read()) == [200] * (PIPELINED_MAX + 1) + [400]
    assert len(app.asked) == PIPELINED_MAX + 1


async def test_what_follows_the_last_request_is_not_asked(app: App, connect: Connect) -> None:
    client = await connect()

    await client.send(LAST + GET)

    assert statuses(await client.read()) == [200]
    assert app.asked == ["/last"]


async def test_a_client_that_wants_another_protocol_is_answered_in_this_one(app: App, connect: Connect) -> None:
    """And what follows is not read as if it had become that protocol, or not."""
    client = await connect()

    await client.send(GET[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
    await client.send(GET)

    assert statuses(await client.read()) == [200]
    assert app.asked == ["/here"]


async def test_the_rest_of_a_refused_body_is_skipped_up_to_a_bound(app: App, connect: Connect) -> None:
    client = await connect()

    await client.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
    await client.send(b"x" * 2_000_000 + GET)

    assert statuses(await client.read()) == [200]
    assert app.asked == ["/unread"]


async def test_a_connection_is_idle_after_a_body_that_came_behind_its_answer(connect: Connect) -> None:
    """Like any other it is closed after a while, and takes requests until then."""
    idle, busy = await connect(), await connect()
    answers = []
    for client in (idle, busy):
        await client.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        answers.append(await client.read_answer())
        await client.send(b"x" * 10)

    await busy.send(GET)
    received = await busy.read()

    assert [statuses(answer) for answer in answers] == [[200], [200]]
    assert statuses(received) == [200]
    assert await idle.read() == b""


async def test_a_request_behind_a_late_body_is_no_idle_connection(app: App, connect: Connect) -> None:
    """It may take longer to answer than a connection may be idle."""
    client = await connect()
    await client.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    await client.reader.readuntil(b"{}")
    app.may_answer.clear()

    await client.send(b"12345" + LAST)
    await until(lambda: app.asked == ["/unread", "/last"])
    await asyncio.sleep(IDLE_S + 0.5)
    app.may_answer.set()
    received = await client.read()

    assert statuses(received) == [200]


async def test_a_client_that_does_not_read_its_answer_is_cut(app: App, server: Server, connect: Connect) -> None:
    """What nobody reads is not kept."""
    app.answer = b"x" * 30_000_000
    client = await connect()
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]

    await client.send(GET)
    await until(lambda: not server.server_state.connections)

    assert app.asked == ["/here"]


async def test_connections_beyond_the_bound_are_refused_with_500(app: App, connect: Connect) -> None:
    """While all others are being served; and there is room again when one of them ends."""
    app.may_answer.clear()
    busy = [await connect() for _ in range(3)]
    for client in busy:
        await client.send(LAST)
    await until(lambda: len(app.asked) == len(busy))

    received = await (await connect()).read()
    app.may_answer.set()
    for client in busy:
        await client.read()
    later = await connect()
    await later.send(LAST)

    assert statuses(received) == [500]
    assert b"\r\nretry-after: 1\r\n" in received
    assert refusal(received)["code"] == "FLK-9999"
    assert statuses(await later.read()) == [200]


async def test_cut_clients_are_one_line_in_the_log(connect: Connect) -> None:
    """However many there are in ten seconds."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(20):
            client = await connect()
            await client.send(b"nonsense\r\n\r\n")
            await client.read()
        await asyncio.sleep(0.1)

    assert [line["event"] for line in lines] == ["clients cut off"]
    assert lines[0]["malformed"] >= 1


async def test_a_draining_server_answers_everybody_for_the_last_time(
    app: App, server: Server, connect: Connect
) -> None:
    """What is being answered, and what comes later: both hear that their connection ends."""
    app.may_answer.clear()
    busy, idle = await connect(), await connect()
    await busy.send(GET)
    await until(lambda: len(app.asked) == 1)

    connections_of(server.server_state, asyncio.get_running_loop()).drain()
    await idle.send(GET)
    await until(lambda: len(app.asked) == 2)
    app.may_answer.set()

    for client in (busy, idle):
        received = await client.read()
        assert statuses(received) == [200]
        assert b"\r\nconnection: close\r\n" in received


async def test_a_server_that_closes_closes_who_is_idle_and_lets_a_request_arrive(
    app: App, server: Server, connect: Connect
) -> None:
    """Half a head and half a body are requests already."""
    idle, in_head, in_body = await connect(), await connect(), await connect()
    await in_head.send(GET[:20])
    await in_body.send(POST + b"Content-Length: 2\r\n\r\n{")
    await until(lambda: len(app.asked) == 1)

    for connection in tuple(server.server_state.connections):
        connection.shutdown()
    nothing = await idle.read()
    await in_head.send(GET[20:])
    await in_body.send(b"}")

    assert nothing == b""
    assert [statuses(await client.read()) for client in (in_head, in_body)] == [[200], [200]]


async def test_a_server_that_closes_lets_a_body_arrive_that_was_answered_before(
    server: Server, connect: Connect
) -> None:
    """Then nothing more is wanted of its client."""
    client = await connect()
    await client.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
    answer = await client.read_answer()
    [connection] = server.server_state.connections
    assert isinstance(connection, BoundedProtocol)
    connection.timeout_keep_alive = 600

    connection.shutdown()
    is_open = not connection.transport.is_closing()
    await client.send(b"x" * 10)

    assert statuses(answer) == [200]
    assert is_open
    assert await client.read() == b""


class _Idle:
    """A connection that has asked for nothing since then."""

    def __init__(self, since: float | None) -> None:
        self.waits_since = since
        self.gave_way = False

    def look(self, now: float) -> None:
        pass

    def drain(self) -> None:
        pass

    def give_way(self) -> None:
        self.gave_way = True


async def test_the_connection_that_waits_longest_gives_way() -> None:
    """Not one that is being served, whatever that takes, and not one that has only just come."""
    loop = asyncio.get_running_loop()
    busy, old, older, new = (_Idle(since) for since in (None, loop.time() - 5, loop.time() - 9, loop.time()))

    made = [Connections(found, loop, 1.0).make_room() for found in ([busy, old, older, new], [busy, new], [busy])]

    assert made == [True, False, False]
    assert [one.gave_way for one in (busy, old, older, new)] == [False, False, True, False]


def test_what_uvicorn_is_asked_for_is_still_there() -> None:
    """The protocol touches what uvicorn does not document: an update that changes it has to be noticed."""
    members = {"pipeline", "flow", "cycle", "parser", "connections", "limit_concurrency", "ws_protocol_class"}
    config = uvicorn.Config(App(), http=BoundedProtocol, lifespan="off", log_config=None)
    loop = asyncio.new_event_loop()

    protocol = BoundedProtocol(config, ServerState(), {}, loop)
    loop.close()

    assert members <= vars(protocol).keys()


async def test_a_request_that_was_answered_is_no_garbage_to_be_looked_for(app: App, connect: Connect) -> None:
    """What is in no circle is gone with the next request; the collector would have to look for it."""
    client = await connect()
    gc.disable()
    try:
        for _ in range(5):
            await client.send(GET)
            await client.read_answer()
        held = len(app.cycles)
    finally:
        gc.enable()

    assert len(app.asked) == 5
    assert held == 1
