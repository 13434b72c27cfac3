"""Compiled definitions by revision: a revision never changes, so what was compiled once is kept."""

import asyncio
import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Self

from flowker.domain.calls import ExecutorCall
from flowker.domain.checks import STRICT, Checks
from flowker.domain.errors import FlowkerError, InvalidNodeData
from flowker.domain.nodes import Node
from flowker.domain.workflows import Definition, compile_definition
from flowker.executors.registry import EXECUTORS
from flowker.jsonschema import fields
from flowker.storage import workflows
from flowker.storage.database import Store
from flowker.storage.vault import SecretUnreadable, Vault

KEPT_MAX = 1000
"""Bounds the memory: a hundred nodes take about 100 kB compiled."""

PROVIDERS_BY_EXECUTOR = {executor.id: executor.provider_id for executor in EXECUTORS.values()}
"""The provider that each executor of the catalog calls through."""


class BrokenDefinition(Exception):
    """A stored definition does not compile: of another version, changed behind our back, or sealed elsewhere."""


async def compile_aside(
    nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]
) -> Definition:
    """Compile in a thread: a hundred conditions take longer than the event loop may stand still."""
    return await asyncio.to_thread(_compile, nodes, edges, metadata)


def _compile(
    nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]
) -> Definition:
    """Whoever runs what comes out of this finds its executors loaded."""
    definition = compile_definition(nodes, edges, metadata, PROVIDERS_BY_EXECUTOR)
    for node in definition.nodes.values():
        if isinstance(node.behaviour, ExecutorCall):
            EXECUTORS[node.behaviour.executor_id].load()
    return definition


async def check_aside(
    nodes: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, Any],
    checks: Checks = STRICT,
) -> Definition:
    """Compile, and judge what executor nodes say themselves by their executors: for what is saved or activated now.

    What was stored before is not judged anew, since the schemas of the catalog may have changed.
    """
    return await asyncio.to_thread(_check, nodes, edges, metadata, checks)


def _check(
    nodes: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, Any],
    checks: Checks,
) -> Definition:
    definition = compile_definition(nodes, edges, metadata, PROVIDERS_BY_EXECUTOR, checks)
    for index, node in enumerate(definition.nodes.values()):
        checks(_check_static_input, node, f"nodes[{index}].data")
    return definition


def _check_static_input(node: Node, where: str) -> None:
    call = node.behaviour
    # In a sketch a call may have no executor that could judge.
    if isinstance(call, ExecutorCall) and call.executor_id:
        executor = EXECUTORS[call.executor_id]
        violations = executor.input.violations(call.static_input)
        # What is missing may come from the workflow's input.
        wrong = fields((one for one in violations if one.keyword != "required"), where)
        foreseen = executor.foresee(call.path or "", call.static_input)
        wrong = wrong or {f"{where}.{member}": f"refuses every call: {reason}" for member, reason in foreseen.items()}
        if wrong:
            raise InvalidNodeData(fields=wrong)


class Definitions:
    """The compiled definitions that were used last."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._kept: OrderedDict[tuple[str, int], Definition] = OrderedDict()

    def owing(self) -> Self:
        """The same definitions, kept together with these, for who must not be refused: see `Store.owing`."""
        twin = copy.copy(self)
        twin._store = self._store.owing()  # noqa: SLF001 - it is a copy of our own
        return twin

    async def get(self, workflow_id: str, revision: int) -> Definition:
        """The definition of a revision; raises WorkflowNotFound or BrokenDefinition."""
        key = (workflow_id, revision)
        known = self._kept.get(key)
        if known is not None:
            self._kept.move_to_end(key)
            return known
        stored = await self._store.read(workflows.get_revision, workflow_id, revision)
        try:
            nodes = workflows.open_nodes(self._vault, workflow_id, stored["nodes"])
            definition = await compile_aside(nodes, stored["edges"], stored["metadata"])
        except FlowkerError as error:
            raise BrokenDefinition(f"revision {revision} of workflow {workflow_id}: {error.code}") from error
        except SecretUnreadable as error:
            raise BrokenDefinition(f"revision {revision} of workflow {workflow_id}: {error}") from error
        self._keep(key, definition)
        return definition

    def _keep(self, key: tuple[str, int], definition: Definition) -> None:
        self._kept[key] = definition
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
