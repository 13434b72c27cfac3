"""A workflow's definition: from the JSON that passed the contract to nodes and edges that are ready to run.

Two gates. `compile_definition` checks what can be told from one node or edge alone and is passed when a workflow is
saved; `check_activation` checks the whole and what the definition refers to. What passes both cannot fail later for
a reason that was visible here. The life of a workflow (`Status`, `require_transition`) stands here too.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from flowker.domain.actions import ApprovalAction, DelayAction
from flowker.domain.calls import EndpointName, ExecutorCall
from flowker.domain.checks import STRICT, Checks
from flowker.domain.conditions import Condition
from flowker.domain.errors import (
    DuplicateElementId,
    IllegalStatusChange,
    InvalidNodeData,
    InvalidRequest,
    NoNodes,
    NoTrigger,
    ProviderConfigurationMismatch,
    ProviderConfigurationUnusable,
    UnknownEdgeNode,
    UnknownExecutor,
    WebhookTaken,
    WorkflowCycle,
    WorkflowNotEditable,
)
from flowker.domain.graph import find_cycles, group_by_source, group_by_target, reachable
from flowker.domain.nodes import Node, Trigger, compile_node, parse_condition_at

Status = Literal["draft", "active", "inactive"]

TRANSITIONS: Mapping[str, Status] = MappingProxyType({"draft": "active", "active": "inactive", "inactive": "draft"})
"""draft -> active -> inactive -> draft: one way on from each status."""

TIMEOUT_DEFAULT_S = 300
TIMEOUT_MAX_S = 86_400


@dataclass(frozen=True, slots=True)
class Edge:
    id: str
    source: str
    target: str
    handle: str | None
    condition: Condition | None


@dataclass(frozen=True)
class Plan:
    """The part of a definition that a run which starts at one trigger can reach."""

    trigger: str
    nodes: Mapping[str, Node]
    outgoing: Mapping[str, Sequence[Edge]]
    incoming: Mapping[str, Sequence[Edge]]

    @cached_property
    def total_steps(self) -> int:
        """How many steps there are: the reachable nodes other than triggers."""
        return sum(node.type != "trigger" for node in self.nodes.values())

    @cached_property
    def calls(self) -> frozenset[str]:
        """The nodes that reach outside."""
        return self._nodes_of(ExecutorCall)

    @cached_property
    def approvals(self) -> frozenset[str]:
        """The nodes that wait for somebody's decision."""
        return self._nodes_of(ApprovalAction)

    @cached_property
    def runs_through(self) -> bool:
        """Whether a run comes to its end without a pause: no node calls anybody, and none waits."""
        return not (self.calls or self.approvals or self._nodes_of(DelayAction))

    def _nodes_of(self, behaviour: type[Any]) -> frozenset[str]:
        return frozenset(id_ for id_, node in self.nodes.items() if isinstance(node.behaviour, behaviour))


@dataclass(frozen=True)
class Definition:
    """A compiled definition; immutable and shared by every execution of its revision."""

    nodes: Mapping[str, Node]
    edges: Sequence[Edge]
    timeout_s: int
    _plans: dict[str, Plan] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def triggers(self) -> list[Node]:
        return [node for node in self.nodes.values() if isinstance(node.behaviour, Trigger)]

    def plan(self, trigger_id: str) -> Plan:
        """The plan of a run that starts at this trigger."""
        if trigger_id not in self._plans:
            self._plans[trigger_id] = self._build_plan(trigger_id)
        return self._plans[trigger_id]

    def _build_plan(self, trigger_id: str) -> Plan:
        reached = reachable(trigger_id, group_by_source(self.edges))
        edges = [edge for edge in self.edges if edge.source in reached]
        nodes = {id_: node for id_, node in self.nodes.items() if id_ in reached}
        return Plan(trigger_id, nodes, group_by_source(edges), group_by_target(edges))


def require_transition(current: str, wanted: Status) -> None:
    """Raise IllegalStatusChange unless a workflow may go from one status to the other."""
    if TRANSITIONS.get(current) != wanted:
        raise IllegalStatusChange(f"A workflow that is {current} cannot become {wanted}.")


def require_editable(current: str) -> None:
    if current != "draft":
        raise WorkflowNotEditable(f"Only a draft can be changed; the workflow is {current}.")


def require_deletable(current: str) -> None:
    if current == "active":
        raise WorkflowNotEditable("An active workflow cannot be deleted; deactivate it first.")


def version_text(revision: int) -> str:
    """The version of a revision: 1.0.0 for the first, the minor number rises with every update."""
    return f"1.{revision - 1}.0"


def compile_definition(
    nodes: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, Any],
    executors: Mapping[str, str],
    checks: Checks = STRICT,
) -> Definition:
    """Compile what the contract let through, or raise the refusal of the first element that is wrong.

    `executors` maps each executor of the catalog to its provider. With checks that go on it is a sketch: without the
    edges that lead nowhere, and with every node, the second of an id under the place that it has.
    """
    by_id: dict[str, Node] = {}
    for index, node in enumerate(nodes):
        where = f"nodes[{index}]"
        compiled = compile_node(node, where, executors, checks)
        by_id[where if compiled.id in by_id else compiled.id] = compiled
    _check_unique(nodes, "nodes", checks)
    _check_unique(edges, "edges", checks)
    compiled_edges = [_compile_edge(edge, f"edges[{i}]", by_id, checks) for i, edge in enumerate(edges)]
    known_edges = tuple(edge for edge in compiled_edges if edge is not None)
    return Definition(MappingProxyType(by_id), known_edges, checks(_timeout_s, metadata))


@dataclass(frozen=True, slots=True)
class ConfigurationFacts:
    """What activation asks of a provider configuration."""

    provider_id: str
    active: bool


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What activation asks of an executor configuration."""

    endpoints: frozenset[str]
    active: bool


def check_activation(
    definition: Definition,
    executors: Mapping[str, str],
    configurations: Mapping[str, ConfigurationFacts],
    executor_configurations: Mapping[str, EndpointFacts] = MappingProxyType({}),
    taken_webhooks: Collection[tuple[str, str]] = (),
    checks: Checks = STRICT,
) -> None:
    """Raise the refusal that keeps this definition from being activated."""
    checks(_check_nodes, definition)
    for cycle in find_cycles(definition.nodes, group_by_source(definition.edges)):
        checks(_refuse_cycle, cycle)
    for index, node in enumerate(definition.nodes.values()):
        # In a sketch a call may have no executor: what is wrong with it was said.
        if isinstance(node.behaviour, ExecutorCall) and node.behaviour.executor_id:
            where = f"nodes[{index}].data"
            if node.behaviour.endpoint is not None:
                checks(_check_endpoint, node.behaviour.endpoint, where, executor_configurations)
            else:
                checks(_check_configuration, node.behaviour, where, executors, configurations)
    _check_webhooks(definition, taken_webhooks, checks)


def webhooks(definition: Definition) -> dict[str, tuple[str, str]]:
    """Method and path by trigger, of those that register a webhook."""
    return {
        id_: node.behaviour.webhook
        for id_, node in definition.nodes.items()
        if isinstance(node.behaviour, Trigger) and node.behaviour.webhook is not None
    }


@dataclass(frozen=True, slots=True)
class References:
    """The ids of the configurations that a definition's nodes call through."""

    providers: frozenset[str]
    executors: frozenset[str]


def references(definition: Definition) -> References:
    calls = [node.behaviour for node in definition.nodes.values() if isinstance(node.behaviour, ExecutorCall)]
    return References(
        frozenset(call.provider_configuration_id for call in calls if call.provider_configuration_id),
        frozenset(call.endpoint.configuration_id for call in calls if call.endpoint is not None),
    )


def _check_nodes(definition: Definition) -> None:
    if not definition.nodes:
        raise NoNodes
    if all(node.type != "trigger" for node in definition.nodes.values()):
        raise NoTrigger


def _refuse_cycle(cycle: Sequence[str]) -> None:
    raise WorkflowCycle(fields={"edges": f"lead from {' to '.join([*cycle, cycle[0]])}"})


def _check_webhooks(definition: Definition, taken: Collection[tuple[str, str]], checks: Checks) -> None:
    known = webhooks(definition)
    own: set[tuple[str, str]] = set()
    for index, id_ in enumerate(definition.nodes):
        if id_ in known:
            checks(_check_webhook, known[id_], f"nodes[{index}].data.path", own, taken)
            own.add(known[id_])


def _check_webhook(
    webhook: tuple[str, str], where: str, own: Collection[tuple[str, str]], taken: Collection[tuple[str, str]]
) -> None:
    if webhook in own:
        message = "Two triggers of the workflow have the same webhook method and path."
        raise WebhookTaken(message, fields={where: "is another trigger's"})
    if webhook in taken:
        raise WebhookTaken(fields={where: "is another workflow's"})


def _check_endpoint(endpoint: EndpointName, where: str, configurations: Mapping[str, EndpointFacts]) -> None:
    configuration = configurations.get(endpoint.configuration_id)
    if configuration is None or not configuration.active:
        reason = "must name an active executor configuration"
        raise ProviderConfigurationUnusable(fields={f"{where}.executorConfigId": reason})
    if endpoint.name not in configuration.endpoints:
        raise ProviderConfigurationUnusable(fields={f"{where}.endpointName": "is not an endpoint of it"})


def _check_configuration(
    call: ExecutorCall, where: str, executors: Mapping[str, str], configurations: Mapping[str, ConfigurationFacts]
) -> None:
    if call.executor_id not in executors:
        raise UnknownExecutor(fields={f"{where}.executorId": "is not in the catalog"})
    configuration = configurations.get(call.provider_configuration_id or "")
    if configuration is None or not configuration.active:
        reason = "must name an active provider configuration"
        raise ProviderConfigurationUnusable(fields={f"{where}.providerConfigId": reason})
    if configuration.provider_id != executors[call.executor_id]:
        raise ProviderConfigurationMismatch(fields={f"{where}.providerConfigId": "belongs to another provider"})


def _timeout_s(metadata: Mapping[str, Any]) -> int:
    timeout_s = metadata.get("timeoutSeconds", TIMEOUT_DEFAULT_S)
    is_number = isinstance(timeout_s, int | float | Decimal) and not isinstance(timeout_s, bool)
    if not is_number or not 1 <= timeout_s <= TIMEOUT_MAX_S or timeout_s != int(timeout_s):
        reason = f"must be a whole number within 1 and {TIMEOUT_MAX_S}"
        raise InvalidRequest("The workflow's metadata is not valid.", fields={"metadata.timeoutSeconds": reason})
    return int(timeout_s)


def _check_unique(elements: Iterable[Mapping[str, Any]], where: str, checks: Checks) -> None:
    seen: set[str] = set()
    for index, element in enumerate(elements):
        checks(_require_new, element["id"], f"{where}[{index}].id", seen)
        seen.add(element["id"])


def _require_new(id_: str, where: str, seen: Collection[str]) -> None:
    if id_ in seen:
        raise DuplicateElementId(fields={where: "is used before"})


def _compile_edge(edge: Mapping[str, Any], where: str, nodes: Mapping[str, Node], checks: Checks) -> Edge | None:
    """The edge, or nothing of one whose ends are not known when the checks go on."""
    ends = [checks(_find_end, edge, where, end, nodes) for end in ("source", "target")]
    if None in ends:
        return None
    source, target = ends
    checks(_check_target, target, f"{where}.target")
    handle = edge.get("sourceHandle") or None
    checks(_check_handle, handle, source, f"{where}.sourceHandle")
    text = edge.get("condition")
    condition = checks(parse_condition_at, text, f"{where}.condition") if text and text.strip() else None
    return Edge(edge["id"], source.id, target.id, handle, condition)


def _find_end(edge: Mapping[str, Any], where: str, end: str, nodes: Mapping[str, Node]) -> Node:
    node = nodes.get(edge[end])
    if node is None:
        raise UnknownEdgeNode(fields={f"{where}.{end}": "is not a node of the workflow"})
    return node


def _check_target(target: Node, where: str) -> None:
    if target.type == "trigger":
        raise UnknownEdgeNode(fields={where: "is a trigger: a run starts there, nothing leads to it"})


def _check_handle(handle: str | None, source: Node, where: str) -> None:
    """Refuse a handle that would be ignored: an edge that its author believes in must not be taken by mistake."""
    if source.type == "conditional" and handle not in {None, "true", "false"}:
        raise InvalidNodeData(fields={where: "must be true or false after a conditional"})
    if isinstance(source.behaviour, ApprovalAction) and handle not in {None, "approved", "rejected"}:
        raise InvalidNodeData(fields={where: "must be approved or rejected after an approval"})
    if handle == "error" and source.type != "executor":
        raise InvalidNodeData(fields={where: "can be error only after an executor"})
