"""Accepting: what it returns was committed, and the engine hears of what was committed only."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from flowker.domain.errors import InternalError
from flowker.engine.accepting import Accepting, input_digest, new_execution_id
from flowker.engine.records import read_recorded
from flowker.storage import audit_events, executions, journal, workflows
from flowker.storage.database import Connection
from flowker.storage.executions import KeySeen, WorkflowMoved

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench, Draw, Listener


@pytest.fixture
def accepting(bench: "Bench", listener: "Listener") -> Accepting:
    return Accepting(bench.store, listener, bench.clock, bench.tallies)


async def test_what_was_accepted_is_stored_with_its_journal_and_its_audit_event(
    bench: "Bench", accepting: Accepting, draw: "Draw"
) -> None:
    """One commit has all three."""
    workflow_id = await bench.save([draw.trigger, draw.call("c")], draw.chain("t", "c"), timeoutSeconds=60)

    accepted = await accepting.accept(await bench.submission(workflow_id, amount=Decimal("100.10")), "one")

    recorded = await bench.store.read(read_recorded, "one")
    tail = await bench.store.read(_audit_tail)
    assert recorded.events == [accepted]
    assert recorded.row.workflow_id == workflow_id
    assert recorded.row.status == "running"
    assert recorded.row.trigger_node_id == "t"
    assert recorded.row.total_steps == 1
    assert recorded.row.started_at == "2026-03-17T14:35:00.000000Z"
    assert tail == ("EXECUTION_STARTED", "one")


async def test_the_engine_is_given_what_was_accepted_and_its_size(
    bench: "Bench", accepting: Accepting, listener: "Listener", draw: "Draw"
) -> None:
    """The size is that of the journal's entry, which holds the input."""
    workflow_id = await bench.save([draw.trigger, draw.call("c")], draw.chain("t", "c"))
    submission = await bench.submission(workflow_id, text="x" * 1000)

    accepted = await accepting.accept(submission, "one")

    [(heard, definition, input_bytes)] = listener.heard
    assert heard is accepted
    assert definition is submission.definition
    assert 1000 < input_bytes < 1200


async def test_a_key_seen_before_starts_nothing(
    bench: "Bench", accepting: Accepting, listener: "Listener", draw: "Draw"
) -> None:
    """The verdict names the execution that the key started."""
    workflow_id = await bench.save([draw.trigger, draw.call("c")], draw.chain("t", "c"))
    submission = await bench.submission(workflow_id)
    submission = submission._replace(idempotency_key="k", input_digest="d")
    await accepting.accept(submission, "one")

    verdict = await accepting.accept(submission, "two")

    assert verdict == KeySeen("one", "d", "2026-03-17T14:35:00.000000Z", "running")
    assert [accepted.execution_id for accepted, _, _ in listener.heard] == ["one"]


async def test_a_workflow_that_moved_on_starts_nothing(
    bench: "Bench", accepting: Accepting, listener: "Listener", draw: "Draw"
) -> None:
    """It was deactivated after its route was found."""
    workflow_id = await bench.save([draw.trigger], [])
    submission = await bench.submission(workflow_id)
    await bench.store.write(
        workflows.set_status, workflow_id, expected=("active", 1), status="inactive", updated_at=""
    )

    verdict = await accepting.accept(submission, "one")

    assert isinstance(verdict, WorkflowMoved)
    assert listener.heard == []


async def test_without_a_store_nothing_is_accepted(
    bench: "Bench", accepting: Accepting, listener: "Listener", draw: "Draw"
) -> None:
    """The caller is told to come again; the engine hears nothing."""
    submission = await bench.submission(await bench.save([draw.trigger], []))
    bench.store.refuse(executions.accept)

    with pytest.raises(InternalError):
        await accepting.accept(submission, "one")

    assert listener.heard == []
    assert await bench.store.read(journal.read, "one") == []


def test_execution_ids_sort_by_time() -> None:
    """New rows stand side by side in the store."""
    ids = [new_execution_id() for _ in range(1000)]

    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": [{"c": 2, "d": 3}]}, {"b": [{"d": 3, "c": 2}], "a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({}, {"a": None}, False),
    ],
)
def test_a_digest_tells_inputs_apart_whatever_the_order_of_their_members(
    one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    """Objects have no order; everything else counts."""
    assert (input_digest(one) == input_digest(other)) is same


def _audit_tail(connection: Connection) -> tuple[str, str]:
    statement = "SELECT event_type, resource_id FROM audit_events ORDER BY sequence DESC LIMIT 1"
    event_type, resource_id = connection.exec_driver_sql(statement).one()
    assert audit_events.tail(connection) is not None
    return event_type, resource_id
