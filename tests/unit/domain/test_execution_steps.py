"""How far each step is: its status, its calls and its times, at every moment that the journal of a run can tell."""

from collections.abc import Sequence
from typing import Any

import pytest

from flowker.domain.advance import fold
from flowker.domain.audit import Actor
from flowker.domain.execution_steps import ATTEMPTS_TOLD_MAX, Step, steps
from flowker.domain.executions import (
    Aborted,
    Accepted,
    Attempt,
    Cancelled,
    Decided,
    Event,
    Outcome,
    Postponed,
    Reopened,
    Settled,
    Started,
)
from flowker.domain.workflows import Plan, compile_definition

SOMEBODY = Actor("api_key", "3fa9c1d2")
NODES: dict[str, dict[str, Any]] = {
    "pay": {"type": "executor", "data": {"executorId": "http.request"}},
    "wait": {"type": "action", "data": {"action": "delay", "seconds": 30}},
    "ask": {"type": "action", "data": {"action": "approval", "timeoutSeconds": 60}},
    "check": {"type": "conditional", "name": "Check it", "data": {"condition": "workflow.ok"}},
    "tell": {"type": "action", "data": {"action": "log"}},
}


def time_at(second: float) -> str:
    return f"2026-03-17T14:{35 + int(second // 60)}:{second % 60:09.6f}Z"


def plan_of(*arrows: str) -> Plan:
    """`arrows` are written `a>b` or `a>b:handle`; the trigger is `start`."""
    edges = []
    for arrow in arrows:
        path, _, handle = arrow.partition(":")
        source, target = path.split(">")
        edges.append({"id": arrow, "source": source, "target": target, "sourceHandle": handle})
    nodes = [{"id": id_, **node} for id_, node in NODES.items()]
    definition = compile_definition([{"id": "start", "type": "trigger"}, *nodes], edges, {}, {"http.request": "http"})
    return definition.plan("start")


def told(plan: Plan, *events: Event, now: float = 100) -> dict[str, Step]:
    """The steps by node after these events."""
    journal: Sequence[Event] = [Accepted("e", "w", time_at(0), "start", {"ok": True}), *events]
    return {step.node.id: step for step in steps(plan, fold(plan, journal), journal, time_at(now))}


def settled(second: float, node_id: str, **outcome: Any) -> Settled:
    given = {"status": "completed", "executed_at": time_at(second), **outcome}
    return Settled(time_at(second), (Outcome(node_id, **given),))


def started(second: float, node_id: str = "pay", number: int = 1) -> Started:
    return Started(time_at(second), ((node_id, number),))


def failed(second: float, number: int, status_code: int | None = 503) -> Attempt:
    return Attempt(number, time_at(second), 250, status_code, "no")


def attempts_of(step: Step) -> list[tuple[int, str]]:
    return [(attempt.number, outcome) for attempt, outcome in step.attempts]


def test_the_steps_are_those_of_the_run_in_the_order_of_the_definition() -> None:
    """Without the trigger, and without what it does not lead to."""
    found = told(plan_of("start>check", "check>pay:true"))

    assert list(found) == ["pay", "check"]
    assert [step.node.step_name for step in found.values()] == ["executor_pay", "Check it"]


def test_a_step_that_nobody_came_to_is_pending() -> None:
    """It has no time and no call."""
    pay = told(plan_of("start>check", "check>pay"))["pay"]

    assert (pay.status, pay.attempts, pay.next_attempt_at) == ("pending", [], None)
    assert (pay.started_at, pay.completed_at, pay.duration_ms, pay.error) == (None, None, None, None)


def test_a_call_that_is_under_way_runs() -> None:
    """Its attempt has no end yet."""
    pay = told(plan_of("start>pay"), started(1))["pay"]

    assert (pay.status, attempts_of(pay), pay.started_at) == ("running", [(1, "running")], time_at(1))
    assert (pay.completed_at, pay.duration_ms) == (None, None)


def test_a_call_that_is_made_again_later_waits() -> None:
    """With the time of the next attempt, and what became of the last one."""
    events: list[Event] = [started(1), Postponed("pay", time_at(20), 2, failed(1, 1))]

    waiting = told(plan_of("start>pay"), *events, now=19)["pay"]
    due = told(plan_of("start>pay"), *events, now=20)["pay"]

    assert (waiting.status, waiting.next_attempt_at, attempts_of(waiting)) == (
        "waiting",
        time_at(20),
        [(1, "failed")],
    )
    assert waiting.attempts[0][0].status_code == 503
    assert (due.status, due.next_attempt_at) == ("running", None)


def test_a_call_that_ended_has_all_its_attempts() -> None:
    """From the start of the first to the commit of the last."""
    pay = told(
        plan_of("start>pay"),
        started(1),
        Postponed("pay", time_at(2), 2, failed(1, 1)),
        started(2, number=2),
        settled(4, "pay", attempts=2, executed_at=time_at(2), duration_ms=1900, status_code=200),
    )["pay"]

    assert (pay.status, attempts_of(pay)) == ("completed", [(1, "failed"), (2, "succeeded")])
    assert (pay.started_at, pay.completed_at, pay.duration_ms) == (time_at(1), time_at(4), 3000)


def test_a_call_that_failed_says_why() -> None:
    """The step and its attempt."""
    outcome = {"status": "failed", "error": "the far side answered 404", "status_code": 404, "duration_ms": 5}

    pay = told(plan_of("start>pay"), started(1), settled(2, "pay", **outcome))["pay"]

    [(attempt, result)] = pay.attempts
    assert (pay.status, pay.error) == ("failed", "the far side answered 404")
    assert (result, attempt.status_code, attempt.error) == ("failed", 404, "the far side answered 404")


@pytest.mark.parametrize(
    "end", [Aborted(time_at(9), "FLK-0503: late"), Cancelled(time_at(9), SOMEBODY)], ids=["aborted", "cancelled"]
)
def test_what_a_given_up_call_did_is_not_known_once_the_execution_ended(end: Event) -> None:
    """The far side may have done it; while it may still answer, it runs."""
    pay = told(plan_of("start>pay"), started(1), end, Aborted(time_at(10), "FLK-0503: late"))["pay"]
    cancelled = told(plan_of("start>pay"), started(1), Cancelled(time_at(9), SOMEBODY))["pay"]

    assert (pay.status, attempts_of(pay), pay.completed_at) == ("pending", [(1, "unknown")], None)
    assert (cancelled.status, attempts_of(cancelled)) == ("running", [(1, "running")])


def test_the_calls_before_a_retry_are_told_too() -> None:
    """Their numbers go on; the step began with the first one."""
    pay = told(
        plan_of("start>pay"),
        started(1),
        settled(2, "pay", status="failed", error="no", executed_at=time_at(1)),
        Reopened(time_at(50), SOMEBODY, "FLK-0504: no"),
        started(51, number=2),
    )["pay"]

    assert (pay.status, attempts_of(pay), pay.started_at) == ("running", [(1, "failed"), (2, "running")], time_at(1))
    assert (pay.completed_at, pay.error) == (None, None)


def test_the_last_calls_are_told() -> None:
    """However often an execution is retried, an answer has an end."""
    events: list[Event] = []
    for number in range(1, ATTEMPTS_TOLD_MAX + 6):
        events += [started(1, number=number), Postponed("pay", time_at(1), number + 1, failed(1, number))]

    pay = told(plan_of("start>pay"), *events)["pay"]

    assert [number for number, _ in attempts_of(pay)] == list(range(6, ATTEMPTS_TOLD_MAX + 6))


def test_a_delay_waits_from_its_beginning_to_its_end() -> None:
    """It calls nothing."""
    plan = plan_of("start>wait")
    postponed = Postponed("wait", time_at(35), 1)

    waiting = told(plan, postponed, now=10)["wait"]
    ended = told(plan, postponed, settled(36, "wait"))["wait"]

    assert (waiting.status, waiting.next_attempt_at, waiting.attempts) == ("waiting", time_at(35), [])
    assert (waiting.started_at, waiting.completed_at) == (time_at(5), None)
    assert (ended.status, ended.started_at, ended.completed_at) == ("completed", time_at(5), time_at(36))
    assert ended.duration_ms == 31_000


def test_an_approval_waits_until_it_is_decided() -> None:
    """Its time is what it can wait for; the decision ends it."""
    plan = plan_of("start>ask", "ask>tell:approved", "ask>pay:rejected")
    asked = Postponed("ask", time_at(65), 1)

    waiting = told(plan, asked, now=10)["ask"]
    found = told(plan, asked, Decided(time_at(25), "ask", "approved", None, SOMEBODY))

    assert (waiting.status, waiting.started_at, waiting.next_attempt_at) == ("waiting", time_at(5), time_at(65))
    assert (found["ask"].status, found["ask"].completed_at, found["ask"].duration_ms) == (
        "completed",
        time_at(25),
        20_000,
    )


def test_a_skipped_step_has_an_end_and_no_beginning() -> None:
    """It never ran."""
    plan = plan_of("start>check", "check>pay:false", "check>tell:true")
    branch = {"output": {"branchTaken": "true"}}

    found = told(plan, settled(3, "check", **branch))

    skipped = found["pay"]
    assert (skipped.status, skipped.started_at, skipped.completed_at) == ("skipped", None, time_at(3))
    assert skipped.duration_ms is None
    assert (found["check"].started_at, found["check"].completed_at) == (time_at(3), time_at(3))
    assert (found["tell"].status, found["tell"].started_at) == ("running", None)


def test_a_journal_of_an_older_version_tells_no_calls() -> None:
    """It does not have them; outcome and times are told."""
    pay = told(plan_of("start>pay"), Postponed("pay", time_at(2), 2), settled(4, "pay", executed_at=time_at(3)))[
        "pay"
    ]

    assert (pay.status, pay.attempts) == ("completed", [])
    assert (pay.started_at, pay.completed_at) == (time_at(3), time_at(4))
