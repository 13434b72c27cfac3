"""The audit chain in the store: no gap, no way to change it."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from flowker.domain.audit import GENESIS_HASH, Actor, AuditEvent, chain_hash
from flowker.storage import audit_events, tables
from flowker.storage.audit_events import Tail
from tests.unit.storage.conftest import NOON

MakeEvent = Callable[..., AuditEvent]


def read_chain(connection: Connection) -> list[tuple[int, AuditEvent, str, str]]:
    """Sequence, event, hash and previous hash of every row, from the columns alone."""
    rows = connection.execute(select(tables.audit_events).order_by(tables.audit_events.c.sequence))
    return [
        (
            row.sequence,
            AuditEvent(
                row.event_id,
                row.event_type,
                row.action,
                row.result,
                row.resource_type,
                row.resource_id,
                Actor(row.actor_type, row.actor_id, row.actor_ip),
                row.timestamp,
                json.loads(row.context),
                json.loads(row.metadata),
            ),
            row.hash,
            row.previous_hash,
        )
        for row in rows
    ]


def test_an_empty_store_has_the_genesis_tail(connection: Connection) -> None:
    """The first event has a predecessor too."""
    assert audit_events.tail(connection) == Tail(0, GENESIS_HASH, "")


def test_events_form_one_chain(connection: Connection, make_audit_event: MakeEvent) -> None:
    """Within a call and from call to call; each hash can be computed again from the row."""
    events = [
        make_audit_event(actor=Actor("api_key", "ab12", "10.0.0.1"), context={"b": 1, "a": [0.1, "é\n"]}),
        make_audit_event(metadata={"nested": {"z": None, "a": True}}),
        make_audit_event(),
    ]

    audit_events.append(connection, events[:2])
    audit_events.append(connection, events[2:])

    chain = read_chain(connection)
    previous = GENESIS_HASH
    for number, (sequence, event, hash_, previous_hash) in enumerate(chain):
        assert (sequence, event, previous_hash) == (number + 1, events[number], previous)
        assert hash_ == chain_hash(event, previous_hash)
        previous = hash_
    assert audit_events.tail(connection) == Tail(3, previous, NOON)


def test_nothing_to_append_asks_nothing(
    connection: Connection, read_plans: Callable[..., list[str]], make_audit_event: MakeEvent
) -> None:
    """Progress without audit events costs no statement; the tail is searched for."""
    none = read_plans(audit_events.append, [])
    some = read_plans(audit_events.append, [make_audit_event()])

    assert connection.in_transaction()
    assert none == []
    assert [plan for plan in some if "SCAN" in plan] == []


@pytest.mark.parametrize("statement", ["UPDATE audit_events SET metadata = '{}'", "DELETE FROM audit_events"])
def test_what_was_appended_is_never_changed(
    connection: Connection, make_audit_event: MakeEvent, statement: str
) -> None:
    """Triggers refuse, whoever asks."""
    audit_events.append(connection, [make_audit_event()])

    with pytest.raises(IntegrityError, match="audit events are never"):
        connection.exec_driver_sql(statement)

    assert len(read_chain(connection)) == 1
