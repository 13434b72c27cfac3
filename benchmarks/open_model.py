"""A sender that keeps to its plan: so many requests a second, however slowly they are answered.

A client that sends its next request when the last one was answered slows down together with the service. Here each
request has its moment, and its time counts from that moment, also where no connection was free.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter

from benchmarks.contender import KEY, TOKEN, Contender, Place

CONNECTIONS = 64
"""More than ever wait at once where a contender keeps up."""

PATIENCE_S = 30.0
"""How long answers are waited for when the last request was sent."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Latency:
    """Of all requests of a plan, from the moment that each was meant for."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int


def offer(contender: Contender, place: Place, mark: str, seconds: float) -> Latency:
    """Send the contender's payload at its rate, over connections of its own."""
    requests = [_request(contender, f"{mark}-{n}") for n in range(int(contender.rate * seconds))]
    return asyncio.run(_offer(place.port, requests, contender.rate))


@dataclass(frozen=True, slots=True)
class _Planned:
    data: bytes
    due: float
    answered: Callable[[int, float], None]


async def _offer(port: int, requests: list[bytes], rate: float) -> Latency:
    loop = asyncio.get_running_loop()
    pool = _Pool()
    connections = [
        (await loop.create_connection(lambda: _Connection(pool), "127.0.0.1", port))[0] for _ in range(CONNECTIONS)
    ]
    answers: list[tuple[int, float]] = []
    all_came = asyncio.Event()

    def answered(status: int, latency_s: float) -> None:
        answers.append((status, latency_s))
        if len(answers) == len(requests):
            all_came.set()

    begun = perf_counter()
    for number, data in enumerate(requests):
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - perf_counter()))
        pool.send(_Planned(data, due, answered))
    try:
        await asyncio.wait_for(all_came.wait(), PATIENCE_S)
    finally:
        for transport in connections:
            transport.abort()
    return _summary(answers)


def _summary(answers: list[tuple[int, float]]) -> Latency:
    hundredths = quantiles((latency_s * 1000 for _, latency_s in answers), n=100)
    return Latency(
        p50_ms=hundredths[49],
        p99_ms=hundredths[98],
        max_ms=max(latency_s for _, latency_s in answers) * 1000,
        errors=sum(not 200 <= status < 300 for status, _ in answers),
    )


class _Pool:
    """Connections with one request at a time; what finds none free waits for one."""

    def __init__(self) -> None:
        self.free: deque[_Connection] = deque()
        self._waiting: deque[_Planned] = deque()

    def send(self, planned: _Planned) -> None:
        if self.free:
            self.free.popleft().send(planned)
        else:
            self._waiting.append(planned)

    def release(self, connection: "_Connection") -> None:
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self.free.append(connection)


class _Connection(asyncio.Protocol):
    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._planned: _Planned | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what the signature of asyncio leaves open
        self._transport = transport
        self._pool.free.append(self)

    def send(self, planned: _Planned) -> None:
        self._planned = planned
        self._transport.write(planned.data)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if _is_whole(self._received):
            self._end(int(self._received[9:12]))
            self._received = b""
            self._pool.release(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._end(0)

    def _end(self, status: int) -> None:
        planned, self._planned = self._planned, None
        if planned is not None:
            planned.answered(status, perf_counter() - planned.due)


def _is_whole(received: bytes) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if length is None:  # Chunked, as some frameworks answer.
        return bool(separator) and body.endswith(b"0\r\n\r\n")
    return bool(separator) and len(body) >= int(length[1])


def _request(contender: Contender, key: str) -> bytes:
    content = contender.payload.encode()
    head = (
        f"POST {contender.path} HTTP/1.1\r\nHost: benchmark\r\nContent-Type: application/json\r\nX-API-Key: {KEY}\r\n"
        f"X-Webhook-Token: {TOKEN}\r\nIdempotency-Key: {key}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
