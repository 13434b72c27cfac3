"""When a failed attempt is made again: exponential back-off with jitter, obeying `Retry-After`."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

ATTEMPTS_MAX = 10
ATTEMPTS_DEFAULT = 5

BACKOFF_DEFAULT_S = 1.0
BACKOFF_MIN_S = Decimal("0.1")
"""A decimal: the float 0.1 is a little more, and would refuse the 0.1 of a workflow."""

BACKOFF_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently one node is attempted. Seconds."""

    max_attempts: int = ATTEMPTS_DEFAULT
    backoff_s: float = BACKOFF_DEFAULT_S
    max_backoff_s: float = BACKOFF_MAX_S


def compile_retry(data: Mapping[str, Any]) -> RetryPolicy:
    """Read a node's `retry` object; raises ValueError with what is wrong with it."""
    if unknown := data.keys() - {"maxAttempts", "backoffSeconds", "maxBackoffSeconds"}:
        raise ValueError(f"has {len(unknown)} unknown member(s)")
    attempts = data.get("maxAttempts", ATTEMPTS_DEFAULT)
    if not isinstance(attempts, int) or isinstance(attempts, bool) or not 1 <= attempts <= ATTEMPTS_MAX:
        raise ValueError(f"maxAttempts must be an integer within 1 and {ATTEMPTS_MAX}")
    backoff_s = _seconds(data, "backoffSeconds", BACKOFF_DEFAULT_S)
    return RetryPolicy(attempts, backoff_s, _seconds(data, "maxBackoffSeconds", BACKOFF_MAX_S))


def delay_s(policy: RetryPolicy, attempt: int, jitter: float, retry_after_s: float | None) -> float | None:
    """Seconds to wait after attempt number `attempt` (from 1) failed; None when there is no further attempt.

    `jitter` is a random number within 0 and 1: the wait is between half and the whole of the exponential step, so
    that many executions which failed together do not come back together. `Retry-After` is a lower bound.
    """
    if attempt >= policy.max_attempts:
        return None
    step_s = min(policy.backoff_s * 2.0 ** (attempt - 1), policy.max_backoff_s)
    return max(step_s * (0.5 + jitter / 2), retry_after_s or 0.0)


def _seconds(data: Mapping[str, Any], name: str, default: float) -> float:
    value = data.get(name, default)
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if not is_number or not BACKOFF_MIN_S <= value <= BACKOFF_MAX_S:
        raise ValueError(f"{name} must be a number within {BACKOFF_MIN_S} and {BACKOFF_MAX_S:g}")
    return float(value)
