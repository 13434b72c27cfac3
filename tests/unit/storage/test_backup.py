"""A copy of the store that is one moment of it, whatever is written meanwhile."""

import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flowker.domain.audit import AuditEvent
from flowker.storage import audit_events, database
from flowker.storage.audit_verification import verify_database
from flowker.storage.backup import back_up
from flowker.storage.database import DatabaseUnusable
from flowker.storage.files import FileUnusable, new_file
from tests.unit.storage.test_archiving import names
from tests.unit.storage.test_audit_verification import KEYLESS, spoil_page_of

ENTRIES = 30_000

Tell = Callable[[int, int], None]


def ignore(_: int, __: int) -> None:
    """Whoever is not interested in how far it is."""


def fill(url: str, make_audit_event: Callable[..., AuditEvent], entries: int) -> None:
    engine = database._engine(url, read_only=False)
    with engine.begin() as connection:
        audit_events.append(connection, [make_audit_event() for _ in range(entries)])
    engine.dispose()


@contextmanager
def writing(path: Path, written: list[int]) -> Iterator[None]:
    """Somebody commits one row after another to a table of their own."""
    ended = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as raw:
            raw.execute("CREATE TABLE ticks (number INTEGER PRIMARY KEY)")
            while not ended.is_set():
                raw.execute("INSERT INTO ticks DEFAULT VALUES")
                written.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    while len(written) < 10:
        ended.wait(0.001)
    yield
    ended.set()
    thread.join()


def ticks(path: Path) -> int:
    with closing(sqlite3.connect(path)) as raw:
        [count] = raw.execute("SELECT count(*) FROM ticks").fetchone()
        return int(count)


async def test_a_copy_is_one_moment_while_others_write(
    sqlite_url: str, tmp_path: Path, make_audit_event: Callable[..., AuditEvent]
) -> None:
    """No commit has it begin anew: the pages that are copied only become more, and there are as many all the time."""
    fill(sqlite_url, make_audit_event, ENTRIES)
    told: list[tuple[int, int]] = []
    written: list[int] = []
    before: list[int] = []

    def tell(done: int, pages: int) -> None:
        before.append(len(written))
        told.append((done, pages))
        while len(written) < before[-1] + 10:  # Whatever is copied next, there were commits before.
            threading.Event().wait(0.001)

    with writing(tmp_path / "flowker.db", written):
        size_bytes = back_up(sqlite_url, tmp_path / "copy.db", tell)

    assert len(told) >= 3
    assert told == sorted(told)
    assert len({pages for _, pages in told}) == 1
    assert told[-1][0] == told[-1][1]
    assert size_bytes == told[-1][1] * 4096
    assert 1 <= ticks(tmp_path / "copy.db") <= before[0] + 1
    assert ticks(tmp_path / "flowker.db") > ticks(tmp_path / "copy.db")
    found = await verify_database(f"sqlite:///{tmp_path / 'copy.db'}", KEYLESS, frozenset(), lambda *_: None)
    assert (found.is_good, found.checked) == (True, ENTRIES)


def test_only_its_owner_can_read_it_and_nothing_lies_beside_it(sqlite_url: str, tmp_path: Path) -> None:
    """It is one file."""
    target = tmp_path / "copies"
    target.mkdir()

    back_up(sqlite_url, target / "copy.db", ignore)

    assert names(target, "*") == ["copy.db"]
    assert names(target, ".*") == []
    assert stat.S_IMODE((target / "copy.db").stat().st_mode) == 0o600


def test_a_link_to_the_database_is_followed(sqlite_url: str, tmp_path: Path) -> None:
    """As the service does."""
    link = tmp_path / "link.db"
    link.symlink_to(Path(sqlite_url.removeprefix("sqlite:///")))

    assert back_up(f"sqlite:///{link}", tmp_path / "copy.db", ignore) > 0


def test_no_file_is_overwritten(sqlite_url: str, tmp_path: Path) -> None:
    """Least of all the database itself."""
    path = tmp_path / "flowker.db"
    before = path.read_bytes()

    with pytest.raises(FileUnusable, match=r"flowker\.db cannot be written: File exists"):
        back_up(sqlite_url, path, ignore)

    assert path.read_bytes() == before


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """It is somebody else's."""
    path = tmp_path / "copy.db"

    with pytest.raises(FileUnusable, match="File exists"), new_file(path):
        path.write_text("precious")

    assert path.read_text() == "precious"
    assert names(tmp_path, "*") == ["copy.db"]
    assert names(tmp_path, ".*") == []


def test_a_folder_that_is_not_there_is_told(sqlite_url: str, tmp_path: Path) -> None:
    """By the name of the file."""
    with pytest.raises(FileUnusable, match=r"copy\.db cannot be written: No such file"):
        back_up(sqlite_url, tmp_path / "nowhere" / "copy.db", ignore)


def test_a_database_that_is_not_there_is_told(tmp_path: Path) -> None:
    """And neither made nor copied."""
    with pytest.raises(DatabaseUnusable, match="cannot be copied: unable to open"):
        back_up(f"sqlite:///{tmp_path / 'no.db'}", tmp_path / "copy.db", ignore)

    assert [*names(tmp_path, "*"), *names(tmp_path, ".*")] == []


def test_a_copy_that_is_not_whole_is_none(
    sqlite_url: str, tmp_path: Path, make_audit_event: Callable[..., AuditEvent]
) -> None:
    """A page of the database was spoiled: better to hear of it now."""
    fill(sqlite_url, make_audit_event, 200)
    spoil_page_of(b"event-00100EXECUTION", tmp_path / "flowker.db")

    with pytest.raises(DatabaseUnusable, match="the copy is not whole"):
        back_up(sqlite_url, tmp_path / "copy.db", ignore)

    assert not (tmp_path / "copy.db").exists()


def test_a_server_copies_itself(postgresql_url: str, tmp_path: Path) -> None:
    """With a command that is named, and without a password in the message."""
    with pytest.raises(DatabaseUnusable, match="pg_dump"):
        back_up(postgresql_url, tmp_path / "copy.db", ignore)

    assert names(tmp_path, "*") == []
