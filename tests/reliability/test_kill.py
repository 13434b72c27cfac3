"""kill -9 at random moments under load: nothing that was acknowledged is lost, and everything comes to its end."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from flowker import demo

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

KILLS = 10
ACKNOWLEDGEMENTS = 2_000
CONNECTIONS = 16
TERMINAL_WITHIN_S = 30.0


async def test_ten_kills_lose_none_of_two_thousand_acknowledgements(
    make_service: Callable[..., "ServiceProcess"], record_property: Callable[[str, object], None]
) -> None:
    """Every 201 is an execution that completes, and no two of them are the same."""
    seed = secrets.randbits(32)
    record_property("seed", seed)
    moments = random.Random(seed)  # noqa: S311 - when to kill is no secret
    service = make_service()
    service.start()
    workflow_id = demo.ensure_sample(demo.Client(service.url, "reliability-key"))
    acknowledged: dict[str, str] = {}

    for kill in range(KILLS + 1):
        wanted = ACKNOWLEDGEMENTS * (kill + 1) // (KILLS + 1)
        deliveries = asyncio.create_task(_deliver_until(service.url, acknowledged, wanted))
        if kill == KILLS:
            await deliveries
            break
        await asyncio.sleep(moments.uniform(0.05, 0.4))
        service.kill()
        await deliveries
        service.start()

    statuses = await _await_terminal(service.url, list(acknowledged.values()))
    assert len(acknowledged) >= ACKNOWLEDGEMENTS
    assert len(set(acknowledged.values())) == len(acknowledged)
    assert set(statuses.values()) == {"completed"}
    with service.client() as client:
        executions = _count_executions(client, workflow_id)
    assert executions >= len(acknowledged)


async def _deliver_until(url: str, acknowledged: dict[str, str], wanted: int) -> None:
    """Deliver from several connections until enough is acknowledged or the service is gone."""
    limits = httpx.Limits(max_connections=CONNECTIONS)
    headers = {"X-API-Key": "reliability-key"}
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=10) as client:
        await asyncio.gather(*[_deliver(client, acknowledged, wanted) for _ in range(CONNECTIONS)])


async def _deliver(client: httpx.AsyncClient, acknowledged: dict[str, str], wanted: int) -> None:
    while len(acknowledged) < wanted:
        key = f"delivery-{secrets.token_hex(8)}"
        payload = {"paymentId": key, "amount": 1, "currency": "BRL"}
        try:
            answer = await client.post(
                f"/v1/webhooks/{demo.WEBHOOK_PATH}", json=payload, headers={"Idempotency-Key": key}
            )
        except httpx.TransportError:
            return
        assert answer.status_code == 201, answer.text
        acknowledged[key] = answer.json()["executionId"]


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


def _count_executions(client: httpx.Client, workflow_id: str) -> int:
    count, cursor = 0, ""
    while True:
        page = client.get(f"/v1/executions?workflowId={workflow_id}&limit=100&cursor={cursor}").json()
        count += len(page["items"])
        if not page["hasMore"]:
            return count
        cursor = page["nextCursor"]
