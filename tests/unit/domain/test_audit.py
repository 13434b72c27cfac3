"""The audit chain's text and hash: a change of anything changes the hash."""

import hashlib
import json
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowker.domain.audit import (
    EVENT_KINDS,
    GENESIS_HASH,
    SYSTEM,
    Action,
    Actor,
    AuditEvent,
    ResourceType,
    Result,
    StoredEntry,
    canonical_text,
    chain_hash,
    event_types,
    first_bad,
    require_kind,
    seal,
)

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

    read = event._replace(context=json.loads(context), metadata=json.loads(metadata))

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


@pytest.mark.parametrize("field", AuditEvent._fields)
def test_every_field_is_part_of_the_hash(field: str) -> None:
    """Also those that are added later: this test knows none by name that it leaves out."""
    changed = EVENT._replace(**{field: CHANGES.get(field, "other")})

    assert chain_hash(changed, GENESIS_HASH) != chain_hash(EVENT, GENESIS_HASH)


def test_what_is_not_json_is_written_as_text() -> None:
    """An audit event is never lost to a value that has no JSON form."""
    event = EVENT._replace(metadata={"path": object})

    assert json.loads(seal(event, GENESIS_HASH)[1]) == {"path": "<class 'object'>"}


def test_not_a_number_is_refused() -> None:
    """It has no JSON text that others would read."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_text(EVENT._replace(metadata={"x": float("nan")}))


class TestKinds:
    def test_an_event_is_what_its_type_says(self) -> None:
        """Whoever makes one that is not hears of it before it is stored."""
        require_kind(EVENT)

    @pytest.mark.parametrize(
        "change",
        [{"event_type": "EXECUTION_LOST"}, {"action": "CREATE"}, {"result": "FAILED"}, {"resource_type": "workflow"}],
    )
    def test_an_event_that_is_not_is_refused(self, change: dict[str, Any]) -> None:
        """Searches go by the table: they would not find it."""
        with pytest.raises(ValueError, match="another action, result or resource type"):
            require_kind(EVENT._replace(**change))

    @pytest.mark.parametrize(
        ("action", "result", "resource_type"),
        list(product([None, *get_args(Action)], [None, *get_args(Result)], [None, *get_args(ResourceType)])),
    )
    def test_a_search_finds_the_types_with_these_properties(
        self, action: str | None, result: str | None, resource_type: str | None
    ) -> None:
        """All of them, and no other."""
        found = event_types(action=action, result=result, resource_type=resource_type)

        assert found == [
            type_
            for type_, kind in EVENT_KINDS.items()
            if (action or kind.action, result or kind.result, resource_type or kind.resource_type) == kind
        ]

    def test_a_type_is_found_by_its_name(self) -> None:
        """Unless its other properties are not those that are searched for."""
        assert event_types(event_type="WORKFLOW_CREATED", action="CREATE") == ["WORKFLOW_CREATED"]
        assert event_types(event_type="WORKFLOW_CREATED", action="DELETE") == []
        assert event_types(event_type="WORKFLOW_LOST") == []


def make_chain(length: int) -> list[StoredEntry]:
    entries: list[StoredEntry] = []
    previous_hash = GENESIS_HASH
    for number in range(1, length + 1):
        event = EVENT._replace(event_id=f"event-{number}", actor=Actor("api_key", None, "10.0.0.1"))
        context, metadata, hash_ = seal(event, previous_hash)
        entries.append(
            (
                number,
                event.event_id,
                event.event_type,
                event.action,
                event.result,
                event.resource_type,
                event.resource_id,
                event.actor.type,
                event.actor.id,
                event.actor.ip_address,
                context,
                metadata,
                event.timestamp,
                hash_,
                previous_hash,
            )
        )
        previous_hash = hash_
    return entries


class TestVerification:
    def test_a_chain_as_it_was_written_has_no_bad_entry(self) -> None:
        """From its beginning, and from any entry that is known to be good."""
        chain = make_chain(5)

        assert first_bad(chain, 0, GENESIS_HASH) is None
        assert first_bad(chain[3:], 3, chain[2][13]) is None
        assert first_bad([], 0, GENESIS_HASH) is None

    @pytest.mark.parametrize("column", range(1, 15))
    @pytest.mark.parametrize("value", ["other", None, 7, 7.5, b"bytes"])
    def test_a_column_of_another_value_or_type_is_found(self, column: int, value: Any) -> None:
        """In every column; only what was null may be null."""
        chain = make_chain(5)
        changed = [*chain[2][:column], value, *chain[2][column + 1 :]]
        chain[2] = tuple(changed)

        assert first_bad(chain, 0, GENESIS_HASH) == (None if (column, value) == (8, None) else 3)

    @pytest.mark.parametrize("column", [1, 10])
    def test_text_that_only_changed_its_type_is_found(self, column: int) -> None:
        """The same bytes as a blob are not the same value."""
        chain = make_chain(5)
        chain[2] = (*chain[2][:column], chain[2][column].encode(), *chain[2][column + 1 :])

        assert first_bad(chain, 0, GENESIS_HASH) == 3

    def test_text_that_was_moved_to_the_next_column_is_found(self) -> None:
        """The hash is of one text, and that stays the same; the context is no object any more."""
        context = {"a": 1, "eventId": "x", "eventType": "y", "metadata": {}, "z": 2}
        event = EVENT._replace(context=context, metadata={})
        text, _, hash_ = seal(event, GENESIS_HASH)
        rest = ',"z":2},"eventId":"' + event.event_id + '","eventType":"EXECUTION_STARTED","metadata":{}'
        entry = (1, "x", "y", "EXECUTE", "SUCCESS", "execution", event.resource_id, "api_key", "ab12", "10.0.0.1")
        moved = (*entry, '{"a":1', "{}" + rest, event.timestamp, hash_, GENESIS_HASH)
        as_written = (1, event.event_id, event.event_type, *entry[3:], text, "{}", *moved[12:])

        assert first_bad([as_written], 0, GENESIS_HASH) is None
        assert first_bad([moved], 0, GENESIS_HASH) == 1

    @pytest.mark.parametrize("text", ["[]", "null", "{} {}", "[" * 100_000])
    def test_what_is_no_object_is_found(self, text: str) -> None:
        """Also under a hash that fits."""
        [entry] = make_chain(1)
        canonical = canonical_text(EVENT._replace(event_id="event-1", actor=Actor("api_key", None, "10.0.0.1")))
        spoiled = canonical.replace(seal(EVENT, GENESIS_HASH)[1], text)
        hash_ = hashlib.sha256(f"{GENESIS_HASH}\n{spoiled}".encode()).hexdigest()

        assert first_bad([(*entry[:11], text, entry[12], hash_, GENESIS_HASH)], 0, GENESIS_HASH) == 1

    def test_a_missing_entry_is_named(self) -> None:
        """It is the first that is not there."""
        chain = make_chain(5)

        assert first_bad([chain[0], *chain[2:]], 0, GENESIS_HASH) == 2
        assert first_bad(chain[1:], 0, GENESIS_HASH) == 1

    def test_an_entry_that_is_there_twice_is_named(self) -> None:
        """By the number that it has."""
        chain = make_chain(5)

        assert first_bad([*chain[:3], chain[2], *chain[3:]], 0, GENESIS_HASH) == 3

    @pytest.mark.parametrize(("number", "named"), [(-4, -4), (0, 0), (2, 2), (9, 3), ("3", 3), (3.0, 3), (None, 3)])
    def test_an_entry_with_another_number_is_named(self, number: Any, named: int) -> None:
        """By that, when it is lower than the one that should be there."""
        chain = make_chain(5)
        chain[2] = (number, *chain[2][1:])

        assert first_bad(chain, 0, GENESIS_HASH) == named

    def test_two_entries_in_each_others_place_are_found(self) -> None:
        """The first of them is named, although the numbers are in order."""
        chain = make_chain(5)
        chain[1], chain[3] = (2, *chain[3][1:]), (4, *chain[1][1:])

        assert first_bad(chain, 0, GENESIS_HASH) == 2
