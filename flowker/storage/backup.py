"""A copy of a store that is one moment of it, made while others read and write.

SQLite's own way of copying takes page after page of one snapshot. That snapshot is held from the first page to the
last: without it, every commit of the service would have the copy begin anew. Until it is done, the write-ahead log
grows by what is committed meanwhile, and nobody waits.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from flowker.storage.database import has_files, path_beside, without_password
from flowker.storage.files import new_file
from flowker.storage.refusals import DatabaseUnusable

PAGES_PER_STEP: Final = 1_000
"""Four megabytes: often enough to tell how far it is."""


def back_up(url: str, path: Path, tell: Callable[[int, int], None]) -> int:
    """Copy the database into a new file and check it there; its size in bytes.

    `tell` is told the pages that are copied and how many there are. Raises `DatabaseUnusable` and `FileUnusable`.
    """
    if not has_files(url):
        raise DatabaseUnusable(
            f"{without_password(url)} is copied by PostgreSQL itself: pg_dump makes a copy that is consistent"
        )
    source = path_beside(url, "")
    try:
        with new_file(path) as fresh:
            _copy(source, fresh, tell)
            _check(fresh)
            return fresh.stat().st_size
    except sqlite3.Error as error:
        raise DatabaseUnusable(f"the database cannot be copied: {error}") from error


def _copy(source: Path, target: Path, tell: Callable[[int, int], None]) -> None:
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as reading,
        closing(sqlite3.connect(target, isolation_level=None)) as writing,
    ):
        reading.execute("PRAGMA query_only=ON")
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # Now there is a snapshot.
        # Flushed at the end, and worth nothing before.
        writing.execute("PRAGMA synchronous=OFF")
        reading.backup(
            writing, pages=PAGES_PER_STEP, progress=lambda _, remaining, total: tell(total - remaining, total)
        )


def _check(path: Path) -> None:
    """Raise when the copy is not whole."""
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        [found] = copy.execute("PRAGMA integrity_check(1)").fetchone()
        # Ends as one file: what the check leaves beside it would be missed when only that is taken away.
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if found != "ok":
        raise DatabaseUnusable(f"the copy is not whole, and so the database may not be: {found}")
