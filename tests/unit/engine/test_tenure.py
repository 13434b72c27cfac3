"""Who drives a store: one process at a time, for as long as it holds the lock."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from flowker.domain.errors import InternalError
from flowker.domain.executions import Accepted
from flowker.engine.tenure import HANDOVER_S, TRY_S, Tenure
from flowker.engine.wakeups import SWEEP_MAX_S
from flowker.storage.database import DatabaseUnusable, EngineLock
from tests.conftest import PostgresqlServer

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench, Draw

Serve = Callable[[Callable[..., Awaitable[web.StreamResponse]]], Awaitable[str]]


class Candidate:
    """One process's engine and its tenure; `prepared` counts how often the store was prepared."""

    def __init__(self, bench: "Bench", url: str) -> None:
        self.engine = bench.make_engine()
        self.url = url
        self.lock = EngineLock(url)
        self.prepared = 0
        self.refusals: list[Exception] = []
        self.tenure = Tenure(self.lock, self.engine, self._prepare, bench.clock)

    def _prepare(self) -> None:
        if self.refusals:
            raise self.refusals.pop()
        self.prepared += 1


@pytest.fixture
def candidate(bench: "Bench", postgresql_url: str) -> Candidate:
    return Candidate(bench, postgresql_url)


@asynccontextmanager
async def started(candidate: Candidate) -> AsyncIterator[None]:
    await candidate.tenure.take(0)
    await candidate.tenure.start()
    yield
    await candidate.tenure.stop()
    await candidate.tenure.release()


async def turn_until(bench: "Bench", holds: Callable[[], bool]) -> None:
    """Turn the clock for whoever waits between two attempts, or for a handover, until a claim holds."""

    def turned() -> bool:
        for seconds in (TRY_S, HANDOVER_S):
            if bench.clock.sleeps(seconds):
                bench.clock.turn(seconds)
        return holds()

    await bench.eventually(turned)


async def test_whoever_takes_the_store_drives_it(candidate: Candidate) -> None:
    """It is prepared first, once."""
    async with started(candidate):
        alive = candidate.engine.alive

    assert alive
    assert candidate.prepared == 1
    assert not candidate.engine.alive


async def test_a_store_that_cannot_be_prepared_is_left(candidate: Candidate) -> None:
    """Its lock is free for somebody who can."""
    candidate.refusals = [DatabaseUnusable("made by a newer version")]

    with pytest.raises(DatabaseUnusable, match="newer"):
        await candidate.tenure.take(0)

    lock = EngineLock(candidate.url)
    assert lock.acquire()
    lock.release()


async def test_whoever_comes_second_stands_by(bench: "Bench", candidate: Candidate, draw: "Draw") -> None:
    """It touches nothing, accepts nothing, and takes over when the first one has ended."""
    workflow_id = await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a"))
    lock = EngineLock(candidate.url)
    lock.acquire()

    async with started(candidate):
        states = [(candidate.engine.alive, candidate.engine.stands_by, candidate.prepared)]
        with pytest.raises(InternalError) as refused:
            await bench.accept(workflow_id)
        lock.release()
        await turn_until(bench, lambda: candidate.engine.alive)
        states.append((candidate.engine.alive, candidate.engine.stands_by, candidate.prepared))
        recorded = await bench.run(workflow_id)

    assert states == [(False, True, 0), (True, False, 1)]
    assert refused.value.headers == {"Retry-After": "1"}
    assert recorded.row.status == "completed"


async def test_one_that_only_stood_by_ends(candidate: Candidate) -> None:
    """It has nothing to finish, and what it tries to take at that moment it gives back."""
    lock = EngineLock(candidate.url)
    lock.acquire()

    async with started(candidate):
        pass

    lock.release()
    assert lock.acquire()
    lock.release()


async def test_whoever_loses_the_lock_gives_up_its_calls(
    bench: "Bench", candidate: Candidate, draw: "Draw", serve: Serve, postgresql_server: PostgresqlServer
) -> None:
    """Who has the lock again goes on from the store: what was not recorded is attempted again, with the same key."""
    keys: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        keys.append(request.headers["Idempotency-Key"])
        await asyncio.sleep(0 if len(keys) > 1 else 600)
        return web.json_response({})

    await bench.configure_http(await serve(answer))
    workflow_id = await bench.save([draw.trigger, draw.call("c")], draw.chain("t", "c"))
    async with started(candidate):
        execution_id = await bench.accept(workflow_id)
        await bench.eventually(lambda: len(keys) == 1)
        postgresql_server.end_connections(candidate.url)
        await bench.eventually(lambda: candidate.engine.stands_by)
        alive = candidate.engine.alive
        await turn_until(bench, lambda: candidate.engine.alive)
        recorded = await bench.end(execution_id)

    assert not alive
    assert recorded.row.status == "completed"
    assert keys == [f"{execution_id}:c"] * 2


async def test_what_was_accepted_a_moment_too_late_is_swept_up(bench: "Bench", draw: "Draw") -> None:
    """The process that accepted it has lost its lock and drives nothing; the one that drives did not hear of it."""
    workflow_id = await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a"))
    await bench.engine.stop()
    driving = bench.make_engine(shared=True)
    await driving.start()
    late = bench.make_engine()
    submission = await bench.submission(workflow_id)
    await bench.eventually(lambda: bench.clock.sleeps(SWEEP_MAX_S))

    accepted = await bench.accepting.accept(submission, "late")
    assert isinstance(accepted, Accepted)
    await late.stand_by()
    late.submit(accepted, submission.definition, 0)
    bench.clock.turn(SWEEP_MAX_S)
    recorded = await bench.end("late")

    await driving.stop()
    assert late.ready_depth == 0
    assert recorded.row.status == "completed"


@pytest.mark.parametrize("error", [DatabaseUnusable("made by a newer version"), RuntimeError("a bug")])
async def test_a_takeover_that_fails_is_tried_again(
    bench: "Bench", candidate: Candidate, postgresql_server: PostgresqlServer, error: Exception
) -> None:
    """The lock is left to others meanwhile."""
    async with started(candidate):
        candidate.refusals = [error, error]
        postgresql_server.end_connections(candidate.url)
        await bench.eventually(lambda: candidate.engine.stands_by)
        await turn_until(bench, lambda: candidate.engine.alive)

    assert candidate.refusals == []
    assert candidate.prepared == 2


async def test_a_server_that_is_away_is_waited_for(
    bench: "Bench", candidate: Candidate, postgresql_server: PostgresqlServer
) -> None:
    """However often it is tried."""
    async with started(candidate):
        postgresql_server.cut_off(candidate.url)
        asked = len(bench.clock.asked)
        await turn_until(bench, lambda: bench.clock.asked[asked:].count(TRY_S) >= 3)
        stands_by = candidate.engine.stands_by
        postgresql_server.let_in(candidate.url)
        await turn_until(bench, lambda: candidate.engine.alive)

    assert stands_by


async def test_a_lock_that_is_lost_before_it_is_used_is_not_used(
    bench: "Bench", candidate: Candidate, postgresql_server: PostgresqlServer
) -> None:
    """The engine starts with a lock that is held."""
    lock = EngineLock(candidate.url)
    lock.acquire()
    async with started(candidate):
        lock.release()
        bench.clock.turn(TRY_S)
        await bench.eventually(lambda: candidate.tenure._watch is not None)
        first = candidate.tenure._watch
        postgresql_server.end_connections(candidate.url)
        assert first is not None
        await asyncio.wait_for(first.lost.wait(), 30)
        alive = candidate.engine.alive
        await turn_until(bench, lambda: candidate.engine.alive)
        second = candidate.tenure._watch

    assert not alive
    assert second is not first


async def test_one_that_is_about_to_stop_takes_nothing_over(bench: "Bench", candidate: Candidate) -> None:
    """It would be ready again, for the seconds that it has left."""
    lock = EngineLock(candidate.url)
    lock.acquire()
    async with started(candidate):
        candidate.engine.drains = True
        candidate.engine.stop_waiting()
        lock.release()
        asked = len(bench.clock.asked)
        await turn_until(bench, lambda: len(bench.clock.asked) >= asked + 3)
        states = candidate.engine.alive, candidate.engine.drains, candidate.prepared
        is_free = lock.acquire()

    lock.release()
    assert states == (False, True, 0)
    assert is_free


async def test_a_stop_that_begins_during_a_handover_ends_it(bench: "Bench", candidate: Candidate) -> None:
    """The lock that was just taken is given back."""
    lock = EngineLock(candidate.url)
    lock.acquire()
    async with started(candidate):
        lock.release()
        bench.clock.turn(TRY_S)
        await bench.eventually(lambda: candidate.tenure._watch is not None)
        candidate.engine.drains = True
        await turn_until(bench, lambda: candidate.tenure._watch is None)
        states = candidate.engine.alive, candidate.engine.drains
        is_free = lock.acquire()

    lock.release()
    assert states == (False, True)
    assert is_free


async def test_who_may_not_wait_for_the_server_leaves_the_lock_to_the_end_of_the_process(
    candidate: Candidate,
) -> None:
    """A thread may still be asking for a sign of life, and nobody can take its connection away."""
    lock = EngineLock(candidate.url)
    await candidate.tenure.take(0)

    await candidate.tenure.release(0)
    is_free = lock.acquire()
    await candidate.tenure.release()

    assert not is_free
    assert lock.acquire()
    lock.release()


async def test_an_attempt_that_fails_while_it_is_given_up_is_nobodys(bench: "Bench", candidate: Candidate) -> None:
    """A stop waits for its end, and the log has no story of it."""
    asked, told = threading.Event(), threading.Event()

    class SlowLock(EngineLock):
        def acquire(self) -> bool:
            asked.set()
            told.wait(30)
            raise DatabaseUnusable("the server does not answer")

    stories: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, story: stories.append(story))
    tenure = Tenure(SlowLock(candidate.url), candidate.engine, candidate._prepare, bench.clock)
    await tenure.start()
    await asyncio.to_thread(asked.wait, 30)

    stopping = asyncio.create_task(tenure.stop())
    await asyncio.sleep(0)
    told.set()
    await stopping
    await tenure.release()
    del tenure, stopping
    gc.collect()

    assert stories == []


async def test_a_stop_ends_at_once_when_the_lock_is_lost_meanwhile(
    bench: "Bench", candidate: Candidate, draw: "Draw", serve: Serve, postgresql_server: PostgresqlServer
) -> None:
    """Its grace time is for calls that somebody else may make now."""
    called = asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        called.set()
        await asyncio.sleep(600)
        raise AssertionError

    await bench.configure_http(await serve(answer))
    workflow_id = await bench.save([draw.trigger, draw.call("c")], draw.chain("t", "c"))
    candidate.engine._grace_s = 600
    await candidate.tenure.take(0)
    await candidate.tenure.start()
    await bench.accept(workflow_id)
    await called.wait()

    stopping = asyncio.create_task(candidate.tenure.stop())
    await asyncio.sleep(0)
    postgresql_server.end_connections(candidate.url)
    await asyncio.wait_for(stopping, 60)

    await candidate.tenure.release()
    assert candidate.engine.stands_by
