"""The first turn that is taken with the acceptance: the same as a worker's, or none."""

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from sqlalchemy import Connection

from flowker.domain.errors import InternalError
from flowker.domain.workflows import Definition
from flowker.engine.accepting import Accepting
from flowker.engine.first_turn import TURN_BYTES_MAX
from flowker.engine.records import read_recorded
from flowker.storage import executions
from flowker.storage.executions import KeySeen

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench, Draw, Listener


@pytest.fixture
def accepting(bench: "Bench", listener: "Listener") -> Accepting:
    """As the service accepts, before an engine that does nothing but hear."""
    return Accepting(bench.store, listener, bench.clock, bench.tallies)


def _branches(draw: "Draw") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    nodes = [
        draw.trigger,
        {"id": "large", "type": "conditional", "data": {"condition": "workflow.amount > 100"}},
        draw.action("held", "set_output", output={"amount": "{{workflow.amount}}"}),
        draw.action("told", "emit_event", eventType="payment.held", payload={"of": "{{held.output.amount}}"}),
        draw.action("passed", "log", level="info", message="passed"),
    ]
    edges = [
        *draw.chain("t", "large"),
        {"id": "yes", "source": "large", "target": "held", "sourceHandle": "true"},
        {"id": "no", "source": "large", "target": "passed", "sourceHandle": "false"},
        {"id": "then", "source": "held", "target": "told"},
    ]
    return nodes, edges


@pytest.mark.parametrize("amount", [Decimal("100.10"), 5], ids=["one branch", "the other"])
async def test_it_leaves_what_a_worker_would_have_left(
    bench: "Bench", accepting: Accepting, draw: "Draw", amount: Any
) -> None:
    """Row, journal and audit entries, apart from the ids."""
    submission = await bench.submission(await bench.save(*_branches(draw)), amount=amount)
    await bench.accepting.accept(submission, "driven")
    await bench.end("driven")

    await accepting.accept(submission, "at-once")

    at_once, driven = [await bench.store.read(_left, one) for one in ("at-once", "driven")]
    assert at_once == driven
    assert at_once[0]["status"] == "completed"


async def test_nothing_is_left_for_a_worker(
    bench: "Bench", accepting: Accepting, listener: "Listener", draw: "Draw"
) -> None:
    """The engine hears of the end, and so does whoever waits for it."""
    submission = await bench.submission(await bench.save(*_branches(draw)), amount=5)

    await accepting.accept(submission, "one")

    assert listener.ends == [("one", "completed")]
    assert listener.heard == []


async def test_what_fails_in_its_first_turn_has_failed_at_once(
    bench: "Bench", accepting: Accepting, draw: "Draw"
) -> None:
    """With the message that the API tells."""
    workflow_id = await bench.save([draw.trigger, draw.action("no", "fail", message="closed")], draw.chain("t", "no"))

    await accepting.accept(await bench.submission(workflow_id), "one")

    row = (await bench.store.read(read_recorded, "one")).row
    assert (row.status, row.error_message) == ("failed", "FLK-0504: node no failed: closed")


@pytest.mark.parametrize(
    "node",
    [
        {"id": "n", "type": "action", "data": {"action": "delay", "seconds": 1}},
        {"id": "n", "type": "action", "data": {"action": "approval", "timeoutSeconds": 5}},
    ],
    ids=["delay", "approval"],
)
async def test_what_waits_is_left_to_a_worker(
    bench: "Bench", accepting: Accepting, listener: "Listener", draw: "Draw", node: dict[str, Any]
) -> None:
    """A call as well: that is the rule of test_accepting."""
    workflow_id = await bench.save([draw.trigger, node], draw.chain("t", "n"))

    await accepting.accept(await bench.submission(workflow_id), "one")

    recorded = await bench.store.read(read_recorded, "one")
    assert (recorded.row.status, len(recorded.events)) == ("running", 1)
    assert len(listener.heard) == 1


@pytest.mark.parametrize(
    ("input_", "actions"),
    [
        pytest.param({"text": "x" * 20_000}, 1, id="a large input"),
        pytest.param({"text": "x"}, 40, id="many nodes"),
        pytest.param({"text": "x" * (TURN_BYTES_MAX // 8)}, 10, id="large outputs"),
    ],
)
async def test_what_may_take_long_is_left_to_a_worker(
    bench: "Bench",
    accepting: Accepting,
    listener: "Listener",
    draw: "Draw",
    input_: dict[str, Any],
    actions: int,
) -> None:
    """Its sender, and those behind it, wait for the commit of the acceptance alone."""
    names = [f"n{number}" for number in range(actions)]
    nodes = [draw.action(name, "set_output", output="{{workflow.text}}") for name in names]
    workflow_id = await bench.save([draw.trigger, *nodes], draw.chain("t", *names))

    await accepting.accept(await bench.submission(workflow_id, **input_), "one")

    assert (await bench.store.read(read_recorded, "one")).row.status == "running"
    assert len(listener.heard) == 1


async def test_poison_is_accepted_and_left_to_a_worker(
    bench: "Bench", accepting: Accepting, listener: "Listener", draw: "Draw"
) -> None:
    """Whoever delivers to a broken definition is not answered with an error of it."""
    submission = await bench.submission(await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a")))
    node = replace(submission.definition.nodes["a"], behaviour=object())  # type: ignore[arg-type]
    poison = Definition({**submission.definition.nodes, "a": node}, submission.definition.edges, 60)

    await accepting.accept(submission._replace(definition=poison), "one")

    assert (await bench.store.read(read_recorded, "one")).row.status == "running"
    assert len(listener.heard) == 1


async def test_what_starts_nothing_logs_and_tells_nothing(
    bench: "Bench", accepting: Accepting, listener: "Listener", draw: "Draw"
) -> None:
    """A key that was seen before, and a store that is away."""
    submission = await bench.submission(await bench.save(*_branches(draw)), amount=5)
    submission = submission._replace(idempotency_key="k")
    await accepting.accept(submission, "one")

    with structlog.testing.capture_logs() as lines:
        verdict = await accepting.accept(submission, "two")
        bench.store.refuse(executions.accept)
        with pytest.raises(InternalError):
            await accepting.accept(submission._replace(idempotency_key="other"), "three")

    assert isinstance(verdict, KeySeen)
    assert verdict.status == "completed"
    assert [line for line in lines if line["event"] == "workflow logged"] == []
    assert listener.ends == [("one", "completed")]


def _left(connection: Connection, execution_id: str) -> tuple[dict[str, Any], list[Any], list[Any]]:
    recorded = read_recorded(connection, execution_id)
    row = {name: getattr(recorded.row, name) for name in ("status", "current_step_number", "total_steps")}
    row |= {name: getattr(recorded.row, name) for name in ("completed_at", "error_message", "wake_at")}
    chain = connection.exec_driver_sql(
        "SELECT event_type, context, timestamp FROM audit_events WHERE resource_id = ? ORDER BY sequence",
        (execution_id,),
    )
    return row, list(recorded.events[1:]), [tuple(entry) for entry in chain]
