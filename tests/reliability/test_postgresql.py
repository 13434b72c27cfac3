"""The whole service on PostgreSQL: it takes over, is taken over from, and outlives its server."""

import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from flowker import demo
from tests.conftest import PostgresqlServer
from tests.reliability.conftest import KEY, Api, read_rows
from tests.reliability.stub_provider import Received, Reply

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess
    from tests.reliability.stub_provider import StubProvider

Make = Callable[..., "ServiceProcess"]

CALLS = 20
"""Executions that are in the middle of a call when their process is frozen."""

TAKE_OVER_WITHIN_S = 30.0
"""It takes about two seconds after an end, and the lease more after a process has frozen."""

OUTAGE_S = 2.0
END_WITHIN_S = 30.0


@pytest.mark.row("a service on PostgreSQL")
def test_the_first_example_works_as_on_a_file(make_forked: Make, postgresql_environment: dict[str, str]) -> None:
    """And so do the commands beside the service; none of them shows the password."""
    service = make_forked(**postgresql_environment)
    service.start()

    shown = service.run("demo", "--url", service.url)
    upgraded, verified = service.run("db", "upgrade"), service.run("audit", "verify")
    rotated = service.run("secrets", "rotate")

    assert [one.returncode for one in (shown, upgraded, verified, rotated)] == [0] * 4, shown.stderr
    assert "Execution  completed" in shown.stdout
    assert upgraded.stdout.endswith(" is up to date\n")
    assert "postgres:" not in upgraded.stdout
    assert "is as it was written" in verified.stdout


@pytest.mark.row("two workers: one takes over from the other")
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_who_stands_by_takes_over(
    make_forked: Make,
    postgresql_environment: dict[str, str],
    record_property: Callable[[str, object], None],
    end: str,
) -> None:
    """It accepts nothing before, and goes on with what the first one has accepted."""
    first = make_forked("first", **postgresql_environment)
    second = make_forked("second", **postgresql_environment)
    first.start()
    with first.client() as client:
        Api(client).activate(_delayed("waits", seconds=2))
        accepted = Api(client).deliver("waits", {}, 201)
    second.start(standing_by=True)
    with second.client() as client:
        refused = client.post("/v1/webhooks/waits", json={})
        getattr(first, end)()
        gone_s = time.monotonic()
        second.await_ready()
        record_property("without a service", f"{time.monotonic() - gone_s:.1f} s")
        results = Api(client).results(accepted)

    assert (refused.status_code, refused.headers["Retry-After"]) == (500, "1")
    assert results["status"] == "completed"
    assert second.log().count("standing by") == 1
    assert "this process drives the store now" in second.log()


@pytest.mark.row("two workers, one frozen and thawed")
def test_a_frozen_process_loses_its_store_and_changes_nothing_when_it_is_thawed(
    make_forked: Make,
    postgresql_environment: dict[str, str],
    provider: "StubProvider",
    record_property: Callable[[str, object], None],
) -> None:
    """It was in the middle of calls: both made them, with the same keys, and each execution ended once."""
    environment = {**postgresql_environment, "FLOWKER_EGRESS_ALLOW": "127.0.0.1/32"}
    first, second = make_forked("first", **environment), make_forked("second", **environment)
    may_answer = threading.Event()

    def answer(_: Received) -> Reply:
        may_answer.wait(END_WITHIN_S)
        return Reply(b"{}")

    provider.ledger("POST", "/pay", answer)
    first.start()
    with first.client() as client:
        configuration_id = Api(client).configure("http", {"base_url": provider.url})
        Api(client).activate(_calling("pays", configuration_id))
        ids = [Api(client).deliver("pays", {"number": number}, 201) for number in range(CALLS)]
    _until(lambda: len(provider.received) == CALLS)
    second.start(standing_by=True)

    first.send(signal.SIGSTOP)
    frozen_s = time.monotonic()
    second.await_ready()
    record_property("executions in a call", CALLS)
    record_property("without a service", f"{time.monotonic() - frozen_s:.1f} s")
    _until(lambda: len(provider.received) == 2 * CALLS)
    may_answer.set()
    with second.client() as client:
        statuses = {Api(client).results(id_)["status"] for id_ in ids}
    before = _what_is_stored(first.database_url)
    first.send(signal.SIGCONT)
    _until(lambda: "the lock of the store is lost" in first.log())
    ready = [first.is_ready(), second.is_ready()]
    second.stop()
    first.await_ready()
    first.stop()

    after = _what_is_stored(first.database_url)
    record_property("rows written by the thawed one", sum(len(after[name]) - len(before[name]) for name in after))
    assert statuses == {"completed"}
    assert ready == [False, True]
    assert after == before
    assert Counter(row["event_type"] for row in before["audit_events"] if row["resource_id"] in ids) == {
        "EXECUTION_STARTED": CALLS,
        "PROVIDER_CALL_STARTED": 2 * CALLS,
        "PROVIDER_CALL_COMPLETED": CALLS,
        "EXECUTION_COMPLETED": CALLS,
    }
    assert provider.effects == dict.fromkeys([f"{id_}:call" for id_ in ids], 1)


@pytest.mark.row("PostgreSQL away for a while")
def test_a_server_that_is_away_for_a_while_loses_nothing(
    make_forked: Make,
    postgresql_environment: dict[str, str],
    postgresql_server: PostgresqlServer,
    record_property: Callable[[str, object], None],
) -> None:
    """Nothing is accepted meanwhile, and nobody has to start anything anew."""
    service = make_forked(**postgresql_environment)
    service.start()
    demo.ensure_sample(demo.Client(service.url, KEY))
    sender = Sender(service.url)

    _until(lambda: len(sender.accepted) >= 20)
    postgresql_server.cut_off(service.database_url)
    refused_from = len(sender.refused)
    accepted_until = len(sender.accepted)
    time.sleep(OUTAGE_S)  # The outage itself: it is this long.
    refused, accepted = sender.refused[refused_from:], sender.accepted.copy()
    postgresql_server.let_in(service.database_url)
    service.await_ready()
    _until(lambda: len(sender.accepted) >= len(accepted) + 20)
    sender.stop()

    with service.client() as client:
        statuses = {Api(client).results(id_)["status"] for id_ in sender.accepted.values()}
    rows = read_rows(service.database_url, "SELECT id FROM executions")
    record_property("seconds away", OUTAGE_S)
    record_property("acknowledged", len(sender.accepted))
    record_property("refused meanwhile", len(refused))
    record_property("lost", len(sender.accepted) - len(rows))
    assert len(accepted) <= accepted_until + 1
    assert refused
    assert {(answer.status_code, answer.headers.get("Retry-After")) for answer in refused} == {(500, "1")}
    assert sorted(row["id"] for row in rows) == sorted(sender.accepted.values())
    assert statuses == {"completed"}
    assert service.run("audit", "verify").returncode == 0


class Sender:
    """Delivers one after another, and again what was refused, as senders do."""

    def __init__(self, url: str) -> None:
        self.accepted: dict[str, str] = {}
        """The execution of each idempotency key."""
        self.refused: list[httpx.Response] = []
        self._url = url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, headers={"X-API-Key": KEY}, timeout=60) as client:
            while not self._stopping.is_set():
                key = f"delivery-{secrets.token_hex(8)}"
                while not self._deliver(client, key):
                    time.sleep(0.05)  # A sender that hurries more than it was asked to.

    def _deliver(self, client: httpx.Client, key: str) -> bool:
        payload = {"paymentId": key, "amount": 1, "currency": "BRL"}
        answer = client.post(f"/v1/webhooks/{demo.WEBHOOK_PATH}", json=payload, headers={"Idempotency-Key": key})
        # 409 says that it was accepted, and that the answer was lost.
        if answer.status_code in {201, 409}:
            self.accepted[key] = answer.headers["X-Webhook-Execution-ID"]
            return True
        self.refused.append(answer)
        return False


def _delayed(path: str, *, seconds: int) -> dict[str, Any]:
    return _workflow(path, {"id": "later", "type": "action", "data": {"action": "delay", "seconds": seconds}})


def _calling(path: str, configuration_id: str) -> dict[str, Any]:
    data = {
        "executorId": "http.request",
        "providerConfigId": configuration_id,
        "method": "POST",
        "path": "/pay",
        "timeout": 60,
    }
    return _workflow(path, {"id": "call", "type": "executor", "data": data})


def _workflow(path: str, node: dict[str, Any]) -> dict[str, Any]:
    trigger = {"id": "hook", "type": "trigger", "data": {"path": path}}
    edges = [{"id": "e", "source": "hook", "target": node["id"]}]
    return {"name": path, "nodes": [trigger, node], "edges": edges}


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TAKE_OVER_WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _what_is_stored(url: str) -> dict[str, list[dict[str, Any]]]:
    queries = {
        "executions": "SELECT * FROM executions ORDER BY id",
        "journal": "SELECT * FROM journal ORDER BY execution_id, seq",
        "audit_events": "SELECT * FROM audit_events ORDER BY sequence",
    }
    return {name: read_rows(url, query) for name, query in queries.items()}
