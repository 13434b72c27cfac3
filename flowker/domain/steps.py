"""Running a node that needs nothing from outside: conditionals and built-in actions, evaluated in place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowker.domain.actions import (
    ApprovalAction,
    DelayAction,
    EmitEventAction,
    FailAction,
    LogAction,
    SetOutputAction,
    TransformAction,
)
from flowker.domain.calls import ExecutorCall
from flowker.domain.conditions import ConditionError
from flowker.domain.kazaam import Occasion
from flowker.domain.mappings import MappingFailed
from flowker.domain.nodes import Behaviour, Conditional, Trigger
from flowker.domain.templates import RenderedTooLarge, as_text

FAIL_MESSAGE_CHARACTERS_MAX = 500


@dataclass(frozen=True, slots=True)
class Produced:
    output: Any


@dataclass(frozen=True, slots=True)
class Failed:
    message: str


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


def run_builtin(
    behaviour: Behaviour, context: Mapping[str, Any], *, elapsed: bool, occasion: Occasion
) -> Produced | Failed | Wait:
    """The result of a node that is not an executor; `elapsed` says that the wait it asked for is over."""
    if isinstance(behaviour, Conditional):
        return _branch(behaviour, context)
    if isinstance(behaviour, DelayAction):
        elapsed_output = {"action": "delay", "seconds": behaviour.seconds}
        return Produced(elapsed_output) if elapsed else Wait(float(behaviour.seconds))
    if isinstance(behaviour, ApprovalAction):
        return _nobody_decided(behaviour) if elapsed else Wait(behaviour.timeout_s)
    if isinstance(behaviour, Trigger | ExecutorCall):
        raise TypeError(f"{type(behaviour).__name__} is not built in")
    try:
        if isinstance(behaviour, TransformAction):
            return Produced(behaviour.preparation.apply(context, occasion))
        return _render(behaviour, context)
    except (RenderedTooLarge, MappingFailed) as error:
        return Failed(str(error))


def _render(
    behaviour: LogAction | SetOutputAction | EmitEventAction | FailAction, context: Mapping[str, Any]
) -> Produced | Failed:
    if isinstance(behaviour, FailAction):
        message = as_text(behaviour.message(context)) or "the workflow failed here"
        return Failed(message[:FAIL_MESSAGE_CHARACTERS_MAX])
    return Produced(behaviour.output(context))


def _nobody_decided(approval: ApprovalAction) -> Produced | Failed:
    if approval.on_timeout == "fail":
        return Failed(f"nobody decided within {approval.timeout_s:.15g} s")
    decision = "approved" if approval.on_timeout == "approve" else "rejected"
    return Produced(
        {"action": "approval", "decision": decision, "comment": None, "decidedAt": None, "decidedBy": None}
    )


def _branch(behaviour: Conditional, context: Mapping[str, Any]) -> Produced | Failed:
    try:
        result = behaviour.condition.evaluate(context)
    except ConditionError as error:
        return Failed(f"the condition cannot be evaluated: {error}")
    return Produced({"condition": behaviour.text, "result": result, "branchTaken": "true" if result else "false"})
