"""With 100,000 rows of everything, no list and no dashboard takes longer than a person notices."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from math import inf
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from flowker.domain.audit import GENESIS_HASH, SYSTEM, AuditEvent, seal
from flowker.storage.database import upgrade

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

ROWS = 100_000
PAGES = 100
PAGES_BEFORE = 20
"""As many read what all pages are found by into the machine's memory."""
P95_S = 0.020
P95_MAX_S = 0.060
"""On any machine."""

ROUNDS = 3
"""The best one counts: what else the machine does is not what is measured."""

CPU_TO_P95 = 2
"""Where others have the processor, a page's own time of it says more than the clock: this many times its mean."""

EMPTY = "/v1/executions?status=pending"
TIMES_MAX = 5
"""On a machine so slow that this is longer than `P95_S`, a page may take so many times one without rows. To read
all rows takes several times longer."""

WORKFLOW = "00000000-0000-7000-8000-000000000001"
FAR_OFF = "2126-01-01T00:00:00.000000Z"
"""What is open waits for this: nothing is driven meanwhile."""

DEFINITION = json.dumps({"nodes": [], "edges": [], "metadata": {}})

IN_A_HURRY = "PRAGMA cache_size=-500000; PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF"
"""A file that is made for the test is made anew when the machine stops meanwhile."""

AS_BEFORE = "PRAGMA journal_mode=WAL"
"""What is stored of these in the file."""

QUESTIONS = [
    "/v1/workflows",
    "/v1/workflows?sortBy=name&sortOrder=ASC",
    "/v1/workflows?sortBy=updatedAt&status=inactive",
    "/v1/executions",
    f"/v1/executions?workflowId={WORKFLOW}&sortBy=completedAt",
    "/v1/executions?status=failed&sortBy=completedAt&sortOrder=ASC",
    "/v1/provider-configurations",
    "/v1/provider-configurations?providerId=http&sortBy=name&sortOrder=ASC",
    "/v1/executors",
    "/v1/executors?status=active&sortBy=updatedAt",
    "/v1/audit-events",
    "/v1/audit-events?eventType=EXECUTION_FAILED&sortOrder=ASC",
    f"/v1/audit-events?resourceId={WORKFLOW}",
    "/v1/audit-events?resourceType=execution&result=SUCCESS",
    "/v1/audit-events?action=EXECUTE&dateFrom=2026-01-01T10:00:00Z&dateTo=2026-01-01T20:00:00Z",
    "/v1/dashboards/workflows/summary",
    "/v1/dashboards/executions",
    "/v1/dashboards/executions?status=completed&startTime=2026-01-01T10:00:00Z&endTime=2026-01-01T20:00:00Z",
]


def at(number: int) -> str:
    """A time of a day, the same for a few rows."""
    second = number * 86_399 // ROWS
    return f"2026-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000000Z"


def id_of(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012d}"


def workflow_rows() -> Iterator[tuple[Any, ...]]:
    for n in range(ROWS):
        yield (
            id_of(n),
            f"Workflow {n * 7919 % ROWS}",
            "",
            ("draft", "active", "inactive")[n % 3],
            1,
            at(n),
            at(n * 3 % ROWS),
        )


def execution_rows() -> Iterator[tuple[Any, ...]]:
    for n in range(ROWS):
        status = ("completed", "completed", "completed", "failed", "running")[n % 5]
        ended = at(ROWS - 1 - n) if status != "running" else None
        workflow = WORKFLOW if n % 2 else id_of(n)
        wakes = None if ended else FAR_OFF
        yield id_of(n), workflow, 1, status, "t", None, None, 2, 2, at(n), ended, None, wakes


def provider_configuration_rows() -> Iterator[tuple[Any, ...]]:
    for n in range(ROWS):
        provider, status = ("http", "tracer")[n % 2], ("active", "disabled")[n % 3 % 2]
        config = '{"base_url":"https://example.com"}'
        yield id_of(n), f"Provider {n}", "", provider, config, status, "{}", 1, at(n), at(n), None, None


def executor_configuration_rows() -> Iterator[tuple[Any, ...]]:
    endpoints = '[{"name":"call","path":"/","method":"GET","timeout":30}]'
    for n in range(ROWS):
        status = ("configured", "tested", "active", "disabled")[n % 4]
        url, none = "https://example.com", '{"type":"none","config":{}}'
        yield id_of(n), f"Executor {n}", "", url, endpoints, none, status, "{}", 1, at(n), at(n), None, None


def audit_rows() -> Iterator[tuple[Any, ...]]:
    previous = GENESIS_HASH
    for n in range(ROWS):
        failed = n % 20 == 0
        event = AuditEvent(
            event_id=id_of(n),
            event_type="EXECUTION_FAILED" if failed else "EXECUTION_COMPLETED",
            action="EXECUTE",
            result="FAILED" if failed else "SUCCESS",
            resource_type="execution",
            resource_id=WORKFLOW if n % 10 == 0 else id_of(n),
            actor=SYSTEM,
            timestamp=at(n),
        )
        context, metadata, hash_ = seal(event, previous)
        yield (
            *(n + 1, event.event_id, event.event_type, event.action, event.result, event.resource_type),
            *(event.resource_id, "system", None, None, context, metadata, event.timestamp, hash_, previous),
        )
        previous = hash_


def fill(path: Path) -> None:
    upgrade(f"sqlite:///{path}")
    tables = {
        "workflows": workflow_rows(),
        "workflow_revisions": ((row[0], 1, DEFINITION, row[5]) for row in workflow_rows()),
        "executions": execution_rows(),
        "provider_configurations": provider_configuration_rows(),
        "executor_configurations": executor_configuration_rows(),
        "audit_events": audit_rows(),
    }
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(IN_A_HURRY)
        with raw:
            for table, rows in tables.items():
                marks = ", ".join("?" * len(raw.execute(f"PRAGMA table_info({table})").fetchall()))
                raw.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - the names stand above
        raw.execute(AS_BEFORE)


def pages(client: httpx.Client, question: str, count: int = PAGES) -> Iterator[float]:
    """How long each of many pages took, one after another; what is no list is asked as often."""
    separator, cursor = "&" if "?" in question else "?", ""
    for _ in range(count):
        began = time.perf_counter()
        answer = client.get(f"{question}{separator}cursor={cursor}" if cursor else question)
        yield time.perf_counter() - began
        assert answer.status_code == 200, answer.text
        cursor = answer.json().get("nextCursor", "")


@pytest.fixture
def service(make_service: Callable[..., "ServiceProcess"], tmp_path: Path) -> "ServiceProcess":
    (tmp_path / "service").mkdir()
    fill(tmp_path / "service" / "flowker.db")
    service = make_service()
    service.start()
    return service


@pytest.mark.row("lists and dashboards of 100,000 rows")
def test_every_list_and_dashboard_answers_within_20_ms(
    service: "ServiceProcess", record_property: Callable[[str, object], None]
) -> None:
    """19 of 20 pages, deep ones too, over HTTP and judged by the document."""
    slow = {}
    with service.client() as client:
        list(pages(client, EMPTY))
        empty_s = min(_measure_p95_s(service, client, EMPTY) for _ in range(ROUNDS))
        p95_max_s = min(max(P95_S, TIMES_MAX * empty_s), P95_MAX_S)
        record_property("allowed", f"{p95_max_s * 1000:.0f} ms")
        for question in QUESTIONS:
            list(pages(client, question, PAGES_BEFORE))
            p95 = _best_p95_s(service, client, question, p95_max_s)
            record_property(question, f"{p95 * 1000:.1f} ms")
            print(f"p95 {p95 * 1000:5.1f} ms  {question}")  # noqa: T201 - a figure that is asked for
            if p95 > p95_max_s:
                slow[question] = p95

    assert slow == {}


def _best_p95_s(service: "ServiceProcess", client: httpx.Client, question: str, allowed_s: float) -> float:
    """Of as many rounds as it takes to be fast enough, `ROUNDS` at most."""
    best_s = inf
    for _ in range(ROUNDS):
        best_s = min(best_s, _measure_p95_s(service, client, question))
        if best_s <= allowed_s:
            break
    return best_s


def _measure_p95_s(service: "ServiceProcess", client: httpx.Client, question: str) -> float:
    """What 19 of 20 pages take, by the clock or by the service's time of the processor."""
    began_s = service.cpu_s()
    took_s = list(pages(client, question))
    return min(quantiles(took_s, n=20)[-1], (service.cpu_s() - began_s) / len(took_s) * CPU_TO_P95)
