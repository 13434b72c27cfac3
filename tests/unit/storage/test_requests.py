"""The border between threads and event loops."""

import asyncio
import sqlite3

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from flowker.domain.errors import InternalError, WorkflowNotFound
from flowker.storage.refusals import StoredUnreadable
from flowker.storage.requests import Failure, Request, failure, settle


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often another thread wakes it."""

    wakeups = 0

    def _write_to_self(self) -> None:
        self.wakeups += 1
        super()._write_to_self()  # type: ignore[misc]


def request_on(loop: asyncio.AbstractEventLoop) -> Request:
    return Request(print, (), {}, loop.create_future())


def test_a_batch_wakes_each_loop_once() -> None:
    """However many tasks wait on it."""
    loops = [CountingLoop(), CountingLoop()]
    requests = [request_on(loops[number % 2]) for number in range(10)]

    settle((request, number) for number, request in enumerate(requests))
    for loop in loops:
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    assert [request.future.result() for request in requests] == list(range(10))
    assert [loop.wakeups for loop in loops] == [1, 1]


def test_a_failure_is_raised() -> None:
    """Everything else is returned, an exception as a value too."""
    loop = asyncio.new_event_loop()
    raised, returned = request_on(loop), request_on(loop)

    settle([(raised, Failure(WorkflowNotFound())), (returned, WorkflowNotFound())])
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    assert isinstance(raised.future.exception(), WorkflowNotFound)
    assert isinstance(returned.future.result(), WorkflowNotFound)


def test_nobody_waits_on_a_closed_loop() -> None:
    """The outcome is dropped; others get theirs."""
    closed, running = asyncio.new_event_loop(), asyncio.new_event_loop()
    requests = [request_on(closed), request_on(running)]
    closed.close()

    settle([(request, 1) for request in requests])
    running.run_until_complete(asyncio.sleep(0))
    running.close()

    assert requests[1].future.result() == 1


def test_a_database_error_stays_inside() -> None:
    """The log gets the driver's words, without SQL and values; the caller gets neither."""
    error = OperationalError("INSERT INTO secrets VALUES (?)", ("hush",), Exception("disk I/O error\n[SQL: …]"))

    with capture_logs() as logs:
        outcome = failure(error)

    assert isinstance(outcome.error, InternalError)
    assert outcome.error.headers == {"Retry-After": "1"}
    assert logs == [
        {"event": "database_failed", "log_level": "error", "error": "Exception", "detail": "disk I/O error"}
    ]


def test_what_cannot_be_read_is_told_apart() -> None:
    """Asking again does not help: nobody is told to."""
    cause = sqlite3.DatabaseError("database disk image is malformed")
    cause.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    outcome = failure(OperationalError("SELECT", (), cause))

    assert isinstance(outcome.error, StoredUnreadable)


@pytest.mark.parametrize("error", [WorkflowNotFound(), ValueError("x"), KeyboardInterrupt()])
def test_every_other_error_is_its_callers(error: BaseException) -> None:
    """A refusal or a bug: it reaches the task that asked."""
    assert failure(error).error is error


def test_a_log_that_fails_is_no_reason_to_stop() -> None:
    """A storage thread outlives a closed stderr."""

    class Unprintable(Exception):
        def __str__(self) -> str:
            raise OSError("no words")

    assert isinstance(failure(OperationalError("", (), Unprintable())).error, InternalError)
