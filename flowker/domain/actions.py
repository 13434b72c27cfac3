"""The built-in actions: what each takes in its data and what it produces.

An action is compiled when its workflow is saved, so that nothing a workflow author writes fails for its form later.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from flowker.domain.checks import STRICT, Checks
from flowker.domain.errors import FlowkerError, InvalidNodeData
from flowker.domain.mappings import ValueMapping
from flowker.domain.preparing import MEMBERS, Preparation, compile_preparation, is_unsaid, refuse_members
from flowker.domain.templates import InvalidPath, Template, compile_template

LOG_LEVELS = ("debug", "info", "warning", "error")

EVENT_TYPE_CHARACTERS_MAX = 100

DELAY_MAX_S = 30 * 24 * 3600
"""Thirty days: longer than any settlement period, and a bound on what a typing error can hold back."""

APPROVAL_MAX_S = 30 * 24 * 3600
APPROVAL_DEFAULT_S = 24 * 3600
"""A day: whoever decides about money looks at it once a day."""

OnTimeout = Literal["fail", "reject", "approve"]
_ON_TIMEOUT: tuple[OnTimeout, ...] = ("fail", "reject", "approve")


@dataclass(frozen=True, slots=True)
class LogAction:
    """Tells the log that the execution came here."""

    level: str
    output: Template


@dataclass(frozen=True, slots=True)
class SetOutputAction:
    """Sets the context's `output`, which becomes the execution's final output.

    What is mapped goes over the members of what the template makes.
    """

    template: Template | None
    mapping: ValueMapping | None = None

    def output(self, context: Mapping[str, Any]) -> Any:
        """Raises `RenderedTooLarge`, or `MappingFailed`."""
        rendered = {} if self.template is None else self.template(context)
        return rendered if self.mapping is None else {**rendered, **self.mapping.apply(context)}


@dataclass(frozen=True, slots=True)
class TransformAction:
    """Makes its output of the workflow's input, or of what is mapped from the context."""

    preparation: Preparation


@dataclass(frozen=True, slots=True)
class EmitEventAction:
    """Writes an event of the author's to the audit trail; the output tells it: `eventType` and `payload`."""

    output: Template


@dataclass(frozen=True, slots=True)
class FailAction:
    """Fails the node with a message of the author's."""

    message: Template


@dataclass(frozen=True, slots=True)
class DelayAction:
    """Waits, durably. The number is the author's own, since it is part of the output."""

    seconds: int | float | Decimal


@dataclass(frozen=True, slots=True)
class ApprovalAction:
    """Waits, durably, for somebody's decision; `on_timeout` says what it is worth when nobody decides."""

    timeout_s: float
    on_timeout: OnTimeout


Action = LogAction | SetOutputAction | TransformAction | EmitEventAction | FailAction | DelayAction | ApprovalAction


class InvalidMember(ValueError):
    """What is wrong with a node's data: `field` is the member, the message says why."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        super().__init__(reason)


def check_members(checks: Checks, where: str) -> Checks:
    """The same checks, for which an `InvalidMember` of the data at this place is a refusal."""

    def refusal(error: InvalidMember) -> FlowkerError:
        return InvalidNodeData(fields={f"{where}.{error.field}": str(error)})

    return checks.translating(InvalidMember, refusal)


def compile_action(data: Mapping[str, Any], where: str = "data", checks: Checks = STRICT) -> Action:
    """Compile the data of an action node, or raise `InvalidMember`; mappings are refused by `where` they are."""
    field = "actionType" if "actionType" in data and "action" not in data else "action"
    kind = data.get(field)
    compile_kind = _KINDS.get(kind) if isinstance(kind, str) else None
    if compile_kind is None:
        raise InvalidMember(field, f"must be one of {', '.join(_KINDS)}")
    taken = _MAPPINGS.get(str(kind), ())
    for member in (member for member in MEMBERS if member not in taken):
        checks(refuse_members, data, where, [member], f"is not expected at the action {kind}")
    looked_at = {member: data.get(member) for member in taken}
    return compile_kind(data, compile_preparation(looked_at, where, checks), checks)


def _compile_log(data: Mapping[str, Any], _: Preparation, checks: Checks) -> LogAction:
    level = checks(_log_level, data)
    produced = {"action": "log"} | {name: data[name] for name in ("message", "level") if name in data}
    return LogAction(level, checks(_template, produced, "message"))


def _log_level(data: Mapping[str, Any]) -> str:
    level = data.get("level", "info")
    if level not in LOG_LEVELS:
        raise InvalidMember("level", f"must be one of {', '.join(LOG_LEVELS)}")
    return str(level)


def _compile_set_output(data: Mapping[str, Any], preparation: Preparation, _: Checks) -> SetOutputAction:
    is_mapped = not is_unsaid(data.get("inputMapping"))
    if "output" not in data and not is_mapped:
        raise InvalidMember("output", "is required, or inputMapping")
    if is_mapped and not isinstance(data.get("output", {}), dict):
        raise InvalidMember("output", "must be an object, since there is inputMapping")
    template = _template(data["output"], "output") if "output" in data else None
    return SetOutputAction(template, preparation.input_mapping)


def _compile_transform(data: Mapping[str, Any], preparation: Preparation, _: Checks) -> TransformAction:
    if is_unsaid(data.get("transforms")) and is_unsaid(data.get("inputMapping")):
        raise InvalidMember("transforms", "is required, or inputMapping")
    return TransformAction(preparation)


def _compile_emit_event(data: Mapping[str, Any], _: Preparation, checks: Checks) -> EmitEventAction:
    event_type = checks(_event_type, data)
    produced = {"action": "emit_event", "eventType": event_type, "payload": data.get("payload")}
    return EmitEventAction(checks(_template, produced, "payload"))


def _event_type(data: Mapping[str, Any]) -> str:
    event_type = data.get("eventType")
    # What is searched for is told by the author, not by the data of a run.
    fits = isinstance(event_type, str) and event_type.strip() and len(event_type) <= EVENT_TYPE_CHARACTERS_MAX
    if not fits or "{{" in str(event_type):
        reason = f"must be a string of 1 to {EVENT_TYPE_CHARACTERS_MAX} characters without references"
        raise InvalidMember("eventType", reason)
    return str(event_type)


def _compile_fail(data: Mapping[str, Any], _: Preparation, __: Checks) -> FailAction:
    message = data.get("message", "")
    if not isinstance(message, str):
        raise InvalidMember("message", "must be a string")
    return FailAction(_template(message, "message"))


def _compile_delay(data: Mapping[str, Any], _: Preparation, __: Checks) -> DelayAction:
    return DelayAction(_seconds(data.get("seconds"), "seconds", 0, DELAY_MAX_S))


def _compile_approval(data: Mapping[str, Any], _: Preparation, checks: Checks) -> ApprovalAction:
    timeout_s = checks(_approval_timeout_s, data)
    return ApprovalAction(timeout_s, checks(_on_timeout, data))


def _approval_timeout_s(data: Mapping[str, Any]) -> float:
    return float(_seconds(data.get("timeoutSeconds", APPROVAL_DEFAULT_S), "timeoutSeconds", 1, APPROVAL_MAX_S))


def _on_timeout(data: Mapping[str, Any]) -> OnTimeout:
    on_timeout: OnTimeout = data.get("onTimeout", "fail")
    if on_timeout not in _ON_TIMEOUT:
        raise InvalidMember("onTimeout", f"must be one of {', '.join(_ON_TIMEOUT)}")
    return on_timeout


def _seconds(value: Any, field: str, least: int, most: int) -> int | float | Decimal:
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidMember(field, f"must be a number within {least} and {most}")
    return value


def _template(value: Any, field: str) -> Template:
    try:
        return compile_template(value)
    except InvalidPath as error:
        raise InvalidMember(field, f"has a reference that is not a path: {error}") from None


_MAPPINGS = {"set_output": ("inputMapping",), "transform": ("inputMapping", "transforms")}
"""Which actions take mappings and transforms."""

_KINDS: dict[str, Callable[[Mapping[str, Any], Preparation, Checks], Action]] = {
    "log": _compile_log,
    "set_output": _compile_set_output,
    "transform": _compile_transform,
    "emit_event": _compile_emit_event,
    "fail": _compile_fail,
    "delay": _compile_delay,
    "approval": _compile_approval,
}
