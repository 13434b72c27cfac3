"""Circuit breakers, on a clock that is turned by hand: their states, their one probe, and what they go by."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from flowker.executors import breaker as module
from flowker.executors.breaker import (
    CLAIM_S,
    FAILURES_MAX,
    FORGOTTEN_AFTER_S,
    KEPT_MAX,
    OPEN_S,
    PROBE_MAX_S,
    PROBE_WAIT_S,
    Breaker,
    Breakers,
    far_side_lives,
)
from flowker.executors.calls import CallFailed, CallResult, CallSucceeded

SUCCESS = CallSucceeded({"status": 200})
LOST = CallFailed("the connection was lost", retryable=True)
REFUSED = CallFailed("the configuration has no valid base URL", retryable=False)


class Attempt:
    """Equal to every other one: only its identity tells it apart."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attempt)

    def __hash__(self) -> int:
        return 0


class Hand:
    """A clock, and the breakers that read it."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.breakers = Breakers(lambda: self.now_s)

    def turn(self, seconds: float) -> None:
        self.now_s += seconds

    def fail(self, configuration_id: str = "c", times: int = 1) -> None:
        for _ in range(times):
            self.breakers.settle(configuration_id, Attempt(), LOST)

    def half_open(self, configuration_id: str = "c") -> None:
        self.fail(configuration_id, FAILURES_MAX)
        self.turn(OPEN_S)


@pytest.fixture
def hand() -> Hand:
    return Hand()


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        breaker.settle(Attempt(), now_s, lives=False)
    return breaker


def answered(status: int, *, retryable: bool) -> CallFailed:
    return CallFailed("the far side answered", retryable, {"status": status})


class TestStates:
    def test_the_diagram_is_what_happens(self) -> None:
        """Every state with everything that can be done to it, and nothing that is not drawn."""
        drawn = set(re.findall(r"^    (\S+) ──\(.+\)──► (\S+)$", module.__doc__ or "", re.MULTILINE))

        assert drawn == _explore()

    def test_the_numbers_of_the_diagram_are_the_constants(self) -> None:
        """In words, where they are drawn."""
        assert f"({FAILURES_MAX} failures in a row)" in (module.__doc__ or "")
        assert f"({OPEN_S:g} s)" in (module.__doc__ or "")

    def test_failures_count_in_a_row(self, hand: Hand) -> None:
        """One success between them, and they are counted anew."""
        hand.fail(times=FAILURES_MAX - 1)
        hand.breakers.settle("c", Attempt(), SUCCESS)
        hand.fail(times=FAILURES_MAX - 1)

        assert hand.breakers.admit("c", Attempt()) == 0
        assert hand.breakers.states() == {}

    def test_an_open_one_says_how_long(self, hand: Hand) -> None:
        """Until a probe may ask."""
        hand.fail(times=FAILURES_MAX)
        hand.turn(OPEN_S - 0.5)

        assert hand.breakers.states() == {"c": "open"}
        assert hand.breakers.admit("c", Attempt()) == 0.5

    def test_half_open_lets_one_of_many_through(self, hand: Hand) -> None:
        """It may ask again; the others are told to come back."""
        hand.half_open()
        probe = Attempt()

        waits = [hand.breakers.admit("c", attempt) for attempt in [probe, *(Attempt() for _ in range(50)), probe]]

        assert hand.breakers.states() == {"c": "half-open"}
        assert waits == [0, *[PROBE_WAIT_S] * 50, 0]

    def test_a_probe_that_succeeds_closes(self, hand: Hand) -> None:
        """For everybody, and as if nothing had been."""
        hand.half_open()
        probe = Attempt()
        hand.breakers.admit("c", probe)
        hand.breakers.settle("c", probe, SUCCESS)
        hand.breakers.release("c", probe)
        hand.fail(times=FAILURES_MAX - 1)

        assert hand.breakers.admit("c", Attempt()) == 0

    def test_a_probe_that_fails_opens_anew(self, hand: Hand) -> None:
        """One failure is enough, and the time counts from it."""
        hand.half_open()
        probe = Attempt()
        hand.breakers.admit("c", probe)
        hand.turn(3)
        hand.breakers.settle("c", probe, LOST)
        hand.breakers.release("c", probe)

        assert hand.breakers.admit("c", Attempt()) == OPEN_S
        assert hand.breakers.openings == 2

    @pytest.mark.parametrize("late", [SUCCESS, LOST], ids=["success", "failure"])
    def test_calls_that_began_before_change_nothing(self, hand: Hand, late: CallResult) -> None:
        """Neither while it is open nor while the probe is under way."""
        hand.fail(times=FAILURES_MAX)
        hand.turn(1)
        hand.breakers.settle("c", Attempt(), late)
        while_open = hand.breakers.admit("c", Attempt())
        hand.turn(OPEN_S - 1)
        probe = Attempt()
        hand.breakers.admit("c", probe)
        hand.breakers.settle("c", Attempt(), late)

        assert while_open == OPEN_S - 1
        assert hand.breakers.states() == {"c": "half-open"}
        assert hand.breakers.admit("c", Attempt()) == PROBE_WAIT_S

    def test_configurations_have_a_breaker_each(self, hand: Hand) -> None:
        """One far side does not speak for another."""
        hand.fail("bad", FAILURES_MAX)

        assert hand.breakers.admit("good", Attempt()) == 0
        assert hand.breakers.counts() == {"open": 1}

    def test_a_change_is_logged_once(self, hand: Hand) -> None:
        """With the configuration."""
        with capture_logs() as logs:
            hand.half_open()
            probe = Attempt()
            hand.breakers.admit("c", probe)
            hand.breakers.settle("c", probe, SUCCESS)

        assert [(line["event"], line["configuration_id"]) for line in logs] == [
            ("circuit breaker opened", "c"),
            ("circuit breaker closed", "c"),
        ]


class TestProbesThatAreLost:
    def test_one_that_told_nothing_is_given_to_the_next(self, hand: Hand) -> None:
        """Cancelled, or refused by ourselves before anything was sent."""
        hand.half_open()
        probe, next_one = Attempt(), Attempt()
        hand.breakers.admit("c", probe)
        hand.breakers.begin("c", probe)
        hand.breakers.settle("c", probe, REFUSED)
        hand.breakers.release("c", probe)

        assert hand.breakers.admit("c", next_one) == 0
        assert hand.breakers.admit("c", probe) == PROBE_WAIT_S

    @pytest.mark.parametrize(("began", "lease_s"), [(False, CLAIM_S), (True, PROBE_MAX_S)])
    def test_one_that_is_never_heard_of_is_given_up(self, hand: Hand, *, began: bool, lease_s: float) -> None:
        """Sooner when its call never began."""
        hand.half_open()
        probe = Attempt()
        hand.breakers.admit("c", probe)
        if began:
            hand.breakers.begin("c", probe)
        hand.turn(lease_s - 1)
        before = hand.breakers.admit("c", Attempt())
        hand.turn(1)

        assert before == 1
        assert hand.breakers.admit("c", Attempt()) == 0

    def test_one_that_was_given_up_has_no_say(self, hand: Hand) -> None:
        """Its place was taken."""
        hand.half_open()
        lost, probe = Attempt(), Attempt()
        hand.breakers.admit("c", lost)
        hand.turn(CLAIM_S)
        hand.breakers.admit("c", probe)
        hand.breakers.begin("c", lost)
        hand.breakers.settle("c", lost, SUCCESS)
        hand.breakers.release("c", lost)

        assert hand.breakers.states() == {"c": "half-open"}
        assert hand.breakers.admit("c", Attempt()) == PROBE_WAIT_S

    def test_without_a_breaker_there_is_nothing_to_tell(self, hand: Hand) -> None:
        """As for most calls: their last one succeeded."""
        attempt = Attempt()
        hand.breakers.begin("c", attempt)
        hand.breakers.settle("c", attempt, SUCCESS)
        hand.breakers.release("c", attempt)

        assert hand.breakers._kept == {}


class TestBounds:
    def test_only_those_that_failed_last_are_kept(self, hand: Hand) -> None:
        """The one that failed longest ago goes first."""
        for number in range(KEPT_MAX):
            hand.fail(str(number))
        hand.fail("0", FAILURES_MAX)
        hand.fail("one more")

        assert len(hand.breakers._kept) == KEPT_MAX
        assert "1" not in hand.breakers._kept
        assert hand.breakers.states() == {"0": "open"}

    def test_one_that_closes_is_not_kept(self, hand: Hand) -> None:
        """It costs nothing."""
        hand.fail("a")
        hand.breakers.settle("a", Attempt(), answered(404, retryable=False))

        assert hand.breakers._kept == {}

    def test_what_nobody_calls_is_forgotten(self, hand: Hand) -> None:
        """It would be told as half-open for ever after its configuration was deleted."""
        hand.fail("asked", FAILURES_MAX)
        hand.fail("deleted", FAILURES_MAX)
        hand.turn(FORGOTTEN_AFTER_S)
        hand.breakers.admit("asked", Attempt())
        before = hand.breakers.counts()
        hand.turn(1)

        assert before == {"half-open": 2}
        assert hand.breakers.states() == {"asked": "half-open"}


class TestWhatCounts:
    @pytest.mark.parametrize(
        ("result", "lives"),
        [
            (SUCCESS, True),
            (CallSucceeded({"status": 503}), True),
            (answered(400, retryable=False), True),
            (answered(404, retryable=False), True),
            (answered(408, retryable=True), True),
            (answered(425, retryable=True), True),
            (answered(429, retryable=True), True),
            (answered(302, retryable=False), True),
            (answered(600, retryable=False), True),
            (answered(500, retryable=True), False),
            (answered(599, retryable=True), False),
            (LOST, False),
            (REFUSED, None),
        ],
    )
    def test_a_result_says_whether_the_far_side_lives(self, result: CallResult, lives: bool | None) -> None:
        """Any answer below 500 does; what we refuse ourselves says nothing."""
        assert far_side_lives(result) is lives

    @pytest.mark.parametrize("result", [answered(404, retryable=False), answered(429, retryable=True), REFUSED])
    def test_what_is_no_failure_never_opens(self, hand: Hand, result: CallResult) -> None:
        """However often it happens."""
        for _ in range(10 * FAILURES_MAX):
            hand.breakers.settle("c", Attempt(), result)

        assert hand.breakers.admit("c", Attempt()) == 0

    def test_our_own_refusals_do_not_part_failures(self, hand: Hand) -> None:
        """They are no success either."""
        hand.fail(times=FAILURES_MAX - 1)
        hand.breakers.settle("c", Attempt(), REFUSED)
        hand.fail()

        assert hand.breakers.states() == {"c": "open"}


RESULTS: dict[str, CallResult] = {"success": SUCCESS, "failure": LOST, "neither": REFUSED}
STEPS = st.tuples(
    st.sampled_from(["ask", "ask", "ask", "begin", "vanish", "turn", *RESULTS]),
    st.integers(0, 2),
    st.sampled_from([0.5, PROBE_WAIT_S, CLAIM_S, OPEN_S, PROBE_MAX_S]),
)
"""What is done, by which attempt, and how far the clock is turned."""


@given(st.lists(STEPS, min_size=20, max_size=60))
def test_there_is_never_more_than_one_probe(steps: list[tuple[str, int, float]]) -> None:
    """Whatever attempts do and in whatever order; and in the end there can always be one."""
    hand = Hand()
    hand.half_open()
    crowd = Crowd(hand)
    for step, which, seconds in steps:
        if step == "turn":
            hand.turn(seconds)
        else:
            crowd.take(step, which)
        assert crowd.probes() <= 1
    hand.turn(OPEN_S + PROBE_MAX_S)

    assert hand.breakers.admit("c", Attempt()) == 0


class Crowd:
    """Attempts that want through, and until when each that was let through may take its time."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._attempts = [Attempt() for _ in range(3)]
        self._under_way: dict[int, tuple[Attempt, float]] = {}

    def probes(self) -> int:
        return sum(self._hand.now_s < until_s for _, until_s in self._under_way.values())

    def take(self, step: str, which: int) -> None:
        """One step of one attempt, whether it was let through or not; one that vanishes is not heard of again."""
        breakers, attempt = self._hand.breakers, self._attempts[which]
        _, until_s = self._under_way.get(id(attempt), (attempt, 0.0))
        if step == "ask" and breakers.states() and breakers.admit("c", attempt) == 0:
            self._under_way[id(attempt)] = attempt, max(until_s, self._hand.now_s + CLAIM_S)
        elif step == "begin" and self._hand.now_s < until_s:
            breakers.begin("c", attempt)
            self._under_way[id(attempt)] = attempt, self._hand.now_s + PROBE_MAX_S
        elif step in RESULTS:
            breakers.settle("c", attempt, RESULTS[step])
            breakers.release("c", attempt)
            self._under_way.pop(id(attempt), None)
        if step == "vanish" or step in RESULTS:
            self._attempts[which] = Attempt()


def _explore() -> set[tuple[str, str]]:
    """Every change of state that any sequence of a few things brings about."""
    changes: set[tuple[str, str]] = set()
    for probe_s in (OPEN_S, OPEN_S + CLAIM_S, OPEN_S + PROBE_MAX_S):
        for lives in (True, False):
            for of_probe in (True, False):
                breaker, probe, states = Breaker(), Attempt(), ["closed"]
                for failure in range(FAILURES_MAX + 1):
                    breaker.settle(Attempt(), 0, lives=failure == 0)
                    states.append(breaker.state(0))
                states.append(breaker.state(OPEN_S))
                breaker.admit(probe, probe_s)
                breaker.begin(probe, probe_s)
                breaker.settle(probe if of_probe else Attempt(), probe_s, lives=lives)
                breaker.release(probe)
                states.append(breaker.state(probe_s))
                changes |= {(a, b) for a, b in pairwise(states) if a != b}
    return changes
