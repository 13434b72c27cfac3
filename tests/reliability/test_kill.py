"""kill -9 at random moments under load: every delivery becomes one execution, which comes to one end, audited."""

import asyncio
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from flowker import demo
from flowker.domain.audit import GENESIS_HASH, Actor, AuditEvent, chain_hash
from tests.reliability.conftest import read_rows

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

LOADS = [("sqlite", 10, 2_000), ("postgresql", 4, 600)]
"""On which database, how many kills, and how many acknowledgements at least."""

CONNECTIONS = 16
TERMINAL_WITHIN_S = 30.0


@dataclass
class Deliveries:
    """What the sender knows, by idempotency key."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """The execution that the service named."""
    unanswered: list[str] = field(default_factory=list)
    """Sent, and to be sent again: the service was killed before it answered."""
    sent_again: int = 0


@pytest.mark.parametrize(("database", "kills", "wanted"), LOADS)
async def test_kills_lose_and_double_none_of_many_deliveries(
    make_service: Callable[..., "ServiceProcess"],
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    database: str,
    kills: int,
    wanted: int,
) -> None:
    """Also of those that got no answer and were sent again: one execution, one start and one end in the audit."""
    seed = secrets.randbits(32)
    record_property("seed", seed)
    moments = random.Random(seed)  # noqa: S311 - when to kill is no secret
    environment = request.getfixturevalue("postgresql_environment") if database == "postgresql" else {}
    service = make_service(**environment)
    service.start()
    workflow_id = demo.ensure_sample(demo.Client(service.url, "reliability-key"))
    deliveries = Deliveries()

    for _ in range(kills):
        sending = asyncio.create_task(_deliver_until(service.url, deliveries, None))
        await asyncio.sleep(moments.uniform(0.05, 0.4))
        service.kill()
        await sending
        service.start()
    await _deliver_until(service.url, deliveries, wanted)

    executions = list(deliveries.acknowledged.values())
    statuses = await _await_terminal(service.url, executions)
    with service.client() as client:
        listed = _list_executions(client, workflow_id)
    service.stop()
    events = read_rows(service.database_url, "SELECT * FROM audit_events ORDER BY sequence")
    record_property("sent again", deliveries.sent_again)
    assert deliveries.sent_again >= kills
    assert deliveries.unanswered == []
    assert len(executions) >= wanted
    assert sorted(listed) == sorted(executions)
    assert set(statuses.values()) == {"completed"}
    assert _count_by_execution(events) == {
        (id_, type_): 1 for id_ in executions for type_ in ("EXECUTION_STARTED", "EXECUTION_COMPLETED")
    }
    assert _broken_links(events) == []


async def _deliver_until(url: str, deliveries: Deliveries, wanted: int | None) -> None:
    """Deliver from several connections until so much is acknowledged, and nothing open, or the service is gone."""
    limits = httpx.Limits(max_connections=CONNECTIONS)
    headers = {"X-API-Key": "reliability-key"}
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=10) as client:
        await asyncio.gather(*[_deliver(client, deliveries, wanted) for _ in range(CONNECTIONS)])


async def _deliver(client: httpx.AsyncClient, deliveries: Deliveries, wanted: int | None) -> None:
    while wanted is None or deliveries.unanswered or len(deliveries.acknowledged) < wanted:
        again = bool(deliveries.unanswered)
        key = deliveries.unanswered.pop(0) if again else f"delivery-{secrets.token_hex(8)}"
        deliveries.sent_again += again
        payload = {"paymentId": key, "amount": 1, "currency": "BRL"}
        try:
            answer = await client.post(
                f"/v1/webhooks/{demo.WEBHOOK_PATH}", json=payload, headers={"Idempotency-Key": key}
            )
        except httpx.TransportError:
            deliveries.unanswered.append(key)
            return
        assert answer.status_code == 201 or (again and answer.status_code == 409), answer.text
        deliveries.acknowledged[key] = answer.headers["X-Webhook-Execution-ID"]


async def _await_terminal(url: str, execution_ids: list[str]) -> dict[str, str]:
    """The status of each execution when all have ended, or when the time for that is over."""
    deadline = time.monotonic() + TERMINAL_WITHIN_S
    statuses: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": "reliability-key"}, timeout=10) as client:
        while time.monotonic() < deadline and (
            open_ids := [id_ for id_ in execution_ids if statuses.get(id_, "running") == "running"]
        ):
            for start in range(0, len(open_ids), CONNECTIONS):
                some = open_ids[start : start + CONNECTIONS]
                statuses |= dict(await asyncio.gather(*[_read_status(client, id_) for id_ in some]))
    return statuses


async def _read_status(client: httpx.AsyncClient, execution_id: str) -> tuple[str, str]:
    answer = await client.get(f"/v1/executions/{execution_id}")
    assert answer.status_code == 200, f"{execution_id} was acknowledged and is lost: {answer.text}"
    return execution_id, answer.json()["status"]


def _list_executions(client: httpx.Client, workflow_id: str) -> list[str]:
    ids: list[str] = []
    cursor = ""
    while True:
        page = client.get(f"/v1/executions?workflowId={workflow_id}&limit=100&cursor={cursor}").json()
        ids += [execution["executionId"] for execution in page["items"]]
        if not page["hasMore"]:
            return ids
        cursor = page["nextCursor"]


def _count_by_execution(events: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    return Counter((row["resource_id"], row["event_type"]) for row in events if row["resource_type"] == "execution")


def _broken_links(events: list[dict[str, Any]]) -> list[int]:
    """The sequences of events that do not follow from what is stored before them."""
    previous_hashes = [GENESIS_HASH, *(row["hash"] for row in events)]
    return [
        row["sequence"]
        for number, (row, previous_hash) in enumerate(zip(events, previous_hashes, strict=False), start=1)
        if (row["sequence"], row["previous_hash"], row["hash"])
        != (number, previous_hash, chain_hash(_event(row), previous_hash))
    ]


def _event(row: dict[str, Any]) -> AuditEvent:
    return AuditEvent(
        event_id=row["event_id"],
        event_type=row["event_type"],
        action=row["action"],
        result=row["result"],
        resource_type=row["resource_type"],
        resource_id=row["resource_id"],
        actor=Actor(row["actor_type"], row["actor_id"], row["actor_ip"]),
        timestamp=row["timestamp"],
        context=json.loads(row["context"]),
        metadata=json.loads(row["metadata"]),
    )
