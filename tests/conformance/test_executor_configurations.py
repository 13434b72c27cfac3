"""The rules of executor configurations over the API: life, secrets, tests, use, lists; also two at once."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from flowker.executors.authentication import SCHEMA
from tests.conformance.conftest import (
    CLOSED_URL,
    EXECUTOR_CONFIGURATION_WAYS,
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

CONFIGURATIONS = "/v1/executors"
MASK = "********"
CANARY = "canary-secret-7a2e"
SCREEN = {"name": "screen", "path": "/checks", "method": "POST"}
LOOK = {"name": "look", "path": "checks/1?full=true", "method": "GET", "timeout": 5}
STATUSES = list(EXECUTOR_CONFIGURATION_WAYS)

Json = dict[str, Any]


def path_of(id_: str, way: str = "") -> str:
    return f"{CONFIGURATIONS}/{id_}{way and '/'}{way}"


def get(api: Api, id_: str) -> Any:
    return api.expect(200, "GET", path_of(id_)).json()


def tag(api: Api, id_: str) -> str:
    return api.expect(200, "GET", path_of(id_)).headers["etag"]


def patch(api: Api, id_: str, **members: Any) -> Any:
    return api.expect(200, "PATCH", path_of(id_), members).json()


def check(api: Api, id_: str) -> Any:
    """Test the configuration."""
    return api.expect(200, "POST", path_of(id_, "test")).json()


def code(api: Api, status: int, method: str, path: str, body: Any = None, **headers: str) -> str:
    """The code of a refusal."""
    return str(api.expect(status, method, path, body, **headers).json()["code"])


def bearer(token: str) -> Json:
    return {"type": "bearer", "config": {"token": token}}


def body_with(**members: Any) -> Json:
    """A creation, good but for these members; one that is None is left out."""
    good = {
        "name": "Refused",
        "baseUrl": CLOSED_URL,
        "endpoints": [SCREEN],
        "authentication": {"type": "none"},
        **members,
    }
    return {name: value for name, value in good.items() if value is not None}


def refused(api: Api, answered: int, **members: Any) -> tuple[str, Json]:
    """The code and the fields of a creation that is refused."""
    answer = api.expect(answered, "POST", CONFIGURATIONS, body_with(**members)).json()
    return answer["code"], answer.get("fields", {})


def at_once(world: World, *requests: tuple[str, str, Any]) -> list[Answer]:
    """The answers to requests that have all read before any of them writes, and then write in this order."""
    asked: list[Future[Answer]] = []
    with world.held_writer():
        for request in requests:
            asked.append(world.api.begin(*request))
            until(lambda: world.waiting_writes() == len(asked))
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
        " WHERE resource_type = 'executor_config' AND resource_id = ? ORDER BY sequence",
        id_,
    )
    return [(type_, action, result, json.loads(context)) for type_, action, result, context in found]


def last_test(world: World, id_: str) -> Any:
    [row] = rows(world, "SELECT last_test FROM executor_configurations WHERE id = ?", id_)
    return row[0] and json.loads(row[0])


def _has_header(name: str, value: str) -> Callable[[Request], bool]:
    return lambda request: request.headers.get(name) == value


AUTHENTICATIONS: dict[str, tuple[Json, Callable[[Request], bool]]] = {
    "none": ({}, lambda _: True),
    "api_key": (
        {"key": CANARY, "header_name": "X-Team-Key", "prefix": "Team"},
        _has_header("X-Team-Key", f"Team {CANARY}"),
    ),
    "api_key (query)": (
        {"key": CANARY, "header": "key", "location": "query"},
        lambda request: request.args.get("key") == CANARY,
    ),
    "bearer": ({"token": CANARY}, _has_header("Authorization", f"Bearer {CANARY}")),
    "basic": (
        {"username": "ada", "password": CANARY},
        _has_header("Authorization", f"Basic {base64.b64encode(f'ada:{CANARY}'.encode()).decode()}"),
    ),
    "oidc_client_credentials": (
        {"client_id": "flowker", "client_secret": CANARY, "scopes": ["check"], "audience": "screening"},
        _has_header("Authorization", "Bearer granted"),
    ),
    "oidc_user": (
        {"client_id": "flowker", "username": "ada", "password": CANARY},
        _has_header("Authorization", "Bearer granted"),
    ),
}
"""By type: a config, and whether a request comes from who it says."""

GRANTS: Mapping[str, Json] = {
    "oidc_client_credentials": {"grant_type": "client_credentials", "client_secret": CANARY},
    "oidc_user": {"grant_type": "password", "username": "ada", "password": CANARY},
}


def guarded(server: HTTPServer, kind: str, lets_in: Callable[[Request], bool]) -> Json:
    """Make the server let in who is right, and grant tokens to who asks as this type does: members of a config."""

    def answer(request: Request) -> Any:
        return Response("{}", status=200 if lets_in(request) else 401, content_type="application/json")

    server.expect_request("/v1").respond_with_handler(answer)
    if kind not in GRANTS:
        return {}
    issuer = server.url_for("/issuer")
    server.expect_request("/issuer/.well-known/openid-configuration").respond_with_json(
        {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
    )
    server.expect_request("/issuer/token", method="POST").respond_with_json(
        {"access_token": "granted", "token_type": "Bearer", "expires_in": 60}
    )
    return {"issuer_url": issuer}


def _basic(request: Request) -> Json:
    """Client and secret, if they came as RFC 6749 prefers it."""
    if request.authorization is None or request.authorization.type != "basic":
        return {}
    return {"client_id": request.authorization.username, "client_secret": request.authorization.password}


class TestCreation:
    def test_a_new_configuration_is_configured(self, api: Api) -> None:
        """What was left out has its default, and `Location` leads to the configuration."""
        body = {
            "name": "Bare",
            "baseUrl": CLOSED_URL,
            "endpoints": [SCREEN, LOOK],
            "authentication": {"type": "none"},
        }

        created = api.expect(201, "POST", CONFIGURATIONS, body)

        output = created.json()
        assert output == {**output, "name": "Bare", "status": "configured"}
        assert output.keys() == {"id", "name", "status", "createdAt"}
        read = api.expect(200, "GET", created.headers["location"])
        assert read.headers["etag"] == created.headers["etag"]
        assert read.json() == {
            **body,
            "endpoints": [{**SCREEN, "timeout": 30}, LOOK],
            "authentication": {"type": "none", "config": {}},
            "id": output["id"],
            "description": "",
            "status": "configured",
            "metadata": {},
            "createdAt": output["createdAt"],
            "updatedAt": output["createdAt"],
            "lastTestedAt": None,
        }

    @pytest.mark.parametrize(
        ("members", "refusal", "field"),
        [
            ({"name": None}, "FLK-0260", "name"),
            ({"name": ""}, "FLK-0260", "name"),
            ({"name": " \t"}, "FLK-0260", "name"),
            ({"name": "é" * 101}, "FLK-0261", "name"),
            ({"name": 7}, "FLK-0001", "name"),
            ({"baseUrl": None}, "FLK-0262", "baseUrl"),
            ({"baseUrl": ""}, "FLK-0262", "baseUrl"),
            ({"baseUrl": "screening.example"}, "FLK-0263", "baseUrl"),
            ({"baseUrl": "ftp://screening.example"}, "FLK-0263", "baseUrl"),
            ({"baseUrl": "https://"}, "FLK-0263", "baseUrl"),
            ({"baseUrl": f"https://ada:{CANARY}@screening.example"}, "FLK-0263", "baseUrl"),
            ({"baseUrl": "https://screening.example/v1?key=1"}, "FLK-0263", "baseUrl"),
            ({"baseUrl": "https://screening.example/v1#top"}, "FLK-0263", "baseUrl"),
            ({"baseUrl": "https://screening.example:99999"}, "FLK-0263", "baseUrl"),
            ({"baseUrl": "https://screening..example"}, "FLK-0263", "baseUrl"),
            ({"baseUrl": "https://[::1"}, "FLK-0263", "baseUrl"),
            ({"baseUrl": "https://screening.example/" + "x" * 475}, "FLK-0264", "baseUrl"),
            ({"endpoints": None}, "FLK-0265", "endpoints"),
            ({"endpoints": []}, "FLK-0265", "endpoints"),
            ({"endpoints": {}}, "FLK-0001", "endpoints"),
            ({"endpoints": [{**SCREEN, "name": f"n{i}"} for i in range(51)]}, "FLK-0001", "endpoints"),
            ({"authentication": None}, "FLK-0266", "authentication"),
            ({"description": "é" * 501}, "FLK-0267", "description"),
            ({"authentication": {}}, "FLK-0268", "authentication.type"),
            ({"authentication": {"config": {}}}, "FLK-0268", "authentication.type"),
            ({"authentication": {"type": "kerberos"}}, "FLK-0269", "authentication.type"),
            ({"authentication": {"type": 7}}, "FLK-0269", "authentication.type"),
            ({"authentication": {"type": "bearer"}}, "FLK-0269", "authentication.config.token"),
            ({"authentication": {"type": "bearer", "config": {}}}, "FLK-0269", "authentication.config.token"),
            ({"authentication": bearer("")}, "FLK-0269", "authentication.config.token"),
            ({"authentication": bearer(MASK)}, "FLK-0269", "authentication.config.token"),
            ({"authentication": {"type": "none", "config": {"a": 1}}}, "FLK-0269", "authentication.config.a"),
            ({"authentication": bearer(f"a\n{CANARY}")}, "FLK-0269", "authentication.config"),
            ({"endpoints": [{**SCREEN, "name": ""}]}, "FLK-0270", "endpoints[0].name"),
            ({"endpoints": [{**SCREEN, "name": " "}]}, "FLK-0270", "endpoints[0].name"),
            ({"endpoints": [{**SCREEN, "name": "é" * 51}]}, "FLK-0270", "endpoints[0].name"),
            ({"endpoints": [{"path": "/", "method": "GET"}]}, "FLK-0270", "endpoints[0].name"),
            ({"endpoints": [LOOK, SCREEN, SCREEN]}, "FLK-0270", "endpoints[2].name"),
            ({"endpoints": [{**SCREEN, "path": ""}]}, "FLK-0271", "endpoints[0].path"),
            ({"endpoints": [{**SCREEN, "path": "x" * 201}]}, "FLK-0271", "endpoints[0].path"),
            ({"endpoints": [{**SCREEN, "path": "/checks#top"}]}, "FLK-0271", "endpoints[0].path"),
            ({"endpoints": [{**SCREEN, "path": "/checks/../../admin"}]}, "FLK-0271", "endpoints[0].path"),
            ({"endpoints": [{**SCREEN, "path": "/%252e%252E/admin"}]}, "FLK-0271", "endpoints[0].path"),
            ({"endpoints": [LOOK, {"name": "a", "method": "GET"}]}, "FLK-0271", "endpoints[1].path"),
            ({"endpoints": [{"name": "a", "path": "/"}]}, "FLK-0272", "endpoints[0].method"),
            ({"endpoints": [{**SCREEN, "method": "HEAD"}]}, "FLK-0273", "endpoints[0].method"),
            ({"endpoints": [{**SCREEN, "method": "post"}]}, "FLK-0273", "endpoints[0].method"),
            ({"endpoints": [{**SCREEN, "method": 7}]}, "FLK-0273", "endpoints[0].method"),
            ({"endpoints": [{**SCREEN, "timeout": 0}]}, "FLK-0001", "endpoints[0].timeout"),
            ({"endpoints": [{**SCREEN, "timeout": 301}]}, "FLK-0001", "endpoints[0].timeout"),
            ({"endpoints": [{**SCREEN, "owner": "ada"}]}, "FLK-0300", "endpoints[0].owner"),
            ({"status": "active"}, "FLK-0300", "status"),
            ({"metadata": "x"}, "FLK-0001", "metadata"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_its_field(
        self, api: Api, members: Json, refusal: str, field: str
    ) -> None:
        """Each with the code that the field has for it, and without what was sent."""
        answer = api.expect(400, "POST", CONFIGURATIONS, body_with(**members))

        assert (answer.json()["code"], answer.json()["fields"].keys()) == (refusal, {field})
        assert CANARY.encode() not in answer.body

    @pytest.mark.parametrize(
        "authentication",
        [
            {"type": "none", "config": {}},
            {"type": "api_key", "config": {"key": CANARY, "header": "X-Token", "prefix": "Key"}},
            {"type": "api_key", "config": {"key": CANARY, "header_name": "key", "location": "query"}},
            bearer(CANARY),
            {"type": "basic", "config": {"username": "ada", "password": CANARY}},
            {
                "type": "oidc_client_credentials",
                "config": {
                    "issuer_url": CLOSED_URL,
                    "client_id": "flowker",
                    "client_secret": CANARY,
                    "scopes": ["checks"],
                    "audience": "screening",
                },
            },
            {
                "type": "oidc_user",
                "config": {
                    "issuer_url": CLOSED_URL,
                    "client_id": "flowker",
                    "username": "ada",
                    "password": CANARY,
                },
            },
        ],
        ids=lambda authentication: authentication["type"],
    )
    def test_every_authentication_is_kept_and_its_secrets_are_not_shown(self, api: Api, authentication: Json) -> None:
        """Masked, and everything else as it was sent."""
        id_ = api.executor_configuration(authentication=authentication)

        shown = json.dumps(authentication).replace(CANARY, MASK)
        assert get(api, id_)["authentication"] == json.loads(shown)

    def test_a_bound_is_reached(self, api: Api) -> None:
        """Of characters, not of bytes."""
        endpoints = [{**SCREEN, "name": f"{i:02}" + "😀" * 48, "path": "/" + "é" * 199} for i in range(50)]
        url = "https://screening.example/" + "x" * 474
        id_ = api.executor_configuration(name="😀" * 100, description="😀" * 500, endpoints=endpoints, baseUrl=url)

        found = get(api, id_)
        assert (len(found["name"]), len(found["description"]), len(found["baseUrl"])) == (100, 500, 500)
        assert [(len(one["name"]), len(one["path"])) for one in found["endpoints"]] == [(50, 200)] * 50

    def test_numbers_keep_every_digit(self, api: Api) -> None:
        """In the metadata."""
        id_ = api.executor_configuration()

        updated = api.expect(200, "PATCH", path_of(id_), b'{"metadata":{"fee":100.10}}')

        for answer in (updated, api.expect(200, "GET", path_of(id_))):
            assert '"metadata":{"fee":100.10}' in answer.body.decode()

    def test_a_name_belongs_to_one_configuration(self, api: Api) -> None:
        """Whatever would give it to a second is refused; to keep one's own in an update is not."""
        taken, other = api.executor_configuration(), api.executor_configuration()
        name = get(api, taken)["name"]

        assert refused(api, 409, name=name) == ("FLK-0251", {})
        assert code(api, 409, "PATCH", path_of(other), {"name": name}) == "FLK-0251"
        assert patch(api, taken, name=name, description="Mine.")["name"] == name

    def test_of_two_creations_with_one_name_at_once_one_wins(self, world: World) -> None:
        """A name that both found free is given once."""
        body = body_with(name="Wanted by two")

        answers = at_once(world, ("POST", CONFIGURATIONS, body), ("POST", CONFIGURATIONS, body))

        assert sorted(answer.status for answer in answers) == [201, 409]


class TestUpdate:
    def test_the_members_that_are_given_replace_and_the_others_stay(self, api: Api) -> None:
        """Each as a whole: what new endpoints or new metadata leave out is gone."""
        id_ = api.executor_configuration(
            description="First.", endpoints=[SCREEN, LOOK], metadata={"owner": "ada", "tier": 1}
        )
        before = get(api, id_)

        one = patch(api, id_, description="Second.")
        two = patch(api, id_, baseUrl=f"{CLOSED_URL}/v2", endpoints=[LOOK], metadata={"tier": 2})

        assert one == {**before, "description": "Second.", "updatedAt": one["updatedAt"]}
        replaced = {"baseUrl": f"{CLOSED_URL}/v2", "endpoints": [LOOK], "metadata": {"tier": 2}}
        assert two == {**one, **replaced, "updatedAt": two["updatedAt"]}
        assert before["updatedAt"] < one["updatedAt"] < two["updatedAt"]
        assert two == get(api, id_)

    @pytest.mark.parametrize(
        "members",
        [
            {},
            {"description": ""},
            {"metadata": {"b": 1, "a": 2}, "endpoints": [{**SCREEN, "timeout": 30}]},
            {"authentication": bearer(MASK)},
            {"authentication": bearer(CANARY)},
        ],
    )
    def test_what_changes_nothing_is_no_change(self, world: World, members: Json) -> None:
        """Neither a state of its own nor an audit event: also with a mask, or the secret itself, sent again."""
        id_ = world.api.executor_configuration(authentication=bearer(CANARY), metadata={"a": 2, "b": 1})
        before = world.api.expect(200, "GET", path_of(id_))

        same = world.api.expect(200, "PATCH", path_of(id_), members)

        assert (same.body, same.headers["etag"]) == (before.body, before.headers["etag"])
        assert len(audited(world, id_)) == 1

    @pytest.mark.parametrize(
        ("members", "refusal", "field"),
        [
            ({"status": "active"}, "FLK-0300", "status"),
            ({"name": " "}, "FLK-0260", "name"),
            ({"name": "x" * 101}, "FLK-0261", "name"),
            ({"baseUrl": ""}, "FLK-0262", "baseUrl"),
            ({"baseUrl": "https://a..b"}, "FLK-0263", "baseUrl"),
            ({"baseUrl": "https://a/" + "x" * 491}, "FLK-0264", "baseUrl"),
            ({"endpoints": []}, "FLK-0265", "endpoints"),
            ({"endpoints": [SCREEN, SCREEN]}, "FLK-0270", "endpoints[1].name"),
            ({"endpoints": [{**SCREEN, "path": "/.."}]}, "FLK-0271", "endpoints[0].path"),
            ({"description": "x" * 501}, "FLK-0267", "description"),
            ({"description": None}, "FLK-0001", "description"),
            ({"authentication": {}}, "FLK-0268", "authentication.type"),
            (
                {"authentication": {"type": "basic", "config": {"username": "a", "password": MASK}}},
                "FLK-0269",
                "authentication.config.password",
            ),
        ],
    )
    def test_what_does_not_fit_is_refused_by_its_field(
        self, api: Api, members: Json, refusal: str, field: str
    ) -> None:
        """As on creation; a mask stands for a secret of its own place only."""
        id_ = api.executor_configuration(authentication=bearer(CANARY))
        before = get(api, id_)

        answer = api.expect(400, "PATCH", path_of(id_), members).json()

        assert (answer["code"], answer["fields"].keys()) == (refusal, {field})
        assert get(api, id_) == before

    def test_of_two_updates_at_once_one_wins(self, world: World) -> None:
        """The other, which has not seen the first one's change, is told to read it."""
        id_ = world.api.executor_configuration()
        path = path_of(id_)

        answers = at_once(world, ("PATCH", path, {"description": "mine"}), ("PATCH", path, {"description": "yours"}))

        by_status = {answer.status: answer.json() for answer in answers}
        assert by_status.keys() == {200, 409}
        assert by_status[409]["code"] == "FLK-0350"
        assert get(world.api, id_) == by_status[200]

    def test_an_update_that_was_overtaken_by_a_test_is_refused(self, world: World) -> None:
        """What was tested would be another than what is stored."""
        id_ = world.executor_configuration("configured")
        world.overtake(lambda: check(world.api, id_))

        assert code(world.api, 409, "PATCH", path_of(id_), {"description": "late"}) == "FLK-0350"
        assert get(world.api, id_)["status"] == "tested"

    def test_a_change_that_was_overtaken_by_a_deletion_finds_nothing(self, world: World) -> None:
        """It is not told to read again what is not there."""
        path = path_of(world.api.executor_configuration())
        world.overtake(lambda: world.api.expect(204, "DELETE", path))

        assert code(world.api, 404, "PATCH", path, {"description": "late"}) == "FLK-0250"

    @pytest.mark.parametrize(
        ("method", "body", "status"), [("PATCH", {"description": "x"}, 200), ("DELETE", None, 204)]
    )
    def test_a_condition_names_the_state_that_is_meant(self, api: Api, method: str, body: Any, status: int) -> None:
        """RFC 9110: in another state nothing happens, and the answer tells which it is."""
        id_ = api.executor_configuration()
        seen = tag(api, id_)
        patch(api, id_, metadata={"changed": "meanwhile"})

        refusal = api.expect(409, method, path_of(id_), body, If_Match=seen)

        assert refusal.json()["code"] == "FLK-0350"
        assert refusal.headers["etag"] == tag(api, id_)
        api.expect(status, method, path_of(id_), body, If_Match=f'"other", {tag(api, id_)}')


class TestLife:
    @pytest.mark.parametrize("way", ["activate", "disable", "enable"])
    @pytest.mark.parametrize("status", STATUSES)
    def test_a_move_leads_from_one_status_only(self, world: World, status: str, way: str) -> None:
        """Every other is refused and changes nothing."""
        id_ = world.executor_configuration(status)
        before = get(world.api, id_)

        moved = world.api.ask("POST", path_of(id_, way))

        then = {("tested", "activate"): "active", ("active", "disable"): "disabled", ("disabled", "enable"): "active"}
        if (status, way) in then:
            assert moved.json() == {**before, "status": then[status, way], "updatedAt": moved.json()["updatedAt"]}
            assert (moved.status, moved.headers["etag"]) == (200, tag(world.api, id_))
        else:
            assert (moved.status, moved.json()["code"]) == (422, "FLK-0252")
        assert get(world.api, id_) == (moved.json() if moved.status == 200 else before)

    @pytest.mark.parametrize("status", STATUSES)
    def test_it_is_changed_until_it_is_tested(self, world: World, status: str) -> None:
        """What was tested is what is called."""
        id_ = world.executor_configuration(status)

        answer = world.api.ask("PATCH", path_of(id_), {"description": "Changed."})

        assert answer.status == (200 if status == "configured" else 422)
        assert status == "configured" or answer.json()["code"] == "FLK-0252"
        assert get(world.api, id_)["description"] == ("Changed." if status == "configured" else "")

    @pytest.mark.parametrize("status", STATUSES)
    def test_it_is_deleted_while_it_is_neither_tested_nor_active(self, world: World, status: str) -> None:
        """Then its name is free again, and no operation finds it."""
        id_ = world.executor_configuration(status)
        name = get(world.api, id_)["name"]

        if status in {"tested", "active"}:
            assert code(world.api, 422, "DELETE", path_of(id_)) == "FLK-0252"
            assert get(world.api, id_)["status"] == status
            return
        assert world.api.expect(204, "DELETE", path_of(id_)).body == b""
        for method, way, body in (
            ("GET", "", None),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("POST", "test", None),
            ("POST", "activate", None),
            ("POST", "disable", None),
            ("POST", "enable", None),
        ):
            assert code(world.api, 404, method, path_of(id_, way), body) == "FLK-0250"
        world.api.executor_configuration(name=name)

    def test_every_change_makes_another_state(self, world: World) -> None:
        """Also a test, which shows in `lastTestedAt`. The `ETag` of an answer is that of the next read."""
        id_ = world.executor_configuration("configured")
        tags = [tag(world.api, id_)]
        for method, way, body in (
            ("PATCH", "", {"name": f"Renamed {id_}"}),
            ("POST", "test", None),
            ("POST", "activate", None),
            ("POST", "test", None),
            ("POST", "disable", None),
            ("POST", "enable", None),
        ):
            answer = world.api.expect(200, method, path_of(id_, way), body)
            tags.append(tag(world.api, id_))
            assert way == "test" or answer.headers["etag"] == tags[-1]

        assert len(set(tags)) == 7

    @pytest.mark.parametrize(
        ("status", "way"), [("tested", "activate"), ("active", "disable"), ("disabled", "enable")]
    )
    def test_of_two_at_once_one_wins(self, world: World, status: str, way: str) -> None:
        """The other is told that it changed."""
        id_ = world.executor_configuration(status)

        answers = at_once(world, *[("POST", path_of(id_, way), None)] * 2)

        by_status = {answer.status: answer.json() for answer in answers}
        assert by_status.keys() == {200, 409}
        assert by_status[409]["code"] == "FLK-0350"

    def test_what_a_failed_test_took_back_is_not_activated(self, world: World, httpserver: HTTPServer) -> None:
        """Also when the test ends between the activation's reading and its writing."""
        httpserver.expect_oneshot_request("/").respond_with_json({})
        httpserver.expect_request("/").respond_with_json({}, status=503)
        id_ = world.api.executor_configuration(baseUrl=httpserver.url_for("/"))
        check(world.api, id_)
        assert get(world.api, id_)["status"] == "tested"
        world.overtake(lambda: check(world.api, id_))

        assert code(world.api, 409, "POST", path_of(id_, "activate")) == "FLK-0350"
        assert get(world.api, id_)["status"] == "configured"

    def test_an_id_may_be_written_in_capitals(self, world: World) -> None:
        """RFC 9562: a UUID is the same in either case."""
        id_ = world.executor_configuration("configured")

        assert get(world.api, id_.upper())["id"] == id_
        for method, way, status in (
            ("POST", "test", 200),
            ("POST", "activate", 200),
            ("POST", "disable", 200),
            ("DELETE", "", 204),
        ):
            world.api.expect(status, method, path_of(id_.upper(), way))


class TestSecrets:
    def test_they_are_shown_as_masks_in_every_answer(self, world: World) -> None:
        """Whatever is done."""
        api = world.api
        id_ = world.executor_configuration("configured", authentication=bearer(CANARY))

        answers = [
            api.expect(200, "GET", path_of(id_)),
            api.expect(200, "PATCH", path_of(id_), {"description": "x"}),
            api.expect(200, "POST", path_of(id_, "test")),
            api.expect(200, "POST", path_of(id_, "activate")),
            api.expect(200, "POST", path_of(id_, "disable")),
            api.expect(200, "POST", path_of(id_, "enable")),
            api.expect(200, "GET", f"{CONFIGURATIONS}?limit=1"),
        ]

        assert [answer.body for answer in answers if CANARY.encode() in answer.body] == []
        assert answers[0].json()["authentication"] == bearer(MASK)

    def test_they_are_neither_in_the_store_nor_in_the_audit_trail_nor_in_the_log(
        self, new_world: World, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Whatever is done to them: created, changed, refused, tested, deleted."""
        api = new_world.api
        id_ = api.executor_configuration(authentication=bearer(CANARY))
        patch(api, id_, authentication={"type": "api_key", "config": {"key": f"{CANARY}-2"}})
        api.expect(400, "PATCH", path_of(id_), {"authentication": bearer(f"{CANARY}\n")})
        check(api, id_)
        stored = rows(new_world, "SELECT authentication FROM executor_configurations")
        api.expect(204, "DELETE", path_of(id_))

        logged = "".join(capfd.readouterr())
        files = b"".join(path.read_bytes() for path in new_world._home.iterdir())
        assert "deleteExecutorConfiguration" in logged
        assert "EXECUTOR_CONFIG_TEST_FAILED" in files.decode(errors="ignore")
        assert json.loads(stored[0][0])["config"]["key"].startswith("sealed:")
        assert CANARY not in logged
        assert CANARY.encode() not in files

    def test_a_mask_that_comes_back_keeps_what_is_stored(self, api: Api, httpserver: HTTPServer) -> None:
        """Who reads, changes a member and writes all of it back still calls with the old secret."""
        httpserver.expect_request("/").respond_with_json({})
        key = {"type": "api_key", "config": {"key": CANARY}}
        id_ = api.executor_configuration(baseUrl=httpserver.url_for("/"), authentication=key)
        read = get(api, id_)["authentication"]

        patch(api, id_, authentication={**read, "config": {**read["config"], "header": "X-Other"}})
        check(api, id_)

        assert [request.headers.get("X-Other") for request, _ in httpserver.log] == [None, CANARY]

    def test_a_new_secret_replaces_the_old_one(self, api: Api, httpserver: HTTPServer) -> None:
        """From the next call on."""
        httpserver.expect_request("/").respond_with_json({})
        id_ = api.executor_configuration(baseUrl=httpserver.url_for("/"), authentication=bearer("old"))

        patch(api, id_, authentication=bearer("new"))
        check(api, id_)

        assert httpserver.log[-1][0].headers["Authorization"] == "Bearer new"


class TestConnectivity:
    def test_every_type_of_authentication_is_tested_here(self) -> None:
        """What follows is about all that a configuration can have."""
        assert {name.partition(" ")[0] for name in AUTHENTICATIONS} == set(SCHEMA["properties"]["type"]["enum"])

    @pytest.mark.parametrize("name", AUTHENTICATIONS)
    def test_a_far_side_that_lets_us_in_makes_it_tested(
        self, world: World, httpserver: HTTPServer, name: str
    ) -> None:
        """With the stages and their times; the result is kept."""
        api, kind = world.api, name.partition(" ")[0]
        config, lets_in = AUTHENTICATIONS[name]
        issuer = guarded(httpserver, kind, lets_in)
        authentication = {"type": kind, "config": {**config, **issuer}}
        id_ = api.executor_configuration(baseUrl=httpserver.url_for("/v1"), authentication=authentication)
        before = get(api, id_)

        result = check(api, id_)

        assert result["overallStatus"] == "passed"
        assert [(stage["name"], stage["status"]) for stage in result["stages"]] == [
            ("dns_resolution", "passed"),
            ("connectivity", "passed"),
            ("authentication", "skipped" if kind == "none" else "passed"),
            ("end_to_end", "passed"),
        ]
        assert before["updatedAt"] <= result["startedAt"] <= result["completedAt"]
        assert last_test(world, id_) == result
        when = {"updatedAt": result["completedAt"], "lastTestedAt": result["completedAt"]}
        assert get(api, id_) == {**before, "status": "tested", **when}
        assert CANARY not in json.dumps(result, default=str)
        if kind in GRANTS:
            asked = [request for request, _ in httpserver.log if request.path == "/issuer/token"]
            sent = {**asked[0].form.to_dict(), **_basic(asked[0])}
            assert GRANTS[kind].items() <= sent.items()

    @pytest.mark.parametrize("name", [name for name in AUTHENTICATIONS if name != "none"])
    def test_a_far_side_that_refuses_the_credentials_does_not(
        self, world: World, httpserver: HTTPServer, name: str
    ) -> None:
        """200 all the same: the test was made. It stays as it was, and the result is kept."""
        kind = name.partition(" ")[0]
        issuer = guarded(httpserver, kind, lambda _: False)
        authentication = {"type": kind, "config": {**AUTHENTICATIONS[name][0], **issuer}}
        id_ = world.api.executor_configuration(baseUrl=httpserver.url_for("/v1"), authentication=authentication)
        before = get(world.api, id_)

        result = check(world.api, id_)

        assert (result["overallStatus"], result["stages"][2]["status"]) == ("partial", "failed")
        assert result["stages"][2]["error"].startswith("FLK-0282: ")
        assert last_test(world, id_) == result
        assert get(world.api, id_) == {**before, "lastTestedAt": result["completedAt"]}
        assert CANARY not in json.dumps(result, default=str)

    def test_what_stands_at_the_base_url_proves_nothing(self, api: Api, httpserver: HTTPServer) -> None:
        """Many far sides have nothing there: it is the endpoints below it that are called."""
        httpserver.expect_request("/v1").respond_with_json({}, status=404)
        id_ = api.executor_configuration(baseUrl=httpserver.url_for("/v1"), authentication=bearer(CANARY))

        result = check(api, id_)

        assert (result["overallStatus"], result["stages"][3]["status"]) == ("partial", "failed")
        assert get(api, id_)["status"] == "tested"

    @pytest.mark.parametrize("status", STATUSES)
    def test_a_failure_takes_back_what_is_not_in_use(self, world: World, httpserver: HTTPServer, status: str) -> None:
        """Credentials that are refused fail a test, which is answered with 200 all the same."""
        httpserver.expect_request("/").respond_with_json({})
        id_ = world.api.executor_configuration(baseUrl=httpserver.url_for("/"), authentication=bearer(CANARY))
        for way in EXECUTOR_CONFIGURATION_WAYS[status]:
            world.api.expect(200, "POST", path_of(id_, way))
        before = get(world.api, id_)
        httpserver.clear()
        httpserver.expect_request("/").respond_with_json({}, status=401)

        result = check(world.api, id_)

        assert result["stages"][2]["error"].startswith("FLK-0282: ")
        after = get(world.api, id_)
        assert after["status"] == ("configured" if status == "tested" else status)
        assert after["lastTestedAt"] == result["completedAt"]
        assert after["updatedAt"] == (result["completedAt"] if status == "tested" else before["updatedAt"])
        assert last_test(world, id_) == result

    @pytest.mark.parametrize("status", ["tested", "active", "disabled"])
    def test_a_success_changes_nothing_of_what_was_tested_before(self, world: World, status: str) -> None:
        """But when it was tested last."""
        id_ = world.executor_configuration(status)
        before = get(world.api, id_)

        result = check(world.api, id_)

        assert get(world.api, id_) == {**before, "lastTestedAt": result["completedAt"]}

    def test_an_address_that_is_not_allowed_is_not_called(self, world: World) -> None:
        """Neither is its port told, nor whether somebody listens; the attempt is kept and audited."""
        id_ = world.api.executor_configuration(baseUrl=REFUSED_URL)

        assert code(world.api, 422, "POST", path_of(id_, "test")) == "FLK-0341"

        kept = last_test(world, id_)
        assert (kept["overallStatus"], kept["stages"]) == ("failed", [])
        assert get(world.api, id_)["lastTestedAt"] == kept["completedAt"]
        assert get(world.api, id_)["status"] == "configured"
        assert [event[:3] for event in audited(world, id_)][1:] == [
            ("EXECUTOR_CONFIG_TEST_FAILED", "EXECUTE", "FAILED")
        ]

    def test_a_result_is_not_kept_with_what_it_was_not_made_with(self, world: World) -> None:
        """The caller gets it, and the audit trail has it."""
        id_ = world.executor_configuration("configured")
        world.overtake(lambda: patch(world.api, id_, description="Changed meanwhile."))

        check(world.api, id_)

        assert last_test(world, id_) is None
        after = get(world.api, id_)
        assert (after["status"], after["lastTestedAt"]) == ("configured", None)
        assert [event[0] for event in audited(world, id_)] == [
            "EXECUTOR_CONFIG_CREATED",
            "EXECUTOR_CONFIG_UPDATED",
            "EXECUTOR_CONFIG_TESTED",
        ]

    def test_a_test_of_what_is_deleted_meanwhile_finds_nothing(self, world: World) -> None:
        """That its credentials were sent is audited all the same."""
        id_ = world.api.executor_configuration()
        world.overtake(lambda: world.api.expect(204, "DELETE", path_of(id_)))

        assert code(world.api, 404, "POST", path_of(id_, "test")) == "FLK-0250"
        assert [event[0] for event in audited(world, id_)][1:] == [
            "EXECUTOR_CONFIG_DELETED",
            "EXECUTOR_CONFIG_TEST_FAILED",
        ]

    def test_of_two_tests_at_once_both_are_told(self, world: World) -> None:
        """Neither changes what the other one tested: one is kept, both are audited."""
        id_ = world.executor_configuration("configured")

        answers = at_once(world, *[("POST", path_of(id_, "test"), None)] * 2)

        assert [answer.status for answer in answers] == [200, 200]
        assert get(world.api, id_)["status"] == "tested"
        assert [event[0] for event in audited(world, id_)][1:] == ["EXECUTOR_CONFIG_TESTED"] * 2


class TestAudit:
    def test_every_change_is_audited_with_what_was_before_and_after(self, world: World) -> None:
        """Secrets as masks: that one was replaced is seen, and not what it is."""
        api = world.api
        id_ = world.executor_configuration("configured", authentication=bearer("old"), name="Audited")
        patch(api, id_, authentication=bearer("new"), name="Audited (new)")
        check(api, id_)
        for way in ("activate", "test", "disable", "enable", "disable"):
            api.expect(200, "POST", path_of(id_, way))
        api.expect(204, "DELETE", path_of(id_))

        events = audited(world, id_)

        assert [event[:3] for event in events] == [
            ("EXECUTOR_CONFIG_CREATED", "CREATE", "SUCCESS"),
            ("EXECUTOR_CONFIG_UPDATED", "UPDATE", "SUCCESS"),
            ("EXECUTOR_CONFIG_TESTED", "EXECUTE", "SUCCESS"),
            ("EXECUTOR_CONFIG_ACTIVATED", "ACTIVATE", "SUCCESS"),
            ("EXECUTOR_CONFIG_TESTED", "EXECUTE", "SUCCESS"),
            ("EXECUTOR_CONFIG_DISABLED", "DEACTIVATE", "SUCCESS"),
            ("EXECUTOR_CONFIG_ENABLED", "ACTIVATE", "SUCCESS"),
            ("EXECUTOR_CONFIG_DISABLED", "DEACTIVATE", "SUCCESS"),
            ("EXECUTOR_CONFIG_DELETED", "DELETE", "SUCCESS"),
        ]
        created, updated, tested, activated, tested_again, *moved = [event[3] for event in events]
        assert created["changes"]["authentication"] == {"before": None, "after": bearer(MASK)}
        assert created["changes"]["endpoints"]["after"] == [{**SCREEN, "timeout": 30}]
        assert updated["changes"] == {
            "name": {"before": "Audited", "after": "Audited (new)"},
            "authentication": {"before": bearer(MASK), "after": bearer(MASK)},
        }
        assert tested["changes"] == {"status": {"before": "configured", "after": "tested"}}
        assert (tested["overallStatus"], set(tested["stages"].values())) == ("passed", {"passed"})
        assert activated["changes"] == {"status": {"before": "tested", "after": "active"}}
        assert tested_again["changes"] == {}
        assert [context["status"] for context in moved] == ["disabled", "active", "disabled", "disabled"]

    def test_no_refusal_is_audited(self, world: World) -> None:
        """Nothing was changed."""
        id_ = world.executor_configuration("tested")
        before = world.count("audit_events")

        refused(world.api, 400, baseUrl="x")
        world.api.expect(422, "PATCH", path_of(id_), {"description": "late"})
        world.api.expect(422, "DELETE", path_of(id_))
        world.api.expect(422, "POST", path_of(id_, "enable"))

        assert world.count("audit_events") == before


def calling(api: Api, id_: str, **data: Any) -> str:
    """The id of a draft whose only step calls an endpoint of the configuration."""
    return api.create(api.calling_endpoint(id_, **data)).id


def activate(id_: str) -> tuple[str, str, None]:
    return "POST", f"/v1/workflows/{id_}/activate", None


def disable(id_: str) -> tuple[str, str, None]:
    return "POST", path_of(id_, "disable"), None


def active_at(httpserver: HTTPServer, api: Api, **members: Any) -> str:
    """The id of an active configuration of the server."""
    httpserver.expect_request("/v1").respond_with_json({})
    id_ = api.executor_configuration(baseUrl=httpserver.url_for("/v1"), **members)
    for way in EXECUTOR_CONFIGURATION_WAYS["active"]:
        api.expect(200, "POST", path_of(id_, way))
    return id_


def run(api: Api, definition: Json, body: Json) -> Json:
    """The only step of an execution of this workflow."""
    workflow = api.move(api.create(definition), "activate")
    [step] = api.results(api.deliver(workflow, body).json()["executionId"])["stepResults"]
    return dict(step)


class TestUse:
    def test_a_node_calls_an_endpoint(self, api: Api, httpserver: HTTPServer) -> None:
        """With the method, path and credentials of the configuration, and the input of the workflow."""
        httpserver.expect_request("/v1/checks", method="PUT").respond_with_json({"decision": "ALLOW"})
        endpoint = {"name": "screen", "path": "/checks?full=true", "method": "PUT"}
        id_ = active_at(httpserver, api, endpoints=[LOOK, endpoint], authentication=bearer(CANARY))

        step = run(api, api.calling_endpoint(id_, currency="BRL"), {"amount": 1})

        assert (step["status"], step["output"]["body"]) == ("completed", {"decision": "ALLOW"})
        request, _ = httpserver.log[-1]
        assert (request.method, request.full_path) == ("PUT", "/v1/checks?full=true")
        assert request.headers["Authorization"] == f"Bearer {CANARY}"
        assert json.loads(request.data) == {"amount": 1, "currency": "BRL"}

    def test_the_executor_may_be_named(self, api: Api, httpserver: HTTPServer) -> None:
        """It is the one that the configuration is made for."""
        httpserver.expect_request("/v1/checks").respond_with_json({})
        id_ = active_at(httpserver, api)

        assert run(api, api.calling_endpoint(id_, executorId="http.request"), {})["status"] == "completed"

    @pytest.mark.parametrize(
        ("members", "field"),
        [
            ({"providerConfigId": "01900000-0000-7000-8000-000000000000"}, "providerConfigId"),
            ({"endpointName": None}, "endpointName"),
            ({"executorConfigId": None}, "executorConfigId"),
            ({"executorId": "midaz.get-account"}, "executorId"),
            ({"path": "/other"}, "path"),
            ({"method": "GET"}, "method"),
            ({"timeout": 301}, "timeout"),
            ({"validateInput": "yes"}, "validateInput"),
            ({"query": "a=1"}, "query"),
        ],
    )
    def test_what_would_contradict_the_endpoint_is_refused(self, api: Api, members: Json, field: str) -> None:
        """When the workflow is saved."""
        definition = api.calling_endpoint("01900000-0000-7000-8000-000000000000", **members)

        answer = api.expect(400, "POST", "/v1/workflows", definition).json()

        assert (answer["code"], answer["fields"].keys()) == ("FLK-0119", {f"nodes[1].data.{field}"})

    @pytest.mark.parametrize("status", [None, "configured", "tested", "disabled"])
    def test_none_but_an_active_one_lets_a_workflow_be_activated(self, world: World, status: str | None) -> None:
        """Nor one that is not there; as soon as it is active it does."""
        id_ = world.executor_configuration(status) if status else "01900000-0000-7000-8000-000000000000"
        draft = calling(world.api, id_)

        answer = world.api.expect(400, *activate(draft)).json()

        assert answer["code"] == "FLK-0150"
        assert answer["fields"] == {"nodes[1].data.executorConfigId": "must name an active executor configuration"}
        ways = {"configured": ("test", "activate"), "tested": ("activate",), "disabled": ("enable",)}
        for way in ways.get(status or "", ()):
            world.api.expect(200, "POST", path_of(id_, way))
        world.api.expect(200 if status else 400, *activate(draft))

    def test_an_endpoint_that_it_does_not_have_is_refused(self, world: World) -> None:
        """By its exact name."""
        draft = calling(world.api, world.executor_configuration("active"), endpointName="Screen")

        answer = world.api.expect(400, *activate(draft)).json()

        assert (answer["code"], answer["fields"].keys()) == ("FLK-0150", {"nodes[1].data.endpointName"})

    def test_configurations_of_the_two_kinds_are_not_mistaken(self, world: World) -> None:
        """Each has its own member."""
        api = world.api
        one, other = world.executor_configuration("active"), api.provider_configuration()

        assert code(api, 400, *activate(api.create(api.calling(one)).id)) == "FLK-0150"
        assert code(api, 400, *activate(calling(api, other))) == "FLK-0150"

    def test_none_is_taken_from_under_an_active_workflow(self, world: World) -> None:
        """The refusal names the workflows; as soon as they are switched off it goes."""
        api = world.api
        id_ = world.executor_configuration("active")
        users = [api.move(api.create(api.calling_endpoint(id_)), "activate") for _ in range(2)]
        before = get(api, id_)

        answer = api.expect(409, *disable(id_)).json()

        assert answer["code"] == "FLK-0253"
        assert answer["fields"] == {f"workflows.{user.id}": f"is active and uses it: {user.name}" for user in users}
        assert get(api, id_) == before
        for user in users:
            api.move(user, "deactivate")
        api.expect(200, *disable(id_))

    @pytest.mark.parametrize("activation_first", [True, False])
    def test_of_an_activation_and_a_disabling_at_once_the_first_wins(
        self, world: World, *, activation_first: bool
    ) -> None:
        """When both have read before either writes: nothing active calls what is off."""
        for _ in range(10):
            id_ = world.executor_configuration("active")
            rivals = [activate(calling(world.api, id_)), disable(id_)]

            won, lost = at_once(world, *(rivals if activation_first else reversed(rivals)))

            refusal = (409, "FLK-0253") if activation_first else (400, "FLK-0150")
            assert (won.status, lost.status, lost.json()["code"]) == (200, *refusal)

    def test_an_active_workflow_never_has_a_disabled_configuration(self, world: World) -> None:
        """Whoever comes when: thirty times, four at once."""
        api = world.api
        for _ in range(30):
            id_ = world.executor_configuration("active")
            drafts = [calling(api, id_) for _ in range(3)]

            asked = [api.begin(*request) for request in (*map(activate, drafts), disable(id_))]
            *activated, disabled = [answer.result() for answer in asked]

            won = [answer.status for answer in activated].count(200)
            assert disabled.status == (409 if won else 200)
            assert {answer.status for answer in activated} <= {200, 400}
            assert get(api, id_)["status"] == ("active" if won else "disabled")

    def test_an_execution_that_outlives_its_workflow_does_not_call_what_is_disabled(
        self, world: World, httpserver: HTTPServer
    ) -> None:
        """It fails, and says why."""
        api = world.api
        id_ = active_at(httpserver, api)
        definition = api.calling_endpoint(id_)
        delay = {"id": "wait", "type": "action", "data": {"action": "delay", "seconds": 3600}}
        definition["nodes"].append(delay)
        definition["edges"] = [
            {"id": "e1", "source": "received", "target": "wait"},
            {"id": "e2", "source": "wait", "target": "step1"},
        ]
        definition["metadata"] = {"timeoutSeconds": 86400}
        workflow = api.move(api.create(definition), "activate")
        execution_id = api.deliver(workflow, {}).json()["executionId"]
        api.move(workflow, "deactivate")
        api.expect(200, *disable(id_))

        world.clock.turn(3601)

        results = api.results(execution_id)
        assert results["status"] == "failed"
        assert "the configuration is unknown, not active or unreadable" in results["errorMessage"]

    def test_an_input_that_does_not_fit_its_executor_fails_the_node_without_a_call(
        self, api: Api, httpserver: HTTPServer
    ) -> None:
        """At once, naming the field and not what is in it, where the node wants that."""
        httpserver.expect_request("/v1/checks").respond_with_json({})
        id_ = active_at(httpserver, api)
        calls = len(httpserver.log)

        step = run(api, api.calling_endpoint(id_, validateInput=True), {"query": CANARY})

        assert (step["status"], step["attempts"]) == ("failed", 1)
        assert step["errorMessage"] == "the input does not fit the executor: input.query must be an object"
        assert len(httpserver.log) == calls
        fitting = run(api, api.calling_endpoint(id_, validateInput=True), {"query": {"a": 1}, "amount": 1})
        assert fitting["status"] == "completed"


@pytest.fixture(scope="module")
def listed(make_world: Callable[[], World]) -> Iterator[Api]:
    """Eight configurations in all statuses, of which four at a time were made in the same instant."""
    world = make_world()
    world.start()
    for _ in range(2):
        with standing_still(world.clock):
            for status in STATUSES:
                world.executor_configuration(status)
    yield world.api
    world.stop()


listing = partial(list_path, CONFIGURATIONS)
page = partial(read_page, CONFIGURATIONS)
pages = partial(read_pages, CONFIGURATIONS)


class TestList:
    @pytest.mark.parametrize("status", [None, "unconfigured", *STATUSES])
    @pytest.mark.parametrize("order", ["ASC", "DESC"])
    @pytest.mark.parametrize("sort_by", ["createdAt", "updatedAt", "name"])
    def test_the_pages_are_the_list_in_its_order(
        self, listed: Api, sort_by: str, order: str, status: str | None
    ) -> None:
        """Cursors lead through rows with the same time without repeating or losing one."""
        everything = page(listed, limit=100)["items"]
        wanted = [item for item in everything if status in {None, item["status"]}]
        wanted.sort(key=lambda item: (item[sort_by], item["id"]), reverse=order == "DESC")

        for limit in (1, 3, 100):
            question = {"status": status, "sortBy": sort_by, "sortOrder": order}
            found = [item for items in pages(listed, limit=limit, **question) for item in items]
            assert found == wanted

    def test_the_list_is_made_for_ties(self, listed: Api) -> None:
        """What the test above is about: all are there, and many have the same time as others."""
        items = page(listed, limit=100)["items"]

        assert (len(items), len({item["createdAt"] for item in items})) == (8, 2)
        assert items[0] == get(listed, items[0]["id"])

    def test_without_parameters_a_page_has_the_newest(self, listed: Api) -> None:
        """The defaults of `limit`, `sortBy` and `sortOrder`."""
        assert page(listed) == page(listed, limit=10, sortBy="createdAt", sortOrder="DESC", cursor="")

    @pytest.mark.parametrize(
        "other",
        [
            listing(status="active"),
            listing(sortBy="name"),
            listing(sortOrder="ASC"),
            "/v1/workflows?",
            "/v1/provider-configurations?",
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
