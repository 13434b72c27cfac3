"""Clients that mean no good, on raw sockets, and the steady one that must not notice them."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

KEY = "reliability-key"
PATH = "/v1/webhooks/hostile"
BODY_BYTES_MAX = 1_048_576
CLOSED_WITHIN_S = 60.0
"""How long any connection may take to be answered and closed: what it may take to arrive, and a large body's turn."""

DRIPS_EVERY_S = 0.5

ROOT = Path(__file__).resolve().parents[2]


def head(length: int | None = None, *headers: str, path: str = PATH) -> bytes:
    """A delivery of a known length, without its body; on a connection that is closed afterwards."""
    lengths = [] if length is None else [f"Content-Length: {length}"]
    known = [f"POST {path} HTTP/1.1", "Host: flowker", f"X-API-Key: {KEY}", "Content-Type: application/json"]
    lines = [*known, *lengths, *headers]
    return "\r\n".join([*lines, "Connection: close", "\r\n"]).encode("latin-1")


@dataclass
class SteadyClient:
    """Delivers on one connection of its own, whatever else happens to the service."""

    url: str
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    connections: int = 0

    def p99_ms(self) -> float:
        ranked = sorted(self.latencies_s)
        return round(ranked[int(len(ranked) * 0.99)] * 1000, 1)

    @contextlib.contextmanager
    def delivering(self) -> Iterator[None]:
        command = [sys.executable, "-m", "tests.reliability.steady_client", self.url + PATH, KEY]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
            yield
            seen = json.loads(client.communicate()[0])
        self.latencies_s, self.connections = seen["latencies_s"], seen["connections"]
        self.statuses = Counter(seen["statuses"])


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def exchange(url: str, data: bytes, *, drip: bytes = b"", ends: bool = False) -> list[Reply]:
    """Send the data, then a byte now and again or no more at all, until the service closes the connection.

    Fails if it never does.
    """
    async with connected(url) as (reader, writer):
        sending = asyncio.create_task(_send(writer, data, drip, ends=ends))
        try:
            async with asyncio.timeout(CLOSED_WITHIN_S):
                received = await _read(reader)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return replies(received)


async def _send(writer: asyncio.StreamWriter, data: bytes, drip: bytes, *, ends: bool) -> None:
    with contextlib.suppress(OSError):
        writer.write(data)
        await writer.drain()
        if ends:
            writer.write_eof()
        while drip:
            await asyncio.sleep(DRIPS_EVERY_S)
            writer.write(drip)
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> bytes:
    received = bytearray()
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            received += chunk
    return bytes(received)


def replies(received: bytes) -> list[Reply]:
    """The answers that stand in these bytes one after the other."""
    found = []
    while received:
        start, _, rest = received.partition(b"\r\n\r\n")
        line, *fields = start.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in fields)}
        length = int(headers.get("content-length", "0"))
        found.append(Reply(int(line.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return found


def assert_in_the_one_shape(reply: Reply) -> None:
    assert reply.headers["content-type"] == "application/json"
    assert {"code", "title", "message"} <= json.loads(reply.body).keys() <= {"code", "title", "message", "fields"}


def malformed(random: Random) -> tuple[str, bytes, bool]:
    """A request that no server may take for one, the name of its kind, and whether its sender stops in its middle.

    Most carry a delivery that would be a good one: whoever understands them in another way starts an execution.
    """
    kind = random.choice(list(_MALFORMED))
    return kind, _MALFORMED[kind](random), kind.startswith("truncated")


BODY = b'{"malformed": true}'
GOOD = head(len(BODY)) + BODY


def _line(random: Random) -> bytes:
    method = random.choice([b"post", b"P\xd6ST", b"POST\t", b"", b"PO ST", b"\x00POST", b"GARBAGE", b"POST/"])
    return GOOD.replace(b"POST", method, 1)


def _version(random: Random) -> bytes:
    versions = [
        b"HTTP/2.0",
        b"HTTP/3.0",
        b"HTTP/0.9",
        b"HTTP/1.2",
        b"HTTP/11",
        b"http/1.1",
        b"RTSP/1.0",
        b"HTTP/1.1 x",
    ]
    return GOOD.replace(b"HTTP/1.1", random.choice([*versions, b"", b"HTTP/", b"HTTP/x.y"]), 1)


def _header(random: Random) -> bytes:
    lines = [b"no colon", b": no name", b"space : x", b"x: a\x00b", b"x\xe9: y", b"x: a\rb", b"x: a\nb: c"]
    return _with(random.choice([*lines, b"folded: a\r\n b", b"Host: another", b" first", b"x(y): z", b"\x7f: 1"]))


def _lengths(random: Random) -> bytes:
    lengths = [b"-1", b"+19", b"0x13", b"1e1", b"19, 19", b"19 19", b"", b"9" * 30, b"19\x0b"]
    return GOOD.replace(b"Content-Length: 19", b"Content-Length: " + random.choice(lengths), 1)


def _coded(random: Random) -> bytes:
    codings = [
        b"identity",
        b"xchunked",
        b"chunked, gzip",
        b"gzip, chunked",
        b"\x0bchunked",
        b"chunked\r\nTransfer-Encoding: chunked",
    ]
    return _chunked(b"13\r\n" + BODY + b"\r\n0\r\n\r\n", random.choice(codings))


def _chunks(random: Random) -> bytes:
    sizes = [b"-13", b"0x13", b"zz", b"13 ", b"fffffffffffffffff", b"13\n", b"", b"1g", b"\x00"]
    return _chunked(random.choice(sizes) + b"\r\n" + BODY + b"\r\n0\r\n\r\n")


def _target(random: Random) -> bytes:
    targets = [b"http://", b"http://x:99999/", b"ftp://x" + PATH.encode(), b"x", b"*", b"\xff", b"http://[::1/", b"?"]
    return GOOD.replace(PATH.encode(), random.choice(targets), 1)


def _with(line: bytes) -> bytes:
    return GOOD.replace(b"\r\n", b"\r\n" + line + b"\r\n", 1)


def _chunked(body: bytes, coding: bytes = b"chunked") -> bytes:
    return GOOD.replace(b"Content-Length: 19", b"Transfer-Encoding: " + coding, 1).removesuffix(BODY) + body


def _smuggled(random: Random) -> bytes:
    """One that ends in two places: between them stands a whole delivery."""
    body = b"0\r\n\r\n" + GOOD
    both = [b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"]
    random.shuffle(both)
    return GOOD.replace(b"Content-Length: 19", b"\r\n".join(both), 1).removesuffix(BODY) + body


_MALFORMED: dict[str, Callable[[Random], bytes]] = {
    "request line": _line,
    "version": _version,
    "header": _header,
    "length": _lengths,
    "two lengths": lambda random: _with(b"Content-Length: %d" % random.choice([2, 18, 19, 20])),
    "length and chunks": _smuggled,
    "coding": _coded,
    "chunk size": _chunks,
    "chunk without an end": lambda _: _chunked(b"5\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunks in HTTP/1.0": lambda _: _chunked(b"13\r\n" + BODY + b"\r\n0\r\n\r\n").replace(
        b"HTTP/1.1", b"HTTP/1.0", 1
    ),
    "target": _target,
    "no host": lambda _: GOOD.replace(b"Host: flowker\r\n", b"", 1),
    "huge header": lambda random: _with(b"x: " + b"y" * random.choice([40_000, 200_000, 900_000])),
    "many headers": lambda random: _with(b"\r\n".join([b"x: y"] * random.choice([200, 5_000]))),
    "huge target": lambda random: GOOD.replace(
        PATH.encode(), PATH.encode() + b"/x" * random.choice([5_000, 300_000]), 1
    ),
    "truncated head": lambda random: GOOD[: random.randrange(1, len(GOOD) - len(BODY))],
    "truncated body": lambda random: GOOD[: -random.randrange(1, len(BODY))],
    "truncated chunks": lambda random: _chunked(b"13\r\n" + BODY + b"\r\n0\r\n\r\n")[: -random.randrange(3, 20)],
    "TLS": lambda random: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500),
    "HTTP/2": lambda random: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + random.randbytes(30),
    "random bytes": lambda random: random.randbytes(random.randrange(1, 2_000)) + b"\r\n\r\n" + GOOD,
    "empty lines": lambda random: b"\r\n" * random.randrange(1, 50) + b"\x00" + GOOD,
}


def filled(unit: bytes) -> bytes:
    """A body of 1 MB that repeats one value."""
    start, end = b'{"x": [', b"]}"
    count = (BODY_BYTES_MAX - len(start) - len(end)) // (len(unit) + 1)
    return start + b",".join([unit] * count) + end


LARGE_BODIES = {
    "ordinary": filled(
        b'{"id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890", "amount": 120.50, "note": "' + b"x" * 400 + b'"}'
    ),
    "many lists": filled(b"[100000]"),
    "small objects": filled(b'{"a":10}'),
    "deep nesting": filled(b"[" * 60 + b"1" * 360 + b"]" * 60),
    "empty lists": filled(b"[]"),
    "decimals": filled(b"0.5"),
    "long numbers": filled(b"7" * 4300),
}
"""Of 1 MB each, and what they cost beyond their bytes differs by a factor of forty."""
