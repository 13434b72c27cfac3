"""The engine in a world that one number decides: time, store, far side, people and crashes.

Everything is the real thing but what reaches outside of the process. The loop's time jumps to the next moment at
which something happens, so hours take milliseconds. The store is a SQLite database in memory whose requests take
time, are refused, or lose their answer after the commit. The far side fails, is away, answers late or never, and
remembers each effect by its idempotency key. Senders repeat what was not answered, and some of what was. Processes
die, or stand still and go on beside the one that took over. The clock jumps, and what has ended is pruned. A seed
gives the same world again.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, NoReturn

import structlog
from sqlalchemy import Connection

from flowker.domain.audit import SYSTEM, Actor
from flowker.domain.errors import ExecutionNotFound, FlowkerError, InternalError
from flowker.domain.executions import Accepted
from flowker.domain.interventions import Cancel, Decide, Intervention, Retry
from flowker.domain.timestamps import format_timestamp
from flowker.domain.workflows import Plan
from flowker.engine.accepting import Accepting, Submission, input_digest
from flowker.engine.definitions import Definitions, compile_aside
from flowker.engine.embedded import EmbeddedEngine
from flowker.engine.records import Recorded, read_recorded
from flowker.engine.steps import Steps
from flowker.engine.tallies import Tallies
from flowker.executors.breaker import Breakers
from flowker.storage import executions, retention, workflows
from flowker.storage.executions import KeySeen
from flowker.storage.vault import KEY_BYTES, Vault
from tests.reliability.memory_database import empty_database, read_trail, transaction
from tests.reliability.simulated_surroundings import (
    T0,
    SimulatedClock,
    SimulatedFarSide,
    SimulatedStore,
    Trouble,
)
from tests.reliability.simulated_workflows import save
from tests.reliability.virtual_time import Process, VirtualLoop, begin_outside, pause

PEOPLE = (Actor("api_key", "ada"), Actor("api_key", "bob"))
TROUBLE_S = 10.0
"""How long a world is in trouble and its processes end; the last one lives on while everything works again."""

LAST_WISHES = 3

UNFINISHED = "SELECT count(*) FROM executions WHERE completed_at IS NULL"

HORIZON_S = 4 * 3600.0


@dataclass
class Delivery:
    """What somebody sends, again and again until it is answered, and sometimes after that."""

    key: str | None
    input: dict[str, int]
    answers: list[str] = field(default_factory=list)
    """The executions that the answers named."""


@dataclass
class World:
    """One store, and the processes that drive it one after another."""

    seed: int
    chance: Random = field(init=False)
    trouble: Trouble = field(init=False)
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    far_side: SimulatedFarSide = field(init=False)
    deliveries: list[Delivery] = field(default_factory=list)
    pruned: dict[str, Recorded] = field(default_factory=dict)
    """What was removed, as it was then."""
    trail: list[tuple[Any, ...]] = field(default_factory=list)
    """The rows of the audit trail in their order."""
    plan: Plan = field(init=False)
    seen: Counter[str] = field(default_factory=Counter)
    """What has happened in the world, and how often."""

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)  # noqa: S311 - a world, no secret
        self.trouble = Trouble(self.chance)
        self.far_side = SimulatedFarSide(self.trouble)
        self._sent = 0
        self._breakers: list[Breakers] = []
        self._ghosts: list[asyncio.Task[None]] = []

    @property
    def acknowledged(self) -> list[str]:
        """Every execution that an answer named."""
        return [execution_id for delivery in self.deliveries for execution_id in delivery.answers]

    def run(self) -> list[Recorded]:
        """What is stored of every execution once the world was well for long enough."""
        loop = VirtualLoop()
        with empty_database() as connection, _seeded(self.seed), _no_errors_told():
            try:
                ended = loop.run_until_complete(asyncio.wait_for(self._live(connection), HORIZON_S))
                self.trail = read_trail(connection)
                return ended
            finally:
                with contextlib.suppress(RuntimeError):
                    _cancel_all(loop)
                loop.close()

    async def _live(self, connection: Connection) -> list[Recorded]:
        self._store = SimulatedStore(connection, self.trouble)
        self._vault = Vault(lambda: [bytes(KEY_BYTES)])
        with transaction(connection):
            workflow_id = save(connection, self.chance, self._vault, format_timestamp(T0))
            self._workflow = workflows.get(connection, workflow_id)
        self._definition = await compile_aside(self._workflow.nodes, self._workflow.edges, self._workflow.metadata)
        self.plan = self._definition.plan("t")
        for mischief in (self._set_clock, self._prune, self._take_far_side_away):
            if self.chance.random() < 0.3:
                _ = begin_outside(mischief())
        while asyncio.get_running_loop().time() < TROUBLE_S:
            await self._be_a_process()
        ended = await self._be_the_last_process()
        self._tell_what_was_seen()
        return ended

    async def _be_a_process(self) -> None:
        """Accept, drive and be intervened in until the process ends in one way or another."""
        process, engine = Process(), self._make_engine()
        _ = process.begin(self._serve(engine))
        await asyncio.sleep(self.chance.expovariate(1 / 8))
        ending = self.chance.choice(["crashes", "crashes", "freezes", "stops"])
        self.seen[ending] += 1
        if ending == "freezes":
            process.freeze()
            self._ghosts.append(begin_outside(self._be_a_ghost(process, engine)))
            return
        if ending == "stops":
            await process.begin(engine.stop())
        await process.die()

    async def _be_a_ghost(self, process: Process, engine: EmbeddedEngine) -> None:
        """Go on after a while, beside whoever took over, until this process hears of it."""
        await asyncio.sleep(self.chance.expovariate(1 / 6))
        process.thaw()
        await asyncio.sleep(self.chance.uniform(0, 2))
        await process.begin(engine.stand_by())
        await process.die()

    async def _be_the_last_process(self) -> list[Recorded]:
        """Begin in trouble, and come to an end of everything without another start."""
        process, engine = Process(), self._make_engine()
        _ = process.begin(self._serve(engine))
        await asyncio.sleep(self.chance.uniform(0, 10))
        self.trouble.over = True
        self.trouble.far_side_away = False
        await asyncio.gather(*self._ghosts)
        accepting = self._accepting(engine)
        for delivery in self.deliveries:
            if not delivery.answers:
                await process.begin(self._send(accepting, delivery))
        for _ in range(LAST_WISHES):
            await asyncio.sleep(self.chance.expovariate(1 / 20))
            if self.acknowledged:
                await process.begin(self._ask(engine, self.chance.choice(self.acknowledged)))
        # From here on nobody helps: a wish would also wake what was forgotten.
        while self._store.connection.exec_driver_sql(UNFINISHED).scalar_one():
            await pause(60)
        await process.begin(engine.stop())
        return self._read_all()

    def _make_engine(self) -> EmbeddedEngine:
        store: Any = self._store
        far_side: Any = self.far_side
        tallies = Tallies()
        breakers = Breakers(asyncio.get_running_loop().time)
        self._breakers.append(breakers)
        definitions = Definitions(store, self._vault)
        steps = Steps(store, self._vault, far_side, self.clock, breakers, tallies)
        return EmbeddedEngine(store, definitions, steps, self.clock, tallies, workers=3, grace_s=1.0, shared=True)

    def _accepting(self, engine: EmbeddedEngine) -> Accepting:
        store: Any = self._store
        return Accepting(store, engine, self.clock, Tallies())

    async def _serve(self, engine: EmbeddedEngine) -> None:
        await engine.start()
        await asyncio.gather(self._be_delivered_to(engine), self._be_intervened_in(engine))

    async def _be_delivered_to(self, engine: EmbeddedEngine) -> None:
        accepting = self._accepting(engine)
        while await self.trouble.stay_until_over(4):
            delivery = self._next_delivery()
            at_once = self.chance.choice([1, 1, 1, 2, 3])
            await asyncio.gather(*(self._send(accepting, delivery) for _ in range(at_once)))

    def _next_delivery(self) -> Delivery:
        """A new one, or one that was sent before."""
        repeatable = [delivery for delivery in self.deliveries if delivery.key or not delivery.answers]
        if repeatable and self.chance.random() < 0.3:
            return self.chance.choice(repeatable)
        number = len(self.deliveries)
        key = f"key-{number}" if self.chance.random() < 0.7 else None
        self.deliveries.append(Delivery(key, {"number": number % 5}))
        return self.deliveries[-1]

    async def _send(self, accepting: Accepting, delivery: Delivery) -> None:
        self._sent += 1
        execution_id = f"00000000-0000-7000-8000-{self._sent:012d}"
        digest = input_digest(delivery.input)
        workflow, definition = self._workflow, self._definition
        submission = Submission(
            workflow.id, workflow.revision, definition, "t", delivery.input, SYSTEM, delivery.key, digest
        )
        with contextlib.suppress(InternalError):
            answer = await accepting.accept(submission, execution_id)
            if isinstance(answer, KeySeen):
                assert answer.input_digest == digest
                self.seen["repeated deliveries"] += 1
            assert isinstance(answer, Accepted | KeySeen)
            delivery.answers.append(answer.execution_id)

    async def _be_intervened_in(self, engine: EmbeddedEngine) -> None:
        while await self.trouble.stay_until_over(6):
            if self.acknowledged:
                await self._ask(engine, self.chance.choice(self.acknowledged))

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

    async def _set_clock(self) -> None:
        while await self.trouble.stay_until_over(6):
            self.clock.ahead_s += self.chance.uniform(-5, 5)
            self.seen["clock set"] += 1

    async def _take_far_side_away(self) -> None:
        while await self.trouble.stay_until_over(10):
            self.trouble.far_side_away = True
            await self.trouble.stay_until_over(10)
            self.trouble.far_side_away = False

    async def _prune(self) -> None:
        """Remove what ended a little while ago, as a process of its own does it."""
        while await self.trouble.stay_until_over(5):
            now = self.clock.now()
            before = format_timestamp(now - timedelta(seconds=self.chance.uniform(0, 10)))
            with contextlib.suppress(InternalError):
                for status in executions.TERMINAL_STATUSES:
                    page = await self._store.read(retention.find_page, status, before, None)
                    ids = [candidate.execution_id for candidate in page]
                    if ids:
                        await self._store.write(self._remove, ids, before, format_timestamp(now))

    def _remove(self, connection: Connection, ids: list[str], before: str, now: str) -> None:
        known = _read_recorded(connection, ids)
        retention.remove(connection, ids, before, now)
        left = {recorded.row.id for recorded in _read_recorded(connection, ids)}
        self.pruned |= {recorded.row.id: recorded for recorded in known if recorded.row.id not in left}

    def _read_all(self) -> list[Recorded]:
        with transaction(self._store.connection):
            ids = self._store.connection.exec_driver_sql("SELECT id FROM executions ORDER BY id")
            return _read_recorded(self._store.connection, [row[0] for row in ids])

    def _tell_what_was_seen(self) -> None:
        self.seen["executions"] = len(set(self.acknowledged))
        self.seen["breakers opened"] = sum(breakers.openings for breakers in self._breakers)
        self.seen["late answers"] = self.far_side.late
        self.seen["pruned"] = len(self.pruned)
        self.seen["writes refused to stale processes"] = self._store.refused_to_stale


def _read_recorded(connection: Connection, ids: Iterable[str]) -> list[Recorded]:
    """Those of the executions that are there."""
    found = []
    for execution_id in ids:
        with contextlib.suppress(ExecutionNotFound):
            found.append(read_recorded(connection, execution_id))
    return found


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The engine spreads its retries by the chance that all modules share."""
    before = random.getstate()
    random.seed(seed)
    yield
    random.setstate(before)


@contextmanager
def _no_errors_told() -> Iterator[None]:
    """Whatever the world does to the service, there is nothing in it that the service calls an error."""
    errors: list[MutableMapping[str, Any]] = []

    def note(_: Any, __: str, event: MutableMapping[str, Any]) -> NoReturn:
        errors.append(event)
        raise structlog.DropEvent

    before = structlog.get_config()
    processors: list[Any] = [structlog.processors.format_exc_info, note]
    structlog.configure(processors=processors, wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)
    assert not errors, "\n".join(str(value) for value in errors[0].values())


def _cancel_all(loop: VirtualLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
