"""What somebody may ask of an execution from outside, and what comes of it: an event, nothing new, or a refusal."""

from dataclasses import dataclass
from typing import TypeAlias

from flowker.domain.actions import ApprovalAction
from flowker.domain.advance import CANCELLED
from flowker.domain.audit import Actor
from flowker.domain.errors import (
    ApprovalConflict,
    ApprovalNotFound,
    ApprovalNotReached,
    ApprovalOver,
    ExecutionEnded,
    ExecutionNotFailed,
)
from flowker.domain.executions import TERMINAL, Cancelled, Decided, Decision, Event, Outcome, Reopened, State
from flowker.domain.workflows import Plan


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the execution: nothing new starts, waits are given up, a call under way may end."""

    actor: Actor
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Let a failed execution go on from its failed nodes; what completed is not repeated."""

    actor: Actor


@dataclass(frozen=True, slots=True)
class Decide:
    """Approve or reject what an approval node asks for."""

    node_id: str
    decision: Decision
    comment: str | None
    actor: Actor


Intervention: TypeAlias = Cancel | Retry | Decide


def judge(plan: Plan, state: State, intervention: Intervention, at: str) -> Event | None:
    """The event that the intervention makes; None when it was made before. Raises the refusal of any other."""
    if isinstance(intervention, Cancel):
        return _judge_cancel(state, intervention, at)
    if isinstance(intervention, Retry):
        return _judge_retry(state, intervention, at)
    return _judge_decision(plan, state, intervention, at)


def _judge_cancel(state: State, cancel: Cancel, at: str) -> Event | None:
    if state.error == CANCELLED:
        return None
    if state.status in TERMINAL:
        raise ExecutionEnded
    # What has failed and only waits for its last calls ends without anybody's help.
    return Cancelled(at, cancel.actor, cancel.reason) if state.error is None else None


def _judge_retry(state: State, retry: Retry, at: str) -> Event:
    if state.status != "failed":
        raise ExecutionNotFailed
    return Reopened(at, retry.actor, state.error or "")


def _judge_decision(plan: Plan, state: State, decide: Decide, at: str) -> Event | None:
    node = plan.nodes.get(decide.node_id)
    if node is None or not isinstance(node.behaviour, ApprovalAction):
        raise ApprovalNotFound
    outcome = state.outcomes.get(decide.node_id)
    if outcome is not None:
        _require_same(outcome, decide)
        return None
    run = state.open.get(decide.node_id)
    if run is None and state.error is None:
        raise ApprovalNotReached
    if run is None or (run.not_before is not None and run.not_before <= at):
        raise ApprovalOver
    return Decided(at, decide.node_id, decide.decision, decide.comment, decide.actor)


def _require_same(outcome: Outcome, decide: Decide) -> None:
    """Refuse a decision that is not the one which was made before."""
    if outcome.status != "completed" or outcome.output["decidedBy"] is None:
        raise ApprovalOver
    if outcome.output["decision"] != decide.decision:
        raise ApprovalConflict
