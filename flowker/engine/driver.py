"""Driving one execution: take in what happened, record it, make the calls that follow, wait, until it ends or waits.

    take in ► what people ask ► admit calls ► record ► start calls ► wait for the next event ► take in …

Nothing goes on before what led to it is recorded, and a call is recorded before it is made.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

import structlog

from flowker.domain.advance import fold
from flowker.domain.errors import ExecutionNotFailed, ExecutionNotFound, FlowkerError, InternalError
from flowker.domain.executions import TERMINAL, Accepted, Event, Run, Status
from flowker.domain.interventions import Intervention, Retry, judge
from flowker.domain.timestamps import format_timestamp
from flowker.domain.workflows import Definition
from flowker.engine.clock import Clock
from flowker.engine.definitions import Definitions
from flowker.engine.lanes import Lanes
from flowker.engine.live import Live, begin_live
from flowker.engine.mailbox import Mailbox
from flowker.engine.records import build_progress, read_recorded
from flowker.engine.steps import Steps, configuration_id
from flowker.storage import executions
from flowker.storage.database import Store

JOURNAL_BYTES_MAX = 16 * 2**20
"""What one execution may keep: sixteen of the largest inputs or answers of a far side."""

LOADING_MAX = 2
"""Executions that are folded from their journals at once. One whose journal is large keeps its place until it waits
for something or ends: its values take many times their bytes of memory, and more at once would be no faster."""

LARGE_BYTES = 64 * 1024

RECORD_RETRY_S = (0.05, 0.2, 1.0, 5.0)
"""Waits between attempts to record an outcome while the store is away; the last one repeats."""

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger("flowker.engine")


class Superseded(Exception):
    """Somebody else wrote this execution's journal: what is in memory is stale."""


class Listener(Protocol):
    """Who wants to hear how far executions are."""

    def ended(self, execution_id: str, status: Status) -> None:
        """The end of an execution was recorded just now."""
        ...

    def found_ended(self, execution_id: str, status: Status) -> None:
        """The end of an execution had been recorded before."""
        ...

    def parked(self, wake_at: str) -> None:
        """An execution waits in the store for a time, which may be the earliest."""
        ...


@dataclass(frozen=True, slots=True)
class Fresh:
    """An execution that was just committed: there is no need to read its journal."""

    accepted: Accepted
    definition: Definition
    input_bytes: int


class Driver:
    """Gives executions their turns; when `stopping`, calls under way may end and no further one starts."""

    def __init__(
        self,
        store: Store,
        definitions: Definitions,
        steps: Steps,
        clock: Clock,
        mailbox: Mailbox,
        lanes: Lanes,
        listener: Listener,
    ) -> None:
        self.stopping = False
        self._store = store
        self._definitions = definitions
        self._steps = steps
        self._clock = clock
        self._mailbox = mailbox
        self._lanes = lanes
        self._listener = listener
        self._loading = asyncio.Semaphore(LOADING_MAX)

    async def take_turn(self, execution_id: str, fresh: Fresh | None) -> None:
        """Drive one execution; whoever asked something of it hears an answer, whatever goes wrong."""
        live: Live | None = None
        place = _Place(self._loading)
        in_line: Mapping[str, str] = {}
        refusal: FlowkerError | None = None
        try:
            live = (
                begin_live(fresh.accepted, fresh.definition, fresh.input_bytes)
                if fresh
                else await self._load_in_turn(execution_id, place)
            )
            if live is not None:
                await self._drive(live, place)
                in_line = live.in_line
        except ExecutionNotFound as error:
            refusal = error
            raise
        finally:
            place.leave()
            for task in live.calls if live else ():
                task.cancel()
            self._lanes.keep_only(execution_id, in_line)
            for asked in live.asked if live else self._mailbox.take(execution_id):
                asked.refuse(refusal or unavailable())

    async def find_failure(self, execution_id: str) -> str | None:
        """Why an execution had failed already before it broke; None when it had not, or when that cannot be told."""
        try:
            live = await self._load(execution_id)
        except InternalError:
            raise
        except Exception:  # noqa: BLE001 - it is broken
            return None
        return live.state.error if live else None

    async def _load_in_turn(self, execution_id: str, place: "_Place") -> Live | None:
        await place.take()
        live = await self._load(execution_id)
        if live is None or live.journal_bytes <= LARGE_BYTES:
            place.leave()
        return live

    async def _load(self, execution_id: str) -> Live | None:
        """Fold an execution from its journal; None when it has ended meanwhile and nobody asks anything of it."""
        recorded = await self._store.read(read_recorded, execution_id)
        row = recorded.row
        if row.status in TERMINAL and not self._mailbox.holds(execution_id):
            self._listener.found_ended(execution_id, row.status)
            return None
        definition = await self._definitions.get(row.workflow_id, row.revision)
        plan = definition.plan(recorded.trigger)
        state = await asyncio.to_thread(fold, plan, recorded.events)
        seen = len(recorded.events), definition.timeout_s, recorded.journal_bytes, row.status in TERMINAL
        return Live(row.id, plan, state, *seen)

    async def _drive(self, live: Live, place: "_Place") -> None:
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
            cut_off = self.stopping and bool(live.ready_calls(now))
            parks = not live.calls and not ready and not cut_off
            if events or (parks and not live.is_end_recorded):
                await self._record(live, events, arrived, parks=parks)
            live.tell_recorded()
            if live.ended or parks or (self.stopping and not live.calls):
                return
            self._start_calls(live, ready)
            place.leave()
            arrived = await self._next_events(live, now)

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
        while not self.stopping:
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
            live.start_call(run, attempt, partial(self._call_ended, live.id, run.node_id))

    def _call_ended(self, execution_id: str, node_id: str) -> None:
        self._lanes.leave(execution_id, node_id)
        self._mailbox.ring(execution_id)

    async def _next_events(self, live: Live, turn: datetime) -> list[Event]:
        """Wait for a call to end, a wait to elapse, the time limit, or somebody who asks something.

        What could go on at the time of the `turn` has gone on, or waits for another process since this one stops.
        """
        if any(call.done() for call in live.calls):
            # Whoever is told of an end hears it first: the place of the call is free then.
            await asyncio.sleep(0)
            return live.collect()
        bell = self._mailbox.bell(live.id)
        if self._lanes.has_place(live.id, live.in_line):
            self._mailbox.ring(live.id)
        wake_at = live.wake_at(format_timestamp(turn))
        seconds = max(0.0, (wake_at - self._clock.now()).total_seconds())
        alarm = self._clock.call_later(seconds, partial(self._mailbox.ring, live.id))
        try:
            await bell
        finally:
            alarm.cancel()
            self._mailbox.silence(live.id)
        return live.collect()

    async def _record(self, live: Live, events: list[Event], call_ends: list[Event], *, parks: bool) -> None:
        """Commit events and what the API tells of the execution; keeps trying while the store is away."""
        wake_at = format_timestamp(self._wake_at(live)) if parks and not live.ended else None
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
            self._listener.ended(live.id, live.state.status)
        elif wake_at is not None:
            self._listener.parked(wake_at)

    def _wake_at(self, live: Live) -> datetime:
        """When a parked execution goes on; who stands in line looks by itself, in case nobody calls it."""
        looks_s = [self._lanes.look_after_s(through) for through in live.in_line.values()]
        return min([live.wake_at(), *(self._clock.now() + timedelta(seconds=look_s) for look_s in looks_s)])


class _Place:
    """A place among those that are loaded, given back once however often it is left."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._is_taken = False

    async def take(self) -> None:
        await self._places.acquire()
        self._is_taken = True

    def leave(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._places.release()


def unavailable() -> InternalError:
    """What somebody hears whose turn does not come: nothing was done, and it can be asked again."""
    return InternalError(headers={"Retry-After": "1"})


def _outgrown() -> str:
    return f"FLK-0504: the outputs of the execution are larger than {JOURNAL_BYTES_MAX // 2**20} MB together"


def _judge(live: Live, intervention: Intervention, at: str) -> Event | None:
    if isinstance(intervention, Retry) and live.journal_bytes > JOURNAL_BYTES_MAX:
        # Each retry adds to the journal: without an end to them the bound would be none.
        raise ExecutionNotFailed("The execution has kept as much as it may: it cannot be continued.")
    return judge(live.plan, live.state, intervention, at)


async def _aside(live: Live, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what may take long in a thread: the event loop has other executions and requests to serve."""
    if live.is_heavy:
        return await asyncio.to_thread(function, *args, **kwargs)
    return function(*args, **kwargs)
