"""Counts for the dashboards: each is one search of an index that has all that is asked for, so no row is read."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, ScalarSelect, func, select

from flowker.storage.executions import OPEN_STATUSES, TERMINAL_STATUSES
from flowker.storage.tables import executions, workflows

WORKFLOW_STATUSES: Final = ("draft", "active", "inactive")
EXECUTION_STATUSES: Final = (*OPEN_STATUSES, *TERMINAL_STATUSES)


def count_workflows(connection: Connection) -> dict[str, int]:
    """How many workflows there are in each status."""
    return _counts(connection, workflows.c.status, WORKFLOW_STATUSES)


def count_executions(
    connection: Connection, *, started_from: str | None, started_before: str | None, status: str | None
) -> dict[str, int]:
    """How many executions of each status started in a range of time; with a `status` the others count 0."""
    wanted = EXECUTION_STATUSES if status is None else (status,)
    within = []
    if started_from is not None:
        within.append(executions.c.started_at >= started_from)
    if started_before is not None:
        within.append(executions.c.started_at < started_before)
    return dict.fromkeys(EXECUTION_STATUSES, 0) | _counts(connection, executions.c.status, wanted, within)


def _counts(
    connection: Connection, column: Column[Any], statuses: Iterable[str], within: Iterable[ColumnElement[bool]] = ()
) -> dict[str, int]:
    """One statement with one count for each status, so that each is a search of its own."""
    counts = {status: _count(column, status, within).label(status) for status in statuses}
    row: Mapping[Any, int] = connection.execute(select(*counts.values())).mappings().one()
    return {status: row[status] for status in counts}


def _count(column: Column[Any], status: str, within: Iterable[ColumnElement[bool]]) -> ScalarSelect[int]:
    return select(func.count()).where(column == status, *within).scalar_subquery()
