"""Removing executions that ended long ago, a few in a transaction, beside a service that goes on.

With an execution go its journal and its idempotency key, and with the last one of a workflow that is gone the
revisions of that. Which executions those are is read first; a transaction only removes them, unless one of them was
reopened meanwhile. After each transaction the service has its turn.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select, tuple_
from uuid_utils import uuid7

from flowker.domain.audit import EVENT_KINDS, SYSTEM, AuditEvent
from flowker.storage import audit_events, workflows
from flowker.storage.database import Store, opened, reusable_bytes
from flowker.storage.executions import TERMINAL_STATUSES
from flowker.storage.tables import executions, journal

AGE_MIN: Final = timedelta(days=1)
"""A sender that got no answer repeats its delivery for hours: until then its idempotency key has to be known."""

EXECUTIONS_PER_TRANSACTION: Final = 50
JOURNAL_BYTES_PER_TRANSACTION: Final = 1024 * 1024
"""Of journals that are removed together, unless one alone has more. Both keep a transaction at some dozen ms."""

EXECUTIONS_PER_PAGE: Final = 1_000

PAUSE_MIN_S: Final = 0.01
"""A writer that waits for the file looks for it at growing intervals; this is long enough to meet one of them."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed so far."""

    executions: int = 0
    revisions: int = 0
    longest_s: float = 0.0
    """What the slowest transaction took, with its waiting for the writer of the service."""
    reusable_bytes: int | None = None
    """How much of the file is free for what comes, at the end; None where the database sees to that itself."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    execution_id: str
    completed_at: str
    journal_bytes: int


async def prune_database(
    url: str, before: str, now: Callable[[], str], tell: Callable[[Pruned, int], None]
) -> Pruned:
    """Remove what ended before this time from a database; raises `DatabaseUnusable`, and what came before stays done.

    After each transaction `tell` is told how far it has come, and of about how many executions.
    """
    async with opened(url) as store:
        total = await store.read(count_prunable, before)
        pruned = Pruned()
        async for pruned in _prune(store, before, now):
            tell(pruned, total)
        return pruned


async def count_in_database(url: str, before: str) -> int:
    """How many executions ended before this time; raises `DatabaseUnusable`."""
    async with opened(url) as store:
        return await store.read(count_prunable, before)


def count_prunable(connection: Connection, before: str) -> int:
    return sum(
        connection.execute(select(func.count()).select_from(executions).where(*_ended(status, before))).scalar_one()
        for status in TERMINAL_STATUSES
    )


async def _prune(store: Store, before: str, now: Callable[[], str]) -> AsyncIterator[Pruned]:
    """Remove everything, group by group; the sum so far after each."""
    pruned = Pruned()
    for status in TERMINAL_STATUSES:
        after = None
        while page := await store.read(find_page, status, before, after):
            after = (page[-1].completed_at, page[-1].execution_id)
            for group in _groups(page):
                pruned = await _remove_group(store, pruned, group, before, now)
                yield pruned
    yield Pruned(pruned.executions, pruned.revisions, pruned.longest_s, await store.read(reusable_bytes))


async def _remove_group(
    store: Store, so_far: Pruned, ids: Sequence[str], before: str, now: Callable[[], str]
) -> Pruned:
    began_s = time.monotonic()
    removed, revisions = await store.write(remove, ids, before, now())
    took_s = time.monotonic() - began_s
    # Half of the time is for everybody else.
    await asyncio.sleep(max(PAUSE_MIN_S, took_s))
    return Pruned(so_far.executions + removed, so_far.revisions + revisions, max(so_far.longest_s, took_s))


def find_page(
    connection: Connection,
    status: str,
    before: str,
    after: tuple[str, str] | None,
    limit: int = EXECUTIONS_PER_PAGE,
) -> list[_Candidate]:
    """The executions with this status that ended before a time, the oldest first, behind a place."""
    completion = (executions.c.completed_at, executions.c.id)
    statement = select(*completion).where(*_ended(status, before)).order_by(*completion).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*completion) > tuple_(*after))
    rows = connection.execute(statement).all()
    sizes = _journal_bytes(connection, [row.id for row in rows])
    return [_Candidate(row.id, row.completed_at, sizes.get(row.id, 0)) for row in rows]


def remove(connection: Connection, ids: Sequence[str], before: str, now: str) -> tuple[int, int]:
    """Remove those of the executions that still have ended before the time; how many, and how many revisions."""
    removed = connection.execute(
        delete(executions)
        .where(executions.c.id.in_(ids), executions.c.completed_at < before)
        .returning(executions.c.id, executions.c.workflow_id)
    ).all()
    connection.execute(delete(journal).where(journal.c.execution_id.in_([row.id for row in removed])))
    by_workflow = Counter(row.workflow_id for row in removed)
    revisions = {id_: workflows.delete_unused_revisions(connection, id_) for id_ in by_workflow}
    events = [_event(id_, count, revisions[id_], before, now) for id_, count in by_workflow.items()]
    audit_events.append(connection, events)
    return len(removed), sum(revisions.values())


def _groups(page: Sequence[_Candidate]) -> Iterator[list[str]]:
    """Executions of a page, which has some, that are removed together."""
    group: list[str] = []
    size_bytes = 0
    for candidate in page:
        too_large = size_bytes + candidate.journal_bytes > JOURNAL_BYTES_PER_TRANSACTION
        if group and (too_large or len(group) == EXECUTIONS_PER_TRANSACTION):
            yield group
            group, size_bytes = [], 0
        group.append(candidate.execution_id)
        size_bytes += candidate.journal_bytes
    yield group


def _ended(status: str, before: str) -> tuple[Any, ...]:
    # In the words of the partial index that serves it.
    ended = executions.c.completed_at
    return executions.c.status == status, ended.is_not(None), ended < before


def _journal_bytes(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """The size of each journal; in characters, which is as good to bound a transaction by."""
    rows = connection.execute(
        select(journal.c.execution_id, func.sum(func.length(journal.c.payload)))
        .where(journal.c.execution_id.in_(ids))
        .group_by(journal.c.execution_id)
    )
    return {id_: int(size) for id_, size in rows}


def _event(workflow_id: str, count: int, revisions: int, before: str, now: str) -> AuditEvent:
    context: dict[str, Any] = {"executions": count, "completedBefore": before}
    if revisions:
        context["revisions"] = revisions
    kind = EVENT_KINDS["EXECUTIONS_PRUNED"]
    return AuditEvent(str(uuid7()), "EXECUTIONS_PRUNED", *kind, workflow_id, SYSTEM, now, context)
