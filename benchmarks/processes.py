"""What processes take, and where they run: Linux only, as the whole of the benchmarks."""

import os
from contextlib import suppress

import psutil

SERVER_CORE = 0
LOAD_CORE = (os.cpu_count() or 1) - 1
"""The last one: for the load, the far side, and PostgreSQL, which stands for another machine."""


def cpu_s(root: psutil.Process) -> float:
    """User and system time of a process, of all below it, and of those that ended and were waited for."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def memory_mb(root: psutil.Process) -> float:
    """Memory that would be free again if the process and all below it ended (USS)."""
    total_bytes = 0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total_bytes += process.memory_full_info().uss
    return float(total_bytes / 2**20)


def move_to_load_core() -> None:
    """This process, and what it starts without saying otherwise, stays out of the server's way."""
    os.sched_setaffinity(0, {LOAD_CORE})
