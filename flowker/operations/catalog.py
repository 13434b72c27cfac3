"""Catalog API: what can be called, through whom, what starts an execution, and what workflows can be built from."""

from collections.abc import Mapping
from typing import Any

from flowker import jsontext, schemas
from flowker.domain.errors import (
    CatalogExecutorNotFound,
    CatalogProviderNotFound,
    CatalogTemplateNotFound,
    CatalogTriggerNotFound,
    ExecutorInputInvalid,
    FlowkerError,
)
from flowker.domain.workflow_templates import TEMPLATES, WorkflowTemplate
from flowker.executors.registry import EXECUTORS, PROVIDERS, TRIGGERS, Executor, Provider, Trigger
from flowker.operations.context import Answer, Context
from flowker.operations.template_parameters import Offered, offering_schema, read_offered, require_fitting
from flowker.storage.database import Connection


async def list_catalog_executors(_: Context) -> Answer:
    return list(_EXECUTORS.values())


async def get_catalog_executor(_: Context, *, id_: str) -> Answer:
    return _found(_EXECUTORS, id_, CatalogExecutorNotFound)


async def validate_catalog_executor(_: Context, *, id_: str, body: schemas.CatalogExecutorConfig) -> Answer:
    executor = _found(EXECUTORS, id_, CatalogExecutorNotFound)
    wrong = executor.input.fields(body["config"], "config")
    if wrong:
        raise ExecutorInputInvalid(fields=wrong)
    return {"valid": True}


async def list_catalog_triggers(_: Context) -> Answer:
    return list(_TRIGGERS.values())


async def get_catalog_trigger(_: Context, *, id_: str) -> Answer:
    return _found(_TRIGGERS, id_, CatalogTriggerNotFound)


async def list_catalog_providers(_: Context) -> Answer:
    return list(_PROVIDERS.values())


async def get_catalog_provider(_: Context, *, id_: str) -> Answer:
    return _found(_PROVIDERS, id_, CatalogProviderNotFound)


async def list_catalog_provider_executors(_: Context, *, id_: str) -> Answer:
    provider = _found(PROVIDERS, id_, CatalogProviderNotFound)
    return [executor for executor in _EXECUTORS.values() if executor["providerId"] == provider.id]


async def list_catalog_templates(context: Context) -> Answer:
    def read(connection: Connection) -> dict[str, Offered]:
        return {id_: read_offered(connection, TEMPLATES[id_]) for id_ in sorted(TEMPLATES)}

    offered = await context.store.read(read)
    return [_present_template(TEMPLATES[id_], each) for id_, each in offered.items()]


async def get_catalog_template(context: Context, *, id_: str) -> Answer:
    template = _found(TEMPLATES, id_, CatalogTemplateNotFound)
    return _present_template(template, await context.store.read(read_offered, template))


async def validate_catalog_template(context: Context, *, id_: str, body: schemas.CatalogTemplateParameters) -> Answer:
    template = _found(TEMPLATES, id_, CatalogTemplateNotFound)
    await require_fitting(context, template, body["params"])
    return {"valid": True}


def _found(catalog: Mapping[str, Any], id_: str, refusal: type[FlowkerError]) -> Any:
    if id_ not in catalog:
        raise refusal
    return catalog[id_]


def _present_executor(executor: Executor) -> schemas.CatalogExecutor:
    return {
        "id": executor.id,
        "name": executor.name,
        "category": executor.category,
        "version": executor.version,
        "providerId": executor.provider_id,
        "schema": _as_text(executor.input_schema),
    }


def _present_trigger(trigger: Trigger) -> schemas.CatalogTrigger:
    return {
        "id": trigger.id,
        "name": trigger.name,
        "version": trigger.version,
        "schema": _as_text(trigger.parameter_schema),
    }


def _present_provider(provider: Provider) -> schemas.CatalogProvider:
    return {
        "id": provider.id,
        "name": provider.name,
        "description": provider.description,
        "version": provider.version,
        "configSchema": _as_text(provider.config_schema),
    }


def _present_template(template: WorkflowTemplate, offered: Offered) -> schemas.CatalogTemplate:
    return {
        "id": template.id,
        "name": template.name,
        "description": template.description,
        "version": template.version,
        "category": template.category,
        "paramSchema": _as_text(offering_schema(template, offered)),
    }


def _as_text(schema: Mapping[str, Any]) -> str:
    """A schema as clients of the API parse it."""
    return jsontext.encode(schema).decode()


# What never changes while the service runs is written once, in the order of the ids.
_EXECUTORS = {id_: _present_executor(EXECUTORS[id_]) for id_ in sorted(EXECUTORS)}
_TRIGGERS = {id_: _present_trigger(TRIGGERS[id_]) for id_ in sorted(TRIGGERS)}
_PROVIDERS = {id_: _present_provider(PROVIDERS[id_]) for id_ in sorted(PROVIDERS)}
