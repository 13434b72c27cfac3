"""An execution in memory: what happened is taken in, in order, and what can be done next follows from it."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from flowker.domain.advance import begin, fold
from flowker.domain.audit import SYSTEM
from flowker.domain.errors import InternalError
from flowker.domain.executions import (
    Aborted,
    Accepted,
    Cancelled,
    Decided,
    Event,
    Outcome,
    Postponed,
    Reopened,
    Run,
    Settled,
    Started,
)
from flowker.domain.timestamps import format_timestamp, parse_timestamp
from flowker.domain.workflows import compile_definition
from flowker.engine.live import NEVER, Live
from flowker.engine.records import encode_entry

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Draw

T0_TEXT = "2026-03-17T14:35:00.000000Z"
T0 = parse_timestamp(T0_TEXT)

ACCEPTED = Accepted("one", "w", T0_TEXT, "t", {"amount": 1})

MakeLive = Callable[..., Live]


@pytest.fixture
def make_live() -> MakeLive:
    """An execution that was accepted at T0 with a time limit of 60 seconds."""

    def make(nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> Live:
        definition = compile_definition(nodes, edges, {}, {"http.request": "http"})
        plan = definition.plan("t")
        state = begin(plan, ACCEPTED)
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

    @pytest.mark.parametrize(
        ("action", "data"),
        [
            ("set_output", {"output": {"all": "{{$}}"}}),
            ("set_output", {"output": "{{$}}"}),
            ("log", {"message": "{{$}}"}),
            ("emit_event", {"eventType": "e", "payload": "{{$}}"}),
            ("transform", {"inputMapping": [{"source": "$", "target": "all"}]}),
        ],
    )
    def test_everything_that_a_node_sees_can_be_its_output(
        self, make_live: MakeLive, draw: "Draw", action: str, data: dict[str, Any]
    ) -> None:
        """As it was then: with the output in it, it would hold itself and had no end."""
        live = make_live([draw.trigger, draw.action("a", action, **data)], draw.chain("t", "a"))

        [event] = live.take_in([], T0)

        assert '"amount":1' in encode_entry(event)[1]
        assert live.state.status == "completed"

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

    def test_what_a_call_sees_is_not_changed_by_what_comes_later(self, make_live: MakeLive, draw: "Draw") -> None:
        """Its body is made of it while others end, and must be the same in a repeated call."""
        live = make_live([draw.trigger, draw.call("a"), draw.call("b")], draw.edges(("t", "a"), ("t", "b")))
        live.take_in([], T0)
        ready = live.ready_calls(T0)
        live.announce_calls(ready, T0_TEXT)
        seen = live.context_of(ready[1])
        before = dict(seen)

        live.take_in([settled("a", 1)], at(1))

        assert "a" in live.state.context
        assert seen == before

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


class TestFailing:
    def test_a_call_that_never_began_is_given_up_with_the_failure(self, make_live: MakeLive, draw: "Draw") -> None:
        """It would be something new; the attempt that was not made does not count."""
        live = make_live([draw.trigger, draw.call("c"), draw.call("d")], draw.edges(("t", "c"), ("t", "d")))
        live.take_in([], T0)

        events = live.take_in([settled("c", 1, "failed", "no")], at(1))

        assert events[-1] == Aborted(text(1), "FLK-0504: node c failed: no")
        assert (live.state.status, live.state.tried) == ("failed", {})

    def test_a_call_that_began_may_end(self, make_live: MakeLive, draw: "Draw") -> None:
        """Also after a restart: whether it arrived is not known, so that it is made again."""
        live = make_live([draw.trigger, draw.call("c"), draw.call("d")], draw.edges(("t", "c"), ("t", "d")))
        live.take_in([], T0)
        started = live.announce_calls(live.ready_calls(T0), text(0))

        live.take_in([settled("c", 1, "failed", "no")], at(1))

        assert started == Started(text(0), (("c", 1), ("d", 1)))
        assert not live.ended
        assert live.ready_calls(at(1)) == [Run("d")]

    def test_of_several_calls_only_those_that_began_are_made(self, make_live: MakeLive, draw: "Draw") -> None:
        """The others wait for the last of them to end, and are given up then."""
        nodes = [draw.trigger, draw.call("c"), draw.call("d"), draw.call("e")]
        live = make_live(nodes, draw.edges(("t", "c"), ("t", "d"), ("t", "e")))
        live.take_in([], T0)
        live.announce_calls([Run("c"), Run("d")], text(0))

        live.take_in([settled("c", 1, "failed", "no")], at(1))
        assert live.ready_calls(at(1)) == [Run("d")]

        live.take_in([settled("d", 2)], at(2))
        assert live.ended

    def test_after_a_retry_no_call_has_begun(self, make_live: MakeLive, draw: "Draw") -> None:
        """Those before it have ended, one way or the other."""
        live = make_live([draw.trigger, draw.call("c")], draw.chain("t", "c"))
        live.take_in([], T0)
        live.announce_calls([Run("c")], text(0))
        live.take_in([settled("c", 1, "failed", "no"), Reopened(text(2), SYSTEM, "FLK-0504")], at(2))
        assert live.ready_calls(at(2)) == [Run("c", 2, first=2)]

        live.take_in([Cancelled(text(2), SYSTEM)], at(2))

        assert live.ended


class TestApproval:
    def test_it_waits_beyond_the_time_limit(self, make_live: MakeLive, draw: "Draw") -> None:
        """As long as it is open there is none; it wakes when its own time is over."""
        live = make_live([draw.trigger, draw.action("ask", "approval", timeoutSeconds=600)], draw.chain("t", "ask"))

        live.take_in([], T0)

        assert live.deadline == NEVER
        assert live.wake_at() == at(600)
        assert live.take_in([], at(599)) == []

    def test_a_call_beside_it_keeps_its_time_when_it_is_given_up(self, make_live: MakeLive, draw: "Draw") -> None:
        """A time limit that was over long since would cut it off."""
        nodes = [draw.trigger, draw.action("ask", "approval", timeoutSeconds=600), draw.call("c")]
        live = make_live(nodes, draw.edges(("t", "ask"), ("t", "c")))
        live.take_in([], T0)
        live.announce_calls([Run("c")], text(0))

        live.take_in([Cancelled(text(300), SYSTEM)], at(300))

        assert not live.ended
        assert live.wake_at() == at(360)


class TestOutgrowing:
    def test_what_people_said_stays_and_what_nodes_produced_does_not(self, make_live: MakeLive, draw: "Draw") -> None:
        """The state is what the journal will tell: the one that is recorded, and what is kept."""
        live = make_live(
            [draw.trigger, draw.action("ask", "approval"), draw.action("a")], draw.chain("t", "ask", "a")
        )
        live.take_in([], T0)
        live.recorded = live.state
        decided = Decided(text(1), "ask", "approved", None, SYSTEM)
        events = live.take_in([decided], at(1))
        assert live.state.status == "completed"

        kept = live.outgrow(events, text(1), "FLK-0504: too large")

        assert kept == [decided, Aborted(text(1), "FLK-0504: too large")]
        assert (live.state.status, live.state.error) == ("failed", "FLK-0504: too large")
        assert set(live.state.outcomes) == {"ask"}
        assert fold(live.plan, [ACCEPTED, Postponed("ask", text(24 * 3600), 1), *kept]) == live.state


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
    """At its level, once that is recorded; the message may hold a customer's data and is not in it."""
    node = draw.action("note", "log", level=level, message="{{workflow.amount}}")
    live = make_live(
        [draw.trigger, node, draw.action("quiet", "set_output", output=1)], draw.chain("t", "note", "quiet")
    )

    with structlog.testing.capture_logs() as before:
        live.take_in([], T0)
    with structlog.testing.capture_logs() as lines:
        live.tell_recorded()
        live.tell_recorded()

    assert before == []
    assert lines == [{"event": "workflow logged", "log_level": level, "execution_id": "one", "node_id": "note"}]


async def _put_under_way(live: Live, run: Run) -> None:
    live.calls[asyncio.create_task(_return(settled(run.node_id, 0)))] = run
    await asyncio.wait(live.calls)


async def _never() -> Event:
    await asyncio.Event().wait()
    raise AssertionError


async def _return(value: Any) -> Any:
    return value
