"""An engine on a real store, with a clock that is turned by hand and a far side on a real socket."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from flowker.domain.audit import SYSTEM
from flowker.domain.errors import InternalError
from flowker.domain.executions import Accepted, Status
from flowker.domain.timestamps import format_timestamp
from flowker.domain.workflows import Definition
from flowker.engine.accepting import Accepting, Submission, new_execution_id
from flowker.engine.clock import Alarm
from flowker.engine.definitions import Definitions, compile_aside
from flowker.engine.embedded import EmbeddedEngine
from flowker.engine.records import Recorded, read_recorded
from flowker.engine.steps import Steps
from flowker.engine.tallies import Tallies
from flowker.executors.breaker import Breakers
from flowker.executors.client import Caller
from flowker.storage import executor_configurations, provider_configurations, workflows
from flowker.storage.database import Store, upgrade
from flowker.storage.executor_configurations import StoredExecutorConfiguration
from flowker.storage.provider_configurations import StoredProviderConfiguration
from flowker.storage.vault import KEY_BYTES, Vault
from flowker.storage.workflows import StoredWorkflow

T0 = datetime(2026, 3, 17, 14, 35, tzinfo=UTC)
TURN_REAL_S = 10.0

CONFIGURATION_ID = "11111111-0000-7000-8000-000000000001"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HandClock:
    """Stands still until it is turned; sleepers wake when their time has come."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        """How long each sleeper wanted to sleep."""
        self._now = T0
        self._sleepers: list[tuple[datetime, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        # The sleep counts from here and not from its first step: a turn in between would be slept over.
        return _wait_for(self._after(seconds))

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        future = self._after(seconds)
        future.add_done_callback(lambda _: None if future.cancelled() else callback())
        return future

    def turn(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        for until, future in self._sleepers:
            if until <= self._now and not future.done():
                future.set_result(None)
        self._sleepers = [(until, future) for until, future in self._sleepers if not future.done()]

    def sleeps(self, seconds: float) -> bool:
        """Whether somebody sleeps until exactly this many seconds from now."""
        until = self._now + timedelta(seconds=seconds)
        return any(until == one and not future.done() for one, future in self._sleepers)

    def _after(self, seconds: float) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if seconds > 0:
            self._sleepers.append((self._now + timedelta(seconds=seconds), future))
        else:
            future.set_result(None)
        self.asked.append(seconds)
        return future


async def _wait_for(future: asyncio.Future[None]) -> None:
    await asyncio.sleep(0)
    await future


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


class MoodyStore(Store):
    """A real store that is away for some of what it is asked, or breaks on it, when it was told so before."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._refusals: Counter[Callable[..., Any]] = Counter()
        self._errors: dict[Callable[..., Any], Exception] = {}
        self._lost: set[Callable[..., Any]] = set()

    def refuse(self, function: Callable[..., Any], times: int = 1, error: Exception | None = None) -> None:
        """Raise when asked to run this function: InternalError, as when the database is away, or what is given."""
        self._refusals[function] = times
        self._errors[function] = error or InternalError(headers={"Retry-After": "1"})

    def lose_answer(self, function: Callable[..., Any]) -> None:
        """Refuse this function once, and do it all the same: COMMIT failed, and what it wrote is there."""
        self.refuse(function)
        self._lost.add(function)

    def refuses(self, function: Callable[..., Any]) -> bool:
        """Whether a refusal is left."""
        return self._refusals[function] > 0

    async def read(self, query: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._unless_told(query, super().read(query, *args, **kwargs))

    async def write(self, change: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._unless_told(change, super().write(change, *args, **kwargs))

    async def write_together(self, change: Callable[..., Any], item: Any) -> Any:
        return await self._unless_told(change, super().write_together(change, item))

    async def _unless_told(self, function: Callable[..., Any], answer: Coroutine[Any, Any, Any]) -> Any:
        if self._refusals[function] == 0:
            return await answer
        self._refusals[function] -= 1
        if function in self._lost:
            self._lost.remove(function)
            await answer
        answer.close()
        raise self._errors[function]


class Bench:
    """One store and the engines that drive it, one after another."""

    def __init__(self, url: str, store: MoodyStore, caller: Caller, clock: HandClock) -> None:
        self.url = url
        self.store = store
        self.clock = clock
        self.caller = caller
        self.vault = Vault(lambda: [bytes(KEY_BYTES)])
        self._workflows = 0
        self.engine = self.make_engine()

    def make_engine(
        self,
        workers: int = 8,
        *,
        steps: type[Steps] = Steps,
        grace_s: float = 5,
        shared: bool = False,
    ) -> EmbeddedEngine:
        self.breakers = Breakers(lambda: self.clock.now().timestamp())
        self.tallies = Tallies()
        self.engine = EmbeddedEngine(
            self.store,
            Definitions(self.store, self.vault),
            steps(self.store, self.vault, self.caller, self.clock, self.breakers, self.tallies),
            self.clock,
            self.tallies,
            workers=workers,
            grace_s=grace_s,
            shared=shared,
        )
        return self.engine

    @property
    def accepting(self) -> Accepting:
        """What accepts for the engine of now, and leaves every turn to it: also the one that it could take itself."""
        return Accepting(self.store, self.engine, self.clock, self.tallies, lambda *_: None)

    async def restart(self) -> None:
        """What a crash and a new start do: nothing of the old engine's memory is left."""
        await self.engine.stop()
        await self.make_engine().start()

    async def save(self, nodes: list[dict[str, Any]], edges: list[dict[str, Any]], **metadata: Any) -> str:
        """Store an active workflow."""
        self._workflows += 1
        now = format_timestamp(T0)
        id_ = f"00000000-0000-7000-8000-{self._workflows:012d}"
        sealed = workflows.seal_nodes(self.vault, id_, nodes)
        workflow = StoredWorkflow(id_, f"w{self._workflows}", "", "active", 1, sealed, edges, metadata, now, now)
        await self.store.write(workflows.insert, workflow)
        return id_

    async def submission(self, workflow_id: str, **input_: Any) -> Submission:
        """The wish to execute a stored workflow."""
        stored = await self.store.read(workflows.get, workflow_id)
        nodes = workflows.open_nodes(self.vault, workflow_id, stored.nodes)
        definition = await compile_aside(nodes, stored.edges, stored.metadata)
        return Submission(workflow_id, 1, definition, definition.triggers[0].id, input_, SYSTEM)

    async def accept(self, workflow_id: str, **input_: Any) -> str:
        """Accept an execution of a stored workflow, as the webhook does."""
        accepted = await self.accept_as(new_execution_id(), workflow_id, **input_)
        return accepted.execution_id

    async def accept_as(self, execution_id: str, workflow_id: str, **input_: Any) -> Accepted:
        submission = await self.submission(workflow_id, **input_)
        accepted = await self.accepting.accept(submission, execution_id)
        assert isinstance(accepted, Accepted)
        return accepted

    async def run(self, workflow_id: str, **input_: Any) -> Recorded:
        """Accept an execution and wait for its end."""
        return await self.end(await self.accept(workflow_id, **input_))

    async def end(self, execution_id: str) -> Recorded:
        """What is stored of an execution as soon as it has ended."""
        return await self.until(execution_id, lambda recorded: recorded.row.status != "running")

    async def until(self, execution_id: str, holds: Callable[[Recorded], bool]) -> Recorded:
        """What is stored of an execution as soon as a claim about it holds."""
        deadline = asyncio.get_running_loop().time() + TURN_REAL_S
        while True:
            recorded: Recorded = await self.store.read(read_recorded, execution_id)
            if holds(recorded):
                return recorded
            assert asyncio.get_running_loop().time() < deadline, recorded
            await asyncio.sleep(0.005)

    async def eventually(self, holds: Callable[[], bool]) -> None:
        """Return as soon as a claim about this process holds."""
        deadline = asyncio.get_running_loop().time() + TURN_REAL_S
        while not holds():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.001)

    async def configure_http(self, base_url: str, status: str = "active") -> str:
        """Store a configuration of provider `http`."""
        now = format_timestamp(T0)
        configuration = StoredProviderConfiguration(
            CONFIGURATION_ID, "far side", "", "http", {"base_url": base_url}, status, {}, 1, now, now
        )
        await self.store.write(provider_configurations.insert, configuration)
        return CONFIGURATION_ID

    async def configure_endpoints(self, base_url: str, status: Any = "active") -> str:
        """Store an executor configuration with one endpoint."""
        now = format_timestamp(T0)
        key = {"type": "api_key", "config": {"key": "canary"}}
        endpoint = {"name": "screen", "path": "/v1/screen", "method": "PUT", "timeout": 30}
        sealed = self.vault.seal(key, CONFIGURATION_ID)
        configuration = StoredExecutorConfiguration(
            CONFIGURATION_ID, "far side", "", base_url, [endpoint], sealed, status, {}, 1, now, now
        )
        await self.store.write(executor_configurations.insert, configuration)
        return CONFIGURATION_ID


class Draw:
    """Nodes and edges in few words."""

    trigger: dict[str, Any] = {"id": "t", "type": "trigger", "data": {"path": "p"}}  # noqa: RUF012 - nobody changes it

    def action(self, id_: str, kind: str = "log", **data: Any) -> dict[str, Any]:
        return {"id": id_, "type": "action", "data": {"action": kind, **data}}

    def call(self, id_: str, path: str = "/", **data: Any) -> dict[str, Any]:
        described = {"executorId": "http.request", "providerConfigId": CONFIGURATION_ID, "path": path}
        return {"id": id_, "type": "executor", "data": {**described, **data}}

    def chain(self, *ids: str) -> list[dict[str, Any]]:
        return self.edges(*itertools.pairwise(ids))

    def edges(self, *pairs: tuple[str, str]) -> list[dict[str, Any]]:
        return [{"id": f"e{i}", "source": source, "target": target} for i, (source, target) in enumerate(pairs)]


@pytest.fixture
def draw() -> Draw:
    return Draw()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a database without rows: copying them is faster than migrating for each test."""
    path = tmp_path_factory.mktemp("empty") / "flowker.db"
    upgrade(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
async def store(tmp_path: Path, empty_database: bytes) -> AsyncIterator[MoodyStore]:
    path = tmp_path / "flowker.db"
    path.write_bytes(empty_database)
    started = MoodyStore(f"sqlite:///{path}")
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def bench(tmp_path: Path, store: MoodyStore) -> AsyncIterator[Bench]:
    """A started engine; a test that wants another one stops it and makes that."""
    caller = Caller(egress_allow=["127.0.0.0/8"])
    await caller.start()
    made = Bench(f"sqlite:///{tmp_path / 'flowker.db'}", store, caller, HandClock())
    await made.engine.start()
    yield made
    await made.engine.stop()
    await caller.stop()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Answer], Awaitable[str]]]:
    """Starts far sides that answer every request in one way; gives their addresses."""
    servers: list[TestServer] = []

    async def start(answer: Answer) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/"))

    yield start
    for server in servers:
        await server.close()


class Listener:
    """An engine that does nothing but hear."""

    stands_by = False

    def __init__(self) -> None:
        self.heard: list[tuple[Accepted, Definition, int]] = []
        self.ends: list[tuple[str, Status]] = []
        self.doubts = 0

    def submit(self, accepted: Accepted, definition: Definition, input_bytes: int) -> None:
        self.heard.append((accepted, definition, input_bytes))

    def ended(self, execution_id: str, status: Status) -> None:
        self.ends.append((execution_id, status))

    def unsure(self) -> None:
        self.doubts += 1


@pytest.fixture
def listener() -> Listener:
    return Listener()
