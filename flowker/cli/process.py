"""What a process that serves asks of the interpreter and of the system."""

import contextlib
import gc
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from flowker import turns

COLLECTED_AFTER = (20_000, 20, 20)
"""When garbage is looked for. By default it is after every 700 objects: one body of 1 MB has half a million, and is
no garbage, so that most of the time that it takes would go into looking."""

FILES_MAX = 65_536
"""Connections are open files. Where the system allows more than a process begins with, so many are asked for."""


P = ParamSpec("P")
T = TypeVar("T")


class WorkThreads(ThreadPoolExecutor):
    """What an event loop gives away because it takes long."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="flowker-work")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = super().submit(fn, *args, **kwargs)
        turns.begin_work()
        future.add_done_callback(lambda _: turns.end_work())
        return future


def tune_process() -> None:
    """Prepare to serve. To be called once, when everything that stays is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)
    sys.setswitchinterval(turns.ALONE_S)
    raise_file_limit()


def raise_file_limit() -> None:
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - there is none on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
