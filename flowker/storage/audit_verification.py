"""Verification of the audit chain: contents and links of every entry are computed again from what is stored.

It reads in pages, each a snapshot of its own. Entries never change, so a chain can be verified beside a service that
appends to it, and no long snapshot keeps the write-ahead log from shrinking.

Where the oldest part of the chain was archived, verification begins behind the checkpoint that stands for it, once
its signature has been verified. An archive that moves the checkpoint on meanwhile takes the verification along.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from sqlalchemy import Column, Connection, Select, func, select

from flowker import turns
from flowker.domain.audit import GENESIS_HASH, StoredEntry, first_bad
from flowker.domain.workflows import Status
from flowker.storage import audit_checkpoint, audit_events, executor_configurations, provider_configurations, tables
from flowker.storage.audit_checkpoint import CheckpointBad
from flowker.storage.database import Store, is_unreadable, opened
from flowker.storage.executions import OPEN_STATUSES, TERMINAL_STATUSES
from flowker.storage.keys import KeysUnusable
from flowker.storage.requests import unavailable
from flowker.storage.tables import executions, workflows
from flowker.storage.vault import Vault

ENTRIES_PER_PAGE: Final = 1_000
"""A page keeps a reading thread for some milliseconds, and its start costs nothing beside it."""

AT_ONCE_MAX: Final = 2
"""Leaves half of the reading threads to everybody else."""

WAITING_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Verification:
    """How far a verification has come, and what it found."""

    sequence: int = 0
    """Of the last entry that is as it was written."""
    hash: str = GENESIS_HASH
    timestamp: str = ""
    first_bad: int | None = None
    is_cut: bool = False
    """The chain ends before the last change that it has to tell of."""
    archived: int = 0
    """Up to this entry the chain was archived; the checkpoint vouches for it."""
    checkpoint_bad: bool = False
    anchors: frozenset[str] = frozenset()
    """Hashes that were noted earlier and have not been found yet."""
    ended: bool = False

    @property
    def is_good(self) -> bool:
        return self.first_bad is None and not self.anchors

    @property
    def message(self) -> str:
        if self.checkpoint_bad:
            return audit_checkpoint.MESSAGE
        if self.is_cut:
            return f"The chain ends after entry {self.sequence}: what was recorded later was taken away."
        if self.first_bad is not None:
            return f"Entry {self.first_bad} is not as it was written: it was changed, moved or taken away."
        if not self.sequence:
            return "Nothing was recorded yet."
        told = f"Every entry from {self.archived + 1} to {self.sequence} is as it was written."
        if not self.archived:
            return told
        return f"{told} Those up to {self.archived} were archived: the checkpoint is as this service signed it."

    @property
    def checked(self) -> int:
        """How many entries were looked at, the bad one included."""
        is_bad_one_read = self.first_bad is not None and not (self.is_cut or self.checkpoint_bad)
        return self.sequence - self.archived + is_bad_one_read


async def verify_database(
    url: str, vault: Vault, anchors: frozenset[str], tell: Callable[[Verification, int], None]
) -> Verification:
    """Verify the whole chain of a database beside whoever has it open; raises `DatabaseUnusable`.

    After each page `tell` is told how far it has come, and of about how many entries.
    """
    async with opened(url, wrong="the database cannot be read") as store:
        entries = (await store.read(audit_events.tail)).sequence
        return await verify(store, vault, Verification(anchors=anchors), tell=lambda so_far: tell(so_far, entries))


class Verifier:
    """Verifies for whoever asks: a few at once, a few more wait, and others are refused."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._turn = asyncio.Semaphore(AT_ONCE_MAX)
        self._asking = 0

    async def verify(self, until: int) -> Verification:
        """Verify everything up to this sequence; raises InternalError when too many ask."""
        if self._asking >= AT_ONCE_MAX + WAITING_MAX:
            raise unavailable()
        self._asking += 1
        try:
            async with self._turn:
                with turns.work():
                    return await verify(self._store, self._vault, Verification(), until)
        finally:
            self._asking -= 1


async def verify(
    store: Store,
    vault: Vault,
    verification: Verification,
    until: int | None = None,
    tell: Callable[[Verification], None] = lambda _: None,
) -> Verification:
    """Verify page by page up to a sequence, or to the end of the chain and whether it was cut off there."""
    while not verification.ended:
        verification = await store.read(advance, vault, verification, until)
        tell(verification)
    return verification


def advance(
    connection: Connection, vault: Vault, so_far: Verification, until: int | None, entries: int = ENTRIES_PER_PAGE
) -> Verification:
    """Verify the next page."""
    so_far = _behind_checkpoint(connection, vault, so_far)
    return so_far if so_far.ended else _advance(connection, so_far, until, entries)


def _behind_checkpoint(connection: Connection, vault: Vault, so_far: Verification) -> Verification:
    """Go on behind the checkpoint, if it is further: what comes before it is not here any more."""
    try:
        with connection.begin_nested():
            checkpoint = audit_checkpoint.require(connection, vault)
    except Exception as error:
        if not (isinstance(error, CheckpointBad | KeysUnusable) or is_unreadable(error)):
            raise
        return replace(so_far, first_bad=1, checkpoint_bad=True, ended=True)
    if checkpoint is None or checkpoint.sequence < so_far.sequence or checkpoint.sequence == so_far.archived:
        return so_far
    sequence, hash_ = checkpoint.sequence, checkpoint.hash
    return replace(
        so_far,
        sequence=sequence,
        archived=sequence,
        hash=hash_,
        timestamp=checkpoint.timestamp,
        anchors=so_far.anchors - {hash_},
    )


def _advance(connection: Connection, so_far: Verification, until: int | None, entries: int) -> Verification:
    # The entry of the checkpoint is not here to begin with.
    after = so_far.sequence if so_far.sequence > so_far.archived else None
    # A page begins with the entry that the last one ended with: that there is one of it is verified too.
    limit = entries if after is None else entries + 1
    try:
        # A savepoint, for databases in which a statement that fails ends the transaction.
        with connection.begin_nested():
            rows = audit_events.read_entries(connection, after, until, limit)
    except Exception as error:
        if not is_unreadable(error):
            raise
        # Half a page, until the entry that cannot be read is alone.
        return (
            _bad(so_far, so_far.sequence + 1) if entries == 1 else _advance(connection, so_far, until, entries // 2)
        )
    fresh = rows
    if after is not None:
        if not rows or rows[0][0] != so_far.sequence or rows[0][13] != so_far.hash:
            return _bad(so_far, so_far.sequence)
        fresh = rows[1:]
    bad = first_bad(fresh, so_far.sequence, so_far.hash)
    if bad is not None:
        return _bad(_passed(so_far, fresh[: max(0, bad - so_far.sequence - 1)]), bad)
    reached = _passed(so_far, fresh)
    return reached if len(rows) == limit else _end(connection, reached, until)


def _passed(so_far: Verification, rows: list[StoredEntry]) -> Verification:
    if not rows:
        return so_far
    anchors = so_far.anchors and so_far.anchors.difference(row[13] for row in rows)
    return replace(so_far, sequence=rows[-1][0], hash=rows[-1][13], timestamp=rows[-1][12], anchors=anchors)


def _bad(so_far: Verification, sequence: int) -> Verification:
    return replace(so_far, first_bad=sequence, ended=True)


def _end(connection: Connection, reached: Verification, until: int | None) -> Verification:
    """Whether everything was there that has to be."""
    is_cut = _last_change(connection) > reached.timestamp if until is None else reached.sequence < until
    return replace(reached, first_bad=reached.sequence + 1 if is_cut else None, is_cut=is_cut, ended=True)


def _last_change(connection: Connection) -> str:
    """The time of the last change that an execution or a workflow shows, and that has its entry in the chain.

    An entry is never older than what it tells of, and in the same transaction.
    """
    times = [connection.execute(statement).scalar_one() for statement in _LAST_CHANGES]
    return max((time for time in times if time is not None), default="")


def _latest(column: Column[Any], status: str) -> Select[Any]:
    return select(func.max(column)).where(column.table.c.status == status, column.is_not(None))


_LAST_CHANGES: Final = (
    *(_latest(executions.c.started_at, status) for status in (*OPEN_STATUSES, *TERMINAL_STATUSES)),
    *(_latest(executions.c.completed_at, status) for status in TERMINAL_STATUSES),
    *(_latest(workflows.c.updated_at, status) for status in get_args(Status)),
    *(_latest(tables.provider_configurations.c.updated_at, status) for status in provider_configurations.STATUSES),
    *(_latest(tables.executor_configurations.c.updated_at, status) for status in executor_configurations.STATUSES),
)
"""One look into an index each."""
