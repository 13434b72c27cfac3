"""Reading in threads of its own, each with one connection that cannot write.

A read sees one snapshot of the store from its first statement to its last, and never waits for the writer. Under
load a thread answers a few requests on one snapshot, begun after all of them were asked: the wake-ups between
threads cost more than a lookup does.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from flowker.storage.links import Link
from flowker.storage.requests import (
    HOPELESS_S,
    Failure,
    Outcome,
    Request,
    failure,
    join,
    settle,
    take_waiting,
    unavailable,
)

TOGETHER_MAX: Final = 16
"""A short list keeps a slow read from holding up many others."""


class Readers:
    """A fixed number of reading threads before one bounded queue. `submit` may be called from any thread."""

    def __init__(self, engine: Engine, *, threads: int, queue_max: int) -> None:
        self._engine = engine
        self._queue_max = queue_max
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._accepting = False
        self._gate = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name=f"flowker-reader-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        self._accepting = True
        for thread in self._threads:
            thread.start()

    def submit(self, request: Request) -> None:
        """Queue the request, or refuse it at once when there is no room or nobody reads."""
        with self._gate:
            full = self._queue.qsize() >= self._queue_max and not request.owed
            if full or not self._accepting:
                raise unavailable()
            self._queue.put(request)

    def stop(self, within_s: float | None = None) -> bool:
        """Refuse what comes from now on, answer what was accepted, and end the threads.

        False if that takes longer than this time: then they go on, until they have ended or the process does.
        """
        with self._gate:
            if self._accepting:
                self._accepting = False
                for _ in self._threads:
                    self._queue.put(None)
        return join(self._threads, within_s)

    def _run(self) -> None:
        link = Link(self._engine)
        while self._answer_next(link):
            pass
        link.drop()

    def _answer_next(self, link: Link) -> bool:
        """False at the end. What was read is forgotten here: it may be large, and the next request far away."""
        first = self._queue.get()
        if first is None:
            return False
        settle(list(self._answer_all(link, [first, *self._take_share()])))
        link.end_transaction()
        return True

    def _answer_all(self, link: Link, requests: Sequence[Request]) -> Iterator[tuple[Request, Outcome]]:
        """The outcomes; who waits behind a store that does not answer hears so at once."""
        for index, request in enumerate(requests):
            if request.future.cancelled():
                continue
            began = time.monotonic()
            try:
                yield request, _answer(link, request)
            except SQLAlchemyError as error:
                link.drop()
                yield request, failure(error)
                if time.monotonic() - began > HOPELESS_S:
                    behind = [*requests[index + 1 :], *take_waiting(self._queue)]
                    yield from ((one, Failure(unavailable())) for one in behind)
                    return

    def _take_share(self) -> list[Request]:
        """A part of what else waits, so that every thread has something to do."""
        taken: list[Request] = []
        for _ in range(min(self._queue.qsize() // len(self._threads), TOGETHER_MAX - 1)):
            try:
                request = self._queue.get_nowait()
            except Empty:
                break
            if request is None:
                self._queue.put(None)  # Meant for the end of a thread; only others like it can follow.
                break
            taken.append(request)
        return taken


def _answer(link: Link, request: Request) -> Outcome:
    """What a request came to; raises what the store itself failed with."""
    try:
        return _read(link, request)
    except SQLAlchemyError:
        raise
    except BaseException as error:  # noqa: BLE001 - it belongs to this request's caller
        return Failure(error)


def _read(link: Link, request: Request) -> Outcome:
    began = time.monotonic()
    try:
        # The first statement begins the transaction, and with it the snapshot.
        return request.function(link.connection(), *request.args, **request.kwargs)
    except DBAPIError as error:
        if not error.connection_invalidated or time.monotonic() - began > HOPELESS_S:
            raise
        # A connection may be lost while nothing is asked of it; a read can be asked again on a new one.
        link.drop()
        return request.function(link.connection(), *request.args, **request.kwargs)
