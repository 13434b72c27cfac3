"""What one would write by hand to be fast, and the limit of what Python and SQLite can do here.

Raw ASGI; the body is decoded by msgspec into a typed structure; one thread inserts whatever came in while it was
busy, commits once with synchronous=FULL, and only then are those requests answered. No audit trail, no document, no
workflow.
"""

import asyncio
import os
import queue
import sqlite3
import threading
from typing import Any

import msgspec


class Payment(msgspec.Struct):
    paymentId: str  # noqa: N815 - the name on the wire
    amount: float
    currency: str
    debtor: dict[str, str]
    creditor: dict[str, str]
    reference: str


Row = tuple[str, bytes, asyncio.Future[None]]

_decoder = msgspec.json.Decoder(Payment)


class Writer:
    """One thread, one connection, a commit for all that wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rows: queue.SimpleQueue[Row] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    async def insert(self, key: str, payload: bytes) -> None:
        committed: asyncio.Future[None] = self._loop.create_future()
        self._rows.put((key, payload, committed))
        await committed

    def _run(self) -> None:
        connection = sqlite3.connect(os.environ["BENCHMARK_DATABASE"], isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE payments (key TEXT PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID")
        while True:
            rows = self._take()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO payments VALUES (?, ?)", [row[:2] for row in rows])
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_tell, [row[2] for row in rows])

    def _take(self) -> list[Row]:
        rows = [self._rows.get()]
        while not self._rows.empty():
            rows.append(self._rows.get())
        return rows


def _tell(committed: list[asyncio.Future[None]]) -> None:
    for future in committed:
        future.set_result(None)


class Application:
    """One route that takes payments; 400 for what is none."""

    def __init__(self) -> None:
        self._writer: Writer | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["path"] == "/payments":
            await self._accept(scope, receive, send)
        else:
            await _answer(send, 404, b"{}")

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        self._writer = Writer(asyncio.get_running_loop())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _accept(self, scope: Any, receive: Any, send: Any) -> None:
        body = await _body(receive)
        try:
            _decoder.decode(body)
        except msgspec.DecodeError:
            await _answer(send, 400, b'{"message":"this is no payment"}')
            return
        key = dict(scope["headers"])[b"idempotency-key"].decode()
        assert self._writer is not None  # noqa: S101 - the server starts the lifespan first
        await self._writer.insert(key, body)
        await _answer(send, 201, b'{"executionId":"%b","status":"stored"}' % key.encode())


async def _body(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def create() -> Application:
    return Application()
