"""Secrets are found nowhere: in no answer, in no line of the log, in no byte of what is stored."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.reliability.conftest import KEY, read_rows

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

PREFIX = "cnry"
PLACES = [
    *("header", "bearer", "tracer", "midaz", "s3", "key", "password", "oidc", "token", "signing", "replaced"),
    *("refused", "unexpected", "wrongtoken"),
]
CANARIES = {place: f"{PREFIX}-{place}-5d41402abc4b2a76" for place in PLACES}
SPELLINGS = [PREFIX.encode(), KEY.encode(), base64.b64encode(f"user:{CANARIES['password']}".encode())]
"""Whatever has a canary in it has its beginning; the API key is one more. Basic authentication hides what it has."""


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

    def refuse_and_repeat(request: Request) -> Response:
        refused = repeat(request)
        refused.status_code = 422
        return refused

    def issue(_: Request) -> Response:
        return Response(json.dumps({"access_token": CANARIES["oidc"], "token_type": "Bearer", "expires_in": 3600}))

    issuer = httpserver.url_for("/issuer").rstrip("/")
    found = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
    httpserver.expect_request("/issuer/.well-known/openid-configuration").respond_with_json(found)
    httpserver.expect_request("/issuer/token").respond_with_handler(issue)
    httpserver.expect_request("/echo", query_string=None).respond_with_handler(repeat)
    httpserver.expect_request("/echo/").respond_with_handler(repeat)
    httpserver.expect_request("/echo/refuse").respond_with_handler(refuse_and_repeat)
    httpserver.expect_request("/echo/call").respond_with_handler(repeat)
    return httpserver.url_for("/echo")


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


def definition(name: str, called: str, provider_configuration: str, executor_configuration: str) -> dict[str, Any]:
    """A guarded webhook that calls through both configurations and makes all of it the output."""
    trigger = {
        "triggerId": "webhook",
        "path": name,
        "verify_token": CANARIES["token"],
        "signing_secret": CANARIES["signing"],
        "responseMode": "sync",
    }
    first = {"executorId": "http.request", "providerConfigId": provider_configuration, "path": called}
    second = {"executorConfigId": executor_configuration, "endpointName": "call"}
    nodes = [
        {"id": "t", "type": "trigger", "data": trigger},
        {"id": "a", "type": "executor", "data": first},
        {"id": "b", "type": "executor", "data": second},
    ]
    edges = [{"id": "e1", "source": "t", "target": "a"}, {"id": "e2", "source": "a", "target": "b"}]
    return {"name": name, "nodes": nodes, "edges": edges}


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


def deliver(talk: Conversation, webhook: str, ends: str) -> None:
    """A delivery that is let in, and one that is not."""
    body = b'{"amount":1}'
    signature = hmac.new(CANARIES["signing"].encode(), body, hashlib.sha256).hexdigest()
    signed = {"X-Webhook-Signature": f"sha256={signature}", "Content-Type": "application/json"}
    path = f"/v1/webhooks/{webhook}"
    delivered = talk.expect(200, "POST", path, body, **{"X-Webhook-Token": CANARIES["token"]}, **signed)
    talk.expect(401, "POST", path, body, **{"X-Webhook-Token": CANARIES["wrongtoken"]}, **signed)
    assert delivered["status"] == ends
    for part in ("", "/results", "/steps"):
        talk.expect(200, "GET", f"/v1/executions/{delivered['executionId']}{part}")


def read_everything(talk: Conversation) -> None:
    """Every list, the metrics, what is told of health, and every entry of the audit trail."""
    for path in ("/health", "/health/live", "/health/ready", "/readyz", "/version"):
        talk.expect(200, "GET", path)
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


DATABASES = ("sqlite", "postgresql")


@pytest.mark.row("secrets: canary strings")
@pytest.mark.parametrize("database", DATABASES)
def test_no_secret_is_told_logged_or_stored(
    make_service: Callable[..., "ServiceProcess"],
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    echo: str,
    httpserver: HTTPServer,
    tmp_path: Path,
    database: str,
) -> None:
    """Over the whole life of every kind of configuration, and with a far side that repeats what it is sent."""
    environment = request.getfixturevalue("postgresql_environment") if database == "postgresql" else {}
    service = make_service(LOG_LEVEL="debug", FLOWKER_EGRESS_ALLOW="127.0.0.0/8", **environment)
    service.start()
    with service.client() as client:
        talk = Conversation(client)
        configurations = configure(talk, echo)
        refuse(talk, echo)
        live(talk, definition("guarded", "/call", *configurations))
        deliver(talk, "guarded", "completed")
        live(talk, definition("refused", "/refuse", *configurations))
        deliver(talk, "refused", "failed")
        read_everything(talk)
    command_line = " ".join(service.command_line()).encode()
    copied = [service.run("db", "backup", "copy.db")] if database == "sqlite" else []
    service.kill()

    read = {f"file {path.name}": path.read_bytes() for path in (tmp_path / "service").iterdir()}
    read |= {f"table {name}": content for name, content in read_tables(service.database_url)}
    archived = service.run("audit", "archive", "--before", "2999-01-01", "--to", "archive.jsonl")
    ended = [*copied, archived, service.run("audit", "verify"), service.run("secrets", "rotate")]
    read |= {f"afterwards {path.name}": path.read_bytes() for path in (tmp_path / "service").iterdir()}
    read |= {f"answer {number}": answer for number, answer in enumerate(talk.answers)}
    read |= {f"command {number}": f"{one.stdout}{one.stderr}".encode() for number, one in enumerate(ended)}
    read["command line"] = command_line
    found = [(name, spelling) for spelling in SPELLINGS for name, content in read.items() if spelling in content]

    record_property("canaries", len(CANARIES) + 1)
    record_property("places read", len(read))
    record_property("bytes read", sum(map(len, read.values())))
    record_property("found", len(found))
    assert [one.returncode for one in ended] == [0] * len(ended), [one.stderr for one in ended]
    wanted = {"file flowker.db", "file flowker.db-wal", "file copy.db", "file flowker.db.secret"}
    assert (wanted if database == "sqlite" else {"table executor_configurations", "table journal"}) <= read.keys()
    assert len(read["file service.log"]) > 1_000
    assert len(read["afterwards archive.jsonl"]) > 10_000
    assert any(PREFIX in f"{sent.headers}{sent.url}" for sent, _ in httpserver.log), "nothing was there to be found"
    assert found == []


@pytest.mark.row("secrets: canary strings")
def test_no_secret_of_the_environment_is_told_when_a_start_fails(
    make_service: Callable[..., "ServiceProcess"], record_property: Callable[[str, object], None]
) -> None:
    """Settings that do not fit, and a server that is not there."""
    password = "cnry-password"
    unfit = {"FLOWKER_SECRET_KEY": "cnry-sealing", "API_KEY": "cnry key"}
    away = {"FLOWKER_DATABASE_URL": f"postgresql://somebody:{password}@127.0.0.1:1/flowker?password={password}"}
    sealing = {"FLOWKER_SECRET_KEY": base64.b64encode(bytes(32)).decode()}
    services = [make_service("unfit", **unfit), make_service("away", **away, **sealing)]

    ended = [service.run("serve", "--port", "0") for service in services]

    record_property("commands", len(ended))
    assert [one.returncode != 0 for one in ended] == [True, True]
    assert [PREFIX in one.stdout + one.stderr for one in ended] == [False, False]
    assert "FLOWKER_SECRET_KEY" in ended[0].stderr
    assert "port 1 failed" in ended[1].stderr


def live(talk: Conversation, workflow: dict[str, Any]) -> None:
    """Create a workflow, send back what is read of it, and let it take deliveries."""
    created = talk.expect(201, "POST", "/v1/workflows", workflow)
    path = f"/v1/workflows/{created['workflowId']}"
    read = talk.expect(200, "GET", path)
    kept = {name: read[name] for name in ("name", "nodes", "edges")}
    talk.expect(200, "PUT", path, {**kept, "description": "masks sent back"})
    talk.expect(200, "POST", f"{path}/validate")
    talk.expect(200, "POST", f"{path}/activate")


def read_tables(url: str) -> Iterator[tuple[str, bytes]]:
    """Everything in every table of a PostgreSQL server's database, as text and as the bytes that there are."""
    if not url.startswith("postgresql:"):
        return
    tables = read_rows(url, "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
    for name in sorted(table["name"] for table in tables):
        values = [value for row in read_rows(url, f"SELECT * FROM {name}") for value in row.values()]  # noqa: S608
        yield name, b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
