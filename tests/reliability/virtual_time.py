"""Time that jumps, and processes that die or stand still: what a simulated world runs on.

Tasks that a process starts are its own: they die with it, and while it is frozen none of them gets past `pause`,
through which everything goes that reaches outside of it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

STILL_MAX = 20_000
"""Turns of the loop within one moment: many tasks take many, none needs so many."""


@dataclass(eq=False)
class Process:
    """One process of a world."""

    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    frozen: bool = False
    is_stale: bool = False
    """Whether another one took over while it was frozen."""
    _thawed: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do this as this process."""
        context = Context()
        context.run(_process.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def freeze(self) -> None:
        self.frozen = self.is_stale = True

    def thaw(self) -> None:
        self.frozen = False
        self._thawed.set()

    async def thawed(self) -> None:
        while self.frozen:
            await self._thawed.wait()

    async def die(self) -> None:
        """Nothing of it goes on, whatever it was doing."""
        while going_on := [task for task in self.tasks if not task.done()]:
            for task in going_on:
                task.cancel()
            await asyncio.gather(*going_on, return_exceptions=True)


def current_process() -> Process | None:
    return _process.get()


async def pause(seconds: float) -> None:
    """Let time pass; in a frozen process until it is thawed."""
    await asyncio.sleep(seconds)
    process = _process.get()
    if process is not None:
        await process.thawed()


def begin_outside(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Do this in no process: it goes on whichever of them dies."""
    return asyncio.get_running_loop().create_task(work, context=Context())


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer, and whose threads are functions. Nothing else reaches it.

    It takes turns as asyncio's own does, with less around each: there is nothing that a world does more often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._turns = 0
        self._due: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._numbers = count()
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self.now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> "_Handle":
        handle = _Handle(callback, args, self, context)
        self._due.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> "_Handle":
        handle = _Handle(callback, args, self, context)
        heappush(self._timers, (self.now_s + delay, next(self._numbers), handle))
        return handle

    def run_in_executor(self, _: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits the future
            future.set_exception(error)
        return future

    def _run_once(self) -> None:
        """Everything that is due, without a look at sockets and clocks that are not there."""
        due, timers = self._due, self._timers
        while timers and timers[0][2].is_cancelled:
            heappop(timers)
        if not due:
            if not timers:
                raise RuntimeError("nothing will ever happen again")
            self._turns = 0
            self.now_s = max(self.now_s, timers[0][0])
        self._turns += 1
        if self._turns > STILL_MAX:
            raise RuntimeError("somebody turns round and round, and time stands still")
        while timers and timers[0][0] <= self.now_s:
            due.append(heappop(timers)[2])
        for _ in range(len(due)):
            handle = due.popleft()
            if not handle.is_cancelled:
                handle._run()


class _Handle(asyncio.Handle):
    """What is to be called, unless somebody cancels that before its time has come."""

    __slots__ = ("is_cancelled",)

    def __init__(
        self, callback: Callable[..., Any], args: Sequence[Any], loop: VirtualLoop, context: Context | None
    ) -> None:
        self._callback, self._args, self._loop = callback, args, loop
        self._context = copy_context() if context is None else context
        self._source_traceback = None
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled


def _make_task(loop: asyncio.AbstractEventLoop, work: Any, **kwargs: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **kwargs)
    context: Context | None = kwargs.get("context")
    process = _process.get() if context is None else context.get(_process)
    if process is not None:
        process.tasks.append(task)
    return task


_process: ContextVar[Process | None] = ContextVar("process", default=None)
