"""Prepared statements: compiled from Core once, for whichever database the connection has."""

from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, OperationalError

from flowker.storage import database, executions
from flowker.storage.statements import Prepared, PreparedForMany, insert_into
from flowker.storage.tables import journal


def test_rows_are_written_in_the_order_of_the_columns(connection: Connection) -> None:
    """`insert_into` takes whole rows and says how many it wrote."""
    written = insert_into(journal).run_many(connection, [("e", 0, "k", "{}"), ("e", 1, "k", "{}")])

    assert written == 2
    assert connection.execute(select(journal)).all() == [("e", 0, "k", "{}"), ("e", 1, "k", "{}")]


def test_no_rows_are_no_statement(connection: Connection) -> None:
    """An executemany of nothing would be an error or a row of nulls."""
    assert insert_into(journal).run_many(connection, []) == 0


def test_what_is_fetched_is_what_is_found(connection: Connection) -> None:
    """As tuples of the driver, with one value or with many."""
    insert_into(journal).run_many(connection, [(f"e{number}", 0, "k", "{}") for number in range(5)])
    columns = select(journal.c.execution_id, journal.c.seq)
    one = Prepared(lambda _: columns.where(journal.c.execution_id == bindparam("id")), ("id",))
    many = PreparedForMany(lambda ids: columns.where(journal.c.execution_id.in_(ids)).order_by("execution_id"))

    assert one.fetch(connection, ("e3",)) == [("e3", 0)]
    assert one.fetch(connection, ("none",)) == []
    assert many.fetch(connection, ["e4", "e0", "e1"]) == [("e0", 0), ("e1", 0), ("e4", 0)]


def test_a_first_statement_begins_a_transaction(url: str) -> None:
    """Of a reader too: what it reads next is of the same snapshot, and whoever ends it knows of it."""
    engine = database._engine(url, read_only=True)
    with engine.connect() as connection:
        before = connection.in_transaction()
        Prepared(lambda _: select(journal.c.kind), ()).fetch(connection, ())

        assert (before, connection.in_transaction()) == (False, True)


def test_an_error_of_the_driver_is_that_of_every_other_statement(connection: Connection) -> None:
    """By its kind, and without the values."""
    rows = [("e", 0, "k", "a secret"), ("e", 0, "k", "{}")]

    with pytest.raises(IntegrityError) as raised:
        insert_into(journal).run_many(connection, rows)

    assert not raised.value.connection_invalidated
    assert isinstance(raised.value.orig, connection.dialect.loaded_dbapi.IntegrityError)
    assert "a secret" not in str(raised.value)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_connection_that_is_lost_is_known_to_be(url: str) -> None:
    """Whoever has it takes a new one."""
    engine = database._engine(url, read_only=False)
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        raw.close()

        with pytest.raises(OperationalError) as raised:
            insert_into(journal).run_many(connection, [("e", 0, "k", "{}")])

        assert raised.value.connection_invalidated
        assert connection.invalidated


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_parameters_in_another_order_are_refused(connection: Connection) -> None:
    """A row of values in the wrong columns must not get past the first run."""
    swapped = Prepared(
        lambda _: select(journal).where(journal.c.kind == bindparam("a"), journal.c.seq == bindparam("b")), ("b", "a")
    )

    with pytest.raises(ValueError, match="not in the order"):
        swapped.run(connection, (1, "k"))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 200])
def test_a_list_of_any_length_finds_its_rows(connection: Connection, size: int) -> None:
    """Filling it up changes nothing."""
    insert_into(journal).run_many(connection, [(f"e{number}", 0, "k", "{}") for number in range(300)])
    find = PreparedForMany(lambda ids: select(journal.c.execution_id).where(journal.c.execution_id.in_(ids)))

    rows = find.run(connection, [f"e{number}" for number in range(size)])

    assert {row.execution_id for row in rows} == {f"e{number}" for number in range(size)}


def test_values_go_by_name_where_the_driver_wants_names() -> None:
    """PostgreSQL's drivers do; the same statement serves both databases."""
    statement = executions._select_key

    named = statement._text(postgresql.dialect(paramstyle="pyformat"))  # type: ignore[no-untyped-call]
    positional = statement._text(sqlite.dialect())

    assert named[1] is False
    assert "%(workflow_id)s" in named[0]
    assert statement._named(("w", "k")) == {"workflow_id": "w", "idempotency_key": "k"}
    assert positional[1] is True
