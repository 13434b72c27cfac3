"""What holds in every simulated world, whatever went wrong in it."""

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from flowker.domain.advance import fold
from flowker.domain.audit import GENESIS_HASH, first_bad
from flowker.domain.calls import ExecutorCall
from flowker.domain.executions import TERMINAL, Cancelled, Decided, Reopened, Settled, Started
from flowker.engine.records import Recorded
from tests.reliability.simulation import World

E = TypeVar("E")


def check(world: World, ended: list[Recorded]) -> None:
    """Everything that is promised, of everything that is stored."""
    by_id = {one.row.id: one for one in ended} | world.pruned
    assert len(by_id) == len(ended) + len(world.pruned), "what was pruned is back"
    check_deliveries(world, by_id)
    assert first_bad(world.trail, 0, GENESIS_HASH) is None, "the chain is broken"
    told = Counter((row[6], row[2]) for row in world.trail)
    calls = Counter(world.far_side.calls)
    for id_, recorded in by_id.items():
        check_journal(world, recorded)
        check_audit(recorded, {event_type: count for (told_of, event_type), count in told.items() if told_of == id_})
        started = Counter(node_id for event in _events(recorded, Started) for node_id, _ in event.calls)
        assert all(calls[f"{id_}:{node_id}"] <= count for node_id, count in started.items())
        assert sum(calls[key] for key in calls if key.startswith(f"{id_}:")) <= started.total()


def check_deliveries(world: World, by_id: Mapping[str, Recorded]) -> None:
    """Each was acknowledged and is one execution, however often it was sent; another one only if that was pruned."""
    assert all(delivery.answers for delivery in world.deliveries)
    assert by_id.keys() >= set(world.acknowledged), "an acknowledged execution is lost"
    kept = Counter(one.row.idempotency_key for one in by_id.values() if one.row.id not in world.pruned)
    for delivery in world.deliveries:
        if delivery.key is not None:
            assert kept[delivery.key] <= 1, "a delivery became two executions"
            *before, last = dict.fromkeys(delivery.answers)
            assert world.pruned.keys() >= set(before), "a delivery became another execution"
            assert kept[delivery.key] == 1 or last in world.pruned


def check_journal(world: World, recorded: Recorded) -> None:
    """The row is what the journal says; what completed stays, and is what the far side did under its one key."""
    row, state = recorded.row, fold(world.plan, recorded.events)
    assert row.status in TERMINAL
    assert not (row.error_message or "").startswith("FLK-9999"), "an execution broke"
    assert (row.status, row.error_message) == (state.status, state.error)
    assert row.current_step_number == state.steps_done
    completed: set[str] = set()
    for event in recorded.events:
        outcomes = event.outcomes if isinstance(event, Settled) else ()
        names = [outcome.node_id for outcome in outcomes if outcome.status == "completed"]
        names += [event.node_id] if isinstance(event, Decided) else []
        assert completed.isdisjoint(names), "a completed node was run again"
        completed.update(names)
    for name in completed:
        if isinstance(world.plan.nodes[name].behaviour, ExecutorCall):
            assert state.outcomes[name].output == world.far_side.effects[f"{row.id}:{name}"]


def check_audit(recorded: Recorded, told: Mapping[str, int]) -> None:
    """Each thing is told once."""
    retries = len(_events(recorded, Reopened))
    assert told.get("EXECUTION_STARTED", 0) == 1
    assert told.get("EXECUTION_RETRIED", 0) == retries
    assert told.get("EXECUTION_COMPLETED", 0) + told.get("EXECUTION_FAILED", 0) == 1 + retries
    assert told.get("EXECUTION_CANCELLED", 0) == len(_events(recorded, Cancelled))
    assert told.get("APPROVAL_DECIDED", 0) == len(_events(recorded, Decided))
    assert told.get("PROVIDER_CALL_STARTED", 0) == sum(len(event.calls) for event in _events(recorded, Started))


def _events(recorded: Recorded, kind: type[E]) -> list[E]:
    return [event for event in recorded.events if isinstance(event, kind)]
