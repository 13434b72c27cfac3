"""The journal: what happened in an execution, in order, never changed. Its state is the fold of these events."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from flowker import jsontext
from flowker.storage.statements import Prepared, insert_into
from flowker.storage.tables import journal


@dataclass(frozen=True, slots=True)
class JournalEvent:
    seq: int
    kind: str
    payload: Any
    size_bytes: int = field(default=0, compare=False)


def read(connection: Connection, execution_id: str) -> list[JournalEvent]:
    """Every event of an execution, in order; numbers are exact."""
    rows = _select.run(connection, (execution_id,))
    return [JournalEvent(row.seq, row.kind, jsontext.decode(row.payload), len(row.payload)) for row in rows]


def count(connection: Connection, execution_id: str) -> int:
    """How many events an execution has; the next one's `seq`."""
    return connection.execute(select(func.count()).where(journal.c.execution_id == execution_id)).scalar_one()


def append(connection: Connection, rows: Sequence[tuple[str, int, str, str]]) -> None:
    """Rows of (execution id, seq, kind, payload text). A seq that is taken is a database error."""
    _insert.run_many(connection, rows)


_insert = insert_into(journal)

_select = Prepared(
    lambda _: (
        select(journal.c.seq, journal.c.kind, journal.c.payload)
        .where(journal.c.execution_id == bindparam("execution_id"))
        .order_by(journal.c.seq)
    ),
    ("execution_id",),
)
