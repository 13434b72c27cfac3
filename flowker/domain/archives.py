"""The archive of the oldest part of the audit chain: its lines, and the checkpoint that takes its place in the store.

A line is an entry: the text that its hash is of stands in it as it is, so that anybody can compute the hash from the
line alone. The last line is the checkpoint, which names the last entry and is signed.
"""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Final

from flowker.domain.audit import StoredEntry, entry_hash, entry_text

LINE_CHARACTERS_MAX: Final = 16 * 1024 * 1024
"""An entry holds a body's worth of text at most, escaped."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The entries from `first_sequence` to `sequence` were archived; those before were archived earlier."""

    first_sequence: int
    previous_hash: str
    """Of the entry before the first one."""
    sequence: int
    hash: str
    timestamp: str
    """Both of the last entry."""
    archived_at: str

    @property
    def count(self) -> int:
        return self.sequence - self.first_sequence + 1

    @property
    def text(self) -> str:
        """What is signed: sorted keys, no white space, ASCII."""
        return json.dumps(
            {
                "archivedAt": self.archived_at,
                "count": self.count,
                "firstSequence": self.first_sequence,
                "hash": self.hash,
                "previousHash": self.previous_hash,
                "sequence": self.sequence,
                "timestamp": self.timestamp,
            },
            separators=(",", ":"),
        )


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """With the public key that the signature is for; both in base64. Whether it is to be trusted, keys decide."""

    checkpoint: Checkpoint
    public_key: str
    signature: str


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the chain, or what stands for the one before the first."""

    sequence: int
    hash: str
    timestamp: str = ""


def entry_line(entry: StoredEntry) -> str:
    """The line of an entry, without its end."""
    return f'{{"sequence":{entry[0]},"previousHash":"{entry[14]}","hash":"{entry[13]}","entry":{entry_text(entry)}}}'


def checkpoint_line(signed: SignedCheckpoint) -> str:
    """The last line of an archive, without its end."""
    text, public_key, signature = signed.checkpoint.text, signed.public_key, signed.signature
    return f'{{"checkpoint":{text},"publicKey":"{public_key}","signature":"{signature}"}}'


def place_before(line: str) -> Place | None:
    """What the first line of an archive follows, by its own word; None when it is no line of an entry."""
    found = _ENTRY.fullmatch(line)
    return None if found is None else Place(int(found[1]) - 1, found[2])


def follow(line: str, last: Place) -> Place | None:
    """The entry on a line; None when it does not follow from the last one or is not as it was written."""
    found = _ENTRY.fullmatch(line)
    if found is None:
        return None
    sequence, previous_hash, hash_, text = int(found[1]), found[2], found[3], found[4]
    if (sequence, previous_hash) != (last.sequence + 1, last.hash) or hash_ != entry_hash(text, previous_hash):
        return None
    timestamp = _timestamp(text)
    return None if timestamp is None else Place(sequence, hash_, timestamp)


def read_checkpoint(line: str) -> SignedCheckpoint | None:
    """The checkpoint on a line; None when it is none, or not as this service writes it."""
    try:
        found = json.loads(line)
        inside = found["checkpoint"]
        checkpoint = Checkpoint(
            first_sequence=inside["firstSequence"],
            previous_hash=inside["previousHash"],
            sequence=inside["sequence"],
            hash=inside["hash"],
            timestamp=inside["timestamp"],
            archived_at=inside["archivedAt"],
        )
        signed = SignedCheckpoint(checkpoint, found["publicKey"], found["signature"])
        is_exact = all(type(value) is _TYPES[name] for name, value in asdict(checkpoint).items())
        return signed if is_exact and checkpoint_line(signed) == line else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _timestamp(text: str) -> str | None:
    """The time of an entry, of which the hash is right already."""
    try:
        entry: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = entry.get("timestamp")
    return found if isinstance(found, str) else None


_HASH: Final = r'"([0-9a-f]{64})"'

_ENTRY: Final = re.compile(
    rf'\{{"sequence":([1-9][0-9]{{0,17}}),"previousHash":{_HASH},"hash":{_HASH},"entry":(\{{.*\}})\}}', re.ASCII
)

_TYPES: Final = {
    "first_sequence": int,
    "previous_hash": str,
    "sequence": int,
    "hash": str,
    "timestamp": str,
    "archived_at": str,
}
