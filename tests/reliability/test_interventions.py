"""kill -9 while people decide: a decision that was answered is kept, and each is made and acted on once."""

import asyncio
import os
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

KILLS = int(os.environ.get("FLOWKER_TEST_DECISION_KILLS", "3"))
EXECUTIONS = 20 * KILLS
SEED = int(os.environ.get("FLOWKER_TEST_DECISION_SEED", secrets.randbits(32)))
END_WITHIN_S = 30.0
HEADERS = {"X-API-Key": "reliability-key"}


@pytest.mark.row("decisions outlive kills")
async def test_decisions_outlive_kills(
    make_forked: Callable[..., "ServiceProcess"], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Whoever heard no answer asks again: each decision is audited once, and its call has one key."""
    record_property("seed", SEED)
    moments = Random(SEED)  # noqa: S311 - when to kill is no secret
    keys: Counter[str] = Counter()
    far_side = await _start_far_side(keys)
    service = make_forked(FLOWKER_EGRESS_ALLOW="127.0.0.0/8")
    service.start()
    execution_ids = await _start_executions(service.url, str(far_side.make_url("/")))
    answered: set[str] = set()

    unanswered = 0
    for kills in range(1, KILLS + 1):
        some = execution_ids[: EXECUTIONS * kills // KILLS]
        deciding = asyncio.create_task(_decide(service.url, some, answered))
        # From the first answer on the others are on their way, and so is what they lead to.
        await _until_answered(answered, len(answered) + moments.randint(1, 10))
        service.kill()
        await deciding
        unanswered += len(set(some) - answered)
        service.start()
    record_property("kills", KILLS)
    record_property("decisions", EXECUTIONS)
    record_property("unanswered", unanswered)
    await _decide(service.url, execution_ids, answered)
    statuses = await _await_ends(service.url, execution_ids)
    service.stop()
    await far_side.close()

    audited = _count_audited(tmp_path / "service" / "flowker.db")
    assert answered == set(execution_ids)
    assert statuses == dict.fromkeys(execution_ids, "completed")
    assert set(keys) == {f"{id_}:pay" for id_ in execution_ids}
    for type_ in ("APPROVAL_REQUESTED", "APPROVAL_DECIDED", "PROVIDER_CALL_COMPLETED", "EXECUTION_COMPLETED"):
        assert {id_: audited[id_, type_] for id_ in execution_ids} == dict.fromkeys(execution_ids, 1), type_


async def _start_far_side(keys: Counter[str]) -> TestServer:
    async def answer(request: web.Request) -> web.Response:
        keys[request.headers["Idempotency-Key"]] += 1
        return web.json_response({"paid": True})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    return server


async def _start_executions(url: str, far_side: str) -> list[str]:
    """Executions that wait for an approval, with a call behind it."""
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=10) as client:
        configuration = {"name": "far side", "providerId": "http", "config": {"base_url": far_side}}
        configuration_id = (await _post(client, "/v1/provider-configurations", configuration))["id"]
        workflow = {
            "name": "approved payment",
            "nodes": [
                {"id": "t", "type": "trigger", "position": _NOWHERE, "data": {"triggerType": "webhook"}},
                {"id": "ask", "type": "action", "position": _NOWHERE, "data": {"action": "approval"}},
                {
                    "id": "pay",
                    "type": "executor",
                    "position": _NOWHERE,
                    "data": {"executorId": "http.request", "providerConfigId": configuration_id, "path": "/pay"},
                },
            ],
            "edges": [{"id": "1", "source": "t", "target": "ask"}, {"id": "2", "source": "ask", "target": "pay"}],
        }
        workflow_id = (await _post(client, "/v1/workflows", workflow))["workflowId"]
        await _post(client, f"/v1/workflows/{workflow_id}/activate", None)
        started = [
            await _post(client, f"/v1/workflows/{workflow_id}/executions", {"inputData": {}}, key=f"key-{number}")
            for number in range(EXECUTIONS)
        ]
    return [one["executionId"] for one in started]


_NOWHERE = {"x": 0, "y": 0}


async def _post(client: httpx.AsyncClient, path: str, body: Any, key: str | None = None) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await client.post(path, json=body, headers=headers) if body is not None else await client.post(path)
    assert answer.is_success, answer.text
    return answer.json()


async def _until_answered(answered: set[str], count: int) -> None:
    deadline = time.monotonic() + END_WITHIN_S
    while len(answered) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def _decide(url: str, execution_ids: list[str], answered: set[str]) -> None:
    """Approve what is not known to be approved, several at a time, until the service is gone."""
    open_ids = [id_ for id_ in execution_ids if id_ not in answered]
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=10) as client:
        await asyncio.gather(*[_decide_one(client, id_, answered) for id_ in open_ids])


async def _decide_one(client: httpx.AsyncClient, execution_id: str, answered: set[str]) -> None:
    path = f"/v1/executions/{execution_id}/signals/ask"
    deadline = time.monotonic() + END_WITHIN_S
    while time.monotonic() < deadline:
        try:
            answer = await client.post(path, json={"decision": "approved"})
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            answered.add(execution_id)
            return
        # Not reached yet, or the service is about to be ready: both pass.
        assert answer.status_code in {409, 500, 503}, answer.text
        await asyncio.sleep(0.02)


async def _await_ends(url: str, execution_ids: list[str]) -> dict[str, str]:
    deadline = time.monotonic() + END_WITHIN_S
    statuses = dict.fromkeys(execution_ids, "running")
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=10) as client:
        while "running" in statuses.values() and time.monotonic() < deadline:
            for id_ in execution_ids:
                statuses[id_] = (await client.get(f"/v1/executions/{id_}")).json()["status"]
    return statuses


def _count_audited(path: Path) -> Counter[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return Counter(connection.execute("SELECT resource_id, event_type FROM audit_events"))
