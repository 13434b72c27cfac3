"""How costs grow with what is stored: a route among more webhooks, acknowledgements, lists and the audit chain.

The database is filled directly, with what executions leave behind, up to each size in turn; at each of them the
service is started on it and measured.
"""

import asyncio
import http.client
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import quantiles

from benchmarks import wrk
from benchmarks.catalog import DURABLE
from benchmarks.contender import KEY, Place
from benchmarks.databases import SqliteFile
from benchmarks.processes import cpu_s
from benchmarks.serving import Server, free_port, serving
from benchmarks.targets import Growth
from flowker.domain.audit import GENESIS_HASH, SYSTEM, AuditEvent, seal
from flowker.storage import webhook_routes
from flowker.storage.audit_verification import verify_database
from flowker.storage.database import Store, upgrade, vault_beside

WEBHOOKS = (10, 1_000, 10_000)
EXECUTIONS = (10, 10_000, 1_000_000)
PAGES = 50
LOOKUPS = 1_000
ROUNDS = 5
"""The best one counts: lookups and pages are short, and others may have the processor."""

LOAD_S = 3

LISTS = (
    "/v1/executions?limit=50",
    "/v1/executions?limit=50&status=completed&sortBy=completedAt",
    "/v1/executions?limit=50&sortOrder=ASC",
)


def measure() -> Growth:
    """The figures by what they tell and by the size of what is stored."""
    growth: Growth = {"route_us": {str(size): asyncio.run(_route_us(size)) for size in WEBHOOKS}}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        path = Path(directory) / "store.db"
        place = Place(path.parent, free_port(), SqliteFile(path), "http://127.0.0.1:9")
        with serving(DURABLE, place):
            DURABLE.prepare(place)
        for size in EXECUTIONS:
            _fill(path, size)
            for name, figure in _measure(place).items():
                growth.setdefault(name, {})[str(size)] = figure
    return growth


def _measure(place: Place) -> dict[str, float]:
    verified = _audit_entries_per_s(place)
    place = replace(place, port=free_port())
    with serving(DURABLE, place) as server:
        list_p95_ms = _list_p95_ms(place)
        ack_cpu_us = _ack_cpu_us(place, server)
    return {
        "ack_cpu_us": ack_cpu_us,
        "list_p95_ms": list_p95_ms,
        "audit_entries_per_s": verified,
        "ready_s": server.ready_s,
    }


def _ack_cpu_us(place: Place, server: Server) -> float:
    """CPU time of the service for each acknowledgement, the end of its execution with it."""
    wrk.saturate(DURABLE, place, f"warm-{time.time_ns()}", 1)
    before_s = cpu_s(server.process)
    saturated = wrk.saturate(DURABLE, place, f"full-{time.time_ns()}", LOAD_S)
    if saturated.errors:
        raise RuntimeError(f"{saturated.errors} of {saturated.requests} deliveries were not acknowledged")
    return (cpu_s(server.process) - before_s) * 1e6 / saturated.requests


async def _route_us(size: int) -> float:
    """CPU time of the store's answer to the first delivery of a webhook, reader thread and all."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        url = f"sqlite:///{directory}/store.db"
        upgrade(url)
        with closing(sqlite3.connect(Path(directory) / "store.db")) as raw, raw:
            _insert(raw, "workflows", ((_id(n), f"W {n}", "", "active", 1, _NOW, _NOW) for n in range(size)))
            _insert(raw, "webhook_routes", ((_id(n), "POST", f"w/{n}", 1, "t", 1) for n in range(size)))
        store = Store(url)
        await store.start()
        try:
            return min([await _lookup_us(store, size) for _ in range(ROUNDS)])
        finally:
            await store.stop()


async def _lookup_us(store: Store, size: int) -> float:
    before = time.process_time()
    for n in range(LOOKUPS):
        path = f"w/{n * 7919 % size}"
        if await store.read(webhook_routes.find, "POST", path) is None:
            raise RuntimeError(f"{path} was not found")
    return (time.process_time() - before) * 1e6 / LOOKUPS


def _list_p95_ms(place: Place) -> float:
    """Of pages from the front and from the back, the best of a few rounds."""
    with closing(http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)) as connection:
        return min(_round_p95_ms(connection) for _ in range(ROUNDS))


def _round_p95_ms(connection: http.client.HTTPConnection) -> float:
    times = []
    for number in range(PAGES):
        begun = time.perf_counter()
        connection.request("GET", LISTS[number % len(LISTS)], headers={"X-API-Key": KEY})
        answer = connection.getresponse()
        answer.read()
        times.append((time.perf_counter() - begun) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"a list answered {answer.status}")
    return quantiles(times, n=20)[18]


def _audit_entries_per_s(place: Place) -> float:
    url = SqliteFile(place.directory / "store.db").url
    begun = time.perf_counter()
    verification = asyncio.run(verify_database(url, vault_beside(url), frozenset(), lambda *_: None))
    if not verification.is_good:
        raise RuntimeError(verification.message)
    return verification.checked / (time.perf_counter() - begun)


_NOW = "2026-01-01T00:00:00.000000Z"


def _id(number: int) -> str:
    """In the order of time, and before all that the service makes."""
    return f"00000000-0000-7000-8000-{number:012d}"


def _fill(path: Path, size: int) -> None:
    """Add executions until there are so many, each with a journal and an audit entry."""
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("PRAGMA synchronous = OFF")
        present = int(raw.execute("SELECT count(*) FROM executions WHERE id < '00000001'").fetchone()[0])
        (workflow_id,) = raw.execute("SELECT id FROM workflows LIMIT 1").fetchone()
        added = range(present, size)
        _insert(raw, "executions", (_execution(n, workflow_id) for n in added))
        _insert(raw, "journal", ((_id(n), 0, "accepted", '{"input":{"paymentId":"p-1001"}}') for n in added))
        _insert(raw, "audit_events", _audit_entries(raw, added))


def _execution(number: int, workflow_id: str) -> tuple[str | int | None, ...]:
    started = f"2026-01-01T{number // 40_000 % 24:02}:{number // 700 % 60:02}:{number // 12 % 60:02}.{number:06}Z"[
        :27
    ]
    return (
        _id(number),
        workflow_id,
        1,
        "completed",
        "received",
        f"k-{number}",
        "d",
        1,
        1,
        started,
        started,
        None,
        None,
    )


def _audit_entries(raw: sqlite3.Connection, added: range) -> Iterator[tuple[str | int | None, ...]]:
    """Chained to the end of what is there, at its time: the chain is in the order of time."""
    last = raw.execute("SELECT sequence, hash, timestamp FROM audit_events ORDER BY sequence DESC LIMIT 1").fetchone()
    sequence, previous, now = last or (0, GENESIS_HASH, _NOW)
    for n in added:
        sequence += 1
        event = AuditEvent(
            event_id=_id(n),
            event_type="EXECUTION_COMPLETED",
            action="EXECUTE",
            result="SUCCESS",
            resource_type="execution",
            resource_id=_id(n),
            actor=SYSTEM,
            timestamp=now,
        )
        context, metadata, hash_ = seal(event, previous)
        yield (
            *(sequence, event.event_id, event.event_type, event.action, event.result, event.resource_type),
            *(event.resource_id, "system", None, None, context, metadata, now, hash_, previous),
        )
        previous = hash_


def _insert(raw: sqlite3.Connection, table: str, rows: Iterator[tuple[str | int | None, ...]]) -> None:
    columns = len(raw.execute(f"PRAGMA table_info({table})").fetchall())
    raw.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})", rows)  # noqa: S608 - our own tables
