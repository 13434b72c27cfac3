"""What the audit trail is told of an execution: who, what and how it ended, and never what was sent."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from flowker.domain.audit import EVENT_KINDS, SYSTEM, Actor, AuditEvent
from flowker.domain.executions import (
    Aborted,
    Attempt,
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
from flowker.domain.nodes import Node, compile_node
from flowker.engine.audit_events import build_audit_events

NOW = "2026-03-17T14:35:00.000000Z"
SOON = "2026-03-17T14:35:05.000000Z"
ADA = Actor("api_key", "ada", "192.0.2.1")

_DATA: Mapping[str, tuple[str, dict[str, Any]]] = {
    "pay": ("executor", {"executorId": "http.request", "providerConfigId": "p-1", "secret": "canary"}),
    "screen": ("executor", {"executorConfigId": "e-1", "endpointName": "screen"}),
    "ask": ("action", {"action": "approval", "onTimeout": "reject"}),
    "wait": ("action", {"action": "delay", "seconds": 5}),
}
NODES: Mapping[str, Node] = {
    id_: compile_node({"id": id_, "type": type_, "data": data}, "node", {"http.request": "http"})
    for id_, (type_, data) in _DATA.items()
}

PAID = Outcome("pay", "completed", {"status": 200, "body": "canary"}, None, 2, NOW, 120, 200)
REFUSED = Outcome("pay", "failed", {"status": 402, "body": "canary"}, "canary", 1, NOW, 80, 402)
UNANSWERED = Attempt(1, NOW, 30_000, None, "no answer: canary")


def build(events: Sequence[Event], call_ends: Sequence[Event] = (), state: State | None = None) -> list[AuditEvent]:
    return build_audit_events("one", NODES, state or State({}), events, call_ends, NOW)


def told(events: Sequence[AuditEvent]) -> list[tuple[str, Mapping[str, Any], Actor]]:
    return [(event.event_type, event.context, event.actor) for event in events]


class TestCalls:
    def test_a_call_that_is_about_to_be_made_is_told_before_it_is(self) -> None:
        """Each with its node, executor, configuration and attempt; an endpoint by its name."""
        events = build([Started(NOW, (("pay", 1), ("screen", 3)))])

        assert told(events) == [
            (
                "PROVIDER_CALL_STARTED",
                {"nodeId": "pay", "executorId": "http.request", "attempt": 1, "configurationId": "p-1"},
                SYSTEM,
            ),
            (
                "PROVIDER_CALL_STARTED",
                {
                    "nodeId": "screen",
                    "executorId": "http.request",
                    "attempt": 3,
                    "configurationId": "e-1",
                    "endpoint": "screen",
                },
                SYSTEM,
            ),
        ]

    @pytest.mark.parametrize(
        ("outcome", "event_type", "ended"),
        [
            (PAID, "PROVIDER_CALL_COMPLETED", {"attempt": 2, "statusCode": 200, "durationMs": 120}),
            (REFUSED, "PROVIDER_CALL_FAILED", {"attempt": 1, "statusCode": 402, "durationMs": 80}),
        ],
    )
    def test_its_end_is_told_with_status_and_duration(
        self, outcome: Outcome, event_type: str, ended: dict[str, Any]
    ) -> None:
        """Not with what the far side said; and once, though the outcome is among the events too."""
        settled = Settled(NOW, (outcome,))

        events = build([settled], [settled])

        context = {"nodeId": "pay", "executorId": "http.request", "configurationId": "p-1"} | ended
        assert told(events) == [(event_type, context, SYSTEM)]

    @pytest.mark.parametrize("goes_on", [True, False])
    def test_an_attempt_with_another_after_it_has_failed(self, goes_on: bool) -> None:
        """When the next one is due is told unless the execution has given it up meanwhile."""
        postponed = Postponed("pay", SOON, 2, UNANSWERED)
        state = State({}, open={"pay": Run("pay", 2, SOON)} if goes_on else {})

        [event] = build([postponed], [postponed], state)

        next_ = {"nextAttemptAt": SOON} if goes_on else {}
        assert event.event_type == "PROVIDER_CALL_FAILED"
        assert (
            event.context
            == {
                "nodeId": "pay",
                "executorId": "http.request",
                "attempt": 1,
                "configurationId": "p-1",
                "statusCode": None,
                "durationMs": 30_000,
            }
            | next_
        )

    def test_a_call_that_could_not_be_made_has_no_end(self) -> None:
        """It starts again later, and that is told."""
        postponed = Postponed("pay", SOON, 1)

        assert build([postponed], [postponed]) == []

    def test_nothing_that_was_sent_or_answered_is_told(self) -> None:
        """Neither inputs nor bodies nor messages: the trail cannot forget."""
        ends: list[Event] = [Settled(NOW, (PAID, REFUSED)), Postponed("pay", SOON, 2, UNANSWERED)]

        events = build([Started(NOW, (("pay", 1),)), *ends], ends)

        assert len(events) == 4
        assert "canary" not in repr(events)

    def test_only_executors_make_calls(self) -> None:
        """Anything else is a fault of the engine."""
        with pytest.raises(TypeError, match="node wait makes no call"):
            build([Started(NOW, (("wait", 1),))])


class TestPeople:
    def test_an_approval_is_told_when_it_is_asked_for(self) -> None:
        """With the time until which it waits; another wait is nobody's business."""
        assert told(build([Postponed("wait", SOON, 1), Postponed("ask", SOON, 1)])) == [
            ("APPROVAL_REQUESTED", {"nodeId": "ask", "until": SOON}, SYSTEM)
        ]

    def test_a_decision_is_told_with_who_made_it(self) -> None:
        """And what they said."""
        events = build([Decided(NOW, "ask", "approved", "fine", ADA)])

        assert told(events) == [
            ("APPROVAL_DECIDED", {"nodeId": "ask", "decision": "approved", "comment": "fine"}, ADA)
        ]

    @pytest.mark.parametrize("status", ["completed", "failed"])
    def test_an_approval_that_nobody_decided_is_told_with_what_that_means(self, status: Any) -> None:
        """Whether it fails the node or not."""
        events = build([Settled(NOW, (Outcome("ask", status, {}, None),))])

        assert told(events) == [("APPROVAL_TIMED_OUT", {"nodeId": "ask", "onTimeout": "reject"}, SYSTEM)]

    def test_a_cancellation_and_a_retry_are_told_with_who_asked(self) -> None:
        """The retry with the code of the failure alone."""
        assert told(build([Cancelled(NOW, ADA, "a mistake")])) == [
            ("EXECUTION_CANCELLED", {"reason": "a mistake"}, ADA)
        ]
        assert told(build([Reopened(NOW, ADA, "FLK-0504: node pay failed: canary")])) == [
            ("EXECUTION_RETRIED", {"code": "FLK-0504"}, ADA)
        ]


class TestOrder:
    def test_the_end_comes_last_and_ends_of_calls_first(self) -> None:
        """As it went: a call ended, somebody decided, the execution was over."""
        settled = Settled(NOW, (PAID,))
        state = State({}, status="failed", error="FLK-0510: the execution was cancelled")

        events = build(
            [settled, Decided(NOW, "ask", "approved", None, ADA), Cancelled(NOW, ADA, None)], [settled], state
        )

        assert [event.event_type for event in events] == [
            "PROVIDER_CALL_COMPLETED",
            "APPROVAL_DECIDED",
            "EXECUTION_CANCELLED",
            "EXECUTION_FAILED",
        ]
        assert events[-1].context == {"code": "FLK-0510"}

    def test_an_execution_that_completed_says_only_that(self) -> None:
        """Its output is not told."""
        assert told(build([], state=State({"output": "canary"}, status="completed"))) == [
            ("EXECUTION_COMPLETED", {}, SYSTEM)
        ]

    def test_an_end_for_no_known_reason_has_no_code(self) -> None:
        """Rather than one that is made up."""
        assert told(build([], state=State({}, status="failed"))) == [("EXECUTION_FAILED", {}, SYSTEM)]

    def test_every_event_names_its_execution_and_has_an_id_of_its_own(self) -> None:
        """With the kind's action, result and resource."""
        events = build([Started(NOW, (("pay", 1),)), Cancelled(NOW, ADA, None), Aborted(NOW, "FLK-0503: late")])

        assert len({event.event_id for event in events}) == len(events) == 2
        for event in events:
            kind = EVENT_KINDS[event.event_type]
            assert (event.action, event.result, event.resource_type) == tuple(kind)
            assert (event.resource_id, event.timestamp) == ("one", NOW)
