"""Executions that wait are rows with a time: however many there are, they take no memory, and none is lost."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.reliability.conftest import KEY
from tests.reliability.load_client import connected, post

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

WAITING = int(os.environ.get("FLOWKER_TEST_WAITING", "4000"))
"""Many more for a closer look: `FLOWKER_TEST_WAITING=100000 tox -e reliability -- -k waiting`."""

WARM_UP = 1_000
"""What is allocated once (caches, pools, code) is allocated by then."""

CONNECTIONS = 16

WAITING_WITHIN_S = 60.0

BYTES_EACH_MAX = 1_000
"""An execution in memory takes several kilobytes; this is less than its row."""

NOISE_BYTES = 16 * 2**20
"""What the allocator keeps and gives back meanwhile, and garbage that is looked for less often than by default."""

WORKFLOW = {
    "name": "waits",
    "nodes": [
        {"id": "hook", "type": "trigger", "data": {"path": "waits"}},
        {"id": "later", "type": "action", "data": {"action": "delay", "seconds": 3000}},
        {"id": "ask", "type": "action", "data": {"action": "approval"}},
    ],
    "edges": [
        {"id": "first", "source": "hook", "target": "later"},
        {"id": "second", "source": "hook", "target": "ask"},
    ],
    "metadata": {"timeoutSeconds": 86400},
}


@pytest.mark.row("waiting executions take no memory")
async def test_waiting_executions_take_no_memory(
    make_service: Callable[..., "ServiceProcess"], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each waits for a time and for a person, before a crash and after it."""
    service, database = make_service(), tmp_path / "service" / "flowker.db"
    service.start()
    with service.client() as client:
        workflow_id = client.post("/v1/workflows", json=WORKFLOW).raise_for_status().json()["workflowId"]
        client.post(f"/v1/workflows/{workflow_id}/activate").raise_for_status()

    await _deliver(service, database, WARM_UP)
    before_bytes = service.memory_bytes()
    await _deliver(service, database, WAITING)
    after_bytes = service.memory_bytes()
    service.kill()
    service.start()
    again_bytes = service.memory_bytes()

    grown_bytes = after_bytes - before_bytes
    record_property("waiting", WAITING)
    record_property("bytes each", f"{grown_bytes / WAITING:.0f}")
    record_property("MB after a start", f"{again_bytes / 2**20:.0f}")
    assert grown_bytes < WAITING * BYTES_EACH_MAX + NOISE_BYTES
    assert again_bytes < before_bytes + NOISE_BYTES
    with service.client() as client:
        counts = client.get("/v1/dashboards/executions").raise_for_status().json()
        assert (counts["running"], counts["total"]) == (WARM_UP + WAITING, WARM_UP + WAITING)


async def _deliver(service: "ServiceProcess", database: Path, count: int) -> None:
    """Deliver so many, and return when all that there are wait."""
    async with connected(service.url, CONNECTIONS) as client:
        requests = [post("/v1/webhooks/waits", {"number": number}, x_api_key=KEY) for number in range(count)]
        answers = await client.burst(requests)
    assert {answer.status for answer in answers} == {201}, service.log()
    patience = time.monotonic() + WAITING_WITHIN_S
    while _count_awake(database):
        assert time.monotonic() < patience, service.log()
        await asyncio.sleep(0.1)


def _count_awake(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        [count] = connection.execute("SELECT count(*) FROM executions WHERE wake_at IS NULL").fetchone()
        return int(count)
