"""A slow far side: its calls get places, further ones stand in line as rows, and nobody else is held up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from flowker.domain.audit import SYSTEM
from flowker.domain.interventions import Cancel
from flowker.domain.timestamps import format_timestamp
from flowker.engine.driver import RECORD_RETRY_S
from flowker.engine.lanes import LOOK_AFTER_S, PLACES_MIN
from flowker.engine.records import Recorded
from flowker.storage import executions
from tests.unit.engine.conftest import T0

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Answer, Bench, Draw

WORKERS = PLACES_MIN + 2


class SlowSide:
    """Answers nobody before it may."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.hangs = asyncio.Event()
        """What calls of `/hang` wait for instead."""
        self.asked: list[str] = []
        self.now = 0
        self.peak = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers["X-Flowker-Execution-Id"])
        self.now += 1
        self.peak = max(self.peak, self.now)
        await (self.hangs if request.path == "/hang" else self.answers).wait()
        self.now -= 1
        return web.json_response({})


@pytest.fixture
async def slow(bench: "Bench", serve: "Callable[[Answer], Awaitable[str]]") -> AsyncIterator[SlowSide]:
    """The configuration of the bench leads to it; there are two workers more than places."""
    side = SlowSide()
    await bench.configure_http(await serve(side.answer))
    await bench.engine.stop()
    await bench.make_engine(WORKERS).start()
    yield side
    side.answers.set()
    side.hangs.set()


async def fill(bench: "Bench", draw: "Draw", slow: SlowSide, count: int) -> list[str]:
    """So many executions with a call; as many as there are places are asked, the others stand in line as rows."""
    calls = await bench.save([draw.trigger, draw.call("c")], draw.chain("t", "c"), timeoutSeconds=600)
    ids = [await bench.accept(calls) for _ in range(count)]
    await bench.eventually(lambda: len(slow.asked) == min(count, PLACES_MIN))
    for id_ in set(ids) - set(slow.asked):
        await bench.until(id_, stands_in_line)
    return ids


def stands_in_line(recorded: Recorded) -> bool:
    """No call of it was begun, and it has a time to look again."""
    return recorded.row.wake_at is not None and len(recorded.events) == 1


async def test_a_slow_far_side_takes_not_all_workers(bench: "Bench", draw: "Draw", slow: SlowSide) -> None:
    """Twice as many calls as there are workers wait for it; an execution that needs nothing of it ends."""
    quick = await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a"))
    ids = await fill(bench, draw, slow, 2 * WORKERS)

    ended = await bench.run(quick)

    assert ended.row.status == "completed"
    assert bench.engine.calls_in_line == 2 * WORKERS - PLACES_MIN
    slow.answers.set()
    assert {(await bench.end(id_)).row.status for id_ in ids} == {"completed"}
    assert sorted(slow.asked) == sorted(ids)
    assert slow.peak == PLACES_MIN
    assert bench.engine.calls_in_line == 0


async def test_who_stands_in_line_can_be_cancelled(bench: "Bench", draw: "Draw", slow: SlowSide) -> None:
    """At once, and without a call; those behind it move up."""
    ids = await fill(bench, draw, slow, PLACES_MIN + 2)
    first, second = [id_ for id_ in ids if id_ not in slow.asked]

    state = await bench.engine.intervene(first, Cancel(SYSTEM))

    assert state.status == "failed"
    assert bench.engine.calls_in_line == 1
    slow.answers.set()
    assert (await bench.end(second)).row.status == "completed"
    assert first not in slow.asked


async def test_the_time_limit_holds_in_line(bench: "Bench", draw: "Draw", slow: SlowSide) -> None:
    """It is looked at whenever the execution looks by itself, and at the limit."""
    ids = await fill(bench, draw, slow, PLACES_MIN + 1)
    [last] = [id_ for id_ in ids if id_ not in slow.asked]
    recorded = await bench.until(last, stands_in_line)
    assert recorded.row.wake_at is not None
    assert format_timestamp(T0) < recorded.row.wake_at

    bench.clock.turn(600)

    assert "FLK-0503" in ((await bench.end(last)).row.error_message or "")
    assert last not in slow.asked


async def test_who_stood_in_line_goes_on_after_a_crash(bench: "Bench", draw: "Draw", slow: SlowSide) -> None:
    """The position is lost, the execution is not: its row says when it looks."""
    ids = await fill(bench, draw, slow, PLACES_MIN + 3)

    slow.answers.set()
    await bench.restart()
    assert len(slow.asked) == PLACES_MIN
    bench.clock.turn(LOOK_AFTER_S)

    assert {(await bench.end(id_)).row.status for id_ in ids} == {"completed"}


async def test_branches_of_one_execution_take_their_turns(bench: "Bench", draw: "Draw", slow: SlowSide) -> None:
    """More calls than places: the execution keeps its worker, and begins each call as soon as there is a place."""
    branches = [f"c{number}" for number in range(PLACES_MIN + 4)]
    nodes = [draw.trigger, *(draw.call(id_) for id_ in branches)]
    fan = await bench.save(nodes, draw.edges(*(("t", id_) for id_ in branches)))
    execution_id = await bench.accept(fan)
    await bench.eventually(lambda: len(slow.asked) == PLACES_MIN)
    assert bench.engine.calls_in_line == 4

    slow.answers.set()

    assert (await bench.end(execution_id)).row.status == "completed"
    assert len(slow.asked) == len(branches)


class TestCalledWhileItIsRecorded:
    """The place becomes free between the question for it and the commit that the execution stands in line."""

    async def test_an_execution_that_is_being_parked_goes_on(
        self, bench: "Bench", draw: "Draw", slow: SlowSide
    ) -> None:
        """It does not wait until it looks by itself."""
        await fill(bench, draw, slow, PLACES_MIN)
        calls = await bench.save([draw.trigger, draw.call("c")], draw.chain("t", "c"))
        bench.store.refuse(executions.record)
        late = await bench.accept(calls)
        await bench.eventually(lambda: bench.clock.sleeps(RECORD_RETRY_S[0]))

        slow.answers.set()
        await bench.eventually(lambda: bench.engine.calls_in_line == 0)
        bench.clock.turn(RECORD_RETRY_S[0])

        assert (await bench.end(late)).row.status == "completed"

    async def test_a_branch_beside_a_call_begins(self, bench: "Bench", draw: "Draw", slow: SlowSide) -> None:
        """It does not wait until the call beside it has ended."""
        await fill(bench, draw, slow, PLACES_MIN - 1)
        nodes = [draw.trigger, draw.call("a", "/hang"), draw.call("b")]
        branches = await bench.save(nodes, draw.edges(("t", "a"), ("t", "b")))
        bench.store.refuse(executions.record)
        late = await bench.accept(branches)
        await bench.eventually(lambda: bench.clock.sleeps(RECORD_RETRY_S[0]))

        slow.answers.set()
        await bench.eventually(lambda: bench.engine.calls_in_line == 0)
        bench.clock.turn(RECORD_RETRY_S[0])

        await bench.until(late, lambda recorded: recorded.row.current_step_number == 1)
        assert slow.now == 1
        slow.hangs.set()
        assert (await bench.end(late)).row.status == "completed"


async def test_an_execution_that_breaks_gives_its_place_back(bench: "Bench", draw: "Draw", slow: SlowSide) -> None:
    """It had one, and its call was not begun yet."""
    calls = await bench.save([draw.trigger, draw.call("c")], draw.chain("t", "c"))
    bench.store.refuse(executions.record, error=RuntimeError("broken"))

    broken = await bench.run(calls)

    assert "FLK-9999" in (broken.row.error_message or "")
    await fill(bench, draw, slow, PLACES_MIN)
    assert len(slow.asked) == PLACES_MIN
