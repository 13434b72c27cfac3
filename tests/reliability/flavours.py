"""Small workflows of every kind, and what the documents say that a run of each comes to.

A flavour is what stands behind the trigger. `Run` is the dictionary's idea of an execution: which steps ended, in
which order and how, what it waits for, and what the audit trail has to tell. It is written from docs/executions.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Nodes = list[dict[str, Any]]
Edges = list[dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """How a node ended."""

    node_id: str
    status: str
    attempts: int = 1
    output: Any = None
    error: str | None = None


@dataclass
class Run:
    """What is known of a run."""

    input: dict[str, Any]
    steps: list[Step] = field(default_factory=list)
    status: str = "running"
    code: str | None = None
    waits_for: str | None = None
    output: Any = None
    """What `set_output` made."""
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Audit events, with what must be in their context."""
    decided: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Decision and comment of approvals."""

    def end(self, node_id: str, output: Any = None) -> None:
        self.steps.append(Step(node_id, "completed", 1, output))

    def skip(self, node_id: str) -> None:
        self.steps.append(Step(node_id, "skipped", 0))

    def complete(self) -> None:
        self.status, self.waits_for = "completed", None
        self.told.append(("EXECUTION_COMPLETED", {}))

    def fail(self, code: str) -> None:
        self.status, self.code, self.waits_for = "failed", code, None
        self.told.append(("EXECUTION_FAILED", {"code": code}))

    def fail_at(self, node_id: str, error: str, attempts: int = 1) -> None:
        self.steps.append(Step(node_id, "failed", attempts, error=error))
        self.fail("FLK-0504")

    def cancel(self, reason: str | None) -> None:
        self.told.append(("EXECUTION_CANCELLED", {"reason": reason}))
        self.fail("FLK-0510")

    def reopen(self) -> int:
        """Forget what failed and what was skipped; how often the failed step was attempted."""
        self.told.append(("EXECUTION_RETRIED", {"code": self.code}))
        attempts = max((step.attempts for step in self.steps if step.status == "failed"), default=0)
        self.steps = [step for step in self.steps if step.status == "completed"]
        self.status, self.code = "running", None
        return attempts


Go = Callable[[Run, bool, int], None]
"""Goes on with a run as far as it goes by itself: whether the far side is well, and attempts that failed before."""


@dataclass(frozen=True)
class Flavour:
    """What stands behind a trigger, and what becomes of it."""

    nodes: Nodes
    edges: Edges
    go: Go
    total_steps: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    defect: tuple[int, str] | None = None
    """Why it cannot be activated."""
    unsound: tuple[int, str] | None = None
    """Why it cannot even be saved."""
    uses: str | None = None
    """What kind of configuration it calls through."""
    without_trigger: bool = False
    is_empty: bool = False


def node(id_: str, type_: str, **data: Any) -> dict[str, Any]:
    return {"id": id_, "type": type_, "position": {"x": 0, "y": 0}, "data": data}


def edge(source: str, target: str, handle: str | None = None) -> dict[str, Any]:
    return {"id": f"{source}-{target}", "source": source, "target": target} | (
        {"sourceHandle": handle} if handle is not None else {}
    )


def _answers(run: Run, _well: bool, _attempts: int) -> None:
    run.output = {"got": run.input["n"]}
    run.end("end")
    run.complete()


def _branches(run: Run, _well: bool, _attempts: int) -> None:
    large = run.input["n"] > 5
    branch = "true" if large else "false"
    run.end("size", {"condition": "workflow.n > 5", "result": large, "branchTaken": branch})
    if large:
        payload = {"n": run.input["n"]}
        run.end("large", {"action": "emit_event", "eventType": "model.large", "payload": payload})
        run.told.append(("EVENT_EMITTED", {"nodeId": "large", "eventType": "model.large", "payload": payload}))
    else:
        run.end("small", {"action": "log"})
    run.skip("small" if large else "large")
    run.complete()


def _fails(run: Run, _well: bool, attempts: int) -> None:
    run.fail_at("no", "it does", attempts + 1)


def _asks(run: Run, _well: bool, attempts: int) -> None:
    if "ask" not in run.decided:
        run.waits_for = "ask"
        run.told.append(("APPROVAL_REQUESTED", {"nodeId": "ask"}))
    elif run.decided["ask"][0] == "approved":
        run.output = {"approved": run.input["n"]}
        run.skip("no")
        run.end("yes")
        run.complete()
    else:
        run.skip("yes")
        run.fail_at("no", "it does", attempts + 1)


def _waits(run: Run, _well: bool, _attempts: int) -> None:
    run.waits_for = "later"


def _calls(run: Run, well: bool, attempts: int) -> None:
    number = attempts + 1
    run.told.append(("PROVIDER_CALL_STARTED", {"nodeId": "call", "attempt": number}))
    ended = {"nodeId": "call", "attempt": number, "statusCode": 200 if well else 422}
    run.told.append((f"PROVIDER_CALL_{'COMPLETED' if well else 'FAILED'}", ended))
    if not well:
        run.skip("end")
        run.fail_at("call", "422", number)
        return
    run.steps.append(Step("call", "completed", number))
    run.output = {"paid": run.input["n"]}
    run.end("end")
    run.complete()


def _never(_run: Run, _well: bool, _attempts: int) -> None:
    raise AssertionError("a workflow that cannot be activated was run")


END = node("end", "action", action="set_output", output={"got": "{{workflow.n}}"})
PAID = node("end", "action", action="set_output", output={"paid": "{{call.body.n}}"})
ASK = node("ask", "action", action="approval")
LATER = node("later", "action", action="delay", seconds=3000)
NO = node("no", "action", action="fail", message="it does")
RETRY = {"maxAttempts": 1}

FLAVOURS: dict[str, Flavour] = {
    "answers": Flavour([END], [edge("t", "end")], _answers, 1),
    "branches": Flavour(
        [
            node("size", "conditional", condition="workflow.n > 5"),
            node("large", "action", action="emit_event", eventType="model.large", payload={"n": "{{workflow.n}}"}),
            node("small", "action", action="log"),
        ],
        [edge("t", "size"), edge("size", "large", "true"), edge("size", "small", "false")],
        _branches,
        3,
    ),
    "fails": Flavour([NO], [edge("t", "no")], _fails, 1),
    "asks": Flavour(
        [ASK, node("yes", "action", action="set_output", output={"approved": "{{workflow.n}}"}), NO],
        [edge("t", "ask"), edge("ask", "yes", "approved"), edge("ask", "no", "rejected")],
        _asks,
        3,
    ),
    "waits": Flavour([LATER, ASK], [edge("t", "later"), edge("later", "ask")], _waits, 2, {"timeoutSeconds": 86400}),
    "calls a provider": Flavour(
        [node("call", "executor", executorId="http.request", method="POST", path="/pay", retry=RETRY), PAID],
        [edge("t", "call"), edge("call", "end")],
        _calls,
        2,
        uses="provider",
    ),
    "calls an endpoint": Flavour(
        [node("call", "executor", endpointName="pay", retry=RETRY), PAID],
        [edge("t", "call"), edge("call", "end")],
        _calls,
        2,
        uses="executor",
    ),
    "is empty": Flavour([], [], _never, 0, defect=(422, "FLK-0112"), is_empty=True, without_trigger=True),
    "has no trigger": Flavour([END], [], _never, 0, defect=(422, "FLK-0116"), without_trigger=True),
    "goes in circles": Flavour(
        [END, NO], [edge("t", "end"), edge("end", "no"), edge("no", "end")], _never, 0, defect=(422, "FLK-0508")
    ),
    "has half a condition": Flavour(
        [node("size", "conditional", condition="workflow.n >")],
        [edge("t", "size")],
        _never,
        0,
        unsound=(422, "FLK-0105"),
    ),
}
