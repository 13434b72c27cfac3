"""What was counted since the start: whole numbers that only grow, for whoever asks. Nobody waits for them.

They are kept by the event loop alone, and lost with the process: what must be exact is in the store.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from flowker.executors.breaker import far_side_lives
from flowker.executors.client import CallResult, CallSucceeded

DURATION_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""From a neighbour on the same network to the longest timeout."""

Ending = Literal["succeeded", "refused", "failed", "not_sent"]
"""How a call ended: as wanted, by an answer below 500 that was not wanted, by the far side's fault, by ours."""


@dataclass(slots=True)
class Durations:
    """Durations by the first bound that they do not exceed; the last count is of those that exceed them all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(DURATION_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


@dataclass(slots=True)
class Tallies:
    """What was committed and refused, by status of the end; what was called, by executor and ending."""

    accepted: int = 0
    refused: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    calls: Counter[tuple[str, Ending]] = field(default_factory=Counter)
    durations: dict[str, Durations] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    held_off: Counter[str] = field(default_factory=Counter)

    def call_ended(self, executor_id: str, result: CallResult, duration: timedelta) -> None:
        self.calls[executor_id, ending(result)] += 1
        # A clock that was set back makes no time negative.
        self.durations.setdefault(executor_id, Durations()).add(max(0.0, duration.total_seconds()))


def ending(result: CallResult) -> Ending:
    if isinstance(result, CallSucceeded):
        return "succeeded"
    lives = far_side_lives(result)
    if lives is None:
        return "not_sent"
    return "refused" if lives else "failed"
