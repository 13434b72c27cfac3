"""The lines of an archive."""

import json

import pytest

from flowker.domain.archives import (
    Checkpoint,
    Place,
    SignedCheckpoint,
    checkpoint_line,
    entry_line,
    follow,
    place_before,
    read_checkpoint,
)
from flowker.domain.audit import GENESIS_HASH, SYSTEM, AuditEvent, entry_hash, entry_text, seal

EVENT = AuditEvent(
    "e1",
    "WORKFLOW_CREATED",
    "CREATE",
    "SUCCESS",
    "workflow",
    "w1",
    SYSTEM,
    "2026-03-17T12:00:00.000000Z",
    {"é": 1.50},
)
CHECKPOINT = Checkpoint(3, "a" * 64, 7, "b" * 64, "2026-03-17T12:00:00.000000Z", "2026-06-17T12:00:00.000000Z")
SIGNED = SignedCheckpoint(CHECKPOINT, "cHVibGlj", "c2lnbmF0dXJl")


def line_of(event: AuditEvent, sequence: int, previous_hash: str) -> str:
    context, metadata, hash_ = seal(event, previous_hash)
    ids = (event.event_id, event.event_type, event.action, event.result, event.resource_type, event.resource_id)
    return entry_line(
        (sequence, *ids, "system", None, None, context, metadata, event.timestamp, hash_, previous_hash)
    )


def test_a_line_holds_what_its_hash_is_of() -> None:
    """Word for word: who has the line needs nothing else."""
    line = line_of(EVENT, 1, GENESIS_HASH)

    entry = json.loads(line)
    text = line.partition(',"entry":')[2][:-1]
    assert (entry["sequence"], entry["previousHash"]) == (1, GENESIS_HASH)
    assert entry["hash"] == entry_hash(text, GENESIS_HASH)
    assert entry["entry"]["context"] == {"é": 1.5}
    assert line.isascii()


def test_an_entry_follows_from_the_one_before_it() -> None:
    """And from no other."""
    line = line_of(EVENT, 3, "a" * 64)

    assert place_before(line) == Place(2, "a" * 64)
    assert follow(line, Place(2, "a" * 64)) == Place(3, json.loads(line)["hash"], EVENT.timestamp)
    assert follow(line, Place(1, "a" * 64)) is None
    assert follow(line, Place(2, "b" * 64)) is None


@pytest.mark.parametrize("line", ["", "{}", "null", checkpoint_line(SIGNED)])
def test_another_line_follows_from_nothing(line: str) -> None:
    """Nor does it say what it follows."""
    assert place_before(line) is None
    assert follow(line, Place(0, GENESIS_HASH)) is None


@pytest.mark.parametrize("text", ["{", '{"a":}', '{"timestamp":7}', "{}", '{"a":' + "[" * 100_000 + "}"])
def test_a_text_that_is_no_entry_is_none_whatever_its_hash(text: str) -> None:
    """Anybody can compute one."""
    hash_ = entry_hash(f"{text}}}", GENESIS_HASH)
    line = f'{{"sequence":1,"previousHash":"{GENESIS_HASH}","hash":"{hash_}","entry":{text}}}}}'

    assert follow(line, Place(0, GENESIS_HASH)) is None


def test_a_checkpoint_comes_back_as_it_was_written() -> None:
    """With how many entries it stands for."""
    line = checkpoint_line(SIGNED)

    assert read_checkpoint(line) == SIGNED
    assert json.loads(line)["checkpoint"]["count"] == CHECKPOINT.count == 5
    assert json.loads(line)["checkpoint"] == json.loads(CHECKPOINT.text)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "7",
        "{}",
        '{"checkpoint":7}',
        '{"checkpoint":{}}',
        "[" * 100_000,
        checkpoint_line(SIGNED) + " ",
        checkpoint_line(SIGNED).replace('"count":5', '"count":6'),
        checkpoint_line(SIGNED).replace('"sequence":7', '"sequence":7.0'),
        checkpoint_line(SIGNED).replace('"sequence":7', '"sequence":"7"'),
        checkpoint_line(SIGNED).replace(f'"{"b" * 64}"', "null"),
        checkpoint_line(SIGNED).replace('"firstSequence":3', '"firstSequence":true'),
    ],
)
def test_what_is_no_checkpoint_is_none(line: str) -> None:
    """Nor one that is written otherwise: there is one text of it."""
    assert read_checkpoint(line) is None


def test_the_text_of_an_entry_is_the_one_that_was_hashed() -> None:
    """Whatever stands in its columns."""
    context, metadata, hash_ = seal(EVENT, GENESIS_HASH)
    row = (1, "e1", "WORKFLOW_CREATED", "CREATE", "SUCCESS", "workflow", "w1", "system", None, None)

    text = entry_text((*row, context, metadata, EVENT.timestamp, hash_, GENESIS_HASH))

    assert entry_hash(text, GENESIS_HASH) == hash_
