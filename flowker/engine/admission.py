"""Who may still be let in: as many acceptances as the store can commit in a short time, and no more.

Under more load than there is capacity for, a queue only decides how long everybody waits. So what waits for its
commit is bounded by time and not by a fixed number: by Little's law, the places that are taken divided by the commits
a second are the wait of whoever comes next, and the commits are counted all the time. Beyond that, a request is
refused before anything is done for it, which costs a small part of what accepting it would.

    full = many places are taken, and (all of them, or who is first in line waits for too long)

More places are learned from every count that is higher, fewer only from acceptances that took too long: a quiet hour
says nothing about what could have been done. What was accepted is never refused anything here: executions make
progress whatever the line is.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from flowker.domain.errors import InternalError
from flowker.engine.tallies import Tallies

WAIT_MAX_S: Final = 0.15
"""How long an acceptance may wait for its commit. An answer comes within twice that."""

PLACES_MIN: Final = 64
"""Always let in, also when the store has stalled: so many share one commit, so a burst of them is no overload."""

PLACES_AT_FIRST: Final = 200
"""What a store takes in the time that commits a thousand a second; what it is really like is learned in a second."""

COUNTED_S: Final = 0.1
"""Commits come in groups: in a shorter time a count would say more about the groups than about the store."""

WEIGHT: Final = 0.5
"""How much of a count is believed: a single one may have met a pause of the machine."""

TOLD_EVERY_S: Final = 10.0
"""At most one line in the log in this time, however many are refused."""

log = structlog.get_logger("flowker.engine")


class Admission:
    """Gives out the places before the writer; kept by the event loop alone."""

    def __init__(self, tallies: Tallies, read_s: Callable[[], float] = time.monotonic) -> None:
        self._tallies = tallies
        self._read_s = read_s
        self._places = float(PLACES_AT_FIRST)
        self._taken = 0
        self._line: deque[Place] = deque()
        self._count_began = 0.0
        self._committed = 0
        self._waited_s = 0.0
        self._told_at: float | None = None
        self._refused_untold = 0

    @property
    def places(self) -> int:
        """How many acceptances may wait at the same time, as it was learned."""
        return int(self._places)

    @property
    def taken(self) -> int:
        return self._taken

    def refuses(self) -> bool:
        """Whether one more has to be refused now; if so, it counts as refused."""
        if not self._is_full():
            return False
        self._count_refusal()
        return True

    def place(self) -> "Place":
        """A place for `with`, around the commit and nothing else; raises InternalError when none is left."""
        if self.refuses():
            raise overloaded()
        now = self._read_s()
        if not self._taken:
            self._begin_count(now)
        place = Place(self, now)
        self._line.append(place)
        self._taken += 1
        return place

    def leave(self, place: "Place", *, committed: bool) -> None:
        self._taken -= 1
        while self._line and self._line[0].is_left:
            self._line.popleft()
        if committed:
            # What failed at once says nothing about how much can be committed.
            now = self._read_s()
            self._committed += 1
            self._waited_s += now - place.since
            if now - self._count_began >= COUNTED_S:
                self._learn(now)

    def _is_full(self) -> bool:
        if self._taken < PLACES_MIN:
            return False
        return self._taken >= self._places or self._read_s() - self._line[0].since > WAIT_MAX_S

    def _learn(self, now: float) -> None:
        fitting = self._committed / (now - self._count_began) * WAIT_MAX_S
        too_long = self._waited_s > self._committed * WAIT_MAX_S
        if too_long or fitting > self._places:
            self._places = max(PLACES_MIN, self._places + WEIGHT * (fitting - self._places))
        self._begin_count(now)

    def _begin_count(self, now: float) -> None:
        self._count_began, self._committed, self._waited_s = now, 0, 0.0

    def _count_refusal(self) -> None:
        self._tallies.refused += 1
        self._refused_untold += 1
        now = self._read_s()
        if self._told_at is None or now - self._told_at >= TOLD_EVERY_S:
            log.warning(
                "overloaded: requests refused", refused=self._refused_untold, waiting=self._taken, places=self.places
            )
            self._told_at, self._refused_untold = now, 0


class Place:
    """A place that is taken until its `with` ends."""

    __slots__ = ("_admission", "is_left", "since")

    def __init__(self, admission: Admission, since: float) -> None:
        self._admission = admission
        self.since = since
        self.is_left = False

    def __enter__(self) -> None:
        """It was taken when it was given."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.is_left = True
        self._admission.leave(self, committed=kind is None)


def overloaded() -> InternalError:
    """What is refused hears that nothing was recorded, and when to come again."""
    return InternalError(headers={"Retry-After": "1"})
