"""A store in an SQLite file: its connections, the lock of its engine, and where the files beside it lie.

It runs with a write-ahead log and `synchronous=FULL`: a committed transaction survives the loss of power. What a disk
that fails to flush does to that, and what is done about it, is told in docs/decisions/0027-a-flush-that-failed.md.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from flowker.storage.statements import begin_with

BUSY_S: Final = 5.0
"""How long a writer waits for another process (a migration, a shell) before the batch is refused."""

UPGRADE_WAIT_S: Final = 60.0
"""How long an upgrade waits for another one that is running."""

WRITER_CACHE_KIB: Final = 16 * 1024
"""Keeps the inner pages of the indexes of millions of executions."""

WAL_BYTES_MAX: Final = 64 * 1024 * 1024
"""What the write-ahead log shrinks to after a peak; normally it stays at a sixteenth of this."""

LOG_PAGES: Final = 1_000
"""From so many pages on the write-ahead log is copied into the database, as SQLite does it by itself: 4 MB."""

LOG_CHUNK_BYTES: Final = 1024 * 1024

STATEMENTS_KEPT_MAX: Final = 512
"""Compiled statements per connection; there are about a hundred."""

LOCK_POLL_S: Final = 0.02

_log = structlog.get_logger(__name__)


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


class Log:
    """The write-ahead log of a database, kept open by who looks at it before each transaction.

    Whatever is asked of the system lets another thread run first, and under load that one does not stop at once.
    """

    def __init__(self, database: Path) -> None:
        self._path = _log_of(database)
        self._file: FileIO | None = None

    def is_long(self) -> bool:
        """Whether the last of `LOG_PAGES` pages is in use (https://sqlite.org/fileformat2.html, section 4.1).

        A page that is left from before the log was begun anew has other salts than the head of the log.
        """
        try:
            self._file = self._file or FileIO(self._path)
            number = self._file.fileno()
            head = os.pread(number, 32, 0)
            page_bytes = int.from_bytes(head[8:12])
            salts = os.pread(number, 8, 32 + (LOG_PAGES - 1) * (24 + page_bytes) + 8)
            return len(head) == 32 and salts == head[16:24]
        except OSError:
            return False

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


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
        record.info["log"] = Log(path)
        for pragma in pragmas:
            raw.execute(f"PRAGMA {pragma}")
        record.info["file"] = _identity(path)

    @event.listens_for(engine, "close")
    def close_log(_: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info["log"].close()

    @event.listens_for(engine, "begin")
    def begin_on_the_file_at_the_path(connection: Connection) -> None:
        # A connection goes on with a file that was removed or replaced: what it writes there would be lost.
        if connection.info["file"] != _identity(path):
            raise DatabaseReplaced("another file is where the database was")
        if not read_only and not upgrading and connection.info["log"].is_long():
            _checkpoint(connection)
        begin_with(connection, begin)

    return engine


def prepare_upgrade(engine: Engine, url: str) -> None:
    """Turn the write-ahead log on, and put on disk what is found in it.

    SQLite does not wait for the lock that the first needs: it refuses at once. Raises OSError when a flush fails.
    """
    _retry_while_locked(lambda: engine.connect().close())
    with engine.begin():  # Nobody else writes meanwhile.
        _write_again(_log_of(_path(url)))


def _checkpoint(connection: Connection) -> None:
    """Copy the write-ahead log into the database, as far as no reader is in the way.

    SQLite would do it with a commit, and keep to itself that it failed. When a flush fails, pages that an earlier
    checkpoint has copied may be lost, and the log would be overwritten one day as if they were there. They are copied
    again by whoever opens the database first: this process must end, without closing it.
    """
    try:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
    except OperationalError as error:
        if is_failed_flush(error):
            _log.critical("the disk failed to flush the database: this process ends", detail=str(error.orig))
            end_process()
        raise


def end_process() -> None:
    """At once: nothing is finished, and no connection is closed."""
    os._exit(os.EX_IOERR)


def is_failed_flush(error: OperationalError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code in {sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC}


def _write_again(log: Path) -> None:
    """Write what is in the log over itself, and flush it: for whoever keeps others from writing there.

    After a flush that failed, the system has pages in memory that it takes for written. What was read of them looks
    committed, and what is committed behind them would be lost with them.
    """
    if not log.exists():
        return
    with log.open("r+b", buffering=0) as file:
        while chunk := file.read(LOG_CHUNK_BYTES):
            file.seek(-len(chunk), os.SEEK_CUR)
            file.write(chunk)
        os.fsync(file.fileno())


def _log_of(path: Path) -> Path:
    """SQLite follows a link to the database before it names its log."""
    return Path(f"{path.resolve() if path.is_symlink() else path}-wal")


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
    "wal_autocheckpoint=0",  # It is done where its failure is heard of.
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
