"""Health API: whether the service lives, can take work, what it counted, and which version it is."""

import time
from typing import Any

from flowker.domain.errors import InternalError
from flowker.operations.context import Answer, Context
from flowker.operations.metrics import render_metrics
from flowker.storage.database import StoredUnreadable

STALLED_AFTER_S = 15.0
"""An idle writer turns once a second; one that has not turned for this long hangs."""


async def check_service_health(context: Context) -> Answer:
    checks = {**await _check_database(context), **_check_engine(context), **_check_circuit_breakers(context)}
    return _answer(context, checks)


async def check_liveness(context: Context) -> Answer:
    """Never touches the database: a database that is away is no reason to restart this process."""
    stalled = time.monotonic() - context.store.writer_heartbeat > STALLED_AFTER_S
    return _answer(context, {"writer": _unhealthy("The writer has stalled.") if stalled else _HEALTHY})


async def check_readiness(context: Context) -> Answer:
    return _answer(context, {**await _check_database(context), **_check_engine(context)})


async def check_readyz(context: Context) -> Answer:
    return await check_readiness(context)


async def get_metrics(context: Context) -> Answer:
    return render_metrics(context)


async def get_version(context: Context) -> Answer:
    return {"version": context.version, "requestDate": context.timestamp()}


def _unhealthy(message: str) -> dict[str, str]:
    return {"status": "unhealthy", "message": message}


_HEALTHY = {"status": "healthy", "message": "ok"}


async def _check_database(context: Context) -> dict[str, dict[str, str]]:
    try:
        current = await context.store.check()
    except (InternalError, StoredUnreadable):
        return {"database": _unhealthy("The database does not answer.")}
    if not current:
        return {"database": _HEALTHY, "migrations": _unhealthy("The schema is not the one of this version.")}
    return {"database": _HEALTHY, "migrations": _HEALTHY}


def _check_engine(context: Context) -> dict[str, dict[str, str]]:
    if context.engine.drains:
        return {"engine": _unhealthy("The service drains: it takes what comes, and stops soon.")}
    if context.engine.stands_by:
        return {"engine": _unhealthy("Another process drives the executions; this one stands by.")}
    return {"engine": _HEALTHY if context.engine.alive else _unhealthy("The engine is not running.")}


def _check_circuit_breakers(context: Context) -> dict[str, dict[str, str]]:
    """An open one is the service at work: it is a far side that is not well."""
    counts = context.breakers.counts()
    message = ", ".join(f"{count} {state}" for state, count in sorted(counts.items(), reverse=True))
    return {"circuit_breakers": {"status": "healthy", "message": message or "ok"}}


def _answer(context: Context, checks: dict[str, dict[str, str]]) -> Answer:
    healthy = all(check["status"] == "healthy" for check in checks.values())
    body: dict[str, Any] = {
        "status": "healthy" if healthy else "unhealthy",
        "version": context.version,
        "uptime": f"{time.monotonic() - context.started_at:.3f}s",
        "timestamp": context.timestamp(),
        "checks": checks,
    }
    return body, 200 if healthy else 503
