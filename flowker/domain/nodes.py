"""The nodes of a workflow: what each type takes in its data, compiled once when the workflow is saved."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from flowker.domain.actions import Action, ApprovalAction, check_members, compile_action
from flowker.domain.calls import ExecutorCall, compile_call, is_number
from flowker.domain.checks import STRICT, Checks
from flowker.domain.conditions import Condition
from flowker.domain.conditions import parse as parse_condition
from flowker.domain.errors import InvalidCondition, InvalidNodeData, InvalidTrigger, WebhookNotFound
from flowker.domain.webhooks import METHODS, PATH_CHARACTERS_MAX, normalize_path

RESPONSE_TIMEOUT_DEFAULT_S = 10
RESPONSE_TIMEOUT_MAX_S = 30
VERIFY_TOKEN_CHARACTERS_MAX = 512
SIGNING_SECRET_CHARACTERS_MIN = 16
SIGNING_SECRET_CHARACTERS_MAX = 512

Join = Literal["any", "all"]

# Tuples, not sets: a member of an author's data may be a list, which a set cannot be asked for.
_JOINS = ("any", "all")
_RESPONSE_MODES = ("async", "sync")


@dataclass(frozen=True, slots=True)
class Trigger:
    """Where a run starts. Without a path it registers no webhook and is started by the API alone."""

    method: str = "POST"
    path: str | None = None
    verify_token: str | None = None
    sync: bool = False
    response_timeout_s: float = RESPONSE_TIMEOUT_DEFAULT_S
    signing_secret: str | None = None

    @property
    def webhook(self) -> tuple[str, str] | None:
        """Method and path of the webhook that it registers."""
        return (self.method, self.path) if self.method and self.path else None


@dataclass(frozen=True, slots=True)
class Conditional:
    """Branches on one condition."""

    condition: Condition
    text: str


Behaviour = Trigger | Conditional | Action | ExecutorCall


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    type: str
    name: str
    join: Join
    behaviour: Behaviour

    @property
    def step_name(self) -> str:
        """What the API calls the step of this node."""
        return self.name or f"{self.type}_{self.id}"


def compile_node(node: Mapping[str, Any], where: str, executors: Mapping[str, str], checks: Checks = STRICT) -> Node:
    data = node.get("data") or {}
    join = checks(_join, data, where)
    behaviour = _compile_behaviour(node["type"], data, f"{where}.data", executors, checks)
    if isinstance(behaviour, ApprovalAction):
        checks(_require_addressable, node["id"], f"{where}.id")
    return Node(node["id"], node["type"], node.get("name") or "", join, behaviour)


def parse_condition_at(text: str, where: str) -> Condition:
    """Parse a condition, or raise InvalidCondition that names the place in the definition."""
    try:
        return parse_condition(text)
    except InvalidCondition as error:
        raise InvalidCondition(fields={where: error.message}) from None


def _join(data: Mapping[str, Any], where: str) -> Join:
    join: Join = data.get("join", "any")
    if join not in _JOINS:
        raise InvalidNodeData(fields={f"{where}.data.join": "must be any or all"})
    return join


def _require_addressable(id_: str, where: str) -> None:
    """Refuse the id of an approval that no path can name: nobody could decide about it."""
    if "\0" in id_ or not {".", ".."}.isdisjoint(id_.split("/")):
        raise InvalidNodeData(fields={where: "cannot stand in the path of a decision"})


def _compile_behaviour(
    type_: str, data: Mapping[str, Any], where: str, executors: Mapping[str, str], checks: Checks
) -> Behaviour:
    if type_ == "trigger":
        return _compile_trigger(data, where, checks)
    if type_ == "conditional":
        return checks(_compile_conditional, data, where)
    if type_ == "executor":
        return compile_call(data, where, executors, checks)
    members = check_members(checks, where)
    return members(compile_action, data, where, members)


_TRIGGER_MEMBERS = frozenset(
    {
        "triggerId",
        "triggerType",
        "path",
        "method",
        "verify_token",
        "signing_secret",
        "responseMode",
        "responseTimeout",
        "join",
        "label",
        "name",
        "description",
    }
)
"""All that a trigger may say: a misspelled `method` or `verify_token` would open another webhook than was meant.

The last three are notes that editors of workflows keep there; they change nothing.
"""


def _compile_trigger(data: Mapping[str, Any], where: str, checks: Checks) -> Trigger:
    checks(_require_webhook, data, where)
    for member in data:
        checks(_require, member in _TRIGGER_MEMBERS, where, member, "is not expected")
    return Trigger(
        method=checks(_method, data, where),
        sync=checks(_is_sync, data, where),
        verify_token=checks(_secret, data, where, "verify_token", 1, VERIFY_TOKEN_CHARACTERS_MAX),
        signing_secret=checks(
            _secret, data, where, "signing_secret", SIGNING_SECRET_CHARACTERS_MIN, SIGNING_SECRET_CHARACTERS_MAX
        ),
        response_timeout_s=checks(_response_timeout_s, data, where),
        path=checks(_webhook_path, data, where),
    )


def _require_webhook(data: Mapping[str, Any], where: str) -> None:
    kind = data.get("triggerId", data.get("triggerType", "webhook"))
    _require(kind == "webhook", where, "triggerId", "must be webhook")


def _method(data: Mapping[str, Any], where: str) -> str:
    method = data.get("method", "POST")
    _require(method in METHODS, where, "method", f"must be one of {', '.join(METHODS)}")
    return str(method)


def _is_sync(data: Mapping[str, Any], where: str) -> bool:
    mode = data.get("responseMode", "async")
    _require(mode in _RESPONSE_MODES, where, "responseMode", "must be async or sync")
    return bool(mode == "sync")


def _response_timeout_s(data: Mapping[str, Any], where: str) -> float:
    timeout_s = data.get("responseTimeout", RESPONSE_TIMEOUT_DEFAULT_S)
    fits = is_number(timeout_s) and 1 <= timeout_s <= RESPONSE_TIMEOUT_MAX_S
    _require(fits, where, "responseTimeout", f"must be a number within 1 and {RESPONSE_TIMEOUT_MAX_S}")
    return float(timeout_s)


def _secret(data: Mapping[str, Any], where: str, member: str, least: int, most: int) -> str | None:
    """A member that deliveries have to know, if the trigger has it."""
    secret = data.get(member)
    fits = secret is None or (isinstance(secret, str) and least <= len(secret) <= most)
    _require(fits, where, member, f"must be a string of {least} to {most} characters")
    return secret


def _webhook_path(data: Mapping[str, Any], where: str) -> str | None:
    path = data.get("path")
    if path is None:
        return None
    _require(isinstance(path, str), where, "path", "must be a string")
    try:
        # A sender's %2F and / are the same webhook, so an author's are too.
        normalized = normalize_path(unquote(path, errors="strict"))
    except (WebhookNotFound, UnicodeDecodeError):
        raise InvalidTrigger(fields={f"{where}.path": "is not a webhook path"}) from None
    _require(
        len(normalized) <= PATH_CHARACTERS_MAX, where, "path", f"is longer than {PATH_CHARACTERS_MAX} characters"
    )
    return normalized


def _require(fits: bool, where: str, member: str, reason: str) -> None:
    if not fits:
        raise InvalidTrigger(fields={f"{where}.{member}": reason})


def _compile_conditional(data: Mapping[str, Any], where: str) -> Conditional:
    text = data.get("condition")
    if not isinstance(text, str) or not text.strip():
        raise InvalidNodeData(fields={f"{where}.condition": "is required"})
    return Conditional(parse_condition_at(text, f"{where}.condition"), text)
