"""What a process that serves asks of the interpreter and of the system."""

import contextlib
import gc
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

COLLECTED_AFTER = (20_000, 20, 20)
"""When garbage is looked for. By default it is after every 700 objects: one body of 1 MB has half a million, and is
no garbage, so that most of the time that it takes would go into looking."""

SWITCHED_EVERY_S = 0.005
"""How long a thread may keep others waiting that want to go on; as Python has it. The event loop and the writer give
way by themselves, many times for each delivery, and to make them do it more often costs a tenth of their time."""

SWITCHED_BESIDE_WORK_EVERY_S = 0.001
"""The same while a thread judges a large body: it gives way to the event loop only when it has to, and each answer
waits for it several times."""

FILES_MAX = 65_536
"""Connections are open files. Where the system allows more than a process begins with, so many are asked for."""


P = ParamSpec("P")
T = TypeVar("T")


class WorkThreads(ThreadPoolExecutor):
    """What an event loop gives away because it takes long: while there is any, threads take turns more often."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="flowker-work")
        self._count = 0
        self._counting = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        work = super().submit(fn, *args, **kwargs)
        self._note(1)
        work.add_done_callback(lambda _: self._note(-1))
        return work

    def _note(self, more: int) -> None:
        with self._counting:
            self._count += more
            sys.setswitchinterval(SWITCHED_BESIDE_WORK_EVERY_S if self._count else SWITCHED_EVERY_S)


def tune_process() -> None:
    """Prepare to serve. To be called once, when everything that stays is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)
    sys.setswitchinterval(SWITCHED_EVERY_S)
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
