"""The store as the rest of the service sees it, whichever database it is in.

`Store` is async outside and synchronous inside: `read` runs on a reader thread, `write` and `write_together` on the
one writer thread (see `flowker.storage.writer`). Functions given to them take a connection first and must not keep
anything of it; they may run twice, so they change nothing but the database.

How databases differ is known to `sqlite` and `postgresql` and chosen here, by the URL.
"""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    Select,
    Table,
    TextClause,
    union_all,
)
from sqlalchemy.exc import DBAPIError

from flowker.domain.errors import InternalError
from flowker.storage import keys, migrations, postgresql, sqlite
from flowker.storage.readers import Readers
from flowker.storage.refusals import DatabaseUnusable, StoredUnreadable, UnknownRevision
from flowker.storage.requests import Request, is_unreadable
from flowker.storage.vault import Vault
from flowker.storage.writer import Writer

__all__ = [
    "Connection",
    "DatabaseUnusable",
    "EngineLock",
    "Store",
    "StoredUnreadable",
    "is_unreadable",
    "upgrade",
]
"""`Connection` is for the functions that are given to a store: SQL itself stays in this package."""

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

QUEUE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Room for 256 of the largest bodies; the number of requests alone would allow gigabytes."""

READ_QUEUE_MAX: Final = 1_000
"""What four threads read in a fraction of a second. Reads are many and short; in a longer line all would be late."""


class Store:
    """Reads in a few threads, writes in one. Every method may be called from any event loop."""

    def __init__(self, url: str, *, queue_max: int = 10_000, batch_max: int = 128, readers: int = 4) -> None:
        self._writer_engine = _engine(url, read_only=False)
        self._reader_engine = _engine(url, read_only=True)
        self._writer = Writer(
            self._writer_engine, queue_max=queue_max, queue_bytes_max=QUEUE_BYTES_MAX, batch_max=batch_max
        )
        self._readers = Readers(self._reader_engine, threads=readers, queue_max=min(queue_max, READ_QUEUE_MAX))
        self._owed = False

    def owing(self) -> Self:
        """The same store for who keeps promises: never refused for lack of room, and in a line of its own to write.

        Whoever has it bounds by himself how much he asks for at once.
        """
        twin = copy.copy(self)
        twin._owed = True  # noqa: SLF001 - it is a copy of our own
        return twin

    @property
    def writer_heartbeat(self) -> float:
        """Monotonic seconds of the writer's last turn; an idle writer turns once a second."""
        return self._writer.heartbeat

    @property
    def write_queue_depth(self) -> int:
        """Changes that wait for the writer."""
        return self._writer.queue_depth

    async def start(self) -> None:
        """Start the threads. They connect when they are first needed: the database may be away for now."""
        self._writer.start()
        self._readers.start()

    async def stop(self, within_s: float | None = None) -> bool:
        """Finish what was accepted, then close; False if that takes longer, and nothing is closed yet.

        What a database does not answer in this time is left to threads that do not keep the process from ending.
        """
        ends_at = None if within_s is None else time.monotonic() + within_s
        written = await asyncio.to_thread(self._writer.stop, within_s)
        left_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
        if not await asyncio.to_thread(self._readers.stop, left_s) or not written:
            return False
        self._writer_engine.dispose()
        self._reader_engine.dispose()
        return True

    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query on a snapshot of the store."""
        request = Request(query, args, kwargs, asyncio.get_running_loop().create_future(), owed=self._owed)
        self._readers.submit(request)
        result: T = await request.future
        return result

    async def write(self, change: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a change; it is committed when this returns. What it raises undoes only what it did."""
        request = Request(change, args, kwargs, asyncio.get_running_loop().create_future(), owed=self._owed)
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
            owed=self._owed,
            size_bytes=getattr(item, "size_bytes", 0),
        )
        self._writer.submit(request)
        result: T = await request.future
        return result

    async def check(self) -> bool:
        """Whether the schema is the one that this version needs.

        Raises `InternalError` when the database is away, or took no change when it was asked last and takes none now.
        """
        if self._writer.has_failed:
            await self.write(migrations.touch)
        return await self.read(migrations.schema_is_current)


@asynccontextmanager
async def opened(url: str, *, wrong: str = "the database cannot be used") -> AsyncIterator[Store]:
    """The store for a command, beside whoever else has it open.

    Raises `DatabaseUnusable`: when the schema is another one, or with what went `wrong` when something fails later.
    """
    store = Store(url, readers=1)
    await store.start()
    try:
        if not await store.check():
            raise DatabaseUnusable(
                "the database has the schema of another version; `flowker db upgrade` brings it up"
            )
        yield store
    except (InternalError, StoredUnreadable) as error:
        raise DatabaseUnusable(wrong) from error
    finally:
        await store.stop()


class EngineLock:
    """Keeps a second engine off the same store. The lock ends with the process that holds it, or before.

    On a server (`may_be_lost`) it has to be kept: whoever has it asks `keep` without a pause, in a thread.
    """

    def __init__(self, url: str) -> None:
        self._lock = postgresql.SessionLock(url) if _is_postgresql(url) else sqlite.FileLock(url)

    def acquire(self) -> bool:
        """Take the lock without waiting; False when another process (or object) has it."""
        return self._lock.acquire()

    @property
    def may_be_lost(self) -> bool:
        return isinstance(self._lock, postgresql.SessionLock)

    def keep(self, seconds: float) -> bool:
        """Wait so long, or until the lock is lost, and say whether it is still held. Raises nothing."""
        return self._lock.keep(seconds)

    def release(self) -> None:
        self._lock.release()


def upgrade(url: str, vault: Vault | None = None) -> None:
    """Create the store or bring its schema up to this version; safe to repeat, and from two processes at once.

    What older versions stored in clear is sealed by the vault, by default with the keys beside the database.
    Raises `DatabaseUnusable`.
    """
    engine = _engine(url, read_only=False, upgrading=True)
    try:
        if not _is_postgresql(url):
            sqlite.prepare_upgrade(engine, url)
        with engine.begin() as connection:
            migrations.run(connection, vault or vault_beside(url))
    except DBAPIError as error:
        raise DatabaseUnusable(f"the database cannot be used: {error.orig}") from error
    except OSError as error:
        raise DatabaseUnusable(f"the database cannot be used: {error.strerror}") from error
    except UnknownRevision as error:
        raise DatabaseUnusable("the database was made by a newer version") from error
    finally:
        engine.dispose()


def vault_beside(url: str) -> Vault:
    """A vault with the keys of the file beside the database, which is made when it is first needed."""
    if has_files(url):
        return Vault(partial(keys.read_or_make, path_beside(url, keys.SUFFIX)))
    return Vault(_no_keys)


def has_files(url: str) -> bool:
    """Whether a file can lie beside the database: what is kept in one has to come from a setting otherwise."""
    return not _is_postgresql(url)


def path_beside(url: str, suffix: str) -> Path:
    """The path of a file that belongs to the database: the same one through a symbolic link to the database."""
    return sqlite.path_beside(url, suffix)


def without_password(url: str) -> str:
    """The URL of a database as it may be shown."""
    return postgresql.without_password(url) if _is_postgresql(url) else url


def reusable_bytes(connection: Connection) -> int | None:
    """How much of the file is free for what is written next; None for a server, which sees to that itself."""
    return None if connection.dialect.name == "postgresql" else sqlite.reusable_bytes(connection)


def insert_unless_taken(dialect: Dialect, table: Table, columns: Sequence[str], where: TextClause) -> ClauseElement:
    """INSERT that leaves out a row whose `columns` are taken, under the partial unique index with this `where`."""
    # What is of the database in use is imported by now; what is of the other one would take a part of each start.
    insert = import_module(f"sqlalchemy.dialects.{dialect.name}").insert
    statement: ClauseElement = insert(table).on_conflict_do_nothing(index_elements=columns, index_where=where)
    return statement


def merge(dialect: Dialect, walks: Sequence[Select[Any]], order: Sequence[ColumnElement[Any]], limit: int) -> Any:
    """The first rows of several walks along indexes, merged in this order: nothing is sorted, no walk goes on."""
    if len(walks) == 1:
        return walks[0].order_by(*order).limit(limit)
    # PostgreSQL merges what is said to be in order; SQLite finds that out, and takes no order inside of a union.
    ordered = [walk.order_by(*order).limit(limit) for walk in walks] if dialect.name == "postgresql" else walks
    return union_all(*ordered).order_by(*order).limit(limit)


_NO_KEYWORDS: dict[str, Any] = {}


def _is_postgresql(url: str) -> bool:
    return url.startswith(postgresql.SCHEME)


def _engine(url: str, *, read_only: bool, upgrading: bool = False) -> Engine:
    make = postgresql.make_engine if _is_postgresql(url) else sqlite.make_engine
    return make(url, read_only=read_only, upgrading=upgrading)


def _no_keys() -> Sequence[bytes]:
    raise keys.KeysUnusable("FLOWKER_SECRET_KEY: none is set, and with PostgreSQL there is no file to keep a key in")
