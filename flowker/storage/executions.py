"""Executions: accepted, advanced and found again. `accept` and `record` are the hot path and take whole batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, null, select, text, update

from flowker.domain.audit import AuditEvent
from flowker.domain.errors import ExecutionNotFound
from flowker.storage import audit_events, journal
from flowker.storage.database import insert_unless_taken
from flowker.storage.pages import Listing, Page, Phase, Query, read_page
from flowker.storage.statements import AnyRow, Prepared, PreparedForMany
from flowker.storage.tables import executions, workflows
from flowker.storage.tables import journal as journal_table

OPEN_STATUSES: Final = ("pending", "running")
TERMINAL_STATUSES: Final = ("completed", "failed")


@dataclass(frozen=True, slots=True)
class StoredExecution:
    id: str
    workflow_id: str
    revision: int
    status: str
    trigger_node_id: str | None
    idempotency_key: str | None
    input_digest: str | None
    current_step_number: int
    total_steps: int
    started_at: str
    completed_at: str | None
    error_message: str | None
    wake_at: str | None


class Acceptance(NamedTuple):
    """An execution that is to start, with the JSON text of its first journal event (`accepted`)."""

    execution_id: str
    workflow_id: str
    revision: int
    trigger_node_id: str | None
    idempotency_key: str | None
    input_digest: str | None
    journal_payload: bytes | str
    total_steps: int
    started_at: str
    audit: AuditEvent
    first_turn: "Progress | None" = None
    """What had happened in it when it was accepted, if anything had: stored with it."""

    @property
    def size_bytes(self) -> int:
        return len(self.journal_payload) + (self.first_turn.size_bytes if self.first_turn else 0)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The execution is stored and running."""


@dataclass(frozen=True, slots=True)
class KeySeen:
    """The workflow was started with this idempotency key before; nothing was stored."""

    execution_id: str
    input_digest: str | None
    started_at: str
    status: str


@dataclass(frozen=True, slots=True)
class WorkflowMoved:
    """The workflow is gone, not active, or active with another revision; nothing was stored."""


AcceptOutcome: TypeAlias = Accepted | KeySeen | WorkflowMoved


class Progress(NamedTuple):
    """What happened in an execution since it was last recorded, and the row that follows from it.

    `events` are (kind, JSON text), with the sequence numbers from `first_seq` on. Only what `reopens` an execution is
    recorded after its end.
    """

    execution_id: str
    first_seq: int
    events: Sequence[tuple[str, bytes | str]]
    status: str
    current_step_number: int
    completed_at: str | None
    error_message: str | None
    wake_at: str | None
    audit: Sequence[AuditEvent]
    reopens: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(len(payload) for _, payload in self.events)


def accept(connection: Connection, items: Sequence[Acceptance]) -> list[AcceptOutcome]:
    """Store what may start: execution, first journal event and audit event. For `Store.write_together`."""
    revisions = _active_revisions(connection, {item.workflow_id for item in items})
    startable = [item for item in items if revisions.get(item.workflow_id) == item.revision]
    stored = _insert_unless_key_seen(connection, startable)
    journal.append(connection, [row for item in stored.values() for row in _first_journal_rows(item)])
    audit_events.append(connection, [event for item in stored.values() for event in _first_audit_events(item)])
    if len(stored) == len(items):
        return [_ACCEPTED] * len(items)
    return [_outcome(connection, item, revisions, stored) for item in items]


def record(connection: Connection, items: Sequence[Progress]) -> list[bool]:
    """Store what happened; False for an item that came too late. For `Store.write_together`.

    An item is too late when its execution has ended (unless the item reopens it) or is gone, or when the journal has
    its sequence number already: somebody else drives the execution.
    """
    places = _places(connection, {item.execution_id for item in items})
    outcomes = [_take_place(places, item) for item in items]
    fresh = [item for item, recorded in zip(items, outcomes, strict=True) if recorded]
    _update.run_many(
        connection,
        [
            (
                item.status,
                item.current_step_number,
                item.completed_at,
                item.error_message,
                item.wake_at,
                item.execution_id,
            )
            for item in fresh
        ],
    )
    journal.append(connection, [row for item in fresh for row in _journal_rows(item)])
    audit_events.append(connection, [event for item in fresh for event in item.audit])
    return outcomes


def get(connection: Connection, id_: str) -> StoredExecution:
    """Raises `ExecutionNotFound`."""
    row = _select_execution.run(connection, (id_,)).one_or_none()
    if row is None:
        raise ExecutionNotFound
    return _stored(row)


def find_key(connection: Connection, workflow_id: str, idempotency_key: str) -> KeySeen | None:
    """The execution that a workflow was started as with this idempotency key."""
    row = _select_key.run(connection, (workflow_id, idempotency_key)).one_or_none()
    return None if row is None else KeySeen(*row)


def unfinished(connection: Connection, *, after_id: str = "", limit: int) -> list[str]:
    """Open executions that wait for no time, by id: after a start they have to be driven on.

    Nothing else of the rows is read: one that is unreadable holds up no other.
    """
    return list(_select_unfinished.run(connection, (after_id, limit)).scalars())


def due(connection: Connection, now: str, limit: int) -> list[str]:
    """The ids of open executions whose time to wake has come, the longest due first."""
    return list(_select_due.run(connection, (now, limit)).scalars())


def claim_due(connection: Connection, now: str, limit: int) -> list[str]:
    """Take the executions whose time to wake has come off the clock: from here they count as unfinished."""
    ids = due(connection, now, limit)
    if ids:
        _clear_wake.run(connection, ids)
    return ids


def next_wake(connection: Connection) -> str | None:
    """The earliest time at which an open execution wants to be woken."""
    earliest: str | None = _select_next_wake.run(connection, ()).scalar_one()
    return earliest


def list_page(
    connection: Connection,
    *,
    workflow_id: str | None = None,
    status: str | None = None,
    limit: int = 10,
    cursor: str | None = None,
    sort_by: str = "startedAt",
    sort_order: str = "DESC",
) -> Page[StoredExecution]:
    """A page sorted by `startedAt` or `completedAt`; what has not ended counts as ending last."""
    filters = {"workflow_id": workflow_id}
    return read_page(connection, _listing, Query(status, filters, limit, cursor, sort_by, sort_order))


def _active_revisions(connection: Connection, workflow_ids: Iterable[str]) -> dict[str, int]:
    """The revision of each of these workflows that is active."""
    return dict(_select_active.fetch(connection, workflow_ids))


def _insert_unless_key_seen(connection: Connection, items: Sequence[Acceptance]) -> dict[str, Acceptance]:
    """Insert and return the executions, without those whose key was seen before (also in this batch)."""
    if _insert_execution.run_many(connection, [_execution_row(item) for item in items]) == len(items):
        return {item.execution_id: item for item in items}
    ids = {id_ for (id_,) in _select_ids.fetch(connection, [item.execution_id for item in items])}
    return {item.execution_id: item for item in items if item.execution_id in ids}


def _execution_row(item: Acceptance) -> tuple[int | str | None, ...]:
    now = item.first_turn or _NOTHING_YET
    return (
        item.execution_id,
        item.workflow_id,
        item.revision,
        now.status,
        item.trigger_node_id,
        item.idempotency_key,
        item.input_digest,
        now.current_step_number,
        item.total_steps,
        item.started_at,
        now.completed_at,
        now.error_message,
        now.wake_at,
    )


def _first_journal_rows(item: Acceptance) -> list[tuple[str, int, str, str]]:
    accepted = (item.execution_id, 0, "accepted", _text(item.journal_payload))
    return [accepted, *_journal_rows(item.first_turn)] if item.first_turn else [accepted]


def _first_audit_events(item: Acceptance) -> list[AuditEvent]:
    return [item.audit, *item.first_turn.audit] if item.first_turn else [item.audit]


def _journal_rows(item: Progress) -> list[tuple[str, int, str, str]]:
    return [
        (item.execution_id, seq, kind, _text(payload))
        for seq, (kind, payload) in enumerate(item.events, item.first_seq)
    ]


def _outcome(
    connection: Connection, item: Acceptance, revisions: dict[str, int], stored: dict[str, Acceptance]
) -> AcceptOutcome:
    if item.execution_id in stored:
        return _ACCEPTED
    if revisions.get(item.workflow_id) != item.revision:
        return _WORKFLOW_MOVED
    assert item.idempotency_key is not None  # noqa: S101 - nothing else is left out; for the type checker
    seen = find_key(connection, item.workflow_id, item.idempotency_key)
    assert seen is not None  # noqa: S101 - as above
    return seen


def _places(connection: Connection, execution_ids: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Of each execution its status and the sequence number that comes next."""
    return {id_: (status, last + 1) for id_, status, last in _select_places.fetch(connection, execution_ids)}


def _take_place(places: dict[str, tuple[str, int]], item: Progress) -> bool:
    """Whether the item comes in time; if so, what comes next is counted on from it."""
    place = places.get(item.execution_id)
    if place is None:
        return False  # It was pruned, and somebody wanted to reopen it.
    status, next_seq = place
    if (status not in OPEN_STATUSES and not item.reopens) or item.first_seq < next_seq:
        return False
    places[item.execution_id] = (item.status, item.first_seq + len(item.events))
    return True


def _stored(row: AnyRow) -> StoredExecution:
    return StoredExecution(*row)


def _text(payload: bytes | str) -> str:
    return payload if isinstance(payload, str) else payload.decode()


_ACCEPTED: Final = Accepted()
_WORKFLOW_MOVED: Final = WorkflowMoved()
_NOTHING_YET: Final = Progress("", 1, (), "running", 0, None, None, None, ())

# In the words of the partial index that serves it.
_OPEN: Final = executions.c.completed_at.is_(None)

_insert_execution: Final = Prepared(
    lambda dialect: insert_unless_taken(
        dialect, executions, ["workflow_id", "idempotency_key"], text("idempotency_key IS NOT NULL")
    ),
    executions.columns.keys(),
)

_update: Final = Prepared(
    lambda _: (
        update(executions)
        .where(executions.c.id == bindparam("execution_id"))
        .values(
            status=bindparam("status"),
            current_step_number=bindparam("current_step_number"),
            completed_at=bindparam("completed_at"),
            error_message=bindparam("error_message"),
            wake_at=bindparam("wake_at"),
        )
    ),
    ("status", "current_step_number", "completed_at", "error_message", "wake_at", "execution_id"),
)

_select_execution: Final = Prepared(lambda _: select(executions).where(executions.c.id == bindparam("id")), ("id",))

# Said in SQL: with a limit SQLAlchemy would have SQLite ask for an offset as a parameter of its own.
_NO_OFFSET: Final[ColumnElement[int]] = literal_column("0")

_select_unfinished: Final = Prepared(
    lambda _: (
        select(executions.c.id)
        .where(_OPEN, executions.c.wake_at.is_(None), executions.c.id > bindparam("after_id"))
        .order_by(executions.c.id)
        .limit(bindparam("limit"))
        .offset(_NO_OFFSET)
    ),
    ("after_id", "limit"),
)

_select_due: Final = Prepared(
    lambda _: (
        select(executions.c.id)
        .where(_OPEN, executions.c.wake_at <= bindparam("now"))
        .order_by(executions.c.wake_at, executions.c.id)
        .limit(bindparam("limit"))
        .offset(_NO_OFFSET)
    ),
    ("now", "limit"),
)

_clear_wake: Final = PreparedForMany(
    lambda ids: update(executions).where(executions.c.id.in_(ids)).values(wake_at=null())
)

_select_next_wake: Final = Prepared(
    lambda _: select(func.min(executions.c.wake_at)).where(_OPEN, executions.c.wake_at.is_not(None)), ()
)

_select_active: Final = PreparedForMany(
    lambda ids: select(workflows.c.id, workflows.c.revision).where(
        workflows.c.id.in_(ids), workflows.c.status == literal_column("'active'")
    )
)

_select_ids: Final = PreparedForMany(lambda ids: select(executions.c.id).where(executions.c.id.in_(ids)))

_select_places: Final = PreparedForMany(
    lambda ids: select(
        executions.c.id,
        executions.c.status,
        # One whose journal is gone can still be ended.
        func.coalesce(
            select(func.max(journal_table.c.seq))
            .where(journal_table.c.execution_id == executions.c.id)
            .scalar_subquery(),
            literal_column("-1"),
        ),
    ).where(executions.c.id.in_(ids))
)

_select_key: Final = Prepared(
    lambda _: select(executions.c.id, executions.c.input_digest, executions.c.started_at, executions.c.status).where(
        executions.c.workflow_id == bindparam("workflow_id"),
        executions.c.idempotency_key == bindparam("idempotency_key"),
    ),
    ("workflow_id", "idempotency_key"),
)

_open_rows: Final = {
    status: (executions.c.status == status) & executions.c.completed_at.is_(None) for status in OPEN_STATUSES
}

_ended_rows: Final = {
    status: (executions.c.status == status) & executions.c.completed_at.is_not(None) for status in TERMINAL_STATUSES
}

_listing: Final = Listing(
    name="executions",
    source=executions,
    columns=tuple(executions.columns),
    id=executions.c.id,
    sorts={
        "startedAt": [Phase(executions.c.started_at, _open_rows | _ended_rows)],
        "completedAt": [
            Phase(executions.c.completed_at, _ended_rows),
            Phase(executions.c.started_at, _open_rows),
        ],
    },
    make=_stored,
)
