"""A sender that keeps to its plan: so many requests a second, however slowly they are answered.

Real senders do not wait for each other. A client that sends its next request when the last one was answered slows
down together with the service, and measures a load that nobody offered. `offer` sends each request at its moment,
and counts its time from that moment, also where no connection was free. `saturate` is the other kind of load, to
find out how much a service can do.

Requests are bytes that are made before; an answer is not understood beyond what `Answer` tells. So the client
takes a small part of the processor that the service takes.
"""

import asyncio
import contextlib
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from urllib.parse import urlsplit

TICK_S = 0.002
"""How often the plan is looked at: what is due is sent together. A tenth of what is measured, or less."""

PATIENCE_S = 30.0
"""How long answers are waited for when the last request was sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request. The status is 0 when the connection ended before the answer."""

    number: int
    status: int
    latency_s: float
    execution_id: str | None
    retry_after: str | None


@dataclass(slots=True)
class _Sending:
    """A request, and the moment that it was meant for."""

    number: int
    data: bytes
    due: float
    answered: Callable[[Answer], None]


def post(path: str, body: object, **headers: str) -> bytes:
    """A request as it goes out; names of headers are written with underscores."""
    content = json.dumps(body, separators=(",", ":")).encode()
    named = {"host": "flowker", "content_type": "application/json", "content_length": str(len(content)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in named.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode() + content


class LoadClient:
    """Connections to one service, each with one request at a time; whoever finds none free waits for one."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = str(address.hostname), int(address.port or 80)
        self._open: set[_Connection] = set()
        self._free: deque[_Connection] = deque()
        self._waiting: deque[_Sending] = deque()

    async def connect(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(
                lambda: _Connection(self._release, self._lost), self._host, self._port
            )
            self._open.add(connection)
            self._free.append(connection)

    def close(self) -> None:
        for connection in self._open.copy():
            connection.close()

    def send(self, sending: _Sending) -> None:
        if self._free:
            self._free.popleft().send(sending)
        else:
            self._waiting.append(sending)

    async def offer(self, requests: Iterable[bytes], *, rate: float) -> list[Answer]:
        """The answers to these requests, of which so many are sent a second; in the order in which they came."""
        gathered = _Gathered()
        begun = perf_counter()
        for number, data in enumerate(requests):
            due = begun + number / rate
            if (ahead_s := due - perf_counter()) > 0:
                await asyncio.sleep(max(ahead_s, TICK_S))
            self.send(_Sending(number, data, due, gathered.add))
            gathered.sent += 1
        return await gathered.all()

    async def burst(self, requests: Sequence[bytes]) -> list[Answer]:
        """The answers to these requests, of which as many are under way at once as there are connections."""
        return await self.offer(requests, rate=math.inf)

    async def saturate(self, make: Callable[[int], bytes], *, seconds: float) -> list[Answer]:
        """The answers of so many seconds in which every connection sends again as soon as it was answered."""
        gathered = _Gathered()
        until = perf_counter() + seconds

        def send_next() -> None:
            number = gathered.sent
            gathered.sent += 1
            self.send(_Sending(number, make(number), perf_counter(), answered))

        def answered(answer: Answer) -> None:
            if perf_counter() < until:
                # Sent before this one is added: there must never seem to be nothing left to wait for.
                asyncio.get_running_loop().call_soon(send_next_unless_over)
            gathered.add(answer)

        def send_next_unless_over() -> None:
            if perf_counter() < until:
                send_next()

        for _ in range(len(self._free)):
            send_next()
        await asyncio.sleep(seconds)
        return await gathered.all()

    def _release(self, connection: "_Connection") -> None:
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._free.append(connection)

    def _lost(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._free.remove(connection)
        while not self._open and self._waiting:
            _answer(self._waiting.popleft(), 0)


@contextlib.asynccontextmanager
async def connected(url: str, count: int) -> AsyncIterator[LoadClient]:
    """A client with so many connections."""
    client = LoadClient(url)
    try:
        await client.connect(count)
        yield client
    finally:
        client.close()


@dataclass(slots=True)
class _Gathered:
    answers: list[Answer] = field(default_factory=list)
    sent: int = 0
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, answer: Answer) -> None:
        self.answers.append(answer)
        self._came.set()

    async def all(self) -> list[Answer]:
        while len(self.answers) < self.sent:
            self._came.clear()
            await asyncio.wait_for(self._came.wait(), PATIENCE_S)
        return self.answers


class _Connection(asyncio.Protocol):
    def __init__(self, release: Callable[["_Connection"], None], lost: Callable[["_Connection"], None]) -> None:
        self._release = release
        self._lost = lost
        self._sending: _Sending | None = None
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, sending: _Sending) -> None:
        assert self._transport is not None
        self._sending = sending
        self._transport.write(sending.data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._sending is None:
            return  # Unasked: the service says why it closes the connection.
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < int(_header(head, b"content-length") or 0):
            return
        self._received = b""
        self._finish(int(head[9:12]), head)
        self._release(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._lost(self)
        self._finish(0, b"")

    def _finish(self, status: int, head: bytes) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            _answer(sending, status, _header(head, b"x-webhook-execution-id"), _header(head, b"retry-after"))


def _answer(sending: _Sending, status: int, execution_id: str | None = None, retry_after: str | None = None) -> None:
    latency_s = perf_counter() - sending.due
    sending.answered(Answer(sending.number, status, latency_s, execution_id, retry_after))


def _header(head: bytes, name: bytes) -> str | None:
    """The service writes names of headers in lower case."""
    _, found, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0].decode() if found else None
