"""Running a node that needs nothing from outside: conditionals and built-in actions, evaluated in place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from flowker.domain.actions import (
    ApprovalAction,
    DelayAction,
    EmitEventAction,
    FailAction,
    LogAction,
    SetOutputAction,
    TransformAction,
)
from flowker.domain.conditions import ConditionError
from flowker.domain.kazaam import Occasion
from flowker.domain.mappings import MappingFailed
from flowker.domain.nodes import Behaviour, Conditional
from flowker.domain.templates import RenderedTooLarge, as_text

FAIL_MESSAGE_CHARACTERS_MAX = 500

AskOccasion: TypeAlias = Callable[[], Occasion]


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
    behaviour: Behaviour, context: Mapping[str, Any], *, elapsed: bool, occasion: AskOccasion
) -> Produced | Failed | Wait:
    """The result of a node that is not an executor; `elapsed` says that the wait it asked for is over.

    What makes values of the time or by chance asks for the `occasion`.
    """
    run = _BUILTIN.get(type(behaviour))
    if run is None:
        raise TypeError(f"{type(behaviour).__name__} is not built in")
    try:
        return run(behaviour, context, elapsed, occasion)
    except (RenderedTooLarge, MappingFailed) as error:
        return Failed(str(error))


def _transform(transform: TransformAction, context: Mapping[str, Any], _: bool, occasion: AskOccasion) -> Produced:
    return Produced(transform.preparation.apply(context, occasion()))


def _produce(
    action: LogAction | SetOutputAction | EmitEventAction, context: Mapping[str, Any], *_: object
) -> Produced:
    return Produced(action.output(context))


def _fail(action: FailAction, context: Mapping[str, Any], *_: object) -> Failed:
    message = as_text(action.message(context)) or "the workflow failed here"
    return Failed(message[:FAIL_MESSAGE_CHARACTERS_MAX])


def _delay(delay: DelayAction, _: Mapping[str, Any], elapsed: bool, __: AskOccasion) -> Produced | Wait:
    return Produced({"action": "delay", "seconds": delay.seconds}) if elapsed else Wait(float(delay.seconds))


def _ask(approval: ApprovalAction, _: Mapping[str, Any], elapsed: bool, __: AskOccasion) -> Produced | Failed | Wait:
    return _nobody_decided(approval) if elapsed else Wait(approval.timeout_s)


def _nobody_decided(approval: ApprovalAction) -> Produced | Failed:
    if approval.on_timeout == "fail":
        return Failed(f"nobody decided within {approval.timeout_s:.15g} s")
    decision = "approved" if approval.on_timeout == "approve" else "rejected"
    return Produced(
        {"action": "approval", "decision": decision, "comment": None, "decidedAt": None, "decidedBy": None}
    )


def _branch(conditional: Conditional, context: Mapping[str, Any], *_: object) -> Produced | Failed:
    try:
        result = conditional.condition.evaluate(context)
    except ConditionError as error:
        return Failed(f"the condition cannot be evaluated: {error}")
    return Produced({"condition": conditional.text, "result": result, "branchTaken": "true" if result else "false"})


_BUILTIN: Mapping[type[Any], Callable[[Any, Mapping[str, Any], bool, AskOccasion], Produced | Failed | Wait]] = {
    Conditional: _branch,
    LogAction: _produce,
    SetOutputAction: _produce,
    EmitEventAction: _produce,
    TransformAction: _transform,
    FailAction: _fail,
    DelayAction: _delay,
    ApprovalAction: _ask,
}
