"""The audit chain: what an audit event says, and the hash that ties it to the one before.

The hash covers the canonical JSON text of the event's content together with the previous hash, so that a changed
byte, a removed row or a changed order is found by computing it again. docs/audit.md says it for those who compute it
themselves.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from flowker.domain.secrets import mask

GENESIS_HASH = "0" * 64
"""What the first event of a store names as its predecessor."""

Action = Literal["CREATE", "UPDATE", "DELETE", "ACTIVATE", "DEACTIVATE", "DRAFT", "EXECUTE"]
Result = Literal["SUCCESS", "FAILED"]
ResourceType = Literal["workflow", "execution", "provider_config", "executor_config"]
ActorType = Literal["user", "system", "api_key"]


class Kind(NamedTuple):
    """What every event of a type has in common."""

    action: Action
    result: Result
    resource_type: ResourceType


EVENT_KINDS: Final[Mapping[str, Kind]] = {
    "WORKFLOW_CREATED": Kind("CREATE", "SUCCESS", "workflow"),
    "WORKFLOW_UPDATED": Kind("UPDATE", "SUCCESS", "workflow"),
    "WORKFLOW_DELETED": Kind("DELETE", "SUCCESS", "workflow"),
    "WORKFLOW_ACTIVATED": Kind("ACTIVATE", "SUCCESS", "workflow"),
    "WORKFLOW_DEACTIVATED": Kind("DEACTIVATE", "SUCCESS", "workflow"),
    "WORKFLOW_MOVED_TO_DRAFT": Kind("DRAFT", "SUCCESS", "workflow"),
    "WORKFLOW_RESEALED": Kind("UPDATE", "SUCCESS", "workflow"),
    "WEBHOOK_REFUSED": Kind("EXECUTE", "FAILED", "workflow"),
    "EXECUTIONS_PRUNED": Kind("DELETE", "SUCCESS", "workflow"),
    "EXECUTION_STARTED": Kind("EXECUTE", "SUCCESS", "execution"),
    "EXECUTION_COMPLETED": Kind("EXECUTE", "SUCCESS", "execution"),
    "EXECUTION_FAILED": Kind("EXECUTE", "FAILED", "execution"),
    "EXECUTION_CANCELLED": Kind("EXECUTE", "SUCCESS", "execution"),
    "EXECUTION_RETRIED": Kind("EXECUTE", "SUCCESS", "execution"),
    "EVENT_EMITTED": Kind("EXECUTE", "SUCCESS", "execution"),
    "PROVIDER_CALL_STARTED": Kind("EXECUTE", "SUCCESS", "execution"),
    "PROVIDER_CALL_COMPLETED": Kind("EXECUTE", "SUCCESS", "execution"),
    "PROVIDER_CALL_FAILED": Kind("EXECUTE", "FAILED", "execution"),
    "APPROVAL_REQUESTED": Kind("EXECUTE", "SUCCESS", "execution"),
    "APPROVAL_DECIDED": Kind("EXECUTE", "SUCCESS", "execution"),
    "APPROVAL_TIMED_OUT": Kind("EXECUTE", "FAILED", "execution"),
    "PROVIDER_CONFIG_CREATED": Kind("CREATE", "SUCCESS", "provider_config"),
    "PROVIDER_CONFIG_UPDATED": Kind("UPDATE", "SUCCESS", "provider_config"),
    "PROVIDER_CONFIG_DELETED": Kind("DELETE", "SUCCESS", "provider_config"),
    "PROVIDER_CONFIG_ENABLED": Kind("ACTIVATE", "SUCCESS", "provider_config"),
    "PROVIDER_CONFIG_DISABLED": Kind("DEACTIVATE", "SUCCESS", "provider_config"),
    "PROVIDER_CONFIG_TESTED": Kind("EXECUTE", "SUCCESS", "provider_config"),
    "PROVIDER_CONFIG_TEST_FAILED": Kind("EXECUTE", "FAILED", "provider_config"),
    "PROVIDER_CONFIG_RESEALED": Kind("UPDATE", "SUCCESS", "provider_config"),
    "EXECUTOR_CONFIG_CREATED": Kind("CREATE", "SUCCESS", "executor_config"),
    "EXECUTOR_CONFIG_UPDATED": Kind("UPDATE", "SUCCESS", "executor_config"),
    "EXECUTOR_CONFIG_DELETED": Kind("DELETE", "SUCCESS", "executor_config"),
    "EXECUTOR_CONFIG_ACTIVATED": Kind("ACTIVATE", "SUCCESS", "executor_config"),
    "EXECUTOR_CONFIG_ENABLED": Kind("ACTIVATE", "SUCCESS", "executor_config"),
    "EXECUTOR_CONFIG_DISABLED": Kind("DEACTIVATE", "SUCCESS", "executor_config"),
    "EXECUTOR_CONFIG_TESTED": Kind("EXECUTE", "SUCCESS", "executor_config"),
    "EXECUTOR_CONFIG_TEST_FAILED": Kind("EXECUTE", "FAILED", "executor_config"),
    "EXECUTOR_CONFIG_RESEALED": Kind("UPDATE", "SUCCESS", "executor_config"),
}
"""Every type of event. Rows are never taken out: searches find what was written by what stands here."""


class Actor(NamedTuple):
    """Who did it: an API key by its fingerprint, or the system itself."""

    type: ActorType
    id: str | None = None
    ip_address: str | None = None


SYSTEM = Actor("system")


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
"""Stands where an event has nothing to tell. It is written as `{}`, and no encoder gets to see it."""


class AuditEvent(NamedTuple):
    """One entry before it has its place in the chain. `timestamp` is RFC 3339 in UTC with microseconds."""

    event_id: str
    event_type: str
    action: Action
    result: Result
    resource_type: ResourceType
    resource_id: str
    actor: Actor
    timestamp: str
    context: Mapping[str, Any] = _NOTHING
    metadata: Mapping[str, Any] = _NOTHING


def require_kind(event: AuditEvent) -> None:
    """Raise ValueError for an event that is not what its type says: searches would not find it."""
    if EVENT_KINDS.get(event.event_type) != (event.action, event.result, event.resource_type):
        raise ValueError(f"an event of type {event.event_type} has another action, result or resource type")


def event_types(
    *,
    event_type: str | None = None,
    action: str | None = None,
    result: str | None = None,
    resource_type: str | None = None,
) -> list[str]:
    """The types of events that have these properties; None does not count."""
    asked = (action, result, resource_type)
    return [
        type_
        for type_, kind in EVENT_KINDS.items()
        if event_type in {None, type_}
        and all(wanted in {None, value} for wanted, value in zip(asked, kind, strict=True))
    ]


VALUE_BYTES_MAX = 4_096
"""Of one value as JSON text. A longer one stands in an entry as its digest: it is no place for megabytes."""


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`{field: {before, after}}` of the fields that differ, with secrets masked and long values as their digests.

    Both are in clear: a secret that was replaced counts as a change, and shows a mask on either side.
    """
    return {
        name: {"before": told(name, before.get(name)), "after": told(name, after.get(name))}
        for name in (*before, *(after.keys() - before.keys()))
        # As JSON: true is not 1, and 1.50 is not 1.5.
        if _canonical.encode(before.get(name)) != _canonical.encode(after.get(name))
    }


def told(name: str, value: Any) -> Any:
    """A value as an entry may tell it: with secrets masked, and as its digest when it is long."""
    masked = mask({name: value})[name]
    text = _canonical.encode(masked)
    if len(text) <= VALUE_BYTES_MAX:
        return masked
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text)}


def seal(event: AuditEvent, previous_hash: str) -> tuple[str, str, str]:
    """The texts of the event's context and metadata, and the hash that ties the event to the one before.

    A store keeps these texts as they are: what was hashed is what is stored.
    """
    context, metadata = _json_text(event.context), _json_text(event.metadata)
    return context, metadata, _hash(_event_text(event, context, metadata), previous_hash)


def chain_hash(event: AuditEvent, previous_hash: str) -> str:
    """SHA-256 in hexadecimal of the event's canonical text after the previous hash."""
    return seal(event, previous_hash)[2]


def canonical_text(event: AuditEvent) -> str:
    """The one text of an event's content: sorted keys, no white space, ASCII."""
    return _event_text(event, _json_text(event.context), _json_text(event.metadata))


StoredEntry: TypeAlias = tuple[Any, ...]
"""A row as it is stored: sequence, eventId, eventType, action, result, resourceType, resourceId, the actor's type, id
and address, the texts of context and metadata, timestamp, hash, previous hash."""


def first_bad(entries: Iterable[StoredEntry], last_sequence: int, last_hash: str) -> int | None:
    """The sequence of the first entry that does not follow from the one before it; None when all of them do.

    `last_sequence` and `last_hash` are of the entry before these. An entry that is missing is bad, too.
    """
    # Written out like `_text`: a chain has millions of entries.
    for (
        number,
        event_id,
        event_type,
        action,
        result,
        resource_type,
        resource_id,
        actor_type,
        actor_id,
        actor_ip,
        context,
        metadata,
        timestamp,
        hash_,
        previous_hash,
    ) in entries:
        last_sequence += 1
        if number != last_sequence or not isinstance(number, int):
            return min(number, last_sequence) if isinstance(number, int) else last_sequence
        try:
            text = _text(
                action,
                actor_id,
                actor_ip,
                actor_type,
                context,
                event_id,
                event_type,
                metadata,
                resource_id,
                resource_type,
                result,
                timestamp,
            )
        except TypeError:
            return last_sequence  # A column that holds no text.
        if previous_hash != last_hash or hash_ != _hash(text, last_hash):
            return last_sequence
        # The hash is of one text: without this, a part of it could be moved to the column beside it.
        if not (_is_object(context) and _is_object(metadata)):
            return last_sequence
        last_hash = hash_
    return None


def entry_text(entry: StoredEntry) -> str:
    """What the hash of a stored entry is of, apart from the hash before. For an entry that is as it was written."""
    (
        _,
        event_id,
        event_type,
        action,
        result,
        resource_type,
        resource_id,
        *actor,
        context,
        metadata,
        timestamp,
        _,
        _,
    ) = entry
    actor_type, actor_id, actor_ip = actor
    return _text(
        action,
        actor_id,
        actor_ip,
        actor_type,
        context,
        event_id,
        event_type,
        metadata,
        resource_id,
        resource_type,
        result,
        timestamp,
    )


def entry_hash(text: str, previous_hash: str) -> str:
    """The hash of an entry with this text."""
    return _hash(text, previous_hash)


def _hash(text: str, previous_hash: str) -> str:
    return hashlib.sha256(f"{previous_hash}\n{text}".encode()).hexdigest()


def _event_text(event: AuditEvent, context: str, metadata: str) -> str:
    actor = event.actor
    return _text(
        event.action,
        actor.id,
        actor.ip_address,
        actor.type,
        context,
        event.event_id,
        event.event_type,
        metadata,
        event.resource_id,
        event.resource_type,
        event.result,
        event.timestamp,
    )


def _text(
    action: str,
    actor_id: str | None,
    actor_ip: str | None,
    actor_type: str,
    context: str,
    event_id: str,
    event_type: str,
    metadata: str,
    resource_id: str,
    resource_type: str,
    result: str,
    timestamp: str,
) -> str:
    # Written out because every acknowledged delivery pays for it: ten times as fast as a sorting encoder. A test
    # holds it against that encoder.
    return (
        f'{{"action":{_quoted(action)},"actor":{{"id":{"null" if actor_id is None else _quoted(actor_id)}'
        f',"ipAddress":{"null" if actor_ip is None else _quoted(actor_ip)},"type":{_quoted(actor_type)}}}'
        f',"context":{context},"eventId":{_quoted(event_id)},"eventType":{_quoted(event_type)},"metadata":{metadata}'
        f',"resourceId":{_quoted(resource_id)},"resourceType":{_quoted(resource_type)}'
        f',"result":{_quoted(result)},"timestamp":{_quoted(timestamp)}}}'
    )


def _json_text(value: Mapping[str, Any]) -> str:
    return _canonical.encode(value) if value else "{}"


def _is_object(text: Any) -> bool:
    """Whether this is the JSON text of one object, and nothing else."""
    if text == "{}":
        return True
    try:
        return isinstance(text, str) and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


_quoted = json.encoder.encode_basestring_ascii

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)
