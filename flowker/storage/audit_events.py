"""The audit chain in the store: appended by the one writer, in the order of the commits, and never changed."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, func, select

from flowker.domain.audit import GENESIS_HASH, AuditEvent, seal
from flowker.storage.statements import Prepared, insert_into
from flowker.storage.tables import audit_events


def append(connection: Connection, events: Sequence[AuditEvent]) -> None:
    """Chain the events to the end of what is stored, in this order."""
    if not events:
        return
    sequence, previous_hash = tail(connection)
    rows = []
    for event in events:
        sequence += 1
        context, metadata, hash_ = seal(event, previous_hash)
        rows.append(_row(event, sequence, context, metadata, hash_, previous_hash))
        previous_hash = hash_
    _insert.run_many(connection, rows)


def tail(connection: Connection) -> tuple[int, str]:
    """Sequence and hash of the last event; (0, GENESIS_HASH) before the first."""
    row = _select_tail.run(connection, ()).one_or_none()
    return (0, GENESIS_HASH) if row is None else (row[0], row[1])


def _row(
    event: AuditEvent, sequence: int, context: str, metadata: str, hash_: str, previous_hash: str
) -> tuple[int | str | None, ...]:
    actor = event.actor
    return (
        sequence,
        event.event_id,
        event.event_type,
        event.action,
        event.result,
        event.resource_type,
        event.resource_id,
        actor.type,
        actor.id,
        actor.ip_address,
        context,
        metadata,
        event.timestamp,
        hash_,
        previous_hash,
    )


_insert: Final = insert_into(audit_events)

_select_tail: Final = Prepared(
    lambda _: select(audit_events.c.sequence, audit_events.c.hash).where(
        audit_events.c.sequence == select(func.max(audit_events.c.sequence)).scalar_subquery()
    ),
    (),
)
