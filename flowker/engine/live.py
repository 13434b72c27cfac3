"""An execution while it is in memory: its state, what it can do next, and the calls that are being made for it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from flowker.domain.actions import LogAction
from flowker.domain.advance import advance, apply, begin, is_limited
from flowker.domain.contexts import context_of
from flowker.domain.errors import InternalError
from flowker.domain.executions import (
    TERMINAL,
    Aborted,
    Accepted,
    Cancelled,
    Decided,
    Event,
    Outcome,
    Postponed,
    Reopened,
    Run,
    Settled,
    Started,
    State,
)
from flowker.domain.timestamps import format_timestamp, parse_timestamp
from flowker.domain.workflows import Definition, Plan
from flowker.engine.mailbox import Asked
from flowker.engine.steps import run_in_place

HEAVY_BYTES = 16 * 1024
HEAVY_NODES = 30
"""Up to here a turn takes a millisecond or two, whatever its conditions and templates are."""

NEVER = datetime.max.replace(tzinfo=UTC)

log = structlog.get_logger("flowker.engine")


@dataclass(slots=True)
class Live:
    """`next_seq` is the number of the next journal event, `calls` are the attempts that are under way.

    `journal_bytes`, the state `recorded` and whether its end is recorded tell what the store has of it. `asked` is
    what people asked of it and hear when it is recorded, `logs` are the levels and nodes of the lines that the log
    gets then. `in_line` are the nodes whose calls wait for a place, and the configurations that they go through.
    """

    id: str
    plan: Plan
    state: State
    next_seq: int
    timeout_s: int
    journal_bytes: int = 0
    is_end_recorded: bool = False
    in_line: dict[str, str] = field(default_factory=dict)
    calls: dict[asyncio.Task[Event], Run] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    logs: list[tuple[str, str]] = field(default_factory=list)
    recorded: State = field(init=False)

    def __post_init__(self) -> None:
        self.recorded = self.state

    @property
    def ended(self) -> bool:
        return self.state.status in TERMINAL

    @property
    def deadline(self) -> datetime:
        """When its time is over; the end of time while somebody is asked for a decision."""
        if not is_limited(self.plan, self.state):
            return NEVER
        return parse_timestamp(self.state.limited_from) + timedelta(seconds=self.timeout_s)

    @property
    def is_heavy(self) -> bool:
        """Whether a turn may take longer than an event loop should stand still."""
        return self.journal_bytes > HEAVY_BYTES or len(self.plan.nodes) > HEAVY_NODES

    def take_in(
        self, arrived: Iterable[Event], now: datetime, read_clock: Callable[[], datetime] | None = None
    ) -> list[Event]:
        """Advance by what arrived and by every built-in node that becomes ready; the events to record.

        The time limit is looked at before every wave, with `read_clock` if it is given: evaluating takes time too.
        """
        # Calls that are under way see the state as it was when they began.
        self.state = self.state.copy()
        events = list(arrived)
        for event in events:
            apply(self.plan, self.state, event)
        at = format_timestamp(now)
        while not self.ended and (
            results := self._time_out(read_clock() if read_clock else now) or self._run_in_place(now, at)
        ):
            events += results
        if self.state.error is not None and not self.ended and not any(map(self.state.has_begun, self.state.open)):
            events.append(self._give_up(at))
        return _merge_settled(events)

    def ready_calls(self, now: datetime) -> list[Run]:
        """The attempts to make now that reach outside; after a failure, only of nodes that have begun."""
        if not self.state.open:
            return []
        ready = [run for run in self._ready(format_timestamp(now)) if run.node_id in self.plan.calls]
        return ready if self.state.error is None else [run for run in ready if self.state.has_begun(run.node_id)]

    def announce_calls(self, ready: Iterable[Run], at: str) -> Event:
        """The event that these calls are about to be made."""
        event = Started(at, tuple((run.node_id, run.attempt) for run in ready))
        self._advance(event)
        return event

    def context_of(self, run: Run) -> Mapping[str, Any]:
        """What a call that was announced sees."""
        return context_of(self.plan, self.state, run.node_id)

    def start_call(self, run: Run, attempt: Coroutine[Any, Any, Event], ended: Callable[[], None]) -> None:
        """`ended` is told as soon as the attempt is over, in whatever way."""
        task = asyncio.create_task(attempt)
        task.add_done_callback(lambda _: ended())
        self.calls[task] = run

    def under_way(self) -> set[str]:
        return {run.node_id for run in self.calls.values()}

    def wake_at(self, after: str = "") -> datetime:
        """When the next wait that ends `after` a time ends, at the latest the time limit.

        Who stands in line waits for no time any more.
        """
        under_way = self.under_way()
        waits = [
            parse_timestamp(run.not_before)
            for run in self.state.open.values()
            if run.not_before
            and run.not_before > after
            and run.node_id not in under_way
            and run.node_id not in self.in_line
        ]
        return min([*waits, self.deadline])

    def collect(self) -> list[Event]:
        """The events of the calls that ended; they are no longer under way."""
        ended = [task for task in self.calls if task.done()]
        for task in ended:
            del self.calls[task]
        return [_event_of(task) for task in ended]

    def outgrow(self, events: Iterable[Event], at: str, error: str) -> list[Event]:
        """End what produces more than it may keep: of what is not recorded, only what people said stays."""
        kept: list[Event] = [event for event in events if isinstance(event, Cancelled | Decided | Reopened)]
        kept.append(Aborted(at, error))
        self.state = self.recorded
        for event in kept:
            self._advance(event)
        return kept

    def tell_recorded(self) -> None:
        """Everything so far is recorded: everybody who asked something hears what it led to, and `log` actions log.

        Their lines name the place; the message may hold customers' data and stays in the output.
        """
        for level, node_id in self.logs:
            getattr(log, level)("workflow logged", execution_id=self.id, node_id=node_id)
        self.logs.clear()
        for asked in self.asked:
            asked.accept(self.state)
        self.asked.clear()

    def _advance(self, event: Event) -> None:
        self.state, _ = advance(self.plan, self.state, event)

    def _time_out(self, now: datetime) -> list[Event]:
        """The end of the execution if its time is over."""
        if now < self.deadline:
            return []
        event = Aborted(
            format_timestamp(now), f"FLK-0503: the execution reached its time limit of {self.timeout_s} s"
        )
        apply(self.plan, self.state, event)
        return [event]

    def _give_up(self, at: str) -> Event:
        """Nothing is under way any more in an execution that failed: what was ready and never began is given up."""
        event = Aborted(at, self.state.error or "")
        apply(self.plan, self.state, event)
        return event

    def _run_in_place(self, now: datetime, at: str) -> list[Event]:
        """Run the built-in nodes that are ready: one wave. `at` is the text of `now`."""
        ready = [run for run in self._ready(at) if run.node_id not in self.plan.calls]
        # An output may be everything that its node sees, which must not come to hold the output.
        seen = dict(self.state.context)
        results = [run_in_place(self.plan.nodes[run.node_id], run, seen, now, at) for run in ready]
        events: list[Event] = [result for result in results if isinstance(result, Postponed)]
        if outcomes := tuple(result for result in results if isinstance(result, Outcome)):
            events.append(Settled(at, outcomes))
        for event in events:
            apply(self.plan, self.state, event)
        for run in ready:
            behaviour = self.plan.nodes[run.node_id].behaviour
            if isinstance(behaviour, LogAction):
                self.logs.append((behaviour.level, run.node_id))
        return events

    def _ready(self, at: str) -> list[Run]:
        """The open runs whose time has come and which are not under way."""
        under_way = self.under_way()
        return [
            run
            for run in self.state.open.values()
            if run.node_id not in under_way and (run.not_before is None or run.not_before <= at)
        ]


def begin_live(accepted: Accepted, definition: Definition, input_bytes: int) -> Live:
    """An execution of which nothing is recorded but that it was accepted, or is about to be."""
    plan = definition.plan(accepted.trigger)
    return Live(accepted.execution_id, plan, begin(plan, accepted), 1, definition.timeout_s, input_bytes)


def _event_of(call: asyncio.Task[Event]) -> Event:
    try:
        return call.result()
    except asyncio.CancelledError:
        # Not by the engine, which waits for no call that it cancels. Passed on, this would end the worker.
        raise InternalError("A call was cancelled.") from None


def _merge_settled(events: list[Event]) -> list[Event]:
    """Join outcomes that follow each other at the same time: one journal entry for all waves of a turn."""
    merged: list[Event] = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, Settled) and isinstance(last, Settled) and last.at == event.at:
            merged[-1] = Settled(last.at, last.outcomes + event.outcomes)
        else:
            merged.append(event)
    return merged
