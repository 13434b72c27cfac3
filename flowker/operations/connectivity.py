"""Testing a configuration, of a provider or of an executor: a result as it is answered, kept and audited."""

from collections.abc import Callable
from typing import Any, Final

from flowker.domain.errors import TestAddressNotAllowed
from flowker.executors.calls import OutgoingRequest
from flowker.executors.connectivity import Report
from flowker.executors.egress import AddressNotAllowed
from flowker.operations.context import Context

Result = dict[str, Any]
"""A `TestResult` of the document."""


async def run_test(context: Context, prepare: Callable[[], OutgoingRequest]) -> Result:
    """Test with the request that `prepare` makes; it takes as long as the far side, outside of any transaction."""
    started_at = context.timestamp()
    try:
        report = await context.connectivity.test(prepare)
    except AddressNotAllowed:
        report = _NOT_ALLOWED
    return _result(report, started_at, context.timestamp())


def require_allowed(result: Result) -> None:
    """Raise `TestAddressNotAllowed` when there was nothing to test that may be called."""
    if not result["stages"]:
        raise TestAddressNotAllowed


def statuses(result: Result) -> dict[str, str]:
    """How each stage went, by its name."""
    return {stage["name"]: stage["status"] for stage in result["stages"]}


_NOT_ALLOWED: Final = Report("failed", (), TestAddressNotAllowed.message, 0)
"""What is known of a test that was not made."""


def _result(report: Report, started_at: str, completed_at: str) -> Result:
    return {
        "overallStatus": report.overall_status,
        "stages": [
            {
                "name": stage.name,
                "status": stage.status,
                "message": stage.message,
                "durationMs": stage.duration_ms,
                "details": dict(stage.details),
                "error": stage.error,
            }
            for stage in report.stages
        ],
        "summary": report.summary,
        "durationMs": report.duration_ms,
        "startedAt": started_at,
        "completedAt": completed_at,
    }
