"""What a process that serves asks of the interpreter and of the system."""

import contextlib
import gc
import sys

COLLECTED_AFTER = (20_000, 20, 20)
"""When garbage is looked for. By default it is after every 700 objects: one body of 1 MB has half a million, and is
no garbage, so that most of the time that it takes would go into looking."""

SWITCHED_EVERY_S = 0.001
"""How long a thread that judges a large body keeps the event loop waiting; each answer waits several times."""

FILES_MAX = 65_536
"""Connections are open files. Where the system allows more than a process begins with, so many are asked for."""


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
