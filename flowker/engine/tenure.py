"""Who drives the executions of a store: one process at a time, and another one stands by.

In a file the lock of the store ends with the process that has it. On a server it is a lease, which may be lost: the
server was started anew, the network broke, the process was frozen for too long. A thread keeps the lease. When it is
lost the engine stops at once, and this process stands by like any other: it answers, it is not ready, and it
tries to get the lock. Whoever gets it folds every unfinished execution anew from the store.

Of what a process may still have under way that does not know yet, the store takes nothing twice: a journal has each
sequence number once.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog

from flowker.engine.clock import Clock
from flowker.engine.embedded import EmbeddedEngine
from flowker.storage.database import DatabaseUnusable, EngineLock

SIGN_OF_LIFE_S = 0.5
"""Between two signs of life to the server. Its end of a connection is heard of at once."""

START_TRY_S = 0.1
TRY_S = 1.0
"""Between two attempts to get the lock, by a process that starts and by one that stands by."""

HANDOVER_S = 1.0
"""Between getting the lock and using it: whoever lost it hears of that, and stops."""

T = TypeVar("T")

log = structlog.get_logger("flowker.engine")


class Tenure:
    """Lets an engine run for as long as this process holds the lock. `prepare` runs before each time it does."""

    def __init__(self, lock: EngineLock, engine: EmbeddedEngine, prepare: Callable[[], None], clock: Clock) -> None:
        self._lock = lock
        self._engine = engine
        self._prepare = prepare
        self._clock = clock
        self._holds = False
        self._watch: _Watch | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def take(self, wait_s: float) -> bool:
        """Take and prepare the store; False when another process has it for all of this time.

        Raises `DatabaseUnusable`.
        """
        patience = time.monotonic() + wait_s
        while not await self._acquire():
            if time.monotonic() > patience:
                return False
            await asyncio.sleep(START_TRY_S)
        try:
            await _in_thread(self._prepare)
        except BaseException:
            await self.release()
            raise
        return True

    async def start(self) -> None:
        """Start the engine if the store was taken, else stand by."""
        if self._holds:
            await self._engine.start()
        else:
            log.warning("another process drives this store: standing by")
            await self._engine.stand_by()
        if self._lock.may_be_lost:
            self._keeper = asyncio.create_task(self._keep())

    async def stop(self, grace_s: float | None = None) -> None:
        """Stop the engine within this or its own grace time, or at once when the lock is lost meanwhile."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        stopping = asyncio.create_task(self._engine.stop(grace_s))
        if self._watch is not None:
            lost = asyncio.create_task(self._watch.lost.wait())
            await asyncio.wait([stopping, lost], return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                await self._engine.stand_by()
            lost.cancel()
        await stopping

    async def release(self, within_s: float | None = None) -> None:
        """Make room for another process; the last thing that this one does with the store.

        If a server takes longer than this to answer, the lock ends with the process.
        """
        self._holds = False
        if self._watch is not None:
            if not await self._watch.end(within_s):
                return
            self._watch = None
        self._lock.release()

    async def _acquire(self) -> bool:
        try:
            self._holds = await _in_thread(self._lock.acquire)
        except OSError as error:
            raise DatabaseUnusable(f"the database cannot be used: {error}") from error
        if self._holds and self._lock.may_be_lost:
            self._watch = _Watch(self._lock)
        return self._holds

    async def _keep(self) -> None:
        while True:
            if self._watch is None:
                await self._take_over()
            else:
                await self._watch.lost.wait()
                log.error("the lock of the store is lost: standing by")
                await self._engine.stand_by()
                await self.release()

    async def _take_over(self) -> None:
        """Try until this process drives the store. One that is about to stop leaves it to others."""
        told = ""
        while True:
            try:
                if not self._engine.drains and await self._acquire() and await self._begin():
                    log.warning("this process drives the store now")
                    return
                told = ""
            except DatabaseUnusable as error:
                # Once for each reason: a server may be away for hours.
                if str(error) != told:
                    log.error("the store cannot be taken over", reason=str(error))  # noqa: TRY400 - it is no bug
                told = str(error)
            except Exception:
                log.exception("taking over broke")
            await self.release()
            await self._clock.sleep(TRY_S)

    async def _begin(self) -> bool:
        """Start the engine on the lock that was just taken; False when it was lost, or a stop began, before that."""
        await self._clock.sleep(HANDOVER_S)
        await _in_thread(self._prepare)
        if self._watch is None or self._watch.lost.is_set() or self._engine.drains:
            return False
        await self._engine.start()
        return True


class _Watch:
    """A thread that keeps the lock, whatever the event loop is busy with; `lost` is set when it could not."""

    def __init__(self, lock: EngineLock) -> None:
        self.lost = asyncio.Event()
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flowker-lock", daemon=True)
        self._thread.start()

    async def end(self, within_s: float | None = None) -> bool:
        """Whether the thread ended in this time."""
        self._ended.set()
        await _in_thread(partial(self._thread.join, within_s))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._ended.is_set():
            if not self._lock.keep(SIGN_OF_LIFE_S):
                # A loop that was closed has nobody any more who wants to know.
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self.lost.set)
                return


async def _in_thread(function: Callable[[], T]) -> T:
    """Run in a thread, to its end even when nobody waits any more: what it took has to be given back."""
    running = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        running.exception()  # It is nobody's any more, so asyncio need not tell of it.
        raise
