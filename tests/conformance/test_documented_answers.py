"""Every answer of the document is given, and fits: each operation is put where one status is the only right one.

Schemathesis makes the requests. What a state needs of a request (the id of a workflow that is active, a key that was
seen) is laid over it by the steps that stand in the table below, which also bring the state about.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from flowker.app import document_path
from flowker.http.document import load
from tests.conformance.conftest import CLOSED_URL, CREDENTIALS, REFUSED_URL, World

EXAMPLES_MAX = settings().max_examples // 4
FITS = [status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]
BODY_BYTES_MAX = 1_048_576
TITLES = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}

Request = Any
"""A `schemathesis.Case`. What its parts are typed as holds for any document; here they are what this one says."""

Step = Callable[[World, Request], object]


def no_key(_: World, request: Request) -> None:
    request.headers["X-API-Key"] = "another"


def no_database(world: World, _: Request) -> None:
    world.lose_database()


def no_clock(world: World, _: Request) -> None:
    world.break_clock()


def stalled_writer(world: World, _: Request) -> None:
    world.stall_writer()


def of_id(request: Request, resource_id: str) -> None:
    request.path_parameters = dict.fromkeys(request.path_parameters, resource_id)


def of_draft(world: World, request: Request) -> None:
    of_id(request, world.api.draft().id)


def of_active(world: World, request: Request) -> None:
    of_id(request, world.api.active().id)


def of_inactive(world: World, request: Request) -> None:
    of_id(request, world.api.inactive().id)


def of_draft_with_taken_webhook(world: World, request: Request) -> None:
    taken = world.api.active().webhook
    of_id(request, world.api.draft(path=taken).id)


def of_completed_execution(world: World, request: Request) -> None:
    of_id(request, world.api.completed_execution())


def of_running_execution(world: World, request: Request) -> None:
    of_id(request, world.api.running_execution())


def of_failed_execution(world: World, request: Request) -> None:
    of_id(request, world.api.failed_execution())


def of_approval(world: World, request: Request) -> None:
    request.path_parameters = {"id": world.api.asking_execution(), "nodeId": "step1"}


def of_approval_that_was_decided_otherwise(world: World, request: Request) -> None:
    of_approval(world, request)
    other = {"approved": "rejected", "rejected": "approved"}[request.body["decision"]]
    assert world.api.decide(request.path_parameters["id"], other).status == 200


def of_execution_that_is_none(_: World, request: Request) -> None:
    request.path_parameters = {"id": "not-a-uuid", "nodeId": "step1"}


def of_no_uuid(_: World, request: Request) -> None:
    of_id(request, "not-a-uuid")


def overtaken_by(way: str) -> Step:
    """Somebody else moves the workflow between the request's reading and its writing."""

    def step(world: World, request: Request) -> None:
        [workflow_id] = request.path_parameters.values()
        world.overtake(lambda: world.api.ask("POST", f"/v1/workflows/{workflow_id}/{way}"))

    return step


def of_any_state(_: World, request: Request) -> None:
    """Whatever `If-Match` was generated, it is left out: it would name another state than the one there is."""
    request.headers.pop("If-Match", None)


def of_another_state(_: World, request: Request) -> None:
    request.headers["If-Match"] = '"0"'


def without_cursor(_: World, request: Request) -> None:
    request.query = {name: value for name, value in request.query.items() if name != "cursor"}


def over_the_limit(_: World, request: Request) -> None:
    request.query = {**request.query, "limit": 101}


def of_good_definition(world: World, request: Request) -> None:
    request.body = {**request.body, **world.api.definition()}


def of_unknown_executor(world: World, request: Request) -> None:
    request.body = world.api.definition()
    request.body["nodes"].append({"id": "call", "type": "executor", "data": {"executorId": "fax.send"}})


def of_broken_condition(world: World, request: Request) -> None:
    request.body = world.api.definition()
    request.body["nodes"].append({"id": "check", "type": "conditional", "data": {"condition": "workflow.amount >"}})


def of_new_name(world: World, request: Request) -> None:
    request.body = {**request.body, "name": world.api.definition()["name"]}


def of_taken_name(world: World, request: Request) -> None:
    request.body = {**request.body, "name": world.api.draft().name}


def of_no_name(_: World, request: Request) -> None:
    request.body = {member: value for member, value in request.body.items() if member != "name"}


def of_no_object(_: World, request: Request) -> None:
    request.body = [request.body if isinstance(request.body, dict) else {}]
    request.media_type = "application/json"


def too_large(_: World, request: Request) -> None:
    request.body = {"padding": "x" * BODY_BYTES_MAX}
    request.media_type = "application/json"


def of_new_key(_: World, request: Request) -> None:
    request.headers["Idempotency-Key"] = str(uuid4())


def of_seen_request(world: World, request: Request) -> None:
    of_new_key(world, request)
    [workflow_id] = request.path_parameters.values()
    key = request.headers["Idempotency-Key"]
    world.api.expect(201, "POST", f"/v1/workflows/{workflow_id}/executions", request.body, Idempotency_Key=key)


def of_other_input(_: World, request: Request) -> None:
    request.body = {"inputData": {"other": request.body}}


def to_webhook(request: Request, path: str) -> None:
    request.path_parameters = {"path": path}
    request.headers.pop("Idempotency-Key", None)


def to_active(world: World, request: Request) -> None:
    to_webhook(request, world.api.active(method=request.method).webhook)


def to_synchronous(world: World, request: Request) -> None:
    to_webhook(request, world.api.active(method=request.method, responseMode="sync").webhook)


def to_guarded(world: World, request: Request) -> None:
    """The generated token is another than the one that the webhook asks for."""
    to_webhook(request, world.api.active(method=request.method, verify_token=str(uuid4())).webhook)


def to_inactive(world: World, request: Request) -> None:
    to_webhook(request, world.api.inactive(method=request.method).webhook)


def to_nobody(world: World, request: Request) -> None:
    to_webhook(request, world.api.draft(method=request.method).webhook)


def of_seen_delivery(world: World, request: Request) -> None:
    of_new_key(world, request)
    path, key = request.path_parameters["path"], request.headers["Idempotency-Key"]
    world.api.expect(201, request.method, f"/v1/webhooks/{path}", Idempotency_Key=key)


def in_catalog(id_: str) -> Step:
    return lambda _, request: of_id(request, id_)


def with_bug(world: World, _: Request) -> None:
    world.break_operations()


def of_no_catalog_id(_: World, request: Request) -> None:
    of_id(request, "x" * 101)


def of_fitting_input(_: World, request: Request) -> None:
    request.body = {"config": {"accountId": str(uuid4())}}


def of_unfitting_input(_: World, request: Request) -> None:
    request.body = {"config": {"accountId": "not-a-uuid"}}


def of_good_parameters(world: World, request: Request) -> None:
    """Of the template of payments, with a name and a configuration that nobody has."""
    request.body = {
        **request.body,
        "params": {
            "workflowName": f"Payments {uuid4()}",
            "providerConfigId": world.api.provider_configuration(),
            "currency": "BRL",
        },
    }


def of_bad_parameters(world: World, request: Request) -> None:
    of_good_parameters(world, request)
    request.body["params"]["currency"] = "real"


def of_known_template(_: World, request: Request) -> None:
    request.body = {**request.body, "templateId": "payment-validation"}


def of_unknown_template(_: World, request: Request) -> None:
    request.body = {**request.body, "templateId": f"template-{uuid4()}"}


def of_taken_workflow_name(world: World, request: Request) -> None:
    request.body["params"]["workflowName"] = world.api.draft().name


def of_executor_configuration(status: str) -> Step:
    """The configuration in this status, and no condition."""

    def step(world: World, request: Request) -> None:
        of_id(request, world.executor_configuration(status))
        of_any_state(world, request)

    return step


def of_used_executor_configuration(world: World, request: Request) -> None:
    id_ = world.executor_configuration("active")
    world.api.move(world.api.create(world.api.calling_endpoint(id_)), "activate")
    of_id(request, id_)


def of_executor_configuration_of_refused_address(world: World, request: Request) -> None:
    of_id(request, world.api.executor_configuration(baseUrl=REFUSED_URL))


def executor_configuration_overtaken_by(way: str) -> Step:
    """Somebody else moves the configuration between the request's reading and its writing."""

    def step(world: World, request: Request) -> None:
        [id_] = request.path_parameters.values()
        world.overtake(lambda: world.api.ask("POST", f"/v1/executors/{id_}/{way}"))

    return step


def of_good_executor_configuration(_: World, request: Request) -> None:
    good = {
        "name": str(uuid4()),
        "baseUrl": CLOSED_URL,
        "endpoints": [{"name": "screen", "path": "/checks", "method": "POST"}],
        "authentication": {"type": "bearer", "config": {"token": "a secret"}},
    }
    request.body = {**request.body, **good}


def of_taken_executor_configuration_name(world: World, request: Request) -> None:
    taken = f"Taken {uuid4()}"
    world.api.executor_configuration(name=taken)
    request.body = {**request.body, "name": taken}


def of_description_only(_: World, request: Request) -> None:
    request.body = {"description": str(uuid4())}


def of_provider_configuration(world: World, request: Request) -> None:
    of_id(request, world.api.provider_configuration())
    of_any_state(world, request)


def of_disabled_provider_configuration(world: World, request: Request) -> None:
    of_provider_configuration(world, request)
    [id_] = request.path_parameters.values()
    world.api.expect(200, "POST", f"/v1/provider-configurations/{id_}/disable")


def of_used_provider_configuration(world: World, request: Request) -> None:
    of_provider_configuration(world, request)
    [id_] = request.path_parameters.values()
    world.api.active_caller(id_)


def of_provider_configuration_of_refused_address(world: World, request: Request) -> None:
    of_id(request, world.api.provider_configuration({"base_url": REFUSED_URL}))


def provider_configuration_overtaken_by(way: str) -> Step:
    """Somebody else changes the configuration between the request's reading and its writing."""

    def step(world: World, request: Request) -> None:
        [id_] = request.path_parameters.values()
        world.overtake(lambda: world.api.ask("POST", f"/v1/provider-configurations/{id_}/{way}"))

    return step


def of_good_config(_: World, request: Request) -> None:
    config = {"base_url": CLOSED_URL}
    request.body = {**request.body, "name": str(uuid4()), "providerId": "http", "config": config}


def of_bad_config(_: World, request: Request) -> None:
    request.body = {**request.body, "config": {"base_uri": CLOSED_URL}}


def of_taken_provider_configuration_name(world: World, request: Request) -> None:
    taken = f"Taken {uuid4()}"
    world.api.provider_configuration(name=taken)
    request.body = {**request.body, "name": taken}


def of_unknown_provider(_: World, request: Request) -> None:
    request.body = {**request.body, "providerId": "fax"}


def of_harmless_update(_: World, request: Request) -> None:
    request.body = {name: value for name, value in request.body.items() if name not in {"name", "config"}}


def without_times(_: World, request: Request) -> None:
    """Two random times may be a reversed range."""
    request.query = {name: value for name, value in request.query.items() if name == "status"}


def of_unknown_status(_: World, request: Request) -> None:
    request.query = {**request.query, "status": "finished"}


def of_good_audit_query(_: World, request: Request) -> None:
    """Without a made-up cursor, and without an end that may be before the beginning."""
    request.query = {name: value for name, value in request.query.items() if name not in {"cursor", "dateTo"}}


def of_every_audit_event(_: World, request: Request) -> None:
    """Some filters allow for no type of event: the database is not even asked."""
    request.query = {}


def of_audit_event(world: World, request: Request) -> None:
    world.api.draft()
    [event] = world.api.expect(200, "GET", "/v1/audit-events?limit=1").json()["items"]
    of_id(request, event["eventId"])


HEALTH: Mapping[int, Sequence[Step]] = {200: [], 500: [no_clock], 503: [no_database]}
WEBHOOK: Mapping[int, Sequence[Step]] = {
    200: [to_synchronous],
    201: [to_active],
    400: [to_active, of_no_object],
    401: [to_guarded],
    404: [to_nobody],
    409: [to_active, of_seen_delivery],
    413: [to_active, too_large],
    422: [to_inactive],
    500: [to_active, no_database],
}

CATALOG_LIST: Mapping[int, Sequence[Step]] = {200: [], 401: [no_key], 500: [with_bug]}
CATALOG_ENTRY: Mapping[int, Sequence[Step]] = {
    400: [of_no_catalog_id],
    401: [no_key],
    404: [in_catalog("fax")],
    500: [with_bug],
}

TABLE: Mapping[str, Mapping[int, Sequence[Step]]] = {
    "checkServiceHealth": HEALTH,
    "checkLiveness": {**HEALTH, 503: [stalled_writer]},
    "checkReadiness": HEALTH,
    "checkReadyz": HEALTH,
    "getMetrics": {200: [], 401: [no_key], 500: [with_bug]},
    "getVersion": {200: [], 500: [no_clock]},
    "listWorkflows": {
        200: [without_cursor],
        400: [over_the_limit],
        401: [no_key],
        500: [without_cursor, no_database],
    },
    "createWorkflow": {
        201: [of_good_definition],
        400: [of_no_name],
        401: [no_key],
        404: [of_unknown_executor],
        409: [of_good_definition, of_taken_name],
        413: [too_large],
        422: [of_broken_condition],
        500: [of_good_definition, no_database],
    },
    "getWorkflow": {200: [of_draft], 400: [of_no_uuid], 401: [no_key], 404: [], 500: [no_database]},
    "updateWorkflow": {
        200: [of_draft, of_good_definition, of_any_state],
        400: [of_draft, of_no_name],
        401: [of_draft, no_key],
        404: [of_good_definition],
        409: [of_draft, of_good_definition, of_any_state, overtaken_by("activate")],
        413: [of_draft, too_large],
        422: [of_active, of_good_definition, of_any_state],
        500: [of_draft, of_good_definition, no_database],
    },
    "deleteWorkflow": {
        204: [of_inactive, of_any_state],
        400: [of_no_uuid],
        401: [of_draft, no_key],
        404: [],
        409: [of_draft, of_another_state],
        422: [of_active, of_any_state],
        500: [of_draft, no_database],
    },
    "cloneWorkflow": {
        201: [of_active, of_new_name],
        400: [of_draft, of_no_name],
        401: [of_draft, no_key],
        404: [],
        409: [of_draft, of_taken_name],
        413: [of_draft, too_large],
        500: [of_draft, no_database],
    },
    "validateWorkflow": {200: [of_draft], 400: [of_no_uuid], 401: [of_draft, no_key], 404: [], 500: [no_database]},
    "activateWorkflow": {
        200: [of_draft],
        400: [of_no_uuid],
        401: [of_draft, no_key],
        404: [],
        409: [of_draft_with_taken_webhook],
        422: [of_active],
        500: [of_draft, no_database],
    },
    "deactivateWorkflow": {
        200: [of_active],
        400: [of_no_uuid],
        401: [of_active, no_key],
        404: [],
        409: [of_active, overtaken_by("deactivate")],
        422: [of_draft],
        500: [of_active, no_database],
    },
    "moveWorkflowToDraft": {
        200: [of_inactive],
        400: [of_no_uuid],
        401: [of_inactive, no_key],
        404: [],
        409: [of_inactive, overtaken_by("draft")],
        422: [of_active],
        500: [of_inactive, no_database],
    },
    "executeWorkflow": {
        200: [of_active, of_seen_request],
        201: [of_active, of_new_key],
        400: [of_active, of_no_object],
        401: [of_active, no_key],
        404: [],
        409: [of_active, of_seen_request, of_other_input],
        413: [of_active, too_large],
        422: [of_draft],
        500: [of_active, no_database],
    },
    "listExecutions": {
        200: [without_cursor],
        400: [over_the_limit],
        401: [no_key],
        500: [without_cursor, no_database],
    },
    "getExecutionStatus": {
        200: [of_running_execution],
        400: [of_no_uuid],
        401: [no_key],
        404: [],
        500: [no_database],
    },
    "listExecutionSteps": {
        200: [of_failed_execution],
        400: [of_no_uuid],
        401: [no_key],
        404: [],
        500: [of_failed_execution, no_database],
    },
    "cancelExecution": {
        200: [of_running_execution],
        400: [of_no_uuid],
        401: [of_running_execution, no_key],
        404: [],
        413: [of_running_execution, too_large],
        422: [of_completed_execution],
        500: [of_running_execution, no_database],
    },
    "retryExecution": {
        200: [of_failed_execution],
        400: [of_no_uuid],
        401: [of_failed_execution, no_key],
        404: [],
        422: [of_completed_execution],
        500: [of_failed_execution, no_database],
    },
    "signalExecution": {
        200: [of_approval],
        400: [of_execution_that_is_none],
        401: [of_approval, no_key],
        404: [],
        409: [of_approval_that_was_decided_otherwise],
        413: [of_approval, too_large],
        500: [of_approval, no_database],
    },
    "getExecutionResults": {
        200: [of_completed_execution],
        400: [of_no_uuid],
        401: [no_key],
        404: [],
        422: [of_running_execution],
        500: [no_database],
    },
    "listCatalogExecutors": CATALOG_LIST,
    "getCatalogExecutor": {**CATALOG_ENTRY, 200: [in_catalog("http.request")]},
    "validateCatalogExecutor": {
        200: [in_catalog("midaz.get-account"), of_fitting_input],
        400: [in_catalog("midaz.get-account"), of_unfitting_input],
        401: [no_key],
        404: [in_catalog("fax.send")],
        413: [too_large],
        500: [with_bug],
    },
    "listCatalogTriggers": CATALOG_LIST,
    "getCatalogTrigger": {**CATALOG_ENTRY, 200: [in_catalog("webhook")]},
    "listCatalogProviders": CATALOG_LIST,
    "getCatalogProvider": {**CATALOG_ENTRY, 200: [in_catalog("tracer")]},
    "listCatalogProviderExecutors": {**CATALOG_ENTRY, 200: [in_catalog("tracer")]},
    "listCatalogTemplates": {**CATALOG_LIST, 500: [no_database]},
    "getCatalogTemplate": {
        **CATALOG_ENTRY,
        200: [in_catalog("payment-validation")],
        500: [in_catalog("payment-validation"), no_database],
    },
    "validateCatalogTemplate": {
        200: [in_catalog("payment-validation"), of_good_parameters],
        400: [in_catalog("payment-validation"), of_bad_parameters],
        401: [no_key],
        404: [in_catalog("fax-validation")],
        413: [too_large],
        500: [in_catalog("payment-validation"), of_good_parameters, no_database],
    },
    "createWorkflowFromTemplate": {
        201: [of_known_template, of_good_parameters],
        400: [of_known_template, of_bad_parameters],
        401: [no_key],
        404: [of_unknown_template],
        409: [of_known_template, of_good_parameters, of_taken_workflow_name],
        413: [too_large],
        500: [of_known_template, of_good_parameters, no_database],
    },
    "listExecutorConfigurations": {
        200: [without_cursor],
        400: [over_the_limit],
        401: [no_key],
        500: [without_cursor, no_database],
    },
    "createExecutorConfiguration": {
        201: [of_good_executor_configuration],
        400: [of_no_name],
        401: [no_key],
        409: [of_good_executor_configuration, of_taken_executor_configuration_name],
        413: [too_large],
        500: [of_good_executor_configuration, no_database],
    },
    "getExecutorConfiguration": {
        200: [of_executor_configuration("tested")],
        400: [of_no_uuid],
        401: [no_key],
        404: [],
        500: [no_database],
    },
    "updateExecutorConfiguration": {
        200: [of_executor_configuration("configured"), of_description_only],
        400: [of_executor_configuration("configured"), of_no_object],
        401: [of_executor_configuration("configured"), no_key],
        404: [of_description_only],
        409: [of_executor_configuration("configured"), of_description_only, of_another_state],
        413: [of_executor_configuration("configured"), too_large],
        422: [of_executor_configuration("tested"), of_description_only],
        500: [of_executor_configuration("configured"), of_description_only, no_database],
    },
    "deleteExecutorConfiguration": {
        204: [of_executor_configuration("disabled")],
        400: [of_no_uuid],
        401: [of_executor_configuration("configured"), no_key],
        404: [],
        409: [of_executor_configuration("configured"), of_another_state],
        422: [of_executor_configuration("tested")],
        500: [of_executor_configuration("configured"), no_database],
    },
    "testExecutorConfiguration": {
        200: [of_executor_configuration("configured")],
        400: [of_no_uuid],
        401: [of_executor_configuration("configured"), no_key],
        404: [],
        422: [of_executor_configuration_of_refused_address],
        500: [of_executor_configuration("configured"), no_database],
    },
    "activateExecutorConfiguration": {
        200: [of_executor_configuration("tested")],
        400: [of_no_uuid],
        401: [of_executor_configuration("tested"), no_key],
        404: [],
        409: [of_executor_configuration("tested"), executor_configuration_overtaken_by("activate")],
        422: [of_executor_configuration("configured")],
        500: [of_executor_configuration("tested"), no_database],
    },
    "disableExecutorConfiguration": {
        200: [of_executor_configuration("active")],
        400: [of_no_uuid],
        401: [of_executor_configuration("active"), no_key],
        404: [],
        409: [of_used_executor_configuration],
        422: [of_executor_configuration("disabled")],
        500: [of_executor_configuration("active"), no_database],
    },
    "enableExecutorConfiguration": {
        200: [of_executor_configuration("disabled")],
        400: [of_no_uuid],
        401: [of_executor_configuration("disabled"), no_key],
        404: [],
        409: [of_executor_configuration("disabled"), executor_configuration_overtaken_by("enable")],
        422: [of_executor_configuration("active")],
        500: [of_executor_configuration("disabled"), no_database],
    },
    "listProviderConfigurations": {
        200: [without_cursor],
        400: [over_the_limit],
        401: [no_key],
        500: [without_cursor, no_database],
    },
    "createProviderConfiguration": {
        201: [of_good_config],
        400: [of_no_name],
        401: [no_key],
        404: [of_good_config, of_unknown_provider],
        409: [of_good_config, of_taken_provider_configuration_name],
        413: [too_large],
        422: [of_good_config, of_bad_config],
        500: [of_good_config, no_database],
    },
    "getProviderConfiguration": {
        200: [of_provider_configuration],
        400: [of_no_uuid],
        401: [no_key],
        404: [],
        500: [no_database],
    },
    "updateProviderConfiguration": {
        200: [of_provider_configuration, of_harmless_update],
        400: [of_provider_configuration, of_no_object],
        401: [of_provider_configuration, no_key],
        404: [],
        409: [of_provider_configuration, of_another_state],
        413: [of_provider_configuration, too_large],
        422: [of_provider_configuration, of_bad_config],
        500: [of_provider_configuration, no_database],
    },
    "deleteProviderConfiguration": {
        204: [of_disabled_provider_configuration],
        400: [of_no_uuid],
        401: [of_provider_configuration, no_key],
        404: [],
        409: [of_used_provider_configuration],
        500: [of_provider_configuration, no_database],
    },
    "enableProviderConfiguration": {
        200: [of_disabled_provider_configuration],
        400: [of_no_uuid],
        401: [of_disabled_provider_configuration, no_key],
        404: [],
        409: [of_disabled_provider_configuration, provider_configuration_overtaken_by("enable")],
        422: [of_provider_configuration],
        500: [of_disabled_provider_configuration, no_database],
    },
    "disableProviderConfiguration": {
        200: [of_provider_configuration],
        400: [of_no_uuid],
        401: [of_provider_configuration, no_key],
        404: [],
        409: [of_used_provider_configuration],
        422: [of_disabled_provider_configuration],
        500: [of_provider_configuration, no_database],
    },
    "testProviderConfiguration": {
        200: [of_provider_configuration],
        400: [of_no_uuid],
        401: [of_provider_configuration, no_key],
        404: [],
        422: [of_provider_configuration_of_refused_address],
        500: [of_provider_configuration, no_database],
    },
    "getWorkflowSummary": {200: [], 401: [no_key], 500: [no_database]},
    "getExecutionSummary": {
        200: [without_times],
        400: [of_unknown_status],
        401: [no_key],
        500: [without_times, no_database],
    },
    "searchAuditEvents": {
        200: [of_good_audit_query],
        400: [over_the_limit],
        401: [no_key],
        500: [of_every_audit_event, no_database],
    },
    "getAuditEventById": {200: [of_audit_event], 400: [of_no_uuid], 401: [no_key], 404: [], 500: [no_database]},
    "verifyAuditHashChain": {200: [of_audit_event], 400: [of_no_uuid], 401: [no_key], 404: [], 500: [no_database]},
    "triggerWebhook": WEBHOOK,
    "triggerWebhookGet": WEBHOOK,
    "triggerWebhookPut": WEBHOOK,
    "triggerWebhookPatch": WEBHOOK,
    "triggerWebhookDelete": WEBHOOK,
}
"""What brings an operation to a status: steps, in their order, each given the service and the generated request."""


def documented() -> list[tuple[str, int]]:
    return [
        (operation["operationId"], int(status))
        for path in load(document_path())["paths"].values()
        for operation in path.values()
        if "operationId" in operation
        for status in operation["responses"]
    ]


@pytest.fixture(scope="module")
def described() -> Any:
    return schemathesis.openapi.from_path(document_path())


@pytest.fixture(scope="module")
def seen() -> set[tuple[str, int]]:
    """The pairs of operation and status that were answered as the document says."""
    return set()


@pytest.mark.parametrize(("operation_id", "status"), documented())
def test_a_documented_answer_is_given(
    world: World,
    described: Any,
    seen: set[tuple[str, int]],
    operation_id: str,
    status: int,
) -> None:
    """In the state that the table brings about, every request has this answer, and the answer fits."""

    @settings(max_examples=EXAMPLES_MAX)
    @given(request=described.find_operation_by_id(operation_id).as_strategy())
    def is_answered(request: Request) -> None:
        request.headers.update(CREDENTIALS)
        for step in TABLE[operation_id][status]:
            step(world, request)

        response = request.call(app=world.app)

        world.heal()
        assert response.status_code == status, response.content
        request.validate_response(response, checks=FITS)
        if status >= 400 and status != 503:
            assert_is_refusal(response)

    is_answered()
    seen.add((operation_id, status))


def test_every_documented_answer_was_given(seen: set[tuple[str, int]]) -> None:
    """A status that no state leads to does not belong in the document."""
    missing = set(documented()) - seen

    assert missing == set()


def test_no_other_answer_was_given(world: World) -> None:
    """Whatever was asked on the way, the preparations included, had a documented answer."""
    others = world.answered - set(documented())

    assert others == set()


def test_the_table_has_no_row_for_what_is_not_documented() -> None:
    """The table and the document are about the same."""
    rows = {(operation_id, status) for operation_id, row in TABLE.items() for status in row}

    assert rows == set(documented())


def assert_is_refusal(response: Any) -> None:
    refusal = response.json()
    assert re.fullmatch(r"FLK-\d{4}", refusal["code"])
    assert refusal["title"] == TITLES.get(response.status_code, HTTPStatus(response.status_code).phrase)
    assert refusal["message"].endswith(".")
    assert refusal.keys() <= {"code", "title", "message", "fields"}
    assert all(isinstance(reason, str) for reason in refusal.get("fields", {}).values())
