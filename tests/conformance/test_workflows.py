"""The rules of workflows over the API: their lives, versions, webhooks and lists, also when two come at once."""

import base64
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest

from flowker.domain.secrets import MASK
from tests.conformance.conftest import (
    DECIDE,
    Api,
    World,
    list_path,
    read_page,
    read_pages,
    refused_field,
    standing_still,
    until,
)

WORKFLOWS = "/v1/workflows"
CANARY = "canary-7f3a91"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

Item = dict[str, Any]


def path_of(id_: str, way: str = "") -> str:
    return f"{WORKFLOWS}/{id_}{way and '/'}{way}"


def get(api: Api, id_: str) -> Any:
    return api.expect(200, "GET", path_of(id_)).json()


def code(api: Api, status: int, method: str, path: str, body: Any = None) -> str:
    """The code of a refusal."""
    return str(api.expect(status, method, path, body).json()["code"])


def at_once(world: World, *requests: tuple[str, str, Any]) -> dict[int, Any]:
    """The answers by status of requests that have all read before any of them writes."""
    with world.held_writer():
        asked = [world.api.begin(*request) for request in requests]
        until(lambda: world.waiting_writes() == len(requests))
    return {answer.result().status: answer.result().json() for answer in asked}


def test_a_new_workflow_is_a_draft_of_version_1_0_0(api: Api) -> None:
    """What was left out has its default, and `Location` leads to the workflow."""
    created = api.expect(201, "POST", WORKFLOWS, {"name": "Bare", "nodes": [{"id": "a", "type": "trigger"}]})

    output = created.json()
    assert (output["status"], output["version"]) == ("draft", "1.0.0")
    read = api.expect(200, "GET", created.headers["location"]).json()
    assert read == {
        "id": output["workflowId"],
        "name": "Bare",
        "description": "",
        "status": "draft",
        "version": "1.0.0",
        "nodes": [{"id": "a", "type": "trigger", "position": {"x": 0, "y": 0}}],
        "edges": [],
        "metadata": {},
        "createdAt": output["createdAt"],
        "updatedAt": output["createdAt"],
    }


def test_an_update_replaces_the_draft_as_a_whole(api: Api) -> None:
    """What the new definition leaves out is gone, it is not kept from the old one."""
    definition = {**api.definition(), "description": "First.", "metadata": {"owner": "payments"}}
    id_ = api.create(definition).id

    updated = api.expect(200, "PUT", path_of(id_), {"name": f"{definition['name']} again"}).json()

    assert updated == get(api, id_)
    assert [updated[member] for member in ("description", "nodes", "edges", "metadata")] == ["", [], [], {}]
    assert updated["name"] == f"{definition['name']} again"


def test_the_minor_number_rises_with_every_update_and_with_nothing_else(api: Api) -> None:
    """The version names a definition: to activate or to deactivate does not make another one."""
    definition = api.definition()
    workflow = api.create(definition)
    versions = [get(api, workflow.id)["version"]]
    for _ in range(2):
        versions.append(api.expect(200, "PUT", path_of(workflow.id), definition).json()["version"])
        api.move(workflow, "activate", "deactivate", "draft")
        versions.append(get(api, workflow.id)["version"])

    assert versions == ["1.0.0", "1.1.0", "1.1.0", "1.2.0", "1.2.0"]


def test_timestamps_are_the_same_text_in_every_answer(api: Api) -> None:
    """A caller may compare them as text: created once, changed with each change."""
    definition = api.definition()
    created = api.expect(201, "POST", WORKFLOWS, definition).json()
    path = path_of(created["workflowId"])

    answers = [api.expect(200, "PUT", path, definition).json()]
    answers += [api.expect(200, "POST", f"{path}/{way}").json() for way in ("activate", "deactivate", "draft")]

    assert {answer["createdAt"] for answer in answers} == {created["createdAt"]}
    changes = [created["createdAt"], *[answer["updatedAt"] for answer in answers]]
    assert all(TIMESTAMP.fullmatch(change) for change in changes)
    assert changes == sorted(set(changes))
    assert answers[-1] == get(api, created["workflowId"])
    listed = api.expect(200, "GET", f"{WORKFLOWS}?sortBy=updatedAt&limit=1").json()["items"]
    assert listed == [answers[-1]]


def test_numbers_keep_every_digit(api: Api) -> None:
    """An amount that is saved as 100.10 is not 100.1, and large integers are no floats."""
    numbers = '{"fee":100.10,"reference":12345678901234567890,"debit":-0.50}'
    nodes = (
        f'[{{"id":"a","type":"action","position":{{"x":1.50,"y":-0.25}},"data":{{"action":"log","of":{numbers}}}}}]'
    )

    def definition(name: str) -> bytes:
        return f'{{"name":"{name}","nodes":{nodes},"metadata":{numbers}}}'.encode()

    id_ = api.expect(201, "POST", WORKFLOWS, definition("Exact")).json()["workflowId"]
    answers = [api.expect(200, "GET", path_of(id_)), api.expect(200, "PUT", path_of(id_), definition("Exacter"))]
    cloned = api.expect(201, "POST", path_of(id_, "clone"), {"name": "Exactest"}).json()["workflowId"]
    answers += [api.expect(200, "GET", path_of(cloned)), api.expect(200, "GET", f"{WORKFLOWS}?limit=1")]

    for answer in answers:
        assert f'"metadata":{numbers}' in answer.body.decode()
        assert f'"of":{numbers}' in answer.body.decode()
        assert '"position":{"x":1.50,"y":-0.25}' in answer.body.decode()


def with_node(**members: str) -> Item:
    return {"nodes": [{"id": "a", "type": "action", "data": DECIDE, **members}], "edges": []}


def with_edge(**members: str) -> Item:
    ends = [{"id": id_, "type": "action", "data": DECIDE} for id_ in "ab"]
    return {"nodes": ends, "edges": [{"id": "e", "source": "a", "target": "b", **members}]}


def with_nodes(count: int) -> Item:
    return {"nodes": [{"id": f"n{number}", "type": "trigger"} for number in range(count)], "edges": []}


def with_edges(count: int) -> Item:
    [edge] = with_edge()["edges"]
    return {**with_edge(), "edges": [{**edge, "id": f"e{number}"} for number in range(count)]}


BOUNDS: list[tuple[str, Callable[[int], Item], int, str]] = [
    ("name", lambda size: {"name": "é" * size}, 100, "FLK-0111"),
    ("description", lambda size: {"description": "😀" * size}, 500, "FLK-0001"),
    ("nodes", with_nodes, 100, "FLK-0113"),
    ("edges", with_edges, 200, "FLK-0114"),
    ("nodes[0].id", lambda size: with_node(id="x" * size), 50, "FLK-0001"),
    ("nodes[0].name", lambda size: with_node(name="x" * size), 50, "FLK-0001"),
    ("edges[0].id", lambda size: with_edge(id="x" * size), 50, "FLK-0001"),
    ("edges[0].label", lambda size: with_edge(label="x" * size), 50, "FLK-0001"),
    ("edges[0].sourceHandle", lambda size: with_edge(sourceHandle="x" * size), 50, "FLK-0001"),
    ("edges[0].condition", lambda size: with_edge(condition="a == " + "1" * (size - 5)), 500, "FLK-0001"),
]


@pytest.mark.parametrize(("field", "make", "most", "refusal"), BOUNDS, ids=[row[0] for row in BOUNDS])
def test_a_bound_is_reached_and_not_passed(
    api: Api, field: str, make: Callable[[int], Item], most: int, refusal: str
) -> None:
    """The bounds are of characters and elements, not of bytes."""
    definition = api.definition()

    api.expect(201, "POST", WORKFLOWS, {**definition, **make(most)})
    refused = api.expect(400, "POST", WORKFLOWS, {**definition, **make(most + 1)}).json()

    assert (refused["code"], refused["fields"].keys()) == (refusal, {field})


UNEXPECTED = [
    ({"owner": 1}, "owner"),
    ({"id": "01900000-0000-7000-8000-000000000000"}, "id"),
    ({"nodes": [{"id": "a", "type": "trigger", "owner": 1}]}, "nodes[0].owner"),
    ({"nodes": [{"id": "a", "type": "trigger", "position": {"z": 1}}]}, "nodes[0].position.z"),
    ({"edges": [{"id": "e", "source": "a", "target": "a", "owner": 1}]}, "edges[0].owner"),
]


@pytest.mark.parametrize(("members", "field"), UNEXPECTED)
def test_an_unexpected_field_is_refused_by_its_name(api: Api, members: Item, field: str) -> None:
    """A misspelt field would otherwise be lost without a word."""
    definition = api.definition()
    id_ = api.create(definition).id

    for method, path in (("POST", WORKFLOWS), ("PUT", path_of(id_))):
        refused = api.expect(400, method, path, {**definition, **members}).json()
        assert (refused["code"], refused["fields"]) == ("FLK-0300", {field: "is not expected"})


def test_a_clone_wants_a_name_and_nothing_else(api: Api) -> None:
    """The other members of a definition are the source's."""
    path = path_of(api.draft().id, "clone")

    refusals = [
        api.expect(400, "POST", path, body).json() for body in ({}, {"name": "Copy", "nodes": []}, {"name": 1})
    ]

    assert [(refused["code"], *refused["fields"]) for refused in refusals] == [
        ("FLK-0110", "name"),
        ("FLK-0300", "nodes"),
        ("FLK-0001", "name"),
    ]


MOVES = {("draft", "activate"): "active", ("active", "deactivate"): "inactive", ("inactive", "draft"): "draft"}


@pytest.mark.parametrize("way", ["activate", "deactivate", "draft"])
@pytest.mark.parametrize("status", ["draft", "active", "inactive"])
def test_there_is_one_way_on_from_each_status(api: Api, status: str, way: str) -> None:
    """draft -> active -> inactive -> draft; every other way is refused and changes nothing."""
    workflow = getattr(api, status)()
    before = get(api, workflow.id)

    moved = api.ask("POST", path_of(workflow.id, way))

    if (status, way) in MOVES:
        assert (moved.status, moved.json()) == (200, get(api, workflow.id))
        assert moved.json() == {**before, "status": MOVES[status, way], "updatedAt": moved.json()["updatedAt"]}
    else:
        assert (moved.status, moved.json()["code"]) == (422, "FLK-0102")
        assert get(api, workflow.id) == before


@pytest.mark.parametrize("status", ["active", "inactive"])
def test_only_a_draft_is_updated(api: Api, status: str) -> None:
    """What runs, or ran, is not changed under its executions."""
    workflow = getattr(api, status)()
    before = get(api, workflow.id)

    assert code(api, 422, "PUT", path_of(workflow.id), api.definition()) == "FLK-0103"
    assert get(api, workflow.id) == before


@pytest.mark.parametrize("status", ["draft", "inactive"])
def test_a_deleted_workflow_is_gone(api: Api, status: str) -> None:
    """Its webhook and its name are free again, and no operation finds it."""
    workflow = getattr(api, status)()

    deleted = api.expect(204, "DELETE", path_of(workflow.id))

    assert deleted.body == b""
    assert code(api, 404, "GET", path_of(workflow.id)) == "FLK-0100"
    assert code(api, 404, "PUT", path_of(workflow.id), api.definition()) == "FLK-0100"
    assert code(api, 404, "DELETE", path_of(workflow.id)) == "FLK-0100"
    for way in ("activate", "deactivate", "draft"):
        assert code(api, 404, "POST", path_of(workflow.id, way)) == "FLK-0100"
    assert code(api, 404, "POST", path_of(workflow.id, "clone"), {"name": "Clone of nothing"}) == "FLK-0100"
    assert api.deliver(workflow).json()["code"] == "FLK-0361"
    heir = api.create({**api.definition(path=workflow.webhook), "name": workflow.name})
    assert api.deliver(api.move(heir, "activate")).status == 201


def test_an_active_workflow_is_not_deleted(api: Api) -> None:
    """It owns webhooks that somebody delivers to."""
    workflow = api.active()

    assert code(api, 422, "DELETE", path_of(workflow.id)) == "FLK-0103"
    assert api.deliver(workflow).status == 201


@pytest.mark.parametrize("status", ["draft", "active", "inactive"])
def test_a_clone_is_a_draft_of_its_own(api: Api, status: str) -> None:
    """It has the source's current definition, and neither its version, its status nor its times."""
    source = getattr(api, status)()
    if status == "draft":
        api.expect(200, "PUT", path_of(source.id), {**api.definition(), "description": "Second."})

    created = api.expect(201, "POST", path_of(source.id, "clone"), {"name": f"Clone of {source.name}"}).json()

    read, original = get(api, created["workflowId"]), get(api, source.id)
    own = {"id", "name", "status", "version", "createdAt", "updatedAt"}
    assert {name: read[name] for name in read.keys() - own} == {
        name: original[name] for name in original.keys() - own
    }
    assert (read["status"], read["version"], read["name"]) == ("draft", "1.0.0", f"Clone of {source.name}")
    assert read["createdAt"] == read["updatedAt"] == created["createdAt"] > original["updatedAt"]
    api.expect(200, "PUT", path_of(read["id"]), api.definition())
    assert get(api, source.id) == original


def test_a_name_belongs_to_one_workflow(api: Api) -> None:
    """Whatever would give it to a second is refused; to keep one's own in an update is not."""
    taken, other = api.draft(), api.draft()
    definition = {**api.definition(), "name": taken.name}

    assert code(api, 409, "POST", WORKFLOWS, definition) == "FLK-0101"
    assert code(api, 409, "PUT", path_of(other.id), definition) == "FLK-0101"
    assert code(api, 409, "POST", path_of(other.id, "clone"), {"name": taken.name}) == "FLK-0101"
    assert get(api, other.id)["version"] == "1.0.0"
    assert api.expect(200, "PUT", path_of(taken.id), definition).json()["version"] == "1.1.0"


def test_an_id_may_be_written_in_capitals(api: Api) -> None:
    """RFC 9562: a UUID is the same in either case."""
    workflow = api.draft()

    assert get(api, workflow.id.upper())["id"] == workflow.id
    api.expect(200, "POST", path_of(workflow.id.upper(), "activate"))
    assert api.deliver(workflow).json()["workflowId"] == workflow.id


def test_of_two_updates_at_once_one_wins(world: World) -> None:
    """The other, which has not seen the first one's change, is told to read it."""
    definition = world.api.definition()
    path = path_of(world.api.create(definition).id)

    answers = at_once(
        world,
        ("PUT", path, {**definition, "description": "mine"}),
        ("PUT", path, {**definition, "description": "yours"}),
    )

    assert answers.keys() == {200, 409}
    assert answers[409]["code"] == "FLK-0350"
    assert answers[200]["version"] == "1.1.0"
    assert world.api.expect(200, "GET", path).json() == answers[200]


def test_of_an_update_and_an_activation_at_once_one_wins(world: World) -> None:
    """Nothing is activated that its caller has not seen, and nothing active is changed."""
    definition = world.api.definition()
    path = path_of(world.api.create(definition).id)

    answers = at_once(world, ("PUT", path, definition), ("POST", f"{path}/activate", None))

    assert answers.keys() == {200, 409}
    assert answers[409]["code"] == "FLK-0350"
    assert world.api.expect(200, "GET", path).json() == answers[200]


def test_of_two_activations_of_one_webhook_at_once_one_wins(world: World) -> None:
    """The loser stays a draft, and deliveries go to the winner."""
    first = world.api.draft()
    second = world.api.draft(path=first.webhook)

    answers = at_once(world, *[("POST", path_of(draft.id, "activate"), None) for draft in (first, second)])

    assert answers.keys() == {200, 409}
    assert answers[409]["code"] == "FLK-0360"
    assert world.api.deliver(first).json()["workflowId"] == answers[200]["id"]
    assert {get(world.api, draft.id)["status"] for draft in (first, second)} == {"active", "draft"}


def test_of_two_creations_with_one_name_at_once_one_wins(world: World) -> None:
    """A name that both found free is given once."""
    definition = world.api.definition()

    answers = at_once(world, ("POST", WORKFLOWS, definition), ("POST", WORKFLOWS, definition))

    assert answers.keys() == {201, 409}
    assert answers[409]["code"] == "FLK-0101"


class TestEntityTags:
    def test_every_answer_with_a_workflow_names_its_state(self, api: Api) -> None:
        """The same name in each of them while nothing changes, and another one after each change."""
        created = api.expect(201, "POST", WORKFLOWS, api.definition())
        path = f"{WORKFLOWS}/{created.json()['workflowId']}"
        tags = [created.headers["ETag"]]

        assert api.expect(200, "GET", path).headers["ETag"] == tags[0]
        for method, way, body in (
            ("PUT", "", api.definition()),
            ("POST", "/activate", None),
            ("POST", "/deactivate", None),
            ("POST", "/draft", None),
        ):
            tags.append(api.expect(200, method, path + way, body).headers["ETag"])
            assert api.expect(200, "GET", path).headers["ETag"] == tags[-1]

        assert len(set(tags)) == len(tags)

    def test_the_second_of_two_editors_is_told(self, api: Api) -> None:
        """Both read the same state. The second one learns the state that there is now, and nothing is changed."""
        path = f"{WORKFLOWS}/{api.draft().id}"
        tag = api.expect(200, "GET", path).headers["ETag"]
        first = api.expect(200, "PUT", path, api.definition(), If_Match=tag)

        second = api.expect(409, "PUT", path, api.definition(), If_Match=tag)

        assert second.json()["code"] == "FLK-0350"
        assert second.headers["ETag"] == first.headers["ETag"]
        assert api.expect(200, "GET", path).json() == first.json()

    def test_a_round_of_statuses_is_a_change_for_who_read_before(self, api: Api) -> None:
        """The draft is the same revision again, and still not what the editor saw."""
        workflow = api.draft()
        path = f"{WORKFLOWS}/{workflow.id}"
        tag = api.expect(200, "GET", path).headers["ETag"]
        api.move(workflow, "activate", "deactivate", "draft")

        api.expect(409, "PUT", path, api.definition(), If_Match=tag)

    def test_who_deletes_another_state_is_told(self, api: Api) -> None:
        """Nothing is deleted; with the state that there is, it is."""
        path = f"{WORKFLOWS}/{api.draft().id}"
        before = api.expect(200, "GET", path).headers["ETag"]
        now = api.expect(200, "PUT", path, api.definition()).headers["ETag"]

        assert api.expect(409, "DELETE", path, If_Match=before).json()["code"] == "FLK-0350"
        api.expect(204, "DELETE", path, If_Match=f"W/{before}, {now}")

    @pytest.mark.parametrize("first", [True, False])
    def test_states_on_several_lines_are_one_list(self, api: Api, *, first: bool) -> None:
        """RFC 9110 section 5.3: as if they stood on one line, in whichever the right one is."""
        path = f"{WORKFLOWS}/{api.draft().id}"
        now = api.expect(200, "GET", path).headers["ETag"]
        lines = (now, '"other"') if first else ('"other"', now)

        api.expect(409, "DELETE", path, If_Match='"other"', if_match='"another"')
        api.expect(204, "DELETE", path, If_Match=lines[0], if_match=lines[1])

    def test_any_state_can_be_asked_for(self, api: Api) -> None:
        """With an asterisk, or without the header."""
        path = f"{WORKFLOWS}/{api.draft().id}"

        api.expect(200, "PUT", path, api.definition(), If_Match="*")
        api.expect(200, "PUT", path, api.definition())


class TestSecrets:
    def test_a_token_is_never_shown(self, api: Api) -> None:
        """In no answer that has the definition."""
        definition = api.definition(verify_token=CANARY)
        created = api.expect(201, "POST", WORKFLOWS, definition)
        path = f"{WORKFLOWS}/{created.json()['workflowId']}"

        answers = [
            created,
            api.expect(200, "GET", path),
            api.expect(200, "PUT", path, definition),
            api.expect(200, "POST", f"{path}/activate"),
            api.expect(200, "GET", f"{WORKFLOWS}?limit=100"),
        ]

        assert not any(CANARY.encode() in answer.body for answer in answers)
        assert answers[1].json()["nodes"][0]["data"]["verify_token"] == MASK

    def test_a_mask_that_comes_back_keeps_the_token(self, api: Api) -> None:
        """What was read can be sent again as it is."""
        workflow = api.draft(verify_token=CANARY)
        path = f"{WORKFLOWS}/{workflow.id}"
        read = api.expect(200, "GET", path).json()
        api.expect(
            200, "PUT", path, {name: read[name] for name in ("name", "description", "nodes", "edges", "metadata")}
        )

        api.move(workflow, "activate")

        assert api.deliver(workflow, X_Webhook_Token=CANARY).status == 201
        assert api.deliver(workflow, X_Webhook_Token=MASK).status == 401

    def test_a_clone_has_the_token(self, api: Api) -> None:
        """Sealed for itself."""
        workflow = api.draft(verify_token=CANARY)
        cloned = api.expect(
            201, "POST", f"{WORKFLOWS}/{workflow.id}/clone", {"name": f"{workflow.name} again"}
        ).json()

        api.expect(200, "POST", f"{WORKFLOWS}/{cloned['workflowId']}/activate")

        assert api.deliver(workflow, X_Webhook_Token=CANARY).status == 201

    def test_a_mask_with_nothing_behind_it_is_refused(self, api: Api) -> None:
        """It would become the token itself: on creation, and for a node that is new or had none."""
        masked = api.definition(verify_token=MASK)
        path = f"{WORKFLOWS}/{api.draft().id}"

        for answer in (api.ask("POST", WORKFLOWS, masked), api.ask("PUT", path, masked)):
            assert answer.status == 400
            assert answer.json()["code"] == "FLK-0118"
            assert list(answer.json()["fields"]) == ["nodes[0].data.verify_token"]

    def test_the_store_has_no_token_in_clear(self, world: World) -> None:
        """Neither in the definition nor in the audit trail, also after it was replaced."""
        path = f"{WORKFLOWS}/{world.api.draft(verify_token=CANARY).id}"
        world.api.expect(200, "PUT", path, world.api.definition(verify_token=f"{CANARY}-again"))

        assert CANARY.encode() not in world.files()


def test_a_change_that_was_overtaken_by_a_deletion_finds_nothing(world: World) -> None:
    """It is not told to read again what is not there."""
    path = path_of(world.api.draft().id)
    world.overtake(lambda: world.api.expect(204, "DELETE", path))

    assert code(world.api, 404, "PUT", path, world.api.definition()) == "FLK-0100"


def test_every_change_is_in_the_audit_trail_and_no_refusal_is(world: World) -> None:
    """Create, update, clone, activate, deactivate, move to draft, delete: one entry each."""
    definition = world.api.definition()
    before = world.count("audit_events")
    workflow = world.api.create(definition)
    world.api.expect(200, "PUT", path_of(workflow.id), definition)
    world.api.expect(201, "POST", path_of(workflow.id, "clone"), {"name": f"Clone of {workflow.name}"})
    world.api.move(workflow, "activate", "deactivate", "draft")
    world.api.expect(409, "POST", WORKFLOWS, definition)
    world.api.expect(422, "POST", path_of(workflow.id, "draft"))
    world.api.expect(204, "DELETE", path_of(workflow.id))
    world.api.expect(404, "DELETE", path_of(workflow.id))

    assert world.count("audit_events") == before + 7


SPELLINGS: list[Callable[[str], str]] = [
    str,
    lambda path: f"//{path}/",
    lambda path: path.replace("/", "%2F"),
    lambda path: path.replace("h", "%68"),
]


@pytest.mark.parametrize("spell", SPELLINGS)
def test_a_webhook_has_one_owner_however_it_is_spelled(api: Api, spell: Callable[[str], str]) -> None:
    """Slashes at the ends and encoded characters do not make another webhook."""
    path = spell(api.active().webhook)

    assert code(api, 409, "POST", path_of(api.draft(path=path).id, "activate")) == "FLK-0360"


def test_a_webhook_is_of_a_path_and_a_method(api: Api) -> None:
    """Another method is another webhook; two triggers of one workflow are two owners."""
    first = api.active()
    second = api.move(api.draft(path=first.webhook, method="PUT"), "activate")
    twice = api.definition()
    twice["nodes"].append({**twice["nodes"][0], "id": "again"})

    assert api.deliver(second, method="PUT").json()["workflowId"] == second.id
    assert api.deliver(first).json()["workflowId"] == first.id
    assert code(api, 409, "POST", path_of(api.create(twice).id, "activate")) == "FLK-0360"


def test_a_deactivated_webhook_may_be_taken_over(api: Api) -> None:
    """From then on its former owner, back as a draft, is the one that comes too late."""
    former = api.inactive()
    assert api.deliver(former).json()["code"] == "FLK-0501"

    heir = api.move(api.draft(path=former.webhook), "activate")

    assert api.deliver(former).json()["workflowId"] == heir.id
    api.move(former, "draft")
    assert code(api, 409, "POST", path_of(former.id, "activate")) == "FLK-0360"
    api.move(heir, "deactivate")
    assert api.deliver(api.move(former, "activate")).json()["workflowId"] == former.id


def test_a_webhook_follows_the_definition(api: Api) -> None:
    """After an update to another path the old one leads nowhere."""
    workflow = api.inactive()
    moved = api.definition()
    api.move(workflow, "draft")
    api.expect(200, "PUT", path_of(workflow.id), moved)
    api.move(workflow, "activate")

    assert api.deliver(workflow).json()["code"] == "FLK-0361"
    delivered = api.expect(201, "POST", f"/v1/webhooks/{moved['nodes'][0]['data']['path']}").json()
    assert delivered["workflowId"] == workflow.id


@pytest.fixture(scope="module")
def listed(make_world: Callable[[], World]) -> Iterator[Api]:
    """Twelve workflows in every status, of which three at a time were made in the same instant."""
    world = make_world()
    world.start()
    for _ in range(4):
        with standing_still(world.clock):
            first = world.api.draft()
            world.api.active()
            world.api.inactive()
    world.api.move(first, "activate")
    yield world.api
    world.stop()


listing = partial(list_path, WORKFLOWS)
page = partial(read_page, WORKFLOWS)
pages = partial(read_pages, WORKFLOWS)


@pytest.mark.parametrize("status", [None, "draft", "active", "inactive"])
@pytest.mark.parametrize("order", ["ASC", "DESC"])
@pytest.mark.parametrize("sort_by", ["createdAt", "updatedAt", "name"])
def test_the_pages_are_the_list_in_its_order(listed: Api, sort_by: str, order: str, status: str | None) -> None:
    """Cursors lead through rows with the same time without repeating or losing one."""
    everything = page(listed, limit=100)["items"]
    wanted = [item for item in everything if status in {None, item["status"]}]
    wanted.sort(key=lambda item: (item[sort_by], item["id"]), reverse=order == "DESC")

    for limit in (1, 2, 5, len(wanted)):
        found = list(pages(listed, sortBy=sort_by, sortOrder=order, status=status, limit=limit))
        assert [len(items) for items in found[:-1]] == [limit] * (len(found) - 1)
        assert [item for items in found for item in items] == wanted


def test_the_list_is_made_for_ties(listed: Api) -> None:
    """What the test above is about: all workflows are there, and many have the same time as others."""
    items = page(listed, limit=100)["items"]

    assert len(items) == 12
    assert len({item["createdAt"] for item in items}) == 4
    assert {item["status"] for item in items} == {"draft", "active", "inactive"}
    assert items[0] == get(listed, items[0]["id"])


def test_without_parameters_a_page_has_the_ten_newest(listed: Api) -> None:
    """The defaults of `limit`, `sortBy` and `sortOrder`."""
    answer = page(listed)

    assert answer == page(listed, limit=10, sortBy="createdAt", sortOrder="DESC", cursor="")
    assert (len(answer["items"]), answer["hasMore"]) == (10, True)


def test_a_list_without_rows_is_one_empty_page(new_world: World) -> None:
    """Also with a filter, and with a sort."""
    for query in ({}, {"status": "active"}, {"sortBy": "name", "sortOrder": "ASC"}):
        assert page(new_world.api, **query) == {"items": [], "nextCursor": "", "hasMore": False}


@pytest.mark.parametrize("order", ["ASC", "DESC"])
def test_rows_that_come_and_go_move_no_others(new_world: World, order: str) -> None:
    """Who pages through a list while others write sees every row that stays, once."""
    api = new_world.api
    stay = [api.draft().id for _ in range(6)]
    leaves = api.draft().id
    seen: list[str] = []

    for items in pages(api, sortOrder=order, limit=2):
        seen += [item["id"] for item in items]
        if len(seen) == 2:
            api.draft()
            if leaves not in seen:
                api.expect(204, "DELETE", path_of(leaves))
        if len(seen) == 4 and leaves in seen:
            api.expect(204, "DELETE", path_of(seen[-1]))  # The row that the cursor names.

    assert len(seen) == len(set(seen))
    assert set(stay) <= set(seen)


OTHER_LISTS = [
    listing(status="active"),
    listing(sortBy="name"),
    listing(sortOrder="ASC"),
    "/v1/executions?",
    f"/v1/executions?{urlencode({'sortBy': 'startedAt', 'sortOrder': 'DESC'})}",
]


@pytest.mark.parametrize("other", OTHER_LISTS)
def test_a_cursor_is_good_for_its_own_list_only(listed: Api, other: str) -> None:
    """With another filter or order its place means nothing; another limit is fine."""
    cursor = page(listed, limit=2)["nextCursor"]

    assert refused_field(listed, f"{other}&cursor={cursor}") == ("FLK-0304", "cursor")
    assert len(page(listed, limit=5, cursor=cursor)["items"]) == 5


SPOILED: list[Callable[[str], str]] = [
    lambda cursor: cursor[:-1],
    lambda cursor: cursor + "A",
    lambda cursor: cursor + "=",
    lambda cursor: cursor[1:],
    lambda cursor: cursor.swapcase(),
    lambda _: "é",
    lambda _: " ",
    lambda _: "bnVsbA",
    lambda _: base64.urlsafe_b64encode(b"[" * 1000).decode(),
    lambda _: "A" * 4097,
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_what_is_no_cursor_is_refused(listed: Api, spoil: Callable[[str], str]) -> None:
    """A cursor is opaque: only texts that the service itself made are accepted."""
    cursor = page(listed, limit=2)["nextCursor"]

    assert refused_field(listed, listing(cursor=spoil(cursor))) == ("FLK-0304", "cursor")


WRONG_QUERIES = [
    *[(f"limit={limit}", "FLK-0309", "limit") for limit in ("0", "101", "-1", "1.5", "1e1", "ten", "", "%2B5", "05")],
    *[(f"sortOrder={order}", "FLK-0310", "sortOrder") for order in ("asc", "UP", "", "ASC,DESC")],
    *[(f"sortBy={field}", "FLK-0304", "sortBy") for field in ("created_at", "NAME", "status", "")],
    *[(f"status={status}", "FLK-0304", "status") for status in ("Draft", "deleted", "", "draft,active")],
    ("status=draft&status=active", "FLK-0304", "status"),
    ("limit=5&limit=5", "FLK-0309", "limit"),
]


@pytest.mark.parametrize(("query", "refusal", "field"), WRONG_QUERIES)
def test_a_wrong_query_is_refused_by_its_name(listed: Api, query: str, refusal: str, field: str) -> None:
    """It is not read as something near it, nor left out."""
    assert refused_field(listed, f"{WORKFLOWS}?{query}") == (refusal, field)


def test_several_wrong_parameters_are_all_named(listed: Api) -> None:
    """The code is that of the first in the document."""
    refused = listed.expect(400, "GET", listing(limit=0, sortOrder="UP", status="gone")).json()

    assert refused["code"] == "FLK-0304"
    assert refused["fields"].keys() == {"limit", "sortOrder", "status"}
