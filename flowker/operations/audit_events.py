"""Audit API: what was done, by whom and when, and whether the record of it is as it was written."""

from typing import Any

from flowker.domain.errors import InvalidTime, RangeReversed
from flowker.domain.timestamps import normalize_timestamp
from flowker.operations.context import Answer, Context
from flowker.storage import audit_events
from flowker.storage.audit_events import Search, StoredAuditEvent
from flowker.storage.database import Connection


async def search_audit_events(
    context: Context,
    *,
    event_type: str | None,
    action: str | None,
    result: str | None,
    resource_type: str | None,
    resource_id: str | None,
    date_from: str | None,
    date_to: str | None,
    limit: int,
    cursor: str | None,
    sort_order: str,
) -> Answer:
    search = Search(
        event_type=event_type,
        action=action,
        result=result,
        resource_type=resource_type,
        resource_id=resource_id and resource_id.lower(),
        date_from=_moment("dateFrom", date_from),
        date_to=_moment("dateTo", date_to),
    )
    if search.date_from and search.date_to and search.date_from > search.date_to:
        raise RangeReversed(fields={"dateTo": "is before dateFrom"})

    def read(connection: Connection) -> Any:
        return audit_events.list_page(connection, search, limit=limit, cursor=cursor, sort_order=sort_order)

    page = await context.store.read(read)
    return {
        "items": [_present(stored) for stored in page.items],
        "nextCursor": page.next_cursor,
        "hasMore": page.has_more,
    }


async def get_audit_event_by_id(context: Context, *, id_: str) -> Answer:
    return _present(await context.store.read(audit_events.get, id_.lower()))


async def verify_audit_hash_chain(context: Context, *, id_: str) -> Answer:
    """Compute every entry up to this one again."""
    sequence = await context.store.read(audit_events.sequence_of, id_.lower())
    verification = await context.verifier.verify(sequence)
    answer = {
        "isValid": verification.is_good,
        "totalChecked": verification.checked,
        "message": verification.message,
    }
    return answer if verification.first_bad is None else {**answer, "firstInvalidId": verification.first_bad}


def _moment(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return normalize_timestamp(text)
    except ValueError:
        raise InvalidTime(fields={name: "is not a time with a zone"}) from None


def _present(stored: StoredAuditEvent) -> dict[str, Any]:
    event = stored.event
    return {
        "eventId": event.event_id,
        "eventType": event.event_type,
        "action": event.action,
        "result": event.result,
        "resourceId": event.resource_id,
        "resourceType": event.resource_type,
        "actor": {"type": event.actor.type, "id": event.actor.id, "ipAddress": event.actor.ip_address},
        "context": event.context,
        "metadata": event.metadata,
        "timestamp": event.timestamp,
        "hash": stored.hash,
        "previousHash": stored.previous_hash,
    }
