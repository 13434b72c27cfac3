"""An execution as data: what happened (events), what follows from it (state), and what the API tells of it.

Events are what the journal stores; the state is their fold (`flowker.domain.advance`). Timestamps are RFC 3339 text.

State of an execution, checked against `Status` by a test of docs/executions.md:

    running ──► completed
       └──────► failed
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["pending", "running", "completed", "failed"]

TERMINAL: frozenset[Status] = frozenset({"completed", "failed"})

OutcomeStatus = Literal["completed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a node ended. `attempts` counts the attempts made, 0 for a skipped node."""

    node_id: str
    status: OutcomeStatus
    output: Any = None
    error: str | None = None
    attempts: int = 1
    executed_at: str = ""
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """The execution was committed with its input."""

    execution_id: str
    workflow_id: str
    started_at: str
    trigger: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Settled:
    """Nodes ended, in this order; one commit wrote them all."""

    at: str
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Postponed:
    """A node goes on at a time: a delay elapses, or a further attempt is made."""

    node_id: str
    not_before: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Aborted:
    """The execution as a whole came to an end: its time limit, or a fault that no step can carry."""

    at: str
    error: str


Event = Accepted | Settled | Postponed | Aborted


@dataclass(frozen=True, slots=True)
class Run:
    """Command: run this attempt (from 1) of a node, not before a time if one is given."""

    node_id: str
    attempt: int = 1
    not_before: str | None = None


@dataclass(slots=True)
class State:
    """What is known of an execution after some of its events.

    `context` is what conditions and templates see; `open` holds the nodes that are running or waiting; `taken` says
    of each decided edge whether it was taken.
    """

    context: dict[str, Any]
    open: dict[str, Run] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    taken: dict[str, bool] = field(default_factory=dict)
    status: Status = "running"
    error: str | None = None

    def copy(self) -> "State":
        return State(
            dict(self.context), dict(self.open), dict(self.outcomes), dict(self.taken), self.status, self.error
        )

    @property
    def steps_done(self) -> int:
        return len(self.outcomes)


def encode_event(event: Event) -> tuple[str, dict[str, Any]]:
    """The journal's kind and payload of an event."""
    if isinstance(event, Settled):
        return "settled", {"at": event.at, "outcomes": [_encode_outcome(outcome) for outcome in event.outcomes]}
    if isinstance(event, Postponed):
        return "postponed", {"node": event.node_id, "notBefore": event.not_before, "attempt": event.attempt}
    if isinstance(event, Aborted):
        return "aborted", {"at": event.at, "error": event.error}
    return "accepted", {
        "execution": event.execution_id,
        "workflow": event.workflow_id,
        "startedAt": event.started_at,
        "trigger": event.trigger,
        "input": event.input,
    }


def decode_event(kind: str, payload: Mapping[str, Any]) -> Event:
    """The event of a journal entry; raises ValueError for a kind that this version does not know."""
    if kind == "settled":
        return Settled(payload["at"], tuple(_decode_outcome(outcome) for outcome in payload["outcomes"]))
    if kind == "postponed":
        return Postponed(payload["node"], payload["notBefore"], payload["attempt"])
    if kind == "aborted":
        return Aborted(payload["at"], payload["error"])
    if kind == "accepted":
        return Accepted(
            payload["execution"], payload["workflow"], payload["startedAt"], payload["trigger"], payload["input"]
        )
    raise ValueError(f"the journal has an event of an unknown kind: {kind}")


def final_output(state: State) -> Any:
    """What `set_output` set, else the input (without the delivery's headers) and every node's output."""
    if "output" in state.context:
        return state.context["output"]
    outputs = {
        outcome.node_id: outcome.output for outcome in state.outcomes.values() if outcome.status == "completed"
    }
    return {"workflow": _without_delivery_headers(state.context["workflow"]), **outputs}


def _without_delivery_headers(input_: Mapping[str, Any]) -> Mapping[str, Any]:
    delivery = input_.get("_webhook")
    if not isinstance(delivery, Mapping) or "headers" not in delivery:
        return input_
    return {**input_, "_webhook": {name: value for name, value in delivery.items() if name != "headers"}}


def _encode_outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "node": outcome.node_id,
        "status": outcome.status,
        "output": outcome.output,
        "error": outcome.error,
        "attempts": outcome.attempts,
        "executedAt": outcome.executed_at,
        "durationMs": outcome.duration_ms,
    }


def _decode_outcome(payload: Mapping[str, Any]) -> Outcome:
    return Outcome(
        payload["node"],
        payload["status"],
        payload["output"],
        payload["error"],
        payload["attempts"],
        payload["executedAt"],
        payload["durationMs"],
    )
