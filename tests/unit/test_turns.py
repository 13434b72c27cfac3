"""How long a thread may keep others waiting follows what is being done."""

import sys
from collections.abc import Iterator

import pytest

from flowker import turns


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before_s)


def interval_s() -> float:
    return round(sys.getswitchinterval(), 6)


def test_threads_take_turns_more_often_until_the_last_work_ends() -> None:
    """Whoever ends first does not end it for the others."""
    turns.begin_work()
    with turns.work():
        beside_both_s = interval_s()
    beside_one_s = interval_s()
    turns.end_work()

    assert (beside_both_s, beside_one_s, interval_s()) == (turns.BESIDE_WORK_S, turns.BESIDE_WORK_S, turns.ALONE_S)


def test_work_that_raises_has_ended_too() -> None:
    """Or every thread would take turns more often for ever."""
    with pytest.raises(ZeroDivisionError), turns.work():
        raise ZeroDivisionError

    assert interval_s() == turns.ALONE_S
