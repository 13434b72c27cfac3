"""The audit chain: what an audit event says, and the hash that ties it to the one before.

The hash covers the canonical JSON text of the event's content together with the previous hash, so that a changed
byte, a removed row or a changed order is found by computing it again (see `flowker.storage.audit_events`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

GENESIS_HASH = "0" * 64
"""What the first event of a store names as its predecessor."""

Action = Literal["CREATE", "UPDATE", "DELETE", "ACTIVATE", "DEACTIVATE", "DRAFT", "EXECUTE"]
Result = Literal["SUCCESS", "FAILED"]
ResourceType = Literal["workflow", "execution", "provider_config", "executor_config"]
ActorType = Literal["user", "system", "api_key"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: an API key by its fingerprint, or the system itself."""

    type: ActorType
    id: str | None = None
    ip_address: str | None = None


SYSTEM = Actor("system")


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One entry before it has its place in the chain. `timestamp` is RFC 3339 in UTC with microseconds."""

    event_id: str
    event_type: str
    action: Action
    result: Result
    resource_type: ResourceType
    resource_id: str
    actor: Actor
    timestamp: str
    context: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def chain_hash(event: AuditEvent, previous_hash: str) -> str:
    """SHA-256 in hexadecimal of the event's canonical text after the previous hash."""
    return hashlib.sha256(f"{previous_hash}\n{canonical_text(event)}".encode()).hexdigest()


def canonical_text(event: AuditEvent) -> str:
    """The one text of an event's content: sorted keys, no white space, ASCII."""
    content = {
        "eventId": event.event_id,
        "eventType": event.event_type,
        "action": event.action,
        "result": event.result,
        "resourceType": event.resource_type,
        "resourceId": event.resource_id,
        "actor": {"type": event.actor.type, "id": event.actor.id, "ipAddress": event.actor.ip_address},
        "timestamp": event.timestamp,
        "context": event.context,
        "metadata": event.metadata,
    }
    return _canonical.encode(content)


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)
