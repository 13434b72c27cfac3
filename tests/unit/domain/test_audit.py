"""The audit chain's text and hash: a change of anything changes the hash."""

import hashlib
import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowker.domain.audit import GENESIS_HASH, SYSTEM, Actor, AuditEvent, canonical_text, chain_hash, seal

EVENT = AuditEvent(
    event_id="0190c8c8-0000-7000-8000-000000000001",
    event_type="EXECUTION_STARTED",
    action="EXECUTE",
    result="SUCCESS",
    resource_type="execution",
    resource_id="0190c8c8-0000-7000-8000-000000000002",
    actor=Actor("api_key", "ab12", "10.0.0.1"),
    timestamp="2026-03-17T14:35:00.000000Z",
    context={"workflowId": "w", "revision": 1},
    metadata={"b": [1, 2.5, None], "a": {"é": True}},
)

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=3)
actors = st.builds(Actor, texts, st.none() | texts, st.none() | texts)
events = st.builds(AuditEvent, texts, texts, texts, texts, texts, texts, actors, texts, objects, objects)


def sorted_text(event: AuditEvent) -> str:
    """The canonical text as the standard library writes it."""
    content = {
        "eventId": event.event_id,
        "eventType": event.event_type,
        "action": event.action,
        "result": event.result,
        "resourceType": event.resource_type,
        "resourceId": event.resource_id,
        "actor": {"type": event.actor.type, "id": event.actor.id, "ipAddress": event.actor.ip_address},
        "timestamp": event.timestamp,
        "context": event.context,
        "metadata": event.metadata,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


@given(events)
def test_the_text_is_canonical_json(event: AuditEvent) -> None:
    """Exactly what an encoder that sorts keys writes, for any content."""
    assert canonical_text(event) == sorted_text(event)


@given(events)
def test_stored_texts_give_the_same_hash_again(event: AuditEvent) -> None:
    """Who verifies reads context and metadata from the store, decodes them and computes anew."""
    context, metadata, hash_ = seal(event, GENESIS_HASH)

    read = replace(event, context=json.loads(context), metadata=json.loads(metadata))

    assert chain_hash(read, GENESIS_HASH) == hash_


def test_the_hash_is_of_the_previous_hash_and_the_text() -> None:
    """SHA-256, hexadecimal, with a line break between: anybody can compute it."""
    expected = hashlib.sha256(f"{GENESIS_HASH}\n{sorted_text(EVENT)}".encode()).hexdigest()

    assert chain_hash(EVENT, GENESIS_HASH) == expected
    assert chain_hash(EVENT, "1" * 64) != expected


CHANGES: dict[str, Any] = {
    "actor": SYSTEM,
    "context": {},
    "metadata": {"b": [1, 2.5, None], "a": {"é": False}},
}


@pytest.mark.parametrize("field", [field.name for field in fields(AuditEvent)])
def test_every_field_is_part_of_the_hash(field: str) -> None:
    """Also those that are added later: this test knows none by name that it leaves out."""
    changed = replace(EVENT, **{field: CHANGES.get(field, "other")})

    assert chain_hash(changed, GENESIS_HASH) != chain_hash(EVENT, GENESIS_HASH)


def test_what_is_not_json_is_written_as_text() -> None:
    """An audit event is never lost to a value that has no JSON form."""
    event = replace(EVENT, metadata={"path": object})

    assert json.loads(seal(event, GENESIS_HASH)[1]) == {"path": "<class 'object'>"}


def test_not_a_number_is_refused() -> None:
    """It has no JSON text that others would read."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_text(replace(EVENT, metadata={"x": float("nan")}))
