"""What every change of a resource has in common: its entry in the audit trail, and the state it was meant for."""

from collections.abc import Mapping
from typing import Any

from uuid_utils import uuid7

from flowker.domain.audit import Action, AuditEvent, ResourceType, Result
from flowker.domain.errors import ChangedMeanwhile
from flowker.domain.preconditions import matches
from flowker.operations.context import Request, actor


def audit_event(
    request: Request,
    event_type: str,
    action: Action,
    resource: tuple[ResourceType, str],
    timestamp: str,
    context: Mapping[str, Any],
    *,
    result: Result = "SUCCESS",
) -> AuditEvent:
    """The entry of what this request does to a resource; it belongs into the transaction that does it."""
    resource_type, resource_id = resource
    return AuditEvent(
        event_id=str(uuid7()),
        event_type=event_type,
        action=action,
        result=result,
        resource_type=resource_type,
        resource_id=resource_id,
        actor=actor(request),
        timestamp=timestamp,
        context=context,
    )


def require_match(if_match: str | None, tag: str) -> None:
    """Raise `ChangedMeanwhile` when the caller wants to change another state than the one with this tag."""
    if if_match is not None and not matches(if_match, tag):
        raise ChangedMeanwhile(headers={"ETag": tag})
