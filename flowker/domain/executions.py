"""An execution as data: what happened (events), what follows from it (state), and what the API tells of it.

Events are what the journal stores; the state is their fold (`flowker.domain.advance`). Timestamps are RFC 3339 text.

State of an execution, checked against `Status` by a test of docs/executions.md:

    running ──► completed
     │   ▲
     ▼   │ retried by an operator
     failed
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from flowker.domain.audit import Actor

Status = Literal["pending", "running", "completed", "failed"]

TERMINAL: frozenset[Status] = frozenset({"completed", "failed"})

OutcomeStatus = Literal["completed", "failed", "skipped"]

Decision = Literal["approved", "rejected"]


class Outcome(NamedTuple):
    """How a node ended. `attempts` counts the attempts made, 0 for a skipped node.

    `status_code` is what the far side of a call answered.
    """

    node_id: str
    status: OutcomeStatus
    output: Any = None
    error: str | None = None
    attempts: int = 1
    executed_at: str = ""
    duration_ms: int = 0
    status_code: int | None = None


class Accepted(NamedTuple):
    """The execution was committed with its input."""

    execution_id: str
    workflow_id: str
    started_at: str
    trigger: str
    input: Mapping[str, Any]


class Started(NamedTuple):
    """Calls of nodes were about to be made: (node id, number of the attempt). Only counts them."""

    at: str
    calls: tuple[tuple[str, int], ...]


class Attempt(NamedTuple):
    """One call that was made for a node; without a duration it is under way."""

    number: int
    started_at: str
    duration_ms: int | None = None
    status_code: int | None = None
    error: str | None = None


class Settled(NamedTuple):
    """Nodes ended, in this order; one commit wrote them all."""

    at: str
    outcomes: tuple[Outcome, ...]


class Postponed(NamedTuple):
    """A node goes on at a time: a delay or an approval's time elapses, or a further attempt is made.

    `made` is the attempt that failed before, if one was made.
    """

    node_id: str
    not_before: str
    attempt: int
    made: Attempt | None = None


class Aborted(NamedTuple):
    """The execution as a whole came to an end: its time limit, or a fault that no step can carry."""

    at: str
    error: str


class Cancelled(NamedTuple):
    """Somebody wants the execution to end: nothing new starts, what is under way may end."""

    at: str
    actor: Actor
    reason: str | None = None


class Reopened(NamedTuple):
    """Somebody wants a failed execution to go on from where it failed; `error` is what it had failed with."""

    at: str
    actor: Actor
    error: str


class Decided(NamedTuple):
    """Somebody decided about an approval."""

    at: str
    node_id: str
    decision: Decision
    comment: str | None
    actor: Actor


Event = Accepted | Started | Settled | Postponed | Aborted | Cancelled | Reopened | Decided


@dataclass(frozen=True, slots=True)
class Run:
    """Command: run this attempt (from 1) of a node, not before a time if one is given.

    `first` is the attempt that the node's patience counts from: a retry by an operator renews it. `opened_at` is when
    the node's turn came, in whichever attempt it is: what every attempt says alike is made of it.
    """

    node_id: str
    attempt: int = 1
    not_before: str | None = None
    first: int = 1
    opened_at: str = field(default="", compare=False)

    @property
    def tries(self) -> int:
        """The number of this attempt for the node's retry policy."""
        return self.attempt - self.first + 1


@dataclass(slots=True)
class State:
    """What is known of an execution after some of its events.

    `context` is what conditions and templates see; `open` holds the nodes that are running or waiting; `taken` says
    of each decided edge whether it was taken, `unclear` names those whose condition could not be evaluated. The time
    limit counts from `limited_from`. `tried` is the number of the last attempt of each node that began one, `seen`
    how many outcomes there were when its first attempt began, `opened` when each node's turn came first.
    """

    context: dict[str, Any]
    open: dict[str, Run] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    taken: dict[str, bool] = field(default_factory=dict)
    status: Status = "running"
    error: str | None = None
    limited_from: str = ""
    unclear: tuple[str, ...] = ()
    tried: Mapping[str, int] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    opened: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "State":
        return State(
            dict(self.context),
            dict(self.open),
            dict(self.outcomes),
            dict(self.taken),
            self.status,
            self.error,
            self.limited_from,
            self.unclear,
            self.tried,
            self.seen,
            dict(self.opened),
        )

    @property
    def steps_done(self) -> int:
        return len(self.outcomes)

    def has_begun(self, node_id: str) -> bool:
        """Whether an open node has made an attempt: its process may have died before it could tell how that ended."""
        return self.tried.get(node_id, 0) >= self.open[node_id].first


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
