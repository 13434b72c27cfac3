"""Refused deliveries in the audit trail: counted for each workflow, and few are written.

Whoever sends deliveries with a wrong token or signature must not be able to fill the store. So the first refusal of
a workflow is written at once, and what follows is counted and written as one event each `INTERVAL_S`. Noting a
refusal is a change of a few numbers in memory: it never waits for the store, and never fails. A task writes.

A crash loses the counts of the interval it happens in; a stop writes them, if the store answers.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import structlog
from uuid_utils import uuid7

from flowker.domain.audit import SYSTEM, Actor, AuditEvent
from flowker.domain.errors import InternalError
from flowker.domain.timestamps import format_timestamp
from flowker.engine.clock import Clock
from flowker.storage import audit_events
from flowker.storage.database import Store

INTERVAL_S = 10.0
"""At most one event for each workflow in this time: under fire, nine thousand a day."""

WORKFLOWS_MAX = 1_000
"""Workflows that are counted for at the same time. One is forgotten as soon as an interval was quiet."""

ADDRESSES_MAX = 100
"""Different client addresses that are told apart in one event; whoever has a network can use any number."""

RETRY_S = 5.0
"""How long the task waits for a store that is away, before it tries again."""

Reason = Literal["token", "signature"]

log = structlog.get_logger("flowker.engine")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A delivery that was answered 401: to whose webhook it came, and from whom."""

    workflow_id: str
    method: str
    path: str
    reason: Reason
    actor: Actor


class Refusals:
    """Counts refused deliveries and writes them to the audit trail."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tallies: dict[str, _Tally] = {}
        self._uncounted = 0
        self._noted = asyncio.Event()
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self, within_s: float | None = None) -> None:
        """Write what was counted and not yet written, unless the store takes longer than this to do so."""
        self._stopping.set()
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        try:
            await asyncio.wait_for(keeper, within_s)
        except TimeoutError:
            log.error("refused deliveries not audited", reason="the store does not answer")  # noqa: TRY400 - no bug

    def note(self, refusal: Refusal) -> None:
        """Count a refusal. Raises nothing and waits for nothing: a caller is being answered."""
        now = self._clock.now()
        tally = self._tallies.get(refusal.workflow_id)
        if tally is None:
            if len(self._tallies) >= WORKFLOWS_MAX:
                self._uncounted += 1
                return
            tally = self._tallies[refusal.workflow_id] = _Tally(due_at=now)
            self._noted.set()
        tally.add(refusal, now)

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            await self._write(self._take_due(self._clock.now()))
            await self._rest()
        await self._write(self._take_due(None))

    def _take_due(self, now: datetime | None) -> list["_Window"]:
        """What may be written now, or all there is. A workflow whose interval was quiet is forgotten."""
        due = {id_: tally for id_, tally in self._tallies.items() if now is None or tally.due_at <= now}
        for id_, tally in due.items():
            if tally.window is None:
                del self._tallies[id_]
        return [window for tally in due.values() if (window := tally.take()) is not None]

    async def _write(self, windows: list["_Window"]) -> None:
        """Write an event for each; tries again until they are written, or, when the service stops, once."""
        self._tell_uncounted()
        while windows and not await self._is_written(windows):
            if self._stopping.is_set():
                log.error("refused deliveries not audited", count=sum(window.count for window in windows))
                return
            await self._first_of(self._stopping, sleep_s=RETRY_S)
        due_at = self._clock.now() + timedelta(seconds=INTERVAL_S)
        for window in windows:
            self._tallies[window.last.workflow_id].due_at = due_at

    async def _is_written(self, windows: list["_Window"]) -> bool:
        now = format_timestamp(self._clock.now())
        try:
            await self._store.write(audit_events.append, [_event(window, now) for window in windows])
        except InternalError:
            log.warning("refused deliveries not audited yet", events=len(windows))
            return False
        except Exception:
            log.exception("refused deliveries not audited yet", events=len(windows))
            return False
        return True

    def _tell_uncounted(self) -> None:
        if self._uncounted:
            log.error("refused deliveries not counted", count=self._uncounted)
            self._uncounted = 0

    async def _rest(self) -> None:
        """Until the first workflow is due, a new one comes, or the service stops."""
        due_at = min((tally.due_at for tally in self._tallies.values()), default=None)
        sleep_s = None if due_at is None else max(0.0, (due_at - self._clock.now()).total_seconds())
        await self._first_of(self._noted, self._stopping, sleep_s=sleep_s)
        self._noted.clear()

    async def _first_of(self, *events: asyncio.Event, sleep_s: float | None) -> None:
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in events]
        if sleep_s is not None:
            waits.append(asyncio.ensure_future(self._clock.sleep(sleep_s)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


@dataclass(slots=True)
class _Window:
    """The refusals of one workflow that one event tells of."""

    last: Refusal
    actor: Actor
    first_at: datetime
    last_at: datetime
    count: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)
    addresses: set[str] = field(default_factory=set)

    def add(self, refusal: Refusal, now: datetime) -> None:
        self.last = refusal
        self.actor = _shared(self.actor, refusal.actor)
        self.last_at = now
        self.count += 1
        self.reasons[refusal.reason] += 1
        if refusal.actor.ip_address is not None and len(self.addresses) < ADDRESSES_MAX:
            self.addresses.add(refusal.actor.ip_address)


@dataclass(slots=True)
class _Tally:
    """A workflow that is counted for: when its next event may be written, and what that will tell, if anything."""

    due_at: datetime
    window: _Window | None = None

    def add(self, refusal: Refusal, now: datetime) -> None:
        if self.window is None:
            self.window = _Window(refusal, refusal.actor, now, now)
        self.window.add(refusal, now)

    def take(self) -> _Window | None:
        window, self.window = self.window, None
        return window


def _shared(one: Actor, other: Actor) -> Actor:
    """What two actors have in common: the key with its address, the key alone, or nothing."""
    if one == other:
        return one
    return Actor(one.type, one.id) if (one.type, one.id) == (other.type, other.id) else SYSTEM


def _event(window: _Window, now: str) -> AuditEvent:
    return AuditEvent(
        # Of each attempt to write: an attempt that failed may have been stored all the same.
        event_id=str(uuid7()),
        event_type="WEBHOOK_REFUSED",
        action="EXECUTE",
        result="FAILED",
        resource_type="workflow",
        resource_id=window.last.workflow_id,
        actor=window.actor,
        timestamp=now,
        context={
            "count": window.count,
            "reasons": dict(window.reasons),
            "firstAt": format_timestamp(window.first_at),
            "lastAt": format_timestamp(window.last_at),
            "method": window.last.method,
            "path": window.last.path,
            "lastAddress": window.last.actor.ip_address,
            "addresses": len(window.addresses),
        },
    )
