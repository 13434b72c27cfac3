"""Every refusal that the service has, reached once over the API: its code, its status, its fields, and no echo."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from flowker.domain.errors import RequestTimeout
from flowker.http.errors import STATUS, TITLES
from tests.conformance.conftest import ASK, CLOSED_URL, DECIDE, REFUSED_URL, WAIT_AN_HOUR, Answer, Api, World

CANARY = "canary-4111-1111-1111-1111"
"""Stands where a caller could have put a secret: no answer repeats it."""

MB = 1_048_576
NOBODY = "01900000-0000-7000-8000-000000000000"
WORKFLOWS = "/v1/workflows"
EXECUTOR_CONFIGURATIONS = "/v1/executors"
PROVIDER_CONFIGURATIONS = "/v1/provider-configurations"
CATALOG = "/v1/catalog"
COUNTS = "/v1/dashboards/executions"
HTTP = {"executorId": "http.request"}
ENTRY = {"source": "workflow.a", "target": "a"}
FREE = {"triggerId": "webhook"}
"""A trigger that registers no webhook."""

Ask = Callable[[World], Answer]
JsonObject = dict[str, Any]


def ask(method: str, path: str, body: Any = None, **headers: str | None) -> Ask:
    return lambda world: world.api.ask(method, path, body, **headers)


def create(**members: Any) -> Ask:
    """Create a good workflow but for these members."""
    return lambda world: world.api.ask("POST", WORKFLOWS, {**world.api.definition(), **members})


def create_without(member: str, **element: Any) -> Ask:
    """Create a workflow of which one node (it has a type) or one edge (it has a source) lacks a member."""
    element = {"id": CANARY, **element}
    kind = "nodes" if "type" in element else "edges"
    del element[member]
    return create(**{"nodes": [node("a")], "edges": [], kind: [element]})


def node(id_: str, type_: str = "action", data: Mapping[str, Any] = DECIDE) -> JsonObject:
    return {"id": id_, "type": type_, "data": data}


def transform(operation: str, spec: Any) -> JsonObject:
    return {"operation": operation, "spec": spec}


def edge(source: str, target: str, id_: str = "e1") -> JsonObject:
    return {"id": id_, "source": source, "target": target}


def create_node(type_: str, data: Mapping[str, Any]) -> Ask:
    return create(nodes=[node(CANARY, type_, data)], edges=[])


def call(data: Mapping[str, Any]) -> JsonObject:
    return node("call", "executor", {**HTTP, **data})


def activate(*nodes: JsonObject, edges: tuple[JsonObject, ...] = ()) -> Ask:
    """Create these nodes, which can be saved, and activate them."""

    def asked(world: World) -> Answer:
        definition = {"name": str(uuid4()), "nodes": nodes, "edges": edges}
        created = world.api.expect(201, "POST", WORKFLOWS, definition).json()
        return world.api.ask("POST", f"{WORKFLOWS}/{created['workflowId']}/activate")

    return asked


def activate_with_configuration_of_another_provider(world: World) -> Answer:
    config = {"base_url": CLOSED_URL, "api_key": CANARY}
    id_ = world.api.provider_configuration(config, providerId="tracer")
    return activate(node("start", "trigger", FREE), call({"providerConfigId": id_}))(world)


def configure_executor(**members: Any) -> Ask:
    """Create a good executor configuration but for these members; one that is None is left out."""
    good = {"name": CANARY, "baseUrl": CLOSED_URL, "endpoints": [ENDPOINT], "authentication": {"type": "none"}}
    body = {name: value for name, value in {**good, **members}.items() if value is not None}
    return ask("POST", EXECUTOR_CONFIGURATIONS, body)


def configure_endpoint(**members: Any) -> Ask:
    """Create an executor configuration whose endpoint is good but for these members."""
    endpoint = {name: value for name, value in {**ENDPOINT, **members}.items() if value is not None}
    return configure_executor(endpoints=[endpoint])


def configure_executor_by_a_taken_name(world: World) -> Answer:
    world.api.executor_configuration(name=f"{CANARY} (taken)")
    return configure_executor(name=f"{CANARY} (taken)")(world)


def activate_what_was_not_tested(world: World) -> Answer:
    return world.api.ask("POST", f"{EXECUTOR_CONFIGURATIONS}/{world.api.executor_configuration()}/activate")


def configure_provider(**members: Any) -> Ask:
    """Create a good provider configuration but for these members; one that is None is left out."""
    good = {"name": CANARY, "providerId": "http", "config": {"base_url": CLOSED_URL}, **members}
    body = {name: value for name, value in good.items() if value is not None}
    return ask("POST", PROVIDER_CONFIGURATIONS, body)


def configure_provider_by_a_taken_name(world: World) -> Answer:
    world.api.provider_configuration(name=f"{CANARY} (taken)")
    return configure_provider(name=f"{CANARY} (taken)")(world)


def enable_what_is_active(world: World) -> Answer:
    return world.api.ask("POST", f"{PROVIDER_CONFIGURATIONS}/{world.api.provider_configuration()}/enable")


def disable_what_is_used(world: World) -> Answer:
    id_ = world.api.provider_configuration(name=f"{CANARY} (used)")
    world.api.active_caller(id_)
    return world.api.ask("POST", f"{PROVIDER_CONFIGURATIONS}/{id_}/disable")


def call_a_refused_address(world: World) -> Answer:
    id_ = world.api.provider_configuration({"base_url": REFUSED_URL, "headers": {"X-Api-Key": CANARY}})
    return world.api.ask("POST", f"{PROVIDER_CONFIGURATIONS}/{id_}/test")


def take_a_name(world: World) -> Answer:
    return create(name=world.api.draft().name)(world)


def activate_what_is_active(world: World) -> Answer:
    return world.api.ask("POST", f"{WORKFLOWS}/{world.api.active().id}/activate")


def update_what_is_active(world: World) -> Answer:
    return world.api.ask("PUT", f"{WORKFLOWS}/{world.api.active().id}", world.api.definition())


def update_too_late(world: World) -> Answer:
    path = f"{WORKFLOWS}/{world.api.draft().id}"
    world.overtake(lambda: world.api.ask("PUT", path, world.api.definition()))
    return world.api.ask("PUT", path, world.api.definition())


def activate_a_taken_webhook(world: World) -> Answer:
    taken = world.api.active(path=f"{CANARY}-taken").webhook
    return world.api.ask("POST", f"{WORKFLOWS}/{world.api.draft(path=taken).id}/activate")


def deliver(body: Any = None, **headers: str) -> Ask:
    """Deliver to a webhook that has a token if one is sent."""
    trigger = {"verify_token": "token"} if "X_Webhook_Token" in headers else {}
    return lambda world: world.api.deliver(world.api.active(**trigger), body, **headers)


def deliver_with_a_wrong_signature(world: World) -> Answer:
    signed = world.api.active(signing_secret=f"another than {CANARY}")
    return world.api.deliver(signed, {"card": CANARY}, X_Webhook_Signature=CANARY)


def deliver_twice(world: World) -> Answer:
    workflow = world.api.active()
    world.api.deliver(workflow, Idempotency_Key=CANARY)
    return world.api.deliver(workflow, Idempotency_Key=CANARY)


def execute(body: Any = None, **headers: str) -> Ask:
    return lambda world: world.api.ask("POST", f"{WORKFLOWS}/{world.api.active().id}/executions", body, **headers)


def validate_input(config: Mapping[str, Any]) -> Ask:
    return ask("POST", f"{CATALOG}/executors/midaz.get-account/validate", {"config": config})


def build_from(template: str, **params: Any) -> Ask:
    """From a template, with parameters that are good but for these."""

    def asking(world: World) -> Answer:
        good = {"workflowName": CANARY, "providerConfigId": world.api.provider_configuration(), "currency": "BRL"}
        return world.api.ask("POST", f"{WORKFLOWS}/from-template", {"templateId": template, "params": good | params})

    return asking


def execute_a_draft(world: World) -> Answer:
    path = f"{WORKFLOWS}/{world.api.draft().id}/executions"
    return world.api.ask("POST", path, {"inputData": {"card": CANARY}}, Idempotency_Key=CANARY)


def results_of_what_runs(world: World) -> Answer:
    return world.api.ask("GET", f"/v1/executions/{world.api.running_execution()}/results")


def cancel_what_has_ended(world: World) -> Answer:
    path = f"/v1/executions/{world.api.completed_execution()}/cancel"
    return world.api.ask("POST", path, {"reason": CANARY})


def retry_what_has_not_failed(world: World) -> Answer:
    return world.api.ask("POST", f"/v1/executions/{world.api.completed_execution()}/retry")


def decide_about_what_is_no_approval(world: World) -> Answer:
    return world.api.decide(world.api.asking_execution(), "approved", CANARY, comment=CANARY)


def decide_too_early(world: World) -> Answer:
    return world.api.decide(world.api.execution(WAIT_AN_HOUR, ASK), "approved", "step2", comment=CANARY)


def decide_otherwise(world: World) -> Answer:
    id_ = world.api.asking_execution()
    world.api.decide(id_, "approved")
    return world.api.decide(id_, "rejected", comment=CANARY)


def decide_too_late(world: World) -> Answer:
    id_ = world.api.asking_execution()
    world.api.expect(200, "POST", f"/v1/executions/{id_}/cancel")
    return world.api.decide(id_, "approved", comment=CANARY)


def create_without_database(world: World) -> Answer:
    definition = world.api.definition()
    world.lose_database()
    return world.api.ask("POST", WORKFLOWS, definition)


ENDPOINT = {"name": "screen", "path": "/checks", "method": "POST"}
CYCLE = (edge("start", "a", "e1"), edge("a", "b", "e2"), edge("b", "a", "e3"))
NODE = node("a")
START = node("start", "trigger", FREE)
MANY_NODES = [node(f"n{number}") for number in range(101)]
MANY_EDGES = [edge("a", "a", f"e{number}") for number in range(201)]
LARGE = {"card": CANARY, "padding": "x" * MB}

TABLE: list[tuple[str, int, Ask, set[str]]] = [
    ("FLK-0001", 400, create(description=[CANARY]), {"description"}),
    ("FLK-0002", 400, ask("GET", f"{WORKFLOWS}/{CANARY}"), {"id"}),
    ("FLK-0100", 404, ask("GET", f"{WORKFLOWS}/{NOBODY}"), set()),
    ("FLK-0101", 409, take_a_name, set()),
    ("FLK-0102", 422, activate_what_is_active, set()),
    ("FLK-0103", 422, update_what_is_active, set()),
    ("FLK-0104", 404, create_node("executor", {"executorId": CANARY}), {"nodes[0].data.executorId"}),
    ("FLK-0105", 422, create_node("conditional", {"condition": f"'{CANARY}' =="}), {"nodes[0].data.condition"}),
    ("FLK-0110", 400, create(name=" "), {"name"}),
    ("FLK-0111", 400, create(name=CANARY * 5), {"name"}),
    ("FLK-0112", 422, activate(), set()),
    ("FLK-0113", 400, create(nodes=MANY_NODES, edges=[]), {"nodes"}),
    ("FLK-0114", 400, create(nodes=[NODE], edges=MANY_EDGES), {"edges"}),
    ("FLK-0115", 400, create(nodes=[NODE], edges=[edge("a", CANARY)]), {"edges[0].target"}),
    ("FLK-0116", 422, activate(NODE), set()),
    ("FLK-0117", 400, create(nodes=[node(CANARY), node(CANARY)], edges=[]), {"nodes[1].id"}),
    ("FLK-0118", 400, create_node("trigger", {"method": CANARY}), {"nodes[0].data.method"}),
    ("FLK-0119", 400, create_node("action", {"action": CANARY}), {"nodes[0].data.action"}),
    ("FLK-0120", 400, create_without("id", type="action"), {"nodes[0].id"}),
    ("FLK-0121", 400, create_without("type", type="action"), {"nodes[0].type"}),
    ("FLK-0130", 400, create_without("id", source="a", target="a"), {"edges[0].id"}),
    ("FLK-0131", 400, create_without("source", source="a", target="a"), {"edges[0].source"}),
    ("FLK-0132", 400, create_without("target", source="a", target="a"), {"edges[0].target"}),
    ("FLK-0140", 400, create(nodes=[call({"inputMapping": [CANARY]})], edges=[]), {"nodes[0].data.inputMapping[0]"}),
    (
        "FLK-0141",
        400,
        create(nodes=[call({"outputMapping": [CANARY]})], edges=[]),
        {"nodes[0].data.outputMapping[0]"},
    ),
    ("FLK-0142", 400, create(nodes=[call({"transforms": [CANARY]})], edges=[]), {"nodes[0].data.transforms[0]"}),
    ("FLK-0150", 400, activate(START, call({"providerConfigId": CANARY})), {"nodes[1].data.providerConfigId"}),
    ("FLK-0151", 400, activate_with_configuration_of_another_provider, {"nodes[1].data.providerConfigId"}),
    ("FLK-0200", 404, ask("GET", f"{CATALOG}/executors/{CANARY}"), set()),
    ("FLK-0201", 400, validate_input({"accountId": CANARY}), {"config.accountId"}),
    ("FLK-0210", 404, ask("GET", f"{CATALOG}/triggers/{CANARY}"), set()),
    ("FLK-0230", 404, ask("GET", f"{CATALOG}/providers/{CANARY}/executors"), set()),
    ("FLK-0240", 404, build_from(CANARY), set()),
    ("FLK-0242", 400, build_from("payment-validation", currency=CANARY), {"params.currency"}),
    ("FLK-0250", 404, ask("GET", f"{EXECUTOR_CONFIGURATIONS}/{NOBODY}"), set()),
    ("FLK-0251", 409, configure_executor_by_a_taken_name, set()),
    ("FLK-0252", 422, activate_what_was_not_tested, set()),
    ("FLK-0253", 409, disable_what_is_used, {"workflows"}),
    ("FLK-0260", 400, configure_executor(name=" "), {"name"}),
    ("FLK-0261", 400, configure_executor(name=CANARY * 5), {"name"}),
    ("FLK-0262", 400, configure_executor(baseUrl=None), {"baseUrl"}),
    ("FLK-0263", 400, configure_executor(baseUrl=f"http://ada:{CANARY}@screening.example"), {"baseUrl"}),
    ("FLK-0264", 400, configure_executor(baseUrl=f"http://screening.example/{CANARY * 20}"), {"baseUrl"}),
    ("FLK-0265", 400, configure_executor(endpoints=[]), {"endpoints"}),
    ("FLK-0266", 400, configure_executor(authentication=None), {"authentication"}),
    ("FLK-0267", 400, configure_executor(description=CANARY * 30), {"description"}),
    ("FLK-0268", 400, configure_executor(authentication={"config": {"token": CANARY}}), {"authentication.type"}),
    ("FLK-0269", 400, configure_executor(authentication={"type": CANARY}), {"authentication.type"}),
    ("FLK-0270", 400, configure_endpoint(name=CANARY * 3), {"endpoints[0].name"}),
    ("FLK-0271", 400, configure_endpoint(path=f"/../{CANARY}"), {"endpoints[0].path"}),
    ("FLK-0272", 400, configure_endpoint(method=None), {"endpoints[0].method"}),
    ("FLK-0273", 400, configure_endpoint(method=CANARY), {"endpoints[0].method"}),
    ("FLK-0290", 404, ask("GET", f"{PROVIDER_CONFIGURATIONS}/{NOBODY}"), set()),
    ("FLK-0291", 409, configure_provider_by_a_taken_name, set()),
    ("FLK-0292", 422, enable_what_is_active, set()),
    ("FLK-0293", 422, configure_provider(config={"base_url": CANARY}), {"config.base_url"}),
    ("FLK-0294", 404, configure_provider(providerId=CANARY), {"providerId"}),
    ("FLK-0295", 400, configure_provider(name=None), {"name"}),
    ("FLK-0296", 400, configure_provider(name=CANARY * 5), {"name"}),
    ("FLK-0298", 400, configure_provider(config={}), {"config"}),
    ("FLK-0299", 400, configure_provider(description=CANARY * 30), {"description"}),
    ("FLK-0300", 400, create(owner=CANARY), {"owner"}),
    ("FLK-0301", 400, execute({}, Idempotency_Key=CANARY), {"inputData"}),
    ("FLK-0302", 400, ask("GET", f"{COUNTS}?status={CANARY}"), {"status"}),
    ("FLK-0304", 400, ask("GET", f"{WORKFLOWS}?cursor={CANARY}"), {"cursor"}),
    ("FLK-0305", 400, ask("GET", f"{COUNTS}?startTime={CANARY}"), {"startTime"}),
    (
        "FLK-0308",
        400,
        ask("GET", f"{COUNTS}?startTime=2026-03-18T00:00:00Z&endTime=2026-03-17T23:59:59Z"),
        {"endTime"},
    ),
    ("FLK-0309", 400, ask("GET", f"{WORKFLOWS}?limit={CANARY}"), {"limit"}),
    ("FLK-0310", 400, ask("GET", f"{WORKFLOWS}?sortOrder={CANARY}"), {"sortOrder"}),
    ("FLK-0341", 422, call_a_refused_address, set()),
    ("FLK-0350", 409, update_too_late, set()),
    ("FLK-0360", 409, activate_a_taken_webhook, {"nodes[0].data.path"}),
    ("FLK-0361", 404, ask("POST", f"/v1/webhooks/{CANARY}"), set()),
    ("FLK-0362", 401, deliver(X_Webhook_Token=CANARY), set()),
    ("FLK-0363", 413, deliver(LARGE), set()),
    ("FLK-0401", 401, ask("GET", WORKFLOWS, X_API_Key=CANARY), set()),
    ("FLK-0404", 404, ask("GET", f"/v1/{CANARY}"), set()),
    ("FLK-0405", 405, ask("PATCH", WORKFLOWS, {"card": CANARY}), set()),
    ("FLK-0500", 404, ask("GET", f"/v1/executions/{NOBODY}"), set()),
    ("FLK-0501", 422, execute_a_draft, set()),
    ("FLK-0502", 422, results_of_what_runs, set()),
    ("FLK-0505", 409, deliver_twice, set()),
    ("FLK-0506", 413, execute(LARGE, Idempotency_Key=CANARY), set()),
    ("FLK-0508", 422, activate(START, node("a"), node("b"), edges=CYCLE), {"edges"}),
    ("FLK-0509", 400, execute({"inputData": {"card": CANARY}}), {"Idempotency-Key"}),
    ("FLK-0511", 422, cancel_what_has_ended, set()),
    ("FLK-0512", 422, retry_what_has_not_failed, set()),
    ("FLK-0513", 404, decide_about_what_is_no_approval, set()),
    ("FLK-0514", 409, decide_too_early, set()),
    ("FLK-0515", 409, decide_otherwise, set()),
    ("FLK-0516", 409, decide_too_late, set()),
    ("FLK-0600", 404, ask("GET", f"/v1/audit-events/{NOBODY}"), set()),
    ("FLK-9999", 500, create_without_database, set()),
]

OTHER_WAYS: list[tuple[str, Ask]] = [
    ("FLK-0001", ask("POST", WORKFLOWS, f'{{"{CANARY}": {CANARY}'.encode())),
    ("FLK-0001", ask("POST", WORKFLOWS, f'{{"{CANARY}": 1, "{CANARY}": 2}}'.encode())),
    ("FLK-0001", ask("POST", WORKFLOWS, json.dumps(CANARY).encode())),
    ("FLK-0001", ask("POST", WORKFLOWS, CANARY.encode(), Content_Type=f"text/{CANARY}")),
    ("FLK-0001", create(metadata={"timeoutSeconds": CANARY})),
    ("FLK-0001", create(nodes=[{"id": "a", "type": CANARY}])),
    ("FLK-0001", deliver([CANARY])),
    ("FLK-0001", deliver(Idempotency_Key=f"{CANARY} {CANARY}")),
    ("FLK-0105", create_node("conditional", {"condition": f"{CANARY}(workflow.a)"})),
    ("FLK-0105", create_node("conditional", {"condition": f"workflow.a matches '({CANARY}'"})),
    ("FLK-0105", create(nodes=[NODE, node("b")], edges=[{**edge("a", "b"), "condition": f"'{CANARY}"}])),
    ("FLK-0118", create_node("trigger", {"path": f"../{CANARY}"})),
    ("FLK-0118", create_node("trigger", {"verify_token": [CANARY]})),
    ("FLK-0118", create_node("trigger", {"signing_secret": [CANARY]})),
    ("FLK-0118", create_node("trigger", {"responseTimeout": CANARY})),
    ("FLK-0119", create_node("action", {"action": "delay", "seconds": CANARY})),
    ("FLK-0119", create_node("action", {"action": "set_output", "output": f"{{{{{CANARY}..x}}}}"})),
    ("FLK-0119", create_node("action", {"action": "emit_event", "eventType": f"{{{{{CANARY}}}}}"})),
    ("FLK-0119", create_node("executor", {"executorId": [CANARY]})),
    ("FLK-0140", create_node("executor", {**HTTP, "inputMapping": CANARY})),
    ("FLK-0140", create_node("executor", {**HTTP, "inputMapping": [{"source": f"{CANARY}.", "target": "a"}]})),
    ("FLK-0140", create_node("executor", {**HTTP, "inputMapping": [{"source": "a", "target": f"{CANARY}[*]"}]})),
    ("FLK-0140", create_node("executor", {**HTTP, "inputMapping": [{"source": "a", "target": CANARY}] * 2})),
    ("FLK-0140", create_node("executor", {**HTTP, "inputMapping": [{**ENTRY, "transformation": {"type": CANARY}}]})),
    ("FLK-0140", create_node("action", {"action": "log", "inputMapping": CANARY})),
    ("FLK-0141", create_node("executor", {**HTTP, "outputMapping": [{"source": CANARY, "target": "a"}]})),
    ("FLK-0141", create_node("action", {"action": "log", "outputMapping": CANARY})),
    ("FLK-0142", create_node("executor", {**HTTP, "transforms": [{"operation": CANARY}]})),
    ("FLK-0142", create_node("executor", {**HTTP, "transforms": [transform("shift", {"a": f"{CANARY}["})]})),
    (
        "FLK-0142",
        create_node("executor", {**HTTP, "transforms": [transform("timestamp", {"a": {"inputFormat": CANARY}})]}),
    ),
    (
        "FLK-0142",
        create_node(
            "action", {"action": "transform", "transforms": [transform("delete", {"paths": [CANARY + "["]})]}
        ),
    ),
    ("FLK-0142", create_node("action", {"action": "set_output", "output": 1, "transforms": CANARY})),
    ("FLK-0150", create_node("executor", {"executorId": "http.request", "providerConfigId": [CANARY]})),
    ("FLK-0201", validate_input({"accountId": NOBODY, "owner": CANARY})),
    ("FLK-0242", ask("POST", f"{CATALOG}/templates/payment-validation/validate", {"params": {"currency": CANARY}})),
    ("FLK-0242", build_from("payment-validation", executorId=CANARY)),
    ("FLK-0242", build_from("payment-validation", providerConfigId=NOBODY, workflowName=CANARY)),
    ("FLK-0119", create_node("executor", {"executorConfigId": NOBODY, "endpointName": [CANARY]})),
    ("FLK-0119", create_node("executor", {"executorConfigId": CANARY, "endpointName": "a", "path": f"/{CANARY}"})),
    ("FLK-0119", create_node("executor", {"executorId": "midaz.get-account", "accountId": CANARY})),
    ("FLK-0150", activate(START, node("call", "executor", {"executorConfigId": CANARY, "endpointName": CANARY}))),
    ("FLK-0263", configure_executor(baseUrl=f"http://{CANARY}..example")),
    ("FLK-0269", configure_executor(authentication={"type": "bearer", "config": {"token": f"{CANARY}\n"}})),
    ("FLK-0269", configure_executor(authentication={"type": "basic", "config": {"username": f"{CANARY}:"}})),
    ("FLK-0270", configure_executor(endpoints=[{**ENDPOINT, "name": CANARY}] * 2)),
    ("FLK-0293", configure_provider(config={"base_url": f"http://{CANARY}@h"})),
    ("FLK-0293", configure_provider(config={"base_url": CLOSED_URL, "auth": {"type": CANARY}})),
    ("FLK-0293", configure_provider(config={"base_url": CLOSED_URL, "headers": {"X": f"a\n{CANARY}"}})),
    ("FLK-0300", create(nodes=[{**NODE, "owner": CANARY}], edges=[])),
    ("FLK-0304", ask("GET", f"{WORKFLOWS}?status={CANARY}")),
    ("FLK-0304", ask("GET", f"/v1/executions?workflowId={CANARY}")),
    ("FLK-0304", ask("GET", f"{WORKFLOWS}?sortBy={quote(CANARY * 400)}")),
    ("FLK-0362", deliver_with_a_wrong_signature),
    ("FLK-0509", execute({"inputData": {}}, Idempotency_Key=f"{CANARY} {CANARY}")),
    ("FLK-0001", ask("POST", f"/v1/executions/{NOBODY}/cancel", {"reason": [CANARY]})),
    ("FLK-0001", ask("POST", f"/v1/executions/{NOBODY}/signals/{CANARY * 3}", {"decision": "approved"})),
    ("FLK-0001", ask("POST", f"/v1/executions/{NOBODY}/signals/a", {"decision": CANARY})),
]
"""More ways to put something into a request that is refused."""


@pytest.mark.parametrize(("code", "status", "refused", "fields"), TABLE, ids=[row[0] for row in TABLE])
def test_a_refusal_has_its_code_status_and_fields(
    world: World, code: str, status: int, refused: Ask, fields: set[str]
) -> None:
    """Programs decide by code and status, and people repair what the fields name."""
    answer = refused(world)

    body = answer.json()
    named = {re.sub(r"^workflows\..*", "workflows", field) for field in body.get("fields", {})}
    assert (body["code"], answer.status, named) == (code, status, fields)
    assert body["title"] == TITLES[status]
    assert CANARY.encode() not in answer.body


@pytest.mark.parametrize(("code", "refused"), OTHER_WAYS)
def test_a_refusal_does_not_repeat_what_was_sent(world: World, code: str, refused: Ask) -> None:
    """Answers end up in logs and tickets, where a secret of the caller's has no place."""
    answer = refused(world)

    assert answer.json()["code"] == code
    assert CANARY.encode() not in answer.body


def test_every_code_is_reached() -> None:
    """A refusal that no request comes to is dead, and one that is missing here is not tested.

    Who is too slow for a request never makes one: `FLK-0408` is the protocol's (tests/unit/http/test_protocol.py).
    """
    reached = [RequestTimeout.code, *(row[0] for row in TABLE)]

    assert sorted(reached) == sorted(kind.code for kind in STATUS)


def test_all_that_is_wrong_is_named_and_the_first_gives_the_code(api: Api) -> None:
    """Who repairs a definition does not want to be told one thing at a time."""
    nodes = [{"id": "", "type": "action"}, {"id": "b", "type": "fax"}, {"type": "action", "owner": "me"}]

    refused = api.expect(400, "POST", WORKFLOWS, {"name": " ", "nodes": nodes, "owner": "me"}).json()

    assert refused["code"] == "FLK-0110"
    assert refused["fields"].keys() == {
        "name",
        "owner",
        "nodes[0].id",
        "nodes[1].type",
        "nodes[2].id",
        "nodes[2].owner",
    }


def test_a_method_that_a_path_does_not_have_is_told_which_it_has(api: Api) -> None:
    """RFC 9110 wants `Allow` with every 405."""
    refused = api.expect(405, "PATCH", WORKFLOWS)

    assert refused.headers["allow"] == "GET, POST"


def test_a_repeated_delivery_is_told_whose_execution_it_started(api: Api) -> None:
    """The sender who never saw the first answer learns from the refusal what became of its delivery."""
    workflow = api.active(WAIT_AN_HOUR)
    first = api.deliver(workflow, Idempotency_Key="delivery-1").json()

    refused = api.deliver(workflow, Idempotency_Key="delivery-1")

    assert refused.headers["x-webhook-execution-id"] == first["executionId"]
    assert refused.headers["x-webhook-workflow-id"] == workflow.id


def test_without_its_database_the_service_asks_to_try_again_and_has_recorded_nothing(world: World) -> None:
    """`Retry-After` is the promise that trying again cannot do anything twice."""
    definition = world.api.definition()
    world.lose_database()
    refused = world.api.expect(500, "POST", WORKFLOWS, definition)
    world.heal()

    assert int(refused.headers["retry-after"]) >= 1
    assert world.api.ask("POST", WORKFLOWS, definition).status == 201
