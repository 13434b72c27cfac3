"""Counts: right in every range and status, each a search of an index, and quick whatever is stored."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from flowker.storage import dashboards, executions, tables, workflows
from flowker.storage.executions import Acceptance, Progress
from flowker.storage.workflows import StoredWorkflow

Plans = Callable[..., list[str]]

STORED = 100_000
SAMPLES = 40


def at(hour: int, minute: int = 0, second: int = 0) -> str:
    return f"2026-03-17T{hour:02}:{minute:02}:{second:02}.000000Z"


def count_executions(connection: Connection, **question: Any) -> dict[str, int]:
    asked = {"started_from": None, "started_before": None, "status": None} | question
    return dashboards.count_executions(connection, **asked)


@pytest.fixture
def _a_day(
    connection: Connection,
    make_workflow: Callable[..., StoredWorkflow],
    make_acceptance: Callable[..., Acceptance],
    make_progress: Callable[..., Progress],
) -> None:
    """An execution started at each full hour; those of the first hours have ended."""
    workflows.insert(connection, make_workflow(status="active"))
    items = [make_acceptance(started_at=at(hour)) for hour in range(24)]
    executions.accept(connection, items)
    ends = [("completed", item) for item in items[:6]] + [("failed", item) for item in items[6:10]]
    executions.record(
        connection,
        [make_progress(item.execution_id, status=status, completed_at=at(23, 30)) for status, item in ends],
    )


class TestWorkflows:
    def test_an_empty_store_has_none_in_any_status(self, connection: Connection) -> None:
        """Each status is there, with its zero."""
        assert dashboards.count_workflows(connection) == {"draft": 0, "active": 0, "inactive": 0}

    def test_every_workflow_counts_in_its_status(
        self, connection: Connection, make_workflow: Callable[..., StoredWorkflow]
    ) -> None:
        """And in no other."""
        for status in ("draft", "active", "active", "inactive", "draft", "draft"):
            workflows.insert(connection, make_workflow(status=status))

        assert dashboards.count_workflows(connection) == {"draft": 3, "active": 2, "inactive": 1}


@pytest.mark.usefixtures("_a_day")
class TestExecutions:
    def test_without_a_range_all_of_them_count(self, connection: Connection) -> None:
        """In their statuses; this engine never leaves one pending."""
        assert count_executions(connection) == {"pending": 0, "running": 14, "completed": 6, "failed": 4}

    @pytest.mark.parametrize(
        ("started_from", "started_before", "counts"),
        [
            (at(5), None, (14, 1, 4)),
            (None, at(5), (0, 5, 0)),
            (at(5), at(6), (0, 1, 0)),
            (at(5), at(6, 0, 1), (0, 1, 1)),
            (at(4, 59, 59), at(5), (0, 0, 0)),
            (at(5), at(5), (0, 0, 0)),
        ],
    )
    def test_a_range_has_its_start_and_not_its_end(
        self, connection: Connection, started_from: str | None, started_before: str | None, counts: tuple[int, ...]
    ) -> None:
        """So that ranges side by side count nothing twice and miss nothing."""
        found = count_executions(connection, started_from=started_from, started_before=started_before)

        assert found == {"pending": 0} | dict(zip(("running", "completed", "failed"), counts, strict=True))

    def test_what_was_reopened_counts_as_running(
        self, connection: Connection, make_progress: Callable[..., Progress]
    ) -> None:
        """And as failed no more."""
        before = count_executions(connection)
        failed = executions.list_page(connection, status="failed", limit=1).items[0]

        executions.record(connection, [make_progress(failed.id, first_seq=2, reopens=True)])

        after = before | {"running": before["running"] + 1, "failed": before["failed"] - 1}
        assert count_executions(connection) == after

    def test_the_other_statuses_count_nothing_when_one_is_asked_for(self, connection: Connection) -> None:
        """The range counts as well."""
        found = count_executions(connection, status="failed", started_from=at(8))

        assert found == {"pending": 0, "running": 0, "completed": 0, "failed": 2}


class TestPlans:
    """Cost must not grow with what is stored beside the rows that count."""

    @pytest.mark.parametrize("status", [None, "running"])
    @pytest.mark.parametrize("started_from", [None, at(1)])
    @pytest.mark.parametrize("started_before", [None, at(2)])
    def test_executions_are_counted_along_one_index(
        self, read_plans: Plans, status: str | None, started_from: str | None, started_before: str | None
    ) -> None:
        """It has the columns that are asked for, so that no row is read."""
        [plan] = read_plans(count_executions, status=status, started_from=started_from, started_before=started_before)

        searches = [line for line in plan.splitlines() if "executions" in line]
        assert len(searches) == (4 if status is None else 1)
        assert all("SEARCH executions USING COVERING INDEX executions_by_start (status=?" in one for one in searches)
        assert all("started_at>?" in one for one in searches) == (started_from is not None)
        assert "TEMP B-TREE" not in plan

    def test_workflows_are_counted_along_an_index(self, read_plans: Plans) -> None:
        """Any that begins with the status."""
        [plan] = read_plans(dashboards.count_workflows)

        searches = [line for line in plan.splitlines() if "workflows" in line]
        assert len(searches) == 3
        assert all("SEARCH workflows USING COVERING INDEX" in one and "(status=?)" in one for one in searches)


class TestSpeed:
    def test_a_hundred_thousand_executions_are_counted_in_20_ms(self, connection: Connection) -> None:
        """All of them, and those of a range; on this thread's own clock: what else the machine does is no cost of
        ours."""
        connection.execute(insert(tables.executions), list(_rows()))

        counted, all_s = _count_often(connection)
        counted_of_range, range_s = _count_often(connection, started_from=at(6), started_before=at(18))

        assert (counted, counted_of_range) == (STORED, STORED // 2)
        assert max(all_s, range_s) < 0.020


def _count_often(connection: Connection, **question: str) -> tuple[int, float]:
    """How many there are, and how long counting them takes: the median, since other tests share the machine."""
    total = sum(count_executions(connection, **question).values())
    took_s = sorted(_measure(lambda: count_executions(connection, **question)) for _ in range(SAMPLES))
    return total, took_s[SAMPLES // 2]


def _measure(action: Callable[[], object]) -> float:
    began_s = time.thread_time()
    action()
    return time.thread_time() - began_s


def _rows() -> Iterator[dict[str, Any]]:
    """As many in each hour of a day, nine of ten completed."""
    for number in range(STORED):
        hour = number * 24 // STORED
        status = "completed" if number % 10 else "running"
        yield {
            "id": f"execution-{number:06}",
            "workflow_id": "workflow-001",
            "revision": 1,
            "status": status,
            "current_step_number": 1,
            "total_steps": 1,
            "started_at": at(hour),
            "completed_at": at(23) if status == "completed" else None,
        }
