"""How the cost of something grows, for tests that promise a bound on it: no machine's speed is in that."""

import time
from collections.abc import Callable

ROUNDS = 5
FACTOR = 10

LINEAR_MAX = 30
"""Between ten times as much, which is linear, and a hundred times, which is quadratic."""


def growth(work: Callable[[int], object], size: int) -> float:
    """How many times the processor's time it takes for ten times the size: the best of several rounds each."""
    return _best_ns(work, size * FACTOR) / _best_ns(work, size)


def _best_ns(work: Callable[[int], object], size: int) -> int:
    return min(_took_ns(work, size) for _ in range(ROUNDS))


def _took_ns(work: Callable[[int], object], size: int) -> int:
    began_ns = time.thread_time_ns()
    work(size)
    return max(1, time.thread_time_ns() - began_ns)
