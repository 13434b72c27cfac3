"""A database in memory that is empty again in no time, and whose statements cost little more than SQLite takes."""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from flowker.storage.database import upgrade
from flowker.storage.tables import audit_events


@contextmanager
def empty_database() -> Iterator[Connection]:
    """The connection to a database without rows. There is one at a time."""
    connection = _connection()
    connection.raw.deserialize(_migrated())
    yield connection


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All or nothing."""
    assert isinstance(connection, _Quick)
    connection.raw.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.raw.execute("ROLLBACK")
        raise
    connection.raw.execute("COMMIT")


def read_trail(connection: Connection) -> list[tuple[Any, ...]]:
    """The rows of the audit trail in their order."""
    columns = ", ".join(column.name for column in audit_events.columns)
    with transaction(connection):
        return [tuple(row) for row in connection.exec_driver_sql(f"SELECT {columns} FROM audit_events ORDER BY 1")]  # noqa: S608


class _Quick(Connection):
    """Gives the service's prepared statements to the driver itself.

    SQLAlchemy's way there and back takes ten times as long as the statements of a simulated world do.
    """

    def __init__(self, raw: sqlite3.Connection) -> None:
        super().__init__(create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool))
        self.raw = raw

    def exec_driver_sql(self, statement: str, parameters: Any = None, execution_options: Any = None) -> Any:
        assert execution_options is None
        if isinstance(parameters, list):
            return _Rows(statement, self.raw.executemany(statement, parameters))
        return _Rows(statement, self.raw.execute(statement, parameters or ()))


class _Rows:
    """As much of a `CursorResult` as the storage layer wants of its prepared statements."""

    _makers: ClassVar[dict[str, Callable[[Sequence[Any]], Any]]] = {}
    """By statement, what makes a named tuple of its rows."""

    def __init__(self, statement: str, cursor: sqlite3.Cursor) -> None:
        self.rowcount = cursor.rowcount
        self._rows = cursor.fetchall()
        if self._rows:
            if statement not in self._makers:
                self._makers[statement] = _row_type(tuple(column[0] for column in cursor.description))._make
            self._rows = list(map(self._makers[statement], self._rows))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def one_or_none(self) -> Any:
        assert len(self._rows) <= 1
        return self._rows[0] if self._rows else None

    def scalars(self) -> list[Any]:
        return [row[0] for row in self._rows]

    def scalar_one(self) -> Any:
        [[value]] = self._rows
        return value

    def scalar_one_or_none(self) -> Any:
        row = self.one_or_none()
        return None if row is None else row[0]


def _row_type(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names, rename=True)  # noqa: PYI024 - the names are known at run time


@cache
def _connection() -> _Quick:
    """One for all worlds, since statements are compiled for each anew."""
    raw = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None, cached_statements=512)
    return _Quick(raw)


@cache
def _migrated() -> bytes:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "flowker.db"
        upgrade(f"sqlite:///{path}")
        migrated = bytearray(path.read_bytes())
        # A database in memory has no write-ahead log: the header (18, 19) must not ask for one.
        migrated[18:20] = b"\x01\x01"
        return bytes(migrated)
