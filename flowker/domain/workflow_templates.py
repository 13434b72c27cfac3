"""Templates of workflows: what each asks for, and the definition that it builds from the answers.

A template is data and one pure function. What it builds is an ordinary draft: it compiles, it can be edited, and it
can be activated as long as the configurations that its parameters name are active.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from flowker.domain.errors import WebhookNotFound
from flowker.domain.webhooks import normalize_path

Parameters = Mapping[str, Any]
Shape = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorkflowTemplate:
    """`parameter_schema` is the JSON Schema of its parameters, apart from what a deployment adds to it."""

    id: str
    name: str
    description: str
    version: str
    category: str
    parameter_schema: Shape
    configurations: Mapping[str, str | None]
    """Parameters that name a provider configuration, with its provider; None is the one of the chosen executor."""
    executor_parameter: str | None
    """The parameter that names an executor of the catalog, if there is one."""
    build: Callable[[Parameters], dict[str, Any]]
    """The definition `{name, description, nodes, edges, metadata}` from parameters that fit."""


@dataclass(frozen=True, slots=True)
class NamedConfiguration:
    """What a template wants to know of a provider configuration."""

    provider_id: str
    active: bool


def configuration_ids(template: WorkflowTemplate, parameters: Parameters) -> list[str]:
    """The provider configurations that the parameters name."""
    return [parameters[name].lower() for name in template.configurations]


def misfits(
    template: WorkflowTemplate,
    parameters: Parameters,
    executors: Mapping[str, str],
    configurations: Mapping[str, NamedConfiguration],
) -> dict[str, str]:
    """What is wrong with parameters that fit the schema, by parameter: paths and configurations that are of no use.

    `executors` maps each executor of the catalog to its provider; `configurations` are those that exist, by id.
    """
    found = {}
    if not _is_webhook_path(parameters.get("webhookPath", WEBHOOK_PATH)):
        found["webhookPath"] = "is not a webhook path"
    chosen = executors.get(executor_of(template, parameters) or "")
    for name, provider_id in template.configurations.items():
        reason = _misfit(configurations.get(parameters[name].lower()), provider_id or chosen)
        if reason:
            found[name] = reason
    return found


def executor_of(template: WorkflowTemplate, parameters: Parameters) -> str | None:
    """The executor that the parameters choose, or their template's own choice."""
    if template.executor_parameter is None:
        return None
    return str(parameters.get(template.executor_parameter, EXECUTOR))


def _misfit(configuration: NamedConfiguration | None, provider_id: str | None) -> str | None:
    if configuration is None or not configuration.active:
        return "must name an active provider configuration"
    return None if configuration.provider_id == provider_id else "belongs to another provider"


def _is_webhook_path(path: str) -> bool:
    try:
        normalize_path(unquote(path, errors="strict"))
    except (WebhookNotFound, UnicodeDecodeError):
        return False
    return True


WEBHOOK_PATH = "/validate-and-transact"

EXECUTOR = "http.request"
"""What validates a payment unless another executor is chosen."""

_WORKFLOW_NAME: Shape = {
    "type": "string",
    "minLength": 1,
    "maxLength": 100,
    "pattern": r"\S",
    "description": "Name of the workflow; unique among all workflows.",
}


def _configuration(description: str) -> Shape:
    return {"type": "string", "format": "uuid", "description": description}


def _document(properties: Mapping[str, Shape], required: Sequence[str]) -> Shape:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def _node(id_: str, type_: str, name: str, position: tuple[int, int], data: dict[str, Any]) -> dict[str, Any]:
    return {"id": id_, "type": type_, "name": name, "position": {"x": position[0], "y": position[1]}, "data": data}


def _branch(id_: str, source: str, target: str, *, taken: bool) -> dict[str, Any]:
    """The edge of a conditional for one of its results."""
    return _edge(
        id_, source, target, sourceHandle="true" if taken else "false", label="Approved" if taken else "Rejected"
    )


def _edge(id_: str, source: str, target: str, **more: str) -> dict[str, Any]:
    return {"id": id_, "source": source, "target": target, **more}


def _same(names: Sequence[str]) -> list[dict[str, Any]]:
    """A mapping of these members of the input to the same names; a call makes no sense without any of them."""
    return [{"source": f"workflow.{name}", "target": name, "required": True} for name in names]


_VALIDATED = ("requestId", "transactionType", "amount", "currency", "transactionTimestamp", "account")


def _build_tracer_midaz_validation(parameters: Parameters) -> dict[str, Any]:
    trigger = {
        "triggerId": "webhook",
        "path": parameters.get("webhookPath", WEBHOOK_PATH),
        "method": parameters.get("webhookMethod", "POST"),
    }
    validate = {
        "executorId": "tracer.validate-transaction",
        "providerConfigId": parameters["tracerProviderConfigId"].lower(),
        "inputMapping": _same(_VALIDATED),
        "validateInput": True,
    }
    transact = {
        "executorId": "midaz.create-transaction",
        "providerConfigId": parameters["midazProviderConfigId"].lower(),
        "inputMapping": [
            {"source": "workflow.transaction", "target": "send", "required": True},
            {"source": "workflow.transactionDescription", "target": "description"},
        ],
        "validateInput": True,
    }
    reject = {
        "action": "set_output",
        "output": {"decision": "{{tracer-validate.body.decision}}", "requestId": "{{workflow.requestId}}"},
    }
    return {
        "name": parameters["workflowName"],
        "description": parameters.get("workflowDescription", ""),
        "nodes": [
            _node("webhook-trigger", "trigger", "Transaction received", (0, 0), trigger),
            _node("tracer-validate", "executor", "Validate with Tracer", (250, 0), validate),
            _node("decision-check", "conditional", "Allowed?", (500, 0), {"condition": _ALLOWED}),
            _node("midaz-create-tx", "executor", "Create the transaction in Midaz", (750, -100), transact),
            _node("rejected", "action", "Reject", (750, 100), reject),
        ],
        "edges": [
            _edge("e1", "webhook-trigger", "tracer-validate"),
            _edge("e2", "tracer-validate", "decision-check"),
            _branch("e3", "decision-check", "midaz-create-tx", taken=True),
            _branch("e4", "decision-check", "rejected", taken=False),
        ],
        "metadata": {"templateId": "tracer-midaz-validation", "templateVersion": "v1"},
    }


_ALLOWED = 'tracer-validate.body.decision == "ALLOW"'


def _build_payment_validation(parameters: Parameters) -> dict[str, Any]:
    currency = parameters["currency"]
    trigger = {"triggerId": "webhook", "path": f"/payment-validation/{currency.lower()}", "method": "POST"}
    validate = {
        "executorId": parameters.get("executorId", EXECUTOR),
        "providerConfigId": parameters["providerConfigId"].lower(),
        "validateInput": True,
    }
    told = {"paymentId": "{{workflow.paymentId}}", "validation": "{{validate-payment.body}}"}
    return {
        "name": parameters["workflowName"],
        "description": f"Validates payments in {currency}.",
        "nodes": [
            _node("payment-received", "trigger", "Payment received", (0, 0), trigger),
            _node("currency-check", "conditional", "Known currency?", (250, 0), _is_currency(currency)),
            _node("validate-payment", "executor", "Validate the payment", (500, 0), validate),
            _node("approved", "action", "Approve", (750, -100), _output({"decision": "approved", **told})),
            _node("rejected", "action", "Reject", (750, 100), _output({"decision": "rejected", **told})),
        ],
        "edges": [
            _edge("e1", "payment-received", "currency-check"),
            _branch("e2", "currency-check", "validate-payment", taken=True),
            _branch("e3", "currency-check", "rejected", taken=False),
            _edge("e4", "validate-payment", "approved", condition=f"NOT ({_OBJECTED})", label="Approved"),
            _edge("e5", "validate-payment", "rejected", condition=_OBJECTED, label="Rejected"),
        ],
        "metadata": {"templateId": "payment-validation", "templateVersion": "v1"},
    }


_OBJECTED = 'exists(validate-payment.body.decision) AND validate-payment.body.decision != "ALLOW"'
"""The far side answered, and its answer has a decision that is not the one that lets a payment go on."""


def _is_currency(currency: str) -> dict[str, Any]:
    return {"condition": f'workflow.currency == "{currency}"'}


def _output(output: dict[str, Any]) -> dict[str, Any]:
    return {"action": "set_output", "output": output}


_TEMPLATES = (
    WorkflowTemplate(
        id="payment-validation",
        name="Payment validation",
        description=(
            "Checks the currency of a payment and lets a far side validate it. The payment is rejected in another "
            "currency, and when the answer has a decision other than ALLOW."
        ),
        version="v1",
        category="Payments",
        parameter_schema=_document(
            {
                "workflowName": _WORKFLOW_NAME,
                "executorId": {
                    "type": "string",
                    "default": EXECUTOR,
                    "description": "The executor that validates payments; it is given the payment as it came.",
                },
                "providerConfigId": _configuration("The configuration of the executor's provider."),
                "currency": {
                    "type": "string",
                    "pattern": "^[A-Z]{3}$",
                    "description": "The currency of the payments; the webhook's path ends with it in lower case.",
                },
            },
            ["workflowName", "providerConfigId", "currency"],
        ),
        configurations={"providerConfigId": None},
        executor_parameter="executorId",
        build=_build_payment_validation,
    ),
    WorkflowTemplate(
        id="tracer-midaz-validation",
        name="Tracer Validation + Midaz Transaction",
        description=(
            "Lets Tracer validate a transaction and creates it in Midaz when it is allowed; otherwise the output "
            "names the decision."
        ),
        version="v1",
        category="Compliance",
        parameter_schema=_document(
            {
                "workflowName": _WORKFLOW_NAME,
                "workflowDescription": {
                    "type": "string",
                    "maxLength": 500,
                    "description": "What the workflow is for.",
                },
                "tracerProviderConfigId": _configuration("The configuration of the Tracer that validates."),
                "midazProviderConfigId": _configuration("The configuration of the Midaz that keeps transactions."),
                "webhookPath": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 500,
                    "default": WEBHOOK_PATH,
                    "description": "The path of the webhook below /v1/webhooks.",
                },
                "webhookMethod": {"enum": ["POST"], "default": "POST", "description": "The method of the webhook."},
            },
            ["workflowName", "tracerProviderConfigId", "midazProviderConfigId"],
        ),
        configurations={"tracerProviderConfigId": "tracer", "midazProviderConfigId": "midaz"},
        executor_parameter=None,
        build=_build_tracer_midaz_validation,
    ),
)

TEMPLATES: Mapping[str, WorkflowTemplate] = {template.id: template for template in _TEMPLATES}
"""The templates of the catalog, by id."""
