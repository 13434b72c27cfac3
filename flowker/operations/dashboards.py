"""Dashboard API: how many workflows and executions there are, by status."""

from typing import Any

from flowker.domain.errors import InvalidTime, RangeReversed
from flowker.domain.timestamps import normalize_timestamp
from flowker.operations.context import Answer, Context
from flowker.storage import dashboards
from flowker.storage.database import Connection


async def get_workflow_summary(context: Context) -> Answer:
    counts = await context.store.read(dashboards.count_workflows)
    return {
        "total": sum(counts.values()),
        "active": counts["active"],
        "byStatus": [{"status": status, "count": count} for status, count in counts.items()],
    }


async def get_execution_summary(
    context: Context, *, start_time: str | None, end_time: str | None, status: str | None
) -> Answer:
    """Counts by `startedAt`, from `startTime` on and before `endTime`: ranges side by side count nothing twice."""
    started_from, started_before = _normalized("startTime", start_time), _normalized("endTime", end_time)
    if started_from is not None and started_before is not None and started_before < started_from:
        raise RangeReversed(fields={"endTime": "is before startTime"})

    def read(connection: Connection) -> Any:
        return dashboards.count_executions(
            connection, started_from=started_from, started_before=started_before, status=status
        )

    counts = await context.store.read(read)
    return {"total": sum(counts.values()), **counts}


def _normalized(name: str, time: str | None) -> str | None:
    if time is None:
        return None
    try:
        return normalize_timestamp(time)
    except ValueError:
        raise InvalidTime(fields={name: "is a leap second or outside of the years 1 to 9999"}) from None
