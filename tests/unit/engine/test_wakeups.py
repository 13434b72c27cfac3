"""The sweep and the clock: whatever can go on is handed over, and neither of the two ever ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from flowker.domain.timestamps import format_timestamp
from flowker.engine import wakeups
from flowker.engine.wakeups import POLL_MAX_S, Wakeups
from flowker.storage import executions
from flowker.storage.database import Connection

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench, Draw

Stock = Callable[..., list[str]]


class Taker:
    """Takes up what it is given; breaks on its first `breaks` ones."""

    def __init__(self, breaks: int = 0) -> None:
        self.taken: list[str] = []
        self._breaks = breaks
        self._on_taking: dict[str, Callable[[], None]] = {}

    def on_taking(self, execution_id: str, do: Callable[[], None]) -> None:
        self._on_taking[execution_id] = do

    async def __call__(self, execution_id: str) -> None:
        if self._breaks:
            self._breaks -= 1
            raise RuntimeError("no room")
        self.taken.append(execution_id)
        self._on_taking.get(execution_id, lambda: None)()


@pytest.fixture
async def stored(bench: "Bench", draw: "Draw") -> list[str]:
    """Five executions that nobody drives, in the order of their ids."""
    await bench.engine.stop()
    workflow_id = await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a"))
    ids = [f"execution-{number}" for number in range(5)]
    for id_ in ids:
        await bench.accept_as(id_, workflow_id)
    return ids


async def park(bench: "Bench", execution_id: str, wake_at: str) -> None:
    await bench.store.write(_set_wake_at, execution_id, wake_at)


def after(bench: "Bench", seconds: float) -> str:
    return format_timestamp(bench.clock.now() + timedelta(seconds=seconds))


@asynccontextmanager
async def started(bench: "Bench", taker: Taker) -> AsyncIterator[Wakeups]:
    """Both tasks run; that they still do at the end is part of every test."""
    made = Wakeups(bench.store, bench.clock, taker)
    tasks = made.start()
    yield made
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class TestSweep:
    async def test_a_start_takes_up_all_that_is_unfinished(self, bench: "Bench", stored: list[str]) -> None:
        """In the order in which it came; what waits for a time is the clock's."""
        await park(bench, stored[2], after(bench, 60))
        taker = Taker()

        async with started(bench, taker):
            await bench.eventually(lambda: len(taker.taken) == 4)

        assert taker.taken == [stored[0], stored[1], stored[3], stored[4]]

    async def test_it_goes_on_from_page_to_page(
        self, bench: "Bench", stored: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each execution is met once."""
        monkeypatch.setattr(wakeups, "SWEEP_PAGE", 2)
        taker = Taker()

        async with started(bench, taker):
            await bench.eventually(lambda: len(taker.taken) == 5)

        assert taker.taken == stored

    async def test_it_is_done_again_when_something_was_left(self, bench: "Bench", stored: list[str]) -> None:
        """Nothing is forgotten: what was not driven meanwhile is met again."""
        taker = Taker()

        async with started(bench, taker) as made:
            await bench.eventually(lambda: len(taker.taken) == 5)
            made.left_in_store()
            await bench.eventually(lambda: len(taker.taken) == 10)

        assert taker.taken == stored * 2

    async def test_a_store_that_is_away_is_asked_again(self, bench: "Bench", stored: list[str]) -> None:
        """After a pause, as often as it takes."""
        bench.store.refuse(wakeups._unfinished_ids, 2)
        taker = Taker()

        async with started(bench, taker):
            await bench.eventually(lambda: bench.clock.asked.count(POLL_MAX_S) == 2)
            bench.clock.turn(POLL_MAX_S)
            await bench.eventually(lambda: not bench.store.refuses(wakeups._unfinished_ids))
            await bench.eventually(lambda: bench.clock.asked.count(POLL_MAX_S) == 4)
            bench.clock.turn(POLL_MAX_S)
            await bench.eventually(lambda: len(taker.taken) == 5)

        assert taker.taken == stored

    async def test_an_error_that_nobody_foresaw_does_not_end_it(self, bench: "Bench", stored: list[str]) -> None:
        """Without it, what is in nobody's hands would stay there."""
        taker = Taker(breaks=1)

        async with started(bench, taker):
            await bench.eventually(lambda: bench.clock.asked.count(POLL_MAX_S) == 2)
            bench.clock.turn(POLL_MAX_S)
            await bench.eventually(lambda: len(taker.taken) == 5)

        assert taker.taken == stored


class TestClock:
    async def test_what_is_due_is_taken_off_the_clock_and_handed_over(
        self, bench: "Bench", stored: list[str]
    ) -> None:
        """The longest due first; afterwards they count as unfinished."""
        for index, execution_id in enumerate(stored):
            await park(bench, execution_id, after(bench, -index))
        taker = Taker()

        async with started(bench, taker):
            await bench.eventually(lambda: len(taker.taken) == 5)

        assert taker.taken == stored[::-1]
        assert await bench.store.read(executions.next_wake) is None

    async def test_many_are_taken_in_batches(
        self, bench: "Bench", stored: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A claim is one write; it must not hold up the others."""
        monkeypatch.setattr(wakeups, "DUE_PAGE", 2)
        for execution_id in stored:
            await park(bench, execution_id, after(bench, 0))
        taker = Taker()

        async with started(bench, taker):
            await bench.eventually(lambda: len(taker.taken) == 5)

        assert taker.taken == stored

    async def test_it_sleeps_until_the_next_is_due(self, bench: "Bench", stored: list[str]) -> None:
        """Two seconds, when that is what is left."""
        for execution_id in stored:
            await park(bench, execution_id, after(bench, 2))
        taker = Taker()

        async with started(bench, taker):
            await bench.eventually(lambda: bench.clock.sleeps(2))
            taken_before = list(taker.taken)
            bench.clock.turn(2)
            await bench.eventually(lambda: len(taker.taken) == 5)

        assert taken_before == []

    async def test_it_looks_again_every_few_seconds(self, bench: "Bench", stored: list[str]) -> None:
        """Whatever is due in a month, and also when nothing is."""
        taker = Taker()
        for execution_id in stored:
            await park(bench, execution_id, after(bench, 30 * 24 * 3600))

        async with started(bench, taker):
            await bench.eventually(lambda: bench.clock.sleeps(POLL_MAX_S))

        assert taker.taken == []

    @pytest.mark.usefixtures("stored")
    async def test_an_earlier_time_is_not_slept_over(self, bench: "Bench", stored: list[str]) -> None:
        """Whoever parks an execution says so."""
        taker = Taker()

        async with started(bench, taker) as made:
            await bench.eventually(lambda: len(taker.taken) == 5 and bench.clock.sleeps(POLL_MAX_S))
            await park(bench, stored[0], after(bench, 1))
            made.parked(after(bench, 1))
            await bench.eventually(lambda: bench.clock.sleeps(1))
            bench.clock.turn(1)
            await bench.eventually(lambda: len(taker.taken) == 6)

        assert taker.taken[-1] == stored[0]

    async def test_a_later_time_is_not_looked_for(self, bench: "Bench", stored: list[str]) -> None:
        """The next look finds it: a thousand executions that wait do not have the store asked a thousand times."""
        taker = Taker()

        async with started(bench, taker) as made:
            await bench.eventually(lambda: len(taker.taken) == 5 and bench.clock.sleeps(POLL_MAX_S))
            looks = bench.clock.asked.count(POLL_MAX_S)
            await park(bench, stored[0], after(bench, POLL_MAX_S))
            made.parked(after(bench, POLL_MAX_S))
            await bench.store.read(executions.next_wake)
            looks_then = bench.clock.asked.count(POLL_MAX_S)
            bench.clock.turn(POLL_MAX_S)
            await bench.eventually(lambda: len(taker.taken) == 6)

        assert looks_then == looks
        assert taker.taken[-1] == stored[0]

    async def test_what_is_parked_during_a_look_is_looked_for(self, bench: "Bench", stored: list[str]) -> None:
        """The look may have missed it, whatever its time is."""
        await park(bench, stored[0], after(bench, POLL_MAX_S))
        taker = Taker()

        async with started(bench, taker) as made:
            taker.on_taking(stored[0], lambda: made.parked(after(bench, POLL_MAX_S + 1)))
            await bench.eventually(lambda: bench.clock.sleeps(POLL_MAX_S))
            bench.clock.turn(POLL_MAX_S)
            await bench.eventually(lambda: len(taker.taken) == 5)

            await bench.eventually(lambda: bench.clock.asked.count(POLL_MAX_S) == 3)

    async def test_a_store_that_is_away_is_asked_again(self, bench: "Bench", stored: list[str]) -> None:
        """After a pause, as often as it takes."""
        for execution_id in stored:
            await park(bench, execution_id, after(bench, -1))
        bench.store.refuse(executions.claim_due)
        taker = Taker()

        async with started(bench, taker):
            await bench.eventually(lambda: bench.clock.sleeps(POLL_MAX_S))
            bench.clock.turn(POLL_MAX_S)
            await bench.eventually(lambda: taker.taken == stored)

    async def test_what_a_claim_without_an_answer_took_is_found_by_the_sweep(
        self, bench: "Bench", stored: list[str]
    ) -> None:
        """They are off the clock and in nobody's hands."""
        for execution_id in stored:
            await park(bench, execution_id, after(bench, -1))
        bench.store.lose_answer(executions.claim_due)
        taker = Taker()

        async with started(bench, taker):
            await bench.eventually(lambda: taker.taken == stored)

    async def test_an_error_that_nobody_foresaw_does_not_end_it(self, bench: "Bench", stored: list[str]) -> None:
        """The one that was claimed and not handed over is found by the sweep."""
        await park(bench, stored[0], after(bench, -1))
        for execution_id in stored[1:]:
            await park(bench, execution_id, after(bench, 3))
        taker = Taker(breaks=1)

        async with started(bench, taker):
            await bench.eventually(lambda: stored[0] in taker.taken)
            bench.clock.turn(POLL_MAX_S)
            await bench.eventually(lambda: set(taker.taken) == set(stored))

    async def test_a_time_that_is_none_does_not_end_it(self, bench: "Bench", stored: list[str]) -> None:
        """Somebody changed the row: what has a time that can be read is woken all the same."""
        for execution_id in stored:
            await park(bench, execution_id, "tomorrow")
        taker = Taker()

        async with started(bench, taker) as made:
            await bench.eventually(lambda: bench.clock.sleeps(POLL_MAX_S))
            await park(bench, stored[0], after(bench, -1))
            made.parked(after(bench, -1))
            await bench.eventually(lambda: taker.taken == stored[:1])


def _set_wake_at(connection: Connection, execution_id: str, wake_at: str) -> None:
    connection.exec_driver_sql("UPDATE executions SET wake_at = ? WHERE id = ?", (wake_at, execution_id))
