"""The journal's words: each event of an execution as a kind and a JSON payload, and back.

What is written here is read for as long as executions are kept: members are added, and never change their meaning.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flowker.domain.audit import Actor
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

Payload = Mapping[str, Any]


def encode_event(event: Event) -> tuple[str, dict[str, Any]]:
    """The journal's kind and payload of an event."""
    kind, encode = _ENCODERS[type(event)]
    return kind, encode(event)


def decode_event(kind: str, payload: Payload) -> Event:
    """The event of a journal entry; raises ValueError for a kind that this version does not know."""
    decode = _DECODERS.get(kind)
    if decode is None:
        raise ValueError(f"the journal has an event of an unknown kind: {kind}")
    return decode(payload)


def _encode_accepted(event: Accepted) -> dict[str, Any]:
    return {
        "execution": event.execution_id,
        "workflow": event.workflow_id,
        "startedAt": event.started_at,
        "trigger": event.trigger,
        "input": event.input,
    }


def _decode_accepted(payload: Payload) -> Accepted:
    return Accepted(
        payload["execution"], payload["workflow"], payload["startedAt"], payload["trigger"], payload["input"]
    )


def _encode_started(event: Started) -> dict[str, Any]:
    return {"at": event.at, "calls": [{"node": node_id, "attempt": attempt} for node_id, attempt in event.calls]}


def _decode_started(payload: Payload) -> Started:
    return Started(payload["at"], tuple((call["node"], call["attempt"]) for call in payload["calls"]))


def _encode_settled(event: Settled) -> dict[str, Any]:
    return {"at": event.at, "outcomes": [_encode_outcome(outcome) for outcome in event.outcomes]}


def _decode_settled(payload: Payload) -> Settled:
    return Settled(payload["at"], tuple(_decode_outcome(outcome) for outcome in payload["outcomes"]))


def _encode_postponed(event: Postponed) -> dict[str, Any]:
    payload = {"node": event.node_id, "notBefore": event.not_before, "attempt": event.attempt}
    return payload if event.made is None else payload | {"made": _encode_attempt(event.made)}


def _decode_postponed(payload: Payload) -> Postponed:
    made = payload.get("made")
    attempt = None if made is None else _decode_attempt(made)
    return Postponed(payload["node"], payload["notBefore"], payload["attempt"], attempt)


def _encode_aborted(event: Aborted) -> dict[str, Any]:
    return {"at": event.at, "error": event.error}


def _decode_aborted(payload: Payload) -> Aborted:
    return Aborted(payload["at"], payload["error"])


def _encode_cancelled(event: Cancelled) -> dict[str, Any]:
    return {"at": event.at, "actor": _encode_actor(event.actor), "reason": event.reason}


def _decode_cancelled(payload: Payload) -> Cancelled:
    return Cancelled(payload["at"], _decode_actor(payload["actor"]), payload["reason"])


def _encode_reopened(event: Reopened) -> dict[str, Any]:
    return {"at": event.at, "actor": _encode_actor(event.actor), "error": event.error}


def _decode_reopened(payload: Payload) -> Reopened:
    return Reopened(payload["at"], _decode_actor(payload["actor"]), payload["error"])


def _encode_decided(event: Decided) -> dict[str, Any]:
    return {
        "at": event.at,
        "node": event.node_id,
        "decision": event.decision,
        "comment": event.comment,
        "actor": _encode_actor(event.actor),
    }


def _decode_decided(payload: Payload) -> Decided:
    actor = _decode_actor(payload["actor"])
    return Decided(payload["at"], payload["node"], payload["decision"], payload["comment"], actor)


def _encode_outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "node": outcome.node_id,
        "status": outcome.status,
        "output": outcome.output,
        "error": outcome.error,
        "attempts": outcome.attempts,
        "executedAt": outcome.executed_at,
        "durationMs": outcome.duration_ms,
        "statusCode": outcome.status_code,
    }


def _decode_outcome(payload: Payload) -> Outcome:
    return Outcome(
        payload["node"],
        payload["status"],
        payload["output"],
        payload["error"],
        payload["attempts"],
        payload["executedAt"],
        payload["durationMs"],
        payload.get("statusCode"),
    )


def _encode_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "startedAt": attempt.started_at,
        "durationMs": attempt.duration_ms,
        "statusCode": attempt.status_code,
        "error": attempt.error,
    }


def _decode_attempt(payload: Payload) -> Attempt:
    return Attempt(
        payload["number"], payload["startedAt"], payload["durationMs"], payload["statusCode"], payload["error"]
    )


def _encode_actor(actor: Actor) -> dict[str, Any]:
    return {"type": actor.type, "id": actor.id, "ipAddress": actor.ip_address}


def _decode_actor(payload: Payload) -> Actor:
    return Actor(payload["type"], payload["id"], payload["ipAddress"])


_ENCODERS: Mapping[type[Any], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    Accepted: ("accepted", _encode_accepted),
    Started: ("started", _encode_started),
    Settled: ("settled", _encode_settled),
    Postponed: ("postponed", _encode_postponed),
    Aborted: ("aborted", _encode_aborted),
    Cancelled: ("cancelled", _encode_cancelled),
    Reopened: ("reopened", _encode_reopened),
    Decided: ("decided", _encode_decided),
}

_DECODERS: Mapping[str, Callable[[Payload], Event]] = {
    "accepted": _decode_accepted,
    "started": _decode_started,
    "settled": _decode_settled,
    "postponed": _decode_postponed,
    "aborted": _decode_aborted,
    "cancelled": _decode_cancelled,
    "reopened": _decode_reopened,
    "decided": _decode_decided,
}
