"""Verification in the store: page by page, beside a writer, and whatever is found in the table."""

import asyncio
import contextlib
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from flowker import turns
from flowker.domain.audit import GENESIS_HASH, AuditEvent
from flowker.domain.errors import InternalError
from flowker.storage import audit_events, audit_verification, database, executions, workflows
from flowker.storage.audit_verification import Verification, Verifier, advance, verify, verify_database
from flowker.storage.database import DatabaseUnusable, Store, is_unreadable
from flowker.storage.executions import Acceptance, Progress
from flowker.storage.keys import KeysUnusable
from flowker.storage.vault import Vault
from flowker.storage.workflows import StoredWorkflow
from tests.unit.storage.test_audit_events import drop_triggers

MakeEvent = Callable[..., AuditEvent]

NOON = "2026-03-17T12:00:00.000000Z"
ONE = "2026-03-17T13:00:00.000000Z"


def _no_keys() -> list[bytes]:
    raise KeysUnusable("there is none")


KEYLESS = Vault(_no_keys)
"""For chains of which nothing was archived."""

ENTRIES_PER_S = 20_000
"""A fifth of what a core of its own does: tests share theirs."""


def go_through(connection: Connection, entries: int, until: int | None = None) -> Verification:
    """A whole verification with pages of this many entries."""
    found = Verification()
    while not found.ended:
        found = advance(connection, KEYLESS, found, until, entries)
    return found


def tamper(connection: Connection, statement: str, **values: object) -> None:
    connection.execute(text(statement), values)


def make_anew_without_key(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE copied AS SELECT * FROM audit_events")
    connection.exec_driver_sql("DROP TABLE audit_events")
    connection.exec_driver_sql("ALTER TABLE copied RENAME TO audit_events")


@pytest.fixture
def chain(connection: Connection, make_audit_event: MakeEvent) -> Connection:
    """Ten entries that can be tampered with."""
    audit_events.append(connection, [make_audit_event() for _ in range(10)])
    drop_triggers(connection)
    return connection


class TestPages:
    @pytest.mark.parametrize("entries", [1, 2, 3, 5, 10, 11, 100])
    def test_a_chain_as_it_was_written_is_good_in_pages_of_any_size(self, chain: Connection, entries: int) -> None:
        """Every entry is checked, and none twice."""
        found = go_through(chain, entries)

        assert found.is_good
        assert found.checked == found.sequence == 10
        assert found.hash == audit_events.tail(chain).hash
        assert found.message == "Every entry from 1 to 10 is as it was written."

    def test_an_empty_chain_is_good(self, connection: Connection) -> None:
        """There is nothing that could be wrong."""
        found = go_through(connection, 5)

        assert (found.is_good, found.checked, found.hash) == (True, 0, GENESIS_HASH)

    @pytest.mark.parametrize("entries", [1, 2, 3, 5, 10, 100])
    @pytest.mark.parametrize("sequence", range(1, 11))
    def test_a_changed_entry_is_found_in_pages_of_any_size(
        self, chain: Connection, entries: int, sequence: int
    ) -> None:
        """Wherever in a page it is."""
        tamper(chain, "UPDATE audit_events SET actor_id = 'x' WHERE sequence = :sequence", sequence=sequence)

        found = go_through(chain, entries)

        assert (found.first_bad, found.checked, found.is_good) == (sequence, sequence, False)
        assert found.message == f"Entry {sequence} is not as it was written: it was changed, moved or taken away."

    @pytest.mark.parametrize("database_kind", ["sqlite"])
    @pytest.mark.parametrize("entries", [1, 2, 3, 5, 10, 100])
    @pytest.mark.parametrize("sequence", range(1, 11))
    def test_text_that_is_no_utf_8_is_found_in_pages_of_any_size(
        self, chain: Connection, entries: int, sequence: int
    ) -> None:
        """The driver cannot read its page at all."""
        tamper(
            chain,
            "UPDATE audit_events SET context = CAST(X'7BFF7D' AS TEXT) WHERE sequence = :sequence",
            sequence=sequence,
        )

        assert go_through(chain, entries).first_bad == sequence

    @pytest.mark.parametrize("entries", [1, 2, 3, 5, 10, 100])
    @pytest.mark.parametrize("sequence", range(1, 10))
    def test_a_missing_entry_is_found_in_pages_of_any_size(
        self, chain: Connection, entries: int, sequence: int
    ) -> None:
        """Also the one that a page would have begun with."""
        tamper(chain, "DELETE FROM audit_events WHERE sequence = :sequence", sequence=sequence)

        assert go_through(chain, entries).first_bad == sequence

    @pytest.mark.parametrize("entries", [1, 2, 3, 5, 10, 100])
    @pytest.mark.parametrize("sequence", range(1, 11))
    def test_an_entry_that_is_there_twice_is_found_in_pages_of_any_size(
        self, chain: Connection, entries: int, sequence: int
    ) -> None:
        """In a table that was made anew without its key, also where a page ends between the two."""
        make_anew_without_key(chain)
        tamper(
            chain, "INSERT INTO audit_events SELECT * FROM audit_events WHERE sequence = :sequence", sequence=sequence
        )

        assert go_through(chain, entries).first_bad == sequence

    @pytest.mark.parametrize("database_kind", ["sqlite"])
    @pytest.mark.parametrize(("number", "named"), [(-3, -3), (0, 0), (None, 1)])
    def test_an_entry_before_the_first_is_found(self, chain: Connection, number: int | None, named: int) -> None:
        """Nothing is before the beginning, and nothing is without a number."""
        make_anew_without_key(chain)
        tamper(chain, "UPDATE audit_events SET sequence = :number WHERE sequence = 10", number=number)

        assert go_through(chain, 3).first_bad == named

    def test_an_entry_that_is_taken_away_meanwhile_is_found(self, chain: Connection) -> None:
        """The next page does not begin with what the last one ended with."""
        half_way = advance(chain, KEYLESS, Verification(), None, 5)
        chain.exec_driver_sql("DELETE FROM audit_events WHERE sequence = 5")

        assert advance(chain, KEYLESS, half_way, None, 5).first_bad == 5

    def test_everything_that_is_taken_away_meanwhile_is_found(self, chain: Connection) -> None:
        """There is no next page."""
        half_way = advance(chain, KEYLESS, Verification(), None, 5)
        chain.exec_driver_sql("DELETE FROM audit_events WHERE sequence >= 5")

        assert advance(chain, KEYLESS, half_way, None, 5).first_bad == 5

    def test_no_page_scans(self, chain: Connection, read_plans: Callable[..., list[str]]) -> None:
        """Nor does the look for later changes at the end."""
        plans = read_plans(advance, KEYLESS, Verification(), None) + read_plans(
            advance, KEYLESS, advance(chain, KEYLESS, Verification(), None, 5), None
        )

        assert len(plans) > 2
        # The first page begins at one end of the primary key.
        assert [plan for plan in plans if "B-TREE" in plan or ("SCAN" in plan and "audit_events" not in plan)] == []


class TestUpToAnEvent:
    def test_what_comes_later_does_not_matter(self, chain: Connection) -> None:
        """Only the entries up to it are asked about."""
        chain.exec_driver_sql("UPDATE audit_events SET actor_id = 'x' WHERE sequence = 8")

        assert (go_through(chain, 3, until=7).is_good, go_through(chain, 3, until=7).checked) == (True, 7)
        assert go_through(chain, 3, until=8).first_bad == 8
        assert go_through(chain, 3, until=10).first_bad == 8

    def test_an_event_that_is_taken_away_meanwhile_is_missing(self, chain: Connection) -> None:
        """It was there when it was asked about."""
        chain.exec_driver_sql("DELETE FROM audit_events WHERE sequence >= 7")

        found = go_through(chain, 3, until=8)

        assert (found.first_bad, found.is_cut, found.checked) == (7, True, 6)


class TestEnd:
    """The chain itself does not tell that its last entries were taken away; what they told of does."""

    def test_entries_of_executions_that_were_taken_away_are_missed(
        self,
        connection: Connection,
        make_workflow: Callable[..., StoredWorkflow],
        make_acceptance: Callable[..., Acceptance],
        make_progress: Callable[..., Progress],
        make_audit_event: MakeEvent,
    ) -> None:
        """First the one of its end, then the one of its start."""
        workflows.insert(connection, make_workflow(id="workflow-001", status="active"))
        started = make_acceptance(started_at=ONE, audit=make_audit_event(timestamp=ONE))
        audit_events.append(connection, [make_audit_event()])
        executions.accept(connection, [started])
        two = "2026-03-17T14:00:00.000000Z"
        ended = make_audit_event(event_type="EXECUTION_COMPLETED", timestamp=two)
        executions.record(
            connection, [make_progress(started.execution_id, status="completed", completed_at=two, audit=[ended])]
        )
        drop_triggers(connection)
        ends = [go_through(connection, 5)]
        for _ in range(2):
            connection.exec_driver_sql(
                "DELETE FROM audit_events WHERE sequence = (SELECT max(sequence) FROM audit_events)"
            )
            ends.append(go_through(connection, 5))

        assert [(end.first_bad, end.is_cut, end.checked) for end in ends] == [
            (None, False, 3),
            (3, True, 2),
            (2, True, 1),
        ]
        assert ends[1].message == "The chain ends after entry 2: what was recorded later was taken away."

    def test_an_entry_of_a_workflow_that_was_taken_away_is_missed(
        self, connection: Connection, make_workflow: Callable[..., StoredWorkflow], make_audit_event: MakeEvent
    ) -> None:
        """Whatever was changed last, in any status; here all entries are gone."""
        workflows.insert(connection, make_workflow(status="inactive", updated_at=ONE))
        before = go_through(connection, 5)
        audit_events.append(connection, [make_audit_event(timestamp=ONE)])

        assert (before.first_bad, before.checked) == (1, 0)
        assert go_through(connection, 5).is_good

    def test_a_hash_that_was_noted_has_to_be_there(self, chain: Connection) -> None:
        """What is missed tells that the chain is another one, however well its entries follow from each other."""
        noted = frozenset({audit_events.tail(chain).hash})
        chain.exec_driver_sql("DELETE FROM audit_events WHERE sequence = 10")

        found = advance(chain, KEYLESS, Verification(anchors=noted), None, 20)

        assert found.first_bad is None
        assert not found.is_good
        assert found.anchors == noted

    def test_a_hash_that_is_there_is_found(self, chain: Connection) -> None:
        """In any page."""
        noted = frozenset({audit_events.tail(chain).hash})
        found = Verification(anchors=noted)
        while not found.ended:
            found = advance(chain, KEYLESS, found, None, 3)

        assert found.is_good


class TestBesideTheService:
    async def test_entries_that_come_meanwhile_are_verified_too(
        self, store: Store, make_audit_event: MakeEvent
    ) -> None:
        """No page waits for the writer, and the writer for no page."""
        await store.write(audit_events.append, [make_audit_event() for _ in range(3_000)])
        seen: list[int] = []
        late = [make_audit_event() for _ in range(100)]

        async def write_on() -> None:
            for event in late:
                await store.write(audit_events.append, [event])

        writing = asyncio.create_task(write_on())
        found = await verify(store, KEYLESS, Verification(), tell=lambda so_far: seen.append(so_far.sequence))
        await writing

        assert found.is_good
        assert seen[:2] == [1_000, 2_000]
        assert (await verify(store, KEYLESS, Verification())).sequence == 3_100

    async def test_a_few_verify_at_once_a_few_wait_and_others_are_refused(
        self, store: Store, make_audit_event: MakeEvent
    ) -> None:
        """Who is refused may come again."""
        await store.write(audit_events.append, [make_audit_event() for _ in range(10)])
        verifier = Verifier(store, KEYLESS)
        room = audit_verification.AT_ONCE_MAX + audit_verification.WAITING_MAX

        outcomes = await asyncio.gather(*[verifier.verify(10) for _ in range(room + 3)], return_exceptions=True)

        refused = [outcome for outcome in outcomes if isinstance(outcome, InternalError)]
        assert [error.headers for error in refused] == [{"Retry-After": "1"}] * 3
        assert sum(isinstance(outcome, Verification) and outcome.is_good for outcome in outcomes) == room
        assert (await verifier.verify(10)).is_good

    async def test_others_wait_less_for_the_interpreter_meanwhile(
        self, store: Store, make_audit_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Hashes are computed without giving way, and deliveries come all the time."""
        await store.write(audit_events.append, [make_audit_event() for _ in range(10)])
        intervals_s = []

        def page(*args: Any) -> Verification:
            intervals_s.append(sys.getswitchinterval())
            return advance(*args)

        monkeypatch.setattr(audit_verification, "advance", page)
        await Verifier(store, KEYLESS).verify(10)

        assert intervals_s == [pytest.approx(turns.BESIDE_WORK_S)]
        assert sys.getswitchinterval() == pytest.approx(turns.ALONE_S)

    async def test_tens_of_thousands_are_verified_in_a_second(
        self, store: Store, make_audit_event: MakeEvent, record_property: Callable[[str, object], None]
    ) -> None:
        """It takes a second for what takes a day to come together."""
        event = make_audit_event(context={"workflowId": "w" * 36, "revision": 1})
        events = [event._replace(event_id=f"event-{number}") for number in range(20_000)]
        await store.write(audit_events.append, events)

        started = time.process_time()
        found = await verify(store, KEYLESS, Verification())
        per_s = found.checked / (time.process_time() - started)

        record_property("entries per second", per_s)
        assert found.is_good
        assert per_s > ENTRIES_PER_S


class TestDatabase:
    async def test_a_database_is_verified_to_its_end(
        self, url: str, store: Store, make_audit_event: MakeEvent
    ) -> None:
        """Who watches hears how far it is."""
        await store.write(audit_events.append, [make_audit_event() for _ in range(1_500)])
        told: list[tuple[int, int]] = []

        found = await verify_database(
            url, KEYLESS, frozenset(), lambda so_far, entries: told.append((so_far.sequence, entries))
        )

        assert found.is_good
        assert told == [(1_000, 1_500), (1_500, 1_500)]

    async def test_a_database_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        """And not made."""
        path = tmp_path / "no.db"

        with pytest.raises(DatabaseUnusable, match="cannot be read"):
            await verify_database(f"sqlite:///{path}", KEYLESS, frozenset(), lambda *_: None)

        assert not path.exists()

    @pytest.mark.parametrize("database_kind", ["sqlite"])
    async def test_a_database_of_another_version_is_told(self, url: str) -> None:
        """With what brings it up to this one."""
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw:
            raw.execute("UPDATE alembic_version SET version_num = '0001'")
            raw.commit()

        with pytest.raises(DatabaseUnusable, match="db upgrade"):
            await verify_database(url, KEYLESS, frozenset(), lambda *_: None)

    @pytest.mark.parametrize("database_kind", ["sqlite"])
    async def test_a_page_of_the_file_that_was_spoiled_is_an_entry_that_is_bad(
        self, url: str, make_audit_event: MakeEvent
    ) -> None:
        """SQLite finds its own structure broken there."""
        engine = database._engine(url, read_only=False)
        with engine.begin() as connection:
            audit_events.append(connection, [make_audit_event() for _ in range(200)])
        engine.dispose()
        spoil_page_of(b"event-00100EXECUTION", Path(url.removeprefix("sqlite:///")))

        found = await verify_database(url, KEYLESS, frozenset(), lambda *_: None)

        assert found.first_bad is not None
        assert 80 < found.first_bad <= 100


class TestErrors:
    @pytest.mark.parametrize("database_kind", ["sqlite"])
    def test_a_store_that_cannot_be_reached_is_no_bad_entry(self, url: str) -> None:
        """Nothing is known of the chain then."""
        engine = database._engine(url, read_only=True)
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            with table_away(url), pytest.raises(OperationalError, match="no such table"):
                advance(connection, KEYLESS, Verification(), None)
        engine.dispose()

    @pytest.mark.parametrize("error", [psycopg.errors.DataCorrupted("x"), psycopg.errors.IndexCorrupted("x")])
    def test_a_server_that_finds_its_data_spoiled_says_so(self, error: Exception) -> None:
        """By its own checks of a page."""
        assert is_unreadable(error)

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("x"),
            sqlite3.OperationalError("x"),
            sqlite3.InterfaceError("x"),
            psycopg.errors.AdminShutdown("x"),
            psycopg.OperationalError("x"),
        ],
    )
    def test_other_errors_are_not_of_what_is_stored(self, error: Exception) -> None:
        """Only what the database or its driver says of the data is."""
        assert not is_unreadable(error)


@contextlib.contextmanager
def table_away(url: str) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw:
        raw.execute("ALTER TABLE audit_events RENAME TO away")
        yield


def spoil_page_of(content: bytes, path: Path) -> None:
    """Overwrite the header of the page that holds this."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [size] = raw.execute("PRAGMA page_size").fetchone()
    file = bytearray(path.read_bytes())
    at = file.index(content) // size * size
    file[at : at + 8] = b"\xff" * 8
    path.write_bytes(file)
