"""The write-ahead log of an SQLite file: copied by us, and put on disk by a start."""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from flowker.domain.errors import InternalError
from flowker.storage import journal, sqlite
from flowker.storage.database import DatabaseUnusable, Store, upgrade
from flowker.storage.sqlite import LOG_PAGES, Log

DATABASES = ("sqlite",)

LOG_BYTES = LOG_PAGES * 4096


def put(connection: Connection, key: str, size_bytes: int = 1) -> None:
    journal.append(connection, [(key, 0, "k", "x" * size_bytes)])


async def test_a_long_log_is_copied_before_the_next_transaction(store: Store, tmp_path: Path) -> None:
    """SQLite itself would do it with the commit, and tell nobody that it failed."""
    path = tmp_path / "flowker.db"
    await store.write(put, "long", LOG_BYTES)
    before = path.stat().st_size

    await store.write(put, "next")

    assert before < LOG_BYTES < path.stat().st_size


async def test_a_short_log_is_left_alone(store: Store, tmp_path: Path) -> None:
    """Copying it flushes two files more."""
    path = tmp_path / "flowker.db"
    before = path.stat().st_mtime_ns

    for number in range(10):
        await store.write(put, str(number), LOG_BYTES // 100)

    assert path.stat().st_mtime_ns == before


async def test_a_log_that_was_begun_anew_is_short(store: Store, tmp_path: Path) -> None:
    """What is left behind its end does not count."""
    log = Log(tmp_path / "flowker.db")
    await store.write(put, "long", LOG_BYTES)
    long = log.is_long()

    await store.write(put, "copied, and begun anew")

    assert long
    assert not log.is_long()
    log.close()
    assert (tmp_path / "flowker.db-wal").stat().st_size > LOG_BYTES


def test_a_log_that_is_not_there_is_short(tmp_path: Path) -> None:
    """Nor is one long that has no head yet; both are looked at again."""
    log = Log(tmp_path / "flowker.db")

    assert not log.is_long()
    (tmp_path / "flowker.db-wal").touch()
    assert not log.is_long()
    (tmp_path / "flowker.db-wal").write_bytes(bytes(LOG_BYTES + LOG_PAGES * 24 + 32))
    assert log.is_long()
    log.close()


async def test_the_log_is_closed_with_its_connection(store: Store, tmp_path: Path) -> None:
    """However often a connection is replaced."""

    def opened() -> int:
        files = (file.resolve() for file in Path("/proc/self/fd").iterdir())
        return sum(file == tmp_path / "flowker.db-wal" for file in files)

    await store.write(put, "one")
    before = opened()
    for number in range(3):
        store._writer._link.drop()
        await store.write(put, str(number))

    assert opened() == before


class Failing:
    """A connection whose disk answers with an error."""

    def __init__(self, code: int) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        self._error = OperationalError("PRAGMA", {}, error)

    def exec_driver_sql(self, _: str) -> None:
        raise self._error


def test_a_copy_that_cannot_be_flushed_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with a status of its own."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    connection: Any = Failing(sqlite3.SQLITE_IOERR_FSYNC)

    with pytest.raises(OperationalError):
        sqlite._checkpoint(connection)

    assert ended == [os.EX_IOERR]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE])
def test_a_copy_that_cannot_be_written_is_made_again(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Nothing was taken for written; the batch that comes with it is refused."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    connection: Any = Failing(code)

    with pytest.raises(OperationalError):
        sqlite._checkpoint(connection)

    assert ended == []


def test_a_start_writes_what_is_in_the_log_again(sqlite_url: str, tmp_path: Path) -> None:
    """Byte by byte the same, and while nobody else can write there."""
    connection = sqlite3.connect(tmp_path / "flowker.db", isolation_level=None)
    connection.execute("INSERT INTO journal VALUES ('one', 0, 'k', ?)", ["x" * 3 * sqlite.LOG_CHUNK_BYTES])
    log = tmp_path / "flowker.db-wal"
    before, written_at = log.read_bytes(), log.stat().st_mtime_ns

    upgrade(sqlite_url)

    assert log.read_bytes() == before
    assert log.stat().st_mtime_ns > written_at
    connection.close()


def test_a_start_that_cannot_put_the_log_on_disk_is_refused(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the system's words."""

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(DatabaseUnusable, match="cannot be used: Input/output error"):
        upgrade(sqlite_url)


async def test_a_store_that_takes_no_changes_is_not_well_until_it_does(store: Store) -> None:
    """Reading goes on; whoever checks it has it try."""

    def fill(connection: Connection) -> None:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))

    await store.write(fill)
    with pytest.raises(InternalError):
        await store.write(put, "large", LOG_BYTES)

    has_failed = store._writer.has_failed
    is_well = await store.check()

    assert has_failed
    assert is_well
    assert not store._writer.has_failed
