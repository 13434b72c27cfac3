"""The checkpoint of the audit chain in the store: where it begins since its oldest part was archived.

It moves forward in the transaction that removes the entries, so that the chain begins right behind it at any time. An
entry is left always: the next one is chained to it.
"""

from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from flowker.domain.archives import Checkpoint, SignedCheckpoint
from flowker.storage.tables import audit_checkpoint, audit_events
from flowker.storage.vault import Vault

ENTRIES_PER_TRANSACTION: Final = 500
"""Are removed in some milliseconds, with their places in three indexes."""


class CheckpointBad(Exception):
    """The checkpoint is not as it was signed, or was signed with a key that is not here."""

    def __init__(self) -> None:
        super().__init__(MESSAGE)


MESSAGE: Final = "The checkpoint of the archived entries is not as it was signed, or its key is not here."


def read(connection: Connection) -> SignedCheckpoint | None:
    """As it is stored; None when nothing was archived yet."""
    row = connection.execute(select(audit_checkpoint).where(audit_checkpoint.c.number == 1)).one_or_none()
    if row is None:
        return None
    _, *columns, public_key, signature = row
    return SignedCheckpoint(Checkpoint(*columns), public_key, signature)


def require(connection: Connection, vault: Vault) -> Checkpoint | None:
    """The checkpoint, if it is the one that was signed; raises `CheckpointBad`."""
    signed = read(connection)
    if signed is None:
        return None
    try:
        is_good = vault.has_signed(signed.checkpoint.text, signed.public_key, signed.signature)
    except TypeError:
        is_good = False  # A column that holds no number, or no text.
    if not is_good:
        raise CheckpointBad
    return signed.checkpoint


def sign(vault: Vault, checkpoint: Checkpoint) -> SignedCheckpoint:
    return SignedCheckpoint(checkpoint, *vault.sign(checkpoint.text))


def advance(connection: Connection, vault: Vault, goal: Checkpoint) -> int:
    """Move on towards a checkpoint and remove the next entries; where it is then. Raises `CheckpointBad`."""
    current = require(connection, vault)
    reached = 0 if current is None else current.sequence
    if reached >= goal.sequence:
        return reached
    last = min(reached + ENTRIES_PER_TRANSACTION, goal.sequence)
    row = connection.execute(
        select(audit_events.c.hash, audit_events.c.timestamp).where(audit_events.c.sequence == last)
    ).one()
    moved = Checkpoint(goal.first_sequence, goal.previous_hash, last, row.hash, row.timestamp, goal.archived_at)
    _write(connection, sign(vault, moved), is_first=current is None)
    connection.execute(delete(audit_events).where(audit_events.c.sequence <= last))
    return last


def resign(connection: Connection, vault: Vault) -> int:
    """Sign it with the first key; how many were signed anew. Raises `CheckpointBad`."""
    signed = read(connection)
    checkpoint = require(connection, vault)
    if signed is None or checkpoint is None:
        return 0
    anew = sign(vault, checkpoint)
    if anew.public_key == signed.public_key:
        return 0
    _write(connection, anew, is_first=False)
    return 1


def _write(connection: Connection, signed: SignedCheckpoint, *, is_first: bool) -> None:
    checkpoint = signed.checkpoint
    values = {
        "first_sequence": checkpoint.first_sequence,
        "previous_hash": checkpoint.previous_hash,
        "sequence": checkpoint.sequence,
        "hash": checkpoint.hash,
        "timestamp": checkpoint.timestamp,
        "archived_at": checkpoint.archived_at,
        "public_key": signed.public_key,
        "signature": signed.signature,
    }
    if is_first:
        connection.execute(insert(audit_checkpoint).values(number=1, **values))
    else:
        connection.execute(update(audit_checkpoint).values(values))
