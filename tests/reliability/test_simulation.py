"""Thousands of worlds, each decided by its seed: whatever goes wrong, every execution comes to one true end."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar

import pytest

from flowker.domain.advance import fold
from flowker.domain.audit import GENESIS_HASH, first_bad
from flowker.domain.calls import ExecutorCall
from flowker.domain.executions import TERMINAL, Cancelled, Decided, Reopened, Settled, Started
from flowker.engine.records import Recorded
from tests.reliability.simulation import World

E = TypeVar("E")

SEEDS = int(os.environ.get("FLOWKER_TEST_SEEDS", "150"))
FIRST_SEED = int(os.environ.get("FLOWKER_TEST_FIRST_SEED", "0"))


@pytest.mark.row("simulated worlds")
def test_every_world_comes_to_a_good_end(record_property: Callable[[str, object], None]) -> None:
    """The seed of a world that does not is told: it can be run again alone."""
    accepted = crashes = 0
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        world = World(seed)
        try:
            ended = world.run()
            check(world, ended)
        except Exception as error:  # noqa: BLE001 - whatever it is, its seed is what counts
            pytest.fail(f"seed {seed}: FLOWKER_TEST_FIRST_SEED={seed} FLOWKER_TEST_SEEDS=1 repeats it: {error!r}")
        accepted += len(world.accepted)
        crashes += world.crashes
    record_property("seeds", f"{FIRST_SEED}..{FIRST_SEED + SEEDS - 1}")
    record_property("executions", accepted)
    record_property("crashes", crashes)


def check(world: World, ended: list[Recorded]) -> None:
    """Everything that is promised, of everything that is stored."""
    by_id = {one.row.id: one for one in ended}
    assert world.accepted.keys() <= by_id.keys(), "an acknowledged execution is lost"
    assert first_bad(world.trail, 0, GENESIS_HASH) is None, "the chain is broken"
    told = Counter((row[6], row[2]) for row in world.trail)
    calls = Counter(world.far_side.calls)
    for id_, recorded in by_id.items():
        check_journal(world, recorded)
        check_audit(recorded, {event_type: count for (told_of, event_type), count in told.items() if told_of == id_})
        started = Counter(node_id for event in _events(recorded, Started) for node_id, _ in event.calls)
        assert all(calls[f"{id_}:{node_id}"] <= count for node_id, count in started.items())
        assert sum(calls[key] for key in calls if key.startswith(f"{id_}:")) <= started.total()


def check_journal(world: World, recorded: Recorded) -> None:
    """The row is what the journal says; what completed stays, and is what the far side did under its one key."""
    row, state = recorded.row, fold(world.plan, recorded.events)
    assert row.status in TERMINAL
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
