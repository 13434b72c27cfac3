"""What a sender does of which a service may die in the middle, and the boundaries at which it may.

A scenario is done again by the same sender until it has come to its end: it knows its keys, and what it was told.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from tests.reliability.stub_provider import Received, Reply, StubProvider

if TYPE_CHECKING:
    from tests.reliability.conftest import Api, ForkedService

END_S = 20.0
SENT = "call sent, answer not read"
"""The one boundary that lies outside of the process: the far side kills it."""


class FarSide:
    """A ledger that has one effect for each key, and is not well when it is asked for something the first time."""

    def __init__(self, provider: StubProvider) -> None:
        self.provider = provider
        self.strike: Callable[[], None] | None = None
        provider.ledger("POST", "/ledger", lambda _: Reply(b'{"done": true}'))
        provider.answers("POST", "/debit", self._carry_out)
        provider.answers("POST", "/credit", self._carry_out)
        provider.answers("POST", "/busy", partial(self._begin_with, 503))
        provider.answers("POST", "/refused", partial(self._begin_with, 400))
        self._known: set[str] = set()

    def calls_of(self, execution_id: str) -> dict[str, int]:
        """How often each node's effect was had."""
        effects = self.provider.effects.items()
        return {key.partition(":")[2]: count for key, count in effects if key.startswith(execution_id)}

    def _carry_out(self, received: Received) -> Reply:
        reply = self.provider.answer(Received("POST", "/ledger", received.headers, received.body, received.at_s))
        strike, self.strike = self.strike, None
        if strike is not None:
            strike()
        return reply

    def _begin_with(self, status: int, received: Received) -> Reply:
        key = received.headers["idempotency-key"]
        if key in self._known:
            return self._carry_out(received)
        self._known.add(key)
        return Reply(b"{}", status)


class Sender:
    """Asks until it is answered, whoever answers, and compares what it is told with what it was told before."""

    def __init__(self, service: "ForkedService") -> None:
        self._service = service
        self._client: httpx.Client
        self.acknowledged: dict[str, str] = {}
        """By key the execution that the service named."""

    @contextmanager
    def connected(self) -> Iterator["Sender"]:
        """With the process that is the service now."""
        with self._service.client() as self._client:
            yield self

    def ask(self, method: str, path: str, body: Any = None, *, expect: Sequence[int] = (200,), **headers: str) -> Any:
        answer = self._client.request(method, path, json=body, headers=headers)
        assert answer.status_code in expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def deliver(self, path: str, **headers: str) -> str:
        """The execution that a key leads to, each time the same."""
        answer = self.ask(
            "POST",
            f"/v1/webhooks/{path}",
            {"amount": 5},
            expect=(200, 201, 409),
            **{"Idempotency-Key": f"key-{path}", **headers},
        )
        execution_id = str(answer.headers["X-Webhook-Execution-ID"])
        assert self.acknowledged.setdefault(path, execution_id) == execution_id
        return execution_id

    def status(self, execution_id: str) -> str:
        return str(self.ask("GET", f"/v1/executions/{execution_id}").json()["status"])

    def until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + END_S
        while not reached():
            assert time.monotonic() < deadline, "it does not come to its end"
            time.sleep(0.02)

    def end(self, execution_id: str, status: str) -> None:
        self.until(lambda: self.status(execution_id) not in {"pending", "running"})
        assert self.status(execution_id) == status


def pays(sender: Sender) -> None:
    """Two calls at once, a join, a branch, a wait."""
    sender.end(sender.deliver("pays"), "completed")


def waits_for_the_end(sender: Sender) -> None:
    sender.end(sender.deliver("pays", Prefer="wait=10"), "completed")


def comes_back(sender: Sender) -> None:
    """The far side is busy at first, and is asked again later."""
    sender.end(sender.deliver("busy"), "completed")


def approves(sender: Sender) -> None:
    execution_id = sender.deliver("asks")
    path = f"/v1/executions/{execution_id}/signals/ask"
    decision = {"decision": "approved"}
    sender.until(lambda: bool(sender.ask("POST", path, decision, expect=(200, 409)).status_code == 200))
    sender.end(execution_id, "completed")


def cancels(sender: Sender) -> None:
    execution_id = sender.deliver("asks")
    sender.ask("POST", f"/v1/executions/{execution_id}/cancel")
    sender.end(execution_id, "failed")


def retries(sender: Sender) -> None:
    """The far side refuses at first; who asks again when that was recorded already is told so."""
    execution_id = sender.deliver("refused")

    def has_completed() -> bool:
        status = sender.status(execution_id)
        if status == "failed":
            sender.ask("POST", f"/v1/executions/{execution_id}/retry", expect=(200, 409, 422))
        return status == "completed"

    sender.until(has_completed)


def activates(sender: Sender) -> None:
    """A workflow of its own, which is looked for before it is made again."""
    listed = sender.ask("GET", "/v1/workflows?limit=100").json()["items"]
    found = [one["id"] for one in listed if one["name"] == "made"]
    made = found or [sender.ask("POST", "/v1/workflows", workflow("made", []), expect=(201,)).json()["workflowId"]]
    if sender.ask("GET", f"/v1/workflows/{made[0]}").json()["status"] != "active":
        sender.ask("POST", f"/v1/workflows/{made[0]}/activate")
    sender.end(sender.deliver("made"), "completed")


def around(*statements: str) -> tuple[str, ...]:
    """Every boundary of a transaction with these statements: before each, before its commit and after it."""
    return (
        *(f"before {statement}" for statement in statements),
        f"before commit of {statements[0]}",
        f"after commit of {statements[0]}",
    )


@dataclass(frozen=True, slots=True)
class Scenario:
    run: Callable[[Sender], None]
    calls: tuple[str, ...]
    """The nodes that have an effect outside."""
    boundaries: tuple[str, ...]


SCENARIOS = (
    Scenario(
        pays,
        ("debit", "credit"),
        (
            *around("insert executions", "journal accepted", "audit_events EXECUTION_STARTED"),
            *around("journal started", "audit_events PROVIDER_CALL_STARTED"),
            "calling",
            "calling #2",
            SENT,
            "called",
            "called #2",
            *around("journal settled", "audit_events PROVIDER_CALL_COMPLETED"),
            "after commit of journal settled #2",
            *around("journal postponed"),
            *around("update wake_at of executions"),
            *around("executions completed", "audit_events EXECUTION_COMPLETED"),
        ),
    ),
    Scenario(
        waits_for_the_end,
        ("debit", "credit"),
        (
            "before commit of insert executions",
            "after commit of insert executions",
            SENT,
            *around("executions completed"),
        ),
    ),
    Scenario(comes_back, ("call",), (*around("journal postponed"), *around("journal settled"), "calling #2")),
    Scenario(
        approves,
        ("call",),
        (
            *around("audit_events APPROVAL_REQUESTED"),
            *around("update status of executions", "journal decided", "audit_events APPROVAL_DECIDED"),
            SENT,
        ),
    ),
    Scenario(cancels, (), around("journal cancelled", "audit_events EXECUTION_CANCELLED")),
    Scenario(
        retries,
        ("call",),
        (
            *around("executions failed", "audit_events EXECUTION_FAILED"),
            *around("journal reopened", "audit_events EXECUTION_RETRIED"),
            "calling #2",
        ),
    ),
    Scenario(
        activates,
        (),
        (
            *around("insert workflows", "insert workflow_revisions", "audit_events WORKFLOW_CREATED"),
            *around("update status of workflows", "insert webhook_routes", "audit_events WORKFLOW_ACTIVATED"),
        ),
    ),
)


def call(node_id: str, configuration: str, path: str) -> dict[str, Any]:
    members = {"executorId": "http.request", "providerConfigId": configuration, "path": path}
    return {"id": node_id, "type": "executor", "data": members | {"retry": {"maxAttempts": 3, "backoffSeconds": 0.1}}}


def workflow(name: str, nodes: list[dict[str, Any]], *edges: tuple[str, str]) -> dict[str, Any]:
    received = {"id": "received", "type": "trigger", "data": {"triggerId": "webhook", "path": name}}
    drawn = [{"id": f"{source}-{target}", "source": source, "target": target} for source, target in edges]
    return {"name": name, "nodes": [received, *nodes], "edges": drawn}


def set_up(api: "Api", far_side_url: str) -> None:
    """The workflows of the scenarios, but for the one that a scenario makes itself."""
    configuration = api.configure("http", {"base_url": far_side_url})
    ways = [("received", "debit"), ("received", "credit"), ("debit", "small"), ("credit", "small"), ("small", "hold")]
    small = {"condition": "workflow.amount < 1000", "join": "all"}
    api.activate(
        workflow(
            "pays",
            [
                call("debit", configuration, "/debit"),
                call("credit", configuration, "/credit"),
                {"id": "small", "type": "conditional", "data": small},
                {"id": "hold", "type": "action", "data": {"action": "delay", "seconds": 0.05}},
            ],
            *ways,
        )
    )
    ask = {"id": "ask", "type": "action", "data": {"action": "approval"}}
    api.activate(workflow("asks", [ask, call("call", configuration, "/debit")], ("received", "ask"), ("ask", "call")))
    for name in ("busy", "refused"):
        api.activate(workflow(name, [call("call", configuration, f"/{name}")], ("received", "call")))
