"""What brings executions from the store back to the engine: the sweep after a start, and the clock.

A waiting execution is a row with a time. One task looks for the rows whose time has come; another looks for rows
that are unfinished and in nobody's hands: all of them at a start, and those that found the ready queue full. Where
other processes reach the store too, it also looks from time to time: one that has lost its lock may have accepted
an execution a moment later.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

from flowker.domain.errors import InternalError
from flowker.domain.timestamps import format_timestamp, parse_timestamp
from flowker.engine.clock import Clock
from flowker.storage import executions
from flowker.storage.database import Connection, Store

SWEEP_PAGE = 500
DUE_PAGE = 200

POLL_MAX_S = 5.0
"""The longest time between two looks at the clock's rows, and between two attempts while the store is away."""

SWEEP_MAX_S = 10.0
"""The longest time between two sweeps of a store that other processes write to."""

log = structlog.get_logger("flowker.engine")


class Wakeups:
    """Hands the ids of executions that can go on to `take_up`, which may wait for room."""

    def __init__(
        self, store: Store, clock: Clock, take_up: Callable[[str], Awaitable[None]], *, shared: bool = False
    ) -> None:
        self._store = store
        self._clock = clock
        self._take_up = take_up
        self._shared = shared
        self._left_in_store = asyncio.Event()
        self._unsure = False
        self._earlier_wake = asyncio.Event()
        self._looks_at = _EVER

    def start(self) -> list[asyncio.Task[None]]:
        """Start both tasks; the sweep begins at once."""
        self._left_in_store.set()
        return [asyncio.create_task(self._sweep()), asyncio.create_task(self._keep_time())]

    def left_in_store(self) -> None:
        """An unfinished execution is in nobody's hands."""
        self._left_in_store.set()

    def unsure(self) -> None:
        """An execution may be stored that nobody drives: look with the next turn of the clock, once for many."""
        self._unsure = True

    def parked(self, wake_at: str) -> None:
        """An execution was parked; its time may be earlier than the next look at the clock's rows."""
        if wake_at < self._looks_at:
            self._earlier_wake.set()

    async def _sweep(self) -> None:
        while True:
            if self._shared:
                await self._sleep_or(self._left_in_store, SWEEP_MAX_S)
            else:
                await self._left_in_store.wait()
            self._left_in_store.clear()
            try:
                await self._sweep_once()
            except Exception as error:  # noqa: BLE001 - without the sweep, what is in nobody's hands stays there
                _note("sweep broke", error)
                self._left_in_store.set()
                await self._clock.sleep(POLL_MAX_S)

    async def _sweep_once(self) -> None:
        after_id: str | None = ""
        while after_id is not None:
            ids = await self._store.read(_unfinished_ids, after_id)
            for execution_id in ids:
                await self._take_up(execution_id)
            after_id = ids[-1] if len(ids) == SWEEP_PAGE else None

    async def _keep_time(self) -> None:
        while True:
            # Whatever is parked during a look may be missed by it.
            self._looks_at = _EVER
            self._earlier_wake.clear()
            if self._unsure:
                self._unsure = False
                self._left_in_store.set()
            try:
                seconds = await self._wake_due()
            except Exception as error:  # noqa: BLE001 - without this task nothing that waits goes on
                _note("clock broke", error)
                # A claim whose answer was lost took executions off the clock all the same.
                self._left_in_store.set()
                seconds = POLL_MAX_S
            self._looks_at = format_timestamp(self._clock.now() + timedelta(seconds=seconds))
            await self._sleep_or(self._earlier_wake, seconds)

    async def _wake_due(self) -> float:
        """Take up what is due; the seconds until the next is."""
        while True:
            next_wake = await self._store.read(executions.next_wake)
            if next_wake is None:
                return POLL_MAX_S
            now = self._clock.now()
            # Compared as the text that the claim compares: where the two disagreed, this would turn for ever.
            if next_wake > format_timestamp(now):
                return min((parse_timestamp(next_wake) - now).total_seconds(), POLL_MAX_S)
            for execution_id in await self._store.write(executions.claim_due, format_timestamp(now), DUE_PAGE):
                await self._take_up(execution_id)

    async def _sleep_or(self, event: asyncio.Event, seconds: float) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        earlier = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait([sleep, earlier], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            earlier.cancel()


_EVER = format_timestamp(datetime.max.replace(tzinfo=UTC))
"""Later than any time that something waits for."""


def _note(event: str, error: Exception) -> None:
    if isinstance(error, InternalError):
        log.warning(event, reason=type(error).__name__)
    else:
        log.error(event, exc_info=error)


def _unfinished_ids(connection: Connection, after_id: str) -> list[str]:
    return executions.unfinished(connection, after_id=after_id, limit=SWEEP_PAGE)
