"""kill -9 at random moments under load: every delivery becomes one execution, which comes to one end, audited.

The executions have what an execution can be in the middle of when the power goes: two calls at once to a far side
that is not always well, a join, a branch, a wait, and for some a decision of a person. Some senders wait for the end.
"""

import asyncio
import itertools
import os
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.reliability.conftest import KEY, Api, read_rows
from tests.reliability.stub_provider import Received, Reply, StubProvider

if TYPE_CHECKING:
    from tests.reliability.conftest import ForkedService

KILLS = int(os.environ.get("FLOWKER_TEST_KILLS", "25"))
ACKNOWLEDGED = int(os.environ.get("FLOWKER_TEST_ACKNOWLEDGED", "5000"))
SEED = os.environ.get("FLOWKER_TEST_KILL_SEED")

LOADS = [("sqlite", KILLS, ACKNOWLEDGED), ("postgresql", max(1, KILLS // 5), ACKNOWLEDGED // 8)]
"""On which database, how many kills, and how many acknowledgements at least."""

CONNECTIONS = 16
TERMINAL_WITHIN_S = 30.0
ANSWERED_WITHIN_S = 60.0

UNWELL_EVERY = 97
"""Each time after so many calls the far side does what it is asked for and answers 503."""

WAITS_EVERY = 8
"""Of the senders each so-manieth waits for the end."""

ASKS_EVERY = 50
"""Of the payments each so-manieth is large, and somebody is asked."""

LARGE = 1000
CALLS = ("debit", "credit")


def payment(configuration: str) -> dict[str, Any]:
    def call(name: str) -> dict[str, Any]:
        retry = {"maxAttempts": 10, "backoffSeconds": 0.1, "maxBackoffSeconds": 0.2}
        data = {"executorId": "http.request", "providerConfigId": configuration, "path": f"/{name}", "retry": retry}
        return {"id": name, "type": "executor", "data": data}

    def action(name: str, **data: Any) -> dict[str, Any]:
        return {"id": name, "type": "action", "data": data}

    def edge(source: str, target: str, **when: str) -> dict[str, Any]:
        return {"id": f"{source}-{target}", "source": source, "target": target, **when}

    small = {"condition": f"workflow.amount < {LARGE} AND debit.body.done == true", "join": "all"}
    return {
        "name": "payment",
        "nodes": [
            {"id": "received", "type": "trigger", "data": {"triggerId": "webhook", "path": "payments"}},
            *map(call, CALLS),
            {"id": "small", "type": "conditional", "data": small},
            action("hold", action="delay", seconds=0.05),
            action("ask", action="approval"),
            action("done", action="set_output", output={"paid": "{{workflow.amount}}"}),
        ],
        "edges": [
            edge("received", "done", condition="workflow.amount == 0"),
            edge("received", "debit", condition="workflow.amount > 0"),
            edge("received", "credit", condition="workflow.amount > 0"),
            edge("debit", "small"),
            edge("credit", "small"),
            edge("small", "hold", sourceHandle="true"),
            edge("small", "ask", sourceHandle="false"),
            edge("hold", "done"),
            edge("ask", "done"),
        ],
    }


def amount_of(key: str) -> int:
    """What the payment with this key is about: every other one is about nothing, and calls nobody."""
    number = int(key)
    return LARGE if number % ASKS_EVERY == 0 else 5 * (number % 2 == 0)


@dataclass
class FarSide:
    """A ledger that has one effect for each key, however often it is asked, and is not always well."""

    provider: StubProvider
    requests: Counter[str] = field(default_factory=Counter)
    _gate: threading.Lock = field(default_factory=threading.Lock)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        for name in CALLS:
            self.provider.ledger("POST", f"/ledger/{name}", lambda _: Reply(b'{"done": true}'))
            self.provider.answers("POST", f"/{name}", self._answer)

    def _answer(self, received: Received) -> Reply:
        with self._gate:
            self.requests[received.headers["idempotency-key"]] += 1
            is_unwell = next(self._numbers) % UNWELL_EVERY == 0
        inside = Received("POST", f"/ledger{received.path}", received.headers, received.body, received.at_s)
        reply = self.provider.answer(inside)
        return Reply(b"{}", 503) if is_unwell else reply


@dataclass
class Senders:
    """Whoever sends payments and decides about the large ones, and what they know."""

    url: str = ""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """By idempotency key the execution that the service named."""
    told_ended: set[str] = field(default_factory=set)
    """Executions of which the service said that they are completed, to those who waited for it."""
    unanswered: deque[str] = field(default_factory=deque)
    """Sent, and to be sent again: the service was killed before it answered."""
    undecided: deque[str] = field(default_factory=deque)
    sent_again: int = 0
    decided: int = 0
    _new_keys: Iterator[str] = field(default_factory=lambda: map(str, itertools.count(1)))

    async def go_on(self, *, only_what_is_open: bool = False) -> None:
        """Send from several connections until the service is gone, or all that is open is answered."""
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        timeout = aiohttp.ClientTimeout(ANSWERED_WITHIN_S)
        headers = {"X-API-Key": KEY}
        async with aiohttp.ClientSession(self.url, connector=connector, headers=headers, timeout=timeout) as client:
            deciding = asyncio.create_task(self._decide_on(client))
            await asyncio.gather(*[self._send_on(client, only_what_is_open) for _ in range(CONNECTIONS - 1)])
            if only_what_is_open:
                await self._until(lambda: not self.undecided)
            deciding.cancel()
            await asyncio.wait([deciding])

    async def until_acknowledged(self, count: int) -> None:
        await self._until(lambda: len(self.acknowledged) >= count)

    async def _until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + ANSWERED_WITHIN_S
        while not reached():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)

    async def _send_on(self, client: aiohttp.ClientSession, only_what_is_open: bool) -> None:
        while self.unanswered or not only_what_is_open:
            again = bool(self.unanswered)
            key = self.unanswered.popleft() if again else next(self._new_keys)
            self.sent_again += again
            try:
                await self._send(client, key, again=again)
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                self.unanswered.append(key)
                return

    async def _send(self, client: aiohttp.ClientSession, key: str, *, again: bool) -> None:
        headers = {"Idempotency-Key": key, **({"Prefer": "wait=5"} if int(key) % WAITS_EVERY == 0 else {})}
        amount = amount_of(key)
        async with client.post("/v1/webhooks/payments", json={"amount": amount}, headers=headers) as answer:
            told = await answer.json()
            assert answer.status in ({200, 201, 409} if again else {200, 201}), f"{answer.status} {told}"
            execution_id = self.acknowledged[key] = answer.headers["X-Webhook-Execution-ID"]
        if answer.status == 200:
            assert told["status"] == "completed"
            self.told_ended.add(execution_id)
        if amount >= LARGE:
            self.undecided.append(execution_id)

    async def _decide_on(self, client: aiohttp.ClientSession) -> None:
        while True:
            if not self.undecided:
                await asyncio.sleep(0.01)
                continue
            execution_id = self.undecided[0]
            try:
                path = f"/v1/executions/{execution_id}/signals/ask"
                async with client.post(path, json={"decision": "approved"}) as answer:
                    # The execution may not have come so far yet.
                    assert answer.status in {200, 409}, await answer.text()
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                return
            self.undecided.rotate(-1)
            if answer.status == 200:
                self.undecided.remove(execution_id)
                self.decided += 1
            else:
                await asyncio.sleep(0.01)


@pytest.mark.row("kill -9 at random moments under load")
@pytest.mark.parametrize(("database", "kills", "wanted"), LOADS)
async def test_kills_lose_and_double_none_of_many_deliveries(
    make_forked: Callable[..., "ForkedService"],
    provider: StubProvider,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    database: str,
    kills: int,
    wanted: int,
) -> None:
    """Also of those that got no answer and were sent again: one execution, one effect of each call, one end."""
    seed = int(SEED) if SEED else secrets.randbits(32)
    record_property("seed", seed)
    environment = request.getfixturevalue("postgresql_environment") if database == "postgresql" else {}
    service = make_forked(FLOWKER_EGRESS_ALLOW="127.0.0.0/8", **environment)
    far_side, senders = FarSide(provider), Senders()
    begin(service, provider.url)

    try:
        for kill in range(1, kills + 1):
            await kill_once(service, senders, Random(f"{seed} {kill}"), wanted * kill // kills)  # noqa: S311 - no secret
            check_none_is_lost(service, senders)
            provider.received.clear()
    except AssertionError as error:
        pytest.fail(f"kill {kill} of {kills}: FLOWKER_TEST_KILL_SEED={seed} repeats the moments: {error}")
    started_s = time.monotonic()
    await senders.go_on(only_what_is_open=True)
    statuses = await_ends(service, started_s + TERMINAL_WITHIN_S)
    ended_s = time.monotonic() - started_s
    service.stop()

    tell(record_property, kills, senders, far_side, ended_s)
    ids = list(senders.acknowledged.values())
    assert len(ids) == len(set(ids)) >= wanted
    assert senders.sent_again >= kills
    assert senders.decided >= wanted // ASKS_EVERY
    assert statuses == dict.fromkeys(ids, "completed")
    assert senders.told_ended <= statuses.keys()
    paid = [id_ for key, id_ in senders.acknowledged.items() if amount_of(key) > 0]
    assert far_side.provider.effects == {f"{id_}:{name}": 1 for id_ in paid for name in CALLS}
    check_store(service, senders.acknowledged)


def begin(service: "ForkedService", far_side_url: str) -> None:
    service.start()
    with service.client() as client:
        api = Api(client)
        api.activate(payment(api.configure("http", {"base_url": far_side_url})))


async def kill_once(service: "ForkedService", senders: Senders, chance: Random, enough: int) -> None:
    """Send until about so much is acknowledged, kill the service at a moment after that, and start it again."""
    senders.url = service.url
    sending = asyncio.create_task(senders.go_on())
    reached = asyncio.create_task(senders.until_acknowledged(enough))
    await asyncio.wait([sending, reached], return_when=asyncio.FIRST_COMPLETED)
    if not reached.done():
        reached.cancel()
        await sending
        raise AssertionError("the service is gone before it was killed")
    await reached
    await asyncio.sleep(chance.uniform(0, 0.2))
    service.kill()
    await sending
    await asyncio.to_thread(service.start)
    senders.url = service.url


def check_none_is_lost(service: "ForkedService", senders: Senders) -> None:
    [stored] = read_rows(service.database_url, "SELECT count(*) AS executions FROM executions")
    assert stored["executions"] >= len(senders.acknowledged), "an acknowledged execution is lost"


def await_ends(service: "ForkedService", deadline_s: float) -> dict[str, str]:
    """The status of each execution when all have ended, or when the time for that is over."""
    with service.client() as client:
        while list_statuses(client, "status=running&limit=1") and time.monotonic() < deadline_s:
            time.sleep(0.02)
        return list_statuses(client, "limit=100")


def list_statuses(client: Any, query: str) -> dict[str, str]:
    """Of all executions as the service lists them; of the first page, if there is a limit of one."""
    statuses: dict[str, str] = {}
    cursor = ""
    while True:
        page = client.get(f"/v1/executions?{query}&cursor={cursor}").raise_for_status().json()
        for execution in page["items"]:
            assert execution["executionId"] not in statuses
            statuses[execution["executionId"]] = execution["status"]
        if not page["hasMore"] or query.endswith("limit=1"):
            return statuses
        cursor = page["nextCursor"]


def check_store(service: "ForkedService", acknowledged: dict[str, str]) -> None:
    """One execution for each key, the audit of each once, and a chain without a gap."""
    stored = read_rows(service.database_url, "SELECT idempotency_key, id FROM executions")
    assert sorted((row["idempotency_key"], row["id"]) for row in stored) == sorted(acknowledged.items())
    audited = read_rows(
        service.database_url,
        "SELECT event_type, count(*) AS events, count(DISTINCT resource_id) AS executions"
        " FROM audit_events WHERE resource_type = 'execution' GROUP BY event_type",
    )
    told = {row["event_type"]: (row["events"], row["executions"]) for row in audited}
    count = len(acknowledged)
    paid = sum(amount_of(key) > 0 for key in acknowledged)
    asked = sum(amount_of(key) >= LARGE for key in acknowledged)
    assert told["EXECUTION_STARTED"] == told["EXECUTION_COMPLETED"] == (count, count)
    assert told["APPROVAL_REQUESTED"] == told["APPROVAL_DECIDED"] == (asked, asked)
    assert told["PROVIDER_CALL_COMPLETED"] == (len(CALLS) * paid, paid)
    assert "is as it was written." in service.command("audit", "verify")


def tell(
    record_property: Callable[[str, object], None], kills: int, senders: Senders, far_side: FarSide, ended_s: float
) -> None:
    requests = far_side.requests
    record_property("kills", kills)
    record_property("acknowledged", len(senders.acknowledged))
    record_property("of them to senders who waited for the end", len(senders.told_ended))
    record_property("sent again", senders.sent_again)
    record_property("effects", len(far_side.provider.effects))
    record_property("requests to the far side", requests.total())
    record_property("calls that were made more than once", sum(count > 1 for count in requests.values()))
    record_property("decisions", senders.decided)
    record_property("all ended after the last start in s", round(ended_s, 1))
