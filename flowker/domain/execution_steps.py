"""How far each step of a run is, for whoever operates it: told by the journal, without what went in and came out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from flowker.domain.actions import ApprovalAction, DelayAction
from flowker.domain.attempts import attempts
from flowker.domain.executions import Attempt, Decided, Event, Outcome, Postponed, Run, Settled, State
from flowker.domain.nodes import Node
from flowker.domain.timestamps import format_timestamp, parse_timestamp
from flowker.domain.workflows import Plan

ATTEMPTS_TOLD_MAX = 100
"""Ten times as many as a step makes by itself: retrying an execution ever again must not make an answer endless."""

StepStatus = Literal["pending", "running", "waiting", "completed", "failed", "skipped"]

AttemptOutcome = Literal["running", "succeeded", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a run; `attempts` are the calls that were made for it, each with what came of it."""

    node: Node
    status: StepStatus
    attempts: Sequence[tuple[Attempt, AttemptOutcome]]
    next_attempt_at: str | None
    started_at: str | None
    completed_at: str | None
    error: str | None

    @property
    def duration_ms(self) -> int | None:
        """From its start to its end, waits included."""
        if self.started_at is None or self.completed_at is None:
            return None
        took = parse_timestamp(self.completed_at) - parse_timestamp(self.started_at)
        return max(0, took // timedelta(milliseconds=1))


def steps(plan: Plan, state: State, events: Sequence[Event], now: str) -> list[Step]:
    """The steps of a run in the order of the definition; `state` is the fold of `events`."""
    made = attempts(events)
    times = _times(plan, events)
    return [
        _step(node, state, made.get(id_, []), times, now)
        for id_, node in plan.nodes.items()
        if node.type != "trigger"
    ]


@dataclass(slots=True)
class _Times:
    """When nodes began to wait, and when they ended."""

    waits: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)


def _times(plan: Plan, events: Iterable[Event]) -> _Times:
    times = _Times()
    for event in events:
        if isinstance(event, Postponed):
            if began := _wait_began(plan.nodes[event.node_id], event.not_before):
                times.waits[event.node_id] = began
        elif isinstance(event, Settled):
            times.ends.update((outcome.node_id, event.at) for outcome in event.outcomes)
        elif isinstance(event, Decided):
            times.ends[event.node_id] = event.at
    return times


def _wait_began(node: Node, until: str) -> str | None:
    """When a node whose own business is to wait began to; None for a call, which waits for its next attempt."""
    if isinstance(node.behaviour, DelayAction):
        waited_s = float(node.behaviour.seconds)
    elif isinstance(node.behaviour, ApprovalAction):
        waited_s = node.behaviour.timeout_s
    else:
        return None
    return format_timestamp(parse_timestamp(until) - timedelta(seconds=waited_s))


def _step(node: Node, state: State, made: Sequence[Attempt], times: _Times, now: str) -> Step:
    outcome, run = state.outcomes.get(node.id), state.open.get(node.id)
    waits_until = run.not_before if run and run.not_before and run.not_before > now else None
    told = [(attempt, _attempt_outcome(attempt, run, waits_until)) for attempt in made[-ATTEMPTS_TOLD_MAX:]]
    return Step(
        node=node,
        status=_status(outcome, run, waits_until),
        attempts=told,
        next_attempt_at=waits_until,
        started_at=made[0].started_at if made else _evaluated_at(node, outcome, times),
        completed_at=times.ends.get(node.id, outcome.executed_at) if outcome else None,
        error=outcome.error if outcome else None,
    )


def _status(outcome: Outcome | None, run: Run | None, waits_until: str | None) -> StepStatus:
    if outcome is not None:
        return outcome.status
    if run is None:
        return "pending"
    return "waiting" if waits_until else "running"


def _evaluated_at(node: Node, outcome: Outcome | None, times: _Times) -> str | None:
    """When a step that calls nothing began."""
    if outcome is None or outcome.status == "skipped":
        return times.waits.get(node.id)
    return times.waits.get(node.id, outcome.executed_at)


def _attempt_outcome(attempt: Attempt, run: Run | None, waits_until: str | None) -> AttemptOutcome:
    if attempt.duration_ms is not None:
        return "succeeded" if attempt.error is None else "failed"
    under_way = run is not None and waits_until is None and run.attempt == attempt.number
    return "running" if under_way else "unknown"
