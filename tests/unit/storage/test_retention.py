"""What retention removes and what it leaves, beside a service that goes on."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from flowker.domain.audit import AuditEvent
from flowker.domain.errors import ExecutionNotFound, WorkflowNotFound
from flowker.storage import audit_events, audit_verification, executions, retention, tables, workflows
from flowker.storage.audit_events import Search
from flowker.storage.audit_verification import Verification
from flowker.storage.database import DatabaseUnusable, Store
from flowker.storage.executions import Acceptance, Accepted, KeySeen, Progress
from flowker.storage.retention import Pruned, count_in_database, find_page, prune_database, remove
from flowker.storage.workflows import StoredWorkflow
from tests.unit.storage.test_archiving import names
from tests.unit.storage.test_audit_verification import KEYLESS

NOON = "2026-03-17T12:00:00.000000Z"
BEFORE = "2026-03-17T12:30:00.000000Z"
ONE = "2026-03-17T13:00:00.000000Z"
NOW = "2026-06-17T12:00:00.000000Z"

MakeAcceptance = Callable[..., Acceptance]
MakeProgress = Callable[..., Progress]
MakeWorkflow = Callable[..., StoredWorkflow]


@pytest.fixture
def end(make_progress: MakeProgress, make_audit_event: Callable[..., AuditEvent]) -> Callable[..., None]:
    """Stores executions and ends them at a time, or does not."""

    def store(
        connection: Connection, items: Sequence[Acceptance], completed_at: str | None, status: str = "completed"
    ) -> None:
        assert executions.accept(connection, items) == [Accepted()] * len(items)
        ends = [
            make_progress(
                item.execution_id,
                status=status,
                completed_at=completed_at,
                audit=[make_audit_event(resource_id=item.execution_id, timestamp=completed_at or NOON)],
            )
            for item in items
        ]
        assert executions.record(connection, ends) == [True] * len(items)

    return store


@pytest.fixture
def active(connection: Connection, make_workflow: MakeWorkflow) -> Connection:
    """The writer's connection to a store in which `workflow-001` is active."""
    workflows.insert(connection, make_workflow(status="active"))
    return connection


def stored_ids(connection: Connection) -> list[str]:
    return list(connection.scalars(select(tables.executions.c.id).order_by(tables.executions.c.id)))


def journal_ids(connection: Connection) -> set[str]:
    return set(connection.scalars(select(tables.journal.c.execution_id)))


def remove_all(connection: Connection, before: str = BEFORE) -> tuple[int, int]:
    found = [
        one.execution_id for status in ("completed", "failed") for one in find_page(connection, status, before, None)
    ]
    return remove(connection, found, before, NOW)


class TestWhatIsRemoved:
    def test_what_ended_before_the_time_goes_with_its_journal(
        self, active: Connection, make_acceptance: MakeAcceptance, end: Callable[..., None]
    ) -> None:
        """Completed or failed; what ended at the time or later stays, and so does what runs."""
        old, failed, on_time, young, running = items = [make_acceptance() for _ in range(5)]
        end(active, [old], NOON)
        end(active, [failed], NOON, "failed")
        end(active, [on_time], BEFORE)
        end(active, [young], ONE)
        end(active, [running], None, "running")
        assert journal_ids(active) == {item.execution_id for item in items}

        counted = retention.count_prunable(active, BEFORE)
        removed = remove_all(active)

        left = [on_time.execution_id, young.execution_id, running.execution_id]
        assert (counted, removed) == (2, (2, 0))
        assert stored_ids(active) == left
        assert journal_ids(active) == set(left)

    def test_a_removal_is_in_the_audit_trail(
        self, active: Connection, make_acceptance: MakeAcceptance, end: Callable[..., None]
    ) -> None:
        """With how many and the bound, once for each workflow; what the trail had of the executions stays."""
        items = [make_acceptance() for _ in range(3)]
        end(active, items, NOON)

        remove_all(active)

        [told] = audit_events.list_page(active, Search(event_type="EXECUTIONS_PRUNED")).items
        assert (told.event.resource_id, told.event.actor.type) == ("workflow-001", "system")
        assert told.event.context == {"executions": 3, "completedBefore": BEFORE}
        assert len(audit_events.list_page(active, Search(resource_id=items[0].execution_id)).items) == 2
        assert audit_verification.advance(active, KEYLESS, Verification(), None).is_good

    def test_nothing_to_remove_leaves_no_entry(self, active: Connection) -> None:
        """An entry tells of a change."""
        assert remove_all(active) == (0, 0)
        assert audit_events.tail(active).sequence == 0

    def test_an_execution_that_was_reopened_meanwhile_stays(
        self,
        active: Connection,
        make_acceptance: MakeAcceptance,
        make_progress: MakeProgress,
        end: Callable[..., None],
    ) -> None:
        """Between the look and the removal it is no ended one any more."""
        item = make_acceptance()
        end(active, [item], NOON, "failed")
        [found] = find_page(active, "failed", BEFORE, None)
        executions.record(active, [make_progress(item.execution_id, first_seq=2, reopens=True)])

        removed = remove(active, [found.execution_id], BEFORE, NOW)

        assert removed == (0, 0)
        assert stored_ids(active) == [item.execution_id]

    def test_an_execution_that_is_gone_is_not_reopened(
        self,
        active: Connection,
        make_acceptance: MakeAcceptance,
        make_progress: MakeProgress,
        end: Callable[..., None],
    ) -> None:
        """Who read it before hears that it came too late, and leaves nothing in the journal."""
        item = make_acceptance()
        end(active, [item], NOON, "failed")
        remove_all(active)

        recorded = executions.record(active, [make_progress(item.execution_id, first_seq=2, reopens=True)])

        assert recorded == [False]
        assert journal_ids(active) == set()
        with pytest.raises(ExecutionNotFound):
            executions.get(active, item.execution_id)

    def test_a_delivery_that_is_repeated_after_the_retention_starts_anew(
        self, active: Connection, make_acceptance: MakeAcceptance, end: Callable[..., None]
    ) -> None:
        """Its idempotency key went with its execution, and not before."""
        end(active, [make_acceptance(idempotency_key="key")], NOON)
        [seen] = executions.accept(active, [make_acceptance(idempotency_key="key")])

        remove_all(active)

        assert isinstance(seen, KeySeen)
        assert executions.accept(active, [make_acceptance(idempotency_key="key")]) == [Accepted()]


class TestRevisions:
    def test_those_of_a_workflow_that_is_gone_go_with_its_last_execution(
        self, active: Connection, make_acceptance: MakeAcceptance, end: Callable[..., None]
    ) -> None:
        """And not before."""
        end(active, [make_acceptance()], NOON)
        end(active, [make_acceptance()], ONE)
        workflows.delete(active, "workflow-001")

        first = remove_all(active)
        still_there = workflows.get_revision(active, "workflow-001", 1)
        second = remove_all(active, NOW)

        assert (first, second) == ((1, 0), (1, 1))
        assert still_there == {"nodes": [], "edges": [], "metadata": {}}
        with pytest.raises(WorkflowNotFound):
            workflows.get_revision(active, "workflow-001", 1)
        newest = audit_events.list_page(active, Search(event_type="EXECUTIONS_PRUNED")).items[0]
        assert newest.event.context == {"executions": 1, "completedBefore": NOW, "revisions": 1}

    def test_those_of_a_workflow_that_is_there_stay(
        self, active: Connection, make_acceptance: MakeAcceptance, end: Callable[..., None]
    ) -> None:
        """It may be executed again."""
        end(active, [make_acceptance()], NOON)

        assert remove_all(active) == (1, 0)
        assert workflows.get(active, "workflow-001").revision == 1


class TestCost:
    def test_no_table_is_scanned(
        self,
        active: Connection,
        make_acceptance: MakeAcceptance,
        end: Callable[..., None],
        read_plans: Callable[..., list[str]],
    ) -> None:
        """Neither to count, to find, or to remove."""
        end(active, [make_acceptance() for _ in range(3)], NOON)

        plans = [
            *read_plans(retention.count_prunable, BEFORE),
            *read_plans(find_page, "completed", BEFORE, None),
            *read_plans(find_page, "completed", BEFORE, (NOON, "execution-00001")),
            *read_plans(remove, ["execution-00001", "execution-00002"], BEFORE, NOW),
        ]

        assert len(plans) >= 9
        assert [plan for plan in plans if "SCAN" in plan.replace("SCAN CONSTANT ROW", "")] == []
        assert [plan for plan in plans if "TEMP B-TREE" in plan] == []

    def test_a_transaction_has_a_bound(self) -> None:
        """In executions, and in what their journals hold; one that has more is removed alone."""
        small = [retention._Candidate(f"s{number}", NOON, 10) for number in range(125)]
        large = [retention._Candidate(f"l{number}", NOON, 700_000) for number in range(2)]
        huge = retention._Candidate("h", NOON, 10**9)

        groups = list(retention._groups([*small, *large, huge, small[0]]))

        assert [len(group) for group in groups] == [50, 50, 26, 1, 1, 1]
        assert groups[4] == ["h"]


class TestDatabase:
    async def test_many_are_removed_in_many_transactions(
        self,
        url: str,
        store: Store,
        make_workflow: MakeWorkflow,
        make_acceptance: MakeAcceptance,
        end: Callable[..., None],
    ) -> None:
        """While somebody else writes; whoever watches hears how far it is. A second time finds nothing."""
        await store.write(workflows.insert, make_workflow(status="active"))
        await store.write(end, [make_acceptance() for _ in range(1_150)], NOON)
        young = [make_acceptance() for _ in range(20)]
        told: list[tuple[Pruned, int]] = []

        async def accept_on() -> list[object]:
            return [await store.write_together(executions.accept, item) for item in young]

        accepting = asyncio.create_task(accept_on())
        pruned = await prune_database(url, BEFORE, lambda: NOW, lambda so_far, of: told.append((so_far, of)))
        accepted = await accepting

        again = await prune_database(url, BEFORE, lambda: NOW, lambda *_: None)
        assert accepted == [Accepted()] * 20
        assert (pruned.executions, again.executions) == (1_150, 0)
        assert [so_far.executions for so_far, _ in told] == [*range(50, 1_151, 50), 1_150]
        assert {of for _, of in told} == {1_150}
        assert pruned.longest_s > 0
        assert (await store.read(stored_ids)) == [item.execution_id for item in young]
        assert (await audit_verification.verify(store, KEYLESS, Verification())).is_good

    async def test_what_is_free_in_the_file_is_told(
        self,
        url: str,
        database_kind: str,
        store: Store,
        make_workflow: MakeWorkflow,
        make_acceptance: MakeAcceptance,
        end: Callable[..., None],
    ) -> None:
        """A server sees to that itself."""
        await store.write(workflows.insert, make_workflow(status="active"))
        large = '{"input":"' + "x" * 100_000 + '"}'
        await store.write(end, [make_acceptance(journal_payload=large) for _ in range(10)], NOON)

        pruned = await prune_database(url, BEFORE, lambda: NOW, lambda *_: None)

        if database_kind == "sqlite":
            assert pruned.reusable_bytes is not None
            assert pruned.reusable_bytes > 900_000
        else:
            assert pruned.reusable_bytes is None

    async def test_what_would_be_removed_is_counted(
        self,
        url: str,
        store: Store,
        make_workflow: MakeWorkflow,
        make_acceptance: MakeAcceptance,
        end: Callable[..., None],
    ) -> None:
        """And left where it is."""
        await store.write(workflows.insert, make_workflow(status="active"))
        await store.write(end, [make_acceptance() for _ in range(3)], NOON)

        assert await count_in_database(url, BEFORE) == 3
        assert await count_in_database(url, NOON) == 0
        assert len(await store.read(stored_ids)) == 3

    async def test_a_database_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        """And not made."""
        with pytest.raises(DatabaseUnusable, match="cannot be used"):
            await prune_database(f"sqlite:///{tmp_path / 'no.db'}", BEFORE, lambda: NOW, lambda *_: None)

        assert names(tmp_path, "*") == []
