"""Executions in the store: acceptance, progress, and the queries that find them again."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from flowker.domain.audit import AuditEvent
from flowker.domain.errors import ExecutionNotFound
from flowker.storage import executions, journal, tables, workflows
from flowker.storage.executions import Acceptance, Accepted, KeySeen, Progress, WorkflowMoved
from flowker.storage.journal import JournalEvent
from flowker.storage.workflows import StoredWorkflow

NOON = "2026-03-17T12:00:00.000000Z"
ONE = "2026-03-17T13:00:00.000000Z"
TWO = "2026-03-17T14:00:00.000000Z"

MakeAcceptance = Callable[..., Acceptance]
MakeProgress = Callable[..., Progress]
Plans = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def _active_workflow(connection: Connection, make_workflow: Callable[..., StoredWorkflow]) -> None:
    workflows.insert(connection, make_workflow(status="active"))


def count(connection: Connection, table: str) -> int:
    number: int = connection.execute(select(func.count()).select_from(tables.metadata.tables[table])).scalar_one()
    return number


class TestAccept:
    def test_stores_execution_journal_and_audit_event(
        self, connection: Connection, make_acceptance: MakeAcceptance
    ) -> None:
        """One acceptance writes the three of them."""
        item = make_acceptance(idempotency_key="k", input_digest="d")

        outcomes = executions.accept(connection, [item])

        stored = executions.get(connection, item.execution_id)
        assert outcomes == [Accepted()]
        assert (stored.status, stored.current_step_number, stored.total_steps) == ("running", 0, 2)
        assert (stored.idempotency_key, stored.input_digest, stored.trigger_node_id) == ("k", "d", "hook")
        assert (stored.started_at, stored.completed_at) == (NOON, None)
        assert journal.read(connection, item.execution_id) == [JournalEvent(0, "accepted", {"input": {}})]
        assert count(connection, "audit_events") == 1

    def test_payload_may_be_bytes(self, connection: Connection, make_acceptance: MakeAcceptance) -> None:
        """The column holds text either way."""
        item = make_acceptance(journal_payload=b'{"amount":100.10}')

        executions.accept(connection, [item])

        assert connection.execute(select(tables.journal.c.payload)).scalar_one() == '{"amount":100.10}'

    def test_a_key_that_is_stored_is_seen(self, connection: Connection, make_acceptance: MakeAcceptance) -> None:
        """The second delivery learns of the first and leaves nothing behind."""
        first = make_acceptance(idempotency_key="k", input_digest="d")
        executions.accept(connection, [first])

        outcomes = executions.accept(connection, [make_acceptance(idempotency_key="k", input_digest="other")])

        assert outcomes == [KeySeen(first.execution_id, "d", NOON, "running")]
        assert [count(connection, name) for name in ("executions", "journal", "audit_events")] == [1, 1, 1]

    def test_a_key_earlier_in_the_batch_is_seen(
        self, connection: Connection, make_acceptance: MakeAcceptance
    ) -> None:
        """Of equal keys in one batch the first is accepted; items around them are not disturbed."""
        items = [make_acceptance(idempotency_key=key) for key in ("a", "k", "k", None, "k", None)]

        outcomes = executions.accept(connection, items)

        seen = KeySeen(items[1].execution_id, None, NOON, "running")
        assert outcomes == [Accepted(), Accepted(), seen, Accepted(), seen, Accepted()]
        assert count(connection, "journal") == 4

    def test_workflows_do_not_share_keys(
        self,
        connection: Connection,
        make_acceptance: MakeAcceptance,
        make_workflow: Callable[..., StoredWorkflow],
    ) -> None:
        """The scope of a key is its workflow."""
        other = make_workflow(status="active")
        workflows.insert(connection, other)

        outcomes = executions.accept(
            connection,
            [
                make_acceptance(idempotency_key="k"),
                make_acceptance(idempotency_key="k", workflow_id=other.id),
            ],
        )

        assert outcomes == [Accepted(), Accepted()]

    @pytest.mark.parametrize(
        "change", [{"workflow_id": "unknown"}, {"revision": 2}, {"idempotency_key": "k", "revision": 0}]
    )
    def test_a_workflow_that_moved_starts_nothing(
        self, connection: Connection, make_acceptance: MakeAcceptance, change: dict[str, str]
    ) -> None:
        """Gone, or another revision: only the item concerned is refused."""
        good = make_acceptance()

        outcomes = executions.accept(connection, [make_acceptance(**change), good])

        assert outcomes == [WorkflowMoved(), Accepted()]
        assert count(connection, "executions") == 1

    @pytest.mark.parametrize("status", ["draft", "inactive"])
    def test_a_workflow_that_is_not_active_starts_nothing(
        self, connection: Connection, make_acceptance: MakeAcceptance, status: str
    ) -> None:
        """Only `active` counts."""
        workflows.set_status(connection, "workflow-001", expected=("active", 1), status=status, updated_at=ONE)

        outcomes = executions.accept(connection, [make_acceptance()])

        assert outcomes == [WorkflowMoved()]
        assert [count(connection, name) for name in ("executions", "journal", "audit_events")] == [0, 0, 0]

    def test_a_full_batch_is_accepted(self, connection: Connection, make_acceptance: MakeAcceptance) -> None:
        """As many as the writer takes at once, half of them with the same key."""
        items = [make_acceptance(idempotency_key="k" if number % 2 else None) for number in range(256)]

        outcomes = executions.accept(connection, items)

        assert outcomes.count(Accepted()) == 129
        assert count(connection, "executions") == 129

    def test_sizes_are_those_of_the_texts(self, make_acceptance: MakeAcceptance, make_progress: MakeProgress) -> None:
        """The writer bounds its queue by them."""
        acceptance = make_acceptance(journal_payload="x" * 10)
        progress = make_progress("e", events=[("a", "x" * 3), ("b", b"x" * 4)])

        assert (acceptance.size_bytes, progress.size_bytes) == (10, 7)


@pytest.fixture
def running(connection: Connection, make_acceptance: MakeAcceptance) -> str:
    item = make_acceptance()
    executions.accept(connection, [item])
    return item.execution_id


class TestRecord:
    def test_stores_events_row_and_audit_events(
        self,
        connection: Connection,
        running: str,
        make_progress: MakeProgress,
        make_audit_event: Callable[..., AuditEvent],
    ) -> None:
        """Everything that the progress says is there afterwards."""
        progress = make_progress(
            running,
            events=[("settled", '{"a":1}'), ("finished", '{"b":2.50}')],
            status="failed",
            current_step_number=2,
            completed_at=ONE,
            error_message="FLK-0504",
            audit=[make_audit_event(), make_audit_event()],
        )

        outcomes = executions.record(connection, [progress])

        stored = executions.get(connection, running)
        assert outcomes == [True]
        assert (stored.status, stored.current_step_number) == ("failed", 2)
        assert (stored.completed_at, stored.error_message) == (ONE, "FLK-0504")
        assert [(event.seq, event.kind) for event in journal.read(connection, running)] == [
            (0, "accepted"),
            (1, "settled"),
            (2, "finished"),
        ]
        assert count(connection, "audit_events") == 3
        assert journal.count(connection, running) == 3

    def test_a_taken_sequence_number_is_stale(
        self, connection: Connection, running: str, make_progress: MakeProgress
    ) -> None:
        """Somebody else drives the execution: nothing of the item is written."""
        executions.record(connection, [make_progress(running)])

        outcomes = executions.record(connection, [make_progress(running, current_step_number=9)])

        assert outcomes == [False]
        assert executions.get(connection, running).current_step_number == 1
        assert journal.count(connection, running) == 2

    def test_an_ended_execution_stays_as_it_is(
        self,
        connection: Connection,
        running: str,
        make_progress: MakeProgress,
        make_audit_event: Callable[..., AuditEvent],
    ) -> None:
        """A terminal state never changes, whatever the sequence number."""
        executions.record(connection, [make_progress(running, status="completed", completed_at=ONE)])

        outcomes = executions.record(
            connection,
            [make_progress(running, first_seq=2, status="failed", completed_at=TWO, audit=[make_audit_event()])],
        )

        assert outcomes == [False]
        assert executions.get(connection, running).status == "completed"
        assert count(connection, "audit_events") == 1

    def test_an_unknown_execution_is_stale(self, connection: Connection, make_progress: MakeProgress) -> None:
        """There is nothing to go on with."""
        assert executions.record(connection, [make_progress("unknown")]) == [False]

    def test_items_of_one_execution_follow_each_other_in_a_batch(
        self, connection: Connection, running: str, make_progress: MakeProgress
    ) -> None:
        """Each counts on from the one before; the same again, and one after the end, are stale."""
        first = make_progress(running)
        second = make_progress(running, first_seq=2, status="completed", current_step_number=2, completed_at=ONE)
        late = make_progress(running, first_seq=3)

        outcomes = executions.record(connection, [first, first._replace(current_step_number=7), second, late])

        assert outcomes == [True, False, True, False]
        assert executions.get(connection, running).current_step_number == 2
        assert journal.count(connection, running) == 3

    def test_progress_without_events_updates_the_row(
        self, connection: Connection, running: str, make_progress: MakeProgress
    ) -> None:
        """A new time to wake is no event of its own."""
        outcomes = executions.record(connection, [make_progress(running, events=[], wake_at=TWO)])

        assert outcomes == [True]
        assert executions.get(connection, running).wake_at == TWO

    @pytest.mark.parametrize(("status", "completed_at"), [("completed", None), ("running", ONE)])
    def test_an_end_without_its_time_is_refused(
        self, connection: Connection, running: str, make_progress: MakeProgress, status: str, completed_at: str | None
    ) -> None:
        """Lists rely on it that what has ended has a time, and nothing else does."""
        with pytest.raises(IntegrityError):
            executions.record(connection, [make_progress(running, status=status, completed_at=completed_at)])


class TestReopen:
    @pytest.fixture
    def failed(self, connection: Connection, running: str, make_progress: MakeProgress) -> str:
        """An execution that has failed."""
        end = make_progress(running, status="failed", completed_at=ONE, error_message="FLK-0504: node a failed: no")
        executions.record(connection, [end])
        return running

    def test_a_failed_execution_runs_again(
        self,
        connection: Connection,
        failed: str,
        make_progress: MakeProgress,
        make_audit_event: Callable[..., AuditEvent],
    ) -> None:
        """Its end is gone from the row, its journal and the audit trail go on, and it can end again."""
        reopening = make_progress(
            failed, first_seq=2, events=[("reopened", "{}")], reopens=True, audit=[make_audit_event()]
        )

        outcomes = executions.record(connection, [reopening])
        reopened = executions.get(connection, failed)
        ended = executions.record(
            connection, [make_progress(failed, first_seq=3, status="completed", completed_at=TWO)]
        )

        assert (outcomes, ended) == ([True], [True])
        assert (reopened.status, reopened.completed_at, reopened.error_message) == ("running", None, None)
        assert [entry.kind for entry in journal.read(connection, failed)] == [
            "accepted",
            "settled",
            "reopened",
            "settled",
        ]
        assert count(connection, "audit_events") == 2
        assert executions.get(connection, failed).status == "completed"

    def test_of_two_who_reopen_it_one_does(
        self, connection: Connection, failed: str, make_progress: MakeProgress
    ) -> None:
        """In one batch or one after the other: the place in the journal is taken."""
        reopening = make_progress(failed, first_seq=2, events=[("reopened", "{}")], reopens=True)

        assert executions.record(connection, [reopening, reopening]) == [True, False]
        assert executions.record(connection, [reopening]) == [False]
        assert journal.count(connection, failed) == 3

    def test_a_reopening_of_an_older_state_is_refused(
        self, connection: Connection, failed: str, make_progress: MakeProgress
    ) -> None:
        """Whoever asks has not seen the end."""
        assert executions.record(connection, [make_progress(failed, first_seq=1, reopens=True)]) == [False]
        assert executions.get(connection, failed).status == "failed"

    def test_it_can_fail_again_in_the_commit_that_reopens_it(
        self, connection: Connection, failed: str, make_progress: MakeProgress
    ) -> None:
        """Then it has ended, and only what reopens it is recorded."""
        again = make_progress(failed, first_seq=2, status="failed", completed_at=TWO, reopens=True)
        late = make_progress(failed, first_seq=3)

        assert executions.record(connection, [again, late]) == [True, False]
        assert executions.get(connection, failed).completed_at == TWO

    def test_lists_show_it_where_it_now_belongs(
        self, connection: Connection, failed: str, make_progress: MakeProgress
    ) -> None:
        """Among what runs and what waits, and no more among what failed."""
        executions.record(connection, [make_progress(failed, first_seq=2, reopens=True)])

        for sort_by in ("startedAt", "completedAt"):
            found = {
                status: [row.id for row in executions.list_page(connection, status=status, sort_by=sort_by).items]
                for status in ("running", "failed", None)
            }
            assert found == {"running": [failed], "failed": [], None: [failed]}
        assert executions.unfinished(connection, limit=10) == [failed]

    def test_it_wakes_at_its_time(self, connection: Connection, failed: str, make_progress: MakeProgress) -> None:
        """As any other that runs."""
        executions.record(connection, [make_progress(failed, first_seq=2, reopens=True, wake_at=TWO)])

        assert executions.next_wake(connection) == TWO
        assert executions.claim_due(connection, TWO, 10) == [failed]


class TestFind:
    def test_an_unknown_execution_is_not_found(self, connection: Connection) -> None:
        """A refusal, not None."""
        with pytest.raises(ExecutionNotFound):
            executions.get(connection, "unknown")

    def test_a_key_finds_its_execution(self, connection: Connection, make_acceptance: MakeAcceptance) -> None:
        """Within its workflow only."""
        item = make_acceptance(idempotency_key="k", input_digest="d")
        executions.accept(connection, [item])

        found = executions.find_key(connection, item.workflow_id, "k")

        assert found == KeySeen(item.execution_id, "d", NOON, "running")
        assert executions.find_key(connection, "other", "k") is None

    def test_unfinished_leaves_out_what_waits_and_what_ended(
        self, connection: Connection, make_acceptance: MakeAcceptance, make_progress: MakeProgress
    ) -> None:
        """By id, page by page."""
        ids = [make_acceptance().execution_id for _ in range(5)]
        executions.accept(connection, [make_acceptance(execution_id=id_) for id_ in ids])
        executions.record(connection, [make_progress(ids[1], wake_at=TWO)])
        executions.record(connection, [make_progress(ids[2], status="completed", completed_at=ONE)])

        first = executions.unfinished(connection, limit=2)
        second = executions.unfinished(connection, after_id=first[-1], limit=2)

        assert first + second == [ids[0], ids[3], ids[4]]

    def test_due_is_what_the_time_has_come_for(
        self, connection: Connection, make_acceptance: MakeAcceptance, make_progress: MakeProgress
    ) -> None:
        """The longest due first; what is claimed is due no more and counts as unfinished."""
        ids = [make_acceptance().execution_id for _ in range(4)]
        executions.accept(connection, [make_acceptance(execution_id=id_) for id_ in ids])
        times = {ids[0]: ONE, ids[1]: NOON, ids[2]: TWO}
        executions.record(connection, [make_progress(id_, wake_at=time) for id_, time in times.items()])

        due = executions.due(connection, ONE, 10)
        earliest = executions.next_wake(connection)
        claimed = executions.claim_due(connection, ONE, 1)

        assert (due, earliest, claimed) == ([ids[1], ids[0]], NOON, [ids[1]])
        assert executions.next_wake(connection) == ONE
        assert executions.unfinished(connection, limit=10) == [ids[1], ids[3]]

    def test_nothing_waits_in_an_empty_store(self, connection: Connection) -> None:
        """No time to wake, nothing due, nothing claimed."""
        assert executions.next_wake(connection) is None
        assert executions.due(connection, TWO, 10) == []
        assert executions.claim_due(connection, TWO, 10) == []


class TestPlans:
    """Cost must not grow with what is stored."""

    @pytest.mark.parametrize("workflow_id", [None, "workflow-001"])
    @pytest.mark.parametrize("status", [None, "running", "completed"])
    @pytest.mark.parametrize("sort_by", ["startedAt", "completedAt"])
    @pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
    def test_every_list_walks_along_an_index(
        self,
        connection: Connection,
        read_plans: Plans,
        make_acceptance: MakeAcceptance,
        make_progress: MakeProgress,
        workflow_id: str | None,
        status: str | None,
        sort_by: str,
        sort_order: str,
    ) -> None:
        """The first page and one behind a cursor, with every filter and sort."""
        items = [make_acceptance() for _ in range(6)]
        executions.accept(connection, items)
        executions.record(
            connection,
            [make_progress(item.execution_id, status="completed", completed_at=ONE) for item in items[3:]],
        )
        question = {"workflow_id": workflow_id, "status": status, "sort_by": sort_by, "sort_order": sort_order}
        cursor = executions.list_page(connection, limit=1, **question).next_cursor  # type: ignore[arg-type]

        plans = read_plans(executions.list_page, limit=10, **question)
        plans += read_plans(executions.list_page, limit=10, cursor=cursor, **question)

        assert cursor
        assert plans
        assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []

    def test_every_other_query_searches_an_index(self, read_plans: Plans) -> None:
        """Due, unfinished, the next wake, keys, ids and journals."""
        plans = [
            *read_plans(executions.get, "e"),
            *read_plans(executions.find_key, "w", "k"),
            *read_plans(executions.unfinished, after_id="e", limit=10),
            *read_plans(executions.due, ONE, 10),
            *read_plans(executions.next_wake),
            *read_plans(journal.read, "e"),
            *read_plans(journal.count, "e"),
        ]

        assert len(plans) == 7
        assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []

    def test_the_hot_path_searches_indexes(
        self, read_plans: Plans, make_acceptance: MakeAcceptance, make_progress: MakeProgress
    ) -> None:
        """Acceptance, also with a key that was seen, and progress."""
        items = [make_acceptance(idempotency_key="k") for _ in range(3)]

        plans = read_plans(executions.accept, items)
        plans += read_plans(executions.record, [make_progress(items[0].execution_id)])

        assert len(plans) > 8
        assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []
