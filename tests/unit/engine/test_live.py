"""An execution in memory: what happened is taken in, in order, and what can be done next follows from it."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from flowker.domain.advance import begin
from flowker.domain.errors import InternalError
from flowker.domain.executions import Aborted, Accepted, Event, Outcome, Postponed, Run, Settled
from flowker.domain.timestamps import format_timestamp, parse_timestamp
from flowker.domain.workflows import compile_definition
from flowker.engine.live import Live

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Draw

T0_TEXT = "2026-03-17T14:35:00.000000Z"
T0 = parse_timestamp(T0_TEXT)

MakeLive = Callable[..., Live]


@pytest.fixture
def make_live() -> MakeLive:
    """An execution that was accepted at T0 with a time limit of 60 seconds."""

    def make(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> Live:
        definition = compile_definition(nodes, edges, {}, {"http.request": "http"})
        plan = definition.plan("t")
        state = begin(plan, Accepted("one", "w", T0_TEXT, "t", {"amount": 1}))
        return Live("one", plan, state, 1, 60)

    return make


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def text(seconds: float) -> str:
    return format_timestamp(at(seconds))


def settled(node_id: str, seconds: float, status: Any = "completed", error: str | None = None) -> Settled:
    return Settled(text(seconds), (Outcome(node_id, status, {}, error, executed_at=text(seconds)),))


class TestTakingIn:
    def test_waves_of_built_in_nodes_are_one_event(self, make_live: MakeLive, draw: "Draw") -> None:
        """They take no time, so that one journal entry tells of all."""
        live = make_live([draw.trigger, draw.action("a"), draw.action("b")], draw.chain("t", "a", "b"))

        events = live.take_in([], T0)

        [event] = events
        assert isinstance(event, Settled)
        assert [outcome.node_id for outcome in event.outcomes] == ["a", "b"]
        assert live.ended

    def test_what_arrived_comes_before_what_follows_from_it(self, make_live: MakeLive, draw: "Draw") -> None:
        """Outcomes of one moment are merged; an earlier one stays an entry of its own."""
        live = make_live([draw.trigger, draw.call("c"), draw.action("a")], draw.chain("t", "c", "a"))
        live.take_in([], T0)

        events = live.take_in([settled("c", 1)], at(2))

        assert [event.at for event in events if isinstance(event, Settled)] == [text(1), text(2)]
        assert live.ended

    def test_outcomes_of_the_same_moment_are_merged(self, make_live: MakeLive, draw: "Draw") -> None:
        """Two calls that ended together are one entry, in their order."""
        live = make_live([draw.trigger, draw.call("c"), draw.call("d")], draw.edges(("t", "c"), ("t", "d")))
        live.take_in([], T0)

        events = live.take_in([settled("d", 1), settled("c", 1)], at(1))

        [event] = events
        assert isinstance(event, Settled)
        assert [outcome.node_id for outcome in event.outcomes] == ["d", "c"]

    def test_a_wait_stands_between_outcomes(self, make_live: MakeLive, draw: "Draw") -> None:
        """What happened in between keeps its place."""
        live = make_live([draw.trigger, draw.call("c"), draw.call("d")], draw.edges(("t", "c"), ("t", "d")))
        live.take_in([], T0)
        arrived: list[Event] = [settled("c", 1), Postponed("d", text(5), 2)]

        assert live.take_in(arrived, at(1)) == arrived

    def test_a_delay_and_an_action_beside_it_are_two_events(self, make_live: MakeLive, draw: "Draw") -> None:
        """The delay is noted with its time, the action with its outcome."""
        nodes = [draw.trigger, draw.action("d", "delay", seconds=5), draw.action("a")]
        live = make_live(nodes, draw.edges(("t", "d"), ("t", "a")))

        events = live.take_in([], T0)

        assert events[0] == Postponed("d", text(5), 1)
        assert isinstance(events[1], Settled)
        assert not live.ended

    def test_a_delay_of_nothing_is_over_at_once(self, make_live: MakeLive, draw: "Draw") -> None:
        """Zero seconds are no reason to park."""
        live = make_live([draw.trigger, draw.action("d", "delay", seconds=0)], draw.chain("t", "d"))

        live.take_in([], T0)

        assert live.ended

    def test_nothing_new_is_nothing_to_record(self, make_live: MakeLive, draw: "Draw") -> None:
        """A timer that rang a moment early changes nothing."""
        live = make_live([draw.trigger, draw.action("d", "delay", seconds=5)], draw.chain("t", "d"))
        live.take_in([], T0)

        assert live.take_in([], at(4.9)) == []


class TestTimeLimit:
    def test_it_ends_an_execution_at_its_moment(self, make_live: MakeLive, draw: "Draw") -> None:
        """What is open is given up; the message names the limit."""
        live = make_live([draw.trigger, draw.call("c")], draw.chain("t", "c"))
        live.take_in([], T0)

        events = live.take_in([], at(60))

        assert events == [Aborted(text(60), "FLK-0503: the execution reached its time limit of 60 s")]
        assert live.ended

    def test_an_end_at_the_same_moment_comes_first(self, make_live: MakeLive, draw: "Draw") -> None:
        """The call ended in time and was only looked at late."""
        live = make_live([draw.trigger, draw.call("c")], draw.chain("t", "c"))
        live.take_in([], T0)

        live.take_in([settled("c", 59)], at(61))

        assert live.state.status == "completed"

    def test_the_failure_before_it_is_the_one_that_counts(self, make_live: MakeLive, draw: "Draw") -> None:
        """One branch failed, the other still runs at the limit: the reason is the failure."""
        live = make_live([draw.trigger, draw.call("c"), draw.call("d")], draw.edges(("t", "c"), ("t", "d")))
        live.take_in([], T0)
        live.take_in([settled("c", 1, "failed", "no funds")], at(1))

        live.take_in([], at(60))

        assert live.ended
        assert live.state.status == "failed"
        assert live.state.error == "FLK-0504: node c failed: no funds"


class TestWhatIsNext:
    def test_a_call_is_ready_until_it_is_under_way(self, make_live: MakeLive, draw: "Draw") -> None:
        """No attempt is started twice."""
        live = make_live([draw.trigger, draw.call("c")], draw.chain("t", "c"))
        live.take_in([], T0)

        ready = live.ready_calls(T0)
        asyncio.run(_put_under_way(live, ready[0]))

        assert ready == [Run("c")]
        assert live.ready_calls(T0) == []

    def test_a_further_attempt_is_ready_at_its_time(self, make_live: MakeLive, draw: "Draw") -> None:
        """And not before."""
        live = make_live([draw.trigger, draw.call("c")], draw.chain("t", "c"))
        live.take_in([Postponed("c", text(5), 2)], T0)

        assert live.ready_calls(at(4.999)) == []
        assert live.ready_calls(at(5)) == [Run("c", 2, text(5))]

    def test_nothing_is_ready_after_the_end(self, make_live: MakeLive, draw: "Draw") -> None:
        """An execution that has ended has nothing open."""
        live = make_live([draw.trigger], [])

        assert live.ended
        assert live.ready_calls(T0) == []

    def test_it_wakes_at_its_earliest_wait(self, make_live: MakeLive, draw: "Draw") -> None:
        """Of two delays the shorter one."""
        nodes = [draw.trigger, draw.action("d", "delay", seconds=30), draw.action("e", "delay", seconds=5)]
        live = make_live(nodes, draw.edges(("t", "d"), ("t", "e")))
        live.take_in([], T0)

        assert live.wake_at() == at(5)

    def test_it_wakes_at_the_time_limit_at_the_latest(self, make_live: MakeLive, draw: "Draw") -> None:
        """A longer delay is cut off there."""
        live = make_live([draw.trigger, draw.action("d", "delay", seconds=600)], draw.chain("t", "d"))
        live.take_in([], T0)

        assert live.wake_at() == at(60)

    def test_the_time_of_an_attempt_that_is_under_way_is_past(self, make_live: MakeLive, draw: "Draw") -> None:
        """Waiting for it would be a timer that rings at once, again and again."""
        live = make_live([draw.trigger, draw.call("c")], draw.chain("t", "c"))
        live.take_in([Postponed("c", text(5), 2)], T0)
        asyncio.run(_put_under_way(live, Run("c", 2, text(5))))

        assert live.wake_at() == at(60)


class TestCollecting:
    async def test_calls_that_ended_are_taken_from_those_under_way(self, make_live: MakeLive, draw: "Draw") -> None:
        """Timers among what is done are not calls."""
        live = make_live([draw.trigger, draw.call("c"), draw.call("d")], draw.edges(("t", "c"), ("t", "d")))
        ended = asyncio.create_task(_return(settled("c", 1)))
        open_ = asyncio.create_task(_never())
        live.calls = {ended: Run("c"), open_: Run("d")}
        await ended

        events = live.collect()

        assert events == [settled("c", 1)]
        assert live.calls == {open_: Run("d")}
        open_.cancel()

    async def test_a_call_that_was_cancelled_is_an_error_like_any_other(
        self, make_live: MakeLive, draw: "Draw"
    ) -> None:
        """Whoever collects must not take it for its own cancellation."""
        live = make_live([draw.trigger, draw.call("c")], draw.chain("t", "c"))
        call = asyncio.create_task(_return(settled("c", 1)))
        live.calls = {call: Run("c")}
        call.cancel()
        await asyncio.wait([call])

        with pytest.raises(InternalError):
            live.collect()


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_a_log_action_writes_a_line_that_names_its_place(level: str, make_live: MakeLive, draw: "Draw") -> None:
    """At its level; the message may hold a customer's data and is not in it."""
    node = draw.action("note", "log", level=level, message="{{workflow.amount}}")
    live = make_live(
        [draw.trigger, node, draw.action("quiet", "set_output", output=1)], draw.chain("t", "note", "quiet")
    )

    with structlog.testing.capture_logs() as lines:
        live.take_in([], T0)

    assert lines == [{"event": "workflow logged", "log_level": level, "execution_id": "one", "node_id": "note"}]


async def _put_under_way(live: Live, run: Run) -> None:
    live.calls[asyncio.create_task(_return(settled(run.node_id, 0)))] = run
    await asyncio.wait(live.calls)


async def _never() -> Event:
    await asyncio.Event().wait()
    raise AssertionError


async def _return(value: Any) -> Any:
    return value
