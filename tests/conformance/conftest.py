"""The whole service, in this process or in one of its own, and an API to ask it and to prepare what a test needs.

`World` is a service in this process, on a real database, with a clock that can be turned and faults that are real.
It runs in an event loop of its own: a test may ask from any thread, and from the event loop of Schemathesis.
"""

import asyncio
import inspect
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import urlencode

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, settings

from flowker.app import OPERATION_MODULES, bind, build, shipped_document
from flowker.engine.clock import Alarm
from flowker.http.dispatcher import OPERATION, STATUS
from flowker.http.document import build_asgi
from flowker.http.security import ApiKeys
from flowker.settings import Settings
from flowker.storage.database import Store

ROOT = Path(__file__).parents[2]

SCHEMATHESIS = ROOT / "schemathesis.toml"
"""How Schemathesis judges, here and from the command line."""

FUZZED_WEBHOOK: str = tomllib.loads(SCHEMATHESIS.read_text())["dictionaries"]["webhooks"]["values"][0]
"""The path to which Schemathesis delivers, among random ones."""

KEY = "conformance-key"
CREDENTIALS = {"X-API-Key": KEY}

PATIENCE_S = 10.0
"""How long a test waits for what happens by itself: it takes milliseconds, and after this it never will."""

RECKONING_S = 0.05
"""Longer than it takes from reading the clock to going to sleep by what it showed."""

ALLOWED_NETWORK = "127.0.0.1/32"
"""Where the services of this process may call."""

CLOSED_URL = "http://127.0.0.1:1"
"""Nobody listens there."""

REFUSED_URL = "http://127.0.0.2:1"
"""An address that is not called."""

EXECUTOR_CONFIGURATION_WAYS: Mapping[str, Sequence[str]] = {
    "configured": (),
    "tested": ("test",),
    "active": ("test", "activate"),
    "disabled": ("test", "activate", "disable"),
}
"""What brings a new executor configuration into each status."""

DECIDE = {"action": "set_output", "output": {"decision": "approved"}}
WAIT_AN_HOUR = {"action": "delay", "seconds": 3600}
ASK = {"action": "approval", "timeoutSeconds": 3600}
FAIL = {"action": "fail"}

_LENIENT = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
"""The document's bodies are large, and the machine may be busy: neither is a reason to fail."""

settings.register_profile(
    "ci",
    derandomize=True,
    max_examples=20,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # Shrinking would be the longest part of a failing run.
    suppress_health_check=_LENIENT,
)
settings.register_profile("long", max_examples=500, deadline=None, suppress_health_check=_LENIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, its numbers exact."""
        return json.loads(self.body, parse_float=Decimal)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow that was prepared; `webhook` is the path that its trigger names."""

    id: str
    name: str
    webhook: str


Headers = Sequence[tuple[bytes, bytes]]
Send = Callable[[str, str, bytes | None, Headers], Answer]


class Api:
    """Asks a service, and prepares workflows and executions by asking it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._pool = ThreadPoolExecutor(80)

    def ask(self, method: str, path: str, body: Any = None, **headers: str | None) -> Answer:
        """Send a request with the good key; a body that is not bytes is sent as JSON.

        `Idempotency_Key` is the header `Idempotency-Key`; a header that is None is left out.
        """
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        default = {**CREDENTIALS, "Content-Type": None if body is None else "application/json"}
        sent = [(name.encode(), value.encode()) for name, value in {**default, **given}.items() if value is not None]
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return self._send(method, path, data, sent)

    def begin(self, method: str, path: str, body: Any = None, **headers: str | None) -> "Future[Answer]":
        """Ask without waiting for the answer."""
        return self._pool.submit(self.ask, method, path, body, **headers)

    def expect(self, status: int, method: str, path: str, body: Any = None, **headers: str | None) -> Answer:
        answer = self.ask(method, path, body, **headers)
        assert answer.status == status, answer.body
        return answer

    def deliver(self, workflow: Workflow, body: Any = None, *, method: str = "POST", **headers: str | None) -> Answer:
        """Send to the webhook of a workflow."""
        return self.ask(method, f"/v1/webhooks/{workflow.webhook}", body, **headers)

    def results(self, execution_id: str) -> Any:
        """The results of an execution, as soon as it has ended."""
        path = f"/v1/executions/{execution_id}/results"
        return until(lambda: (answer := self.ask("GET", path)).status == 200 and answer).json()

    def settle(self, execution_id: str) -> None:
        """Wait until an execution has ended, or waits for somebody to decide."""
        path = f"/v1/executions/{execution_id}"
        until(lambda: self.ask("GET", f"{path}/results").status == 200 or self._asks(f"{path}/steps"))

    def _asks(self, path: str) -> bool:
        return any(step["status"] == "waiting" for step in self.expect(200, "GET", path).json()["items"])

    def definition(self, *steps: Mapping[str, Any], **trigger: Any) -> dict[str, Any]:
        """A workflow of a webhook trigger and these actions, one after another, under names that nobody has."""
        number = next(self._numbers)
        actions = [{"id": f"step{i}", "type": "action", "data": step} for i, step in enumerate(steps or [DECIDE], 1)]
        received = {"triggerId": "webhook", "path": f"hooks/{number}", **trigger}
        nodes = [{"id": "received", "type": "trigger", "data": received}, *actions]
        pairs = itertools.pairwise(str(node["id"]) for node in nodes)
        edges = [{"id": f"e{i}", "source": source, "target": target} for i, (source, target) in enumerate(pairs, 1)]
        return {"name": f"Workflow {number}", "nodes": nodes, "edges": edges}

    def create(self, definition: Mapping[str, Any]) -> Workflow:
        created = self.expect(201, "POST", "/v1/workflows", definition).json()
        paths = [node["data"]["path"] for node in definition.get("nodes", []) if node["type"] == "trigger"]
        return Workflow(created["workflowId"], definition["name"], paths[0] if paths else "")

    def draft(self, *steps: Mapping[str, Any], **trigger: Any) -> Workflow:
        return self.create(self.definition(*steps, **trigger))

    def active(self, *steps: Mapping[str, Any], **trigger: Any) -> Workflow:
        return self.move(self.draft(*steps, **trigger), "activate")

    def inactive(self, *steps: Mapping[str, Any], **trigger: Any) -> Workflow:
        return self.move(self.active(*steps, **trigger), "deactivate")

    def move(self, workflow: Workflow, *ways: str) -> Workflow:
        """Go these ways: activate, deactivate, draft."""
        for way in ways:
            self.expect(200, "POST", f"/v1/workflows/{workflow.id}/{way}")
        return workflow

    def execution(self, *steps: Mapping[str, Any]) -> str:
        """The id of an execution that was just started."""
        started = self.deliver(self.active(*steps))
        assert started.status == 201, started.body
        return str(started.json()["executionId"])

    def completed_execution(self) -> str:
        execution_id = self.execution(DECIDE)
        self.results(execution_id)
        return execution_id

    def running_execution(self) -> str:
        """An execution that waits until its clock is turned."""
        return self.waiting(self.execution(WAIT_AN_HOUR))

    def failed_execution(self) -> str:
        execution_id = self.execution(FAIL)
        self.results(execution_id)
        return execution_id

    def asking_execution(self, *steps: Mapping[str, Any]) -> str:
        """An execution that waits for a decision about `step1`, before these steps."""
        return self.waiting(self.execution(ASK, *steps))

    def waiting(self, execution_id: str) -> str:
        """The same execution, as soon as its first step waits and nobody is at work on it."""
        path = f"/v1/executions/{execution_id}/steps"
        until(lambda: self.expect(200, "GET", path).json()["items"][0]["status"] == "waiting")
        return execution_id

    def decide(self, execution_id: str, decision: str, node_id: str = "step1", **body: Any) -> Answer:
        """Decide about an approval."""
        path = f"/v1/executions/{execution_id}/signals/{node_id}"
        return self.ask("POST", path, {"decision": decision, **body})

    def provider_configuration(self, config: Mapping[str, Any] | None = None, **members: Any) -> str:
        """The id of an active configuration, of provider `http` unless told otherwise; its name nobody has."""
        name = f"Configuration {next(self._numbers)}"
        given = {"name": name, "providerId": "http", "config": config or {"base_url": CLOSED_URL}, **members}
        return str(self.expect(201, "POST", "/v1/provider-configurations", given).json()["id"])

    def active_caller(self, configuration_id: str) -> Workflow:
        """An active workflow whose only step calls through a provider configuration."""
        return self.move(self.create(self.calling(configuration_id)), "activate")

    def calling(self, configuration_id: str) -> dict[str, Any]:
        """The definition of a workflow whose only step calls through a provider configuration."""
        definition = self.definition()
        data = {"executorId": "http.request", "providerConfigId": configuration_id}
        definition["nodes"][1] = {"id": "step1", "type": "executor", "data": data}
        return definition

    def executor_configuration(self, **members: Any) -> str:
        """The id of an executor configuration that is `configured`; its name nobody has."""
        given = {
            "name": f"Executor configuration {next(self._numbers)}",
            "baseUrl": CLOSED_URL,
            "endpoints": [{"name": "screen", "path": "/checks", "method": "POST"}],
            "authentication": {"type": "none"},
            **members,
        }
        return str(self.expect(201, "POST", "/v1/executors", given).json()["id"])

    def calling_endpoint(self, configuration_id: str, **data: Any) -> dict[str, Any]:
        """The definition of a workflow whose only step calls an endpoint of an executor configuration."""
        definition = self.definition()
        data = {"executorConfigId": configuration_id, "endpointName": "screen", **data}
        definition["nodes"][1] = {"id": "step1", "type": "executor", "data": data}
        return definition

    def delete_all_workflows(self) -> None:
        while items := self.expect(200, "GET", "/v1/workflows?limit=100").json()["items"]:
            for item in items:
                if item["status"] == "active":
                    self.expect(200, "POST", f"/v1/workflows/{item['id']}/deactivate")
                self.expect(204, "DELETE", f"/v1/workflows/{item['id']}")


class TurnableClock:
    """The machine's clock, until it is turned. For those who ask it while they answer a request it can also fail."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._turned_at = 0.0
        self._sleepers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def now(self) -> datetime:
        if _clock_fails.get():
            raise OSError("the clock cannot be read")
        return datetime.now(UTC) + self._ahead

    async def sleep(self, seconds: float) -> None:
        if time.monotonic() - self._turned_at < RECKONING_S:
            # How long to wait was reckoned before the turn: look again soon.
            seconds = min(seconds, RECKONING_S)
        until_then = self.now() + timedelta(seconds=seconds)
        while (left_s := (until_then - self.now()).total_seconds()) > 0:
            sleeper = (asyncio.get_running_loop(), asyncio.Event())
            self._sleepers.add(sleeper)
            with suppress(TimeoutError):
                await asyncio.wait_for(sleeper[1].wait(), left_s)
            self._sleepers.discard(sleeper)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        sleeping = asyncio.ensure_future(self.sleep(seconds))
        sleeping.add_done_callback(lambda _: None if sleeping.cancelled() else callback())
        return sleeping

    def turn(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)
        self._turned_at = time.monotonic()
        for loop, turned in list(self._sleepers):
            loop.call_soon_threadsafe(turned.set)


_clock_fails: ContextVar[bool] = ContextVar("clock_fails", default=False)


class OvertakenStore:
    """The store of a request that is overtaken: once, `rival` comes after its reading and before its writing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.rival: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, change: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        rival, self.rival = self.rival, None
        if rival is not None:
            await asyncio.to_thread(rival)
        return await self._store.write(change, *args, **kwargs)


class World:
    """A service in this process, and what happens to it. `heal` ends whatever happens."""

    def __init__(self, directory: Path, portal: BlockingPortal, open_url: str = CLOSED_URL) -> None:
        self.clock = TurnableClock()
        self.open_url = open_url
        """Where a far side answers 200, if there is one."""
        self._portal = portal
        self._home, self._away = directory / "store", directory / "away"
        self._home.mkdir()
        environment = {
            "API_KEY": KEY,
            "FLOWKER_DATABASE_URL": f"sqlite:///{self._home / 'flowker.db'}",
            "FLOWKER_EGRESS_ALLOW": ALLOWED_NETWORK,
            "FLOWKER_SHUTDOWN_GRACE_SECONDS": 0,
        }
        self._service = build(Settings.model_validate(environment), self.clock)
        self._store = self._service.context.store
        self._overtaken_store = OvertakenStore(self._store)
        self._clock_fails = False
        self._operations_broken = False
        self._release_writer = threading.Event()
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(self._answer), base_url="http://flowker")
        self.api = Api(self._send)
        self.answered: set[tuple[str, int]] = set()
        """Every operation with every status that it answered."""

    def start(self) -> None:
        self._portal.call(self._service.start)

    def stop(self) -> None:
        self.heal()
        self._portal.call(self._client.aclose)
        self._portal.call(self._service.stop)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """The service as an ASGI application for other event loops than its own."""
        if scope["type"] != "http":
            raise NotImplementedError("the service is started already")
        here = asyncio.get_running_loop()

        def over_there(function: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(function(*args), here))

        answering = self._portal.start_task_soon(self._answer, scope, over_there(receive), over_there(send))
        await asyncio.wrap_future(answering)

    def overtake(self, rival: Callable[[], object]) -> None:
        """The next request comes too late: `rival` happens after its reading and before its writing."""
        self._overtaken_store.rival = rival

    def lose_database(self) -> None:
        """Whoever wants to read or write finds no file."""
        if self._home.exists():
            self._home.rename(self._away)

    def break_clock(self) -> None:
        """Whoever answers a request cannot read the clock."""
        self._clock_fails = True

    def break_operations(self) -> None:
        """Every operation has a bug: for those that need nothing that could be away."""
        self._operations_broken = True

    def hold_writer(self) -> None:
        """Nothing is written: somebody's change takes that long."""
        held = threading.Event()
        self._release_writer.clear()

        def hold(_: object) -> None:
            held.set()
            self._release_writer.wait()

        self._portal.start_task_soon(self._store.write, hold)
        assert held.wait(PATIENCE_S)

    def stall_writer(self) -> None:
        """The writer is held, and looks as if it had been for a minute."""
        self.hold_writer()
        self._store._writer.heartbeat = time.monotonic() - 60

    def heal(self) -> None:
        self._clock_fails = False
        self._operations_broken = False
        self._overtaken_store.rival = None
        self._release_writer.set()
        if self._away.exists():
            self._away.rename(self._home)

    @contextmanager
    def held_writer(self) -> Iterator[None]:
        self.hold_writer()
        try:
            yield
        finally:
            self.heal()

    def waiting_writes(self) -> int:
        return self._store._writer._queue.qsize()

    def audited(self, event_type: str) -> list[dict[str, Any]]:
        """What the audit trail has of a kind of event, in its order, with the context as it was told."""
        statement = "SELECT * FROM audit_events WHERE event_type = ? ORDER BY sequence"

        def read(connection: Any) -> list[dict[str, Any]]:
            rows = connection.exec_driver_sql(statement, (event_type,)).mappings()
            return [{**row, "context": json.loads(row["context"])} for row in rows]

        return self._portal.call(self._store.read, read)

    def executor_configuration(self, status: str, **members: Any) -> str:
        """The id of an executor configuration of an open far side, in this status."""
        id_ = self.api.executor_configuration(baseUrl=self.open_url, **members)
        for way in EXECUTOR_CONFIGURATION_WAYS[status]:
            self.api.expect(200, "POST", f"/v1/executors/{id_}/{way}")
        return id_

    def execute(self, statement: str, *parameters: str) -> None:
        """Change the store: into what no operation of this version makes of it."""

        def write(connection: Any) -> None:
            connection.exec_driver_sql(statement, parameters)

        self._portal.call(self._store.write, write)

    def count(self, table: str) -> int:
        """How many rows a table has: for what no operation tells."""
        statement = f"SELECT count(*) FROM {table}"  # noqa: S608 - the name is the test's

        def read(connection: Any) -> int:
            return int(connection.exec_driver_sql(statement).scalar_one())

        return self._portal.call(self._store.read, read)

    def files(self) -> bytes:
        """Every byte that the store has on disk, its write-ahead log included."""
        return b"".join(path.read_bytes() for path in sorted(self._home.iterdir()))

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        _clock_fails.set(self._clock_fails)
        await self._asgi(scope, receive, send)
        if scope.get(OPERATION):
            self.answered.add((scope[OPERATION], scope[STATUS]))

    def _send(self, method: str, path: str, data: bytes | None, headers: Headers) -> Answer:
        request = self._client.build_request(method, path, content=data, headers=headers)
        given = self._portal.call(self._client.send, request)
        return Answer(given.status_code, given.headers, given.content)

    @property
    def _asgi(self) -> Any:
        if self._operations_broken:
            return self._broken_asgi
        return self._overtaken_asgi if self._overtaken_store.rival else self._service.asgi

    @cached_property
    def _broken_asgi(self) -> Any:
        handlers = bind(self._service.context, OPERATION_MODULES)
        broken = {operation_id: _broken(handler) for operation_id, handler in handlers.items()}
        return build_asgi(shipped_document(), broken, keys=ApiKeys([KEY]))

    @cached_property
    def _overtaken_asgi(self) -> Any:
        context = replace(self._service.context, store=cast("Store", self._overtaken_store))
        return build_asgi(shipped_document(), bind(context, OPERATION_MODULES), keys=ApiKeys([KEY]))


def _broken(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A handler that is asked for the same as this one, and has a bug."""

    async def fail(**_: object) -> NoReturn:
        raise ZeroDivisionError("a bug")

    vars(fail)["__signature__"] = inspect.signature(handler)
    return fail


def until(look: Callable[[], Any]) -> Any:
    """What `look` sees, as soon as it sees anything."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not (seen := look()):
        assert time.monotonic() < give_up_at, "it never happened"
        time.sleep(0.002)
    return seen


class Live:
    """`flowker serve` in a process of its own, and what it wrote to its log."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "service.log"
        environment = {
            "PATH": os.environ["PATH"],
            "API_KEY": KEY,
            "LOG_LEVEL": "warning",
            "FLOWKER_DATABASE_URL": f"sqlite:///{directory / 'flowker.db'}",
        }
        command = [sys.executable, "-m", "flowker", "serve", "--port", "0"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=log
            )
        self.url = self._listening_url()
        self._client = httpx.Client(base_url=self.url, timeout=PATIENCE_S)
        self.api = Api(self._send)

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        return url.host, url.port or 80

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        cast("Any", self._process.stdout).close()

    def _send(self, method: str, path: str, data: bytes | None, headers: Headers) -> Answer:
        given = self._client.request(method, path, content=data, headers=headers)
        return Answer(given.status_code, given.headers, given.content)

    def _listening_url(self) -> str:
        for line in cast("Any", self._process.stdout):
            if found := re.search(rb"http://[^\s]+", line):
                return str(found.group().decode())
        raise AssertionError(self.log())


@contextmanager
def standing_still(clock: TurnableClock) -> Iterator[None]:
    """Whatever happens now happens in the same instant."""
    instant = clock.now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: instant)
        yield


def list_path(path: str, **query: Any) -> str:
    return f"{path}?{urlencode({name: value for name, value in query.items() if value is not None})}"


def read_page(path: str, api: Api, **query: Any) -> Any:
    return api.expect(200, "GET", list_path(path, **query)).json()


def read_pages(path: str, api: Api, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """The items of each page of a list, read when it is asked for."""
    cursor = None
    while cursor != "":
        answer = read_page(path, api, cursor=cursor, **query)
        cursor = answer["nextCursor"]
        assert answer["hasMore"] == bool(cursor)
        yield answer["items"]


def refused_field(api: Api, path: str) -> tuple[str, str]:
    """The code and the one field of a refused list."""
    refused = api.expect(400, "GET", path).json()
    [field] = refused["fields"]
    return refused["code"], field


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """The event loop that the services of this process run in."""
    with start_blocking_portal() as portal:
        yield portal


class _Answering(BaseHTTPRequestHandler):
    """A far side that can be connected to, whatever it is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the output of tests to the tests."""


@pytest.fixture(scope="session")
def open_url() -> Iterator[str]:
    """Where somebody answers 200, for as long as there are tests."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.fixture(scope="session")
def make_world(
    portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory, open_url: str
) -> Callable[[], World]:
    """Makes services, each on a new database; who makes one starts and stops it."""
    return lambda: World(tmp_path_factory.mktemp("world"), portal, open_url)


@pytest.fixture(scope="module")
def module_world(make_world: Callable[[], World]) -> Iterator[World]:
    world = make_world()
    world.start()
    yield world
    world.stop()


@pytest.fixture
def world(module_world: World) -> Iterator[World]:
    """The service that the tests of a module share: what a test prepares has names of its own."""
    yield module_world
    module_world.heal()


@pytest.fixture
def api(world: World) -> Api:
    return world.api


@pytest.fixture
def new_world(make_world: Callable[[], World]) -> Iterator[World]:
    """A service that nobody has used yet, for tests about everything that it has."""
    world = make_world()
    world.start()
    yield world
    world.stop()


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The service as users run it, behind a real socket."""
    service = Live(tmp_path_factory.mktemp("live"))
    yield service
    service.stop()
