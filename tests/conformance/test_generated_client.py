"""A client that users generate from the document: everything in it is there, and it works against the service."""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flowker.app import document_path
from flowker.http.document import load
from flowker.http.parameters import argument_name
from tests.conformance.conftest import KEY, Live, until

PACKAGE = "generated_flowker_client"


class Client:
    """The generated package in use: operations by their name in Python, models as attributes of `models`."""

    def __init__(self, package: ModuleType, url: str) -> None:
        self.models: Any = importlib.import_module(f"{PACKAGE}.models")
        self._operations = operations(package)
        self.connection = package.AuthenticatedClient(
            base_url=url, token=KEY, prefix="", auth_header_name="X-API-Key", raise_on_unexpected_status=True
        )

    def expect(self, status_wanted: int, operation: str, *args: Any, **kwargs: Any) -> Any:
        """The parsed answer, which has this status."""
        answer = self._operations[operation].sync_detailed(*args, client=self.connection, **kwargs)
        assert answer.status_code == status_wanted, answer.content
        return answer.parsed

    def refusal(self, status_wanted: int, operation: str, *args: Any, **kwargs: Any) -> str:
        """The code of a refusal."""
        refused = self.expect(status_wanted, operation, *args, **kwargs)
        assert isinstance(refused, self.models.ErrorResponse)
        return str(refused.code)

    def ended(self, execution_id: Any) -> Any:
        """The status of an execution, as soon as it has ended."""
        over = {self.models.ExecutionState.COMPLETED, self.models.ExecutionState.FAILED}
        return until(lambda: (seen := self.expect(200, "get_execution_status", execution_id)).status in over and seen)

    def definition(self, name: str, decision: str) -> Any:
        """A workflow with two webhooks, one of them nested, that approves small amounts."""
        models = self.models
        data = {
            "flat": {"triggerId": "webhook", "path": "generated-orders"},
            "nested": {"triggerId": "webhook", "path": "generated/orders/paid"},
            "check": {"condition": "workflow.amount <= 1000"},
            "approve": {"action": "set_output", "output": {"decision": decision, "amount": "{{workflow.amount}}"}},
        }
        types = {"flat": "TRIGGER", "nested": "TRIGGER", "check": "CONDITIONAL", "approve": "ACTION"}
        return models.WorkflowInput(
            name=name,
            description="Made by a generated client.",
            nodes=[
                models.Node(id=id_, type_=models.NodeType[types[id_]], data=models.NodeData.from_dict(data[id_]))
                for id_ in data
            ],
            edges=[
                models.Edge(id="e1", source="flat", target="check"),
                models.Edge(id="e2", source="nested", target="check"),
                models.Edge(id="e3", source="check", target="approve", source_handle="true"),
            ],
            metadata=models.Metadata.from_dict({"timeoutSeconds": 60, "owner": "payments"}),
        )


def operations(package: ModuleType) -> dict[str, ModuleType]:
    """The module of every operation, by the operation's name in Python."""
    found = pkgutil.walk_packages(package.__path__, f"{PACKAGE}.")
    names = [module.name for module in found if module.name.startswith(f"{PACKAGE}.api.") and not module.ispkg]
    return {name.rpartition(".")[2]: importlib.import_module(name) for name in names}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package that openapi-python-client makes of the document; a warning of it is a failure."""
    directory = tmp_path_factory.mktemp("generated")
    config = directory / "config.yaml"
    config.write_text("post_hooks: []\n")  # They only make the code prettier.
    command = [str(Path(sys.executable).parent / "openapi-python-client"), "generate", "--meta", "none"]
    paths = ["--path", str(document_path()), "--output-path", str(directory / PACKAGE), "--config", str(config)]
    made = subprocess.run([*command, *paths, "--fail-on-warning"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(directory)
        yield importlib.import_module(PACKAGE)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def client(package: ModuleType, live: Live) -> Iterator[Client]:
    client = Client(package, live.url)
    with client.connection:
        yield client


def test_the_client_has_every_operation_of_the_document(package: ModuleType) -> None:
    """The generator leaves out what it does not understand."""
    documented = {
        argument_name(operation["operationId"])
        for path in load(document_path())["paths"].values()
        for operation in path.values()
        if "operationId" in operation
    }

    assert operations(package).keys() == documented


def test_a_workflow_lives_from_its_creation_to_its_deletion(client: Client) -> None:
    """What a typed call answers is enough to make the next one, all the way."""
    models = client.models

    created = client.expect(201, "create_workflow", body=client.definition("Generated life", "maybe"))
    assert (created.status, created.version) == (models.WorkflowStatus.DRAFT, "1.0.0")
    id_ = created.workflow_id
    assert id_ in {item.id for item in client.expect(200, "list_workflows", limit=100).items}
    read = client.expect(200, "get_workflow", id_)
    assert (read.name, read.created_at) == ("Generated life", created.created_at)
    assert read.nodes[2].type_ is models.NodeType.CONDITIONAL

    updated = client.expect(200, "update_workflow", id_, body=client.definition("Generated life", "approved"))
    assert (updated.version, updated.created_at) == ("1.1.0", created.created_at)
    validation = client.expect(200, "validate_workflow", id_)
    assert (validation.valid, validation.findings) == (True, [])
    assert client.expect(200, "activate_workflow", id_).status is models.WorkflowStatus.ACTIVE
    assert client.refusal(422, "update_workflow", id_, body=client.definition("Other", "no")) == "FLK-0103"

    body = models.TriggerWebhookBody.from_dict({"amount": 250})
    execution_id = client.expect(201, "trigger_webhook", "generated/orders/paid", body=body).execution_id
    assert client.ended(execution_id).status is models.ExecutionState.COMPLETED

    assert client.expect(200, "deactivate_workflow", id_).status is models.WorkflowStatus.INACTIVE
    for path in ("generated-orders", "generated/orders/paid"):
        assert client.refusal(422, "trigger_webhook", path) == "FLK-0501"
    assert client.expect(200, "move_workflow_to_draft", id_).status is models.WorkflowStatus.DRAFT
    assert client.refusal(404, "trigger_webhook", "generated-orders") == "FLK-0361"

    assert client.expect(204, "delete_workflow", id_) is None
    assert client.refusal(404, "get_workflow", id_) == "FLK-0100"
    assert client.expect(200, "get_execution_results", execution_id).final_output["decision"] == "approved"


def test_a_provider_configuration_lives_from_its_creation_to_its_deletion(client: Client) -> None:
    """What was read is changed and sent back, in the state that it was read in."""
    models = client.models
    config = {"base_url": "http://127.0.0.2:1", "headers": {"X-Api-Key": "secret"}}
    body = models.ProviderConfigurationInput(
        name="Generated configuration",
        provider_id="http",
        config=models.ProviderConfigurationInputConfig.from_dict(config),
    )

    created = client.expect(201, "create_provider_configuration", body=body)
    assert created.status is models.ProviderConfigurationStatus.ACTIVE
    read = client.expect(200, "get_provider_configuration", created.id)
    assert read.config["headers"] == {"X-Api-Key": "********"}

    change = models.ProviderConfigurationUpdate(
        description="Changed.", config=models.ProviderConfigurationUpdateConfig.from_dict(read.config.to_dict())
    )
    old = client.refusal(409, "update_provider_configuration", created.id, body=change, if_match='"0"')
    assert old == "FLK-0350"
    updated = client.expect(200, "update_provider_configuration", created.id, body=change, if_match='"1"')
    assert (updated.description, updated.config) == ("Changed.", read.config)

    assert client.refusal(422, "test_provider_configuration", created.id) == "FLK-0341"
    disabled = client.expect(200, "disable_provider_configuration", created.id)
    assert disabled.status is models.ProviderConfigurationStatus.DISABLED
    page = client.expect(200, "list_provider_configurations", status=disabled.status, provider_id="http")
    assert page.items == [disabled]
    assert client.expect(204, "delete_provider_configuration", created.id) is None


def test_an_executor_configuration_lives_from_its_creation_to_its_deletion(client: Client) -> None:
    """With its endpoints and its authentication as objects."""
    models = client.models
    secret = models.ExecutorConfigurationAuthenticationInputConfig.from_dict({"token": "secret"})
    body = models.ExecutorConfigurationInput(
        name="Generated executor configuration",
        base_url="http://127.0.0.2:1",
        endpoints=[
            models.ExecutorConfigurationEndpointInput(
                name="screen", path="/checks", method=models.ExecutorConfigurationEndpointInputMethod.POST
            )
        ],
        authentication=models.ExecutorConfigurationAuthenticationInput(
            type_=models.ExecutorConfigurationAuthenticationInputType.BEARER, config=secret
        ),
    )

    created = client.expect(201, "create_executor_configuration", body=body)
    assert created.status is models.ExecutorConfigurationStatus.CONFIGURED
    read = client.expect(200, "get_executor_configuration", created.id)
    assert (read.endpoints[0].timeout, read.last_tested_at) == (30, None)
    assert read.authentication.config["token"] == "********"

    change = models.ExecutorConfigurationUpdate(description="Changed.")
    updated = client.expect(200, "update_executor_configuration", created.id, body=change)
    assert (updated.description, updated.endpoints) == ("Changed.", read.endpoints)
    assert client.refusal(422, "test_executor_configuration", created.id) == "FLK-0341"
    assert client.refusal(422, "activate_executor_configuration", created.id) == "FLK-0252"
    page = client.expect(200, "list_executor_configurations", status=created.status)
    assert [item.id for item in page.items] == [created.id]
    assert page.items[0].last_tested_at is not None
    assert client.expect(204, "delete_executor_configuration", created.id) is None


@pytest.fixture
def active(client: Client) -> Iterator[Any]:
    """The id of an active workflow."""
    id_ = client.expect(201, "create_workflow", body=client.definition("Generated work", "approved")).workflow_id
    client.expect(200, "activate_workflow", id_)
    yield id_
    client.expect(200, "deactivate_workflow", id_)
    client.expect(204, "delete_workflow", id_)


@pytest.mark.parametrize("path", ["generated-orders", "generated/orders/paid"])
def test_a_delivery_is_followed_from_its_webhook_to_its_results(client: Client, active: Any, path: str) -> None:
    """A nested path goes out as one encoded segment, and comes to the webhook that the author wrote with slashes."""
    body = client.models.TriggerWebhookBody.from_dict({"amount": 250})

    started = client.expect(201, "trigger_webhook", path, body=body, idempotency_key="delivery")

    assert started.workflow_id == active
    status = client.ended(started.execution_id)
    assert (status.status, status.total_steps) == (client.models.ExecutionState.COMPLETED, 2)
    results = client.expect(200, "get_execution_results", started.execution_id)
    assert results.final_output == {"decision": "approved", "amount": 250}
    assert [step.step_name for step in results.step_results] == ["conditional_check", "action_approve"]
    assert results.started_at == status.started_at == started.started_at
    assert results.completed_at == status.completed_at >= started.started_at
    refused = client.refusal(409, "trigger_webhook", path, body=body, idempotency_key="delivery")
    assert refused == "FLK-0505"


def test_an_execution_is_started_repeated_and_found_in_the_list(client: Client, active: Any) -> None:
    """Execute, list and results, with the filters and enums that the client has types for."""
    models = client.models
    body = models.ExecuteInput(input_data=models.ExecuteInputInputData.from_dict({"amount": 5000}))

    started = client.expect(201, "execute_workflow", active, body=body, idempotency_key="payment-1")
    repeated = client.expect(200, "execute_workflow", active, body=body, idempotency_key="payment-1")

    assert repeated.execution_id == started.execution_id
    client.ended(started.execution_id)
    results = client.expect(200, "get_execution_results", started.execution_id)
    assert [step.status for step in results.step_results] == [
        models.StepResultStatus.COMPLETED,
        models.StepResultStatus.SKIPPED,
    ]
    page = client.expect(
        200,
        "list_executions",
        workflow_id=active,
        status=models.ExecutionState.COMPLETED,
        sort_by=models.ListExecutionsSortBy.COMPLETEDAT,
        sort_order=models.ListExecutionsSortOrder.ASC,
    )
    assert [item.execution_id for item in page.items] == [started.execution_id]
    assert (page.has_more, page.next_cursor) == (False, "")


def test_an_execution_is_decided_about_cancelled_and_retried(client: Client) -> None:
    """With its steps as objects, and decisions as enums."""
    models = client.models
    definition = client.definition("Generated approvals", "approved")
    asking = {"action": "approval", "timeoutSeconds": 60}
    definition.nodes[3].data = models.NodeData.from_dict(asking)
    id_ = client.expect(201, "create_workflow", body=definition).workflow_id
    client.expect(200, "activate_workflow", id_)
    body = models.ExecuteInput(input_data=models.ExecuteInputInputData.from_dict({"amount": 5}))
    first, second = (
        client.expect(201, "execute_workflow", id_, body=body, idempotency_key=key).execution_id for key in "ab"
    )

    decision = models.SignalInput(decision=models.SignalInputDecision.APPROVED, comment="fine")
    decided = client.expect(200, "signal_execution", first, "approve", body=decision)
    assert (decided.decision, decided.comment) == (models.ApprovalDecisionDecision.APPROVED, "fine")
    assert client.ended(first).status is models.ExecutionState.COMPLETED
    other = models.SignalInput(decision=models.SignalInputDecision.REJECTED)
    assert client.refusal(409, "signal_execution", first, "approve", body=other) == "FLK-0515"
    assert client.refusal(422, "cancel_execution", first) == "FLK-0511"
    assert client.refusal(422, "retry_execution", first) == "FLK-0512"

    cancelled = client.expect(200, "cancel_execution", second, body=models.CancelInput(reason="enough"))
    assert cancelled.status is models.ExecutionState.FAILED
    assert client.expect(200, "retry_execution", second).status is models.ExecutionState.RUNNING
    steps = client.expect(200, "list_execution_steps", second).items
    assert [(step.node_id, step.status) for step in steps] == [
        ("check", models.ExecutionStepStatus.COMPLETED),
        ("approve", models.ExecutionStepStatus.WAITING),
    ]
    assert (steps[1].attempts, steps[1].completed_at) == ([], None)
    client.expect(200, "signal_execution", second, "approve", body=decision)
    assert client.ended(second).status is models.ExecutionState.COMPLETED
    client.expect(200, "deactivate_workflow", id_)
    client.expect(204, "delete_workflow", id_)


def test_a_refusal_is_typed_with_its_fields(client: Client) -> None:
    """What the service finds wrong reaches the program as an object, not as an exception of the parser."""
    models = client.models
    body = models.WorkflowInput(name="Refused", nodes=[models.Node(id="", type_=models.NodeType.ACTION)] * 2)

    refused = client.expect(400, "create_workflow", body=body)

    assert refused.code == "FLK-0120"
    assert refused.fields.to_dict().keys() == {"nodes[0].id", "nodes[1].id"}
