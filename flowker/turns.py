"""How long a thread keeps the interpreter while others wait for it: less while one of them has much to do.

The event loop and the writer give way by themselves, many times for each delivery; to make them do it more often
costs a tenth of their time. Whoever judges a large body or verifies the audit trail gives way only when it has to,
and each answer waits for it several times.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ALONE_S: Final = 0.005
"""As Python has it."""

BESIDE_WORK_S: Final = 0.001

_gate = threading.Lock()
_works = 0


def begin_work() -> None:
    """From here on threads take turns more often, until `end_work` was called as often as this."""
    _note(1)


def end_work() -> None:
    _note(-1)


@contextmanager
def work() -> Iterator[None]:
    """Around what keeps the interpreter for long, in whichever thread."""
    begin_work()
    try:
        yield
    finally:
        end_work()


def _note(more: int) -> None:
    global _works  # noqa: PLW0603 - there is one interpreter, and one interval for all of its threads
    with _gate:
        _works += more
        sys.setswitchinterval(BESIDE_WORK_S if _works else ALONE_S)
