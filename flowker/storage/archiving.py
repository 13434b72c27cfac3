"""Archiving the oldest part of the audit chain: into a file first, and out of the store once that is safe.

The file is complete, read back and flushed to disk before the first entry is removed. Then the checkpoint in the
store moves on, some entries in a transaction, beside a service that goes on. Cut off in between, everything is in the
file, and what is left in the store begins behind the checkpoint.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TextIO

from sqlalchemy import Connection, select

from flowker.domain.archives import (
    LINE_CHARACTERS_MAX,
    Checkpoint,
    Place,
    SignedCheckpoint,
    checkpoint_line,
    entry_line,
    follow,
    place_before,
    read_checkpoint,
)
from flowker.domain.audit import GENESIS_HASH, first_bad
from flowker.storage import audit_checkpoint, audit_events
from flowker.storage.database import Store, opened
from flowker.storage.files import FileUnusable, new_file
from flowker.storage.retention import PAUSE_MIN_S
from flowker.storage.tables import audit_events as audit_table
from flowker.storage.vault import Vault

ENTRIES_PER_PAGE: Final = 1_000


class NotArchived(Exception):
    """There is nothing to archive, or what there is is not as it was written; nothing was removed."""


@dataclass(frozen=True, slots=True)
class Archived:
    """How far archiving has come."""

    checkpoint: Checkpoint
    written: int = 0
    removed: int = 0
    longest_s: float = 0.0
    """What the slowest transaction took, with its waiting for the writer of the service."""


@dataclass(frozen=True, slots=True)
class ArchiveVerification:
    """What was found in the file of an archive."""

    entries: int = 0
    bad_line: int | None = None
    signed: SignedCheckpoint | None = None
    """The checkpoint, when it is of these entries and its signature is good."""
    anchors: frozenset[str] = field(default_factory=frozenset)
    """Hashes that were noted earlier and have not been found."""

    @property
    def is_good(self) -> bool:
        return self.signed is not None and not self.anchors

    @property
    def message(self) -> str:
        if self.bad_line is not None:
            return f"Line {self.bad_line} is not as it was written: it was changed, moved or taken away."
        if self.signed is None:
            return "The checkpoint at the end is not of these entries, or its signature is not one of this key."
        checkpoint = self.signed.checkpoint
        return (
            f"Every entry from {checkpoint.first_sequence} to {checkpoint.sequence} is as it was written and signed."
        )


async def archive(
    url: str, vault: Vault, before: str, path: Path, now: Callable[[], str], tell: Callable[[Archived], None]
) -> tuple[Archived, SignedCheckpoint]:
    """Move the entries from before a time into a new file; raises `NotArchived`, `FileUnusable`, `CheckpointBad`.

    The newest entry stays, whatever its time: the next one is chained to it.
    """
    async with opened(url) as store:
        last, goal = await store.read(_plan, vault, before, now())
        archived = Archived(goal)
        signed = audit_checkpoint.sign(vault, goal)
        with new_file(path) as fresh:
            with fresh.open("w", encoding="utf-8", newline="\n") as file:
                async for written in _pages(store, last, goal, file):
                    archived = replace(archived, written=written)
                    tell(archived)
                file.write(f"{checkpoint_line(signed)}\n")
            # What is on disk is what counts, not what was meant to be.
            found = verify_file(fresh, lambda one: one == signed)
            if not found.is_good:
                raise NotArchived(f"the file does not hold what was written to it: {found.message}")
        removed = archived
        async for removed in _remove(store, vault, archived):
            tell(removed)
        return removed, signed


def verify_file(
    path: Path, trust: Callable[[SignedCheckpoint], bool], anchors: frozenset[str] = frozenset()
) -> ArchiveVerification:
    """Compute every entry of an archive again, and verify its signature; raises `FileUnusable`."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            return _verify_lines(_lines(file), trust, anchors)
    except OSError as error:
        raise FileUnusable(f"{path} cannot be read: {error.strerror}") from error


def _plan(connection: Connection, vault: Vault, before: str, now: str) -> tuple[Place, Checkpoint]:
    """Behind which entry the chain begins, and the checkpoint to reach. Raises `NotArchived`, `CheckpointBad`."""
    current = audit_checkpoint.require(connection, vault)
    last = Place(0, GENESIS_HASH) if current is None else Place(current.sequence, current.hash)
    sequence = audit_events.last_before(connection, last.sequence, before)
    if sequence is None:
        raise NotArchived("no entry is from before that time, apart from the newest one, which always stays")
    row = connection.execute(
        select(audit_table.c.hash, audit_table.c.timestamp).where(audit_table.c.sequence == sequence)
    ).one()
    return last, Checkpoint(last.sequence + 1, last.hash, sequence, row.hash, row.timestamp, now)


async def _pages(store: Store, last: Place, goal: Checkpoint, file: TextIO) -> AsyncIterator[int]:
    """Write the entries, each verified before; how many there are after each page."""
    begin = last.sequence
    while last.sequence < goal.sequence:
        rows = await store.read(audit_events.read_entries, last.sequence + 1, goal.sequence, ENTRIES_PER_PAGE)
        bad = first_bad(rows, last.sequence, last.hash)
        if bad is not None or not rows:
            raise _bad(bad or last.sequence + 1)
        file.writelines(f"{entry_line(row)}\n" for row in rows)
        last = Place(rows[-1][0], rows[-1][13])
        yield last.sequence - begin


async def _remove(store: Store, vault: Vault, archived: Archived) -> AsyncIterator[Archived]:
    """Remove what is in the file, some entries in a transaction."""
    goal = archived.checkpoint
    reached = goal.first_sequence - 1
    while reached < goal.sequence:
        began_s = time.monotonic()
        reached = await store.write(audit_checkpoint.advance, vault, goal)
        took_s = time.monotonic() - began_s
        removed = min(reached, goal.sequence) - goal.first_sequence + 1
        archived = replace(archived, removed=removed, longest_s=max(archived.longest_s, took_s))
        yield archived
        # Half of the time is for everybody else.
        await asyncio.sleep(max(PAUSE_MIN_S, took_s))


def _verify_lines(
    lines: Iterator[str], trust: Callable[[SignedCheckpoint], bool], anchors: frozenset[str]
) -> ArchiveVerification:
    line = next(lines, "")
    before = last = place_before(line.removesuffix("\n"))
    entries = 0
    while before is not None and last is not None and not line.startswith(_CHECKPOINT):
        place = follow(line.removesuffix("\n"), last) if line.endswith("\n") else None
        if place is None:
            return ArchiveVerification(entries, bad_line=entries + 1, anchors=anchors)
        last = place
        entries += 1
        anchors -= {last.hash}
        line = next(lines, "")
    if before is None or last is None:
        return ArchiveVerification(bad_line=1, anchors=anchors)
    if next(lines, None) is not None:
        return ArchiveVerification(entries, bad_line=entries + 2, anchors=anchors)
    signed = read_checkpoint(line.removesuffix("\n"))
    is_trusted = signed is not None and _is_of(signed.checkpoint, before, last) and trust(signed)
    return ArchiveVerification(entries, signed=signed if is_trusted else None, anchors=anchors)


def _is_of(checkpoint: Checkpoint, before: Place, last: Place) -> bool:
    """Whether these are the entries that the checkpoint tells of."""
    told = (checkpoint.first_sequence - 1, checkpoint.previous_hash, checkpoint.sequence, checkpoint.hash)
    found = (before.sequence, before.hash, last.sequence, last.hash)
    return told == found and checkpoint.timestamp == last.timestamp


def _lines(file: TextIO) -> Iterator[str]:
    """A line that is cut off, or longer than any that is written, is handed on and does not fit."""
    while line := file.readline(LINE_CHARACTERS_MAX):
        yield line


_CHECKPOINT: Final = '{"checkpoint":'


def _bad(sequence: int) -> NotArchived:
    return NotArchived(
        f"entry {sequence} is not as it was written; `flowker audit verify` tells more, and nothing was archived"
    )
