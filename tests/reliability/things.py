"""What a service has, as the machine of test_model.py writes it and as it is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.reliability.flavours import FLAVOURS, Flavour, Run

UNKNOWN_ID = "019cfc5b-5d4a-7c11-9f0e-2a4b6c8d0e1f"

TOKEN = "let-me-in"


@dataclass(frozen=True)
class Trigger:
    """A trigger as the machine writes it: all are POST."""

    path: str | None
    sync: bool = False
    guarded: bool = False

    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = {"triggerId": "webhook"}
        if self.path is not None:
            data["path"] = self.path
        if self.sync:
            data["responseMode"] = "sync"
        if self.guarded:
            data["verify_token"] = TOKEN
        return data


@dataclass(frozen=True)
class Draft:
    """What a workflow is made of."""

    name: str
    kind: str
    trigger: Trigger
    configuration: str = UNKNOWN_ID
    description: str = ""

    @property
    def flavour(self) -> Flavour:
        return FLAVOURS[self.kind]

    def body(self) -> dict[str, Any]:
        """As it is sent."""
        nodes = [self._configured(node) for node in self.flavour.nodes]
        if not self.flavour.without_trigger:
            trigger = {"id": "t", "type": "trigger", "position": {"x": 1, "y": 2}, "data": self.trigger.data()}
            nodes = [trigger, *nodes]
        return {
            "name": self.name,
            "description": self.description,
            "nodes": nodes,
            "edges": self.flavour.edges,
            "metadata": dict(self.flavour.metadata),
        }

    def shown(self) -> dict[str, Any]:
        """As it is read: with its secrets masked."""
        body = self.body()
        for node in body["nodes"]:
            if "verify_token" in node["data"]:
                node["data"]["verify_token"] = "********"
        return body

    @property
    def webhook(self) -> str | None:
        return None if self.flavour.without_trigger else self.trigger.path

    def _configured(self, node: Mapping[str, Any]) -> dict[str, Any]:
        if node["type"] != "executor":
            return dict(node)
        member = "providerConfigId" if self.flavour.uses == "provider" else "executorConfigId"
        return {**node, "data": {**node["data"], member: self.configuration}}


@dataclass
class Workflow:
    id: str
    draft: Draft
    created_at: str
    updated_at: str
    etag: str
    status: str = "draft"
    revision: int = 1
    deleted: bool = False

    @property
    def version(self) -> str:
        return f"1.{self.revision - 1}.0"


@dataclass
class Execution:
    id: str
    workflow_id: str
    draft: Draft
    run: Run
    started_at: str
    key: str | None
    by_webhook: bool
    completed_at: str | None = None
    error_message: str | None = None


@dataclass
class Configuration:
    """A provider configuration or an executor configuration."""

    id: str
    kind: str
    body: dict[str, Any]
    status: str
    created_at: str
    updated_at: str
    etag: str
    deleted: bool = False


@dataclass(frozen=True)
class Entry:
    """What is told in the audit trail; of the context, what the documents promise."""

    event_type: str
    resource_id: str
    context: Mapping[str, Any] = field(default_factory=dict)
