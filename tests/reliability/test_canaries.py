"""Secrets are found nowhere: in no answer, in no line of the log, in no byte of what is stored."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

PREFIX = "cnry"
PLACES = [
    *("header", "bearer", "tracer", "midaz", "s3", "key", "password", "oidc", "token", "signing", "replaced"),
    *("refused", "unexpected", "wrongtoken"),
]
CANARIES = {place: f"{PREFIX}-{place}-5d41402abc4b2a76" for place in PLACES}
SPELLINGS = [PREFIX.encode(), base64.b64encode(f"user:{CANARIES['password']}".encode())]
"""Whatever has a canary in it has its beginning; Basic authentication hides it from that search."""


class Conversation:
    """Asks a service, and keeps every answer with its headers."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.answers: list[bytes] = []

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = self._client.request(method, path, headers=headers, **sent)
        self.answers.append(f"{answer.headers}".encode() + answer.content)
        return answer

    def expect(self, status: int, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.ask(method, path, body, **headers)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None


@pytest.fixture
def echo(httpserver: HTTPServer) -> str:
    """A far side that repeats everything that it was sent, credentials too, and issues tokens."""

    def repeat(request: Request) -> Response:
        sent = {"headers": dict(request.headers), "url": request.url, "body": request.get_data(as_text=True)}
        return Response(json.dumps(sent), content_type="application/json")

    def issue(_: Request) -> Response:
        return Response(json.dumps({"access_token": CANARIES["oidc"], "token_type": "Bearer", "expires_in": 3600}))

    issuer = httpserver.url_for("/issuer").rstrip("/")
    found = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
    httpserver.expect_request("/issuer/.well-known/openid-configuration").respond_with_json(found)
    httpserver.expect_request("/issuer/token").respond_with_handler(issue)
    httpserver.expect_request("/echo", query_string=None).respond_with_handler(repeat)
    httpserver.expect_request("/echo/").respond_with_handler(repeat)
    httpserver.expect_request("/echo/call").respond_with_handler(repeat)
    return httpserver.url_for("/echo")


@pytest.fixture
def service(make_service: Callable[..., "ServiceProcess"]) -> "ServiceProcess":
    started = make_service(LOG_LEVEL="debug", FLOWKER_EGRESS_ALLOW="127.0.0.0/8")
    started.start()
    return started


def provider_configurations(echo: str) -> Iterator[dict[str, Any]]:
    issuer = echo.removesuffix("/echo") + "/issuer"
    uuid = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
    client = {"issuer_url": issuer, "client_id": "me", "client_secret": CANARIES["midaz"]}
    yield {
        "name": "http",
        "providerId": "http",
        "config": {
            "base_url": echo,
            "headers": {"X-Auth-Extra": CANARIES["header"]},
            "auth": {"type": "bearer", "config": {"token": CANARIES["bearer"]}},
        },
    }
    yield {"name": "tracer", "providerId": "tracer", "config": {"base_url": echo, "api_key": CANARIES["tracer"]}}
    urls = {"onboarding_base_url": echo, "transaction_base_url": echo}
    ids = {"organization_id": uuid, "ledger_id": uuid}
    yield {"name": "midaz", "providerId": "midaz", "config": {**urls, **ids, "auth": client}}
    keys = {"access_key_id": "AKIA", "secret_access_key": CANARIES["s3"]}
    yield {"name": "s3", "providerId": "s3", "config": {"region": "eu-1", "bucket": "b-1", "endpoint": echo, **keys}}


def executor_configurations(echo: str) -> Iterator[dict[str, Any]]:
    base = {"baseUrl": echo, "endpoints": [{"name": "call", "path": "/call", "method": "POST"}]}
    in_query = {"key": CANARIES["key"], "header": "api_key", "location": "query"}
    yield {"name": "key", **base, "authentication": {"type": "api_key", "config": in_query}}
    basic = {"username": "user", "password": CANARIES["password"]}
    yield {"name": "basic", **base, "authentication": {"type": "basic", "config": basic}}


def definition(provider_configuration: str, executor_configuration: str) -> dict[str, Any]:
    """A guarded webhook that calls through both configurations and makes all of it the output."""
    trigger = {
        "triggerId": "webhook",
        "path": "guarded",
        "verify_token": CANARIES["token"],
        "signing_secret": CANARIES["signing"],
        "responseMode": "sync",
    }
    first = {"executorId": "http.request", "providerConfigId": provider_configuration, "path": "/call"}
    second = {"executorConfigId": executor_configuration, "endpointName": "call"}
    nodes = [
        {"id": "t", "type": "trigger", "data": trigger},
        {"id": "a", "type": "executor", "data": first},
        {"id": "b", "type": "executor", "data": second},
    ]
    edges = [{"id": "e1", "source": "t", "target": "a"}, {"id": "e2", "source": "a", "target": "b"}]
    return {"name": "guarded", "nodes": nodes, "edges": edges}


def configure(talk: Conversation, echo: str) -> tuple[str, str]:
    """Create, test and change every kind of configuration; the ids of one of each that can be called."""
    providers, executors = "/v1/provider-configurations", "/v1/executors"
    ids = [talk.expect(201, "POST", providers, body)["id"] for body in provider_configurations(echo)]
    for id_ in ids:
        talk.expect(200, "POST", f"{providers}/{id_}/test")
        read = talk.expect(200, "GET", f"{providers}/{id_}")
        talk.expect(200, "PATCH", f"{providers}/{id_}", {"config": read["config"], "description": "masks sent back"})
    replaced = talk.expect(200, "GET", f"{providers}/{ids[1]}")["config"] | {"api_key": CANARIES["replaced"]}
    talk.expect(200, "PATCH", f"{providers}/{ids[1]}", {"config": replaced})
    made = [talk.expect(201, "POST", executors, body)["id"] for body in executor_configurations(echo)]
    for id_ in made:
        talk.expect(200, "GET", f"{executors}/{id_}")
        assert talk.expect(200, "POST", f"{executors}/{id_}/test")["overallStatus"] == "passed"
        talk.expect(200, "POST", f"{executors}/{id_}/activate")
    return ids[0], made[1]


def refuse(talk: Conversation, echo: str) -> None:
    """Secrets in requests that do not fit."""
    wrong = {"base_url": echo, "api_key": [CANARIES["refused"]], "secret": CANARIES["unexpected"]}
    body = {"name": "wrong", "providerId": "tracer", "config": wrong}
    talk.expect(422, "POST", "/v1/provider-configurations", body)
    key = {"type": "api_key", "config": {"key": CANARIES["refused"], "secret": CANARIES["unexpected"]}}
    endpoint = {"name": "call", "path": "/", "method": "GET"}
    unfit = {"name": "wrong", "baseUrl": echo, "endpoints": [endpoint], "authentication": key}
    talk.expect(400, "POST", "/v1/executors", unfit)


def deliver(talk: Conversation) -> None:
    """A delivery that is let in, and one that is not."""
    body = b'{"amount":1}'
    signature = hmac.new(CANARIES["signing"].encode(), body, hashlib.sha256).hexdigest()
    signed = {"X-Webhook-Signature": f"sha256={signature}", "Content-Type": "application/json"}
    path = "/v1/webhooks/guarded"
    delivered = talk.expect(200, "POST", path, body, **{"X-Webhook-Token": CANARIES["token"]}, **signed)
    talk.expect(401, "POST", path, body, **{"X-Webhook-Token": CANARIES["wrongtoken"]}, **signed)
    assert delivered["status"] == "completed"
    talk.expect(200, "GET", f"/v1/executions/{delivered['executionId']}/results")


def read_everything(talk: Conversation) -> None:
    """Every list, the metrics, and every entry of the audit trail."""
    for path in ("workflows", "executions", "provider-configurations", "executors", "catalog/templates"):
        talk.expect(200, "GET", f"/v1/{path}")
    cursor = ""
    while True:
        page = talk.expect(200, "GET", f"/v1/audit-events?limit=100&cursor={cursor}")
        cursor = page["nextCursor"]
        if not cursor:
            break
    assert "flowker_calls_total" in talk.ask("GET", "/metrics").text
    last = page["items"][-1]["eventId"]
    assert talk.expect(200, "GET", f"/v1/audit-events/{last}/verify")["isValid"]


def test_no_secret_is_told_logged_or_stored(service: "ServiceProcess", echo: str, tmp_path: Path) -> None:
    """Over the whole life of every kind of configuration, and with a far side that repeats what it is sent."""
    with service.client() as client:
        talk = Conversation(client)
        workflow = definition(*configure(talk, echo))
        refuse(talk, echo)
        created = talk.expect(201, "POST", "/v1/workflows", workflow)
        path = f"/v1/workflows/{created['workflowId']}"
        read = talk.expect(200, "GET", path)
        kept = {name: read[name] for name in ("name", "nodes", "edges")}
        talk.expect(200, "PUT", path, {**kept, "description": "masks sent back"})
        talk.expect(200, "POST", f"{path}/activate")
        deliver(talk)
        read_everything(talk)
    service.stop()
    rotate = subprocess.run(
        [sys.executable, "-m", "flowker", "secrets", "rotate"],
        cwd=tmp_path / "service",
        capture_output=True,
        check=True,
        timeout=60,
    )

    stored = {path.name: path.read_bytes() for path in (tmp_path / "service").iterdir()}
    assert {"flowker.db", "service.log", "flowker.db.secret"} <= stored.keys()
    assert len(stored["service.log"]) > 1_000
    for spelling in SPELLINGS:
        assert [answer for answer in talk.answers if spelling in answer] == []
        assert [name for name, content in stored.items() if spelling in content] == []
        assert spelling not in rotate.stdout + rotate.stderr
