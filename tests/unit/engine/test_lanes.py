"""Places for calls: a configuration has so many of them, and whoever finds none is called in turn."""

import pytest

from flowker.engine.lanes import IN_LINE_MAX, LOOK_AFTER_S, PLACES_MAX, PLACES_MIN, Lanes


class Bench:
    """Lanes of few workers, and who was woken."""

    def __init__(self, in_line_max: int = IN_LINE_MAX) -> None:
        self.woken: list[str] = []
        self.lanes = Lanes(1, self.woken.append, in_line_max=in_line_max)
        for number in range(PLACES_MIN):
            assert self.admit(f"first-{number}")

    def admit(self, execution_id: str, node_id: str = "n", configuration_id: str = "slow") -> bool:
        return self.lanes.admit(execution_id, node_id, configuration_id)

    def leave(self, number: int) -> None:
        self.lanes.leave(f"first-{number}", "n")


@pytest.fixture
def full() -> Bench:
    """All places of one configuration are taken."""
    return Bench()


class TestPlaces:
    @pytest.mark.parametrize(("workers", "places"), [(1, PLACES_MIN), (256, 64), (10_000, PLACES_MAX)])
    def test_a_configuration_gets_a_quarter_of_the_workers(self, workers: int, places: int) -> None:
        """Not less than the branches of one execution need, and not more than there are connections for."""
        assert Lanes(workers, print).places_max == places

    def test_a_full_configuration_leaves_the_others_alone(self, full: Bench) -> None:
        """A place at one far side has nothing to do with another one's."""
        assert not full.admit("late")
        assert full.admit("late", "m", "fast")

    def test_to_ask_again_takes_no_second_place(self, full: Bench) -> None:
        """Whoever has a place keeps it, and whoever stands in line keeps the position."""
        assert full.admit("first-0")
        assert not full.admit("late")
        assert not full.admit("late")

        assert full.lanes.in_line == 1

    def test_nothing_is_kept_of_calls_that_are_over(self, full: Bench) -> None:
        """Configurations and executions come and go for years."""
        full.admit("late")
        for number in range(PLACES_MIN):
            full.leave(number)
        full.lanes.leave("late", "n")
        full.lanes.leave("late", "n")

        assert not full.lanes.has_place("late")
        assert vars(full.lanes)["_lanes"] == vars(full.lanes)["_tickets"] == {}
        assert full.lanes.in_line == 0


class TestLine:
    def test_they_are_called_in_the_order_in_which_they_came(self, full: Bench) -> None:
        """The place is kept for whoever is called: nobody who comes meanwhile gets it."""
        assert not full.admit("second")
        assert not full.admit("third")

        full.leave(0)

        assert full.woken == ["second"]
        assert not full.admit("fourth")
        assert full.admit("second")
        full.leave(1)
        assert full.woken == ["second", "third"]

    def test_a_place_that_is_not_wanted_any_more_goes_to_the_next(self, full: Bench) -> None:
        """An execution was cancelled after it had been called."""
        full.admit("second")
        full.admit("third")
        full.leave(0)

        full.lanes.keep_only("second", ())

        assert full.woken == ["second", "third"]
        assert not full.lanes.has_place("second")

    def test_who_leaves_the_line_is_not_called(self, full: Bench) -> None:
        """An execution reached its time limit in line."""
        full.admit("second")
        full.admit("third")

        full.lanes.keep_only("second", ())
        full.leave(0)

        assert full.woken == ["third"]

    def test_the_calls_of_an_execution_are_told_apart(self, full: Bench) -> None:
        """Two branches through the same configuration stand in line one after the other."""
        full.admit("second", "a")
        full.admit("second", "b")

        full.leave(0)

        assert full.lanes.has_place("second", {"a"})
        assert not full.lanes.has_place("second", {"b"})
        full.lanes.keep_only("second", {"b"})
        assert full.lanes.has_place("second", {"b"})

    def test_a_line_without_end_keeps_no_more_positions(self) -> None:
        """They look by themselves later; a place that is free then is theirs."""
        full = Bench(in_line_max=1)
        full.admit("second")

        assert not full.admit("third")

        assert full.lanes.in_line == 1
        full.lanes.keep_only("second", ())
        full.leave(0)
        assert full.admit("third")

    def test_a_long_line_looks_seldom(self, full: Bench) -> None:
        """Thousands that look every ten seconds would be work for a whole processor."""
        assert full.lanes.look_after_s("slow") == full.lanes.look_after_s("unknown") == LOOK_AFTER_S

        for number in range(3_000):
            full.admit(f"late-{number}")

        assert full.lanes.look_after_s("slow") == 100
