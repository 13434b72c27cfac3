"""What the audit trail is told of an execution on its way: calls, approvals, interventions, its end."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from uuid_utils import uuid7

from flowker.domain.actions import ApprovalAction, EmitEventAction
from flowker.domain.audit import EVENT_KINDS, SYSTEM, Actor, AuditEvent, told
from flowker.domain.calls import ExecutorCall
from flowker.domain.executions import (
    TERMINAL,
    Cancelled,
    Decided,
    Event,
    Outcome,
    Postponed,
    Reopened,
    Settled,
    Started,
    State,
)
from flowker.domain.nodes import Node

_Entry = tuple[str, Mapping[str, Any], Actor]
"""Event type, context, and who did it."""


def build_audit_events(
    execution_id: str,
    nodes: Mapping[str, Node],
    state: State,
    events: Sequence[Event],
    call_ends: Sequence[Event],
    now: str,
) -> list[AuditEvent]:
    """What `events` tell, in their order, that of the end last. `call_ends` are those of them that calls brought."""
    entries = [entry for event in call_ends for entry in _entries_of_call(nodes, state, event)]
    entries += [entry for event in events for entry in _entries(nodes, event)]
    if state.status in TERMINAL:
        entries.append(_end_entry(state))
    return [_audit_event(execution_id, entry, now) for entry in entries]


def _audit_event(execution_id: str, entry: _Entry, now: str) -> AuditEvent:
    event_type, context, actor = entry
    return AuditEvent(str(uuid7()), event_type, *EVENT_KINDS[event_type], execution_id, actor, now, context)


def _end_entry(state: State) -> _Entry:
    if state.status == "completed":
        return "EXECUTION_COMPLETED", {}, SYSTEM
    return "EXECUTION_FAILED", {} if state.error is None else {"code": state.error[:8]}, SYSTEM


def _entries_of_call(nodes: Mapping[str, Node], state: State, event: Event) -> Iterable[_Entry]:
    if isinstance(event, Settled):
        for outcome in event.outcomes:
            kind = "PROVIDER_CALL_COMPLETED" if outcome.status == "completed" else "PROVIDER_CALL_FAILED"
            ended = {"statusCode": outcome.status_code, "durationMs": outcome.duration_ms}
            yield kind, _call(nodes[outcome.node_id], outcome.attempts) | ended, SYSTEM
    elif isinstance(event, Postponed) and event.made is not None:
        ended = {"statusCode": event.made.status_code, "durationMs": event.made.duration_ms}
        # In an execution that has failed meanwhile there is no next attempt.
        next_ = {"nextAttemptAt": event.not_before} if event.node_id in state.open else {}
        yield "PROVIDER_CALL_FAILED", _call(nodes[event.node_id], event.made.number) | ended | next_, SYSTEM


def _entries(nodes: Mapping[str, Node], event: Event) -> Iterable[_Entry]:
    if isinstance(event, Settled):
        yield from (entry for outcome in event.outcomes for entry in _entries_of_outcome(nodes, outcome))
    elif isinstance(event, Started):
        for node_id, attempt in event.calls:
            yield "PROVIDER_CALL_STARTED", _call(nodes[node_id], attempt), SYSTEM
    elif isinstance(event, Postponed) and isinstance(nodes[event.node_id].behaviour, ApprovalAction):
        yield "APPROVAL_REQUESTED", {"nodeId": event.node_id, "until": event.not_before}, SYSTEM
    elif isinstance(event, Decided):
        context = {"nodeId": event.node_id, "decision": event.decision, "comment": event.comment}
        yield "APPROVAL_DECIDED", context, event.actor
    elif isinstance(event, Cancelled):
        yield "EXECUTION_CANCELLED", {"reason": event.reason}, event.actor
    elif isinstance(event, Reopened):
        yield "EXECUTION_RETRIED", {"code": event.error[:8]}, event.actor


def _entries_of_outcome(nodes: Mapping[str, Node], outcome: Outcome) -> Iterable[_Entry]:
    behaviour = nodes[outcome.node_id].behaviour
    if isinstance(behaviour, ApprovalAction):
        yield "APPROVAL_TIMED_OUT", {"nodeId": outcome.node_id, "onTimeout": behaviour.on_timeout}, SYSTEM
    elif isinstance(behaviour, EmitEventAction) and outcome.status == "completed":
        event_type, payload = outcome.output["eventType"], told("payload", outcome.output["payload"])
        yield "EVENT_EMITTED", {"nodeId": outcome.node_id, "eventType": event_type, "payload": payload}, SYSTEM


def _call(node: Node, attempt: int) -> dict[str, Any]:
    """What identifies a call, apart from its execution."""
    call = node.behaviour
    if not isinstance(call, ExecutorCall):
        raise TypeError(f"node {node.id} makes no call")
    context = {"nodeId": node.id, "executorId": call.executor_id, "attempt": attempt}
    if call.endpoint is None:
        return context | {"configurationId": call.provider_configuration_id}
    return context | {"configurationId": call.endpoint.configuration_id, "endpoint": call.endpoint.name}
