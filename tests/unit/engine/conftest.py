"""An engine on a real store, with a clock that is turned by hand and a far side on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowker.domain.audit import SYSTEM
from flowker.domain.executions import Accepted, Status
from flowker.domain.timestamps import format_timestamp
from flowker.engine.accepting import Accepting, Submission, new_execution_id
from flowker.engine.definitions import Definitions, compile_aside
from flowker.engine.embedded import EmbeddedEngine
from flowker.engine.records import Recorded, read_recorded
from flowker.engine.steps import Steps
from flowker.executors.client import Caller
from flowker.storage import provider_configurations, workflows
from flowker.storage.database import Store, upgrade
from flowker.storage.provider_configurations import StoredProviderConfiguration
from flowker.storage.workflows import StoredWorkflow

T0 = datetime(2026, 3, 17, 14, 35, tzinfo=UTC)
TURN_REAL_S = 10.0


class HandClock:
    """Stands still until it is turned; sleepers wake when their time has come."""

    def __init__(self) -> None:
        self._now = T0
        self._sleepers: list[tuple[datetime, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + timedelta(seconds=seconds), future))
        await future

    def turn(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        for until, future in self._sleepers:
            if until <= self._now and not future.done():
                future.set_result(None)
        self._sleepers = [(until, future) for until, future in self._sleepers if not future.done()]


class Bench:
    """One store and the engines that drive it, one after another."""

    def __init__(self, url: str, store: Store, caller: Caller, clock: HandClock) -> None:
        self.url = url
        self.store = store
        self.clock = clock
        self._caller = caller
        self._workflows = 0
        self.engine = self.make_engine()

    def make_engine(self, workers: int = 8) -> EmbeddedEngine:
        definitions = Definitions(self.store)
        steps = Steps(self.store, self._caller, self.clock)
        self.engine = EmbeddedEngine(self.store, definitions, steps, self.clock, workers=workers, grace_s=5)
        return self.engine

    async def restart(self) -> None:
        """What a crash and a new start do: nothing of the old engine's memory is left."""
        await self.engine.stop()
        await self.make_engine().start()

    async def save(self, nodes: list[dict[str, Any]], edges: list[dict[str, Any]], **metadata: Any) -> str:
        """Store an active workflow."""
        self._workflows += 1
        now = format_timestamp(T0)
        id_ = f"00000000-0000-7000-8000-{self._workflows:012d}"
        workflow = StoredWorkflow(id_, f"w{self._workflows}", "", "active", 1, nodes, edges, metadata, now, now)
        await self.store.write(workflows.insert, workflow)
        return id_

    async def accept(self, workflow_id: str, **input_: Any) -> str:
        """Accept an execution of a stored workflow, as the webhook does."""
        stored = await self.store.read(workflows.get, workflow_id)
        definition = await compile_aside(stored.nodes, stored.edges, stored.metadata)
        trigger = definition.triggers[0].id
        submission = Submission(workflow_id, 1, definition, trigger, input_, SYSTEM)
        accepted = await Accepting(self.store, self.engine, self.clock).accept(submission, new_execution_id())
        assert isinstance(accepted, Accepted)
        return accepted.execution_id

    async def run(self, workflow_id: str, **input_: Any) -> Recorded:
        """Accept an execution and wait for its end."""
        execution_id = await self.accept(workflow_id, **input_)
        return await self.until(execution_id, lambda recorded: recorded.row.status != "running")

    async def until(self, execution_id: str, holds: Callable[[Recorded], bool]) -> Recorded:
        """What is stored of an execution as soon as a claim about it holds."""
        deadline = asyncio.get_running_loop().time() + TURN_REAL_S
        while True:
            recorded = await self.store.read(read_recorded, execution_id)
            if holds(recorded):
                return recorded
            assert asyncio.get_running_loop().time() < deadline, recorded
            await asyncio.sleep(0.005)

    async def configure_http(self, base_url: str) -> str:
        """Store an active configuration of provider `http`."""
        now = format_timestamp(T0)
        id_ = "11111111-0000-7000-8000-000000000001"
        configuration = StoredProviderConfiguration(
            id_, "far side", "", "http", {"base_url": base_url}, "active", {}, now, now
        )
        await self.store.write(provider_configurations.insert, configuration)
        return id_


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    url = f"sqlite:///{tmp_path / 'flowker.db'}"
    upgrade(url)
    store = Store(url)
    caller = Caller(egress_allow=["127.0.0.0/8"])
    await store.start()
    await caller.start()
    made = Bench(url, store, caller, HandClock())
    await made.engine.start()
    yield made
    await made.engine.stop()
    await caller.stop()
    await store.stop()


def status_of(recorded: Recorded) -> Status:
    return recorded.row.status  # type: ignore[return-value]
