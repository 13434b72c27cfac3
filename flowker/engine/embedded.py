"""The embedded engine: drives every execution of one store in this process.

An execution is in memory only while it makes progress. Everything that must survive is in its journal, and one that
waits is a row with the time to wake it. So a crash at any moment loses nothing: the next start folds each
unfinished journal and goes on with what is open.

    submit, sweep, clock ──► ready queue ──► workers ──► drive: run in place ► record ► call ► wait ► …

What a slow far side makes wait stands in line for a place (`flowker.engine.lanes`) and holds no worker meanwhile.
"""

import asyncio
from dataclasses import dataclass
from functools import partial

import structlog

from flowker.domain.errors import ExecutionNotFound, InternalError
from flowker.domain.executions import Aborted, Accepted, State, Status
from flowker.domain.interventions import Intervention
from flowker.domain.timestamps import format_timestamp
from flowker.domain.workflows import Definition
from flowker.engine.clock import Clock
from flowker.engine.definitions import Definitions
from flowker.engine.driver import RECORD_RETRY_S, Driver, Fresh, Superseded, unavailable
from flowker.engine.lanes import Lanes
from flowker.engine.mailbox import Mailbox
from flowker.engine.records import build_abortion, read_extent
from flowker.engine.steps import Steps
from flowker.engine.tallies import Tallies
from flowker.engine.wakeups import Wakeups
from flowker.storage import executions
from flowker.storage.database import Store, StoredUnreadable

READY_MAX = 2_000
"""Executions that wait for a worker in memory; further ones wait in the store and are swept up."""

INPUT_KEPT_BYTES_MAX = 64 * 1024
"""A larger input waits for its worker in the store, so that the ready queue cannot fill the memory."""

INTERVENTION_WAIT_S = 10.0
"""How long somebody who asks something of an execution waits for its turn."""

WAITING_MAX = 1_000
"""Answers that wait for the end of an execution; each keeps a connection and a task."""

log = structlog.get_logger("flowker.engine")


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
        shared: bool = False,
    ) -> None:
        self._store = store
        self._clock = clock
        self._tallies = tallies
        self._workers_max = workers
        self._grace_s = grace_s
        self._wakeups = Wakeups(store, clock, self._take_up, shared=shared)
        self._finished: dict[str, asyncio.Future[Status | None]] = {}
        self._mailbox = Mailbox()
        self._make_driver = partial(Driver, store, definitions, steps, clock, self._mailbox)
        self._workers: list[asyncio.Task[None]] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._tells_ends = True
        self.drains = False
        """Whether this process is about to stop: it takes what comes, and wants to be sent nothing more."""
        self.stands_by = False
        """Whether another process may drive this store: nothing is accepted here, and nothing driven."""
        self._forget()

    async def start(self) -> None:
        """Start the workers, and take up every unfinished execution of the store."""
        self._stopping = self.stands_by = False
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._workers_max)]
        self._keepers = [*self._wakeups.start(), asyncio.create_task(self._call_up())]

    def stop_waiting(self) -> None:
        """Whoever waits for the end of an execution, now or later, hears that it is not known."""
        self._tells_ends = False
        for execution_id in tuple(self._finished):
            self._tell_end(execution_id, None)

    async def stop(self, grace_s: float | None = None) -> None:
        """Stop at a step boundary: calls in flight may end within the grace time, nothing new starts."""
        self._stopping = self._driver.stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        releasing = asyncio.create_task(self._release_workers())
        tasks = [*self._keepers, *self._workers, releasing]
        _, late = await asyncio.wait(tasks, timeout=self._grace_s if grace_s is None else grace_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._mailbox.refuse_all(unavailable())

    async def stand_by(self) -> None:
        """Leave everything to another process, at once: calls in flight are given up, nothing is kept in memory."""
        self._stopping = self.stands_by = True
        tasks = [*self._keepers, *self._workers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._mailbox.refuse_all(unavailable())
        self._keepers, self._workers = [], []
        self._forget()

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
        if accepted.execution_id in self._held or self.stands_by:
            return
        if self._ready.full():
            self._wakeups.left_in_store()
            return
        fresh = Fresh(accepted, definition, input_bytes) if input_bytes <= INPUT_KEPT_BYTES_MAX else None
        self._ready.put_nowait(_Entry(accepted.execution_id, fresh))
        self._held.add(accepted.execution_id)

    def unsure(self) -> None:
        """An acceptance failed in a way that may have committed it: then it is driven like any other."""
        self._wakeups.unsure()

    @property
    def may_be_waited_for(self) -> bool:
        """Whether one more may wait for the end of an execution."""
        return len(self._finished) < WAITING_MAX

    def expect(self, execution_id: str) -> asyncio.Future[Status | None]:
        """A future of the terminal status, None when nobody can wait for it; ask before the execution is submitted,
        and `forget` afterwards."""
        future: asyncio.Future[Status | None] = asyncio.get_running_loop().create_future()
        self._finished[execution_id] = future
        if not self._tells_ends:
            self._tell_end(execution_id, None)
        return future

    def forget(self, execution_id: str) -> None:
        self._finished.pop(execution_id, None)

    async def intervene(self, execution_id: str, intervention: Intervention) -> State:
        """The state that an intervention led to, once that is committed.

        Raises ExecutionNotFound, a refusal of the intervention, or InternalError when its turn does not come.
        """
        if self._stopping:
            raise unavailable()
        asked = self._mailbox.put(execution_id, intervention)
        if execution_id not in self._held:
            if self._ready.full():
                self._mailbox.withdraw(execution_id, asked)
                raise unavailable()
            self._held.add(execution_id)
            self._ready.put_nowait(_Entry(execution_id))
        done, _ = await asyncio.wait([asked.answer], timeout=INTERVENTION_WAIT_S)
        if done:
            return asked.answer.result()
        if self._mailbox.withdraw(execution_id, asked):
            raise unavailable()
        raise InternalError("The execution is busy: whether this was recorded is not known yet. Ask again.")

    def ended(self, execution_id: str, status: Status) -> None:
        self._tallies.ended[status] += 1
        self.found_ended(execution_id, status)

    def found_ended(self, execution_id: str, status: Status) -> None:
        self._tell_end(execution_id, status)

    def parked(self, wake_at: str) -> None:
        self._wakeups.parked(wake_at)

    def _tell_end(self, execution_id: str, status: Status | None) -> None:
        future = self._finished.pop(execution_id, None)
        if future is not None and not future.done():
            future.set_result(status)

    def _forget(self) -> None:
        """Begin with nothing in memory."""
        self._ready: asyncio.Queue[_Entry | None] = asyncio.Queue(READY_MAX)
        self._held: set[str] = set()
        self._called: asyncio.Queue[str] = asyncio.Queue()
        self._lanes = Lanes(self._workers_max, self._wake)
        self._driver = self._make_driver(self._lanes, self)

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

    async def _run(self, execution_id: str, fresh: Fresh | None) -> None:
        """Drive one execution; whatever goes wrong with it stays with it."""
        try:
            await self._driver.take_turn(execution_id, fresh)
        except StoredUnreadable:
            # More than this execution may be concerned, and what is left alone can be restored.
            log.error("execution unreadable: left as it is", execution_id=execution_id)  # noqa: TRY400 - it is no bug
        except (Superseded, InternalError) as error:
            await self._leave(execution_id, type(error).__name__)
        except ExecutionNotFound:
            log.warning("execution vanished", execution_id=execution_id)
        except Exception:
            log.exception("execution broke", execution_id=execution_id)
            await self._break(execution_id)

    async def _leave(self, execution_id: str, reason: str) -> None:
        """Leave an execution to the sweep, after a pause: it may be left for the same reason again."""
        log.warning("execution left to the sweep", execution_id=execution_id, reason=reason)
        await self._clock.sleep(RECORD_RETRY_S[1])
        self._wakeups.left_in_store()

    async def _break(self, execution_id: str) -> None:
        """End an execution that cannot be driven, alone and for good; its story is in the log."""
        aborted = Aborted(format_timestamp(self._clock.now()), "FLK-9999: the execution cannot be continued")
        try:
            steps_done, entries = await self._store.read(read_extent, execution_id)
            # What the journal tells first is why it failed, for whoever folds it later.
            error = await self._driver.find_failure(execution_id) or aborted.error
            progress = build_abortion(execution_id, aborted, error, first_seq=entries, steps_done=steps_done)
            recorded = await self._store.write_together(executions.record, progress)
            if recorded:
                self.ended(execution_id, "failed")
        except StoredUnreadable:
            log.error("execution unreadable: left as it is", execution_id=execution_id)  # noqa: TRY400 - it is no bug
        except InternalError as error:
            await self._leave(execution_id, type(error).__name__)
        except Exception:
            log.exception("execution left as it is", execution_id=execution_id)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One execution in the ready queue."""

    execution_id: str
    fresh: Fresh | None = None
