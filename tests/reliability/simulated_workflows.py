"""Workflows as chance has them: calls, approvals, delays, conditions and logs, in any order and with any joins."""

from collections.abc import Mapping
from random import Random
from typing import Any

from sqlalchemy import Connection

from flowker.storage import provider_configurations, workflows
from flowker.storage.provider_configurations import StoredProviderConfiguration
from flowker.storage.vault import Vault
from flowker.storage.workflows import StoredWorkflow

CONFIGURATION_ID = "11111111-0000-7000-8000-000000000001"


def save(connection: Connection, chance: Random, vault: Vault, now: str) -> str:
    """A workflow of random nodes that lead from one to a later one."""
    config = {"base_url": "https://example.com"}
    configuration = StoredProviderConfiguration(
        CONFIGURATION_ID, "far side", "", "http", config, "active", {}, 1, now, now
    )
    provider_configurations.insert(connection, configuration)
    nodes, edges = _draw(chance)
    workflow_id = "22222222-0000-7000-8000-000000000001"
    sealed = workflows.seal_nodes(vault, workflow_id, nodes)
    metadata = {"timeoutSeconds": chance.choice([20, 300, 3000])}
    workflow = StoredWorkflow(workflow_id, "w", "", "active", 1, sealed, edges, metadata, now, now)
    workflows.insert(connection, workflow)
    return workflow_id


def _draw(chance: Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    names = "abcdef"[: chance.randint(2, 6)]
    trigger: dict[str, Any] = {"id": "t", "type": "trigger", "data": {}}
    nodes = [trigger, *(_node(name, chance) for name in names)]
    edges: list[dict[str, Any]] = []
    for position, node in enumerate(nodes[1:], 1):
        for source in chance.sample(nodes[:position], k=min(position, chance.randint(1, 2))):
            edge = {"id": f"e{len(edges)}", "source": source["id"], "target": node["id"]}
            edges.append(edge | _handle(source, chance))
    return nodes, edges


def _node(name: str, chance: Random) -> dict[str, Any]:
    kind = chance.choice(["call", "call", "call", "approval", "delay", "log", "conditional"])
    join = {"join": chance.choice(["any", "any", "all"])}
    if kind == "call":
        retry = {"maxAttempts": chance.randint(1, 4), "backoffSeconds": chance.choice([0.1, 2])}
        data = {"executorId": "http.request", "providerConfigId": CONFIGURATION_ID, "retry": retry}
        return {"id": name, "type": "executor", "data": data | join}
    if kind == "conditional":
        condition = f"workflow.number >= {chance.randint(0, 4)}"
        return {"id": name, "type": "conditional", "data": {"condition": condition} | join}
    on_timeout = chance.choice(["fail", "reject"])
    extra: dict[str, dict[str, Any]] = {
        "approval": {"timeoutSeconds": 40, "onTimeout": on_timeout},
        "delay": {"seconds": 9},
    }
    return {"id": name, "type": "action", "data": {"action": kind} | extra.get(kind, {}) | join}


def _handle(source: Mapping[str, Any], chance: Random) -> dict[str, str]:
    if source["type"] == "conditional":
        return {"sourceHandle": chance.choice(["true", "false"])}
    if source["type"] == "executor" and chance.random() < 0.2:
        return {"sourceHandle": "error"}
    return {}
