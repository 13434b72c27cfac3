"""The engine in a world that one number decides: time, store, far side, people and crashes.

Everything is the real thing but what reaches outside of the process. The loop's time jumps to the next moment at
which something happens, so hours take milliseconds. The store is a SQLite database in memory whose requests take
time, are refused, or lose their answer after the commit. The far side fails, keeps its answers, and remembers each
effect by its idempotency key. A seed gives the same world again.
"""

import asyncio
import contextlib
import selectors
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

from flowker.domain.audit import SYSTEM, Actor
from flowker.domain.errors import FlowkerError, InternalError
from flowker.domain.executions import TERMINAL, Accepted
from flowker.domain.interventions import Cancel, Decide, Intervention, Retry
from flowker.domain.timestamps import format_timestamp
from flowker.domain.workflows import Plan
from flowker.engine.accepting import Accepting, Submission
from flowker.engine.definitions import Definitions, compile_aside
from flowker.engine.embedded import EmbeddedEngine
from flowker.engine.records import Recorded, read_recorded
from flowker.engine.steps import Steps
from flowker.engine.tallies import Tallies
from flowker.executors.breaker import Breakers
from flowker.executors.client import Call, CallFailed, CallResult, CallSucceeded
from flowker.storage import provider_configurations, workflows
from flowker.storage.database import upgrade
from flowker.storage.provider_configurations import StoredProviderConfiguration
from flowker.storage.tables import audit_events
from flowker.storage.vault import KEY_BYTES, Vault
from flowker.storage.workflows import StoredWorkflow

T0 = datetime(2026, 3, 17, 14, 35, tzinfo=UTC)
CONFIGURATION_ID = "11111111-0000-7000-8000-000000000001"
PEOPLE = (Actor("api_key", "ada"), Actor("api_key", "bob"))
TROUBLE_S = 20.0
"""How long a world is in trouble and its processes die; the last one lives on while everything works again."""

STILL_MAX = 20_000
"""Turns of the loop within one moment: many tasks take many, none needs so many."""

HORIZON_S = 4 * 3600.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer, and whose threads are functions."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now_s

    def run_in_executor(self, _: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits the future
            future.set_exception(error)
        return future


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen again")
        self._turns = 0 if timeout > 0 else self._turns + 1
        if self._turns > STILL_MAX:
            raise RuntimeError("somebody turns round and round, and time stands still")
        self._loop.now_s += max(0.0, timeout)
        return []


class SimulatedClock:
    def now(self) -> datetime:
        return T0 + timedelta(seconds=asyncio.get_running_loop().time())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Trouble:
    """How likely what goes wrong is; nothing, once the world is well again."""

    chance: Random
    refused: float
    answer_lost: float
    call_failed: float
    answer_of_call_lost: float
    over: bool = False

    def strikes(self, likelihood: float) -> bool:
        return not self.over and self.chance.random() < likelihood


class SimulatedStore:
    """Runs the real statements on a database in memory, one after another, in the order that chance decides."""

    def __init__(self, engine: Engine, trouble: Trouble) -> None:
        self._engine = engine
        self._trouble = trouble

    async def read(self, query: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._run(lambda connection: query(connection, *args, **kwargs))

    async def write(self, change: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._run(lambda connection: change(connection, *args, **kwargs))

    async def write_together(self, change: Callable[..., Any], item: Any) -> Any:
        return await self._run(lambda connection: change(connection, [item])[0])

    async def _run(self, function: Callable[[Connection], Any]) -> Any:
        await asyncio.sleep(self._trouble.chance.uniform(0, 0.02))
        if self._trouble.strikes(self._trouble.refused):
            raise InternalError
        with self._engine.begin() as connection:
            result = function(connection)
        await asyncio.sleep(self._trouble.chance.uniform(0, 0.02))
        if self._trouble.strikes(self._trouble.answer_lost):
            raise InternalError
        return result


class SimulatedFarSide:
    """Answers calls, badly; `effects` counts how often each idempotency key had one."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self.effects: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []

    async def call(self, call: Call) -> CallResult:
        key = f"{call.execution_id}:{call.node_id}"
        self.calls.append(key)
        await asyncio.sleep(self._trouble.chance.uniform(0, 5))
        if self._trouble.strikes(self._trouble.call_failed):
            retryable = self._trouble.chance.random() < 0.8
            return CallFailed("it went wrong", retryable)
        score = self._trouble.chance.randint(0, 100)
        effect = self.effects.setdefault(key, {"status": 200, "body": {"score": score}})
        if self._trouble.strikes(self._trouble.answer_of_call_lost):
            await asyncio.sleep(30)
            return CallFailed("the answer was lost", retryable=True)
        return CallSucceeded(dict(effect))


@dataclass
class World:
    """One store, and the processes that drive it one after another."""

    seed: int
    chance: Random = field(init=False)
    trouble: Trouble = field(init=False)
    far_side: SimulatedFarSide = field(init=False)
    accepted: dict[str, Accepted] = field(default_factory=dict)
    trail: list[tuple[Any, ...]] = field(default_factory=list)
    """The rows of the audit trail in their order."""
    plan: Plan = field(init=False)
    crashes: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)  # noqa: S311 - a world, no secret
        bad = self.chance.uniform(0, 0.3)
        self.trouble = Trouble(self.chance, bad * 0.5, bad * 0.3, bad * 1.5, bad)
        self.far_side = SimulatedFarSide(self.trouble)

    def run(self) -> list[Recorded]:
        """What is stored of every execution once the world was well for long enough."""
        loop = VirtualLoop()
        with _database() as engine:
            try:
                ended = loop.run_until_complete(asyncio.wait_for(self._live(engine), HORIZON_S))
                self.trail = _read_trail(engine)
                return ended
            finally:
                with contextlib.suppress(RuntimeError):
                    _cancel_all(loop)
                loop.close()

    async def _live(self, engine: Engine) -> list[Recorded]:
        self._immortal = asyncio.all_tasks()
        self._store = SimulatedStore(engine, self.trouble)
        self._vault = Vault(lambda: [bytes(KEY_BYTES)])
        with engine.begin() as connection:
            workflow_id = _save(connection, self.chance, self._vault)
        while asyncio.get_running_loop().time() < TROUBLE_S:
            await self._be_a_process(workflow_id)
            self.crashes += 1
        return await self._be_the_last_process(workflow_id)

    async def _be_a_process(self, workflow_id: str) -> None:
        """Accept, drive and be intervened in until the process dies."""
        engine = self._start_engine()
        await engine.start()
        people = [asyncio.create_task(self._deliver(engine, workflow_id)), asyncio.create_task(self._meddle(engine))]
        await asyncio.sleep(self.chance.expovariate(1 / 8))
        await self._die()
        assert all(person.done() for person in people)

    async def _die(self) -> None:
        """The process is gone: nothing of it goes on, whatever it was doing."""
        dying = asyncio.all_tasks() - self._immortal
        for task in dying:
            task.cancel()
        await asyncio.gather(*dying, return_exceptions=True)

    async def _be_the_last_process(self, workflow_id: str) -> list[Recorded]:
        """Begin in trouble, and come to an end of everything without another start."""
        engine = self._start_engine()
        await engine.start()
        delivering = asyncio.create_task(self._deliver(engine, workflow_id))
        await asyncio.sleep(self.chance.uniform(0, 10))
        self.trouble.over = True
        delivering.cancel()
        while open_ := [one for one in await self._read_all() if one.row.status not in TERMINAL]:
            await asyncio.sleep(60)
            for recorded in open_:
                if self.chance.random() < 0.2:
                    await self._ask(engine, recorded.row.id)
        await engine.stop()
        return await self._read_all()

    def _start_engine(self) -> EmbeddedEngine:
        clock, tallies, store = SimulatedClock(), Tallies(), self._store
        breakers = Breakers(asyncio.get_running_loop().time)
        definitions = Definitions(store, self._vault)  # type: ignore[arg-type]
        steps = Steps(store, self._vault, self.far_side, clock, breakers, tallies)  # type: ignore[arg-type]
        return EmbeddedEngine(store, definitions, steps, clock, tallies, workers=3, grace_s=1.0)  # type: ignore[arg-type]

    async def _deliver(self, engine: EmbeddedEngine, workflow_id: str) -> None:
        accepting = Accepting(self._store, engine, SimulatedClock(), Tallies())  # type: ignore[arg-type]
        with self._store._engine.begin() as connection:
            stored = workflows.get(connection, workflow_id)
        definition = await compile_aside(stored.nodes, stored.edges, stored.metadata)
        self.plan = definition.plan("t")
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / 4))
            self.sent += 1
            submission = Submission(workflow_id, 1, definition, "t", {"number": self.sent % 5}, SYSTEM)
            execution_id = f"00000000-0000-7000-8000-{self.sent:012d}"
            with contextlib.suppress(InternalError):
                accepted = await accepting.accept(submission, execution_id)
                if isinstance(accepted, Accepted):
                    self.accepted[execution_id] = accepted

    async def _meddle(self, engine: EmbeddedEngine) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / 6))
            if self.accepted:
                await self._ask(engine, self.chance.choice(sorted(self.accepted)))

    async def _ask(self, engine: EmbeddedEngine, execution_id: str) -> None:
        who = self.chance.choice(PEOPLE)
        wishes: list[Intervention] = [
            Cancel(who),
            Retry(who),
            Retry(who),
            *(Decide(node, self.chance.choice(("approved", "rejected")), None, who) for node in "bcd"),
        ]
        with contextlib.suppress(FlowkerError):
            await engine.intervene(execution_id, self.chance.choice(wishes))

    async def _read_all(self) -> list[Recorded]:
        with self._store._engine.begin() as connection:
            ids = [row[0] for row in connection.exec_driver_sql("SELECT id FROM executions ORDER BY id")]
            return [read_recorded(connection, execution_id) for execution_id in ids]


def _cancel_all(loop: VirtualLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


@cache
def _empty_database() -> bytes:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "flowker.db"
        upgrade(f"sqlite:///{path}")
        migrated = bytearray(path.read_bytes())
        # A database in memory has no write-ahead log: the header (18, 19) must not ask for one.
        migrated[18:20] = b"\x01\x01"
        return bytes(migrated)


@contextmanager
def _database() -> Iterator[Engine]:
    raw = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    raw.deserialize(_empty_database())
    engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool)
    yield engine
    engine.dispose()


def _read_trail(engine: Engine) -> list[tuple[Any, ...]]:
    columns = ", ".join(column.name for column in audit_events.columns)
    with engine.begin() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(f"SELECT {columns} FROM audit_events ORDER BY 1")]  # noqa: S608


def _save(connection: Connection, chance: Random, vault: Vault) -> str:
    """A workflow of random nodes that lead from one to a later one."""
    now = format_timestamp(T0)
    config = {"base_url": "https://example.com"}
    configuration = StoredProviderConfiguration(
        CONFIGURATION_ID, "far side", "", "http", config, "active", {}, 1, now, now
    )
    provider_configurations.insert(connection, configuration)
    nodes, edges = _draw(chance)
    workflow_id = "22222222-0000-7000-8000-000000000001"
    sealed = workflows.seal_nodes(vault, workflow_id, nodes)
    metadata = {"timeoutSeconds": chance.choice([20, 300, 3000])}
    workflow = StoredWorkflow(workflow_id, "w", "", "active", 1, sealed, edges, metadata, now, now)
    workflows.insert(connection, workflow)
    return workflow_id


def _draw(chance: Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    names = "abcdef"[: chance.randint(2, 6)]
    trigger: dict[str, Any] = {"id": "t", "type": "trigger", "data": {}}
    nodes = [trigger, *(_node(name, chance) for name in names)]
    edges: list[dict[str, Any]] = []
    for position, node in enumerate(nodes[1:], 1):
        for source in chance.sample(nodes[:position], k=min(position, chance.randint(1, 2))):
            edge = {"id": f"e{len(edges)}", "source": source["id"], "target": node["id"]}
            edges.append(edge | _handle(source, chance))
    return nodes, edges


def _node(name: str, chance: Random) -> dict[str, Any]:
    kind = chance.choice(["call", "call", "call", "approval", "delay", "log", "conditional"])
    join = {"join": chance.choice(["any", "any", "all"])}
    if kind == "call":
        retry = {"maxAttempts": chance.randint(1, 4), "backoffSeconds": chance.choice([0.1, 2])}
        data = {"executorId": "http.request", "providerConfigId": CONFIGURATION_ID, "retry": retry}
        return {"id": name, "type": "executor", "data": data | join}
    if kind == "conditional":
        condition = f"workflow.number >= {chance.randint(0, 4)}"
        return {"id": name, "type": "conditional", "data": {"condition": condition} | join}
    on_timeout = chance.choice(["fail", "reject"])
    extra: dict[str, dict[str, Any]] = {
        "approval": {"timeoutSeconds": 40, "onTimeout": on_timeout},
        "delay": {"seconds": 9},
    }
    return {"id": name, "type": "action", "data": {"action": kind} | extra.get(kind, {}) | join}


def _handle(source: Mapping[str, Any], chance: Random) -> dict[str, str]:
    if source["type"] == "conditional":
        return {"sourceHandle": chance.choice(["true", "false"])}
    if source["type"] == "executor" and chance.random() < 0.2:
        return {"sourceHandle": "error"}
    return {}
