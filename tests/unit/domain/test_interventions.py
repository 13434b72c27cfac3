"""What may be asked of an execution: which event it makes, what is nothing new, and what is refused."""

from typing import Any

import pytest

from flowker.domain.advance import CANCELLED, fold
from flowker.domain.audit import Actor
from flowker.domain.errors import (
    ApprovalConflict,
    ApprovalNotFound,
    ApprovalNotReached,
    ApprovalOver,
    ExecutionEnded,
    ExecutionNotFailed,
    FlowkerError,
)
from flowker.domain.executions import (
    Aborted,
    Accepted,
    Cancelled,
    Decided,
    Decision,
    Event,
    Outcome,
    Postponed,
    Reopened,
    Settled,
    State,
)
from flowker.domain.interventions import Cancel, Decide, Intervention, Retry, judge
from flowker.domain.workflows import Plan, compile_definition

ADA = Actor("api_key", "ada", "192.0.2.1")
BOB = Actor("api_key", "bob", None)


def at(second: int) -> str:
    return f"2026-03-17T14:35:{second:02}.000000Z"


ACCEPTED = Accepted("e-1", "w-1", at(0), "t", {"yes": True})
REACHED = Settled(at(1), (Outcome("pay", "completed", {}),))
ASKED = Postponed("ask", at(30), 1)
APPROVED = Decided(at(5), "ask", "approved", "fine", ADA)
TIMED_OUT = {"action": "approval", "decision": "approved", "comment": None, "decidedAt": None, "decidedBy": None}


@pytest.fixture(scope="module")
def plan() -> Plan:
    """t -> pay -> ask -> tell, and an approval beside it that is never asked for."""
    nodes: list[dict[str, Any]] = [
        {"id": "t", "type": "trigger", "data": {}},
        {"id": "pay", "type": "executor", "data": {"executorId": "http.request"}},
        {"id": "ask", "type": "action", "data": {"action": "approval"}},
        {"id": "tell", "type": "executor", "data": {"executorId": "http.request"}},
        {"id": "never", "type": "action", "data": {"action": "approval"}},
    ]
    edges = [
        {"id": "1", "source": "t", "target": "pay"},
        {"id": "2", "source": "pay", "target": "ask"},
        {"id": "3", "source": "ask", "target": "tell"},
        {"id": "4", "source": "t", "target": "never", "condition": "workflow.no"},
    ]
    return compile_definition(nodes, edges, {}, {"http.request": "http"}).plan("t")


def state_after(plan: Plan, *events: Event) -> State:
    return fold(plan, [ACCEPTED, *events])


def ended(node_id: str, status: Any, output: Any = None, error: str | None = None) -> Settled:
    return Settled(at(9), (Outcome(node_id, status, output, error),))


def refusal_of(plan: Plan, state: State, intervention: Intervention, second: int = 10) -> type[FlowkerError]:
    with pytest.raises(FlowkerError) as caught:
        judge(plan, state, intervention, at(second))
    return caught.type


def approve(node_id: str = "ask", decision: Decision = "approved", actor: Actor = BOB) -> Decide:
    return Decide(node_id, decision, "so be it", actor)


class TestCancel:
    def test_it_makes_an_event_with_who_and_why(self, plan: Plan) -> None:
        """Of an execution that runs."""
        event = judge(plan, state_after(plan), Cancel(ADA, "a mistake"), at(3))

        assert isinstance(event, Cancelled)
        assert event == Cancelled(at(3), ADA, "a mistake")

    @pytest.mark.parametrize("events", [(), (ended("pay", "completed", {}),)])
    def test_again_it_is_nothing_new(self, plan: Plan, events: tuple[Event, ...]) -> None:
        """While the last call is waited for, and after it."""
        state = state_after(plan, Cancelled(at(1), ADA, None), *events)

        assert state.error == CANCELLED
        assert judge(plan, state, Cancel(BOB), at(10)) is None

    def test_an_execution_that_is_failing_ends_without_help(self, plan: Plan) -> None:
        """Its own failure stays the reason."""
        state = state_after(plan)
        state.error = "FLK-0504: node beside failed: no"

        assert judge(plan, state, Cancel(ADA), at(10)) is None

    def test_what_has_ended_cannot_be_cancelled(self, plan: Plan) -> None:
        """Neither what completed nor what failed for another reason."""
        completed = state_after(plan, REACHED, ASKED, APPROVED, ended("tell", "completed"))
        failed = state_after(plan, ended("pay", "failed", error="no"))

        assert (completed.status, failed.status) == ("completed", "failed")
        assert refusal_of(plan, completed, Cancel(ADA)) is ExecutionEnded
        assert refusal_of(plan, failed, Cancel(ADA)) is ExecutionEnded


class TestRetry:
    def test_it_makes_an_event_with_what_it_had_failed_with(self, plan: Plan) -> None:
        """Whatever the reason was."""
        state = state_after(plan, Aborted(at(1), "FLK-0503: late"))

        event = judge(plan, state, Retry(ADA), at(10))

        assert isinstance(event, Reopened)
        assert event == Reopened(at(10), ADA, "FLK-0503: late")

    def test_only_what_has_failed_is_retried(self, plan: Plan) -> None:
        """Not what runs, what still waits for its last call, or what completed."""
        completed = state_after(plan, REACHED, ASKED, APPROVED, ended("tell", "completed"))

        for state in (state_after(plan), state_after(plan, Cancelled(at(1), ADA, None)), completed):
            assert refusal_of(plan, state, Retry(ADA)) is ExecutionNotFailed


class TestDecide:
    @pytest.mark.parametrize("decision", ["approved", "rejected"])
    def test_it_makes_an_event_with_who_and_what(self, plan: Plan, decision: Decision) -> None:
        """Until the time is over."""
        event = judge(plan, state_after(plan, REACHED, ASKED), approve(decision=decision), at(29))

        assert event == Decided(at(29), "ask", decision, "so be it", BOB)

    @pytest.mark.parametrize("node_id", ["pay", "t", "nobody"])
    def test_what_is_no_approval_cannot_be_decided(self, plan: Plan, node_id: str) -> None:
        """Another node, and none at all."""
        assert refusal_of(plan, state_after(plan, REACHED, ASKED), approve(node_id)) is ApprovalNotFound

    def test_a_decision_can_come_too_early(self, plan: Plan) -> None:
        """The execution has not come there."""
        assert refusal_of(plan, state_after(plan), approve()) is ApprovalNotReached

    def test_a_decision_at_the_end_of_the_time_is_too_late(self, plan: Plan) -> None:
        """Also when nobody has noted yet that it is over."""
        assert refusal_of(plan, state_after(plan, REACHED, ASKED), approve(), 30) is ApprovalOver

    @pytest.mark.parametrize(
        "end",
        [
            ended("ask", "completed", TIMED_OUT),
            ended("ask", "failed", error="nobody decided within 29 s"),
            Cancelled(at(9), ADA, None),
            Aborted(at(9), "FLK-0503: late"),
        ],
    )
    def test_after_its_end_an_approval_is_over(self, plan: Plan, end: Event) -> None:
        """Nobody decided in time, or it was given up."""
        assert refusal_of(plan, state_after(plan, REACHED, ASKED, end), approve()) is ApprovalOver

    def test_an_approval_that_was_skipped_is_over(self, plan: Plan) -> None:
        """Nobody will ask for it."""
        assert refusal_of(plan, state_after(plan), approve("never")) is ApprovalOver

    def test_the_same_decision_again_is_nothing_new(self, plan: Plan) -> None:
        """Whoever makes it, and also after the execution has ended."""
        decided = state_after(plan, REACHED, ASKED, APPROVED)
        completed = state_after(plan, REACHED, ASKED, APPROVED, ended("tell", "completed"))

        for state in (decided, completed):
            assert judge(plan, state, approve(), at(40)) is None

    def test_the_opposite_decision_is_a_conflict(self, plan: Plan) -> None:
        """The first one counts."""
        decided = state_after(plan, REACHED, ASKED, APPROVED)

        assert refusal_of(plan, decided, approve(decision="rejected")) is ApprovalConflict

    def test_after_a_retry_an_approval_can_be_decided_when_it_is_asked_for_again(self, plan: Plan) -> None:
        """What was given up or timed out starts again; before it is asked for it was not reached."""
        given_up = (REACHED, ASKED, Cancelled(at(9), ADA, None), Reopened(at(10), ADA, CANCELLED))
        asked_again = state_after(plan, *given_up, Postponed("ask", at(50), 1))

        assert judge(plan, asked_again, approve(), at(45)) == Decided(at(45), "ask", "approved", "so be it", BOB)
