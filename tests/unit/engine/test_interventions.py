"""What people ask of an execution: cancelled, continued and decided, durably and once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from flowker import jsontext
from flowker.domain.advance import fold
from flowker.domain.attempts import attempts
from flowker.domain.audit import Actor
from flowker.domain.errors import (
    ApprovalConflict,
    ApprovalNotFound,
    ApprovalNotReached,
    ApprovalOver,
    ExecutionEnded,
    ExecutionNotFailed,
    ExecutionNotFound,
    InternalError,
)
from flowker.domain.executions import Attempt, Outcome, Postponed
from flowker.domain.interventions import Cancel, Decide, Retry
from flowker.engine import driver
from flowker.engine.driver import RECORD_RETRY_S
from flowker.engine.records import Recorded, read_recorded
from flowker.storage import executions
from flowker.storage.database import Connection

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench, Draw

ADA = Actor("api_key", "ada", "192.0.2.1")
BOB = Actor("api_key", "bob", None)

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


def approve(node_id: str = "ask", actor: Actor = ADA, comment: str | None = "fine") -> Decide:
    return Decide(node_id, "approved", comment, actor)


def reject(node_id: str = "ask", actor: Actor = BOB) -> Decide:
    return Decide(node_id, "rejected", None, actor)


@pytest.fixture
def asking(draw: "Draw") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """trigger -> ask -> pay when approved, refuse when rejected."""
    nodes = [
        draw.trigger,
        draw.action("ask", "approval", timeoutSeconds=3600),
        draw.action("pay", "set_output", output="paid"),
        draw.action("refuse", "set_output", output="refused"),
    ]
    first, yes, no = draw.edges(("t", "ask"), ("ask", "pay"), ("ask", "refuse"))
    return nodes, [first, yes | {"sourceHandle": "approved"}, no | {"sourceHandle": "rejected"}]


class TestApproval:
    async def test_an_approval_waits_and_a_decision_resumes_it(self, bench: "Bench", asking: Any) -> None:
        """For longer than the time limit; the decider and the comment are in the node's output."""
        execution_id = await _accept(bench, await bench.save(*asking, timeoutSeconds=60))
        await _until_parked(bench, execution_id)
        bench.clock.turn(600)

        state = await bench.engine.intervene(execution_id, approve())
        ended = await bench.end(execution_id)

        assert state.outcomes["ask"].output == {
            "action": "approval",
            "decision": "approved",
            "comment": "fine",
            "decidedAt": "2026-03-17T14:45:00.000000Z",
            "decidedBy": "ada",
        }
        assert ended.row.status == "completed"
        assert _statuses(state.outcomes) == {"ask": "completed", "pay": "completed", "refuse": "skipped"}

    async def test_who_was_asked_and_who_decided_is_audited(self, bench: "Bench", asking: Any) -> None:
        """In the commits of the request and of the decision."""
        execution_id = await _accept(bench, await bench.save(*asking))
        await _until_parked(bench, execution_id)

        await bench.engine.intervene(execution_id, reject())

        assert await bench.store.read(_audited, execution_id) == [
            ("APPROVAL_REQUESTED", None),
            ("APPROVAL_DECIDED", "bob"),
            ("EXECUTION_COMPLETED", None),
        ]

    @pytest.mark.parametrize(
        ("on_timeout", "status", "output"),
        [("fail", "failed", None), ("reject", "completed", "refused"), ("approve", "completed", "paid")],
    )
    async def test_nobody_decides_in_time(
        self, bench: "Bench", asking: Any, on_timeout: str, status: str, output: str | None
    ) -> None:
        """What that means is the author's choice."""
        nodes, edges = asking
        nodes[1]["data"]["onTimeout"] = on_timeout
        execution_id = await _accept(bench, await bench.save(nodes, edges))
        await _until_parked(bench, execution_id)

        bench.clock.turn(3600)
        ended = await bench.end(execution_id)

        assert ended.row.status == status
        assert ended.row.error_message == (
            None if output else "FLK-0504: node ask failed: nobody decided within 3600 s"
        )
        with pytest.raises(ApprovalOver):
            await bench.engine.intervene(execution_id, approve())

    async def test_the_time_limit_begins_anew_with_the_decision(self, bench: "Bench", draw: "Draw") -> None:
        """It has stood still before."""
        nodes = [draw.trigger, draw.action("ask", "approval"), draw.action("d", "delay", seconds=100)]
        execution_id = await _accept(bench, await bench.save(nodes, draw.chain("t", "ask", "d"), timeoutSeconds=60))
        await _until_parked(bench, execution_id)
        bench.clock.turn(500)
        await bench.engine.intervene(execution_id, approve())

        bench.clock.turn(59)
        await bench.restart()
        bench.clock.turn(1)
        ended = await bench.end(execution_id)

        assert ended.row.error_message == "FLK-0503: the execution reached its time limit of 60 s"

    async def test_the_same_decision_again_changes_nothing(self, bench: "Bench", asking: Any) -> None:
        """Whoever repeats it hears what was decided first; the opposite is refused."""
        execution_id = await _accept(bench, await bench.save(*asking))
        await _until_parked(bench, execution_id)
        first = await bench.engine.intervene(execution_id, approve())

        again = await bench.engine.intervene(execution_id, approve(actor=BOB, comment="me too"))

        assert again.outcomes["ask"] == first.outcomes["ask"]
        with pytest.raises(ApprovalConflict):
            await bench.engine.intervene(execution_id, reject())

    async def test_of_many_decisions_at_once_one_counts(self, bench: "Bench", asking: Any) -> None:
        """All who decide alike hear the same, everybody else a conflict."""
        execution_id = await _accept(bench, await bench.save(*asking))
        await _until_parked(bench, execution_id)

        answers = await asyncio.gather(
            *[bench.engine.intervene(execution_id, approve() if i % 2 else reject()) for i in range(20)],
            return_exceptions=True,
        )

        assert Counter(type(answer).__name__ for answer in answers) == {"State": 10, "ApprovalConflict": 10}
        assert (await bench.store.read(_audited, execution_id)).count(("APPROVAL_DECIDED", "bob")) == 1

    async def test_early_late_and_elsewhere_are_told_apart(self, bench: "Bench", draw: "Draw") -> None:
        """Before it is reached, after the execution ended without it, and for what is no approval."""
        nodes = [draw.trigger, draw.action("wait", "delay", seconds=10), draw.action("ask", "approval")]
        execution_id = await _accept(bench, await bench.save(nodes, draw.chain("t", "wait", "ask")))
        await _until_parked(bench, execution_id)

        with pytest.raises(ApprovalNotReached):
            await bench.engine.intervene(execution_id, approve())
        for node_id in ("wait", "t", "nowhere"):
            with pytest.raises(ApprovalNotFound):
                await bench.engine.intervene(execution_id, approve(node_id))
        await bench.engine.intervene(execution_id, Cancel(ADA))
        with pytest.raises(ApprovalOver):
            await bench.engine.intervene(execution_id, approve())

    async def test_a_decision_survives_a_restart(self, bench: "Bench", asking: Any) -> None:
        """It was answered, so it was committed."""
        execution_id = await _accept(bench, await bench.save(*asking))
        await _until_parked(bench, execution_id)
        await bench.restart()
        await bench.engine.intervene(execution_id, approve())
        await bench.restart()

        with pytest.raises(ApprovalConflict):
            await bench.engine.intervene(execution_id, reject())


class TestCancel:
    async def test_what_waits_is_given_up(self, bench: "Bench", draw: "Draw") -> None:
        """The execution has failed at once, and says why; to cancel it again changes nothing."""
        nodes = [draw.trigger, draw.action("d", "delay", seconds=50), draw.action("a")]
        execution_id = await _accept(bench, await bench.save(nodes, draw.chain("t", "d", "a")))
        await _until_parked(bench, execution_id)

        state = await bench.engine.intervene(execution_id, Cancel(ADA, "a mistake"))
        again = await bench.engine.intervene(execution_id, Cancel(BOB))

        assert (state.status, state.error) == ("failed", "FLK-0510: the execution was cancelled")
        assert again == state
        assert await bench.store.read(_audited, execution_id) == [
            ("EXECUTION_CANCELLED", "ada"),
            ("EXECUTION_FAILED", None),
        ]

    async def test_a_call_under_way_may_end_and_nothing_new_starts(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """Nobody would know what became of it otherwise."""
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def answer(_: web.Request) -> web.Response:
            arrived.set()
            await go_on.wait()
            return web.json_response({"paid": True})

        await bench.configure_http(await serve(answer))
        nodes = [draw.trigger, draw.call("pay"), draw.action("a")]
        execution_id = await _accept(bench, await bench.save(nodes, draw.chain("t", "pay", "a")))
        await arrived.wait()

        state = await bench.engine.intervene(execution_id, Cancel(ADA))
        go_on.set()
        ended = await bench.end(execution_id)

        assert state.status == "running"
        assert ended.row.error_message == "FLK-0510: the execution was cancelled"
        final = await bench.engine.intervene(execution_id, Cancel(ADA))
        assert _statuses(final.outcomes) == {"pay": "completed"}

    async def test_what_has_ended_is_not_cancelled(self, bench: "Bench", draw: "Draw") -> None:
        """Its end stays what it was."""
        recorded = await bench.run(await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a")))

        with pytest.raises(ExecutionEnded):
            await bench.engine.intervene(recorded.row.id, Cancel(ADA))

        assert (await bench.end(recorded.row.id)).row.status == "completed"


class TestRetry:
    async def test_it_goes_on_from_the_failed_node(self, bench: "Bench", draw: "Draw", serve: Serve) -> None:
        """What completed is not repeated, the failed call is made with its key again, attempts are counted on."""
        seen: Counter[str] = Counter()
        broken = True

        async def answer(request: web.Request) -> web.Response:
            seen[request.headers["Idempotency-Key"]] += 1
            return web.Response(status=404 if broken and request.path == "/pay" else 200)

        await bench.configure_http(await serve(answer))
        nodes = [draw.trigger, draw.call("check"), draw.call("pay", "/pay"), draw.action("a")]
        execution_id = await _accept(bench, await bench.save(nodes, draw.chain("t", "check", "pay", "a")))
        assert (await bench.end(execution_id)).row.status == "failed"
        broken = False

        state = await bench.engine.intervene(execution_id, Retry(ADA))
        ended = await bench.end(execution_id)

        assert state.status == "running"
        assert (ended.row.status, ended.row.error_message) == ("completed", None)
        assert seen == {f"{execution_id}:check": 1, f"{execution_id}:pay": 2}
        audited = await bench.store.read(_audited, execution_id)
        assert ("EXECUTION_RETRIED", "ada") in audited
        assert [type_ for type_, _ in audited if type_.startswith("EXECUTION")] == [
            "EXECUTION_FAILED",
            "EXECUTION_RETRIED",
            "EXECUTION_COMPLETED",
        ]

    async def test_a_cancelled_execution_and_one_out_of_time_go_on_with_what_they_waited_for(
        self, bench: "Bench", draw: "Draw"
    ) -> None:
        """The time limit and the wait begin anew."""
        nodes = [draw.trigger, draw.action("d", "delay", seconds=50), draw.action("a")]
        execution_id = await _accept(bench, await bench.save(nodes, draw.chain("t", "d", "a"), timeoutSeconds=55))
        await _until_parked(bench, execution_id)
        await bench.engine.intervene(execution_id, Cancel(ADA))
        bench.clock.turn(100)

        await bench.engine.intervene(execution_id, Retry(ADA))
        await _until_parked(bench, execution_id)
        bench.clock.turn(50)
        ended = await bench.end(execution_id)

        assert ended.row.status == "completed"

    @pytest.mark.parametrize("running", [True, False])
    async def test_only_what_failed_is_continued(self, bench: "Bench", draw: "Draw", running: bool) -> None:
        """Neither what runs nor what completed."""
        nodes = [draw.trigger, draw.action("d", "delay", seconds=50 if running else 0)]
        execution_id = await _accept(bench, await bench.save(nodes, draw.chain("t", "d")))
        await (_until_parked if running else _end)(bench, execution_id)

        with pytest.raises(ExecutionNotFailed):
            await bench.engine.intervene(execution_id, Retry(ADA))


class TestTogether:
    """Several things are asked of one execution, or something else happens to it at the same time."""

    async def test_an_end_is_recorded_before_anybody_takes_it_up_again(self, bench: "Bench", draw: "Draw") -> None:
        """The audit trail tells each end, and then what was made of it."""
        execution_id = await _accept(bench, await bench.save(*_a_delay(draw)))
        await _until_parked(bench, execution_id)

        asked = [bench.engine.intervene(execution_id, one) for one in (Cancel(ADA), Retry(BOB), Cancel(ADA))]
        states = await asyncio.gather(*asked)

        assert [state.status for state in states] == ["failed"] * 3
        assert await bench.store.read(_audited, execution_id) == [
            ("EXECUTION_CANCELLED", "ada"),
            ("EXECUTION_FAILED", None),
            ("EXECUTION_RETRIED", "bob"),
            ("EXECUTION_CANCELLED", "ada"),
            ("EXECUTION_FAILED", None),
        ]

    async def test_a_retry_that_is_cancelled_at_once_calls_nobody(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """The node began before the retry, not after it: its call would be something new."""
        calls = 0

        async def answer(_: web.Request) -> web.Response:
            nonlocal calls
            calls += 1
            return web.Response(status=404)

        await bench.configure_http(await serve(answer))
        nodes = [draw.trigger, draw.call("pay")]
        execution_id = (await bench.run(await bench.save(nodes, draw.chain("t", "pay")))).row.id

        retried, cancelled = await asyncio.gather(
            bench.engine.intervene(execution_id, Retry(ADA)), bench.engine.intervene(execution_id, Cancel(ADA))
        )

        assert retried == cancelled
        assert (cancelled.status, cancelled.error) == ("failed", "FLK-0510: the execution was cancelled")
        assert calls == 1

    async def test_of_many_retries_at_once_one_counts(self, bench: "Bench", draw: "Draw", serve: Serve) -> None:
        """Everybody else hears that it runs, and the failed call is made once more."""
        calls = 0
        go_on = asyncio.Event()

        async def answer(_: web.Request) -> web.Response:
            nonlocal calls
            calls += 1
            if calls == 1:
                return web.Response(status=404)
            await go_on.wait()
            return web.json_response({})

        await bench.configure_http(await serve(answer))
        execution_id = (
            await bench.run(await bench.save([draw.trigger, draw.call("pay")], draw.chain("t", "pay")))
        ).row.id

        asked = [bench.engine.intervene(execution_id, Retry(ADA)) for _ in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        go_on.set()
        ended = await bench.end(execution_id)

        assert Counter(type(answer).__name__ for answer in answers) == {"State": 1, "ExecutionNotFailed": 19}
        assert (ended.row.status, calls) == ("completed", 2)
        assert (await bench.store.read(_audited, execution_id)).count(("EXECUTION_RETRIED", "ada")) == 1

    @pytest.mark.parametrize("turned_s", [0, 600])
    async def test_a_call_beside_an_approval_may_end_when_the_execution_is_cancelled(
        self, bench: "Bench", draw: "Draw", serve: Serve, turned_s: int
    ) -> None:
        """The time limit has stood still: it is not over just because nobody is asked any more."""
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def answer(_: web.Request) -> web.Response:
            arrived.set()
            await go_on.wait()
            return web.json_response({"paid": True})

        await bench.configure_http(await serve(answer))
        nodes = [draw.trigger, draw.action("ask", "approval"), draw.call("pay")]
        edges = draw.edges(("t", "ask"), ("t", "pay"))
        execution_id = await _accept(bench, await bench.save(nodes, edges, timeoutSeconds=60))
        await arrived.wait()
        bench.clock.turn(turned_s)

        state = await bench.engine.intervene(execution_id, Cancel(ADA))
        assert (state.status, set(state.open)) == ("running", {"pay"})
        go_on.set()
        await bench.end(execution_id)

        final = await bench.engine.intervene(execution_id, Cancel(ADA))
        assert _statuses(final.outcomes) == {"pay": "completed"}

    async def test_whoever_is_answered_hears_what_the_journal_tells(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """The state in memory is the fold of the journal, after each intervention and each way to fail."""
        statuses = iter([404, 503])

        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=next(statuses, 200))

        await bench.configure_http(await serve(answer))
        nodes = [draw.trigger, draw.call("pay"), draw.action("ask", "approval"), draw.action("d", "delay", seconds=9)]
        workflow_id = await bench.save(nodes, draw.chain("t", "pay", "ask", "d"), timeoutSeconds=60)
        execution_id = (await bench.run(workflow_id)).row.id
        plan = (await bench.submission(workflow_id)).definition.plan("t")

        seen = [await bench.engine.intervene(execution_id, Retry(ADA))]
        folds = [fold(plan, (await bench.store.read(read_recorded, execution_id)).events)]
        await _until_parked(bench, execution_id)
        bench.clock.turn(5)
        await bench.until(execution_id, _waits_for("ask"))
        for intervention in (Cancel(ADA), Retry(BOB), approve(), Cancel(BOB)):
            seen.append(await bench.engine.intervene(execution_id, intervention))
            folds.append(fold(plan, (await bench.store.read(read_recorded, execution_id)).events))
            await bench.restart()

        # The first is read while the call that it led to is being made: what is known may have grown by then.
        assert seen[1:] == folds[1:]
        assert seen[0].outcomes.items() <= folds[0].outcomes.items()
        assert [state.status for state in seen] == ["running", "failed", "running", "running", "failed"]


class TestCrashes:
    async def test_a_call_that_was_begun_is_made_again_with_its_key_and_told_as_one_attempt(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """Nobody knows whether it arrived."""
        keys: list[str] = []
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def answer(request: web.Request) -> web.Response:
            keys.append(request.headers["Idempotency-Key"])
            arrived.set()
            await go_on.wait()
            return web.json_response({})

        await bench.configure_http(await serve(answer))
        await _crash(bench)
        await bench.engine.start()
        execution_id = await _accept(
            bench, await bench.save([draw.trigger, draw.call("pay")], draw.chain("t", "pay"))
        )
        await arrived.wait()
        under_way = await bench.store.read(read_recorded, execution_id)

        await _crash(bench)
        bench.clock.turn(7)
        go_on.set()
        await bench.engine.start()
        ended = await bench.end(execution_id)

        assert attempts(under_way.events) == {"pay": [Attempt(1, "2026-03-17T14:35:00.000000Z")]}
        assert attempts(ended.events) == {"pay": [Attempt(1, "2026-03-17T14:35:07.000000Z", 0, 200)]}
        assert keys == [f"{execution_id}:pay"] * 2
        assert await bench.store.read(_audited_calls, execution_id) == [
            ("PROVIDER_CALL_STARTED", 1),
            ("PROVIDER_CALL_STARTED", 1),
            ("PROVIDER_CALL_COMPLETED", 1),
        ]

    async def test_a_cancellation_outlives_a_crash_while_the_last_call_is_made(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """The call is made again, as it may have arrived; nothing follows it."""
        calls = 0
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def answer(_: web.Request) -> web.Response:
            nonlocal calls
            calls += 1
            arrived.set()
            await go_on.wait()
            return web.json_response({})

        await bench.configure_http(await serve(answer))
        await _crash(bench)
        await bench.engine.start()
        nodes = [draw.trigger, draw.call("pay"), draw.call("tell")]
        execution_id = await _accept(bench, await bench.save(nodes, draw.chain("t", "pay", "tell")))
        await arrived.wait()
        await bench.engine.intervene(execution_id, Cancel(ADA))

        await _crash(bench)
        go_on.set()
        await bench.engine.start()
        ended = await bench.end(execution_id)

        assert (ended.row.error_message, ended.row.current_step_number) == (
            "FLK-0510: the execution was cancelled",
            1,
        )
        assert calls == 2
        assert (await bench.store.read(_audited, execution_id)).count(("EXECUTION_FAILED", None)) == 1

    async def test_what_follows_a_decision_is_done_after_the_next_start(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """Killed between the decision's commit and what it led to: nobody is asked again."""
        keys: list[str] = []
        go_on = asyncio.Event()

        async def answer(request: web.Request) -> web.Response:
            keys.append(request.headers["Idempotency-Key"])
            await go_on.wait()
            return web.json_response({})

        await bench.configure_http(await serve(answer))
        await _crash(bench)
        await bench.engine.start()
        nodes = [draw.trigger, draw.action("ask", "approval"), draw.call("pay")]
        execution_id = await _accept(bench, await bench.save(nodes, draw.chain("t", "ask", "pay")))
        await _until_parked(bench, execution_id)
        await bench.engine.intervene(execution_id, approve())

        await _crash(bench)
        go_on.set()
        await bench.engine.start()
        ended = await bench.end(execution_id)

        assert ended.row.status == "completed"
        assert set(keys) == {f"{execution_id}:pay"}
        assert await bench.store.read(_audited, execution_id) == [
            ("APPROVAL_REQUESTED", None),
            ("APPROVAL_DECIDED", "ada"),
            ("EXECUTION_COMPLETED", None),
        ]

    @pytest.mark.parametrize("intervention", [Cancel(ADA), approve()])
    async def test_what_was_committed_without_an_answer_can_be_asked_again(
        self, bench: "Bench", asking: Any, intervention: Cancel | Decide
    ) -> None:
        """The first one hears that it is not known; it was done once."""
        execution_id = await _accept(bench, await bench.save(*asking))
        await _until_parked(bench, execution_id)
        bench.store.lose_answer(executions.record)

        first = asyncio.create_task(bench.engine.intervene(execution_id, intervention))
        await bench.eventually(lambda: bench.clock.sleeps(RECORD_RETRY_S[0]))
        bench.clock.turn(RECORD_RETRY_S[0])
        with pytest.raises(InternalError):
            await first
        asking_again = asyncio.create_task(bench.engine.intervene(execution_id, intervention))
        await bench.eventually(lambda: bench.clock.sleeps(RECORD_RETRY_S[1]))
        bench.clock.turn(RECORD_RETRY_S[1])
        state = await asking_again

        audited = await bench.store.read(_audited, execution_id)
        assert state.status in {"completed", "failed"}
        assert len([type_ for type_, _ in audited if type_ in {"EXECUTION_CANCELLED", "APPROVAL_DECIDED"}]) == 1
        assert len([type_ for type_, _ in audited if type_ in {"EXECUTION_COMPLETED", "EXECUTION_FAILED"}]) == 1


class TestBounds:
    async def test_a_decision_stays_when_what_follows_it_is_too_large(
        self, bench: "Bench", draw: "Draw", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was made, it is audited, and whoever made it hears of it; the outputs are not kept."""
        monkeypatch.setattr(driver, "JOURNAL_BYTES_MAX", 2_000)
        nodes = [draw.trigger, draw.action("ask", "approval"), draw.action("out", "set_output", output="x" * 2_000)]
        workflow_id = await bench.save(nodes, draw.chain("t", "ask", "out"))
        execution_id = await _accept(bench, workflow_id)
        await _until_parked(bench, execution_id)

        state = await bench.engine.intervene(execution_id, approve())

        recorded = await bench.store.read(read_recorded, execution_id)
        plan = (await bench.submission(workflow_id)).definition.plan("t")
        assert _statuses(state.outcomes) == {"ask": "completed"}
        assert fold(plan, recorded.events) == state
        assert recorded.row.error_message == "FLK-0504: the outputs of the execution are larger than 0 MB together"
        assert recorded.row.current_step_number == 1
        assert await bench.store.read(_audited, execution_id) == [
            ("APPROVAL_REQUESTED", None),
            ("APPROVAL_DECIDED", "ada"),
            ("EXECUTION_FAILED", None),
        ]

    async def test_an_execution_that_has_kept_all_it_may_is_not_retried_for_ever(
        self, bench: "Bench", draw: "Draw", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each retry is written down too: the journal ends a little above its bound."""
        monkeypatch.setattr(driver, "JOURNAL_BYTES_MAX", 2_000)
        nodes = [draw.trigger, draw.action("out", "set_output", output="x" * 2_000)]
        execution_id = (await bench.run(await bench.save(nodes, draw.chain("t", "out")))).row.id

        answers = [
            await asyncio.gather(bench.engine.intervene(execution_id, Retry(ADA)), return_exceptions=True)
            for _ in range(30)
        ]

        recorded = await bench.store.read(read_recorded, execution_id)
        refused = [str(answer) for [answer] in answers if isinstance(answer, ExecutionNotFailed)]
        assert 10 < len(refused) < 30
        assert set(refused) == {"The execution has kept as much as it may: it cannot be continued."}
        assert 2_000 < recorded.journal_bytes < 3_000


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks something waits for a moment only."""
    monkeypatch.setattr("flowker.engine.embedded.INTERVENTION_WAIT_S", 0.3)


class TestTurns:
    async def test_nothing_is_asked_of_an_unknown_execution(self, bench: "Bench") -> None:
        """It is told."""
        await bench.engine.start()

        with pytest.raises(ExecutionNotFound):
            await bench.engine.intervene("nobody", Retry(ADA))

    async def test_while_the_store_is_away_everything_is_refused(self, bench: "Bench", draw: "Draw") -> None:
        """Nothing was done, and it can be asked again."""
        execution_id = await _accept(bench, await bench.save(*_a_delay(draw)))
        await _until_parked(bench, execution_id)
        bench.store.refuse(read_recorded)

        with pytest.raises(InternalError):
            await bench.engine.intervene(execution_id, Cancel(ADA))
        asking = asyncio.create_task(bench.engine.intervene(execution_id, Cancel(ADA)))
        await bench.eventually(lambda: bench.clock.sleeps(RECORD_RETRY_S[1]))
        bench.clock.turn(RECORD_RETRY_S[1])

        assert (await asking).status == "failed"

    async def test_after_the_stop_everybody_is_refused(self, bench: "Bench") -> None:
        """Nobody would come for it."""
        await bench.engine.start()
        await bench.engine.stop()

        with pytest.raises(InternalError):
            await bench.engine.intervene("one", Retry(ADA))

    @pytest.mark.usefixtures("_impatient")
    async def test_who_waits_too_long_is_refused_and_nothing_is_done(self, bench: "Bench", draw: "Draw") -> None:
        """An engine that has no worker takes no turn."""
        execution_id = await _accept(bench, await bench.save(*_a_delay(draw)))
        await _until_parked(bench, execution_id)
        await bench.engine.stop()
        await bench.make_engine(workers=0).start()

        with pytest.raises(InternalError):
            await bench.engine.intervene(execution_id, Cancel(ADA))
        await bench.restart()

        assert (await bench.until(execution_id, lambda _: True)).row.status == "running"

    @pytest.mark.usefixtures("_impatient")
    async def test_who_waits_for_a_commit_too_long_hears_that_it_is_not_known(
        self, bench: "Bench", draw: "Draw"
    ) -> None:
        """It is in the driver's hands, and done as soon as the store is back."""
        execution_id = await _accept(bench, await bench.save(*_a_delay(draw)))
        await _until_parked(bench, execution_id)
        bench.store.refuse(executions.record, times=2)

        with pytest.raises(InternalError, match="not known yet"):
            await bench.engine.intervene(execution_id, Cancel(ADA))
        bench.clock.turn(RECORD_RETRY_S[0])
        await bench.eventually(lambda: bench.clock.sleeps(RECORD_RETRY_S[1]))
        bench.clock.turn(RECORD_RETRY_S[1])
        ended = await bench.end(execution_id)

        assert ended.row.error_message == "FLK-0510: the execution was cancelled"

    async def test_what_somebody_asked_who_went_away_is_done(self, bench: "Bench", draw: "Draw") -> None:
        """Nobody reads the answer, and nothing else suffers from it."""
        execution_id = await _accept(bench, await bench.save(*_a_delay(draw)))
        await _until_parked(bench, execution_id)

        asking = asyncio.create_task(bench.engine.intervene(execution_id, Cancel(ADA)))
        await asyncio.sleep(0)
        asking.cancel()
        ended = await bench.end(execution_id)

        assert ended.row.error_message == "FLK-0510: the execution was cancelled"
        assert bench.engine.alive

    async def test_a_full_ready_queue_refuses(self, bench: "Bench", monkeypatch: pytest.MonkeyPatch) -> None:
        """At once: nobody waits in a second queue."""
        monkeypatch.setattr("flowker.engine.embedded.READY_MAX", 1)
        await bench.engine.stop()
        engine = bench.make_engine(workers=0)
        await engine.start()
        await bench.store.read(lambda _: None)
        first = asyncio.create_task(engine.intervene("one", Cancel(ADA)))
        await asyncio.sleep(0)

        with pytest.raises(InternalError):
            await engine.intervene("two", Cancel(ADA))

        first.cancel()

    async def test_what_is_asked_while_a_turn_is_recorded_gets_a_turn_of_its_own(
        self, bench: "Bench", draw: "Draw"
    ) -> None:
        """Two interventions at once on one execution are both answered."""
        execution_id = await _accept(bench, await bench.save(*_a_delay(draw)))
        await _until_parked(bench, execution_id)

        cancelled, retried = await asyncio.gather(
            bench.engine.intervene(execution_id, Cancel(ADA)), bench.engine.intervene(execution_id, Retry(BOB))
        )

        assert cancelled.tried == {"d": 0}
        assert retried.status == "running"
        assert (await bench.until(execution_id, lambda one: one.row.wake_at is not None)).row.status == "running"


def _a_delay(draw: "Draw") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return [draw.trigger, draw.action("d", "delay", seconds=50)], draw.chain("t", "d")


def _waits_for(node_id: str) -> Callable[[Recorded], bool]:
    return lambda recorded: any(isinstance(one, Postponed) and one.node_id == node_id for one in recorded.events)


async def _crash(bench: "Bench") -> None:
    """End the engine without any grace, and make one that will end so too."""
    await bench.engine.stop()
    bench.make_engine(grace_s=0)


async def _accept(bench: "Bench", workflow_id: str) -> str:
    return await bench.accept(workflow_id)


async def _end(bench: "Bench", execution_id: str) -> None:
    await bench.end(execution_id)


async def _until_parked(bench: "Bench", execution_id: str) -> None:
    await bench.until(execution_id, lambda recorded: recorded.row.wake_at is not None)


def _statuses(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {node_id: outcome.status for node_id, outcome in outcomes.items()}


def _audited_calls(connection: Connection, execution_id: str) -> list[tuple[str, int]]:
    """Type and attempt of each event of a call."""
    rows = connection.exec_driver_sql(
        "SELECT event_type, context FROM audit_events WHERE resource_id = ? AND event_type LIKE 'PROVIDER%'"
        " ORDER BY sequence",
        (execution_id,),
    )
    return [(row[0], jsontext.decode(row[1])["attempt"]) for row in rows]


def _audited(connection: Connection, execution_id: str) -> list[tuple[str, str | None]]:
    """Type and actor of each event of an execution after its start."""
    rows = connection.exec_driver_sql(
        "SELECT event_type, actor_id FROM audit_events WHERE resource_id = ? AND event_type <> 'EXECUTION_STARTED'"
        " AND event_type NOT LIKE 'PROVIDER%' ORDER BY sequence",
        (execution_id,),
    )
    return [(row[0], row[1]) for row in rows]
