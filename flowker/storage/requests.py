"""What waits for a storage thread: a call, and the future of the task that awaits its outcome.

Storage is synchronous code in its own threads, everything else is async: this module is the border. Outcomes go back
with one wake-up per event loop however many tasks wait, and a database error never crosses as itself: its text can
hold SQL and values. The cause goes to the log, the caller gets an `InternalError` that says to come again.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from flowker.domain.errors import InternalError
from flowker.storage import postgresql, sqlite
from flowker.storage.refusals import StoredUnreadable

RETRY_AFTER_S = "1"
"""A queue drains and a database restarts in about a second; a longer hint would only idle the callers."""

HOPELESS_S = 2.0
"""A store that failed for so long to answer one request is not asked for those that wait behind it: each would wait
as long again, and the last one for minutes."""

_log = structlog.get_logger(__name__)


def unavailable() -> InternalError:
    return InternalError(headers={"Retry-After": RETRY_AFTER_S})


@dataclass(slots=True, eq=False)
class Request:
    """One call that a task awaits. `together` marks an item for a function that takes many at once.

    `owed` marks what keeps a promise that was made: it is never refused for lack of room.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    future: asyncio.Future[Any]
    together: bool = False
    owed: bool = False
    size_bytes: int = 0


@dataclass(slots=True, eq=False)
class Failure:
    """An outcome that is raised instead of returned."""

    error: BaseException


Outcome: TypeAlias = Any
"""What a call returned, or the `Failure` that it ended with."""


def failure(error: BaseException) -> Failure:
    """The failure as its caller may see it."""
    if not isinstance(error, SQLAlchemyError):
        return Failure(error)
    log_database_error(error)
    return Failure(StoredUnreadable() if is_unreadable(error) else unavailable())


def is_unreadable(error: BaseException) -> bool:
    """Whether something that is stored cannot be read, and not the store cannot be reached."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause is not None and (sqlite.is_unreadable(cause) or postgresql.is_unreadable(cause))


def log_database_error(error: BaseException) -> None:
    """Name the error by the driver's own words, which hold neither SQL nor values."""
    # A log that cannot be written must not end a storage thread.
    with suppress(Exception):
        cause = error.orig if isinstance(error, DBAPIError) else error
        _log.error("database_failed", error=type(cause).__name__, detail=str(cause).partition("\n")[0])


def take_waiting(queue: "SimpleQueue[Request | None]") -> list[Request]:
    """Everything that waits in a queue; the mark of its end stays."""
    taken: list[Request] = []
    with suppress(Empty):
        while (request := queue.get_nowait()) is not None:
            taken.append(request)
        queue.put(None)
    return taken


def join(threads: Iterable[threading.Thread], within_s: float | None) -> bool:
    """Wait until the threads have ended that were started, for this time at most; whether they have."""
    ends_at = None if within_s is None else time.monotonic() + within_s
    started = [thread for thread in threads if thread.ident is not None]
    for thread in started:
        thread.join(None if ends_at is None else max(0.0, ends_at - time.monotonic()))
    return not any(thread.is_alive() for thread in started)


def settle(outcomes: Iterable[tuple[Request, Outcome]]) -> None:
    """Hand the outcomes to the waiting tasks: one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Outcome]]] = defaultdict(list)
    for request, outcome in outcomes:
        by_loop[request.future.get_loop()].append((request.future, outcome))
    for loop, answers in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, answers)
        except RuntimeError:
            # The loop was closed: nobody waits any more.
            continue


def _resolve(answers: list[tuple[asyncio.Future[Any], Outcome]]) -> None:
    for future, outcome in answers:
        if future.done():
            continue  # The waiter was cancelled.
        if isinstance(outcome, Failure):
            future.set_exception(outcome.error)
        else:
            future.set_result(outcome)
