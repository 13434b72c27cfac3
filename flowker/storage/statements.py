"""Statements of the hot path: written with SQLAlchemy Core, compiled once per database, run by the driver.

Core's own execution handles every row in Python twice before the driver sees it, and each result once more; with the
few columns that are written here this costs more than SQLite does. So the text is compiled once, from the same Core
expressions as every other statement and thus for whichever database the connection has, and rows go to the driver as
they are, and come back so where that is asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypeAlias

from sqlalchemy import ClauseElement, Connection, CursorResult, Dialect, Row, Table, bindparam, insert
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
Rows: TypeAlias = CursorResult[*tuple[Any, ...]]


class Prepared:
    """One statement with named parameters; a row is a tuple of their values in the order of the names."""

    def __init__(self, build: Callable[[Dialect], ClauseElement], parameters: Sequence[str]) -> None:
        self._build = build
        self._parameters = tuple(parameters)
        self._compiled: dict[str, tuple[str, bool]] = {}

    def run(self, connection: Connection, row: Sequence[Any]) -> Rows:
        text, positional = self._text(connection.dialect)
        return connection.exec_driver_sql(text, tuple(row) if positional else self._named(row))

    def run_many(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run the statement for every row; returns how many rows of the table it wrote."""
        if not rows:
            return 0
        text, positional = self._text(connection.dialect)
        parameters: Any = rows if positional else [self._named(row) for row in rows]
        with _driven(connection) as cursor:
            connection.dialect.do_executemany(cursor, text, parameters)
            return cursor.rowcount

    def fetch(self, connection: Connection, row: Sequence[Any]) -> list[tuple[Any, ...]]:
        """What the statement finds, as the driver gives it."""
        text, positional = self._text(connection.dialect)
        with _driven(connection) as cursor:
            connection.dialect.do_execute(cursor, text, tuple(row) if positional else self._named(row))
            return list(cursor.fetchall())

    def _text(self, dialect: Dialect) -> tuple[str, bool]:
        known = self._compiled.get(dialect.name)
        if known is None:
            known = self._compiled[dialect.name] = self._compile(dialect)
        return known

    def _compile(self, dialect: Dialect) -> tuple[str, bool]:
        compiled = self._build(dialect).compile(dialect=dialect, column_keys=list(self._parameters))
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - every statement here is SQL; for the type checker
        if compiled.positional and tuple(compiled.positiontup or ()) != self._parameters:
            raise ValueError(f"the parameters of {compiled} are not in the order {self._parameters}")
        return str(compiled), compiled.positional

    def _named(self, row: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self._parameters, row, strict=True))


class PreparedForMany:
    """A statement with one list of values (`column IN (…)`), compiled for a few sizes of the list.

    The list is filled up to the next power of two with its last value, so that the database keeps a handful of
    compiled statements instead of one for each length.
    """

    def __init__(self, build: Callable[[Sequence[Any]], ClauseElement]) -> None:
        self._build = build
        self._by_size: dict[int, Prepared] = {}

    def run(self, connection: Connection, values: Iterable[Any]) -> Rows:
        row = _filled(values)
        return self._of_size(len(row)).run(connection, row)

    def fetch(self, connection: Connection, values: Iterable[Any]) -> list[tuple[Any, ...]]:
        """What the statement finds, as the driver gives it."""
        row = _filled(values)
        return self._of_size(len(row)).fetch(connection, row)

    def _of_size(self, size: int) -> Prepared:
        known = self._by_size.get(size)
        if known is None:
            names = [f"value_{number}" for number in range(size)]
            known = self._by_size[size] = Prepared(lambda _: self._build([bindparam(name) for name in names]), names)
        return known


def _filled(values: Iterable[Any]) -> list[Any]:
    row = list(values)
    size = 1 << (len(row) - 1).bit_length()
    return row + row[-1:] * (size - len(row))


def begin_with(connection: Connection, text: str) -> None:
    """Run the statement that a transaction begins with, where SQLAlchemy has begun it already."""
    with _cursor(connection) as cursor:
        connection.dialect.do_execute(cursor, text, ())


@contextmanager
def _driven(connection: Connection) -> Iterator[DBAPICursor]:
    """A cursor of the driver, whose errors are SQLAlchemy's as they are of every other statement."""
    if not connection.in_transaction():
        connection.begin()  # As SQLAlchemy does it by itself before the first statement.
    with _cursor(connection) as cursor:
        yield cursor


@contextmanager
def _cursor(connection: Connection) -> Iterator[DBAPICursor]:
    driver = connection.dialect.loaded_dbapi
    raw = connection.connection
    try:
        with closing(raw.cursor()) as cursor:
            yield cursor
    except driver.Error as error:
        is_lost = connection.dialect.is_disconnect(error, raw, None)
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, driver.Error, hide_parameters=True, connection_invalidated=is_lost
        ) from error


def insert_into(table: Table) -> Prepared:
    """INSERT of whole rows, values in the order of the table's columns."""
    return Prepared(lambda _: insert(table), table.columns.keys())
