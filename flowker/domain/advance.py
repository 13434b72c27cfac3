"""What follows when something happened to an execution: pure, deterministic, the same for every engine.

`advance` folds one event into the state and says which nodes to run next. Feeding a journal's events in order gives
the state that the process which wrote them had; `state.open` is then what is left to do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from flowker.domain.actions import ApprovalAction
from flowker.domain.conditions import ConditionError
from flowker.domain.contexts import show
from flowker.domain.executions import (
    TERMINAL,
    Aborted,
    Accepted,
    Cancelled,
    Decided,
    Event,
    Outcome,
    Postponed,
    Reopened,
    Run,
    Settled,
    Started,
    State,
)
from flowker.domain.nodes import Conditional
from flowker.domain.workflows import Edge, Plan

CIRCUIT_OPEN = "FLK-0507"

CANCELLED = "FLK-0510: the execution was cancelled"


def begin(plan: Plan, event: Accepted) -> State:
    """The state of an execution that was just accepted; `open` holds its first nodes."""
    execution = {"id": event.execution_id, "workflowId": event.workflow_id, "startedAt": event.started_at}
    state = State({"execution": execution, "workflow": event.input}, limited_from=event.started_at)
    _decide_edges(plan, state, plan.trigger, None)
    _spread(plan, state, plan.trigger, event.started_at)
    _finish_if_done(state)
    return state


def advance(plan: Plan, state: State, event: Event) -> tuple[State, list[Run]]:
    """The state after `event`, and the runs that it newly asks for.

    A terminal state changes only when an operator reopens what failed. An outcome of a node that is not open (it came
    twice, or too late) is ignored.
    """
    if _is_void(state, event):
        return state, []
    known = state.open
    state = state.copy()
    apply(plan, state, event)
    return state, [run for node_id, run in state.open.items() if known.get(node_id) != run]


def apply(plan: Plan, state: State, event: Event) -> None:
    """The same in place, for whoever has the state for himself."""
    if not _is_void(state, event):
        _take_in(plan, state, event)
        _finish_if_done(state)


def fold(plan: Plan, events: Iterable[Event]) -> State:
    """The state after all events of a journal, the first of which is Accepted."""
    remaining = iter(events)
    accepted = next(remaining, None)
    if not isinstance(accepted, Accepted):
        raise TypeError("a journal begins with the accepted event")
    state = begin(plan, accepted)
    for event in remaining:
        apply(plan, state, event)
    return state


def is_limited(plan: Plan, state: State) -> bool:
    """Whether the time limit counts: not while somebody is asked for a decision."""
    return plan.approvals.isdisjoint(state.open)


def _is_void(state: State, event: Event) -> bool:
    if isinstance(event, Reopened):
        return state.status != "failed"
    return isinstance(event, Accepted) or state.status in TERMINAL


def _take_in(plan: Plan, state: State, event: Event) -> None:
    if isinstance(event, Settled):
        for outcome in event.outcomes:
            if outcome.node_id in state.open:
                _settle(plan, state, outcome, event.at)
    elif isinstance(event, Started):
        begun = {node_id: attempt for node_id, attempt in event.calls if node_id in state.open}
        _note_tried(state, begun)
        state.seen = {**dict.fromkeys(begun, len(state.outcomes)), **state.seen}
    elif isinstance(event, Postponed):
        _postpone(state, event)
    elif isinstance(event, Aborted):
        _fail(state, event.error)
        state.open = {}
    elif isinstance(event, Decided):
        _decide_approval(plan, state, event)
    elif isinstance(event, Cancelled):
        _fail(state, CANCELLED)
        _give_up_waits(plan, state, event.at)
    elif isinstance(event, Reopened):
        _reopen(plan, state, event.at)


def _settle(plan: Plan, state: State, outcome: Outcome, at: str) -> None:
    node_id = outcome.node_id
    del state.open[node_id]
    _note_outcome(plan, state, outcome, at)
    _decide_edges(plan, state, node_id, outcome)
    # Before the failure is known nothing may start: a join that this node's edges decide would run.
    if outcome.status == "failed" and not _error_edge_taken(plan, state, node_id):
        _fail(state, _failure(plan, outcome))
    _spread(plan, state, node_id, at)
    if state.error is not None:
        _give_up_waits(plan, state, at)


def _note_outcome(plan: Plan, state: State, outcome: Outcome, at: str) -> None:
    state.outcomes[outcome.node_id] = outcome
    if outcome.node_id in plan.approvals:
        state.limited_from = at
    show(plan, state.context, outcome)


def _decide_edges(plan: Plan, state: State, node_id: str, outcome: Outcome | None) -> None:
    for edge in plan.outgoing.get(node_id, ()):
        state.taken[edge.id] = _is_taken(plan, state, edge, outcome)


def _spread(plan: Plan, state: State, node_id: str, at: str) -> None:
    """Start or skip every node that a node's decided edges decide, and every node that a skipped one decides."""
    decided = [node_id]
    while decided:
        for edge in plan.outgoing.get(decided.pop(), ()):
            decision = _decide(plan, state, edge.target)
            if decision == "skip":
                skipped = Outcome(edge.target, "skipped", attempts=0, executed_at=at)
                state.outcomes[edge.target] = skipped
                _decide_edges(plan, state, edge.target, skipped)
                decided.append(edge.target)
            elif decision == "start" and state.error is None:
                first = state.tried.get(edge.target, 0) + 1
                opened_at = state.opened.setdefault(edge.target, at)
                state.open[edge.target] = Run(edge.target, first, first=first, opened_at=opened_at)


def _postpone(state: State, event: Postponed) -> None:
    run = state.open.pop(event.node_id, None)
    if run is None:
        return
    # Counted down where the attempt that was begun could not be made: it is made under its number later.
    _note_tried(state, {event.node_id: event.attempt - 1})
    if state.error is None:
        state.open[event.node_id] = replace(run, attempt=event.attempt, not_before=event.not_before)


def _decide_approval(plan: Plan, state: State, event: Decided) -> None:
    run = state.open.get(event.node_id)
    if run is not None:
        output = {
            "action": "approval",
            "decision": event.decision,
            "comment": event.comment,
            "decidedAt": event.at,
            "decidedBy": event.actor.id or event.actor.type,
        }
        outcome = Outcome(event.node_id, "completed", output, attempts=run.attempt, executed_at=event.at)
        _settle(plan, state, outcome, event.at)


def _decide(plan: Plan, state: State, node_id: str) -> str:
    """Whether a node waits for further edges, starts or is skipped; a node is decided once."""
    if node_id in state.open or node_id in state.outcomes:
        return "wait"
    incoming = plan.incoming[node_id]
    if any(edge.id not in state.taken for edge in incoming):
        return "wait"
    wanted = all if plan.nodes[node_id].join == "all" else any
    return "start" if wanted(state.taken[edge.id] for edge in incoming) else "skip"


def _is_taken(plan: Plan, state: State, edge: Edge, outcome: Outcome | None) -> bool:
    if outcome is not None and not _handle_matches(plan, edge, outcome):
        return False
    if edge.condition is None:
        return True
    try:
        return edge.condition.evaluate(state.context)
    except ConditionError as error:
        state.unclear += (edge.id,)
        _fail(state, f"FLK-0504: the condition of edge {edge.id} cannot be evaluated: {error}")
        return False


def _handle_matches(plan: Plan, edge: Edge, outcome: Outcome) -> bool:
    if outcome.status == "skipped":
        return False
    behaviour = plan.nodes[edge.source].behaviour
    if edge.source in plan.calls:
        return (edge.handle == "error") == (outcome.status == "failed")
    if outcome.status == "failed":
        return False
    branch = _BRANCHES.get(type(behaviour))
    return edge.handle is None or branch is None or outcome.output[branch] == edge.handle


def _error_edge_taken(plan: Plan, state: State, node_id: str) -> bool:
    return any(edge.handle == "error" and state.taken.get(edge.id, False) for edge in plan.outgoing.get(node_id, ()))


def _failure(plan: Plan, outcome: Outcome) -> str:
    """What the execution says of a failed node; a call may have failed with a code of its own."""
    code, error = "FLK-0504", outcome.error or ""
    if outcome.node_id in plan.calls and error.startswith(f"{CIRCUIT_OPEN}: "):
        code, error = CIRCUIT_OPEN, error.removeprefix(f"{CIRCUIT_OPEN}: ")
    return f"{code}: node {outcome.node_id} failed: {error}"


def _fail(state: State, error: str) -> None:
    """The first failure counts; from then on nothing starts."""
    if state.error is None:
        state.error = error


def _give_up_waits(plan: Plan, state: State, at: str) -> None:
    """What waits is given up; what runs may end, a further attempt whose time has come included."""
    waiting = [node_id for node_id, run in state.open.items() if _waits(plan, state, run, at)]
    if not plan.approvals.isdisjoint(waiting):
        # The time limit stood still. What runs has the whole of it, and is not cut off at once.
        state.limited_from = at
    for node_id in waiting:
        del state.open[node_id]


def _waits(plan: Plan, state: State, run: Run, at: str) -> bool:
    """Whether a run waits for its time. A call that never began waits on, also where its time has come."""
    if run.not_before is None:
        return False
    return run.not_before > at or (run.node_id in plan.calls and not state.has_begun(run.node_id))


def _note_tried(state: State, attempts: Mapping[str, int]) -> None:
    """Keep how many attempts were made: should the node be given up and start again one day, they are counted on."""
    state.tried = {**state.tried, **attempts}


def _reopen(plan: Plan, state: State, at: str) -> None:
    """Forget what failed and what was skipped, and start again whatever is then decided and has no outcome.

    Edges that were decided by what completed, or by a failure that an `error` edge took over, stay as they are.
    """
    state.error, state.status, state.limited_from, state.seen = None, "running", at, {}
    unclear, state.unclear = state.unclear, ()
    for outcome in [one for one in state.outcomes.values() if _is_forgotten(plan, state, one)]:
        _forget(plan, state, outcome)
    decided = [plan.trigger, *state.outcomes]
    for source in decided:
        for edge in plan.outgoing.get(source, ()):
            if edge.id in unclear:
                state.taken[edge.id] = _is_taken(plan, state, edge, state.outcomes.get(source))
    for source in decided:
        _spread(plan, state, source, at)


def _is_forgotten(plan: Plan, state: State, outcome: Outcome) -> bool:
    if outcome.status == "failed":
        return not _error_edge_taken(plan, state, outcome.node_id)
    return outcome.status == "skipped"


def _forget(plan: Plan, state: State, outcome: Outcome) -> None:
    del state.outcomes[outcome.node_id]
    state.context.pop(outcome.node_id, None)
    for edge in plan.outgoing.get(outcome.node_id, ()):
        state.taken.pop(edge.id, None)
    if outcome.status == "failed":
        _note_tried(state, {outcome.node_id: outcome.attempts})


def _finish_if_done(state: State) -> None:
    if not state.open:
        state.status = "completed" if state.error is None else "failed"


_BRANCHES: Mapping[type[Any], str] = {Conditional: "branchTaken", ApprovalAction: "decision"}
"""What of its output the handle of an edge is compared with."""
