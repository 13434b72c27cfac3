"""What validating a workflow answers: all that saving and activating would refuse, and nothing is changed by it."""

import json
from typing import Any

from flowker.domain.secrets import MASK
from tests.conformance.conftest import WAIT_AN_HOUR, Api, World

CANARY = "canary-7f3a91"
GONE = "01900000-0000-7000-8000-000000000000"


def validate(api: Api, id_: str) -> Any:
    return api.expect(200, "POST", f"/v1/workflows/{id_}/validate").json()


def found(api: Api, id_: str) -> list[tuple[str, str]]:
    """Codes and fields of the findings."""
    return [(finding["code"], finding["field"]) for finding in validate(api, id_)["findings"]]


def test_a_sound_workflow_is_valid_in_every_status(api: Api) -> None:
    """Its own webhooks are not taken from it while it is active."""
    workflow = api.draft()
    answers = [validate(api, workflow.id)]
    answers += [validate(api, api.move(workflow, way).id) for way in ("activate", "deactivate", "draft")]

    assert answers == [{"valid": True, "findings": []}] * 4


def test_everything_that_keeps_a_draft_from_being_activated_is_found_at_once(api: Api) -> None:
    """Configurations, endpoints, a cycle and a webhook, each with its node; and no trigger leads to the cycle."""
    disabled = api.provider_configuration()
    api.expect(200, "POST", f"/v1/provider-configurations/{disabled}/disable")
    tracer = api.provider_configuration({"base_url": "http://127.0.0.1:1", "api_key": "k"}, providerId="tracer")
    untested = api.executor_configuration()
    calls = [
        {"executorId": "http.request", "providerConfigId": disabled},
        {"executorId": "http.request", "providerConfigId": tracer},
        {"executorId": "http.request", "providerConfigId": GONE},
        {"executorConfigId": untested, "endpointName": "screen"},
    ]
    definition = api.definition(path=api.active().webhook)
    definition["nodes"] += [{"id": f"call{n}", "type": "executor", "data": data} for n, data in enumerate(calls)]
    pairs = [("step1", f"call{n}") for n in range(4)] + [("a", "b"), ("b", "a")]
    definition["nodes"] += [{"id": id_, "type": "action", "data": {"action": "log"}} for id_ in "ab"]
    definition["edges"] += [{"id": f"{s}-{t}", "source": s, "target": t} for s, t in pairs]
    workflow = api.create(definition)

    answer = validate(api, workflow.id)

    assert not answer["valid"]
    assert [(each["code"], each["severity"], each["nodeId"]) for each in answer["findings"]] == [
        ("FLK-0508", "error", None),
        ("FLK-0150", "error", "call0"),
        ("FLK-0151", "error", "call1"),
        ("FLK-0150", "error", "call2"),
        ("FLK-0150", "error", "call3"),
        ("FLK-0360", "error", "received"),
        ("NODE_UNREACHABLE", "warning", "a"),
        ("NODE_UNREACHABLE", "warning", "b"),
    ]
    refused = api.expect(422, "POST", f"/v1/workflows/{workflow.id}/activate").json()
    first = answer["findings"][0]
    assert (refused["code"], list(refused["fields"])) == (first["code"], [first["field"]])


def test_what_a_warning_is_about_can_be_activated(api: Api) -> None:
    """A delay that outlasts the time limit is the author's own decision."""
    workflow = api.draft(WAIT_AN_HOUR)

    answer = validate(api, workflow.id)

    assert answer["valid"]
    assert [each["field"] for each in answer["findings"]] == ["nodes[1].data.seconds"]
    api.move(workflow, "activate")


def test_an_active_workflow_is_told_what_was_lost_meanwhile(api: Api) -> None:
    """Its configuration cannot go while it is active; a heir of its webhook is found once it is not."""
    former = api.inactive()
    api.draft(path=former.webhook)
    assert found(api, former.id) == []

    api.move(api.draft(path=former.webhook), "activate")

    assert found(api, former.id) == [("FLK-0360", "nodes[0].data.path")]


def test_what_an_older_version_stored_is_judged_by_the_rules_of_this_one(world: World) -> None:
    """A definition that could not be saved today is validated all the same, with every part that is wrong."""
    workflow = world.api.draft()
    nodes = [
        {"id": "received", "type": "trigger", "data": {"method": "SPEAK", "responseTimeout": 99}},
        {"id": "step1", "type": "action", "data": {"action": "dance"}},
    ]
    world.execute(
        "UPDATE workflow_revisions SET definition = ? WHERE workflow_id = ?",
        json.dumps({"nodes": nodes, "edges": [], "metadata": {}}),
        workflow.id,
    )

    assert found(world.api, workflow.id) == [
        ("FLK-0118", "nodes[0].data.method"),
        ("FLK-0118", "nodes[0].data.responseTimeout"),
        ("FLK-0119", "nodes[1].data.action"),
        ("NODE_UNREACHABLE", "nodes[1]"),
    ]


def test_validating_changes_nothing(world: World) -> None:
    """Neither the workflow, nor its state's name, nor the audit trail."""
    workflow = world.api.draft()
    before = world.api.expect(200, "GET", f"/v1/workflows/{workflow.id}")
    events = world.count("audit_events")

    validate(world.api, workflow.id)

    after = world.api.expect(200, "GET", f"/v1/workflows/{workflow.id}")
    assert (after.body, after.headers["etag"]) == (before.body, before.headers["etag"])
    assert world.count("audit_events") == events


def test_secrets_are_judged_and_not_told(api: Api) -> None:
    """A sealed token is opened to be checked, as activating does."""
    workflow = api.draft(verify_token=CANARY)

    answer = api.expect(200, "POST", f"/v1/workflows/{workflow.id}/validate")

    assert answer.json()["valid"]
    assert CANARY.encode() not in answer.body
    assert MASK.encode() not in answer.body
