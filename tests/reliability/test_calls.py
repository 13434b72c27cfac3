"""Calls of the whole service to a far side that goes wrong: what arrives, what is repeated, what is one effect."""

import json
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.reliability.conftest import Api
from tests.reliability.stub_provider import PATIENCE_S, SLOW_S, Fault, Received, Reply, StubProvider

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

RETRY = {"maxAttempts": 3, "backoffSeconds": 0.1}


def trigger(path: str) -> dict[str, Any]:
    return {"id": "received", "type": "trigger", "data": {"triggerId": "webhook", "path": path}}


def call(node_id: str, configuration: str, path: str, **data: Any) -> dict[str, Any]:
    members = {"executorId": "http.request", "providerConfigId": configuration, "path": path, "retry": RETRY, **data}
    return {"id": node_id, "type": "executor", "data": members}


def workflow(name: str, nodes: list[dict[str, Any]], *edges: tuple[str, str]) -> dict[str, Any]:
    drawn = [{"id": f"e{n}", "source": source, "target": target} for n, (source, target) in enumerate(edges)]
    return {"name": name, "nodes": [trigger(name), *nodes], "edges": drawn}


@pytest.fixture
def configuration(api: Api, provider: StubProvider) -> str:
    return api.configure("http", {"base_url": provider.url})


class TestMoney:
    def test_amounts_arrive_and_come_back_digit_by_digit(
        self, api: Api, provider: StubProvider, configuration: str
    ) -> None:
        """Through webhook, journal, call, answer, mapping, second call and output."""
        provider.answers("POST", "/first", b'{"total": 100.10, "account": 12345678901234567890, "fee": 0.10}')
        provider.answers("POST", "/second", b'{"ok": true}')
        again = [
            {"source": "first.body.total", "target": "total"},
            {"source": "first.body.account", "target": "account"},
            {"source": "workflow.amount", "target": "legs[0].amount"},
            {"source": "workflow.rate", "target": "legs[0].rate"},
        ]
        nodes = [
            call("first", configuration, "/first"),
            call("second", configuration, "/second", inputMapping=again),
        ]
        api.activate(workflow("money", nodes, ("received", "first"), ("first", "second")))
        sent = '{"amount":100.10,"account":12345678901234567890,"rate":1.00000000000000000000000001}'

        execution_id = api.deliver("money", sent, Prefer="wait=10")

        first, second = provider.received
        assert first.body == sent.encode()
        assert second.body == (
            b'{"total":100.10,"account":12345678901234567890,'
            b'"legs":[{"amount":100.10,"rate":1.00000000000000000000000001}]}'
        )
        told = api.results_text(execution_id).replace(" ", "")
        assert sent[1:-1] in told
        assert '"body":{"total":100.10,"account":12345678901234567890,"fee":0.10}' in told


class TestBranches:
    def test_branches_are_under_way_at_once_and_a_join_runs_once(
        self, api: Api, provider: StubProvider, configuration: str
    ) -> None:
        """Neither far side answers before both were asked: one after the other they would never end."""
        both = threading.Barrier(2, timeout=PATIENCE_S)

        def answer_together(received: Received) -> Reply:
            both.wait()
            return Reply(json.dumps({"from": received.path}).encode())

        for path in ("/left", "/right"):
            provider.answers("POST", path, answer_together)
        provider.answers("POST", "/join", {"ok": True})
        sides = [
            {"source": "left.body.from", "target": "left", "required": True},
            {"source": "right.body.from", "target": "right", "required": True},
        ]
        nodes = [
            call("left", configuration, "/left"),
            call("right", configuration, "/right"),
            call("join", configuration, "/join", inputMapping=sides),
        ]
        edges = [("received", "left"), ("received", "right"), ("left", "join"), ("right", "join")]
        api.activate(workflow("diamond", nodes, *edges))

        execution_id = api.deliver("diamond", {}, Prefer="wait=10")

        (joined,) = provider.received_at("/join")
        assert joined.body == b'{"left":"/left","right":"/right"}'
        assert len(provider.received) == 3
        assert {node: step["attempts"] for node, step in api.steps(execution_id).items()} == {
            "left": 1,
            "right": 1,
            "join": 1,
        }

    def test_a_slow_branch_holds_up_no_other(self, api: Api, provider: StubProvider, configuration: str) -> None:
        """A branch of two calls ends while the first call of the other one is still waiting."""
        released = threading.Event()

        def answer_late(_: Received) -> Reply:
            assert released.wait(PATIENCE_S)
            return Reply(b"{}")

        def release(_: Received) -> Reply:
            released.set()
            return Reply(b"{}")

        provider.answers("POST", "/slow", answer_late)
        provider.answers("POST", "/quick", {})
        provider.answers("POST", "/then", release)
        nodes = [call(name, configuration, f"/{name}") for name in ("slow", "quick", "then")]
        api.activate(workflow("uneven", nodes, ("received", "slow"), ("received", "quick"), ("quick", "then")))

        execution_id = api.deliver("uneven", {}, Prefer="wait=10")

        assert api.results(execution_id)["status"] == "completed"
        assert [received.path for received in provider.received if received.path == "/slow"] == ["/slow"]


class TestLedger:
    """A path that moves money, once for each key."""

    @pytest.fixture
    def ledger(self, provider: StubProvider) -> StubProvider:
        def move(received: Received) -> Reply:
            amount = json.loads(received.body, parse_float=Decimal)["amount"]
            return Reply(json.dumps({"id": f"t-{len(provider.effects)}", "moved": str(amount)}).encode(), 201)

        provider.ledger("POST", "/transactions", move)
        return provider

    @pytest.mark.parametrize("lost", [1, 2])
    def test_an_answer_that_is_lost_is_asked_for_again(
        self, api: Api, ledger: StubProvider, configuration: str, lost: int
    ) -> None:
        """With the same key: the money moves once, and the execution learns where it went."""
        name = f"lost-{lost}"
        api.activate(workflow(name, [call("pay", configuration, "/transactions")], ("received", "pay")))
        ledger.plan("/transactions", *[Fault.LOST] * lost)

        execution_id = api.deliver(name, {"amount": 5}, Prefer="wait=20")

        keys = [received.headers["idempotency-key"] for received in ledger.received]
        assert keys == [f"{execution_id}:pay"] * (lost + 1)
        assert len({received.body for received in ledger.received}) == 1
        assert ledger.effects == {f"{execution_id}:pay": 1}
        step = api.steps(execution_id)["pay"]
        assert step["status"] == "completed"
        assert step["attempts"] == lost + 1
        assert step["output"]["body"] == {"id": "t-1", "moved": "5"}

    def test_executions_have_effects_of_their_own(self, api: Api, ledger: StubProvider, configuration: str) -> None:
        """And so have two nodes of one that ask for the same."""
        nodes = [call(name, configuration, "/transactions") for name in ("pay", "pay-again")]
        api.activate(workflow("twice", nodes, ("received", "pay"), ("pay", "pay-again")))

        ids = [api.deliver("twice", {"amount": 5}, Prefer="wait=10") for _ in range(2)]

        assert ledger.effects == {f"{id_}:{name}": 1 for id_ in ids for name in ("pay", "pay-again")}

    def test_a_kill_between_effect_and_commit_makes_no_second_effect(
        self, make_forked: Callable[..., "ServiceProcess"], ledger: StubProvider
    ) -> None:
        """The service dies while the answer is on its way, and what starts after it repeats the call."""
        applied, killed = threading.Event(), threading.Event()
        carry_out = ledger.answer

        def move_and_wait(received: Received) -> Reply:
            reply = carry_out(replace_path(received, "/transactions"))
            applied.set()
            assert killed.wait(PATIENCE_S)
            return reply

        ledger.answers("POST", "/slow-transactions", move_and_wait)
        service = make_forked(FLOWKER_EGRESS_ALLOW="127.0.0.0/8")
        service.start()
        with service.client() as client:
            api = Api(client)
            configuration = api.configure("http", {"base_url": ledger.url})
            api.activate(workflow("killed", [call("pay", configuration, "/slow-transactions")], ("received", "pay")))
            execution_id = api.deliver("killed", {"amount": 5}, 201)
        assert applied.wait(PATIENCE_S)
        service.kill()
        killed.set()
        service.start()
        with service.client() as client:
            results = Api(client).results(execution_id)

        assert [received.headers["idempotency-key"] for received in ledger.received] == [f"{execution_id}:pay"] * 2
        assert ledger.received[0].body == ledger.received[1].body
        assert ledger.effects == {f"{execution_id}:pay": 1}
        assert results["status"] == "completed"
        assert results["stepResults"][0]["output"]["body"] == {"id": "t-1", "moved": "5"}


def replace_path(received: Received, path: str) -> Received:
    return Received(received.method, path, received.headers, received.body, received.at_s)


class TestAddresses:
    @pytest.fixture
    def inside(self) -> Iterator[StubProvider]:
        """A far side at an address to which this deployment makes no calls."""
        stub = StubProvider("127.0.0.2")
        stub.answers("POST", "/call", {"secret": True})
        yield stub
        stub.close()

    @pytest.mark.parametrize("way", ["directly", "redirected"])
    def test_nothing_arrives_where_calls_may_not_go(
        self, api: Api, provider: StubProvider, inside: StubProvider, way: str
    ) -> None:
        """Neither straight away nor by a redirect, and nobody tries again."""

        def redirect(_: Received) -> Reply:
            return Reply(b"", 307, {"Location": f"{inside.url}/call"})

        provider.answers("POST", "/call", redirect)
        url = inside.url if way == "directly" else provider.url
        configuration = api.configure("http", {"base_url": url, "allow_redirects": True})
        api.activate(workflow(f"inside-{way}", [call("c", configuration, "/call")], ("received", "c")))

        execution_id = api.deliver(f"inside-{way}", {"amount": 5}, Prefer="wait=20")

        step = api.steps(execution_id)["c"]
        assert inside.received == []
        assert httpx.post(f"{inside.url}/call").json() == {"secret": True}
        assert len(provider.received) == (way == "redirected")
        assert (step["status"], step["attempts"]) == ("failed", 1)
        assert "address not allowed" in step["errorMessage"]


class TestFaults:
    """One call that meets one fault, and what becomes of the execution."""

    @pytest.mark.parametrize(
        ("fault", "attempts"),
        [
            (Fault.RESET, 2),
            (Fault.BLACK_HOLE, 2),
            (Fault.SLOW, 1),
            (Fault.TRUNCATED, 2),
            (Fault.TOO_MANY, 2),
            (Fault.UNAVAILABLE, 2),
        ],
        ids=lambda value: value.name.lower() if isinstance(value, Fault) else "",
    )
    def test_what_can_succeed_later_does(
        self, api: Api, provider: StubProvider, configuration: str, fault: Fault, attempts: int
    ) -> None:
        """With the same key, and no more attempts than it takes."""
        name = f"fault-{fault.name.lower()}"
        provider.answers("POST", "/call", {"ok": True})
        provider.plan("/call", fault)
        api.activate(workflow(name, [call("c", configuration, "/call", timeout=1)], ("received", "c")))

        execution_id = api.deliver(name, {}, Prefer="wait=20")

        step = api.steps(execution_id)["c"]
        assert (step["status"], step["attempts"]) == ("completed", attempts)
        assert step["output"]["body"] == {"ok": True}
        assert [received.headers["idempotency-key"] for received in provider.received] == [
            f"{execution_id}:c"
        ] * attempts
        parents = {received.headers["traceparent"] for received in provider.received}
        assert len(parents) == attempts
        assert {parent[3:35] for parent in parents} == {execution_id.replace("-", "")}
        if fault is Fault.SLOW:
            assert step["durationMs"] >= SLOW_S * 1000
        if fault is Fault.TOO_MANY:
            assert provider.received[1].at_s - provider.received[0].at_s >= 1

    def test_an_answer_that_is_too_large_is_not_asked_for_again(
        self, api: Api, provider: StubProvider, configuration: str
    ) -> None:
        """It would be too large again, and its effect is there."""
        provider.answers("POST", "/call", {})
        provider.plan("/call", Fault.HUGE)
        api.activate(workflow("fault-huge", [call("c", configuration, "/call")], ("received", "c")))

        execution_id = api.deliver("fault-huge", {}, Prefer="wait=20")

        results = api.results(execution_id)
        assert results["status"] == "failed"
        assert "the response is larger than 1048576 bytes" in results["errorMessage"]
        assert len(provider.received) == 1

    def test_attempts_come_to_an_end(self, api: Api, provider: StubProvider, configuration: str) -> None:
        """After as many as the node says; an error edge goes on with what the last one was told."""
        provider.plan("/call", *[Fault.UNAVAILABLE] * 10)
        definition = workflow("fault-always", [call("c", configuration, "/call")], ("received", "c"), ("c", "told"))
        told = {"action": "set_output", "output": {"status": "{{c.status}}"}}
        definition["nodes"].append({"id": "told", "type": "action", "data": told})
        definition["edges"][1]["sourceHandle"] = "error"
        api.activate(definition)

        execution_id = api.deliver("fault-always", {}, Prefer="wait=20")

        results = api.results(execution_id)
        assert len(provider.received) == RETRY["maxAttempts"]
        assert results["status"] == "completed"
        assert results["finalOutput"] == {"status": 503}
