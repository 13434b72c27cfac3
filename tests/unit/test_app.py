"""The composition root: what is put together starts as a whole, stops as a whole, and leaves nothing behind."""

import asyncio
import base64
import json
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowker import app
from flowker.app import Service, StoreInUse, bind, build, check_document, document_path
from flowker.operations import health, workflows
from flowker.settings import InvalidSettings, Settings, load_settings
from flowker.storage import database, sqlite
from flowker.storage.database import Connection, DatabaseUnusable, EngineLock
from flowker.storage.keys import KeysUnusable

MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    def make(**environment: str) -> Settings:
        given = {"API_KEY": "k", "FLOWKER_DATABASE_URL": f"sqlite:///{tmp_path / 'flowker.db'}"}
        return load_settings(given | environment)

    return make


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    await service.start()
    transport = httpx.ASGITransport(service.asgi)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://flowker", headers={"X-API-Key": "k"}
    ) as client:
        yield client
    await service.stop()


class TestStarting:
    async def test_it_does_not_start_when_the_keys_of_its_secrets_are_lost(
        self, make_settings: MakeSettings, tmp_path: Path
    ) -> None:
        """It would take new secrets and fail with the old ones; with the file it goes on."""
        secret = {"name": "s", "providerId": "tracer", "config": {"base_url": "https://t.example", "api_key": "k"}}
        async with running(build(make_settings())) as client:
            created = await client.post("/v1/provider-configurations", json=secret)
        kept = (tmp_path / "flowker.db.secret").rename(tmp_path / "elsewhere")

        with pytest.raises(KeysUnusable, match="put the file back"):
            await build(make_settings()).start()

        assert created.status_code == 201
        kept.rename(tmp_path / "flowker.db.secret")
        async with running(build(make_settings())) as client:
            assert (await client.get("/health/ready")).status_code == 200

    async def test_a_service_is_ready_as_soon_as_it_has_started(self, make_settings: MakeSettings) -> None:
        """On a database that was not there: it is made on the way."""
        async with running(build(make_settings())) as client:
            ready = await client.get("/health/ready")
            listed = await client.get("/v1/workflows")

        assert (ready.status_code, listed.status_code) == (200, 200)

    async def test_its_parts_run_as_long_as_its_lifespan(self, make_settings: MakeSettings) -> None:
        """As a server drives it that knows nothing but ASGI."""
        service = build(make_settings())
        calls: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        answers: asyncio.Queue[str] = asyncio.Queue()

        async def send(message: dict[str, str]) -> None:
            await answers.put(message["type"])

        task = asyncio.ensure_future(service.asgi({"type": "lifespan", "state": {}}, calls.get, send))  # type: ignore[arg-type]
        await calls.put({"type": "lifespan.startup"})
        started = await answers.get()
        alive = service.context.engine.alive
        await calls.put({"type": "lifespan.shutdown"})
        stopped = await answers.get()
        await task

        assert (started, alive) == ("lifespan.startup.complete", True)
        assert (stopped, service.context.engine.alive) == ("lifespan.shutdown.complete", False)

    async def test_a_store_has_one_service(
        self, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second one gives up after a while, and says why."""
        monkeypatch.setattr(app, "LOCK_WAIT_S", 0.05)

        async with running(build(make_settings())) as client:
            with pytest.raises(StoreInUse, match="another process drives this store"):
                await build(make_settings()).start()
            ready = await client.get("/health/ready")

        assert ready.status_code == 200

    async def test_a_start_waits_for_the_service_before_it_to_end(self, make_settings: MakeSettings) -> None:
        """As a restart needs it."""
        settings = make_settings()
        lock = EngineLock(settings.database_url)
        lock.acquire()
        timer = threading.Timer(0.15, lock.release)
        began = time.monotonic()
        timer.start()

        async with running(build(settings)):
            waited_s = time.monotonic() - began

        timer.join()
        assert waited_s >= 0.15

    async def test_a_service_that_has_stopped_makes_room_for_another(self, make_settings: MakeSettings) -> None:
        """Its lock goes with it."""
        for _ in range(2):
            async with running(build(make_settings())) as client:
                assert (await client.get("/health")).status_code == 200

    async def test_a_database_that_cannot_be_opened_is_told(
        self, make_settings: MakeSettings, tmp_path: Path
    ) -> None:
        """Its folder does not exist."""
        settings = make_settings(FLOWKER_DATABASE_URL=f"sqlite:///{tmp_path / 'nowhere' / 'flowker.db'}")

        with pytest.raises(DatabaseUnusable, match="nowhere"):
            await build(settings).start()

    async def test_a_start_that_failed_leaves_no_lock(self, make_settings: MakeSettings, tmp_path: Path) -> None:
        """The file is there and is no database."""
        settings = make_settings()
        (tmp_path / "flowker.db").write_bytes(b"no database at all" * 100)

        with pytest.raises(DatabaseUnusable, match="not a database"):
            await build(settings).start()

        lock = EngineLock(settings.database_url)
        assert lock.acquire()
        lock.release()


class TestEngine:
    async def test_what_was_accepted_is_finished_while_there_is_no_room_for_reads(
        self, make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The engine reads an execution, its definition and its configuration; whoever else asks is refused."""
        settings = make_settings()
        http = {"name": "far", "providerId": "http", "config": {"base_url": "https://192.0.2.1"}}
        call = {"executorId": "http.request", "method": "GET", "path": "/x"}
        async with running(build(settings)) as client:
            configured = await client.post("/v1/provider-configurations", json=http)
            call["providerConfigId"] = configured.json()["id"]
            nodes = [
                {"id": "t", "type": "trigger", "data": {"path": "p"}},
                {"id": "d", "type": "action", "data": {"action": "delay", "seconds": 1}},
                {"id": "c", "type": "executor", "data": call},
            ]
            edges = [{"id": "a", "source": "t", "target": "d"}, {"id": "b", "source": "d", "target": "c"}]
            created = await client.post("/v1/workflows", json={"name": "w", "nodes": nodes, "edges": edges})
            await client.post(f"/v1/workflows/{created.json()['workflowId']}/activate")
            delivered = await client.post("/v1/webhooks/p", json={})
        before = _execution(tmp_path / "flowker.db")
        monkeypatch.setattr(database, "READ_QUEUE_MAX", 0)

        async with running(build(settings)) as client:
            refused = await client.get("/v1/workflows")
            async with asyncio.timeout(30):
                while _execution(tmp_path / "flowker.db")[0] == "running":  # noqa: ASYNC110 - nobody else may read
                    await asyncio.sleep(0.05)

        status, error = _execution(tmp_path / "flowker.db")
        assert delivered.status_code == 201
        assert (before, refused.status_code) == (("running", None), 500)
        assert (status, error) == ("failed", "FLK-0504: node c failed: address not allowed")


def _execution(path: Path) -> Any:
    """Status and error of the only one."""
    with closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT status, error_message FROM executions").fetchone()


class TestStopping:
    async def test_a_stop_does_not_wait_for_a_store_that_is_stuck(
        self, make_settings: MakeSettings, tmp_path: Path
    ) -> None:
        """Longer than it may, whatever there is to write; the lock of the store is kept for who may still write."""
        settings = make_settings()
        service = build(settings)
        lock = EngineLock(settings.database_url)
        trigger = {"id": "t", "type": "trigger", "data": {"path": "p", "verify_token": "token"}}
        workflow = {"name": "w", "nodes": [trigger], "edges": []}
        await service.start()
        transport = httpx.ASGITransport(service.asgi)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://flowker", headers={"X-API-Key": "k"}
        ) as client:
            created = await client.post("/v1/workflows", json=workflow)
            await client.post(f"/v1/workflows/{created.json()['workflowId']}/activate")
            with closing(sqlite3.connect(tmp_path / "flowker.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                await client.post("/v1/webhooks/p")
                waiting = asyncio.create_task(client.post("/v1/workflows", json=workflow | {"name": "v"}))
                began = time.monotonic()
                await service.stop(0.1)
                took_s = time.monotonic() - began
                is_free = lock.acquire()
            answer = await waiting
        await service.stop()

        assert took_s < sqlite.BUSY_S / 2
        assert not is_free
        assert answer.status_code in {201, 500}
        assert lock.acquire()
        lock.release()

    async def test_refused_deliveries_that_were_only_counted_are_written(
        self, make_settings: MakeSettings, tmp_path: Path
    ) -> None:
        """The interval that they were counted in need not end."""
        trigger = {"id": "t", "type": "trigger", "data": {"path": "p", "verify_token": "token"}}
        async with running(build(make_settings())) as client:
            created = await client.post("/v1/workflows", json={"name": "w", "nodes": [trigger], "edges": []})
            await client.post(f"/v1/workflows/{created.json()['workflowId']}/activate")
            statuses = [(await client.post("/v1/webhooks/p")).status_code for _ in range(20)]

        with sqlite3.connect(tmp_path / "flowker.db") as database:
            rows = database.execute(
                "SELECT context FROM audit_events WHERE event_type = 'WEBHOOK_REFUSED'"
            ).fetchall()
        database.close()
        assert statuses == [401] * 20
        assert len(rows) <= 2
        assert sum(json.loads(context)["count"] for (context,) in rows) == 20


class TestKeys:
    async def test_a_request_needs_one_of_the_keys(self, make_settings: MakeSettings) -> None:
        """Both are valid while one replaces the other."""
        async with running(build(make_settings(API_KEY="old,new"))) as client:
            statuses = {
                key: (await client.get("/v1/workflows", headers={"X-API-Key": key})).status_code
                for key in ("old", "new", "k", "")
            }

        assert statuses == {"old": 200, "new": 200, "k": 401, "": 401}

    async def test_without_authentication_nobody_needs_one(self, make_settings: MakeSettings) -> None:
        """It has to be said."""
        async with running(build(make_settings(API_KEY="", API_KEY_ENABLED="false"))) as client:
            answer = await client.get("/v1/workflows", headers={"X-API-Key": "whatever"})

        assert answer.status_code == 200

    def test_a_service_without_a_key_is_not_put_together(self, make_settings: MakeSettings) -> None:
        """Forgetting the key must not open the door."""
        with pytest.raises(InvalidSettings, match="API_KEY: no key is set"):
            build(make_settings(API_KEY=""))


class TestDatabases:
    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    async def test_text_that_not_every_database_can_store_is_answered_alike(
        self, make_settings: MakeSettings, request: pytest.FixtureRequest, kind: str
    ) -> None:
        """A name with U+0000 is refused; an input may hold it, and ends in the journal as it was."""
        on_a_server = {} if kind == "sqlite" else _on_a_server(request.getfixturevalue("postgresql_url"))
        fail = {"action": "fail", "message": "{{workflow.text}}"}
        nodes = [{"id": "t", "type": "trigger", "data": {"path": "p"}}, {"id": "f", "type": "action", "data": fail}]
        workflow = {"name": "w", "nodes": nodes, "edges": [{"id": "e", "source": "t", "target": "f"}]}

        async with running(build(make_settings(**on_a_server))) as client:
            refused = await client.post("/v1/workflows", json={**workflow, "name": "w\0"})
            listed = await client.get("/v1/executions?workflowId=%00")
            created = await client.post("/v1/workflows", json=workflow)
            await client.post(f"/v1/workflows/{created.json()['workflowId']}/activate")
            delivered = await client.post("/v1/webhooks/p?a=%00", json={"text": "a\0b"})
            id_ = delivered.json()["executionId"]
            ended = await _ended(client, id_)
            steps = await client.get(f"/v1/executions/{id_}/results")

        assert (refused.status_code, refused.json()["fields"]) == (400, {"name": "has the character U+0000"})
        assert listed.status_code == 400
        assert delivered.status_code == 201
        assert (ended["status"], "\0" in ended["errorMessage"]) == ("failed", False)
        assert "a\ufffdb" in ended["errorMessage"]
        assert "a\0b" in steps.json()["stepResults"][0]["errorMessage"]


def _on_a_server(url: str) -> dict[str, str]:
    return {"FLOWKER_DATABASE_URL": url, "FLOWKER_SECRET_KEY": base64.b64encode(bytes(32)).decode()}


async def _ended(client: httpx.AsyncClient, execution_id: str) -> Any:
    deadline = time.monotonic() + 30
    while (found := (await client.get(f"/v1/executions/{execution_id}")).json())["status"] == "running":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return found


class TestStandingBy:
    async def test_a_store_on_a_server_has_one_service_and_others_that_stand_by(
        self, make_settings: MakeSettings, postgresql_url: str
    ) -> None:
        """Each of them answers, lives, and says that it is not ready, and why."""
        settings = make_settings(**_on_a_server(postgresql_url))

        async with running(build(settings)) as first, running(build(settings)) as second:
            ready = [await client.get("/health/ready") for client in (first, second)]
            live = await second.get("/health/live")
            listed = await second.get("/v1/workflows")

        assert [answer.status_code for answer in (*ready, live, listed)] == [200, 503, 200, 200]
        assert ready[1].json()["checks"]["engine"] == {
            "status": "unhealthy",
            "message": "Another process drives the executions; this one stands by.",
        }


class TestProxies:
    @pytest.mark.parametrize(("trusted", "address"), [("127.0.0.0/8", "203.0.113.7"), ("", "127.0.0.1")])
    async def test_the_client_behind_a_trusted_proxy_is_written_down(
        self, make_settings: MakeSettings, trusted: str, address: str
    ) -> None:
        """In the audit trail and in the input of its delivery; nobody is trusted by default."""
        settings = make_settings(FLOWKER_TRUSTED_PROXIES=trusted)
        show = {"action": "set_output", "output": "{{workflow._webhook.remote_ip}}"}
        nodes = [
            {"id": "t", "type": "trigger", "data": {"path": "p", "responseMode": "sync"}},
            {"id": "a", "type": "action", "data": show},
        ]
        edges = [{"id": "e", "source": "t", "target": "a"}]
        service = build(settings)

        async with running(service) as client:
            client.headers["X-Forwarded-For"] = "198.51.100.9, 203.0.113.7"
            created = await client.post("/v1/workflows", json={"name": "w", "nodes": nodes, "edges": edges})
            await client.post(f"/v1/workflows/{created.json()['workflowId']}/activate")
            delivered = await client.post("/v1/webhooks/p")
            results = await client.get(f"/v1/executions/{delivered.json()['executionId']}/results")
            addresses = await service.context.store.read(_actors_addresses)

        assert results.json()["finalOutput"] == address
        assert addresses == {address, None}


def _actors_addresses(connection: Connection) -> set[str | None]:
    """The system's own has none."""
    return {row[0] for row in connection.exec_driver_sql("SELECT actor_ip FROM audit_events")}


class TestOrigins:
    async def test_pages_of_allowed_origins_may_call(self, make_settings: MakeSettings) -> None:
        """They are asked for before the request, and see the headers that the API answers with."""
        settings = make_settings(CORS_ALLOWED_ORIGINS="https://ops.example")
        origin = {"Origin": "https://ops.example"}
        preflight = {**origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-api-key"}

        async with running(build(settings)) as client:
            asked = await client.options("/v1/workflows/1", headers=preflight)
            answered = await client.get("/v1/workflows", headers=origin)

        assert asked.status_code == 200
        assert "PUT" in asked.headers["access-control-allow-methods"]
        assert answered.headers["access-control-allow-origin"] == "https://ops.example"
        assert "X-Webhook-Execution-ID" in answered.headers["access-control-expose-headers"]

    async def test_pages_of_other_origins_may_not(self, make_settings: MakeSettings) -> None:
        """The answer says nothing that would let a browser pass it on."""
        settings = make_settings(CORS_ALLOWED_ORIGINS="https://ops.example")

        async with running(build(settings)) as client:
            answer = await client.get("/v1/workflows", headers={"Origin": "https://evil.example"})

        assert "access-control-allow-origin" not in answer.headers

    async def test_no_origin_is_allowed_by_default(self, make_settings: MakeSettings) -> None:
        """Whoever wants it says so."""
        async with running(build(make_settings())) as client:
            answer = await client.get("/v1/workflows", headers={"Origin": "https://ops.example"})

        assert "access-control-allow-origin" not in answer.headers


class TestDocument:
    def test_every_operation_has_its_handler(self) -> None:
        """The document of this version is the one to check."""
        assert check_document(document_path()) == []

    @pytest.mark.parametrize("id_", ["workflow", "output", "execution"])
    async def test_a_node_is_not_called_as_what_references_begin_with(
        self, make_settings: MakeSettings, id_: str
    ) -> None:
        """Its output could never be referred to."""
        node = {"id": id_, "type": "action", "data": {"action": "log"}}
        async with running(build(make_settings())) as client:
            answer = await client.post("/v1/workflows", json={"name": "w", "nodes": [node], "edges": []})

        assert (answer.status_code, list(answer.json()["fields"])) == (400, ["nodes[0].id"])

    def test_operations_are_named_as_in_the_document(self) -> None:
        """What is private or imported is none."""
        bound = bind(None, [health, workflows])

        assert {"getVersion", "checkReadyz", "moveWorkflowToDraft"} <= bound.keys()
        assert not {"compileAside", "_compile", "compile", "uuid7"} & bound.keys()

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "is not a YAML mapping"),
            ("[1, 2]", "is not a YAML mapping"),
            ("openapi: [", "while parsing"),
            ("openapi: 3.1.0\ninfo: {title: a}", "is not valid OpenAPI 3.1"),
            ("openapi: 3.1.0\ninfo: {title: a, version: '1'}\ncomponents: {}", "the document has no 'paths'"),
            ("openapi: 3.1.0\ninfo: {title: a, version: '1'}\npaths: {}", "createWorkflow: there is a handler"),
        ],
    )
    def test_what_is_wrong_with_a_document_is_told(self, text: str, told: str, tmp_path: Path) -> None:
        """Not YAML, not OpenAPI, or not ours."""
        path = tmp_path / "document.yaml"
        path.write_text(text)

        assert any(told in problem for problem in check_document(path))

    def test_a_document_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        """With its path."""
        [problem] = check_document(tmp_path / "none.yaml")

        assert "none.yaml" in problem
