"""Reading in threads of its own, each with one connection that cannot write.

A read sees one snapshot of the store from its first statement to its last, and never waits for the writer.
"""

import threading
from queue import SimpleQueue

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from flowker.storage.requests import Failure, Outcome, Request, failure, log_database_error, settle, unavailable


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
            if not self._accepting or self._queue.qsize() >= self._queue_max:
                raise unavailable()
            self._queue.put(request)

    def stop(self) -> None:
        """Refuse what comes from now on, answer what was accepted, and end the threads."""
        with self._gate:
            if not self._accepting:
                return
            self._accepting = False
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        reader = _Reader(self._engine)
        while request := self._queue.get():
            if not request.future.cancelled():
                settle([(request, reader.answer(request))])
        reader.disconnect()


class _Reader:
    """One thread's connection, opened when it is first needed and again after it failed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def answer(self, request: Request) -> Outcome:
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            with self._connection.begin():
                return request.function(self._connection, *request.args, **request.kwargs)
        except SQLAlchemyError as error:
            self.disconnect()
            return failure(error)
        except BaseException as error:  # noqa: BLE001 - it belongs to this request's caller
            return Failure(error)

    def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.invalidate()
            connection.close()
        except SQLAlchemyError as error:
            log_database_error(error)
