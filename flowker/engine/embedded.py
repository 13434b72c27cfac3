"""The embedded engine: drives every execution of one store in this process.

An execution is in memory only while it makes progress. Everything that must survive is in its journal, and one that
waits is a row with the time to wake it. So a crash at any moment loses nothing: the next start folds each
unfinished journal and goes on with what is open.

    submit, sweep, clock ──► ready queue ──► workers ──► drive: run in place ► record ► call ► wait ► …

What a slow far side makes wait stands in line for a place (`flowker.engine.lanes`) and holds no worker meanwhile.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar

import structlog

from flowker.domain.advance import begin, fold
from flowker.domain.errors import ExecutionNotFailed, ExecutionNotFound, FlowkerError, InternalError
from flowker.domain.executions import TERMINAL, Aborted, Accepted, Event, Run, State, Status
from flowker.domain.interventions import Intervention, Retry, judge
from flowker.domain.timestamps import format_timestamp
from flowker.domain.workflows import Definition
from flowker.engine.clock import Clock
from flowker.engine.definitions import Definitions
from flowker.engine.lanes import Lanes
from flowker.engine.live import Live
from flowker.engine.mailbox import Mailbox
from flowker.engine.records import build_abortion, build_progress, read_extent, read_recorded
from flowker.engine.steps import Steps, configuration_id
from flowker.engine.tallies import Tallies
from flowker.engine.wakeups import Wakeups
from flowker.storage import executions
from flowker.storage.database import Store

READY_MAX = 2_000
"""Executions that wait for a worker in memory; further ones wait in the store and are swept up."""

INPUT_KEPT_BYTES_MAX = 64 * 1024
"""A larger input waits for its worker in the store, so that the ready queue cannot fill the memory."""

JOURNAL_BYTES_MAX = 16 * 2**20
"""What one execution may keep: sixteen of the largest inputs or answers of a far side."""

RECORD_RETRY_S = (0.05, 0.2, 1.0, 5.0)
"""Waits between attempts to record an outcome while the store is away; the last one repeats."""

INTERVENTION_WAIT_S = 10.0
"""How long somebody who asks something of an execution waits for its turn."""

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger("flowker.engine")


class Superseded(Exception):
    """Somebody else wrote this execution's journal: what is in memory is stale."""


class EmbeddedEngine:
    """Durable execution in one process."""

    def __init__(
        self,
        store: Store,
        definitions: Definitions,
        steps: Steps,
        clock: Clock,
        tallies: Tallies,
        *,
        workers: int,
        grace_s: float,
    ) -> None:
        self._store = store
        self._definitions = definitions
        self._steps = steps
        self._clock = clock
        self._tallies = tallies
        self._workers_max = workers
        self._grace_s = grace_s
        self._wakeups = Wakeups(store, clock, self._take_up)
        self._ready: asyncio.Queue[_Entry | None] = asyncio.Queue(READY_MAX)
        self._held: set[str] = set()
        self._finished: dict[str, asyncio.Future[Status]] = {}
        self._mailbox = Mailbox()
        self._lanes = Lanes(workers, self._wake)
        self._called: asyncio.Queue[str] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Start the workers, and take up every unfinished execution of the store."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._workers_max)]
        self._keepers = [*self._wakeups.start(), asyncio.create_task(self._call_up())]

    async def stop(self) -> None:
        """Stop at a step boundary: calls in flight may end within the grace time, nothing new starts."""
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        releasing = asyncio.create_task(self._release_workers())
        tasks = [*self._keepers, *self._workers, releasing]
        _, late = await asyncio.wait(tasks, timeout=self._grace_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._mailbox.refuse_all(_unavailable())

    @property
    def alive(self) -> bool:
        """Whether every task that must never end is running."""
        tasks = [*self._keepers, *self._workers]
        return bool(tasks) and not self._stopping and not any(task.done() for task in tasks)

    @property
    def ready_depth(self) -> int:
        """Executions in memory that wait for a worker."""
        return self._ready.qsize()

    @property
    def calls_in_line(self) -> int:
        """Calls that wait until others through the same configuration have ended."""
        return self._lanes.in_line

    def submit(self, accepted: Accepted, definition: Definition, input_bytes: int) -> None:
        """Take up an execution that was just committed; without room for it the store keeps it for the sweep.

        Raises nothing, and leaves even the first step to a worker: who was accepted must not be answered otherwise.
        """
        if accepted.execution_id in self._held:
            return
        if self._ready.full():
            self._wakeups.left_in_store()
            return
        fresh = _Fresh(accepted, definition, input_bytes) if input_bytes <= INPUT_KEPT_BYTES_MAX else None
        self._ready.put_nowait(_Entry(accepted.execution_id, fresh))
        self._held.add(accepted.execution_id)

    def unsure(self) -> None:
        """An acceptance failed in a way that may have committed it: then it is driven like any other."""
        self._wakeups.unsure()

    def expect(self, execution_id: str) -> asyncio.Future[Status]:
        """A future of the terminal status; ask before the execution is submitted, and `forget` afterwards."""
        future: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        self._finished[execution_id] = future
        return future

    def forget(self, execution_id: str) -> None:
        self._finished.pop(execution_id, None)

    async def intervene(self, execution_id: str, intervention: Intervention) -> State:
        """The state that an intervention led to, once that is committed.

        Raises ExecutionNotFound, a refusal of the intervention, or InternalError when its turn does not come.
        """
        if self._stopping:
            raise _unavailable()
        asked = self._mailbox.put(execution_id, intervention)
        if execution_id not in self._held:
            if self._ready.full():
                self._mailbox.withdraw(execution_id, asked)
                raise _unavailable()
            self._held.add(execution_id)
            self._ready.put_nowait(_Entry(execution_id))
        done, _ = await asyncio.wait([asked.answer], timeout=INTERVENTION_WAIT_S)
        if done:
            return asked.answer.result()
        if self._mailbox.withdraw(execution_id, asked):
            raise _unavailable()
        raise InternalError("The execution is busy: whether this was recorded is not known yet. Ask again.")

    async def _release_workers(self) -> None:
        for _ in self._workers:
            await self._ready.put(None)

    async def _take_up(self, execution_id: str) -> None:
        if execution_id not in self._held:
            self._held.add(execution_id)
            await self._ready.put(_Entry(execution_id))

    def _wake(self, execution_id: str) -> None:
        """A place is kept for a call of this execution, which may be driven or wait in line as a row."""
        self._mailbox.ring(execution_id)
        self._called.put_nowait(execution_id)

    async def _call_up(self) -> None:
        while True:
            await self._take_up(await self._called.get())

    async def _work(self) -> None:
        while (entry := await self._ready.get()) is not None:
            if not self._stopping:
                await self._run(entry.execution_id, entry.fresh)
            # What was asked, or whose turn it became, while the last turn was being recorded.
            while self._is_called(entry.execution_id) and not self._stopping:
                await self._run(entry.execution_id, None)
            self._held.discard(entry.execution_id)

    def _is_called(self, execution_id: str) -> bool:
        return self._mailbox.holds(execution_id) or self._lanes.has_place(execution_id)

    async def _run(self, execution_id: str, fresh: "_Fresh | None") -> None:
        """Drive one execution; whatever goes wrong with it stays with it."""
        try:
            await self._take_turn(execution_id, fresh)
        except (Superseded, InternalError) as error:
            await self._leave(execution_id, type(error).__name__)
        except ExecutionNotFound:
            log.warning("execution vanished", execution_id=execution_id)
        except Exception:
            log.exception("execution broke", execution_id=execution_id)
            await self._break(execution_id)

    async def _take_turn(self, execution_id: str, fresh: "_Fresh | None") -> None:
        """Drive one execution; whoever asked something of it hears an answer, whatever goes wrong."""
        live: Live | None = None
        in_line: Mapping[str, str] = {}
        refusal: FlowkerError = _unavailable()
        try:
            live = _begin(fresh) if fresh else await self._load(execution_id)
            if live is not None:
                await self._drive(live)
                in_line = live.in_line
        except ExecutionNotFound as error:
            refusal = error
            raise
        finally:
            for task in live.calls if live else ():
                task.cancel()
            self._lanes.keep_only(execution_id, in_line)
            for asked in live.asked if live else self._mailbox.take(execution_id):
                asked.refuse(refusal)

    async def _leave(self, execution_id: str, reason: str) -> None:
        """Leave an execution to the sweep, after a pause: it may be left for the same reason again."""
        log.warning("execution left to the sweep", execution_id=execution_id, reason=reason)
        await self._clock.sleep(RECORD_RETRY_S[1])
        self._wakeups.left_in_store()

    async def _load(self, execution_id: str) -> Live | None:
        """Fold an execution from its journal; None when it has ended meanwhile and nobody asks anything of it."""
        recorded = await self._store.read(read_recorded, execution_id)
        row = recorded.row
        if row.status in TERMINAL and not self._mailbox.holds(execution_id):
            self._tell(execution_id, row.status)
            return None
        definition = await self._definitions.get(row.workflow_id, row.revision)
        plan = definition.plan(recorded.trigger)
        state = await asyncio.to_thread(fold, plan, recorded.events)
        seen = len(recorded.events), definition.timeout_s, recorded.journal_bytes, row.status in TERMINAL
        return Live(row.id, plan, state, *seen)

    async def _drive(self, live: Live) -> None:
        """Go on until the execution ends or only waits."""
        arrived: list[Event] = []
        while True:
            now = self._clock.now()
            events = await _aside(live, live.take_in, arrived, now, self._clock.now)
            events += await self._take_in_asked(live, now)
            ready, held_off = await self._admit(live, now)
            events += held_off
            if ready:
                events.append(live.announce_calls(ready, format_timestamp(now)))
            cut_off = self._stopping and bool(live.ready_calls(now))
            parks = not live.calls and not ready and not cut_off
            if events or (parks and not live.is_end_recorded):
                await self._record(live, events, arrived, parks=parks)
            live.answer_asked()
            if live.ended:
                self._tell(live.id, live.state.status)
            if live.ended or parks or (self._stopping and not live.calls):
                return
            self._start_calls(live, ready)
            arrived = await self._next_events(live)

    async def _take_in_asked(self, live: Live, now: datetime) -> list[Event]:
        """Advance by what people ask of the execution; who is refused hears it at once.

        An end is recorded before anything is asked of it: what follows waits for the next turn.
        """
        events: list[Event] = []
        while (not live.ended or live.is_end_recorded) and (asked := self._mailbox.take_next(live.id)):
            try:
                event = _judge(live, asked.intervention, format_timestamp(now))
            except FlowkerError as refusal:
                asked.refuse(refusal)
                continue
            live.asked.append(asked)
            if event is not None:
                events += await _aside(live, live.take_in, [event], now, self._clock.now)
        return events

    async def _admit(self, live: Live, now: datetime) -> tuple[list[Run], list[Event]]:
        """The calls to make now, and what became of those whose far side is left alone for a while.

        The place comes first: the probe of a circuit breaker must not stand in line.
        """
        ready: list[Run] = []
        events: list[Event] = []
        while not self._stopping:
            live.in_line = {}
            ready = [run for run in live.ready_calls(now) if self._has_place(live, run)]
            held_off = [
                event
                for run in ready
                if (event := self._steps.hold_off(live.plan.nodes[run.node_id], run)) is not None
            ]
            if not held_off:
                break
            events += await _aside(live, live.take_in, held_off, now, self._clock.now)
        self._lanes.keep_only(live.id, live.under_way() | {run.node_id for run in ready} | live.in_line.keys())
        return ready, events

    def _has_place(self, live: Live, run: Run) -> bool:
        """Whether a call has a place; if not, it stands in line for one."""
        through = configuration_id(live.plan.nodes[run.node_id])
        if self._lanes.admit(live.id, run.node_id, through):
            return True
        live.in_line[run.node_id] = through
        return False

    def _start_calls(self, live: Live, ready: list[Run]) -> None:
        for run in ready:
            attempt = self._steps.call(live.id, live.plan.nodes[run.node_id], run, live.context_of(run))
            live.start_call(run, attempt, partial(self._lanes.leave, live.id, run.node_id))

    async def _next_events(self, live: Live) -> list[Event]:
        """Wait for a call to end, a wait to elapse, the time limit, or somebody who asks something."""
        seconds = max(0.0, (live.wake_at() - self._clock.now()).total_seconds())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        bell = self._mailbox.bell(live.id)
        if self._lanes.has_place(live.id, live.in_line):
            self._mailbox.ring(live.id)
        try:
            waits: list[asyncio.Future[Any]] = [timer, bell, *live.calls]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            self._mailbox.silence(live.id)
        return live.collect()

    async def _record(self, live: Live, events: list[Event], call_ends: list[Event], *, parks: bool) -> None:
        """Commit events and what the API tells of the execution; keeps trying while the store is away."""
        wake_at = format_timestamp(self._wake_at(live)) if parks else None
        now = format_timestamp(self._clock.now())
        build = partial(build_progress, first_seq=live.next_seq, now=now, wake_at=wake_at, call_ends=call_ends)
        progress = await _aside(live, build, live.id, live.plan.nodes, live.state, events)
        if live.journal_bytes + progress.size_bytes > JOURNAL_BYTES_MAX:
            events = live.outgrow(events, now, _outgrown())
            progress = build(live.id, live.plan.nodes, live.state, events)
        attempt = 0
        while True:
            try:
                recorded = await self._store.write_together(executions.record, progress)
                break
            except InternalError:
                log.warning("outcome not recorded yet", execution_id=live.id, attempt=attempt + 1)
                await self._clock.sleep(RECORD_RETRY_S[min(attempt, len(RECORD_RETRY_S) - 1)])
                attempt += 1
        if not recorded:
            raise Superseded
        live.next_seq += len(progress.events)
        live.journal_bytes += progress.size_bytes
        live.recorded, live.is_end_recorded = live.state, live.ended
        if live.ended:
            self._tallies.ended[live.state.status] += 1
        elif parks:
            self._wakeups.wake_changed()

    def _wake_at(self, live: Live) -> datetime:
        """When a parked execution goes on; who stands in line looks by itself, in case nobody calls it."""
        looks_s = [self._lanes.look_after_s(through) for through in live.in_line.values()]
        return min([live.wake_at(), *(self._clock.now() + timedelta(seconds=look_s) for look_s in looks_s)])

    async def _break(self, execution_id: str) -> None:
        """End an execution that cannot be driven, alone and for good; its story is in the log."""
        try:
            steps_done, entries = await self._store.read(read_extent, execution_id)
            aborted = Aborted(format_timestamp(self._clock.now()), "FLK-9999: the execution cannot be continued")
            progress = build_abortion(execution_id, aborted, first_seq=entries, steps_done=steps_done)
            recorded = await self._store.write_together(executions.record, progress)
            if recorded:
                self._tallies.ended["failed"] += 1
                self._tell(execution_id, "failed")
        except InternalError as error:
            await self._leave(execution_id, type(error).__name__)
        except Exception:
            log.exception("execution left as it is", execution_id=execution_id)

    def _tell(self, execution_id: str, status: Status) -> None:
        future = self._finished.pop(execution_id, None)
        if future is not None and not future.done():
            future.set_result(status)


@dataclass(frozen=True, slots=True)
class _Fresh:
    """An execution that was just committed: there is no need to read its journal."""

    accepted: Accepted
    definition: Definition
    input_bytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """One execution in the ready queue."""

    execution_id: str
    fresh: _Fresh | None = None


def _begin(fresh: _Fresh) -> Live:
    accepted, definition = fresh.accepted, fresh.definition
    plan = definition.plan(accepted.trigger)
    return Live(accepted.execution_id, plan, begin(plan, accepted), 1, definition.timeout_s, fresh.input_bytes)


def _outgrown() -> str:
    return f"FLK-0504: the outputs of the execution are larger than {JOURNAL_BYTES_MAX // 2**20} MB together"


def _judge(live: Live, intervention: Intervention, at: str) -> Event | None:
    if isinstance(intervention, Retry) and live.journal_bytes > JOURNAL_BYTES_MAX:
        # Each retry adds to the journal: without an end to them the bound would be none.
        raise ExecutionNotFailed("The execution has kept as much as it may: it cannot be continued.")
    return judge(live.plan, live.state, intervention, at)


def _unavailable() -> InternalError:
    return InternalError(headers={"Retry-After": "1"})


async def _aside(live: Live, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what may take long in a thread: the event loop has other executions and requests to serve."""
    if live.is_heavy:
        return await asyncio.to_thread(function, *args, **kwargs)
    return function(*args, **kwargs)
