"""Each database call of what the service does, failing once: the k-th of a scenario, for every k.

The service runs in this process with everything real but its clock, which is quick: what waits before it tries again
does so soon. A call fails in one of two ways: it is not carried out, or it is and nobody is told. Whichever
it is, the service has to recover by itself: it is not started again between one k and the next.
"""

import asyncio
import itertools
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from flowker.app import build
from flowker.engine.clock import Alarm
from flowker.settings import load_settings
from tests.reliability.database_calls import DatabaseCall, Moment, watched
from tests.reliability.promises import Row, Stored
from tests.reliability.stub_provider import Received, Reply, StubProvider

KEY = "reliability-key"
SPEED = 50
"""How much faster the clock of the service runs: its longest wait is 5 s."""

END_S = 20.0
ASK_AGAIN_MAX = 20

CALLS_MAX = 200
"""No scenario makes as many database calls: one that has no end would count what happens beside it for ever."""


IN_BACKGROUND = ("SELECT", "PRAGMA wal_checkpoint")
"""Calls that are made beside a scenario at times: whether one of them was met depends on the moment."""


class Way(Enum):
    """How a database call fails."""

    NOT_DONE = "is not carried out"
    NOT_TOLD = "is carried out, and nobody is told"


Target = int | str
"""Which call fails: the k-th, or the next with a name."""


class Failure:
    """Lets one database call fail, and none after it."""

    def __init__(self, database: str) -> None:
        self._make_error = _lose_connection if database == "postgresql" else _fail_on_disk
        self._gate = threading.Lock()
        self._target: Target = 0
        self._way = Way.NOT_DONE
        self._chosen: DatabaseCall | None = None
        self.seen: set[tuple[Way, str]] = set()
        """The names of all calls that were made while one was to fail."""
        self.struck: set[tuple[Way, str]] = set()
        """The names of those that failed."""

    def arm(self, target: Target, way: Way) -> None:
        with self._gate:
            self._target, self._way, self._chosen = target, way, None

    def disarm(self) -> bool:
        """Let nothing fail any more; whether a call has failed since it was armed."""
        with self._gate:
            self._target = 0
            return self._chosen is not None

    def watch(self, moment: Moment, call: DatabaseCall) -> None:
        with self._gate:
            if moment == "before" and self._target:
                self._look_at(call)
            fails = self._chosen is call and (moment == "before") == (self._way is Way.NOT_DONE)
        if fails:
            raise self._make_error(call)

    def _look_at(self, call: DatabaseCall) -> None:
        names = {(self._way, name) for name in call.names}
        self.seen |= names
        if isinstance(self._target, int):
            self._target -= 1
            is_chosen = not self._target
        else:
            is_chosen = self._target in call.names
        if is_chosen:
            self._target, self._chosen = 0, call
            self.struck |= names


def _fail_on_disk(_: DatabaseCall) -> Exception:
    return sqlite3.OperationalError("disk I/O error")


def _lose_connection(call: DatabaseCall) -> Exception:
    getattr(call.connection, "dbapi_connection", call.connection).close()
    return psycopg.OperationalError("the connection is lost")


class QuickClock:
    """Time that flies."""

    def __init__(self) -> None:
        self._began, self._began_s = datetime.now(UTC), time.monotonic()

    def now(self) -> datetime:
        return self._began + timedelta(seconds=(time.monotonic() - self._began_s) * SPEED)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        return asyncio.get_running_loop().call_later(seconds / SPEED, callback)


@dataclass
class World:
    """A service in this process, its far side, and what a sender knows of it."""

    client: httpx.AsyncClient
    failure: Failure
    read: Callable[[str], list[Row]]
    """Asks the database, past the service."""
    effects: Counter[str]
    expected: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        answer = await self.client.request(method, path, json=body, headers=headers)
        self.refused += answer.status_code == 500
        return answer

    async def ask_until(self, expected: set[int], method: str, path: str, body: Any = None) -> httpx.Response:
        """Ask again when the answer is that the service cannot just now."""
        for _ in range(ASK_AGAIN_MAX):
            answer = await self.ask(method, path, body)
            if answer.status_code != 500:
                break
            await asyncio.sleep(0.01)
        assert answer.status_code in expected, answer.text
        return answer

    def execution(self, key: str) -> Row | None:
        found = self.read(f"SELECT * FROM executions WHERE idempotency_key = '{key}'")  # noqa: S608 - our own keys
        assert len(found) <= 1, f"the key {key} started {len(found)} executions"
        return found[0] if found else None

    async def reach(self, key: str, reached: Callable[[Row], bool]) -> str:
        """Wait until an execution has come so far; its id."""
        deadline = time.monotonic() + END_S
        while (row := self.execution(key)) is None or not reached(row):
            assert time.monotonic() < deadline, f"{key} does not come to its end: {row}"
            await asyncio.sleep(0.005)
        return str(row["id"])

    async def end(self, key: str, status: str, *calls: str) -> None:
        """Wait for the end of an execution, which has made these calls by then."""
        execution_id = await self.reach(key, lambda row: row["completed_at"] is not None)
        row = self.execution(key)
        assert row is not None
        assert row["status"] == status, row
        self.expected.update(f"{execution_id}:{call}" for call in calls)

    async def deliver(self, path: str, key: str) -> httpx.Response:
        return await self.ask("POST", f"/v1/webhooks/{path}", {"amount": 5}, **{"Idempotency-Key": key})

    async def start(self, path: str, key: str, reached: Callable[[Row], bool]) -> str:
        """Without anything going wrong."""
        answer = await self.deliver(path, key)
        assert answer.status_code == 201, answer.text
        return await self.reach(key, reached)


async def delivers(world: World, key: str, target: Target, way: Way) -> None:
    """Acknowledged and completed once, or refused and not there; sent again, it is there once."""
    world.failure.arm(target, way)
    answer = await world.deliver("pays", key)
    if answer.status_code == 500:
        assert answer.headers["Retry-After"] == "1"
        assert way is Way.NOT_TOLD or world.execution(key) is None
        answer = await world.deliver("pays", key)
    assert answer.status_code in {201, 409}, answer.text
    await world.end(key, "completed", "debit", "credit")
    row = world.execution(key)
    assert row is not None
    assert answer.headers["X-Webhook-Execution-ID"] == row["id"]


async def decides(world: World, key: str, target: Target, way: Way) -> None:
    execution_id = await world.start("asks", key, lambda row: row["wake_at"] is not None)
    world.failure.arm(target, way)
    await world.ask_until({200}, "POST", f"/v1/executions/{execution_id}/signals/ask", {"decision": "approved"})
    await world.end(key, "completed", "call")


async def cancels(world: World, key: str, target: Target, way: Way) -> None:
    execution_id = await world.start("asks", key, lambda row: row["wake_at"] is not None)
    world.failure.arm(target, way)
    await world.ask_until({200}, "POST", f"/v1/executions/{execution_id}/cancel")
    await world.end(key, "failed")


async def retries(world: World, key: str, target: Target, way: Way) -> None:
    """Who is not told asks again, and may be told that it was done."""
    execution_id = await world.start("refused", key, lambda row: row["status"] == "failed")
    world.failure.arm(target, way)
    await world.ask_until({200, 409, 422}, "POST", f"/v1/executions/{execution_id}/retry")
    await world.reach(key, lambda row: row["status"] == "completed")
    await world.end(key, "completed", "call")


async def activates(world: World, key: str, target: Target, way: Way) -> None:
    """A workflow is made and activated, and then takes deliveries."""
    definition = workflow(key, [])
    world.failure.arm(target, way)
    answer = await world.ask("POST", "/v1/workflows", definition)
    found = world.read(f"SELECT id FROM workflows WHERE name = '{key}'")  # noqa: S608 - our own names
    assert len(found) == 1 if answer.status_code == 201 else len(found) <= (way is Way.NOT_TOLD)
    id_ = found[0]["id"] if found else await make(world, definition)
    answer = await world.ask_until({200, 409, 422}, "POST", f"/v1/workflows/{id_}/activate")
    [row] = world.read(f"SELECT status FROM workflows WHERE id = '{id_}'")  # noqa: S608 - our own ids
    assert row["status"] == "active", answer.text
    world.failure.disarm()
    await world.start(key, key, lambda row: row["status"] == "completed")


Scenario = Callable[[World, str, Target, Way], Awaitable[None]]
SCENARIOS = (delivers, decides, cancels, retries, activates)

NAMED = {
    *("insert executions", "journal accepted", "audit_events EXECUTION_STARTED", "commit of insert executions"),
    *("journal started", "commit of journal started", "journal settled", "commit of journal settled"),
    *("journal postponed", "commit of journal postponed", "update wake_at of executions"),
    *("executions completed", "audit_events EXECUTION_COMPLETED", "commit of executions completed"),
    *("journal decided", "audit_events APPROVAL_DECIDED", "commit of journal decided"),
    *("journal cancelled", "audit_events EXECUTION_CANCELLED", "commit of journal cancelled"),
    *("journal reopened", "audit_events EXECUTION_RETRIED", "commit of journal reopened"),
    *("insert workflows", "audit_events WORKFLOW_CREATED", "commit of insert workflows"),
    *("insert webhook_routes", "audit_events WORKFLOW_ACTIVATED", "commit of insert webhook_routes"),
}
"""Calls that have to be among those that failed."""


@pytest.mark.row("failpoints")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_any_database_call_may_fail(
    database: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    provider: StubProvider,
    record_property: Callable[[str, object], None],
) -> None:
    """Once, whichever it is, in either way: nothing that was answered is lost, and nothing is done twice."""
    environment = {"FLOWKER_DATABASE_URL": f"sqlite:///{tmp_path / 'flowker.db'}"}
    if database == "postgresql":
        environment = request.getfixturevalue("postgresql_environment")
    failure = Failure(database)
    async with begun(environment, failure, provider) as world:
        for scenario in SCENARIOS:
            counts = [await fail_each(world, scenario, way) for way in Way]
            record_property(f"database calls of {scenario.__name__}", " and ".join(map(str, counts)))
        stored = Stored(world.read)

    record_property("answers 500", world.refused)
    assert {name for _, name in failure.seen - failure.struck if not name.startswith(IN_BACKGROUND)} == set()
    assert {name for _, name in failure.struck} >= NAMED
    assert stored.broken_promises() == []
    assert {row["status"] for row in stored.executions} <= {"completed", "failed"}
    assert world.effects == world.expected


async def fail_each(world: World, scenario: Scenario, way: Way) -> int:
    """The scenario with its first call failing, then its second, until it has no more; how many it has.

    What the service does beside it counts too, and can push a call away from its place: it fails by its name then.
    """
    k = 0
    while await fail_one(world, scenario, k + 1, way):
        k += 1
        assert k < CALLS_MAX, "the scenario has no end"
    for _, name in sorted(world.failure.seen - world.failure.struck, key=lambda one: one[1]):
        await fail_one(world, scenario, name, way)
    return k


async def fail_one(world: World, scenario: Scenario, target: Target, way: Way) -> bool:
    """Whether there was such a call."""
    try:
        await scenario(world, f"key-{next(world.numbers)}", target, way)
    except AssertionError as error:
        pytest.fail(f"the call {target!r} {way.value}: {error}")
    return world.failure.disarm()


@asynccontextmanager
async def begun(environment: dict[str, str], failure: Failure, provider: StubProvider) -> AsyncIterator[World]:
    """A service with the workflows of the scenarios, whose database calls are watched."""
    with watched(failure.watch):
        settings = load_settings({"API_KEY": KEY, "FLOWKER_EGRESS_ALLOW": "127.0.0.0/8", **environment})
        service = build(settings, QuickClock())
        await service.start()
        try:
            transport = httpx.ASGITransport(service.asgi)
            headers = {"X-API-Key": KEY}
            async with httpx.AsyncClient(transport=transport, base_url="http://flowker", headers=headers) as client:
                with reading(environment["FLOWKER_DATABASE_URL"]) as read:
                    world = World(client, failure, read, provider.effects)
                    await set_up(world, provider)
                    yield world
        finally:
            await service.stop()


@contextmanager
def reading(database_url: str) -> Iterator[Callable[[str], list[Row]]]:
    """A connection of its own: a new one for each look would take longer than the look."""
    if database_url.startswith("postgresql://"):
        with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as server:
            yield lambda query: list(server.execute(query.encode()))
    else:
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as file:
            file.row_factory = sqlite3.Row
            yield lambda query: [dict(row) for row in file.execute(query)]


async def set_up(world: World, provider: StubProvider) -> None:
    known: set[str] = set()

    def refuse_first(received: Received) -> Reply:
        key = received.headers["idempotency-key"]
        if key not in known:
            known.add(key)
            return Reply(b"{}", 400)
        return provider.answer(Received("POST", "/ledger", received.headers, received.body, received.at_s))

    provider.ledger("POST", "/ledger", lambda _: Reply(b"{}"))
    provider.answers("POST", "/refused", refuse_first)
    body = {"name": "far side", "providerId": "http", "config": {"base_url": provider.url}}
    configuration = (await world.ask_until({201}, "POST", "/v1/provider-configurations", body)).json()["id"]

    def call(node_id: str, path: str) -> dict[str, Any]:
        members = {"executorId": "http.request", "providerConfigId": configuration, "path": path}
        return {"id": node_id, "type": "executor", "data": members}

    hold = {"id": "hold", "type": "action", "data": {"action": "delay", "seconds": 0.2}}
    ask = {"id": "ask", "type": "action", "data": {"action": "approval"}}
    pays = [call("debit", "/ledger"), hold, call("credit", "/ledger")]
    for definition in (
        workflow("pays", pays, "debit", "hold", "credit"),
        workflow("asks", [ask, call("call", "/ledger")], "ask", "call"),
        workflow("refused", [call("call", "/refused")], "call"),
    ):
        await world.ask_until({200}, "POST", f"/v1/workflows/{await make(world, definition)}/activate")


async def make(world: World, definition: dict[str, Any]) -> str:
    return str((await world.ask_until({201}, "POST", "/v1/workflows", definition)).json()["workflowId"])


def workflow(name: str, nodes: list[dict[str, Any]], *order: str) -> dict[str, Any]:
    """A workflow of nodes that follow one after the other."""
    received = {"id": "received", "type": "trigger", "data": {"triggerId": "webhook", "path": name}}
    edges = [
        {"id": f"{source}-{target}", "source": source, "target": target}
        for source, target in zip(("received", *order), order, strict=False)
    ]
    # Where time flies, the limit of an execution is soon reached.
    return {"name": name, "nodes": [received, *nodes], "edges": edges, "metadata": {"timeoutSeconds": 86_400}}
