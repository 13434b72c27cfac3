"""The embedded engine: drives every execution of one store in this process.

An execution is in memory only while it makes progress. Everything that must survive is in its journal; one that
waits is a row with the time to wake it. So a crash at any moment loses nothing: the next start folds each
unfinished journal and goes on with what is open.

    submit / sweep / timer ──► ready queue ──► workers ──► drive: run in place ► record ► call ► …
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from flowker.domain.advance import advance, begin, fold
from flowker.domain.errors import ExecutionNotFound, FlowkerError, InternalError
from flowker.domain.executions import (
    TERMINAL,
    Aborted,
    Accepted,
    Event,
    Outcome,
    Postponed,
    Run,
    Settled,
    State,
    Status,
)
from flowker.domain.timestamps import format_timestamp, parse_timestamp
from flowker.domain.workflows import Definition, Plan
from flowker.engine.clock import Clock
from flowker.engine.definitions import Definitions
from flowker.engine.records import build_abortion, build_progress, read_recorded
from flowker.engine.steps import Steps, is_call, run_in_place
from flowker.storage import executions
from flowker.storage.database import Connection, Store

READY_MAX = 2_000
"""Executions that wait for a worker in memory; further ones wait in the store and are swept up."""

INPUT_KEPT_BYTES_MAX = 64 * 1024
"""A larger input waits for its worker in the store, so that the ready queue cannot fill the memory."""

SWEEP_PAGE = 500
DUE_PAGE = 200

TIMER_POLL_MAX_S = 5.0
"""The longest time between two looks at the store for executions that are due."""

RECORD_RETRY_S = (0.05, 0.2, 1.0, 5.0)
"""Waits between attempts to record an outcome while the store is away; the last one repeats."""

log = structlog.get_logger("flowker.engine")


class Superseded(Exception):
    """Somebody else wrote this execution's journal: what is in memory is stale."""


@dataclass(slots=True)
class Live:
    """An execution that is in memory."""

    id: str
    plan: Plan
    state: State
    next_seq: int
    deadline: datetime
    timeout_s: int
    calls: dict[asyncio.Task[Event], Run] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        self.state, _ = advance(self.plan, self.state, event)

    def ready(self, now: datetime) -> list[Run]:
        """The open runs whose time has come and which are not being made."""
        text = format_timestamp(now)
        being_made = {run.node_id for run in self.calls.values()}
        return [
            run
            for run in self.state.open.values()
            if run.node_id not in being_made and (run.not_before is None or run.not_before <= text)
        ]

    def wake_at(self) -> datetime:
        """When the next wait ends, at the latest the time limit."""
        waits = [parse_timestamp(run.not_before) for run in self.state.open.values() if run.not_before]
        return min([*waits, self.deadline])


class EmbeddedEngine:
    """Durable execution in one process."""

    def __init__(
        self, store: Store, definitions: Definitions, steps: Steps, clock: Clock, *, workers: int, grace_s: float
    ) -> None:
        self._store = store
        self._definitions = definitions
        self._steps = steps
        self._clock = clock
        self._workers_max = workers
        self._grace_s = grace_s
        self._ready: asyncio.Queue[Live | str | None] = asyncio.Queue(READY_MAX)
        self._held: set[str] = set()
        self._finished: dict[str, list[asyncio.Future[Status]]] = {}
        self._left_in_store = asyncio.Event()
        self._earlier_wake = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Start the workers and take up every unfinished execution of the store."""
        self._left_in_store.set()
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._workers_max)]
        self._keepers = [asyncio.create_task(self._sweep()), asyncio.create_task(self._keep_time())]

    async def stop(self) -> None:
        """Stop at a step boundary: calls in flight may end within the grace time, nothing new starts."""
        self._stopping = True
        for task in self._keepers:
            task.cancel()
        for task in self._workers:
            if self._ready.full():
                self._ready.get_nowait()
            self._ready.put_nowait(None)
        tasks = [*self._keepers, *self._workers]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def alive(self) -> bool:
        """Whether the tasks that must never end are running."""
        tasks = [*self._keepers, *self._workers]
        return bool(tasks) and not self._stopping and not any(task.done() for task in tasks)

    def submit(self, accepted: Accepted, definition: Definition, input_bytes: int) -> None:
        """Take up an execution that was just committed."""
        if accepted.execution_id in self._held:
            return
        entry: Live | str = accepted.execution_id
        if input_bytes <= INPUT_KEPT_BYTES_MAX and not self._ready.full():
            plan = definition.plan(accepted.trigger)
            deadline = parse_timestamp(accepted.started_at) + timedelta(seconds=definition.timeout_s)
            entry = Live(accepted.execution_id, plan, begin(plan, accepted), 1, deadline, definition.timeout_s)
        try:
            self._ready.put_nowait(entry)
            self._held.add(accepted.execution_id)
        except asyncio.QueueFull:
            self._left_in_store.set()

    def expect(self, execution_id: str) -> asyncio.Future[Status]:
        """A future of the terminal status; ask before the execution is submitted."""
        future: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        self._finished.setdefault(execution_id, []).append(future)
        return future

    def forget(self, execution_id: str) -> None:
        """Nobody waits for this execution any longer."""
        self._finished.pop(execution_id, None)

    async def _work(self) -> None:
        while (entry := await self._ready.get()) is not None and not self._stopping:
            execution_id = entry if isinstance(entry, str) else entry.id
            try:
                await self._run(entry)
            finally:
                self._held.discard(execution_id)

    async def _run(self, entry: Live | str) -> None:
        """Drive one execution; whatever goes wrong with it stays with it."""
        execution_id = entry if isinstance(entry, str) else entry.id
        live: Live | None = None
        try:
            live = await self._load(entry) if isinstance(entry, str) else entry
            if live is not None:
                await self._drive(live)
        except Superseded:
            log.warning("execution superseded", execution_id=execution_id)
            self._left_in_store.set()
        except (InternalError, ExecutionNotFound) as error:
            log.warning("execution not loaded", execution_id=execution_id, code=error.code)
            await self._clock.sleep(RECORD_RETRY_S[1])
            self._left_in_store.set()
        except Exception:
            log.exception("execution broke", execution_id=execution_id)
            await self._break(execution_id)
        finally:
            for task in live.calls if live else ():
                task.cancel()

    async def _load(self, execution_id: str) -> Live | None:
        """Fold an execution from its journal; None when it has ended meanwhile."""
        recorded = await self._store.read(read_recorded, execution_id)
        row = recorded.row
        if row.status in TERMINAL:
            self._tell(execution_id, row.status)
            return None
        definition = await self._definitions.get(row.workflow_id, row.revision)
        plan = definition.plan(recorded.trigger)
        state = fold(plan, recorded.events)
        return Live(row.id, plan, state, len(recorded.events), parse_timestamp(row.deadline_at), definition.timeout_s)

    async def _drive(self, live: Live) -> None:
        """Go on until the execution ends or only waits."""
        arrived: list[Event] = []
        while True:
            events = self._take_in(live, arrived)
            calls = (
                [] if self._stopping else [run for run in live.ready(self._clock.now()) if self._calls_out(live, run)]
            )
            parks = not calls and not live.calls
            if events or parks:
                await self._record(live, events, parks=parks)
            if live.state.status in TERMINAL:
                self._tell(live.id, live.state.status)
                return
            for run in calls:
                node = live.plan.nodes[run.node_id]
                call = self._steps.call(live.id, node, run, live.state.context)
                live.calls[asyncio.create_task(call)] = run
            if not live.calls:
                return
            arrived = await self._next_events(live)

    def _take_in(self, live: Live, arrived: Iterable[Event]) -> list[Event]:
        """Advance by what arrived and by every built-in node that this makes ready; the events to record."""
        now = self._clock.now()
        events = list(arrived)
        for event in events:
            live.take(event)
        if now >= live.deadline and live.state.status not in TERMINAL:
            reached = f"FLK-0503: the execution reached its time limit of {live.timeout_s} s"
            events.append(Aborted(format_timestamp(now), reached))
            live.take(events[-1])
        while live.state.status not in TERMINAL:
            results = self._run_ready_in_place(live, now)
            if not results:
                break
            events += results
        return _merge_settled(events)

    def _run_ready_in_place(self, live: Live, now: datetime) -> list[Event]:
        ready = [run for run in live.ready(now) if not self._calls_out(live, run)]
        results = [run_in_place(live.plan.nodes[run.node_id], run, live.state.context, now) for run in ready]
        outcomes = tuple(result for result in results if isinstance(result, Outcome))
        events: list[Event] = [result for result in results if isinstance(result, Postponed)]
        if outcomes:
            events.append(Settled(format_timestamp(now), outcomes))
        for event in events:
            live.take(event)
        return events

    @staticmethod
    def _calls_out(live: Live, run: Run) -> bool:
        return is_call(live.plan.nodes[run.node_id])

    async def _next_events(self, live: Live) -> list[Event]:
        """Wait for a call to end, a wait to elapse or the time limit; the events of the calls that ended."""
        seconds = max(0.0, (live.wake_at() - self._clock.now()).total_seconds())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            done, _ = await asyncio.wait([timer, *live.calls], return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        ended = [task for task in live.calls if task in done]
        for task in ended:
            del live.calls[task]
        return [task.result() for task in ended]

    async def _record(self, live: Live, events: list[Event], *, parks: bool) -> None:
        """Commit events and what the API tells of the execution; keeps trying while the store is away."""
        wake_at = format_timestamp(live.wake_at()) if parks else None
        now = format_timestamp(self._clock.now())
        progress = build_progress(live.id, live.state, events, first_seq=live.next_seq, now=now, wake_at=wake_at)
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
        live.next_seq += len(events)
        if wake_at is not None and live.state.status not in TERMINAL:
            self._earlier_wake.set()

    async def _break(self, execution_id: str) -> None:
        """End an execution that cannot be driven, alone and for good; its story is in the log."""
        try:
            recorded = await self._store.read(read_recorded, execution_id)
            aborted = Aborted(format_timestamp(self._clock.now()), "FLK-9999: the execution cannot be continued")
            steps_done = recorded.row.current_step_number
            progress = build_abortion(execution_id, aborted, first_seq=len(recorded.events), steps_done=steps_done)
            await self._store.write_together(executions.record, progress)
        except FlowkerError as error:
            log.warning("execution left as it is", execution_id=execution_id, code=error.code)
        else:
            self._tell(execution_id, "failed")

    def _tell(self, execution_id: str, status: Status) -> None:
        for future in self._finished.pop(execution_id, ()):
            if not future.done():
                future.set_result(status)

    async def _sweep(self) -> None:
        """Take up executions that are unfinished and in nobody's hands: at start, and after the queue was full."""
        while True:
            await self._left_in_store.wait()
            self._left_in_store.clear()
            try:
                await self._sweep_once()
            except InternalError:
                self._left_in_store.set()
                await self._clock.sleep(RECORD_RETRY_S[-1])

    async def _sweep_once(self) -> None:
        after_id = ""
        while rows := await self._store.read(_unfinished_ids, after_id):
            for execution_id in rows:
                await self._take_up(execution_id)
            after_id = rows[-1]

    async def _take_up(self, execution_id: str) -> None:
        if execution_id not in self._held:
            self._held.add(execution_id)
            await self._ready.put(execution_id)

    async def _keep_time(self) -> None:
        """Wake the executions whose time has come."""
        while True:
            self._earlier_wake.clear()
            try:
                seconds = await self._wake_due()
            except InternalError:
                seconds = RECORD_RETRY_S[-1]
            sleep = asyncio.ensure_future(self._clock.sleep(seconds))
            earlier = asyncio.ensure_future(self._earlier_wake.wait())
            try:
                await asyncio.wait([sleep, earlier], return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
                earlier.cancel()

    async def _wake_due(self) -> float:
        """Take up what is due; the seconds until the next is."""
        while True:
            next_wake = await self._store.read(executions.next_wake)
            now = self._clock.now()
            if next_wake is None:
                return TIMER_POLL_MAX_S
            seconds = (parse_timestamp(next_wake) - now).total_seconds()
            if seconds > 0:
                return min(seconds, TIMER_POLL_MAX_S)
            for execution_id in await self._store.write(executions.claim_due, format_timestamp(now), DUE_PAGE):
                await self._take_up(execution_id)


def _unfinished_ids(connection: Connection, after_id: str) -> list[str]:
    return [row.id for row in executions.unfinished(connection, after_id=after_id, limit=SWEEP_PAGE)]


def _merge_settled(events: list[Event]) -> list[Event]:
    """Join outcomes that follow each other at the same time: one journal entry per wave."""
    merged: list[Event] = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, Settled) and isinstance(last, Settled) and last.at == event.at:
            merged[-1] = Settled(last.at, last.outcomes + event.outcomes)
        else:
            merged.append(event)
    return merged
