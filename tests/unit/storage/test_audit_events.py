"""The audit chain in the store: no gap, no way to change it, and no search that reads more than its page."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice, pairwise
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from flowker.domain.audit import EVENT_KINDS, GENESIS_HASH, SYSTEM, Actor, AuditEvent, chain_hash
from flowker.domain.errors import AuditEventNotFound, InvalidQuery
from flowker.domain.timestamps import format_timestamp
from flowker.storage import audit_events, audit_verification, database, pages, tables
from flowker.storage.audit_events import Search, Tail
from flowker.storage.database import Store
from flowker.storage.pages import Place
from flowker.storage.vault import Vault

MakeEvent = Callable[..., AuditEvent]

NOON = "2026-03-17T12:00:00.000000Z"
START = datetime(2026, 3, 17, tzinfo=UTC)

KEYLESS = Vault(list)

WRITERS = 64
WRITES = 8

MANY = 100_000
PAGE_MAX_S = 0.020


def read_chain(connection: Connection) -> list[tuple[int, AuditEvent, str, str]]:
    """Sequence, event, hash and previous hash of every row, from the columns alone."""
    rows = connection.execute(select(tables.audit_events).order_by(tables.audit_events.c.sequence))
    return [
        (
            row.sequence,
            AuditEvent(
                row.event_id,
                row.event_type,
                row.action,
                row.result,
                row.resource_type,
                row.resource_id,
                Actor(row.actor_type, row.actor_id, row.actor_ip),
                row.timestamp,
                json.loads(row.context),
                json.loads(row.metadata),
            ),
            row.hash,
            row.previous_hash,
        )
        for row in rows
    ]


def test_an_empty_store_has_the_genesis_tail(connection: Connection) -> None:
    """The first event has a predecessor too."""
    assert audit_events.tail(connection) == Tail(0, GENESIS_HASH, "")


def test_events_form_one_chain(connection: Connection, make_audit_event: MakeEvent) -> None:
    """Within a call and from call to call; each hash can be computed again from the row."""
    events = [
        make_audit_event(actor=Actor("api_key", "ab12", "10.0.0.1"), context={"b": 1, "a": [0.1, "é\n"]}),
        make_audit_event(metadata={"nested": {"z": None, "a": True}}),
        make_audit_event(),
    ]

    audit_events.append(connection, events[:2])
    audit_events.append(connection, events[2:])

    chain = read_chain(connection)
    previous = GENESIS_HASH
    for number, (sequence, event, hash_, previous_hash) in enumerate(chain):
        assert (sequence, event, previous_hash) == (number + 1, events[number], previous)
        assert hash_ == chain_hash(event, previous_hash)
        previous = hash_
    assert audit_events.tail(connection) == Tail(3, previous, NOON)


def test_nothing_to_append_asks_nothing(
    connection: Connection, read_plans: Callable[..., list[str]], make_audit_event: MakeEvent
) -> None:
    """Progress without audit events costs no statement; the tail is searched for."""
    none = read_plans(audit_events.append, [])
    some = read_plans(audit_events.append, [make_audit_event()])

    assert connection.in_transaction()
    assert none == []
    assert [plan for plan in some if "SCAN" in plan] == []


@pytest.mark.parametrize("statement", ["UPDATE audit_events SET metadata = '{}'", "DELETE FROM audit_events"])
def test_what_was_appended_is_never_changed(
    connection: Connection, make_audit_event: MakeEvent, statement: str
) -> None:
    """Triggers refuse, whoever asks."""
    audit_events.append(connection, [make_audit_event()])

    with pytest.raises(IntegrityError, match="audit events are never"):
        connection.exec_driver_sql(statement)

    assert len(read_chain(connection)) == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("changed", ["sequence", "event_id"])
def test_what_was_appended_is_not_replaced(connection: Connection, make_audit_event: MakeEvent, changed: str) -> None:
    """To SQLite this is an INSERT, whichever key is taken."""
    audit_events.append(connection, [make_audit_event()])
    before = read_chain(connection)
    columns = [column.name for column in tables.audit_events.columns]
    values = ", ".join(
        "9" if name == changed == "sequence" else "'x'" if name == changed else name for name in columns
    )

    with pytest.raises(IntegrityError, match="audit events are never changed"):
        connection.exec_driver_sql(f"INSERT OR REPLACE INTO audit_events SELECT {values} FROM audit_events")  # noqa: S608

    assert read_chain(connection) == before


class TestOrderOfTime:
    def test_an_event_from_before_gets_the_time_of_the_one_before_it(
        self, connection: Connection, make_audit_event: MakeEvent
    ) -> None:
        """A clock that went back, or a request that waited: within a call and from call to call."""
        times = [NOON, "2026-03-17T11:59:59.000000Z", "2026-03-17T12:00:00.000001Z"]

        audit_events.append(connection, [make_audit_event(timestamp=timestamp) for timestamp in times])
        audit_events.append(connection, [make_audit_event(timestamp=NOON)])

        recorded = [event.timestamp for _, event, _, _ in read_chain(connection)]
        assert recorded == [NOON, NOON, times[2], times[2]]

    def test_its_hash_is_of_the_time_that_was_recorded(
        self, connection: Connection, make_audit_event: MakeEvent
    ) -> None:
        """What is stored is what was hashed."""
        audit_events.append(
            connection, [make_audit_event(), make_audit_event(timestamp="2025-03-17T12:00:00.000000Z")]
        )

        assert audit_verification.advance(connection, KEYLESS, audit_verification.Verification(), None).is_good


def test_an_event_that_is_not_what_its_type_says_is_refused(
    connection: Connection, make_audit_event: MakeEvent
) -> None:
    """Nothing of the call is stored."""
    with pytest.raises(ValueError, match="EXECUTION_STARTED"):
        audit_events.append(connection, [make_audit_event(), make_audit_event(result="FAILED")])

    assert audit_events.tail(connection).sequence == 0


def test_an_event_is_read_by_its_id(connection: Connection, make_audit_event: MakeEvent) -> None:
    """With everything that it was given, and its place in the chain."""
    event = make_audit_event(actor=Actor("api_key", "ab12", None), context={"n": 1}, metadata={"deep": {"x": [None]}})
    audit_events.append(connection, [make_audit_event(), event])

    stored = audit_events.get(connection, event.event_id)

    assert stored.event == event
    assert stored.sequence == 2
    assert stored.hash == chain_hash(event, stored.previous_hash)


def test_an_unknown_id_is_not_found(connection: Connection) -> None:
    """There is a refusal of its own for it."""
    with pytest.raises(AuditEventNotFound):
        audit_events.get(connection, "event-00001")


def minute(number: int) -> str:
    return format_timestamp(START + timedelta(minutes=number))


def make_events(count: int) -> Iterator[AuditEvent]:
    """Events of all types, one a minute; a good part of them are of one resource."""
    random = Random(7)  # noqa: S311 - a spread, no secret
    types = list(EVENT_KINDS)
    for number in range(count):
        type_ = random.choice(types)
        kind = EVENT_KINDS[type_]
        name = "busy" if number % 2 else f"resource-{random.randrange(50)}"
        resource_id = name if kind.resource_type == "workflow" else f"{name}-{kind.resource_type}"
        yield AuditEvent(
            f"event-{number}", type_, *kind, resource_id, SYSTEM, minute(number), {"workflowId": "w" * 36}
        )


SEARCHES = (
    Search(),
    Search(event_type="WORKFLOW_CREATED"),
    Search(event_type="WORKFLOW_LOST"),
    Search(action="EXECUTE"),
    Search(result="FAILED"),
    Search(resource_type="provider_config"),
    Search(action="EXECUTE", result="FAILED", resource_type="executor_config"),
    Search(action="DRAFT", result="FAILED"),
    Search(resource_id="busy"),
    Search(resource_id="resource-7"),
    Search(resource_id="nobody"),
    Search(resource_id="busy", event_type="WORKFLOW_UPDATED"),
    Search(resource_id="busy", event_type="EXECUTION_FAILED"),
    Search(resource_id="busy", resource_type="workflow"),
    Search(resource_id="busy", resource_type="execution"),
    Search(resource_id="resource-7-execution", action="EXECUTE", result="SUCCESS"),
    Search(date_from=minute(100)),
    Search(date_to=minute(100)),
    Search(date_from=minute(100), date_to=minute(100)),
    Search(date_from=minute(50), date_to=minute(250), action="EXECUTE"),
    Search(date_from=minute(-10), date_to=minute(100_000_000), resource_id="busy"),
    Search(date_from=minute(100_000_000)),
    Search(date_to=minute(-10)),
)


def matches(event: AuditEvent, search: Search) -> bool:
    wanted = {name: value for name, value in asdict(search).items() if value is not None}
    first, last = wanted.pop("date_from", ""), wanted.pop("date_to", "a")
    return first <= event.timestamp <= last and all(getattr(event, name) == wanted[name] for name in wanted)


def read_all(connection: Connection, search: Search, sort_order: str, limit: int) -> list[str]:
    ids: list[str] = []
    cursor = ""
    while True:
        page = audit_events.list_page(connection, search, limit=limit, cursor=cursor, sort_order=sort_order)
        assert len(page.items) == limit or not page.has_more
        ids += [stored.event.event_id for stored in page.items]
        if not page.has_more:
            assert page.next_cursor == ""
            return ids
        cursor = page.next_cursor


class TestSearch:
    @pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
    def test_pages_hold_what_matches_in_the_order_of_the_chain(self, connection: Connection, sort_order: str) -> None:
        """Every event once, for every combination; compared with looking at all of them."""
        events = list(make_events(400))
        audit_events.append(connection, events)

        for search in SEARCHES:
            found = read_all(connection, search, sort_order, 7)

            expected = [event.event_id for event in events if matches(event, search)]
            assert found == (expected if sort_order == "ASC" else expected[::-1]), search

    def test_events_of_one_moment_are_all_in_its_range(
        self, connection: Connection, make_audit_event: MakeEvent
    ) -> None:
        """Ties have their order from the chain."""
        audit_events.append(connection, [make_audit_event() for _ in range(5)])

        assert len(read_all(connection, Search(date_from=NOON, date_to=NOON), "ASC", 2)) == 5

    def test_events_that_come_meanwhile_disturb_nothing(
        self, connection: Connection, make_audit_event: MakeEvent
    ) -> None:
        """The next page goes on where the last one ended."""
        audit_events.append(connection, [make_audit_event() for _ in range(4)])
        first = audit_events.list_page(connection, Search(), limit=2)

        audit_events.append(connection, [make_audit_event()])

        second = audit_events.list_page(connection, Search(), limit=2, cursor=first.next_cursor)
        assert [stored.sequence for page in (first, second) for stored in page.items] == [4, 3, 2, 1]

    @pytest.mark.parametrize(
        ("search", "sort_order"),
        [(Search(action="EXECUTE"), "DESC"), (Search(date_from=NOON), "DESC"), (Search(), "ASC")],
    )
    def test_a_cursor_of_another_search_is_refused(
        self, connection: Connection, make_audit_event: MakeEvent, search: Search, sort_order: str
    ) -> None:
        """It would lead somewhere in the middle of nothing."""
        audit_events.append(connection, [make_audit_event() for _ in range(4)])
        cursor = audit_events.list_page(connection, Search(), limit=2).next_cursor

        with pytest.raises(InvalidQuery):
            audit_events.list_page(connection, search, cursor=cursor, sort_order=sort_order)

    @pytest.mark.parametrize("value", ["", "0", "-1", "x", "1.5", "9" * 19])
    def test_a_cursor_to_no_place_in_the_chain_is_refused(self, connection: Connection, value: str) -> None:
        """Somebody made it up."""
        cursor = pages.cursor_to(Place(0, value, "x"), ["auditEvents", "DESC", *[None] * 7])

        with pytest.raises(InvalidQuery):
            audit_events.list_page(connection, Search(), cursor=cursor)

    def test_a_range_goes_past_an_entry_that_was_taken_away(
        self, connection: Connection, make_audit_event: MakeEvent
    ) -> None:
        """What is left can still be searched."""
        audit_events.append(connection, [make_audit_event(timestamp=minute(number)) for number in range(9)])
        drop_triggers(connection)
        connection.exec_driver_sql("DELETE FROM audit_events WHERE sequence = 5")

        assert len(read_all(connection, Search(date_from=minute(2)), "DESC", 3)) == 6

    @pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
    @pytest.mark.parametrize("search", SEARCHES, ids=str)
    def test_no_search_scans_or_sorts(
        self, connection: Connection, read_plans: Callable[..., list[str]], search: Search, sort_order: str
    ) -> None:
        """First page and later ones: along an index, merged by the database."""
        audit_events.append(connection, list(make_events(400)))
        page = audit_events.list_page(connection, search, limit=1, sort_order=sort_order)

        plans = [
            plan
            for cursor in ("", page.next_cursor)
            for plan in read_plans(audit_events.list_page, search, limit=5, cursor=cursor, sort_order=sort_order)
        ]

        assert [line for plan in plans for line in costly(plan)] == []

    @pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
    def test_pages_of_a_hundred_thousand_events_take_milliseconds(
        self, url: str, record_property: Callable[[str, object], None]
    ) -> None:
        """Whatever is searched for, first and later pages. What 19 of 20 take is measured over HTTP."""
        engine = database._engine(url, read_only=False)
        with engine.connect() as connection:
            with connection.begin():
                audit_events.append(connection, list(make_events(MANY)))
            taken_s: dict[Search, list[float]] = {search: [] for search in SEARCHES}
            for search, sort_order in islice(cycle([(s, o) for s in SEARCHES for o in ("ASC", "DESC")]), 800):
                cursor = ""
                for _ in range(2):
                    started = time.thread_time()
                    page = audit_events.list_page(connection, search, cursor=cursor, sort_order=sort_order)
                    taken_s[search].append(time.thread_time() - started)
                    cursor = page.next_cursor
        engine.dispose()

        # The machine is shared with other tests: outliers say nothing about the search.
        reached_s = {search: statistics.median(times) for search, times in taken_s.items()}
        record_property("slowest search, seconds", max(reached_s.values()))
        assert [search for search, seconds in reached_s.items() if seconds > PAGE_MAX_S] == []


def costly(plan: str) -> list[str]:
    """The lines of a plan that read the table, or sort what is not the page of one walk."""
    lines = plan.splitlines()
    return [
        line
        for before, line in pairwise(["", *lines])
        if ("SCAN" in line and "audit_events" in line)
        or ("TEMP B-TREE" in line and "Merge Append" not in before and "SCAN anon_" not in before)
    ]


def drop_triggers(connection: Connection) -> None:
    """What somebody does who is free to do anything to the database."""
    is_server = connection.dialect.name == "postgresql"
    for table, names in {
        "audit_events": ("events_no_update", "events_no_delete"),
        "audit_checkpoint": ("checkpoint_change",)
        if is_server
        else ("checkpoint_insert", "checkpoint_update", "checkpoint_delete"),
    }.items():
        for name in names:
            connection.exec_driver_sql(f"DROP TRIGGER audit_{name}{f' ON {table}' if is_server else ''}")


def append_one(connection: Connection, writer: int, number: int) -> None:
    event = AuditEvent(
        f"event-{writer}-{number}",
        "EXECUTION_STARTED",
        *EVENT_KINDS["EXECUTION_STARTED"],
        f"execution-{writer}",
        SYSTEM,
        format_timestamp(datetime.now(UTC)),
    )
    audit_events.append(connection, [event])


async def write_much(url: str, writers: Sequence[int]) -> None:
    """Each writer appends one event after the other; all of them at once."""

    async def write(writer: int) -> None:
        for number in range(WRITES):
            await store.write(append_one, writer, number)

    store = Store(url)
    await store.start()
    try:
        await asyncio.gather(*map(write, writers))
    finally:
        await store.stop()


WRITE_MUCH = (
    "import asyncio; from {module} import write_much; asyncio.run(write_much({url!r}, range({first}, {last})))"
)


class TestManyWriters:
    async def test_sixty_four_at_once_write_one_chain(self, url: str) -> None:
        """Through one store."""
        await write_much(url, range(WRITERS))

        assert_one_chain(url)

    async def test_two_stores_write_one_chain(self, url: str) -> None:
        """Beside each other in a process, each with a writer of its own."""
        half = WRITERS // 2

        await asyncio.gather(write_much(url, range(half)), write_much(url, range(half, WRITERS)))

        assert_one_chain(url)

    def test_two_processes_write_one_chain(self, url: str) -> None:
        """The database is what orders them."""
        half = WRITERS // 2
        programs = [
            WRITE_MUCH.format(module=__name__, url=url, first=first, last=first + half) for first in (0, half)
        ]

        processes = [
            subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[3]) for program in programs
        ]

        assert [process.wait(timeout=60) for process in processes] == [0, 0]
        assert_one_chain(url)


def assert_one_chain(url: str) -> None:
    engine = database._engine(url, read_only=True)
    with engine.connect() as connection:
        found = audit_verification.advance(connection, KEYLESS, audit_verification.Verification(), None)
        chain = read_chain(connection)
    engine.dispose()

    assert found.is_good
    assert found.sequence == len(chain) == WRITERS * WRITES
    assert len({event.event_id for _, event, _, _ in chain}) == WRITERS * WRITES
    times = [event.timestamp for _, event, _, _ in chain]
    assert times == sorted(times)
