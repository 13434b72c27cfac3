"""A stop under load: first it is told, then nobody can connect, and everything that was taken is answered."""

import asyncio
import itertools
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import httpx
import pytest

from tests.reliability.conftest import KEY, Api, ServiceProcess, read_rows
from tests.reliability.stub_provider import Fault, StubProvider
from tests.reliability.test_calls import call, workflow

DELAY_S = 0.5
GRACE_S = 3.0
SHORT_GRACE_S = 1.0
"""With the slack it is less than the 5 s after which a store that is stuck lets go."""

SLACK_S = 3.0
"""For the process to notice the signal, and to end, on a slow machine."""

NUMBERS = itertools.count(1)

SENDERS = 8
HELD = 5
"""Deliveries that wait for the end of an execution whose far side never answers."""


@dataclass
class Seen:
    """What clients were told, and when."""

    accepted: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    waiting: Counter[tuple[int, str]] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)
    """The idempotency keys of what was sent and got no answer."""
    not_ready_at_s: float | None = None
    refused_at_s: float | None = None
    accepted_while_draining: int = 0

    def refused(self) -> None:
        self.refused_at_s = self.refused_at_s or time.monotonic()


@pytest.mark.row("graceful shutdown")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_stop_under_load_answers_everybody_and_loses_nothing(
    make_service: Callable[..., ServiceProcess],
    provider: StubProvider,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    database: str,
) -> None:
    """Readiness says it before anybody is refused; a far side that never answers does not hold it up."""
    environment = request.getfixturevalue("postgresql_environment") if database == "postgresql" else {}
    service = make_service(
        FLOWKER_EGRESS_ALLOW="127.0.0.1/32",
        FLOWKER_SHUTDOWN_DELAY_SECONDS=str(DELAY_S),
        FLOWKER_SHUTDOWN_GRACE_SECONDS=str(GRACE_S),
        **environment,
    )
    service.start()
    with service.client() as client:
        _make_workflows(Api(client), provider)
    provider.plan("/held", *[Fault.BLACK_HOLE] * HELD)
    seen = Seen()

    loads = [asyncio.create_task(_deliver(service.url, seen)) for _ in range(SENDERS)]
    loads += [asyncio.create_task(_wait_for_the_end(service.url, seen)) for _ in range(HELD)]
    loads += [asyncio.create_task(_look(service.url, seen))]
    await _until(lambda: len(provider.received_at("/held")) == HELD and len(seen.accepted) > 50)
    service.send(signal.SIGTERM)
    sent_at_s = time.monotonic()
    code = await asyncio.to_thread(service.wait)
    took_s = time.monotonic() - sent_at_s
    await asyncio.gather(*loads)

    service.start()
    unfinished = "SELECT count(*) AS n FROM executions WHERE status NOT IN ('completed', 'failed')"
    await _until(lambda: read_rows(service.database_url, unfinished)[0]["n"] == 0)
    service.stop()
    rows = read_rows(service.database_url, "SELECT * FROM executions")
    stored, keys = {row["id"]: row["status"] for row in rows}, {row["idempotency_key"] for row in rows}
    calls = Counter(received.headers["idempotency-key"] for received in provider.received_at("/held"))
    record_property("took, s", round(took_s, 2))
    record_property("accepted", len(seen.accepted))
    record_property("accepted while draining", seen.accepted_while_draining)
    assert code == 0
    assert took_s < DELAY_S + GRACE_S + SLACK_S
    assert seen.not_ready_at_s is not None
    assert seen.refused_at_s is not None
    assert seen.not_ready_at_s < seen.refused_at_s
    assert seen.accepted_while_draining > 0
    assert keys.isdisjoint(seen.unanswered)
    assert seen.statuses.keys() == {201}
    assert seen.waiting == {(201, "running"): HELD}
    assert {stored[id_] for id_ in seen.accepted} == {"completed"}
    assert sorted(calls.values()) == [2] * HELD
    assert "Traceback" not in service.log()


@pytest.mark.row("graceful shutdown")
def test_a_stop_does_not_wait_for_a_store_that_is_stuck(
    make_service: Callable[..., ServiceProcess],
    provider: StubProvider,
    record_property: Callable[[str, object], None],
) -> None:
    """Who waits for its commit hears that it may come again, and nothing of it is there."""
    service = make_service(FLOWKER_SHUTDOWN_GRACE_SECONDS=str(SHORT_GRACE_S))
    service.start()
    with service.client() as client:
        _make_workflows(Api(client), provider)

    with closing(sqlite3.connect(service.database_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(HELD) as senders:
            sent = [senders.submit(_deliver_once, service.url) for _ in range(HELD)]
            with service.client() as client:
                while _waiting_acceptances(client) < HELD:
                    time.sleep(0.02)
            service.send(signal.SIGTERM)
            sent_at_s = time.monotonic()
            code = service.wait()
            took_s = time.monotonic() - sent_at_s
        answers = [each.result() for each in sent]

    record_property("took with a stuck store, s", round(took_s, 2))
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in answers} == {(500, "1")}
    assert {answer.json()["code"] for answer in answers} == {"FLK-9999"}
    assert code == 0
    assert took_s < SHORT_GRACE_S + SLACK_S
    assert read_rows(service.database_url, "SELECT id FROM executions") == []
    assert "Traceback" not in service.log()


async def test_a_second_signal_ends_it_at_once(
    make_service: Callable[..., ServiceProcess], provider: StubProvider
) -> None:
    """Whatever it still waits for; what it has acknowledged is there afterwards."""
    service = make_service(FLOWKER_SHUTDOWN_DELAY_SECONDS="600")
    service.start()
    with service.client() as client:
        _make_workflows(Api(client), provider)
        execution_id = Api(client).deliver("quick", {}, 201)

    service.send(signal.SIGTERM)
    await _until(lambda: not service.is_ready())
    service.send(signal.SIGTERM)
    code = service.wait()
    service.start()
    with service.client() as client:
        status = Api(client).results(execution_id)["status"]

    assert code == -signal.SIGTERM
    assert status == "completed"


def _make_workflows(api: Api, provider: StubProvider) -> None:
    """One that ends at once, and one whose deliveries wait for a call."""
    provider.answers("POST", "/held", {"taken": True})
    configuration = api.configure("http", {"base_url": provider.url})
    output = {"id": "out", "type": "action", "data": {"actionType": "set_output", "output": {}}}
    api.activate(workflow("quick", [output], ("received", "out")))
    api.activate(workflow("held", [call("call", configuration, "/held")], ("received", "call")))


def _deliver_once(url: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/webhooks/quick", json={}, headers={"X-API-Key": KEY}, timeout=30)


def _waiting_acceptances(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    [told] = [line.split()[1] for line in lines if line.startswith("flowker_acceptances_waiting ")]
    return float(told)


async def _deliver(url: str, seen: Seen) -> None:
    """Deliver until nobody can connect any more. Of a request that gets no answer nothing may have been heard: the
    system resets connections that nobody has taken when their socket closes."""
    async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}, timeout=30) as client:
        while True:
            try:
                key = f"delivery-{next(NUMBERS)}"
                answer = await client.post("/v1/webhooks/quick", json={}, headers={"Idempotency-Key": key})
            except httpx.ConnectError:
                seen.refused()
                return
            except httpx.TransportError:
                seen.unanswered.append(key)
                seen.refused()
                return
            seen.statuses[answer.status_code] += 1
            if answer.status_code == 201:
                seen.accepted.add(answer.json()["executionId"])
                seen.accepted_while_draining += seen.not_ready_at_s is not None


async def _wait_for_the_end(url: str, seen: Seen) -> None:
    headers = {"X-API-Key": KEY, "Prefer": "wait=30"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        answer = await client.post("/v1/webhooks/held", json={})
    seen.waiting[answer.status_code, answer.json()["status"]] += 1
    seen.accepted.add(answer.json()["executionId"])


async def _look(url: str, seen: Seen) -> None:
    """As a load balancer does, only more often."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        while True:
            try:
                answer = await client.get("/health/ready")
            except httpx.TransportError:
                seen.refused()
                return
            if answer.status_code == 503:
                assert "drains" in answer.json()["checks"]["engine"]["message"]
                seen.not_ready_at_s = seen.not_ready_at_s or time.monotonic()
            await asyncio.sleep(0.02)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what another process does tells nobody
            await asyncio.sleep(0.05)
