"""The calls of each node, as the journal tells of them."""

import pytest

from flowker.domain.attempts import attempts
from flowker.domain.audit import SYSTEM
from flowker.domain.executions import Aborted, Attempt, Event, Outcome, Postponed, Reopened, Settled, Started


def at(second: int) -> str:
    return f"2026-03-17T14:35:{second:02}.000000Z"


def started(second: int, *calls: tuple[str, int]) -> Started:
    return Started(at(second), calls)


FAILED_ONCE = Attempt(1, at(1), 200, 503, "no")
COMPLETED = Outcome("pay", "completed", {"status": 200}, None, 2, at(4), 100, 200)


def test_every_attempt_is_told_with_its_end() -> None:
    """That of an attempt with another after it, and that of the last one."""
    events: list[Event] = [
        started(1, ("pay", 1)),
        Postponed("pay", at(4), 2, FAILED_ONCE),
        started(4, ("pay", 2)),
        Settled(at(5), (COMPLETED,)),
    ]

    assert attempts(events) == {"pay": [FAILED_ONCE, Attempt(2, at(4), 100, 200, None)]}


def test_an_attempt_without_an_end_is_under_way() -> None:
    """Of two nodes that began together, one has ended."""
    events: list[Event] = [
        started(1, ("pay", 1), ("tell", 1)),
        Settled(at(5), (Outcome("tell", "failed", None, "reset", 1, at(1), 7),)),
    ]

    assert attempts(events) == {"pay": [Attempt(1, at(1))], "tell": [Attempt(1, at(1), 7, None, "reset")]}


@pytest.mark.parametrize("reason", [Aborted(at(9), "FLK-0503: late"), Reopened(at(9), SYSTEM, "FLK-0503: late")])
def test_an_attempt_that_was_given_up_keeps_an_unknown_end(reason: Event) -> None:
    """Nobody knows what became of it."""
    assert attempts([started(1, ("pay", 1)), reason]) == {"pay": [Attempt(1, at(1))]}


def test_an_attempt_that_is_made_again_after_a_crash_is_told_once() -> None:
    """With the time of the later start: it is the same attempt, with the same key."""
    events: list[Event] = [started(1, ("pay", 2)), started(7, ("pay", 2))]

    assert attempts(events) == {"pay": [Attempt(2, at(7))]}


def test_attempts_after_a_retry_are_counted_on() -> None:
    """Those before it stay in the list."""
    events: list[Event] = [
        started(1, ("pay", 1)),
        Settled(at(2), (Outcome("pay", "failed", None, "no", 1, at(1), 200, 503),)),
        Reopened(at(3), SYSTEM, "FLK-0504"),
        started(4, ("pay", 2)),
        Settled(at(5), (COMPLETED,)),
    ]

    assert attempts(events) == {"pay": [FAILED_ONCE, Attempt(2, at(4), 100, 200, None)]}


def test_what_was_begun_and_could_not_be_made_is_no_attempt() -> None:
    """The store was away; it is made under its number later."""
    away = Postponed("pay", at(2), 1)

    assert attempts([started(1, ("pay", 1)), away]) == {}
    assert attempts([started(1, ("pay", 1)), away, started(2, ("pay", 1))]) == {"pay": [Attempt(1, at(2))]}


def test_only_calls_are_attempts() -> None:
    """Built-in nodes, delays and skipped nodes make none."""
    events: list[Event] = [
        Postponed("wait", at(5), 1),
        Settled(at(5), (Outcome("wait", "completed"), Outcome("never", "skipped", attempts=0))),
    ]

    assert attempts(events) == {}
