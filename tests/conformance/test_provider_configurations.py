"""The rules of provider configurations over the API: lives, secrets, tests and lists, also when two come at once."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from flowker.executors.registry import PROVIDERS
from tests.conformance.conftest import (
    CLOSED_URL,
    REFUSED_URL,
    Answer,
    Api,
    World,
    list_path,
    read_page,
    read_pages,
    refused_field,
    standing_still,
    until,
)

CONFIGURATIONS = "/v1/provider-configurations"
MASK = "********"
CANARY = "canary-secret-5d1f"

Json = dict[str, Any]


def path_of(id_: str, way: str = "") -> str:
    return f"{CONFIGURATIONS}/{id_}{way and '/'}{way}"


def get(api: Api, id_: str) -> Any:
    return api.expect(200, "GET", path_of(id_)).json()


def tag(api: Api, id_: str) -> str:
    return api.expect(200, "GET", path_of(id_)).headers["etag"]


def patch(api: Api, id_: str, **members: Any) -> Any:
    return api.expect(200, "PATCH", path_of(id_), members).json()


def disabled(api: Api, **members: Any) -> str:
    id_ = api.provider_configuration(**members)
    api.expect(200, "POST", path_of(id_, "disable"))
    return id_


def code(api: Api, status: int, method: str, path: str, body: Any = None, **headers: str) -> str:
    """The code of a refusal."""
    return str(api.expect(status, method, path, body, **headers).json()["code"])


def refused(api: Api, answered: int, **members: Any) -> tuple[str, Json]:
    """The code and the fields of a creation, good but for these members; a member that is None is left out."""
    good = {"name": "Refused", "providerId": "http", "config": {"base_url": CLOSED_URL}, **members}
    body = {name: value for name, value in good.items() if value is not None}
    answer = api.expect(answered, "POST", CONFIGURATIONS, body).json()
    return answer["code"], answer.get("fields", {})


def with_token(url: str, token: str) -> Json:
    return {"base_url": url, "auth": {"type": "bearer", "config": {"token": token}}}


def at_once(world: World, *requests: tuple[str, str, Any]) -> list[Answer]:
    """The answers to requests that have all read before any of them writes."""
    with world.held_writer():
        asked = [world.api.begin(*request) for request in requests]
        until(lambda: world.waiting_writes() == len(requests))
    return [answer.result() for answer in asked]


def rows(world: World, statement: str, *parameters: str) -> list[Any]:
    """What a table has: for what no operation tells."""

    def read(connection: Any) -> list[Any]:
        return list(connection.exec_driver_sql(statement, parameters))

    return world._portal.call(world._store.read, read)


def audited(world: World, id_: str) -> list[tuple[str, str, str, Json]]:
    """Type, action, result and context of the audit events of a configuration."""
    found = rows(
        world,
        "SELECT event_type, action, result, context FROM audit_events"
        " WHERE resource_type = 'provider_config' AND resource_id = ? ORDER BY sequence",
        id_,
    )
    return [(type_, action, result, json.loads(context)) for type_, action, result, context in found]


def last_test(world: World, id_: str) -> Any:
    """When a configuration was tested last, and with what result."""
    [row] = rows(world, "SELECT last_tested_at, last_test FROM provider_configurations WHERE id = ?", id_)
    return row[0], row[1] and json.loads(row[1])


class TestCreation:
    def test_a_new_configuration_is_active(self, api: Api) -> None:
        """What was left out has its default, and `Location` leads to the configuration."""
        body = {"name": "Bare", "providerId": "http", "config": {"base_url": CLOSED_URL}}

        created = api.expect(201, "POST", CONFIGURATIONS, body)

        output = created.json()
        assert output == {**output, "name": "Bare", "status": "active"}
        assert output.keys() == {"id", "name", "status", "createdAt"}
        read = api.expect(200, "GET", created.headers["location"])
        assert read.headers["etag"] == created.headers["etag"]
        assert read.json() == {
            **body,
            "id": output["id"],
            "description": "",
            "status": "active",
            "metadata": {},
            "createdAt": output["createdAt"],
            "updatedAt": output["createdAt"],
        }

    @pytest.mark.parametrize(
        ("members", "refusal", "field"),
        [
            ({"name": None}, "FLK-0295", "name"),
            ({"name": ""}, "FLK-0295", "name"),
            ({"name": " \t"}, "FLK-0295", "name"),
            ({"name": "é" * 101}, "FLK-0296", "name"),
            ({"name": 7}, "FLK-0001", "name"),
            ({"config": None}, "FLK-0298", "config"),
            ({"config": {}}, "FLK-0298", "config"),
            ({"config": []}, "FLK-0001", "config"),
            ({"description": "é" * 501}, "FLK-0299", "description"),
            ({"providerId": None}, "FLK-0301", "providerId"),
            ({"status": "disabled"}, "FLK-0300", "status"),
            ({"metadata": "x"}, "FLK-0001", "metadata"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_its_field(
        self, api: Api, members: Json, refusal: str, field: str
    ) -> None:
        """Each with the code that the field has for it."""
        found, fields = refused(api, 400, **members)

        assert (found, set(fields)) == (refusal, {field})

    def test_a_bound_is_reached(self, api: Api) -> None:
        """Of characters, not of bytes."""
        id_ = api.provider_configuration(name="😀" * 100, description="😀" * 500)

        assert (len(get(api, id_)["name"]), len(get(api, id_)["description"])) == (100, 500)

    def test_a_provider_that_the_catalog_does_not_have_is_refused(self, api: Api) -> None:
        """Nobody could call through it."""
        assert refused(api, 404, providerId="fax") == ("FLK-0294", {"providerId": "is not in the catalog"})

    @pytest.mark.parametrize(
        ("config", "field"),
        [
            ({"base_uri": CLOSED_URL}, "config.base_url"),
            ({"base_url": "gopher://screening.example"}, "config.base_url"),
            ({"base_url": CLOSED_URL, "timeout_seconds": 301}, "config.timeout_seconds"),
            ({"base_url": CLOSED_URL, "headers": {"X-Team": 1}}, "config.headers.X-Team"),
            ({"base_url": f"https://ada:{CANARY}@screening.example"}, "config.base_url"),
            ({"base_url": CLOSED_URL, "headers": {"Host": "elsewhere"}}, "config"),
            (with_token(CLOSED_URL, MASK), "config.auth.config.token"),
            ({"base_url": CLOSED_URL, "headers": {"X-Api-Key": MASK}}, "config.headers.X-Api-Key"),
        ],
    )
    def test_a_config_that_its_provider_cannot_use_is_refused(self, api: Api, config: Json, field: str) -> None:
        """By its schema, by what its first call would refuse, and a mask that stands for nothing."""
        answer = api.expect(422, "POST", CONFIGURATIONS, {"name": "Refused", "providerId": "http", "config": config})

        refusal = answer.json()
        assert refusal["code"] == "FLK-0293"
        assert field in refusal["fields"]
        assert CANARY.encode() not in answer.body

    def test_numbers_keep_every_digit(self, api: Api) -> None:
        """In the config and in the metadata."""
        id_ = api.provider_configuration()
        body = f'{{"config":{{"base_url":"{CLOSED_URL}","timeout_seconds":1.50}},"metadata":{{"fee":100.10}}}}'

        updated = api.expect(200, "PATCH", path_of(id_), body.encode())

        for answer in (updated, api.expect(200, "GET", path_of(id_))):
            assert '"timeout_seconds":1.50' in answer.body.decode()
            assert '"metadata":{"fee":100.10}' in answer.body.decode()

    def test_a_name_belongs_to_one_configuration(self, api: Api) -> None:
        """Whatever would give it to a second is refused; to keep one's own in an update is not."""
        taken, other = api.provider_configuration(), api.provider_configuration()
        name = get(api, taken)["name"]

        assert refused(api, 409, name=name) == ("FLK-0291", {})
        assert code(api, 409, "PATCH", path_of(other), {"name": name}) == "FLK-0291"
        assert patch(api, taken, name=name, description="Mine.")["name"] == name

    def test_of_two_creations_with_one_name_at_once_one_wins(self, world: World) -> None:
        """A name that both found free is given once."""
        body = {"name": "Wanted by two", "providerId": "http", "config": {"base_url": CLOSED_URL}}

        answers = at_once(world, ("POST", CONFIGURATIONS, body), ("POST", CONFIGURATIONS, body))

        assert sorted(answer.status for answer in answers) == [201, 409]


PROVIDED: dict[str, Json] = {
    "http": with_token(CLOSED_URL, CANARY),
    "midaz": {
        "onboarding_base_url": CLOSED_URL,
        "transaction_base_url": CLOSED_URL,
        "organization_id": "0190b2c3-0000-7000-8000-000000000001",
        "ledger_id": "0190b2c3-0000-7000-8000-000000000002",
        "auth": {"issuer_url": CLOSED_URL, "client_id": "flowker", "client_secret": CANARY},
    },
    "tracer": {"base_url": CLOSED_URL, "api_key": CANARY},
    "s3": {
        "region": "eu-west-1",
        "bucket": "payments",
        "access_key_id": "AKIA",
        "secret_access_key": CANARY,
        "endpoint": CLOSED_URL,
    },
}


class TestProviders:
    def test_every_one_is_configured_here(self) -> None:
        """What follows is about the whole catalog."""
        assert PROVIDED.keys() == PROVIDERS.keys()

    @pytest.mark.parametrize("provider_id", PROVIDED)
    def test_each_has_a_life(self, api: Api, provider_id: str) -> None:
        """Its config comes back but for its one secret, and goes back as it came; it can be tested."""
        id_ = api.provider_configuration(PROVIDED[provider_id], providerId=provider_id)
        read = api.expect(200, "GET", path_of(id_))

        same = api.expect(200, "PATCH", path_of(id_), {"config": read.json()["config"]})
        tested = api.expect(200, "POST", path_of(id_, "test"))

        assert json.loads(read.body.decode().replace(MASK, CANARY))["config"] == PROVIDED[provider_id]
        assert (read.body.count(MASK.encode()), read.body.count(CANARY.encode())) == (1, 0)
        assert same.headers["etag"] == read.headers["etag"]
        assert tested.json()["overallStatus"] == "partial"
        assert CANARY.encode() not in tested.body

    @pytest.mark.parametrize("provider_id", PROVIDED)
    def test_each_needs_what_its_schema_says(self, api: Api, provider_id: str) -> None:
        """All that is missing is named."""
        code_, fields = refused(api, 422, providerId=provider_id, config={"headers": {}})

        assert code_ == "FLK-0293"
        missing = {field for field, what in fields.items() if what == "is missing"}
        assert missing == {f"config.{name}" for name in PROVIDERS[provider_id].config_schema["required"]}


class TestUpdate:
    def test_the_members_that_are_given_replace_and_the_others_stay(self, api: Api) -> None:
        """Each as a whole: what a new config or new metadata leave out is gone."""
        config = {"base_url": CLOSED_URL, "headers": {"X-Team": "payments"}}
        id_ = api.provider_configuration(config, description="First.", metadata={"owner": "ada", "tier": 1})
        before = get(api, id_)

        one = patch(api, id_, description="Second.")
        two = patch(api, id_, config={"base_url": f"{CLOSED_URL}/v2"}, metadata={"tier": 2})

        assert one == {**before, "description": "Second.", "updatedAt": one["updatedAt"]}
        replaced = {"config": {"base_url": f"{CLOSED_URL}/v2"}, "metadata": {"tier": 2}}
        assert two == {**one, **replaced, "updatedAt": two["updatedAt"]}
        assert before["updatedAt"] < one["updatedAt"] < two["updatedAt"]
        assert two == get(api, id_)

    def test_every_change_makes_another_state(self, api: Api) -> None:
        """The `ETag` of an answer is that of the next read."""
        id_ = api.provider_configuration()
        tags = [tag(api, id_)]
        for method, way, body in (
            ("PATCH", "", {"name": f"Renamed {id_}"}),
            ("POST", "disable", None),
            ("POST", "enable", None),
        ):
            tags.append(api.expect(200, method, path_of(id_, way), body).headers["etag"])
            assert tags[-1] == tag(api, id_)

        assert len(set(tags)) == 4

    @pytest.mark.parametrize(
        "members",
        [
            {},
            {"description": ""},
            {"metadata": {"b": 1, "a": 2}, "config": with_token(CLOSED_URL, MASK)},
            {"config": with_token(CLOSED_URL, CANARY)},
        ],
    )
    def test_what_changes_nothing_is_no_change(self, world: World, members: Json) -> None:
        """Neither a state of its own nor an audit event: also with a mask, or the secret itself, sent again."""
        config = with_token(CLOSED_URL, CANARY)
        id_ = world.api.provider_configuration(config, metadata={"a": 2, "b": 1})
        before = world.api.expect(200, "GET", path_of(id_))

        same = world.api.expect(200, "PATCH", path_of(id_), members)

        assert (same.body, same.headers["etag"]) == (before.body, before.headers["etag"])
        assert len(audited(world, id_)) == 1

    def test_true_and_1_are_different(self, api: Api) -> None:
        """As they are in JSON, whatever Python thinks."""
        id_ = api.provider_configuration(metadata={"flag": True})

        assert patch(api, id_, metadata={"flag": 1})["metadata"]["flag"] is not True

    @pytest.mark.parametrize(
        ("members", "refusal", "field"),
        [
            ({"providerId": "http"}, "FLK-0300", "providerId"),
            ({"status": "disabled"}, "FLK-0300", "status"),
            ({"name": " "}, "FLK-0295", "name"),
            ({"name": "x" * 101}, "FLK-0296", "name"),
            ({"config": {}}, "FLK-0298", "config"),
            ({"description": "x" * 501}, "FLK-0299", "description"),
            ({"description": None}, "FLK-0001", "description"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_its_field(
        self, api: Api, members: Json, refusal: str, field: str
    ) -> None:
        """The provider and the status are not to be written."""
        id_ = api.provider_configuration()
        before = get(api, id_)

        answer = api.expect(400, "PATCH", path_of(id_), members).json()

        assert (answer["code"], answer["fields"].keys()) == (refusal, {field})
        assert get(api, id_) == before

    def test_a_config_is_checked_as_on_creation(self, api: Api) -> None:
        """With what stands behind its masks in their place."""
        id_ = api.provider_configuration()

        for config, field in (
            ({"base_uri": CLOSED_URL}, "config.base_url"),
            (with_token(CLOSED_URL, MASK), "config.auth.config.token"),
        ):
            answer = api.expect(422, "PATCH", path_of(id_), {"config": config}).json()
            assert answer["code"] == "FLK-0293"
            assert field in answer["fields"]

    def test_of_two_updates_at_once_one_wins(self, world: World) -> None:
        """The other, which has not seen the first one's change, is told to read it."""
        id_ = world.api.provider_configuration()
        path = path_of(id_)

        answers = at_once(world, ("PATCH", path, {"description": "mine"}), ("PATCH", path, {"description": "yours"}))

        by_status = {answer.status: answer.json() for answer in answers}
        assert by_status.keys() == {200, 409}
        assert by_status[409]["code"] == "FLK-0350"
        assert get(world.api, id_) == by_status[200]

    def test_a_change_that_was_overtaken_by_a_deletion_finds_nothing(self, world: World) -> None:
        """It is not told to read again what is not there."""
        path = path_of(world.api.provider_configuration())
        world.overtake(lambda: world.api.expect(204, "DELETE", path))

        assert code(world.api, 404, "PATCH", path, {"description": "late"}) == "FLK-0290"

    @pytest.mark.parametrize(
        ("method", "body", "status"), [("PATCH", {"description": "x"}, 200), ("DELETE", None, 204)]
    )
    def test_a_condition_names_the_state_that_is_meant(self, api: Api, method: str, body: Any, status: int) -> None:
        """RFC 9110: in another state nothing happens, and the answer tells which it is."""
        id_ = api.provider_configuration()
        seen = tag(api, id_)
        patch(api, id_, metadata={"changed": "meanwhile"})

        refusal = api.expect(409, method, path_of(id_), body, If_Match=seen)

        assert refusal.json()["code"] == "FLK-0350"
        assert refusal.headers["etag"] == tag(api, id_)
        api.expect(status, method, path_of(id_), body, If_Match=f'"other", {tag(api, id_)}')


class TestSecrets:
    def test_they_are_shown_as_masks_in_every_answer(self, api: Api) -> None:
        """At any depth, and nothing else is."""
        config = {
            **with_token(CLOSED_URL, CANARY),
            "headers": {"X-Api-Key": CANARY, "Cookie": CANARY, "X-Team": "payments"},
        }
        id_ = api.provider_configuration(config)

        answers = [
            api.expect(200, "GET", path_of(id_)),
            api.expect(200, "PATCH", path_of(id_), {"description": "x"}),
            api.expect(200, "POST", path_of(id_, "test")),
            api.expect(200, "POST", path_of(id_, "disable")),
            api.expect(200, "POST", path_of(id_, "enable")),
            api.expect(200, "GET", f"{CONFIGURATIONS}?limit=1"),
        ]

        assert [answer.body for answer in answers if CANARY.encode() in answer.body] == []
        assert answers[0].json()["config"] == {
            **with_token(CLOSED_URL, MASK),
            "headers": {"X-Api-Key": MASK, "Cookie": MASK, "X-Team": "payments"},
        }

    def test_they_are_neither_in_the_store_nor_in_the_audit_trail_nor_in_the_log(
        self, new_world: World, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Whatever is done to them: created, changed, tested, refused, deleted."""
        api = new_world.api
        id_ = api.provider_configuration(with_token(CLOSED_URL, CANARY))
        patch(api, id_, config=with_token(f"{CLOSED_URL}/v2", f"{CANARY}-2"))
        api.expect(422, "PATCH", path_of(id_), {"config": {**with_token("x", CANARY), "password": CANARY}})
        api.expect(200, "POST", path_of(id_, "test"))
        stored = rows(new_world, "SELECT config FROM provider_configurations")
        api.expect(204, "DELETE", path_of(id_))

        logged = "".join(capfd.readouterr())
        files = b"".join(path.read_bytes() for path in new_world._home.iterdir())
        assert "deleteProviderConfiguration" in logged
        assert "PROVIDER_CONFIG_TEST_FAILED" in files.decode(errors="ignore")
        assert json.loads(stored[0][0])["auth"]["config"]["token"].startswith("sealed:")
        assert CANARY not in logged
        assert CANARY.encode() not in files

    def test_a_mask_that_comes_back_keeps_what_is_stored(self, api: Api, httpserver: HTTPServer) -> None:
        """Who reads, changes a member and writes all of it back still calls with the old secret."""
        httpserver.expect_request("/v2").respond_with_json({})
        id_ = api.provider_configuration(with_token(CLOSED_URL, CANARY))
        read = get(api, id_)["config"]

        patch(api, id_, config={**read, "base_url": httpserver.url_for("/v2"), "allow_redirects": True})
        api.expect(200, "POST", path_of(id_, "test"))

        assert [request.headers.get("Authorization") for request, _ in httpserver.log] == [
            None,
            f"Bearer {CANARY}",
        ]

    def test_a_new_secret_replaces_the_old_one(self, api: Api, httpserver: HTTPServer) -> None:
        """From the next call on."""
        httpserver.expect_request("/").respond_with_json({})
        id_ = api.provider_configuration(with_token(httpserver.url_for("/"), "old"))

        patch(api, id_, config=with_token(httpserver.url_for("/"), "new"))
        api.expect(200, "POST", path_of(id_, "test"))

        assert httpserver.log[-1][0].headers["Authorization"] == "Bearer new"


class TestStatus:
    @pytest.mark.parametrize("way", ["enable", "disable"])
    @pytest.mark.parametrize("status", ["active", "disabled"])
    def test_it_changes_to_the_other_one(self, api: Api, status: str, way: str) -> None:
        """Every other way is refused and changes nothing."""
        id_ = api.provider_configuration() if status == "active" else disabled(api)
        before = get(api, id_)

        moved = api.ask("POST", path_of(id_, way))

        if (status, way) in {("active", "disable"), ("disabled", "enable")}:
            wanted = {"enable": "active", "disable": "disabled"}[way]
            assert moved.json() == {**before, "status": wanted, "updatedAt": moved.json()["updatedAt"]}
            assert (moved.status, moved.json()) == (200, get(api, id_))
        else:
            assert (moved.status, moved.json()["code"]) == (422, "FLK-0292")
            assert get(api, id_) == before

    @pytest.mark.parametrize("make", [Api.provider_configuration, disabled])
    def test_what_is_deleted_is_gone(self, api: Api, make: Callable[[Api], str]) -> None:
        """In either status; its name is free again, and no operation finds it."""
        id_ = make(api)
        name = get(api, id_)["name"]

        assert api.expect(204, "DELETE", path_of(id_)).body == b""

        for method, way, body in (
            ("GET", "", None),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("POST", "enable", None),
            ("POST", "disable", None),
            ("POST", "test", None),
        ):
            assert code(api, 404, method, path_of(id_, way), body) == "FLK-0290"
        api.provider_configuration(name=name)

    def test_a_disabled_one_may_be_changed(self, api: Api) -> None:
        """It stays disabled."""
        assert patch(api, disabled(api), description="New.")["status"] == "disabled"

    def test_of_two_at_once_one_wins(self, world: World) -> None:
        """The other is told that it changed."""
        id_ = world.api.provider_configuration()

        answers = at_once(world, *[("POST", path_of(id_, "disable"), None)] * 2)

        by_status = {answer.status: answer.json() for answer in answers}
        assert by_status.keys() == {200, 409}
        assert by_status[409]["code"] == "FLK-0350"

    def test_an_id_may_be_written_in_capitals(self, api: Api) -> None:
        """RFC 9562: a UUID is the same in either case."""
        id_ = api.provider_configuration()

        assert get(api, id_.upper())["id"] == id_
        for method, way, status in (
            ("POST", "disable", 200),
            ("POST", "enable", 200),
            ("POST", "test", 200),
            ("DELETE", "", 204),
        ):
            api.expect(status, method, path_of(id_.upper(), way))


class TestUse:
    @pytest.mark.parametrize(("method", "way", "status"), [("POST", "disable", 200), ("DELETE", "", 204)])
    def test_none_is_taken_from_under_an_active_workflow(self, api: Api, method: str, way: str, status: int) -> None:
        """The refusal names the workflows; as soon as they are switched off it goes."""
        id_ = api.provider_configuration()
        users = [api.active_caller(id_) for _ in range(2)]
        before = get(api, id_)

        answer = api.expect(409, method, path_of(id_, way)).json()

        assert answer["code"] == "FLK-0253"
        assert answer["fields"] == {f"workflows.{user.id}": f"is active and uses it: {user.name}" for user in users}
        assert get(api, id_) == before
        for user in users:
            api.move(user, "deactivate")
        api.expect(status, method, path_of(id_, way))

    def test_a_draft_does_not_keep_one(self, api: Api) -> None:
        """It is checked when it is activated."""
        id_ = disabled(api)
        draft = api.create(api.calling(id_))

        assert code(api, 400, "POST", f"/v1/workflows/{draft.id}/activate") == "FLK-0150"
        api.expect(200, "POST", path_of(id_, "enable"))
        api.move(draft, "activate")

    @pytest.mark.parametrize("rival", ["disable", ""])
    def test_of_an_activation_and_its_removal_at_once_one_wins(self, world: World, rival: str) -> None:
        """Nothing active is ever left with a configuration that is gone or off."""
        id_ = world.api.provider_configuration()
        draft = world.api.create(world.api.calling(id_))

        activated, removed = at_once(
            world,
            ("POST", f"/v1/workflows/{draft.id}/activate", None),
            ("POST" if rival else "DELETE", path_of(id_, rival), None),
        )

        codes = {answer.json()["code"] for answer in (activated, removed) if answer.status >= 400}
        assert (activated.status, removed.status, codes) in [
            (200, 409, {"FLK-0253"}),
            (400, 200, {"FLK-0150"}),
            (400, 204, {"FLK-0150"}),
        ]

    def test_an_update_reaches_the_workflows_that_use_it(self, api: Api, httpserver: HTTPServer) -> None:
        """From the next call on, without touching them."""
        httpserver.expect_request("/new").respond_with_json({"new": True})
        id_ = api.provider_configuration()
        workflow = api.active_caller(id_)

        patch(api, id_, config={"base_url": httpserver.url_for("/new")})
        results = api.results(api.deliver(workflow, {}).json()["executionId"])

        assert results["stepResults"][0]["output"]["body"] == {"new": True}


class TestConnectivity:
    def test_a_far_side_that_works_passes(self, world: World, httpserver: HTTPServer) -> None:
        """With its stages and times; the result is kept, and the configuration is as it was."""
        api = world.api
        httpserver.expect_request("/").respond_with_json({})
        id_ = api.provider_configuration(with_token(httpserver.url_for("/"), CANARY))
        before, seen = get(api, id_), tag(api, id_)

        result = api.expect(200, "POST", path_of(id_, "test")).json()

        assert result["overallStatus"] == "passed"
        assert [(stage["name"], stage["status"]) for stage in result["stages"]] == [
            ("dns_resolution", "passed"),
            ("connectivity", "passed"),
            ("authentication", "passed"),
            ("end_to_end", "passed"),
        ]
        assert result["stages"][0]["details"] == {"resolvedIP": "127.0.0.1"}
        assert before["updatedAt"] <= result["startedAt"] <= result["completedAt"]
        assert last_test(world, id_) == (result["completedAt"], result)
        assert (get(api, id_), tag(api, id_)) == (before, seen)

    def test_one_that_refuses_the_credentials_passes_in_part(self, world: World, httpserver: HTTPServer) -> None:
        """200 all the same: the test was made."""
        httpserver.expect_request("/").respond_with_json({}, status=401)
        id_ = world.api.provider_configuration(with_token(httpserver.url_for("/"), CANARY))

        result = world.api.expect(200, "POST", path_of(id_, "test")).json()

        assert (result["overallStatus"], result["stages"][2]["status"]) == ("partial", "failed")
        assert result["stages"][2]["error"].startswith("FLK-0282: ")
        assert last_test(world, id_)[1] == result

    def test_an_address_that_is_not_allowed_is_not_called(self, world: World) -> None:
        """Neither is its port told, nor whether somebody listens; the attempt is kept and audited."""
        id_ = world.api.provider_configuration({"base_url": REFUSED_URL})

        assert code(world.api, 422, "POST", path_of(id_, "test")) == "FLK-0341"

        _, kept = last_test(world, id_)
        assert (kept["overallStatus"], kept["stages"]) == ("failed", [])
        assert [event[:3] for event in audited(world, id_)][1:] == [
            ("PROVIDER_CONFIG_TEST_FAILED", "EXECUTE", "FAILED")
        ]

    def test_a_disabled_one_may_be_tested(self, api: Api) -> None:
        """Whoever wants to enable it wants to know."""
        api.expect(200, "POST", path_of(disabled(api), "test"))

    def test_a_result_is_not_kept_with_what_it_was_not_made_with(self, world: World) -> None:
        """The caller gets it, and the audit trail has it."""
        id_ = world.api.provider_configuration()
        world.overtake(lambda: patch(world.api, id_, description="Changed meanwhile."))

        world.api.expect(200, "POST", path_of(id_, "test"))

        assert last_test(world, id_) == (None, None)
        assert [event[0] for event in audited(world, id_)] == [
            "PROVIDER_CONFIG_CREATED",
            "PROVIDER_CONFIG_UPDATED",
            "PROVIDER_CONFIG_TEST_FAILED",
        ]

    def test_a_test_of_what_is_deleted_meanwhile_finds_nothing(self, world: World) -> None:
        """That its credentials were sent is audited all the same."""
        id_ = world.api.provider_configuration()
        world.overtake(lambda: world.api.expect(204, "DELETE", path_of(id_)))

        assert code(world.api, 404, "POST", path_of(id_, "test")) == "FLK-0290"
        assert [event[0] for event in audited(world, id_)][1:] == [
            "PROVIDER_CONFIG_DELETED",
            "PROVIDER_CONFIG_TEST_FAILED",
        ]


class TestAudit:
    def test_every_change_is_audited_with_what_was_before_and_after(
        self, world: World, httpserver: HTTPServer
    ) -> None:
        """Secrets as masks: that one was replaced is seen, and not what it is."""
        httpserver.expect_request("/").respond_with_json({})
        api, url = world.api, httpserver.url_for("/")
        id_ = api.provider_configuration(with_token(url, "old"), name="Audited", metadata={"owner": "ada"})
        patch(api, id_, config=with_token(url, "new"), name="Audited (new)")
        api.expect(200, "POST", path_of(id_, "test"))
        api.expect(200, "POST", path_of(id_, "disable"))
        api.expect(200, "POST", path_of(id_, "enable"))
        api.expect(204, "DELETE", path_of(id_))

        events = audited(world, id_)

        assert [event[:3] for event in events] == [
            ("PROVIDER_CONFIG_CREATED", "CREATE", "SUCCESS"),
            ("PROVIDER_CONFIG_UPDATED", "UPDATE", "SUCCESS"),
            ("PROVIDER_CONFIG_TESTED", "EXECUTE", "SUCCESS"),
            ("PROVIDER_CONFIG_DISABLED", "DEACTIVATE", "SUCCESS"),
            ("PROVIDER_CONFIG_ENABLED", "ACTIVATE", "SUCCESS"),
            ("PROVIDER_CONFIG_DELETED", "DELETE", "SUCCESS"),
        ]
        created, updated, tested, *moved = [event[3] for event in events]
        masked = with_token(url, MASK)
        assert created["changes"]["config"] == {"before": None, "after": masked}
        assert created["changes"]["metadata"] == {"before": None, "after": {"owner": "ada"}}
        assert updated["changes"] == {
            "name": {"before": "Audited", "after": "Audited (new)"},
            "config": {"before": masked, "after": masked},
        }
        assert (tested["overallStatus"], set(tested["stages"].values())) == ("passed", {"passed"})
        assert [context["status"] for context in moved] == ["disabled", "active", "active"]
        assert moved[0]["changes"] == {"status": {"before": "active", "after": "disabled"}}
        assert {context["providerId"] for *_, context in events} == {"http"}

    def test_no_refusal_is_audited(self, world: World) -> None:
        """Nothing was changed."""
        id_ = world.api.provider_configuration()
        world.api.active_caller(id_)
        before = world.count("audit_events")

        refused(world.api, 422, config={"base_uri": CLOSED_URL})
        world.api.expect(422, "PATCH", path_of(id_), {"config": {"base_uri": CLOSED_URL}})
        world.api.expect(409, "POST", path_of(id_, "disable"))
        world.api.expect(409, "DELETE", path_of(id_))
        world.api.expect(422, "POST", path_of(id_, "enable"))

        assert world.count("audit_events") == before


@pytest.fixture(scope="module")
def listed(make_world: Callable[[], World]) -> Iterator[Api]:
    """Nine configurations in both statuses, of which three at a time were made in the same instant."""
    world = make_world()
    world.start()
    for _ in range(3):
        with standing_still(world.clock):
            world.api.provider_configuration()
            world.api.provider_configuration()
            disabled(world.api)
    yield world.api
    world.stop()


listing = partial(list_path, CONFIGURATIONS)
page = partial(read_page, CONFIGURATIONS)
pages = partial(read_pages, CONFIGURATIONS)


class TestList:
    @pytest.mark.parametrize("status", [None, "active", "disabled"])
    @pytest.mark.parametrize("provider", [None, "http", "fax"])
    @pytest.mark.parametrize("order", ["ASC", "DESC"])
    @pytest.mark.parametrize("sort_by", ["createdAt", "updatedAt", "name"])
    def test_the_pages_are_the_list_in_its_order(
        self, listed: Api, sort_by: str, order: str, provider: str | None, status: str | None
    ) -> None:
        """Cursors lead through rows with the same time without repeating or losing one."""
        everything = page(listed, limit=100)["items"]
        wanted = [
            item for item in everything if status in {None, item["status"]} and provider in {None, item["providerId"]}
        ]
        wanted.sort(key=lambda item: (item[sort_by], item["id"]), reverse=order == "DESC")

        for limit in (1, 2, 5, 100):
            question = {"status": status, "providerId": provider, "sortBy": sort_by, "sortOrder": order}
            found = [item for items in pages(listed, limit=limit, **question) for item in items]
            assert found == wanted

    def test_the_list_is_made_for_ties(self, listed: Api) -> None:
        """What the test above is about: all are there, and many have the same time as others."""
        items = page(listed, limit=100)["items"]

        assert (len(items), len({item["createdAt"] for item in items})) == (9, 3)
        assert items[0] == get(listed, items[0]["id"])

    def test_without_parameters_a_page_has_the_newest(self, listed: Api) -> None:
        """The defaults of `limit`, `sortBy` and `sortOrder`."""
        assert page(listed) == page(listed, limit=10, sortBy="createdAt", sortOrder="DESC", cursor="")

    @pytest.mark.parametrize(
        "other",
        [
            listing(status="active"),
            listing(providerId="http"),
            listing(sortBy="name"),
            listing(sortOrder="ASC"),
            "/v1/workflows?",
        ],
    )
    def test_a_cursor_is_good_for_its_own_list_only(self, listed: Api, other: str) -> None:
        """With another filter or order its place means nothing."""
        cursor = page(listed, limit=2)["nextCursor"]

        assert refused_field(listed, f"{other}&cursor={cursor}") == ("FLK-0304", "cursor")

    @pytest.mark.parametrize(
        ("query", "refusal", "field"),
        [
            ({"status": "draft"}, "FLK-0304", "status"),
            ({"providerId": "x" * 101}, "FLK-0304", "providerId"),
            ({"sortBy": "status"}, "FLK-0304", "sortBy"),
            ({"sortOrder": "desc"}, "FLK-0310", "sortOrder"),
            ({"limit": 0}, "FLK-0309", "limit"),
        ],
    )
    def test_a_parameter_that_is_not_valid_is_refused(
        self, listed: Api, query: Json, refusal: str, field: str
    ) -> None:
        """By its name."""
        assert refused_field(listed, listing(**query)) == (refusal, field)
