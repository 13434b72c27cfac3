"""The journal: exact, in order, each place taken once."""

from decimal import Decimal

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from flowker.storage import journal
from flowker.storage.journal import JournalEvent


def test_events_are_read_in_order_and_exact(connection: Connection) -> None:
    """Whatever order they were written in; numbers keep their digits."""
    journal.append(connection, [("e", 1, "settled", '{"b":12345678901234567890}'), ("other", 0, "accepted", "{}")])
    journal.append(connection, [("e", 0, "accepted", '{"a":100.10}')])

    events = journal.read(connection, "e")

    assert events == [
        JournalEvent(0, "accepted", {"a": Decimal("100.10")}),
        JournalEvent(1, "settled", {"b": 12345678901234567890}),
    ]
    assert str(events[0].payload["a"]) == "100.10"
    assert journal.count(connection, "e") == 2


def test_an_unknown_execution_has_no_events(connection: Connection) -> None:
    """An empty list, and a count of none."""
    assert journal.read(connection, "unknown") == []
    assert journal.count(connection, "unknown") == 0


def test_a_place_is_taken_once(connection: Connection) -> None:
    """The journal is never rewritten."""
    journal.append(connection, [("e", 0, "accepted", "{}")])

    with pytest.raises(IntegrityError):
        journal.append(connection, [("e", 0, "accepted", "{}")])
