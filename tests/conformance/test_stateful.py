"""Resources along their lives: what an operation answers leads to the next one, by the links of the document."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import Phase, settings

from flowker.app import document_path
from flowker.http.document import load
from tests.conformance.conftest import (
    ASK,
    CLOSED_URL,
    CREDENTIALS,
    EXECUTOR_CONFIGURATION_WAYS,
    SCHEMATHESIS,
    Answer,
    Api,
    World,
)

WALKS_MAX = settings().max_examples // 2

STEPS_MAX = 15
"""Longer than the life of a workflow: create, activate, execute, status, results, deactivate, draft, delete."""

WALKS: Mapping[str, list[str]] = {
    "workflows": ["Workflows API", "Executions API", "Webhooks API"],
    "configurations": ["Executor Configurations API", "Provider Configurations API"],
    "what is read": ["Catalog API", "Dashboard API", "Audit API"],
}
"""By their name the tags of the operations that some walks are about."""

LINKED_MIN = 2
"""Which links a walk takes is left to chance. So many operations that need the id of something must have succeeded in
all walks together, or the links lead nowhere."""

DOCUMENT = load(document_path())
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if "operationId" in operation
}


@pytest.mark.parametrize("name", WALKS)
def test_every_walk_along_the_links_is_answered_as_documented(make_world: Callable[[], World], name: str) -> None:
    """Each walk starts in a service of its own, which has a draft, an execution and configurations."""
    worlds: list[World] = []

    async def service(scope: Any, receive: Any, send: Any) -> None:
        await worlds[-1].app(scope, receive, send)

    described = schemathesis.openapi.from_path(document_path(), config=schemathesis.Config.from_path(SCHEMATHESIS))
    described.config.update(headers=dict(CREDENTIALS))
    described.app = service
    # Links lead out of what Schemathesis includes, and not into what it excludes.
    others = [tag["name"] for tag in DOCUMENT["tags"] if tag["name"] not in WALKS[name]]

    class Walk(described.exclude(tag=others).as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            worlds.append(make_world())
            worlds[-1].start()
            worlds[-1].api.completed_execution()
            worlds[-1].api.failed_execution()
            worlds[-1].api.asking_execution()
            worlds[-1].api.draft()
            worlds[-1].api.provider_configuration()
            for status in EXECUTOR_CONFIGURATION_WAYS:
                worlds[-1].executor_configuration(status)
            worlds[-1].answered.clear()

        def before_call(self, case: schemathesis.Case[Any]) -> None:
            """Have no walk wait for the names of hosts that were made up."""
            super().before_call(case)
            if isinstance(case.body, dict) and "baseUrl" in case.body:
                case.body["baseUrl"] = worlds[-1].open_url

        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:  # noqa: ARG002
            return {"headers": CREDENTIALS}

        def after_call(self, response: Any, case: schemathesis.Case[Any]) -> None:
            """Let an execution come to rest before the next step: whether it has must not depend on who is faster."""
            super().after_call(response, case)
            goes_on = case.operation.definition.raw.get("operationId") == "retryExecution"
            if response.status_code == (200 if goes_on else 201) and "executionId" in response.json():
                worlds[-1].api.settle(response.json()["executionId"])

        def teardown(self) -> None:
            worlds[-1].stop()

    Walk.run(settings=settings(max_examples=WALKS_MAX, stateful_step_count=STEPS_MAX, phases=[Phase.generate]))

    walked = {answer for world in worlds for answer in world.answered}
    linked = {operation_id for operation_id, status in walked if status < 300 and "{" in OPERATIONS[operation_id][1]}
    assert len(linked) >= LINKED_MIN


@dataclass(frozen=True)
class Station:
    """An answer of an operation, and the way on from it by what the document says of it: no address is known here."""

    api: Api
    operation_id: str
    answer: Answer
    asked: Mapping[str, str]

    def follow(self, link: str, status: int, body: Any = None, **headers: str) -> "Station":
        """Ask what a link of the answer leads to."""
        response = _resolve(OPERATIONS[self.operation_id][2]["responses"][str(self.answer.status)])
        followed = _resolve(response["links"][link])
        parameters = {name: self._read(expression) for name, expression in followed["parameters"].items()}
        return arrive(self.api, followed["operationId"], status, body, parameters, **headers)

    def _read(self, expression: str) -> str:
        if expression.startswith("$response.header."):
            return self.answer.headers[expression.removeprefix("$response.header.")]
        if expression.startswith("$request.path."):
            return self.asked[expression.removeprefix("$request.path.")]
        value = self.answer.json()
        for step in expression.removeprefix("$response.body#/").split("/"):
            value = value[int(step) if isinstance(value, list) else step]
        return str(value)


def arrive(
    api: Api,
    operation_id: str,
    status: int,
    body: Any = None,
    parameters: Mapping[str, str] | None = None,
    **headers: str,
) -> Station:
    """Ask an operation, which has to answer with this status."""
    method, path, _ = OPERATIONS[operation_id]
    given = dict(parameters or {})
    filled = re.sub(r"\{(\w+)\}", lambda name: quote(given.pop(name[1]), safe=""), path)
    answer = api.expect(status, method, filled, body, **given, **headers)
    return Station(api, operation_id, answer, dict(parameters or {}))


def _resolve(node: Any) -> Any:
    if "$ref" not in node:
        return node
    found: Any = DOCUMENT
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_a_workflow_lives_by_links_alone(api: Api) -> None:
    """From its creation over a delivery and its results to its end."""
    definition = api.definition()
    updated = (
        arrive(api, "createWorkflow", 201, definition)
        .follow("GetWorkflow", 200)
        .follow("UpdateWorkflow", 200, definition)
    )
    validation = updated.follow("ValidateWorkflow", 200).answer.json()
    activated = updated.follow("ActivateWorkflow", 200)
    delivered = activated.follow("TriggerWebhook", 200, {"amount": 1}, Prefer="wait=5")
    results = delivered.follow("GetExecutionResults", 200).answer.json()
    activated.follow("DeactivateWorkflow", 200).follow("DeleteWorkflow", 204)

    assert validation == {"valid": True, "findings": []}
    assert results["finalOutput"] == {"decision": "approved"}
    assert results["workflowId"] == activated.answer.json()["id"]


def test_an_execution_is_decided_cancelled_and_retried_by_links_alone(api: Api) -> None:
    """Two approvals: one is given, the other is never decided, since the execution is cancelled before."""
    workflow = api.active(ASK, {**ASK})
    input_: dict[str, Any] = {"inputData": {}}
    started = arrive(api, "executeWorkflow", 201, input_, {"workflowId": workflow.id, "Idempotency-Key": "key"})

    decided = started.follow("ListExecutionSteps", 200).follow("SignalExecution", 200, {"decision": "approved"})
    cancelled = decided.follow("ListExecutionSteps", 200).follow("CancelExecution", 200, {"reason": "enough"})
    retried = cancelled.follow("RetryExecution", 200)

    assert cancelled.answer.json()["errorMessage"] == "FLK-0510: the execution was cancelled"
    assert retried.answer.json()["status"] == "running"
    steps = retried.follow("ListExecutionSteps", 200).answer.json()["items"]
    assert [step["status"] for step in steps] == ["completed", "waiting"]
    retried.follow("CancelExecution", 200).follow("GetExecutionStatus", 200)


def test_a_provider_configuration_lives_by_links_alone(api: Api) -> None:
    """From its creation to its end; the second editor's tag comes with the answer."""
    body = {"name": "By links", "providerId": "http", "config": {"base_url": CLOSED_URL}}
    created = arrive(api, "createProviderConfiguration", 201, body)
    updated = created.follow("GetProviderConfiguration", 200).follow(
        "UpdateProviderConfiguration", 200, {"description": "changed"}
    )
    created.follow("TestProviderConfiguration", 200)
    disabled = updated.follow("DisableProviderConfiguration", 200)
    disabled.follow("EnableProviderConfiguration", 200).follow("DisableProviderConfiguration", 200).follow(
        "DeleteProviderConfiguration", 204
    )

    assert disabled.answer.json()["status"] == "disabled"


def test_an_executor_configuration_lives_by_links_alone(world: World) -> None:
    """From its creation to its end; what a test makes of it is seen where it is read."""
    body = {
        "name": "By links",
        "baseUrl": world.open_url,
        "endpoints": [{"name": "screen", "path": "/checks", "method": "POST"}],
        "authentication": {"type": "none"},
    }
    created = arrive(world.api, "createExecutorConfiguration", 201, body)
    created.follow("UpdateExecutorConfiguration", 200, {"description": "changed"}).follow(
        "TestExecutorConfiguration", 200
    )
    active = created.follow("GetExecutorConfiguration", 200).follow("ActivateExecutorConfiguration", 200)
    disabled = active.follow("DisableExecutorConfiguration", 200)
    disabled.follow("EnableExecutorConfiguration", 200).follow("DisableExecutorConfiguration", 200).follow(
        "DeleteExecutorConfiguration", 204
    )

    assert (active.answer.json()["status"], disabled.answer.json()["status"]) == ("active", "disabled")


def test_an_audit_event_is_found_by_links_alone(api: Api) -> None:
    """From a page to an event to the chain up to it."""
    api.draft()

    found = arrive(api, "searchAuditEvents", 200).follow("GetAuditEventById", 200)

    assert found.follow("VerifyAuditHashChain", 200).answer.json()["isValid"]
