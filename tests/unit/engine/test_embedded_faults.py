"""The embedded engine when something goes wrong: it stays with the execution it belongs to, and nothing is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from aiohttp import web

from flowker.domain.errors import InternalError
from flowker.domain.executions import Aborted, Event, Outcome, Postponed, Run, Settled, State
from flowker.domain.nodes import Node, compile_node
from flowker.engine.embedded import INPUT_KEPT_BYTES_MAX
from flowker.engine.records import build_progress, read_extent, read_recorded
from flowker.engine.steps import STORE_RETRY_S, Steps
from flowker.engine.wakeups import POLL_MAX_S
from flowker.storage import executions, executor_configurations, journal, provider_configurations
from flowker.storage.database import Connection
from tests.unit.engine.conftest import CONFIGURATION_ID

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Answer, Bench, Draw

CANNOT_CONTINUE = "FLK-9999: the execution cannot be continued"

Serve = Callable[["Answer"], Awaitable[str]]


class FarSide:
    """Answers each path when it is let go."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}

    async def answer(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        await self._gate(request.path).wait()
        return web.json_response({})

    async def wait(self, path: str) -> None:
        await self._gate(path).wait()

    def let_go(self, path: str) -> None:
        self._gate(path).set()

    def _gate(self, path: str) -> asyncio.Event:
        return self._gates.setdefault(path, asyncio.Event())


@pytest.fixture
async def far_side(bench: "Bench", serve: Serve) -> FarSide:
    """What the executor nodes of these tests call."""
    made = FarSide()
    await bench.configure_http(await serve(made.answer))
    return made


@pytest.fixture
async def simple(bench: "Bench", draw: "Draw") -> str:
    """A workflow that completes by itself."""
    return await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a"))


class TestStoreAway:
    async def test_an_outcome_is_recorded_as_soon_as_the_store_is_back(self, bench: "Bench", simple: str) -> None:
        """It is tried again after longer and longer waits, and then every five seconds."""
        bench.store.refuse(executions.record, 6)
        execution_id = await bench.accept(simple)

        for wait_s in (0.05, 0.2, 1.0, 5.0, 5.0, 5.0):
            await _turn_when_asleep(bench, wait_s)
        ended = await bench.end(execution_id)

        assert ended.row.status == "completed"
        assert len(ended.events) == 2

    async def test_a_commit_whose_answer_was_lost_is_not_repeated(self, bench: "Bench", simple: str) -> None:
        """The second attempt finds its place taken, and what is stored is the first's."""
        bench.store.lose_answer(executions.record)
        await bench.accept_as("one", simple)

        await _turn_when_asleep(bench, 0.05)
        await _turn_when_asleep(bench, 0.2)
        await bench.eventually(lambda: not bench.engine._held)
        ended = await bench.end("one")

        assert ended.row.status == "completed"
        assert len(ended.events) == 2

    async def test_an_event_is_emitted_once_however_often_it_is_recorded(self, bench: "Bench", draw: "Draw") -> None:
        """The store is away, then a commit has no answer: the event stands and falls with the node's outcome."""
        nodes = [draw.trigger, draw.action("a", "emit_event", eventType="paid")]
        bench.store.refuse(executions.record)
        execution_id = await bench.accept(await bench.save(nodes, draw.chain("t", "a")))
        await bench.eventually(lambda: bench.clock.sleeps(0.05))
        before = await bench.store.read(_emitted)

        bench.store.lose_answer(executions.record)
        bench.clock.turn(0.05)
        await _turn_when_asleep(bench, 0.2)
        await _turn_when_asleep(bench, 0.2)
        await bench.eventually(lambda: not bench.engine._held)
        await bench.end(execution_id)

        assert before == []
        assert await bench.store.read(_emitted) == [execution_id]

    async def test_an_event_that_was_not_recorded_is_emitted_after_the_next_start(
        self, bench: "Bench", draw: "Draw"
    ) -> None:
        """Nor is one that was recorded emitted again."""
        nodes = [
            draw.trigger,
            draw.action("a", "emit_event", eventType="paid"),
            draw.action("wait", "delay", seconds=5),
            draw.action("b", "emit_event", eventType="closed"),
        ]
        await bench.engine.stop()
        await bench.make_engine(grace_s=0.01).start()
        bench.store.refuse(executions.record)
        execution_id = await bench.accept(await bench.save(nodes, draw.chain("t", "a", "wait", "b")))
        await bench.eventually(lambda: bench.clock.sleeps(0.05))

        await bench.restart()
        await bench.until(execution_id, lambda recorded: recorded.row.wake_at is not None)
        emitted = await bench.store.read(_emitted)
        await bench.restart()
        bench.clock.turn(5)
        await bench.end(execution_id)

        assert emitted == [execution_id]
        assert await bench.store.read(_emitted) == [execution_id] * 2

    async def test_an_execution_that_cannot_be_read_is_left_to_the_sweep(self, bench: "Bench", simple: str) -> None:
        """After a pause it is taken up again."""
        await bench.engine.stop()
        execution_id = await bench.accept(simple)
        bench.store.refuse(read_recorded)

        await bench.make_engine().start()
        await _turn_when_asleep(bench, 0.2)
        ended = await bench.end(execution_id)

        assert ended.row.status == "completed"

    async def test_a_parked_execution_whose_commit_had_no_answer_still_wakes(
        self, bench: "Bench", draw: "Draw"
    ) -> None:
        """It is in the store with its time, though the engine was not told so."""
        workflow_id = await bench.save([draw.trigger, draw.action("d", "delay", seconds=5)], draw.chain("t", "d"))
        bench.store.lose_answer(executions.record)
        execution_id = await bench.accept(workflow_id)

        await _turn_when_asleep(bench, 0.05)
        await _turn_when_asleep(bench, 0.2)
        bench.clock.turn(5)
        ended = await bench.end(execution_id)

        assert ended.row.status == "completed"
        assert len(ended.events) == 3

    async def test_a_call_whose_configuration_cannot_be_read_is_made_later(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """Its first attempt is still its first."""
        far_side.let_go("/c")
        bench.store.refuse(provider_configurations.get)
        workflow_id = await bench.save([draw.trigger, draw.call("c", "/c")], draw.chain("t", "c"))
        execution_id = await bench.accept(workflow_id)
        await bench.until(execution_id, lambda recorded: recorded.row.wake_at is not None)

        bench.clock.turn(1)
        ended = await bench.end(execution_id)

        assert _outcomes(ended.events)["c"].attempts == 1

    async def test_stopping_does_not_wait_for_a_store_that_is_away(self, bench: "Bench", simple: str) -> None:
        """What was not recorded is done by the next start."""
        await bench.engine.stop()
        await bench.make_engine(grace_s=0.01).start()
        bench.store.refuse(executions.record, 1)
        execution_id = await bench.accept(simple)
        await bench.eventually(lambda: bench.clock.sleeps(0.05))

        await bench.restart()
        ended = await bench.end(execution_id)

        assert ended.row.status == "completed"


async def test_what_was_accepted_without_an_answer_is_driven_all_the_same(bench: "Bench", simple: str) -> None:
    """Whoever sent it was told to try again; the commit was made, and nothing that is committed stays lying there."""
    bench.store.lose_answer(executions.accept)
    await bench.eventually(lambda: bench.clock.sleeps(POLL_MAX_S))

    with pytest.raises(InternalError):
        await bench.accept_as("one", simple)
    bench.clock.turn(POLL_MAX_S)

    assert (await bench.end("one")).row.status == "completed"


class TestJournal:
    async def test_whoever_finds_the_journal_moved_on_takes_it_from_there(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """Somebody else recorded an outcome of the same call: that one stays."""
        workflow_id = await bench.save(
            [draw.trigger, draw.call("c", "/c"), draw.action("a")], draw.chain("t", "c", "a")
        )
        execution_id = await bench.accept(workflow_id)
        await bench.eventually(lambda: bool(far_side.keys))
        await bench.store.write_together(executions.record, _outcome_of_another(execution_id, "c"))

        far_side.let_go("/c")
        await _turn_when_asleep(bench, 0.2)
        ended = await bench.end(execution_id)

        assert _outcomes(ended.events)["c"].output == {"from": "another"}
        assert _outcomes(ended.events)["a"].status == "completed"
        assert far_side.keys == [f"{execution_id}:c"]

    async def test_a_journal_with_an_unknown_event_ends_its_execution_alone(
        self, bench: "Bench", simple: str
    ) -> None:
        """A later version wrote it; the execution beside it completes."""
        bad, good = await _accept_unseen(bench, simple, 2)
        await bench.store.write(_append_unknown, bad, 1)

        await bench.make_engine().start()

        assert (await bench.end(good)).row.status == "completed"
        assert await _ended_row(bench, bad) == ("failed", CANNOT_CONTINUE)

    async def test_it_is_ended_later_while_the_store_is_away(self, bench: "Bench", simple: str) -> None:
        """Nothing stays in nobody's hands."""
        [bad] = await _accept_unseen(bench, simple, 1)
        await bench.store.write(_append_unknown, bad, 1)
        bench.store.refuse(read_extent)

        await bench.make_engine().start()
        await _turn_when_asleep(bench, 0.2)

        assert await _ended_row(bench, bad) == ("failed", CANNOT_CONTINUE)

    async def test_what_cannot_even_be_ended_is_left_as_it_is(self, bench: "Bench", simple: str) -> None:
        """The worker goes on with the next one."""
        [bad] = await _accept_unseen(bench, simple, 1)
        await bench.store.write(_append_unknown, bad, 1)
        bench.store.refuse(executions.record, error=RuntimeError("a bug"))

        await bench.make_engine(workers=1).start()
        await bench.eventually(lambda: not bench.store.refuses(executions.record))
        ended = await bench.run(simple)

        assert ended.row.status == "completed"
        assert (await bench.store.read(executions.get, bad)).status == "running"
        assert bench.engine.alive

    async def test_a_journal_with_a_gap_is_not_ended_twice(self, bench: "Bench", simple: str) -> None:
        """The place after its entries is taken; nobody is told an end that was not recorded."""
        [bad] = await _accept_unseen(bench, simple, 1)
        await bench.store.write(_append_unknown, bad, 5)

        engine = bench.make_engine(workers=1)
        finished = engine.expect(bad)
        await engine.start()
        await bench.run(simple)

        assert not finished.done()
        assert (await bench.store.read(executions.get, bad)).status == "running"

    async def test_an_execution_without_a_journal_is_ended(self, bench: "Bench", simple: str) -> None:
        """Nobody knows what it was to do; its end is all that its journal has."""
        [bad] = await _accept_unseen(bench, simple, 1)
        await bench.store.write(_forget_journal, bad)

        await bench.make_engine().start()

        assert await _ended_row(bench, bad) == ("failed", CANNOT_CONTINUE)
        assert await bench.store.read(journal.count, bad) == 1

    async def test_what_cannot_be_read_is_left_as_it_is(self, bench: "Bench", simple: str) -> None:
        """Neither ended nor met again and again: it may be restored."""
        bad, good = await _accept_unseen(bench, simple, 2)
        await bench.store.write(_make_unreadable, bad)

        with structlog.testing.capture_logs() as lines:
            await bench.make_engine(workers=1).start()
            ended = await bench.end(good)
            await bench.eventually(lambda: not bench.engine._held)

        assert ended.row.status == "completed"
        assert (await bench.store.read(executions.get, bad)).status == "running"
        assert [line["event"] for line in lines if line.get("execution_id") == bad] == [
            "execution unreadable: left as it is"
        ]

    async def test_a_row_that_cannot_be_read_holds_up_no_other(self, bench: "Bench", simple: str) -> None:
        """The sweep looks at its id alone."""
        bad, good = await _accept_unseen(bench, simple, 2)
        await bench.store.write(_make_row_unreadable, bad)

        await bench.make_engine().start()

        assert (await bench.end(good)).row.status == "completed"

    async def test_what_broke_after_a_failure_has_failed_for_that(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """The row tells what the journal tells, now and whenever it is folded."""
        nodes = [draw.trigger, draw.call("c", "/c"), draw.action("f", "fail", message="no funds")]
        await _start_with(bench, _breaking_steps("c", RuntimeError("a bug"), far_side.wait))
        execution_id = await bench.accept(await bench.save(nodes, draw.edges(("t", "c"), ("t", "f"))))
        await bench.until(execution_id, lambda recorded: recorded.row.current_step_number == 1)

        far_side.let_go("/c")
        ended = await bench.end(execution_id)

        assert ended.row.error_message == "FLK-0504: node f failed: no funds"
        assert isinstance(ended.events[-1], Aborted)

    async def test_an_execution_that_cannot_be_begun_is_ended(self, bench: "Bench", simple: str) -> None:
        """The fault is found by the worker, not by whoever accepted."""
        submission = await bench.submission(simple)
        await bench.engine.stop()
        accepted = await bench.accept_as("one", simple)
        engine = bench.make_engine()

        engine.submit(accepted._replace(started_at="never"), submission.definition, 10)
        await engine.start()

        assert await _ended_row(bench, "one") == ("failed", CANNOT_CONTINUE)

    async def test_an_execution_that_has_ended_is_not_driven_again(self, bench: "Bench", simple: str) -> None:
        """The sweep met it just before; who waits for its end is told."""
        ended = await bench.run(simple)
        await bench.eventually(lambda: not bench.engine._held)
        finished = bench.engine.expect(ended.row.id)

        await bench.engine._take_up(ended.row.id)
        status = await asyncio.wait_for(finished, 5)

        assert status == "completed"
        assert await bench.end(ended.row.id) == ended

    async def test_who_waits_for_an_end_is_let_go_before_a_stop(self, bench: "Bench") -> None:
        """Who waits already, and who comes later, also when the engine takes the store over in that moment."""
        before = bench.engine.expect("a")
        bench.engine.stop_waiting()
        after = bench.engine.expect("b")
        await bench.engine.stop()
        await bench.engine.start()
        anew = bench.engine.expect("c")

        assert [future.result() for future in (before, after, anew)] == [None] * 3

    async def test_an_execution_that_is_not_there_is_nobodys(self, bench: "Bench", simple: str) -> None:
        """It was deleted between the sweep's look and the worker's."""
        with structlog.testing.capture_logs() as lines:
            await bench.engine._take_up("ghost")
            await bench.eventually(lambda: not bench.engine._held)

        assert [line["event"] for line in lines] == ["execution vanished"]
        assert (await bench.run(simple)).row.status == "completed"


class TestCalls:
    async def test_a_bug_in_a_call_ends_the_execution_and_what_else_it_calls(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """The call beside it is cut off; the worker goes on."""
        await _start_with(bench, _breaking_steps("c", RuntimeError("a bug")))
        nodes = [draw.trigger, draw.call("c"), draw.call("d", "/d")]
        execution_id = await bench.accept(await bench.save(nodes, draw.edges(("t", "c"), ("t", "d"))))

        ended = await bench.end(execution_id)

        assert ended.row.error_message == CANNOT_CONTINUE
        assert bench.engine.alive
        assert far_side.keys in ([], [f"{execution_id}:d"])

    async def test_a_call_that_somebody_cancelled_is_made_again(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """The worker does not take it for its own end."""
        far_side.let_go("/c")
        await _start_with(bench, _breaking_steps("c", asyncio.CancelledError()))
        workflow_id = await bench.save([draw.trigger, draw.call("c", "/c")], draw.chain("t", "c"))
        execution_id = await bench.accept(workflow_id)

        await _turn_when_asleep(bench, 0.2)
        ended = await bench.end(execution_id)

        assert ended.row.status == "completed"
        assert bench.engine.alive

    async def test_a_wait_elapses_beside_a_call(self, bench: "Bench", draw: "Draw", far_side: FarSide) -> None:
        """The execution is in memory for the call's sake, and the delay is over in its time."""
        nodes = [draw.trigger, draw.call("c", "/c"), draw.action("d", "delay", seconds=5)]
        execution_id = await bench.accept(await bench.save(nodes, draw.edges(("t", "c"), ("t", "d"))))
        await bench.eventually(lambda: bool(far_side.keys))

        bench.clock.turn(5)
        beside = await bench.until(execution_id, lambda recorded: recorded.row.current_step_number == 1)
        far_side.let_go("/c")
        ended = await bench.end(execution_id)

        assert list(_outcomes(beside.events)) == ["d"]
        assert list(_outcomes(ended.events)) == ["d", "c"]

    async def test_the_time_limit_does_not_hide_a_failure(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """One branch has failed, the other hangs in a call until the limit: the failure is the reason."""
        nodes = [
            draw.trigger,
            draw.call("c", "/c"),
            draw.action("d", "delay", seconds=1),
            draw.action("f", "fail", message="no funds"),
        ]
        edges = draw.edges(("t", "c"), ("t", "d"), ("d", "f"))
        execution_id = await bench.accept(await bench.save(nodes, edges, timeoutSeconds=10))
        await bench.eventually(lambda: bool(far_side.keys))
        bench.clock.turn(1)
        await bench.until(execution_id, lambda recorded: recorded.row.current_step_number == 2)

        bench.clock.turn(10)
        ended = await bench.end(execution_id)

        assert ended.row.error_message == "FLK-0504: node f failed: no funds"


class TestStopping:
    async def test_a_call_that_outlasts_the_grace_time_is_made_again_with_the_same_key(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """Its outcome was not recorded; the far side can tell the repetition."""
        await bench.engine.stop()
        await bench.make_engine(grace_s=0.01).start()
        workflow_id = await bench.save([draw.trigger, draw.call("c", "/c")], draw.chain("t", "c"))
        execution_id = await bench.accept(workflow_id)
        await bench.eventually(lambda: bool(far_side.keys))

        await bench.restart()
        far_side.let_go("/c")
        ended = await bench.end(execution_id)

        assert ended.row.status == "completed"
        assert far_side.keys == [f"{execution_id}:c"] * 2

    async def test_nothing_new_starts_while_a_call_is_waited_for(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """One branch could go on, and waits for the next start."""
        nodes = [draw.trigger, draw.call("a", "/a"), draw.call("b", "/b"), draw.call("c", "/c")]
        execution_id = await bench.accept(await bench.save(nodes, draw.edges(("t", "a"), ("a", "b"), ("t", "c"))))
        await bench.eventually(lambda: len(far_side.keys) == 2)

        stopping = asyncio.create_task(bench.engine.stop())
        await bench.eventually(lambda: bench.engine._stopping)
        far_side.let_go("/a")
        await bench.until(execution_id, lambda recorded: recorded.row.current_step_number == 1)
        far_side.let_go("/c")
        await stopping
        called_until_stop = len(far_side.keys)
        far_side.let_go("/b")
        await bench.make_engine().start()
        ended = await bench.end(execution_id)

        assert called_until_stop == 2
        assert ended.row.status == "completed"
        assert len(far_side.keys) == 3

    async def test_an_attempt_whose_time_comes_meanwhile_does_not_keep_the_engine_busy(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """It is not made any more: a timer for it would ring at once, again and again."""
        bench.store.refuse(executor_configurations.get)
        endpoint = {"executorConfigId": CONFIGURATION_ID, "endpointName": "screen"}
        nodes = [draw.trigger, {"id": "a", "type": "executor", "data": endpoint}, draw.call("b", "/b")]
        execution_id = await bench.accept(await bench.save(nodes, draw.edges(("t", "a"), ("t", "b"))))
        await bench.until(execution_id, lambda recorded: isinstance(recorded.events[-1], Postponed))
        await bench.eventually(lambda: bench.clock.sleeps(STORE_RETRY_S))

        stopping = asyncio.create_task(bench.engine.stop())
        await bench.eventually(lambda: bench.engine._stopping)
        asked = len(bench.clock.asked)
        bench.clock.turn(STORE_RETRY_S)
        await bench.eventually(lambda: len(bench.clock.asked) > asked)
        far_side.let_go("/b")
        await stopping

        assert 0.0 not in bench.clock.asked[asked:]
        assert len(far_side.keys) == 1

    async def test_what_waits_for_a_worker_waits_for_the_next_start(
        self, bench: "Bench", draw: "Draw", far_side: FarSide, simple: str
    ) -> None:
        """One worker, busy with a call; the execution behind it is not begun."""
        await bench.engine.stop()
        await bench.make_engine(workers=1).start()
        first = await bench.accept(await bench.save([draw.trigger, draw.call("c", "/c")], draw.chain("t", "c")))
        await bench.eventually(lambda: bool(far_side.keys))
        second = await bench.accept(simple)

        stopping = asyncio.create_task(bench.engine.stop())
        await bench.eventually(lambda: bench.engine._stopping)
        far_side.let_go("/c")
        await stopping
        statuses = [(await bench.store.read(executions.get, id_)).status for id_ in (first, second)]
        await bench.make_engine().start()

        assert statuses == ["completed", "running"]
        assert (await bench.end(second)).row.status == "completed"


class TestSubmitting:
    async def test_an_execution_is_taken_up_once(self, bench: "Bench", simple: str) -> None:
        """The sweep may have met it before it is submitted."""
        submission = await bench.submission(simple)
        await bench.engine.stop()
        accepted = await bench.accept_as("one", simple)
        engine = bench.make_engine()

        engine.submit(accepted, submission.definition, 10)
        engine.submit(accepted, submission.definition, 10)
        await engine._take_up("one")

        assert engine._ready.qsize() == 1

    async def test_a_large_input_waits_in_the_store(self, bench: "Bench", simple: str) -> None:
        """The worker reads it when its turn has come."""
        submission = await bench.submission(simple)
        await bench.engine.stop()
        engine = bench.make_engine()
        accepted = await bench.accept_as("one", simple, text="x" * INPUT_KEPT_BYTES_MAX)

        [entry] = [engine._ready.get_nowait()]
        engine._held.clear()
        engine.submit(accepted, submission.definition, INPUT_KEPT_BYTES_MAX + 1)
        await engine.start()
        ended = await bench.end("one")

        assert entry is not None
        assert entry.fresh is None
        assert ended.row.status == "completed"


class TestWaiters:
    async def test_who_expects_an_end_is_told_it(self, bench: "Bench", draw: "Draw", simple: str) -> None:
        """A failure is an end too."""
        failing = await bench.save([draw.trigger, draw.action("f", "fail")], draw.chain("t", "f"))
        futures = [bench.engine.expect("good"), bench.engine.expect("bad")]
        await bench.accept_as("good", simple)
        await bench.accept_as("bad", failing)

        assert await asyncio.wait_for(asyncio.gather(*futures), 5) == ["completed", "failed"]

    async def test_who_was_forgotten_is_told_nothing(self, bench: "Bench", simple: str) -> None:
        """Forgetting twice, or what was never expected, does no harm."""
        future = bench.engine.expect("one")
        for _ in range(2):
            bench.engine.forget("one")

        await bench.accept_as("one", simple)
        await bench.end("one")
        await bench.eventually(lambda: not bench.engine._held)

        assert not future.done()

    async def test_who_has_given_up_disturbs_nobody(self, bench: "Bench", simple: str) -> None:
        """The future was cancelled, and not yet forgotten."""
        bench.engine.expect("one").cancel()

        await bench.accept_as("one", simple)
        await bench.end("one")
        await bench.eventually(lambda: not bench.engine._held)

        assert (await bench.run(simple)).row.status == "completed"


class TestLiveliness:
    async def test_an_engine_lives_from_its_start_to_its_stop(self, bench: "Bench") -> None:
        """Readiness asks for it."""
        await bench.engine.stop()
        engine = bench.make_engine()
        before = engine.alive
        await engine.start()
        during = engine.alive
        await engine.stop()

        assert (before, during, engine.alive) == (False, True, False)

    async def test_an_engine_with_a_task_that_ended_does_not_live(self, bench: "Bench") -> None:
        """Whichever it is."""
        [*_, keeper] = bench.engine._keepers
        keeper.cancel()
        await asyncio.wait([keeper])

        assert not bench.engine.alive


async def _turn_when_asleep(bench: "Bench", seconds: float) -> None:
    """Turn the clock by the wait that somebody has begun."""
    await bench.eventually(lambda: bench.clock.sleeps(seconds))
    bench.clock.turn(seconds)


async def _accept_unseen(bench: "Bench", workflow_id: str, count: int) -> list[str]:
    """Accept executions that nobody drives yet; the next engine has to be made and started."""
    await bench.engine.stop()
    return [await bench.accept(workflow_id) for _ in range(count)]


async def _ended_row(bench: "Bench", execution_id: str) -> tuple[str, str | None]:
    """Status and error of an execution whose journal cannot be read, when it has ended."""
    deadline = asyncio.get_running_loop().time() + 10
    while (row := await bench.store.read(executions.get, execution_id)).status == "running":
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.005)
    return row.status, row.error_message


async def _start_with(bench: "Bench", steps: Any) -> None:
    await bench.engine.stop()
    await bench.make_engine(steps=steps).start()


def _breaking_steps(
    node_id: str, error: BaseException, wait: Callable[[str], Awaitable[object]] | None = None
) -> type[Steps]:
    """Steps whose first call of this node raises, after it has waited for its path to be let go."""
    errors = [error]

    class Breaking(Steps):
        async def call(self, execution_id: str, node: Node, run: Run, context: Mapping[str, Any]) -> Event:
            if node.id == node_id and errors:
                if wait is not None:
                    await wait(f"/{node_id}")
                raise errors.pop()
            return await super().call(execution_id, node, run, context)

    return Breaking


def _outcomes(events: Any) -> dict[str, Outcome]:
    return {outcome.node_id: outcome for event in events if isinstance(event, Settled) for outcome in event.outcomes}


def _outcome_of_another(execution_id: str, node_id: str) -> executions.Progress:
    outcome = Outcome(node_id, "completed", {"from": "another"})
    state = State({}, outcomes={node_id: outcome})
    event = Settled("2026-03-17T14:35:00.000000Z", (outcome,))
    nodes = {node_id: compile_node({"id": node_id, "type": "action", "data": {"action": "log"}}, "node", {})}
    return build_progress(execution_id, nodes, state, [event], first_seq=2, now=event.at, wake_at=None)


def _emitted(connection: Connection) -> list[str]:
    """The executions that emitted an event, once for each."""
    rows = connection.exec_driver_sql("SELECT resource_id FROM audit_events WHERE event_type = 'EVENT_EMITTED'")
    return [row[0] for row in rows]


def _forget_journal(connection: Connection, execution_id: str) -> None:
    connection.exec_driver_sql("DELETE FROM journal WHERE execution_id = ?", (execution_id,))


def _make_unreadable(connection: Connection, execution_id: str) -> None:
    connection.exec_driver_sql(
        "UPDATE journal SET payload = CAST(x'ff' AS TEXT) WHERE execution_id = ?", (execution_id,)
    )


def _make_row_unreadable(connection: Connection, execution_id: str) -> None:
    connection.exec_driver_sql(
        "UPDATE executions SET error_message = CAST(x'ff' AS TEXT) WHERE id = ?", (execution_id,)
    )


def _append_unknown(connection: Connection, execution_id: str, seq: int) -> None:
    journal.append(connection, [(execution_id, seq, "pondered", "{}")])
