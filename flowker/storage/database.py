"""The store as the rest of the service sees it, and everything that differs between databases.

`Store` is async outside and synchronous inside: `read` runs on a reader thread, `write` and `write_together` on the
one writer thread (see `flowker.storage.writer`). Functions given to them take a connection first and must not keep
anything of it; a function given to a write may run twice, so it changes nothing but the database.

SQLite runs with a write-ahead log and `synchronous=FULL`: a committed transaction survives the loss of power.
"""

import asyncio
import fcntl
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import ClauseElement, Connection, Dialect, Engine, Table, TextClause, create_engine, event
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from flowker.storage import migrations
from flowker.storage.readers import Readers
from flowker.storage.requests import Request
from flowker.storage.writer import Writer

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item

BUSY_S: Final = 5.0
"""How long a writer waits for another process (a migration, a shell) before the batch is refused."""

UPGRADE_WAIT_S: Final = 60.0
"""How long an upgrade waits for another one that is running."""

QUEUE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Room for 256 of the largest bodies; the number of requests alone would allow gigabytes."""


class Store:
    """Reads in a few threads, writes in one. Every method may be called from any event loop."""

    def __init__(self, url: str, *, queue_max: int = 10_000, batch_max: int = 256, readers: int = 4) -> None:
        self._writer_engine = _engine(url, read_only=False)
        self._reader_engine = _engine(url, read_only=True)
        self._writer = Writer(
            self._writer_engine, queue_max=queue_max, queue_bytes_max=QUEUE_BYTES_MAX, batch_max=batch_max
        )
        self._readers = Readers(self._reader_engine, threads=readers, queue_max=queue_max)

    @property
    def writer_heartbeat(self) -> float:
        """Monotonic seconds of the writer's last turn; an idle writer turns once a second."""
        return self._writer.heartbeat

    async def start(self) -> None:
        """Start the threads. They connect when they are first needed: the database may be away for now."""
        self._writer.start()
        self._readers.start()

    async def stop(self) -> None:
        """Finish what was accepted, then close."""
        await asyncio.to_thread(self._writer.stop)
        await asyncio.to_thread(self._readers.stop)
        self._writer_engine.dispose()
        self._reader_engine.dispose()

    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query on a snapshot of the store."""
        request = Request(query, args, kwargs, asyncio.get_running_loop().create_future())
        self._readers.submit(request)
        result: T = await request.future
        return result

    async def write(self, change: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a change; it is committed when this returns. What it raises undoes only what it did."""
        request = Request(change, args, kwargs, asyncio.get_running_loop().create_future())
        self._writer.submit(request)
        result: T = await request.future
        return result

    async def write_together(self, change: Callable[[Connection, Sequence[I]], Sequence[T]], item: I) -> T:
        """Run a change for this item and whichever others wait for the same function, as one list.

        The function returns one result per item, in order, and does not raise for outcomes that are to be expected.
        """
        request = Request(
            change,
            (item,),
            _NO_KEYWORDS,
            asyncio.get_running_loop().create_future(),
            together=True,
            size_bytes=getattr(item, "size_bytes", 0),
        )
        self._writer.submit(request)
        result: T = await request.future
        return result

    async def check(self) -> bool:
        """Whether the schema is the one that this version needs. Raises `InternalError` when the database is away."""
        return await self.read(migrations.schema_is_current)


_NO_KEYWORDS: dict[str, Any] = {}


def upgrade(url: str) -> None:
    """Create the database or bring its schema up to this version; safe to repeat, and from two processes at once."""
    engine = _engine(url, read_only=False, create=True, busy_s=UPGRADE_WAIT_S)
    try:
        _retry_while_locked(lambda: _use_write_ahead_log(engine))
        with engine.begin() as connection:
            migrations.run(connection)
    finally:
        engine.dispose()


class EngineLock:
    """Keeps a second engine off the same store. The lock ends with the process that holds it."""

    def __init__(self, url: str) -> None:
        self._path = Path(f"{_sqlite_path(url)}.lock")
        self._file: Any = None

    def acquire(self) -> bool:
        """Take the lock without waiting; False when another process (or object) has it."""
        file = self._path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def insert_unless_taken(dialect: Dialect, table: Table, columns: Sequence[str], where: TextClause) -> ClauseElement:
    """INSERT that leaves out a row whose `columns` are taken, under the partial unique index with this `where`."""
    insert = _INSERTS[dialect.name]
    return insert(table).on_conflict_do_nothing(index_elements=columns, index_where=where)


_INSERTS: Final = {"sqlite": sqlite_insert}


def _engine(url: str, *, read_only: bool, create: bool = False, busy_s: float = BUSY_S) -> Engine:
    path = _sqlite_path(url)
    engine = create_engine(
        # A name that SQLite takes as a URI says that an existing file is opened: a file that went away is an error,
        # not a new, empty store.
        "sqlite://",
        creator=lambda: sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
            uri=True,
            timeout=busy_s,
            isolation_level=None,  # The driver begins no transactions of its own: BEGIN is ours.
            check_same_thread=False,
            cached_statements=512,
        ),
        poolclass=NullPool,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _read_only_settings if read_only else _writer_settings)
    event.listen(engine, "begin", _begin if read_only else _begin_immediate)
    return engine


def _sqlite_path(url: str) -> Path:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ValueError("the database URL has to be sqlite:///<path of a file>")
    return Path(parsed.database)


def _writer_settings(connection: sqlite3.Connection, _: object) -> None:
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _read_only_settings(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA query_only=ON")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _use_write_ahead_log(engine: Engine) -> None:
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()


def _retry_while_locked(action: Callable[[], None]) -> None:
    """SQLite does not wait for the lock that a change of the journal mode needs: it refuses at once."""
    give_up_at = time.monotonic() + UPGRADE_WAIT_S
    while True:
        try:
            return action()
        except (OperationalError, sqlite3.OperationalError):
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)
