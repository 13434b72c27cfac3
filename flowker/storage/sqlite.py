"""A store in an SQLite file: its connections, the lock of its engine, and where the files beside it lie.

It runs with a write-ahead log and `synchronous=FULL`: a committed transaction survives the loss of power.
"""

import fcntl
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

BUSY_S: Final = 5.0
"""How long a writer waits for another process (a migration, a shell) before the batch is refused."""

UPGRADE_WAIT_S: Final = 60.0
"""How long an upgrade waits for another one that is running."""

WRITER_CACHE_KIB: Final = 16 * 1024
"""Keeps the inner pages of the indexes of millions of executions."""

WAL_BYTES_MAX: Final = 64 * 1024 * 1024
"""What the write-ahead log shrinks to after a peak; normally it stays at a sixteenth of this."""

STATEMENTS_KEPT_MAX: Final = 512
"""Compiled statements per connection; there are about a hundred."""

LOCK_POLL_S: Final = 0.02


class DatabaseReplaced(SQLAlchemyError):
    """The file that a connection has open is no longer the one at its path."""


class FileLock:
    """A lock on the file beside the database. It ends with the process that holds it."""

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

    def keep(self, seconds: float) -> bool:
        """Whoever holds a lock of a file has it until it ends."""
        time.sleep(seconds)
        return self._file is not None

    def release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def make_engine(url: str, *, read_only: bool, upgrading: bool = False) -> Engine:
    """Connections to the file, which only an upgrade makes when it is not there."""
    path = _path(url).absolute()
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            # `rw` opens a file that exists: one that went away is an error, not a new, empty store.
            f"{path.as_uri()}?mode={'rwc' if upgrading else 'rw'}",
            uri=True,
            timeout=UPGRADE_WAIT_S if upgrading else BUSY_S,
            isolation_level=None,  # The driver begins no transactions of its own: BEGIN is ours.
            check_same_thread=False,
            cached_statements=STATEMENTS_KEPT_MAX,
        ),
        poolclass=NullPool,
        hide_parameters=True,
    )
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
    pragmas = _READER_PRAGMAS if read_only else _CREATOR_PRAGMAS if upgrading else _WRITER_PRAGMAS

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


def prepare_upgrade(engine: Engine) -> None:
    """Turn the write-ahead log on. SQLite does not wait for the lock that this needs: it refuses at once."""
    _retry_while_locked(lambda: engine.connect().close())


def path_beside(url: str, suffix: str) -> Path:
    """The path of a file that belongs to the database: the same one through a symbolic link to the database."""
    path = _path(url)
    return Path(f"{path.resolve() if path.is_symlink() else path}{suffix}")


def reusable_bytes(connection: Connection) -> int:
    """What of the file is free for what is written next."""
    pages, page_bytes = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("freelist_count", "page_size")
    )
    return int(pages * page_bytes)


def is_unreadable(error: BaseException) -> bool:
    """Whether this error says that something that is stored cannot be read."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    if hasattr(error, "sqlite_errorcode"):
        return bool(error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT)
    return str(error).startswith("Could not decode to UTF-8")  # The driver's own finding, which has no code.


_WRITER_PRAGMAS: Final = (
    "secure_delete=ON",  # What was written in clear once must not stay in a page that is free.
    "synchronous=FULL",
    "foreign_keys=ON",
    f"cache_size=-{WRITER_CACHE_KIB}",
    f"journal_size_limit={WAL_BYTES_MAX}",
)

# The mode stays with the file.
_CREATOR_PRAGMAS: Final = ("journal_mode=WAL", *_WRITER_PRAGMAS)

_READER_PRAGMAS: Final = ("query_only=ON",)


def _path(url: str) -> Path:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ValueError("the database URL has to be sqlite:///<path of a file> or postgresql://<server>/<database>")
    return Path(parsed.database)


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        raise DatabaseReplaced("no file is where the database was") from None
    return status.st_dev, status.st_ino


def _retry_while_locked(action: Callable[[], None]) -> None:
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
