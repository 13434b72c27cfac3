"""The parameters of templates: what this deployment offers for them, and whether those of a request fit."""

from collections.abc import Mapping, Sequence
from typing import Any

from flowker.domain.errors import TemplateParametersInvalid
from flowker.domain.workflow_templates import (
    TEMPLATES,
    NamedConfiguration,
    WorkflowTemplate,
    configuration_ids,
    misfits,
)
from flowker.engine.definitions import PROVIDERS_BY_EXECUTOR
from flowker.jsonschema import Schema
from flowker.operations.context import Context
from flowker.storage import provider_configurations
from flowker.storage.database import Connection

OFFERED_MAX = 100
"""As many configurations as a page of a list has at most; whoever has more can still name every one of them."""

Offered = Mapping[str, Sequence[tuple[str, str]]]
"""Id and name of active configurations, by parameter."""


async def require_fitting(context: Context, template: WorkflowTemplate, parameters: Mapping[str, Any]) -> None:
    """Raise `TemplateParametersInvalid` when no workflow can be built from the parameters."""
    wrong = _SCHEMAS[template.id].fields(parameters, "params")
    if not wrong:
        ids = configuration_ids(template, parameters)
        found = await context.store.read(provider_configurations.find, ids)
        facts = {id_: NamedConfiguration(one.provider_id, one.status == "active") for id_, one in found.items()}
        reasons = misfits(template, parameters, PROVIDERS_BY_EXECUTOR, facts)
        wrong = {f"params.{name}": reason for name, reason in reasons.items()}
    if wrong:
        raise TemplateParametersInvalid(fields=wrong)


def read_offered(connection: Connection, template: WorkflowTemplate) -> Offered:
    """One configuration more than is offered, where there are more."""
    return {
        name: provider_configurations.list_active(connection, provider_id, OFFERED_MAX + 1)
        for name, provider_id in template.configurations.items()
    }


def offering_schema(template: WorkflowTemplate, offered: Offered) -> dict[str, Any]:
    """The JSON Schema of the parameters, with the executors of the catalog and the active configurations in it."""
    schema = _schema(template)
    properties = schema["properties"]
    chosen = {name: _offering(properties[name], active) for name, active in offered.items()}
    return {**schema, "properties": {**properties, **chosen}}


def _offering(shape: Mapping[str, Any], active: Sequence[tuple[str, str]]) -> dict[str, Any]:
    if not active:
        return {**shape, "description": f"{shape['description']} None is active now."}
    choices: list[dict[str, Any]] = [{"const": id_, "title": name} for id_, name in active[:OFFERED_MAX]]
    if len(active) > OFFERED_MAX:
        others = {"not": {"enum": [choice["const"] for choice in choices]}}
        choices.append({"title": "Another active configuration", **others})
    return {**shape, "oneOf": choices}


def _schema(template: WorkflowTemplate) -> dict[str, Any]:
    schema = dict(template.parameter_schema)
    name = template.executor_parameter
    if name is None:
        return schema
    executor = {**schema["properties"][name], "enum": sorted(PROVIDERS_BY_EXECUTOR)}
    return {**schema, "properties": {**schema["properties"], name: executor}}


_SCHEMAS = {id_: Schema(_schema(template)) for id_, template in TEMPLATES.items()}
