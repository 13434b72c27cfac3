"""Thousands of worlds, each decided by its seed: whatever goes wrong, every execution comes to one true end."""

import gc
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from traceback import format_exc

import pytest

from tests.reliability.simulation import World
from tests.reliability.world_checks import check

SEEDS = int(os.environ.get("FLOWKER_TEST_SEEDS", "2000"))
FIRST_SEED = int(os.environ.get("FLOWKER_TEST_FIRST_SEED", "0"))

SEEDS_PER_TASK = 20
"""Few enough for all processes to end at about the same time, and for a failure to be told soon."""

GARBAGE_THRESHOLD = 50_000
"""New objects before Python looks for circles among them: nearly everything of a world goes without that."""

KINDS = frozenset(
    {
        "crashes",
        "stops",
        "freezes",
        "repeated deliveries",
        "late answers",
        "breakers opened",
        "clock set",
        "pruned",
        "writes refused to stale processes",
    }
)
"""What happens in some worlds of a hundred at least; a simulation without it would prove less than it says."""


@pytest.mark.row("simulated worlds")
def test_every_world_comes_to_a_good_end(
    record_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seed of a world that does not is told: it can be run again alone."""
    # Worlds are not traced for coverage, which would slow them down: unit tests cover the engine.
    for variable in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    seeds = range(FIRST_SEED, FIRST_SEED + SEEDS)
    tasks = [seeds[start : start + SEEDS_PER_TASK] for start in range(0, SEEDS, SEEDS_PER_TASK)]
    seen: Counter[str] = Counter()
    began_s = time.monotonic()
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_begin) as processes:
        for told in processes.map(run_worlds, tasks):
            if isinstance(told, Broken):
                processes.shutdown(wait=False, cancel_futures=True)
                repeating = f"FLOWKER_TEST_FIRST_SEED={told.seed} FLOWKER_TEST_SEEDS=1"
                pytest.fail(f"seed {told.seed}, repeated by {repeating}: {told.why}")
            seen += told
    record_property("seeds", f"{seeds[0]}..{seeds[-1]}")
    record_property("worlds a second", f"{SEEDS / (time.monotonic() - began_s):.0f}")
    for kind in sorted(seen):
        record_property(kind, seen[kind])

    assert SEEDS < 100 or seen.keys() >= KINDS


def test_a_seed_gives_the_same_world_again() -> None:
    """The audit trail tells the same of it, apart from the ids of the entries and the hashes over them."""
    trails = []
    for _ in range(2):
        world = World(FIRST_SEED + 3)
        world.run()
        trails.append([(row[0], *row[2:-2]) for row in world.trail])

    assert trails[0] == trails[1]


@dataclass(frozen=True)
class Broken:
    """A world in which something did not hold."""

    seed: int
    why: str


def run_worlds(seeds: Sequence[int]) -> Counter[str] | Broken:
    """What has happened in these worlds, or the first of them that is broken."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        world = World(seed)
        try:
            check(world, world.run())
        except Exception:  # noqa: BLE001 - whatever it is, its seed is what counts
            return Broken(seed, format_exc())
        seen += world.seen
    return seen


def _begin() -> None:
    """Be a process that runs worlds: warnings are errors, and what is there now is no garbage."""
    warnings.simplefilter("error")
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
