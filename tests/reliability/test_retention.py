"""Backup, prune and archive beside a service that takes deliveries: none is refused, and nothing is lost."""

import asyncio
import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.reliability.conftest import KEY
from tests.reliability.load_client import LoadClient, connected, post

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

OLD = int(os.environ.get("FLOWKER_TEST_OLD", "300"))
"""Executions that are pruned; more for a closer look."""

BEFORE = 100
"""Executions that a backup has for certain, some of them in the middle of their delay."""

BACKUPS_MAX = 50
"""One is quicker than a delivery now and then, and says nothing about a backup under load."""

CONNECTIONS = 8

PAUSE_S = 0.03
"""Of a sender after each delivery: there is always something under way, and the machine has time for the commands."""

TERMINAL_WITHIN_S = 60.0
DELIVERED_WITHIN_S = 120.0

SLOWEST_MAX_S = 5.0
"""A delivery waits for one transaction of a command at a time, which takes some milliseconds."""

WORKFLOW = {
    "name": "waits a moment",
    "nodes": [
        {"id": "hook", "type": "trigger", "data": {"path": "waits"}},
        {"id": "later", "type": "action", "data": {"action": "delay", "seconds": 1}},
        {"id": "end", "type": "action", "data": {"action": "set_output", "output": {"done": True}}},
    ],
    "edges": [
        {"id": "first", "source": "hook", "target": "later"},
        {"id": "second", "source": "later", "target": "end"},
    ],
}


@pytest.mark.row("prune, archive and backup under load")
async def test_a_backup_under_load_is_a_service_of_its_own(
    make_forked: Callable[..., "ServiceProcess"], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Its chain is whole, and every execution in it comes to its end, those in the middle of something too."""
    service, copied = make_forked(), make_forked("copied")
    service.start()
    activate(service)

    async with deliveries(service) as taken:
        await reach(taken, BEFORE)
        during = 0
        for _ in range(BACKUPS_MAX):
            (tmp_path / "copied" / "flowker.db").unlink(missing_ok=True)
            before = len(taken)
            await asyncio.to_thread(service.command, "db", "backup", "../copied/flowker.db")
            during = len(taken) - before
            if during:
                break
    service.stop()
    carry_keys(tmp_path / "service", tmp_path / "copied")
    verified = copied.command("audit", "verify")
    statuses = read_statuses(tmp_path / "copied")
    copied.start()
    await await_ends(tmp_path / "copied")

    ended = read_statuses(tmp_path / "copied")
    record_property("deliveries during the backup", during)
    record_property("executions in the copy", len(statuses))
    record_property("of them unfinished", list(statuses.values()).count("running"))
    assert during > 0
    assert len(statuses) >= before
    assert "running" in statuses.values()
    assert "is as it was written." in verified
    assert ended.keys() == statuses.keys()
    assert set(ended.values()) == {"completed"}
    assert "is as it was written." in copied.command("audit", "verify")


@pytest.mark.row("prune, archive and backup under load")
async def test_prune_and_archive_beside_deliveries(
    make_forked: Callable[..., "ServiceProcess"], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """No delivery is refused or waits for long; what is left is whole, and so is the archive."""
    service = make_forked()
    service.start()
    activate(service)
    async with deliveries(service) as taken:
        await reach(taken, OLD)
    await await_ends(tmp_path / "service")
    old = make_old(tmp_path / "service")

    async with deliveries(service) as taken:
        pruned = await asyncio.to_thread(service.command, "prune", "--older-than", "90d")
        archived = await asyncio.to_thread(
            service.command, "audit", "archive", "--before", "2999-01-01", "--to", "archive.jsonl"
        )
        await reach(taken, 20)
    await await_ends(tmp_path / "service")

    for name, told in (("prune", pruned), ("archive", archived)):
        record_property(f"longest transaction of {name}", re.findall(r"took ([0-9]+ ms)", told)[0])
    record_property("pruned", old)
    record_property("deliveries meanwhile", len(taken))
    record_property("the slowest", f"{max(taken) * 1000:.0f} ms")
    assert pruned.startswith(f"{old} executions that ended before ")
    assert old >= OLD
    assert len(read_statuses(tmp_path / "service")) == len(taken)
    assert max(taken) < SLOWEST_MAX_S
    assert "were archived: the checkpoint is as this service signed it." in service.command("audit", "verify")
    assert "as it was written and signed." in service.command("audit", "verify", "--archive", "archive.jsonl")


def activate(service: "ServiceProcess") -> None:
    with service.client() as client:
        workflow_id = client.post("/v1/workflows", json=WORKFLOW).raise_for_status().json()["workflowId"]
        client.post(f"/v1/workflows/{workflow_id}/activate").raise_for_status()


@asynccontextmanager
async def deliveries(service: "ServiceProcess") -> AsyncIterator[list[float]]:
    """Deliver from several connections meanwhile; what each one took."""
    taken: list[float] = []
    ended = asyncio.Event()
    request = post("/v1/webhooks/waits", {"amount": 1}, x_api_key=KEY)

    async def deliver(client: LoadClient) -> None:
        while not ended.is_set():
            [answer] = await client.burst([request])
            assert answer.status == 201, service.log()
            taken.append(answer.latency_s)
            await asyncio.sleep(PAUSE_S)

    async with connected(service.url, CONNECTIONS) as client, asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(deliver(client))
        try:
            yield taken
        finally:
            ended.set()


async def reach(taken: list[float], wanted: int) -> None:
    deadline = time.monotonic() + DELIVERED_WITHIN_S
    while len(taken) < wanted:
        assert time.monotonic() < deadline, f"{len(taken)} of {wanted} were delivered"
        await asyncio.sleep(0.01)


def carry_keys(source: Path, target: Path) -> None:
    """What has to be kept with a copy."""
    for path in source.glob("flowker.db.secret"):
        (target / path.name).write_bytes(path.read_bytes())


def read_statuses(directory: Path) -> dict[str, str]:
    with closing(sqlite3.connect(directory / "flowker.db")) as raw:
        return dict(raw.execute("SELECT id, status FROM executions"))


async def await_ends(directory: Path) -> None:
    deadline = time.monotonic() + TERMINAL_WITHIN_S
    while "running" in (await asyncio.to_thread(read_statuses, directory)).values():
        assert time.monotonic() < deadline, "executions do not end"
        await asyncio.sleep(0.05)


def make_old(directory: Path) -> int:
    """Everything that has ended did so long ago; how much that is."""
    with closing(sqlite3.connect(directory / "flowker.db", timeout=30)) as raw, raw:
        changed = raw.execute("UPDATE executions SET completed_at = '2020-01-01T00:00:00.000000Z'")
        return changed.rowcount
