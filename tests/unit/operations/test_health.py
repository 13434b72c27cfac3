"""Health when something is wrong: 503, and which part it is."""

from typing import Any

import pytest

from flowker.executors.breaker import FAILURES_MAX
from flowker.executors.calls import CallFailed
from flowker.operations import health
from flowker.operations.context import Context
from flowker.storage.database import Connection

READINESS = [health.check_service_health, health.check_readiness, health.check_readyz]


def unhealthy(answer: Any) -> tuple[int, str, list[str]]:
    """The status code, the status, and the names of the checks that failed."""
    body, code = answer
    return code, body["status"], [name for name, check in body["checks"].items() if check["status"] != "healthy"]


async def test_a_database_that_does_not_answer_is_told(context: Context) -> None:
    """It went away while the service was running."""
    await context.store.stop()
    answers = [await operation(context) for operation in READINESS]

    assert [unhealthy(answer) for answer in answers] == [(503, "unhealthy", ["database"])] * 3


async def test_a_schema_of_another_version_is_told(context: Context) -> None:
    """The database itself is well."""
    await context.store.write(_set_revision, "9999")
    answers = [await operation(context) for operation in READINESS]

    assert [unhealthy(answer) for answer in answers] == [(503, "unhealthy", ["migrations"])] * 3


async def test_an_engine_that_has_stopped_is_told(context: Context) -> None:
    """As while the service is ending."""
    await context.engine.stop()
    answers = [await operation(context) for operation in READINESS]

    assert [unhealthy(answer) for answer in answers] == [(503, "unhealthy", ["engine"])] * 3


async def test_a_service_that_drains_is_told_while_it_goes_on(context: Context) -> None:
    """Load balancers look here; whoever delivers meanwhile is served."""
    context.engine.drains = True
    answers = [await operation(context) for operation in READINESS]

    assert [unhealthy(answer) for answer in answers] == [(503, "unhealthy", ["engine"])] * 3
    assert (await health.check_liveness(context))[1] == 200


async def test_open_circuit_breakers_are_told_and_no_reason_to_be_unhealthy(context: Context) -> None:
    """How many there are, and of which configurations not: everybody may ask for the health."""
    before, _ = await health.check_service_health(context)
    for configuration_id in ("canary-1", "canary-2"):
        for _ in range(FAILURES_MAX):
            context.breakers.settle(configuration_id, object(), CallFailed("lost", retryable=True))

    body, code = await health.check_service_health(context)

    assert before["checks"]["circuit_breakers"] == {"status": "healthy", "message": "ok"}
    assert (code, body["status"]) == (200, "healthy")
    assert body["checks"]["circuit_breakers"] == {"status": "healthy", "message": "2 open"}
    assert "canary" not in str(body)


async def test_a_database_that_is_away_is_no_reason_to_restart(context: Context) -> None:
    """Liveness does not ask it."""
    await context.store.stop()

    assert unhealthy(await health.check_liveness(context)) == (200, "healthy", [])


async def test_a_writer_that_hangs_is_a_reason_to_restart(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not turned for too long; here, any time is."""
    monkeypatch.setattr(health, "STALLED_AFTER_S", -1.0)

    assert unhealthy(await health.check_liveness(context)) == (503, "unhealthy", ["writer"])


def _set_revision(connection: Connection, revision: str) -> None:
    connection.exec_driver_sql("UPDATE alembic_version SET version_num = ?", (revision,))
