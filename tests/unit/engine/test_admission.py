"""Admission: as many are let in as are committed in a short time, learned from what is committed."""

import contextlib
from collections import deque
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from flowker.domain.errors import InternalError
from flowker.engine.admission import (
    PLACES_AT_FIRST,
    PLACES_MIN,
    TOLD_EVERY_S,
    WAIT_MAX_S,
    Admission,
    Place,
)
from flowker.engine.tallies import Tallies

STEP_S = 0.01
"""How far the hand turns at once: a writer commits ten times or more in the time that is counted."""


class World:
    """Requests that come at one rate, and a store that commits them at another, one after the other."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.tallies = Tallies()
        self.admission = Admission(self.tallies, lambda: self.now)
        self.waits_s: list[float] = []
        self._line: deque[Place] = deque()
        self._coming = self._going = 0.0

    def pass_time(self, seconds: float, *, come: float, go: float) -> None:
        """Let so many come and be committed a second."""
        for _ in range(round(seconds / STEP_S)):
            self.now += STEP_S
            self._coming += come * STEP_S
            self._going += go * STEP_S
            while self._going >= 1 and self._line:
                self._going -= 1
                self.commit()
            self._going = self._going if self._line else 0.0
            while self._coming >= 1:
                self._coming -= 1
                with contextlib.suppress(InternalError):
                    self.enter()

    def enter(self) -> None:
        self._line.append(self.admission.place())

    def commit(self) -> None:
        place = self._line.popleft()
        with place:
            self.waits_s.append(self.now - place.since)


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_within_capacity_is_let_in(world: World) -> None:
    """Nobody is refused, whatever was learned before from a lower load."""
    world.pass_time(5, come=50, go=1_000)
    world.pass_time(5, come=900, go=1_000)

    assert world.tallies.refused == 0
    assert world.admission.places >= PLACES_AT_FIRST


@pytest.mark.parametrize("go", [700, 2_000, 8_000])
@pytest.mark.parametrize("times", [1.5, 3, 10])
def test_beyond_capacity_all_that_can_be_done_is_let_in_and_waits_for_a_short_time(
    world: World, go: float, times: float
) -> None:
    """The rest is refused, whatever the store can do."""
    world.pass_time(2, come=times * go, go=go)
    world.waits_s.clear()
    world.pass_time(5, come=times * go, go=go)

    assert len(world.waits_s) >= 0.97 * 5 * go
    assert max(world.waits_s) <= 1.5 * WAIT_MAX_S


def test_a_store_that_became_slow_lets_in_less(world: World) -> None:
    """And as much as before when it is fast again."""
    world.pass_time(3, come=6_000, go=2_000)
    fast = world.admission.places
    world.pass_time(2, come=6_000, go=600)
    world.waits_s.clear()
    world.pass_time(3, come=6_000, go=600)
    slow, waits_s = world.admission.places, world.waits_s.copy()
    world.pass_time(3, come=6_000, go=2_000)

    assert max(waits_s) <= 1.5 * WAIT_MAX_S
    assert slow < fast / 2
    assert world.admission.places > 0.8 * fast


def test_a_store_that_stands_still_lets_a_few_wait(world: World) -> None:
    """The ones that were let in before it was known, and of those that come later a burst at most."""
    world.pass_time(3, come=200, go=2_000)

    world.pass_time(10, come=200, go=0)

    assert world.admission.taken == PLACES_MIN
    world.pass_time(1, come=0, go=2_000)
    world.tallies.refused = 0
    world.pass_time(5, come=200, go=2_000)
    assert world.tallies.refused == 0


def test_who_is_first_in_line_for_too_long_keeps_others_out(world: World) -> None:
    """Also when there are places: they were learned while the store was faster."""
    for _ in range(PLACES_MIN):
        world.enter()

    before = world.admission.refuses()
    world.now += WAIT_MAX_S + 0.001

    assert not before
    assert world.admission.refuses()
    world.commit()
    assert not world.admission.refuses()


def test_a_burst_is_let_in_after_a_stall(world: World) -> None:
    """The fewest places there are take sixty-four at once."""
    world.pass_time(5, come=1_000, go=100)
    world.pass_time(5, come=0, go=100)

    assert world.admission.places == PLACES_MIN
    for _ in range(64):
        world.enter()
    assert world.admission.refuses()


def test_a_place_is_given_back_whatever_happens(world: World) -> None:
    """What failed says nothing about how much can be committed."""
    places = world.admission.places
    for _ in range(10):
        world.now += 1
        with pytest.raises(ValueError, match="away"), world.admission.place():
            raise ValueError("away")

    assert (world.admission.taken, world.admission.places) == (0, places)


def test_a_place_is_given_back_out_of_turn(world: World) -> None:
    """Who is first in line is always somebody who still waits."""
    places = [world.admission.place() for _ in range(PLACES_MIN)]
    world.now += WAIT_MAX_S / 2
    world.enter()
    for place in places[1:]:
        place.__exit__(None)
    world.now += WAIT_MAX_S * 0.75

    places[0].__exit__(None)
    for _ in range(PLACES_MIN - 1):
        world.enter()

    assert not world.admission.refuses()


def test_refusals_are_counted_and_told_once_in_a_while(world: World) -> None:
    """However many there are."""
    for _ in range(PLACES_AT_FIRST):
        world.enter()

    with capture_logs() as lines:
        refuse(world, 1_000)
        world.now += TOLD_EVERY_S
        refuse(world, 1)

    assert world.tallies.refused == 1_001
    assert [(line["event"], line["refused"]) for line in lines] == [
        ("overloaded: requests refused", 1),
        ("overloaded: requests refused", 1_000),
    ]


def test_who_is_refused_hears_when_to_come_again(world: World) -> None:
    """As when the store is away: nothing was recorded."""
    for _ in range(PLACES_AT_FIRST):
        world.enter()

    with pytest.raises(InternalError) as refusal:
        world.enter()

    assert refusal.value.headers == {"Retry-After": "1"}


def refuse(world: World, times: int) -> None:
    ask: Callable[[], bool] = world.admission.refuses
    assert all(ask() for _ in range(times))
