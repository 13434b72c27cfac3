"""What a delivery costs, in calls of functions: a figure that no other work of the machine changes.

What takes longer without calling more is seen by tests/reliability/test_cost.py, which compares the processor's
time, as closely as a machine allows that others use, too.
"""

import json
import sys
import threading
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Self

import structlog

from benchmarks.contender import PAYLOAD
from benchmarks.contenders import starlette_route
from flowker.app import build
from flowker.settings import load_settings
from tests.unit.test_app import running

DELIVERY = 9.04
"""Times a bare Starlette route, which is counted in the same run: deliveries of three nodes, one after another, each
from its scope until it is answered and its execution has ended. Whoever makes it cheaper lowers this."""

REGRESSION = 1.25

WARM_UPS = 5
DELIVERIES = 15

WORKFLOW = {
    "name": "counted",
    "nodes": [
        {"id": "received", "type": "trigger", "data": {"triggerId": "webhook", "path": "counted"}},
        {"id": "small", "type": "conditional", "data": {"condition": "workflow.amount <= 10000"}},
        {
            "id": "approve",
            "type": "action",
            "data": {"action": "set_output", "output": {"paid": "{{workflow.amount}}"}},
        },
    ],
    "edges": [
        {"id": "e1", "source": "received", "target": "small"},
        {"id": "e2", "source": "small", "target": "approve", "sourceHandle": "true"},
    ],
}

Application = Callable[[Any, Any, Any], Awaitable[None]]


class Calls:
    """Counts them in this thread and in every thread that is started meanwhile."""

    def __init__(self) -> None:
        self._count = count()

    def __enter__(self) -> Self:
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def so_far(self) -> int:
        """Asking counts, too, each time alike."""
        return next(self._count)

    def _note(self, _: Any, event: str, __: Any) -> None:
        if event in {"call", "c_call"}:
            next(self._count)


async def ask(application: Application, path: str, number: int) -> int:
    """Send the payload to this path; the status."""
    headers = {
        "host": "flowker",
        "x-api-key": "k",
        "content-type": "application/json",
        "content-length": str(len(PAYLOAD)),
        "idempotency-key": f"counted-{number}",
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1234),
        "server": ("127.0.0.1", 80),
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": PAYLOAD.encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    await application(scope, receive, send)
    return statuses[0]


async def calls_of(application: Application, path: str, calls: Calls) -> float:
    """How many calls a request makes, in the middle of several."""
    counts = []
    for number in range(WARM_UPS + DELIVERIES):
        before = calls.so_far()
        assert await ask(application, path, number) == 201
        counts.append(calls.so_far() - before)
    return median(counts[WARM_UPS:])


async def test_a_delivery_makes_no_more_calls_than_it_did(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """A quarter more fails, whatever the machine does."""
    structlog.reset_defaults()
    with structlog.testing.capture_logs(), Calls() as calls:
        bare = await calls_of(starlette_route.create(), "/payments", calls)
        service = build(
            load_settings({"API_KEY": "k", "FLOWKER_DATABASE_URL": f"sqlite:///{tmp_path / 'flowker.db'}"})
        )
        async with running(service) as api:
            created = await api.post("/v1/workflows", json=WORKFLOW)
            activated = await api.post(f"/v1/workflows/{created.json()['workflowId']}/activate")
            delivery = await calls_of(service.asgi, "/v1/webhooks/counted", calls)
            ended = await api.get("/v1/executions", params={"status": "completed", "limit": 100})

    record_property("calls of a bare route", bare)
    record_property("calls of a delivery", delivery)
    assert activated.status_code == 200, json.dumps(activated.json())
    assert len(ended.json()["items"]) == WARM_UPS + DELIVERIES
    record_property("times", round(delivery / bare, 2))
    assert delivery / bare < DELIVERY * REGRESSION
