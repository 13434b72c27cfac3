"""What calls see of their execution: the same in every attempt, whatever other branches bring meanwhile."""

from typing import Any

from flowker.domain.advance import advance, begin
from flowker.domain.audit import SYSTEM
from flowker.domain.contexts import context_of
from flowker.domain.executions import Aborted, Accepted, Event, Outcome, Postponed, Reopened, Settled, Started, State
from flowker.domain.workflows import Plan, compile_definition

AT = "2026-03-17T14:35:00.000000Z"
LATER = "2026-03-17T14:35:01.000000Z"
TOLD = {"execution": {"id": "e-1", "workflowId": "w-1", "startedAt": AT}, "workflow": {"amount": 1}}


def make_plan() -> Plan:
    """A call, and beside it a branch that sets the output twice."""
    call = {"executorId": "http.request"}
    nodes: list[dict[str, Any]] = [
        {"id": "t", "type": "trigger", "data": {}},
        {"id": "pay", "type": "executor", "data": call},
        {"id": "ask", "type": "executor", "data": call},
        *({"id": id_, "type": "action", "data": {"action": "set_output", "output": 1}} for id_ in ("one", "two")),
    ]
    pairs = [("t", "pay"), ("t", "one"), ("one", "ask"), ("ask", "two")]
    edges = [{"id": f"{source}>{target}", "source": source, "target": target} for source, target in pairs]
    return compile_definition(nodes, edges, {}, {"http.request": "http"}).plan("t")


def after(plan: Plan, *events: Event) -> State:
    state = begin(plan, Accepted("e-1", "w-1", AT, "t", {"amount": 1}))
    for event in events:
        state, _ = advance(plan, state, event)
    return state


def done(node_id: str, output: Any) -> Settled:
    return Settled(AT, (Outcome(node_id, "completed", output),))


def test_a_call_sees_what_there_is_when_it_begins() -> None:
    """All of it."""
    plan = make_plan()

    state = after(plan, done("one", 1), Started(AT, (("pay", 1),)))

    assert context_of(plan, state, "pay") == {**TOLD, "one": 1, "output": 1}


def test_what_comes_later_is_not_seen_by_a_further_attempt() -> None:
    """It would be another body under the same idempotency key. Others see it."""
    plan = make_plan()

    state = after(
        plan,
        done("one", 1),
        Started(AT, (("pay", 1), ("ask", 1))),
        done("ask", {"status": 200}),
        done("two", 2),
        Postponed("pay", LATER, 2),
        Started(LATER, (("pay", 2),)),
    )

    assert context_of(plan, state, "pay") == {**TOLD, "one": 1, "output": 1}
    assert state.context == {**TOLD, "one": 1, "ask": {"status": 200}, "two": 2, "output": 2}


def test_an_operator_lets_a_call_look_anew() -> None:
    """What it lacked may be there now."""
    plan = make_plan()
    refused = Settled(AT, (Outcome("pay", "failed", error="refused"),))

    state = after(
        plan,
        Started(AT, (("pay", 1),)),
        done("one", 1),
        refused,
        Aborted(AT, "FLK-0504"),
        Reopened(LATER, SYSTEM, "FLK-0504"),
        Started(LATER, (("pay", 2),)),
    )

    assert context_of(plan, state, "pay") == {**TOLD, "one": 1, "output": 1}
