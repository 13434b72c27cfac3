"""Group commit: one thread writes, and many requests share one transaction and one flush to disk.

The thread takes whatever waits (at most a batch), runs it between BEGIN and COMMIT, and only then tells the waiting
tasks: what was answered is on disk. It never waits for a batch to fill; under load the next batch collects itself
while the last one is flushed.

There are two lines before it: what is asked for now, and what is owed because it was accepted before. A batch takes
from both in turn, so neither keeps the other waiting for more than the half of it.

One request cannot spoil the others. A single change runs inside a savepoint. A function that takes the items of
many requests at once runs without; should it raise, the batch is rolled back and every request runs again alone, so
that only the one that cannot be written fails. If the connection is lost or COMMIT fails, nothing was recorded and
every waiter hears so.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from flowker.storage.links import Link
from flowker.storage.requests import (
    HOPELESS_S,
    Failure,
    Outcome,
    Request,
    failure,
    join,
    log_database_error,
    settle,
    take_waiting,
    unavailable,
)

HEARTBEAT_S: Final = 1.0
"""How often an idle writer shows that it is alive."""

BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""A larger transaction would keep small requests waiting behind large bodies for longer than they are willing to."""


class Writer:
    """The one thread that writes. `submit` may be called from any thread."""

    def __init__(self, engine: Engine, *, queue_max: int, queue_bytes_max: int, batch_max: int) -> None:
        self.heartbeat = time.monotonic()
        self.has_failed = False
        """Whether nothing of the last batch could be written: the disk may be full, or the server away."""
        self._queue_max = queue_max
        self._queue_bytes_max = queue_bytes_max
        self._batch_max = batch_max
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._asked: deque[Request] = deque()
        self._owed: deque[Request] = deque()
        self._queued = 0
        self._queued_bytes = 0
        self._accepting = False
        self._gate = threading.Lock()
        self._link = Link(engine)
        self._thread = threading.Thread(target=self._run, name="flowker-writer", daemon=True)

    @property
    def queue_depth(self) -> int:
        return self._queued

    def start(self) -> None:
        self._accepting = True
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Queue the request, or refuse it at once when there is no room or no writer."""
        with self._gate:
            queued_bytes = self._queued_bytes + request.size_bytes
            full = self._queued >= self._queue_max or (
                queued_bytes > self._queue_bytes_max and self._queued_bytes > 0
            )
            if (full and not request.owed) or not self._accepting:
                raise unavailable()
            self._queued += 1
            self._queued_bytes = queued_bytes
            self._queue.put(request)

    def stop(self, within_s: float | None = None) -> bool:
        """Refuse what comes from now on, write what was accepted, and end the thread.

        False if that takes longer than this time: then the thread goes on, until it has ended or the process does.
        """
        with self._gate:
            if self._accepting:
                self._accepting = False
                self._queue.put(None)
        return join([self._thread], within_s)

    def _run(self) -> None:
        running = True
        while running or self._asked or self._owed:
            self.heartbeat = time.monotonic()
            running = self._sort_waiting() and running
            batch = self._next_batch()
            if batch:
                settle(zip(batch, self._write(batch), strict=True))
        self._link.drop()

    def _sort_waiting(self) -> bool:
        """Put what has come into its line, and wait for something if both are empty; False when no more may come."""
        idle = not self._asked and not self._owed
        with suppress(Empty):
            while idle or self._queue.qsize():
                request = self._queue.get(timeout=HEARTBEAT_S)
                if request is None:
                    return False
                (self._owed if request.owed else self._asked).append(request)
                idle = False
        return True

    def _next_batch(self) -> list[Request]:
        """The requests of one batch that somebody still waits for, in turn from both lines."""
        taken: list[Request] = []
        size_bytes = 0
        line, other = self._asked, self._owed
        while (line or other) and len(taken) < self._batch_max and size_bytes <= BATCH_BYTES_MAX:
            request = (line or other).popleft()
            taken.append(request)
            size_bytes += request.size_bytes
            line, other = other, line
        with self._gate:
            self._queued -= len(taken)
            self._queued_bytes -= size_bytes
        return [request for request in taken if not request.future.cancelled()]

    def _write(self, batch: list[Request]) -> Sequence[Outcome]:
        began = time.monotonic()
        try:
            with suppress(_GroupFailed):
                return self._commit(batch, _run_in_groups)
            return self._commit(batch, _run_one_by_one)
        except BaseException as error:  # noqa: BLE001 - the thread outlives everything; the waiters hear of it
            if time.monotonic() - began > HOPELESS_S:
                self._refuse_waiting()
            return self._give_up(batch, error)

    def _commit(
        self, batch: list[Request], run: Callable[[Connection, list[Request]], Sequence[Outcome]]
    ) -> Sequence[Outcome]:
        with self._link.begin() as transaction:
            outcomes = run(transaction.connection, batch)
        self.has_failed = False
        return outcomes

    def _give_up(self, batch: list[Request], error: BaseException) -> Sequence[Outcome]:
        """Nothing of the batch was recorded: say so, and start the next one on a new connection."""
        self.has_failed = True
        log_database_error(error)
        self._link.drop()
        return [Failure(unavailable()) for _ in batch]

    def _refuse_waiting(self) -> None:
        """Who waits behind a store that does not answer hears so now."""
        waiting = [*self._asked, *self._owed, *take_waiting(self._queue)]
        self._asked.clear()
        self._owed.clear()
        with self._gate:
            self._queued -= len(waiting)
            self._queued_bytes -= sum(request.size_bytes for request in waiting)
        settle((request, Failure(unavailable())) for request in waiting)


class _GroupFailed(Exception):
    """A function that takes many items raised: the items have to be tried one by one."""


def _run_in_groups(connection: Connection, batch: list[Request]) -> list[Outcome]:
    outcomes: list[Outcome] = [None] * len(batch)
    groups: dict[Callable[..., Any], list[int]] = {}
    for index, request in enumerate(batch):
        if request.together:
            groups.setdefault(request.function, []).append(index)
        else:
            outcomes[index] = _run_in_savepoint(connection, request)
    for change, indexes in groups.items():
        for index, outcome in zip(indexes, _run_group(connection, change, batch, indexes), strict=True):
            outcomes[index] = outcome
    return outcomes


def _run_group(
    connection: Connection, change: Callable[..., Sequence[Any]], batch: list[Request], indexes: list[int]
) -> Sequence[Any]:
    try:
        return change(connection, [batch[index].args[0] for index in indexes])
    except Exception as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            # No item is at fault: to try each on a new connection would only take as long again to find that out.
            raise
        raise _GroupFailed from error


def _run_one_by_one(connection: Connection, batch: list[Request]) -> list[Outcome]:
    return [_run_in_savepoint(connection, request) for request in batch]


def _run_in_savepoint(connection: Connection, request: Request) -> Outcome:
    savepoint = connection.begin_nested()
    try:
        result = _call(connection, request)
    except Exception as error:  # noqa: BLE001 - it belongs to this request's caller
        # When the database gave up the whole transaction this raises too, and the batch fails as a whole.
        savepoint.rollback()
        return failure(error)
    savepoint.commit()
    return result


def _call(connection: Connection, request: Request) -> Any:
    if request.together:
        [result] = request.function(connection, [request.args[0]])
        return result
    return request.function(connection, *request.args, **request.kwargs)
