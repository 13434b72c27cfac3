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
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import ClauseElement, Connection, Dialect, Engine, Table, TextClause, create_engine, event
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from flowker.storage import keys, migrations
from flowker.storage.readers import Readers
from flowker.storage.requests import Request
from flowker.storage.vault import Vault
from flowker.storage.writer import Writer

__all__ = ["Connection", "EngineLock", "Store", "upgrade"]
"""`Connection` is for the functions that are given to a store: SQL itself stays in this package."""

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

BUSY_S: Final = 5.0
"""How long a writer waits for another process (a migration, a shell) before the batch is refused."""

WRITER_CACHE_KIB: Final = 16 * 1024
"""Keeps the inner pages of the indexes of millions of executions."""

WAL_BYTES_MAX: Final = 64 * 1024 * 1024
"""What the write-ahead log shrinks to after a peak; normally it stays at a sixteenth of this."""

STATEMENTS_KEPT_MAX: Final = 512
"""Compiled statements per connection; there are about a hundred."""

UPGRADE_WAIT_S: Final = 60.0
"""How long an upgrade waits for another one that is running."""

QUEUE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Room for 256 of the largest bodies; the number of requests alone would allow gigabytes."""

LOCK_POLL_S: Final = 0.02


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

    async def write_together(self, change: Callable[[Connection, Sequence[Item]], Sequence[T]], item: Item) -> T:
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


class EngineLock:
    """Keeps a second engine off the same store. The lock ends with the process that holds it."""

    def __init__(self, url: str) -> None:
        self._path = path_beside(url, ".lock")
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


def upgrade(url: str, vault: Vault | None = None) -> None:
    """Create the database or bring its schema up to this version; safe to repeat, and from two processes at once.

    What older versions stored in clear is sealed by the vault, by default with the keys beside the database.
    Raises `DatabaseUnusable`.
    """
    engine = _engine(url, read_only=False, create=True, busy_s=UPGRADE_WAIT_S)
    try:
        _retry_while_locked(lambda: engine.connect().close())
        with engine.begin() as connection:
            migrations.run(connection, vault or vault_beside(url))
    except DBAPIError as error:
        raise DatabaseUnusable(f"the database cannot be used: {error.orig}") from error
    except migrations.UnknownRevision as error:
        raise DatabaseUnusable("the database was made by a newer version") from error
    finally:
        engine.dispose()


def vault_beside(url: str) -> Vault:
    """A vault with the keys of the file beside the database, which is made when it is first needed."""
    return Vault(partial(keys.read_or_make, path_beside(url, keys.SUFFIX)))


def path_beside(url: str, suffix: str) -> Path:
    """The path of a file that belongs to the database: the same one through a symbolic link to the database."""
    path = _sqlite_path(url)
    return Path(f"{path.resolve() if path.is_symlink() else path}{suffix}")


class DatabaseUnusable(Exception):
    """The database cannot be opened or brought to this version's schema; the message says why."""


class DatabaseReplaced(SQLAlchemyError):
    """The file that a connection has open is no longer the one at its path."""


def is_unreadable(error: BaseException) -> bool:
    """Whether something that is stored cannot be read, and not the store cannot be reached."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, sqlite3.DatabaseError):
        return False
    if hasattr(cause, "sqlite_errorcode"):
        return cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT
    return str(cause).startswith("Could not decode to UTF-8")  # The driver's own finding, which has no code.


def insert_unless_taken(dialect: Dialect, table: Table, columns: Sequence[str], where: TextClause) -> ClauseElement:
    """INSERT that leaves out a row whose `columns` are taken, under the partial unique index with this `where`."""
    insert = _INSERTS[dialect.name]
    return insert(table).on_conflict_do_nothing(index_elements=columns, index_where=where)


_NO_KEYWORDS: dict[str, Any] = {}

_INSERTS: Final = {"sqlite": sqlite_insert}


def _engine(url: str, *, read_only: bool, create: bool = False, busy_s: float = BUSY_S) -> Engine:
    path = _sqlite_path(url).absolute()
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            # `rw` opens a file that exists: one that went away is an error, not a new, empty store.
            f"{path.as_uri()}?mode={'rwc' if create else 'rw'}",
            uri=True,
            timeout=busy_s,
            isolation_level=None,  # The driver begins no transactions of its own: BEGIN is ours.
            check_same_thread=False,
            cached_statements=STATEMENTS_KEPT_MAX,
        ),
        poolclass=NullPool,
        hide_parameters=True,
    )
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
    pragmas = _READER_PRAGMAS if read_only else _CREATOR_PRAGMAS if create else _WRITER_PRAGMAS

    @event.listens_for(engine, "connect")
    def prepare(raw: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        for pragma in pragmas:
            raw.execute(f"PRAGMA {pragma}")
        record.info["file"] = _identity(path)

    @event.listens_for(engine, "begin")
    def begin_on_the_file_at_the_path(connection: Connection) -> None:
        # A connection goes on with a file that was removed or replaced: what it writes there would be lost.
        if connection.info["file"] != _identity(path):
            raise DatabaseReplaced("another file is where the database was")
        connection.exec_driver_sql(begin)

    return engine


_WRITER_PRAGMAS: Final = (
    "synchronous=FULL",
    "foreign_keys=ON",
    f"cache_size=-{WRITER_CACHE_KIB}",
    f"journal_size_limit={WAL_BYTES_MAX}",
)

# The mode stays with the file.
_CREATOR_PRAGMAS: Final = ("journal_mode=WAL", *_WRITER_PRAGMAS)

_READER_PRAGMAS: Final = ("query_only=ON",)


def _sqlite_path(url: str) -> Path:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ValueError("the database URL has to be sqlite:///<path of a file>")
    return Path(parsed.database)


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        raise DatabaseReplaced("no file is where the database was") from None
    return status.st_dev, status.st_ino


def _retry_while_locked(action: Callable[[], None]) -> None:
    """SQLite does not wait for the lock that a change of the journal mode needs: it refuses at once."""
    give_up_at = time.monotonic() + UPGRADE_WAIT_S
    while True:
        try:
            return action()
        except OperationalError as error:
            if not _is_locked(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(LOCK_POLL_S)


def _is_locked(error: OperationalError) -> bool:
    # The low byte is the primary code; the rest says more of what is locked.
    return isinstance(error.orig, sqlite3.Error) and error.orig.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
