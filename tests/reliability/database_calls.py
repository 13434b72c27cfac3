"""Database calls as they leave for the driver, for tests that let one of them go wrong.

SQLAlchemy looks its dialects up in a registry, and here are two for it that tell of each statement and each commit
before the driver has it and after: the service is as it is, and so is the database. Whoever is told can raise, which
then looks as if the driver had.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from flowker.domain.audit import EVENT_KINDS

Moment = Literal["before", "after"]

JOURNAL_KINDS = frozenset(
    {"accepted", "started", "settled", "postponed", "aborted", "cancelled", "reopened", "decided"}
)
ENDS = frozenset({"completed", "failed"})

_WORDS = {"journal": JOURNAL_KINDS, "audit_events": frozenset(EVENT_KINDS), "executions": ENDS}
"""Which values of a table's rows tell what a change of it is about."""

_CHANGE = re.compile(r"\s*(INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)(?:\s+SET\s+(\w+))?")

_SAVEPOINT = re.compile(r"SAVEPOINT \w+")


@dataclass(frozen=True, slots=True)
class DatabaseCall:
    """A statement, or the commit of the changes that were made before it. `labels` say what it is about."""

    is_commit: bool
    labels: frozenset[str]
    connection: Any = field(repr=False)
    statement: str = "COMMIT"

    @property
    def names(self) -> frozenset[str]:
        """What tells it from other calls: its text, without the numbers of savepoints, and what it is about."""
        about = {f"commit of {label}" for label in self.labels} if self.is_commit else self.labels
        text = _SAVEPOINT.sub("SAVEPOINT", self.statement)
        return frozenset({text, "commit" if self.is_commit else "statement", *about})


Watch = Callable[[Moment, DatabaseCall], None]


def install(watch: Watch) -> None:
    """Tell `watch` of the calls of every database that is opened from now on."""
    _watch[:] = [watch]
    registry.register("sqlite", __name__, "WatchedSqlite")
    registry.register("postgresql.psycopg", __name__, "WatchedPostgresql")


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """The same for a while, for databases that are opened meanwhile."""
    install(watch)
    try:
        yield
    finally:
        _watch.clear()
        registry.register("sqlite", "sqlalchemy.dialects.sqlite", "dialect")
        registry.register("postgresql.psycopg", "sqlalchemy.dialects.postgresql.psycopg", "dialect")


def labels_of(statement: str, rows: Any) -> frozenset[str]:
    """What a statement changes: `insert journal`, `update wake_at of executions`, and words of what it writes:
    `journal settled`, `audit_events EXECUTION_STARTED`, `executions completed`.
    """
    found = _CHANGE.match(statement)
    if found is None:
        return frozenset()
    verb, table, column = found.groups()
    words = _WORDS.get(table, frozenset[str]()).intersection(_texts(rows))
    told = [verb.split()[0].lower(), *([f"{column} of"] if column else [])]
    return frozenset({" ".join([*told, table]), *(f"{table} {word}" for word in words)})


def _texts(rows: Any) -> Iterator[str]:
    for row in rows if isinstance(rows, list) else [rows]:
        values = row.values() if isinstance(row, Mapping) else row
        yield from (value for value in values if isinstance(value, str))


_watch: list[Watch] = []
_changes = threading.local()
"""Of each thread the labels of its open transaction: a thread has one at a time."""


@contextmanager
def _told(call: DatabaseCall) -> Iterator[None]:
    for watch in _watch:
        watch("before", call)
    yield
    for watch in _watch:
        watch("after", call)


@contextmanager
def _statement(cursor: Any, statement: str, rows: Any) -> Iterator[None]:
    labels = labels_of(statement, rows)
    with _told(DatabaseCall(False, labels, cursor.connection, statement)):
        yield
    _changes.labels = _open_changes() | labels


def _open_changes() -> frozenset[str]:
    return getattr(_changes, "labels", frozenset())


class _Watched:
    """Stands before a dialect, and tells what is asked of it."""

    supports_statement_cache = True

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        with _statement(cursor, statement, parameters):
            super().do_execute(cursor, statement, parameters, context)  # type: ignore[misc]

    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        with _statement(cursor, statement, parameters):
            super().do_executemany(cursor, statement, parameters, context)  # type: ignore[misc]

    def do_commit(self, dbapi_connection: Any) -> None:
        labels, _changes.labels = _open_changes(), frozenset()
        with _told(DatabaseCall(True, labels, dbapi_connection)):
            super().do_commit(dbapi_connection)  # type: ignore[misc]

    def do_rollback(self, dbapi_connection: Any) -> None:
        _changes.labels = frozenset()
        super().do_rollback(dbapi_connection)  # type: ignore[misc]


class WatchedSqlite(_Watched, SQLiteDialect_pysqlite):
    supports_statement_cache = True


class WatchedPostgresql(_Watched, PGDialect_psycopg):
    supports_statement_cache = True
