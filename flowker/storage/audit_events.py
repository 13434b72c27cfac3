"""The audit chain in the store: appended by the one writer, in the order of the commits, and never changed.

The order of the chain is the order of time too: an entry that comes after a later one has that one's time. So a range
of dates is a range of sequences, found by a few lookups along the primary key, and the sequence orders every list.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from sqlalchemy import Connection, UnaryExpression, asc, bindparam, cast, desc, func, select, union_all

from flowker import jsontext
from flowker.domain.audit import (
    EVENT_KINDS,
    GENESIS_HASH,
    Actor,
    AuditEvent,
    StoredEntry,
    event_types,
    require_kind,
    seal,
)
from flowker.domain.errors import AuditEventNotFound
from flowker.storage.columns import BYTES_OF_TEXT
from flowker.storage.pages import Page, Place, cursor_to, malformed, place_of
from flowker.storage.statements import AnyRow, Prepared, PreparedForMany, insert_into
from flowker.storage.tables import audit_events

UNREADABLE: Final = {"unreadable": True}
"""Stands for a context or metadata that were destroyed in the database: the rest of the entry can still be read."""

LEVELS_MAX: Final = 2 * jsontext.DEPTH_MAX
"""Of what can be read: the values in an entry came from outside, and have a few levels around them."""


@dataclass(frozen=True, slots=True)
class StoredAuditEvent:
    """An entry at its place in the chain."""

    sequence: int
    event: AuditEvent
    hash: str
    previous_hash: str


@dataclass(frozen=True, slots=True)
class Tail:
    """The last entry, or what stands for one before the first."""

    sequence: int
    hash: str
    timestamp: str


@dataclass(frozen=True, slots=True)
class Search:
    """What the events of a list have in common; None does not count. The dates are timestamps and belong to it."""

    event_type: str | None = None
    action: str | None = None
    result: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    date_from: str | None = None
    date_to: str | None = None


def append(connection: Connection, events: Sequence[AuditEvent]) -> None:
    """Chain the events to the end of what is stored, in this order."""
    if not events:
        return
    last = tail(connection)
    sequence, previous_hash, now = last.sequence, last.hash, last.timestamp
    rows = []
    for event in events:
        require_kind(event)
        sequence += 1
        if event.timestamp >= now:
            now = event.timestamp
        else:
            event = event._replace(timestamp=now)  # noqa: PLW2901 - the clock went back, or the event waited
        context, metadata, hash_ = seal(event, previous_hash)
        rows.append(_row(event, sequence, context, metadata, hash_, previous_hash))
        previous_hash = hash_
    _insert.run_many(connection, rows)


def tail(connection: Connection) -> Tail:
    found = _select_tail.fetch(connection, ())
    return Tail(*found[0]) if found else Tail(0, GENESIS_HASH, "")


def get(connection: Connection, event_id: str) -> StoredAuditEvent:
    """Raises `AuditEventNotFound`."""
    row = _select_event.run(connection, (event_id,)).one_or_none()
    if row is None:
        raise AuditEventNotFound
    return _stored(row)


def sequence_of(connection: Connection, event_id: str) -> int:
    """Reads nothing of the content, which may be what was tampered with. Raises `AuditEventNotFound`."""
    sequence: int | None = connection.scalar(
        select(audit_events.c.sequence).where(audit_events.c.event_id == event_id)
    )
    if sequence is None:
        raise AuditEventNotFound
    return sequence


def list_page(
    connection: Connection, search: Search, *, limit: int = 20, cursor: str | None = None, sort_order: str = "DESC"
) -> Page[StoredAuditEvent]:
    """A page along the chain.

    Per type of event that the search allows there is one walk along an index, merged by the database and stopped at
    the end of the page; a search for none in particular walks along the chain itself.
    """
    descending = sort_order == "DESC"
    question = ["auditEvents", sort_order, *astuple(search)]
    first, last = _range(connection, search)
    if cursor:
        place = _sequence_of(place_of(cursor, question))
        first, last = (first, min(last, place - 1)) if descending else (max(first, place + 1), last)
    sequences = _find(connection, search, first, last, limit + 1, descending=descending)
    has_more = len(sequences) > limit
    items = _read(connection, sequences[:limit])
    next_cursor = cursor_to(Place(0, str(items[-1].sequence), items[-1].event.event_id), question) if has_more else ""
    return Page(items, next_cursor, has_more)


def read_entries(connection: Connection, first: int | None, last: int | None, limit: int) -> list[StoredEntry]:
    """Rows as they are stored, in the order of their sequence, whatever they hold: for verification.

    Where there is no first or last, everything that is in the table belongs to them.
    """
    sequence = audit_events.c.sequence
    statement = select(audit_events).order_by(sequence).limit(limit)
    if first is not None:
        statement = statement.where(sequence >= first)
    if last is not None:
        statement = statement.where(sequence <= last)
    result = connection.execute(statement)
    try:
        # Past SQLAlchemy, whose rows cost as much as computing a hash.
        cursor: Any = result.cursor
        rows: list[StoredEntry] = cursor.fetchall()
        return rows
    finally:
        result.close()


def last_before(connection: Connection, archived: int, before: str) -> int | None:
    """The last entry behind the archived ones that is from before a time, never the newest; None without one."""
    stored = range(archived + 1, tail(connection).sequence)
    count = bisect_left(stored, before, key=_timestamps(connection))
    return archived + count if count else None


def _range(connection: Connection, search: Search) -> tuple[int, int]:
    """The first and the last sequence that the dates of a search allow."""
    if search.date_from is None and search.date_to is None:
        return _SEQUENCE_MIN, _SEQUENCE_MAX
    stored = range(1, tail(connection).sequence + 1)
    time = _timestamps(connection)
    first = 0 if search.date_from is None else bisect_left(stored, search.date_from, key=time)
    last = len(stored) if search.date_to is None else bisect_right(stored, search.date_to, key=time)
    return first + 1, last


def _timestamps(connection: Connection) -> Callable[[int], str]:
    def time(sequence: int) -> str:
        # Of the entry behind it, should one be missing.
        timestamp: str = _select_timestamp.run(connection, (sequence,)).scalar_one()
        return timestamp

    return time


def _find(
    connection: Connection, search: Search, first: int, last: int, limit: int, *, descending: bool
) -> list[int]:
    """The sequences of a page."""
    order: UnaryExpression[Any] = desc("sequence") if descending else asc("sequence")
    types = _types(connection, search)
    if not types or first > last:
        return []
    sequence = audit_events.c.sequence
    chain = select(sequence).where(sequence.between(first, last))
    if search.resource_id is not None:
        # Its index has the type before the sequence: a resource may have as many events as the chain.
        chain = chain.where(audit_events.c.resource_id == search.resource_id)
    elif len(types) == len(EVENT_KINDS):
        return list(connection.scalars(chain.order_by(order).limit(limit)))
    walks = [chain.where(audit_events.c.event_type == type_).order_by(order).limit(limit) for type_ in types]
    if len(walks) == 1:
        return list(connection.scalars(walks[0]))
    # Each walk ends by itself: a database that would rather sort than merge has no more than pages to sort.
    merged = union_all(*(select(walk.subquery().c.sequence) for walk in walks))
    return list(connection.scalars(merged.order_by(order).limit(limit)))


def _types(connection: Connection, search: Search) -> list[str]:
    """The types of event that a search has to walk along; a resource has only those of its own kind."""
    resource_type = search.resource_type
    if search.resource_id is not None:
        of_resource = audit_events.c.resource_id == search.resource_id
        resource_type = connection.scalar(select(audit_events.c.resource_type).where(of_resource).limit(1))
        if resource_type is None or search.resource_type not in {None, resource_type}:
            return []
    return event_types(
        event_type=search.event_type, action=search.action, result=search.result, resource_type=resource_type
    )


def _read(connection: Connection, sequences: Sequence[int]) -> list[StoredAuditEvent]:
    if not sequences:
        return []
    stored = {row.sequence: _stored(row) for row in _select_events.run(connection, sequences)}
    return [stored[sequence] for sequence in sequences]


def _sequence_of(place: Place) -> int:
    if not _SEQUENCE.fullmatch(place.value):
        raise malformed()
    return int(place.value)


def _stored(row: AnyRow) -> StoredAuditEvent:
    event = AuditEvent(
        event_id=row.event_id,
        event_type=row.event_type,
        action=row.action,
        result=row.result,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        actor=Actor(row.actor_type, row.actor_id, row.actor_ip),
        timestamp=row.timestamp,
        context=_object(row.context),
        metadata=_object(row.metadata),
    )
    return StoredAuditEvent(row.sequence, event, row.hash, row.previous_hash)


def _object(text: bytes | str) -> dict[str, Any]:
    data = text.encode() if isinstance(text, str) else text
    try:
        value = jsontext.decode(data)
    except (ValueError, ArithmeticError, RecursionError):
        return UNREADABLE
    # What is nested almost too deeply to be decoded here is too deep for whoever encodes it further down the stack.
    is_readable = isinstance(value, dict) and not jsontext.nests_over(LEVELS_MAX, data)
    return value if is_readable else UNREADABLE


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


_SEQUENCE: Final = re.compile(r"[1-9][0-9]{0,17}")
_SEQUENCE_MIN: Final = -(2**63)
_SEQUENCE_MAX: Final = 2**63 - 1
"""What a database can have as a sequence, with everything that somebody may have put there."""

_insert: Final = insert_into(audit_events)

_select_tail: Final = Prepared(
    lambda _: select(audit_events.c.sequence, audit_events.c.hash, audit_events.c.timestamp).where(
        audit_events.c.sequence == select(func.max(audit_events.c.sequence)).scalar_subquery()
    ),
    (),
)

_whole: Final = [
    cast(column, BYTES_OF_TEXT).label(column.name) if column.name in {"context", "metadata"} else column
    for column in audit_events.columns
]

_select_event: Final = Prepared(
    lambda _: select(*_whole).where(audit_events.c.event_id == bindparam("event_id")), ("event_id",)
)

_select_events: Final = PreparedForMany(
    lambda sequences: select(*_whole).where(audit_events.c.sequence.in_(sequences))
)

_select_timestamp: Final = Prepared(
    lambda _: select(audit_events.c.timestamp).where(
        audit_events.c.sequence
        == select(func.min(audit_events.c.sequence))
        .where(audit_events.c.sequence >= bindparam("sequence"))
        .scalar_subquery()
    ),
    ("sequence",),
)
