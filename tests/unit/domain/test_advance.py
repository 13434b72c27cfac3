"""What follows from what happened: examples of each rule, and random graphs against a slow literal interpreter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker import jsontext
from flowker.domain.advance import CANCELLED, advance, begin, fold, is_limited
from flowker.domain.audit import SYSTEM, Actor
from flowker.domain.executions import (
    Aborted,
    Accepted,
    Cancelled,
    Decided,
    Decision,
    Event,
    Outcome,
    Postponed,
    Reopened,
    Run,
    Settled,
    Started,
    State,
    final_output,
)
from flowker.domain.journal import decode_event, encode_event
from flowker.domain.workflows import Plan, compile_definition

INPUT = {"yes": True, "no": False, "text": "seven"}
TEMPLATES: dict[str, dict[str, Any]] = {
    "conditional": {"type": "conditional", "data": {"condition": "workflow.yes"}},
    "action": {"type": "action", "data": {"action": "log"}},
    "set_output": {"type": "action", "data": {"action": "set_output", "output": 1}},
    "executor": {"type": "executor", "data": {"executorId": "http.request"}},
    "approval": {"type": "action", "data": {"action": "approval"}},
}

_BY_DECISION = ("ask>pay:approved", "ask>refuse:rejected")

BROKEN = "workflow.text > 1"
"""An ordering of a text that is no number and a number: it has no answer."""


def time_at(tick: int) -> str:
    return f"2026-03-17T14:35:{tick:09.6f}Z"


ADA = Actor("api_key", "ada", None)

ACCEPTED = Accepted("e-1", "w-1", time_at(0), "t", INPUT)


def make_node(id_: str, kind: str, join: str = "any") -> dict[str, Any]:
    template = TEMPLATES[kind]
    return {"id": id_, "type": template["type"], "data": {**template["data"], "join": join}}


def make_plan(nodes: Sequence[dict[str, Any]], edges: Sequence[dict[str, Any]]) -> Plan:
    trigger = {"id": "t", "type": "trigger", "data": {}}
    return compile_definition([trigger, *nodes], edges, {}, {"http.request": "http"}).plan("t")


def plan_of(kinds: dict[str, str], *arrows: str, join: str = "any") -> Plan:
    """`arrows` are written `a>b`, `a>b:handle` and `a>b?condition`."""
    edges = []
    for arrow in arrows:
        path, _, condition = arrow.partition("?")
        path, _, handle = path.partition(":")
        source, target = path.split(">")
        edges.append(
            {"id": arrow, "source": source, "target": target, "sourceHandle": handle, "condition": condition}
        )
    return make_plan([make_node(id_, kind, join) for id_, kind in kinds.items()], edges)


def done(node_id: str, output: Any = None) -> Outcome:
    return Outcome(node_id, "completed", output)


def failed(node_id: str, error: str = "no") -> Outcome:
    return Outcome(node_id, "failed", error=error)


def branch(node_id: str, taken: str) -> Outcome:
    return Outcome(node_id, "completed", {"condition": "c", "result": taken == "true", "branchTaken": taken})


def settle(plan: Plan, state: State, *outcomes: Outcome, tick: int = 1) -> State:
    return advance(plan, state, Settled(time_at(tick), outcomes))[0]


def reopened(tick: int) -> Reopened:
    return Reopened(time_at(tick), ADA, "FLK-0504")


def statuses(state: State) -> dict[str, str]:
    return {node_id: outcome.status for node_id, outcome in state.outcomes.items()}


class TestBeginning:
    def test_a_run_starts_at_its_trigger_which_is_no_step(self) -> None:
        """What the trigger leads to is open at once."""
        state = begin(plan_of({"a": "action", "b": "action"}, "t>a", "a>b"), ACCEPTED)

        assert state.open == {"a": Run("a", attempt=1, not_before=None)}
        assert (state.status, state.error, state.steps_done) == ("running", None, 0)

    def test_the_context_holds_the_input_and_the_execution(self) -> None:
        """Conditions and templates see both."""
        context = begin(plan_of({"a": "action"}, "t>a"), ACCEPTED).context

        assert context == {
            "workflow": INPUT,
            "execution": {"id": "e-1", "workflowId": "w-1", "startedAt": time_at(0)},
        }

    def test_a_trigger_that_leads_nowhere_completes_at_once(self) -> None:
        """Nothing is left to run."""
        state = begin(plan_of({"a": "action"}), ACCEPTED)

        assert (state.status, state.open, state.outcomes) == ("completed", {}, {})

    def test_branches_without_a_dependency_run_in_parallel(self) -> None:
        """Both are open."""
        state = begin(plan_of({"a": "action", "b": "action", "c": "action"}, "t>a", "t>b", "b>c"), ACCEPTED)

        assert set(state.open) == {"a", "b"}
        assert set(
            settle(plan_of({"a": "action", "b": "action", "c": "action"}, "t>a", "t>b", "b>c"), state, done("b")).open
        ) == {"a", "c"}

    def test_the_conditions_of_the_triggers_edges_decide(self) -> None:
        """A skipped first node is a step, with the time of the start and no attempt."""
        state = begin(plan_of({"a": "action", "b": "action"}, "t>a?workflow.yes", "t>b?workflow.no"), ACCEPTED)

        assert set(state.open) == {"a"}
        assert state.outcomes == {"b": Outcome("b", "skipped", None, None, 0, time_at(0), 0)}

    def test_a_start_condition_without_an_answer_fails_the_execution(self) -> None:
        """Nothing starts, not even what the other edges lead to."""
        state = begin(plan_of({"a": "action", "b": "action"}, f"t>a?{BROKEN}", "t>b"), ACCEPTED)

        assert (state.status, state.open) == ("failed", {})
        assert state.error is not None
        assert state.error.startswith("FLK-0504: the condition of edge t>a?workflow.text > 1 cannot be evaluated: ")


class TestEdges:
    def test_an_edge_without_a_condition_is_taken(self) -> None:
        """When its source completed."""
        plan = plan_of({"a": "action", "b": "action"}, "t>a", "a>b")
        state, runs = advance(plan, begin(plan, ACCEPTED), Settled(time_at(1), (done("a"),)))

        assert runs == [Run("b")]
        assert state.taken == {"t>a": True, "a>b": True}

    def test_a_condition_sees_the_output_of_its_source(self) -> None:
        """It is evaluated when its source completed."""
        plan = plan_of({"a": "action", "b": "action", "c": "action"}, "t>a", "a>b?a.ok == 7", "a>c?a.ok != 7")
        state = settle(plan, begin(plan, ACCEPTED), done("a", {"ok": 7}))

        assert set(state.open) == {"b"}
        assert statuses(state) == {"a": "completed", "c": "skipped"}

    @pytest.mark.parametrize(("taken", "opened"), [("true", {"yes1", "yes2", "both"}), ("false", {"no", "both"})])
    def test_a_conditional_takes_all_edges_of_its_branch_and_those_without_a_handle(
        self, taken: str, opened: set[str]
    ) -> None:
        """The other branch is skipped."""
        kinds = {"if": "conditional"} | dict.fromkeys(["yes1", "yes2", "no", "both"], "action")
        plan = plan_of(kinds, "t>if", "if>yes1:true", "if>yes2:true", "if>no:false", "if>both")
        state = settle(plan, begin(plan, ACCEPTED), branch("if", taken))

        assert set(state.open) == opened
        assert set(state.outcomes) == {"if", "yes1", "yes2", "no", "both"} - opened

    def test_a_handle_and_a_condition_must_both_hold(self) -> None:
        """On one edge."""
        plan = plan_of(
            {"if": "conditional", "a": "action", "b": "action"},
            "t>if",
            "if>a:true?workflow.no",
            "if>b:true?workflow.yes",
        )

        assert set(settle(plan, begin(plan, ACCEPTED), branch("if", "true")).open) == {"b"}

    def test_not_taken_propagates(self) -> None:
        """A skipped node's edges are not taken, whatever their conditions say; they are not even evaluated."""
        plan = plan_of(dict.fromkeys("abcd", "action"), "t>a", "t>b?workflow.no", f"b>c?{BROKEN}", "c>d?workflow.yes")
        state = begin(plan, ACCEPTED)

        assert statuses(state) == {"b": "skipped", "c": "skipped", "d": "skipped"}
        assert (state.status, set(state.open)) == ("running", {"a"})

    def test_an_edge_condition_without_an_answer_fails_the_execution(self) -> None:
        """The node itself completed; nothing new starts."""
        plan = plan_of(dict.fromkeys("abc", "action"), "t>a", "a>b", f"a>c?{BROKEN}")
        state = settle(plan, begin(plan, ACCEPTED), done("a"))

        assert (state.status, statuses(state)) == ("failed", {"a": "completed", "c": "skipped"})
        assert state.error is not None
        assert "workflow.text" in state.error


class TestJoins:
    def test_a_join_waits_for_each_incoming_edge(self) -> None:
        """Also when one was taken already."""
        plan = plan_of(dict.fromkeys("abc", "action"), "t>a", "t>b", "a>c", "b>c")
        state = settle(plan, begin(plan, ACCEPTED), done("a"))

        assert set(state.open) == {"b"}
        assert set(settle(plan, state, done("b")).open) == {"c"}

    @pytest.mark.parametrize(("join", "status"), [("any", None), ("all", "skipped")])
    def test_one_taken_edge_is_enough_unless_the_join_wants_all(self, join: str, status: str | None) -> None:
        """`any` of the taken edges after all are decided, or `all`."""
        plan = plan_of(dict.fromkeys("abc", "action"), "t>a", "t>b?workflow.no", "a>c", "b>c", join=join)
        state = settle(plan, begin(plan, ACCEPTED), done("a"))

        assert statuses(state).get("c") == status
        assert ("c" in state.open) == (status is None)

    def test_all_runs_when_all_edges_were_taken(self) -> None:
        """It is no synonym for never."""
        plan = plan_of(dict.fromkeys("abc", "action"), "t>a", "t>b", "a>c", "b>c", join="all")

        assert set(settle(plan, begin(plan, ACCEPTED), done("a"), done("b")).open) == {"c"}

    def test_a_join_runs_once_though_two_edges_come_from_one_node(self) -> None:
        """Several handles may lead to the same node."""
        plan = plan_of({"if": "conditional", "a": "action"}, "t>if", "if>a:true", "if>a:false")
        state, runs = advance(plan, begin(plan, ACCEPTED), Settled(time_at(1), (branch("if", "true"),)))

        assert runs == [Run("a")]
        assert state.taken == {"t>if": True, "if>a:true": True, "if>a:false": False}


class TestFailures:
    def test_a_failed_node_fails_the_execution(self) -> None:
        """With code, node and reason; what follows it is skipped."""
        plan = plan_of({"a": "executor", "b": "action"}, "t>a", "a>b")
        state = settle(plan, begin(plan, ACCEPTED), failed("a", "connection refused"))

        assert (state.status, state.error) == ("failed", "FLK-0504: node a failed: connection refused")
        assert statuses(state) == {"a": "failed", "b": "skipped"}

    def test_an_error_edge_takes_over(self) -> None:
        """The failure then does not fail the execution, and the other edges are not taken."""
        plan = plan_of({"a": "executor", "ok": "action", "oops": "action"}, "t>a", "a>ok", "a>oops:error")
        state = settle(plan, begin(plan, ACCEPTED), Outcome("a", "failed", {"status": 503}, "no"))

        assert (state.status, state.error, set(state.open)) == ("running", None, {"oops"})
        assert state.context["a"] == {"status": 503}
        assert settle(plan, state, done("oops")).status == "completed"

    def test_an_error_edge_is_not_taken_when_the_node_completed(self) -> None:
        """It is skipped."""
        plan = plan_of({"a": "executor", "ok": "action", "oops": "action"}, "t>a", "a>ok", "a>oops:error")
        state = settle(plan, begin(plan, ACCEPTED), done("a"))

        assert (set(state.open), statuses(state)["oops"]) == ({"ok"}, "skipped")

    def test_an_error_edge_whose_condition_is_false_takes_nothing_over(self) -> None:
        """Nobody handles the failure."""
        plan = plan_of({"a": "executor", "oops": "action"}, "t>a", "a>oops:error?workflow.no")

        assert settle(plan, begin(plan, ACCEPTED), failed("a")).status == "failed"

    @pytest.mark.parametrize("kind", ["conditional", "action"])
    def test_only_executors_have_error_edges(self, kind: str) -> None:
        """Another node's failure fails the execution."""
        plan = plan_of({"a": kind, "b": "action"}, "t>a", "a>b")

        assert settle(plan, begin(plan, ACCEPTED), failed("a")).status == "failed"

    def test_running_branches_finish_their_current_node_and_nothing_new_starts(self) -> None:
        """Then the execution ends, with what was reached."""
        plan = plan_of({"a": "executor", "b": "executor", "c": "action"}, "t>a", "t>b", "b>c")
        state = settle(plan, begin(plan, ACCEPTED), failed("a"))
        assert (state.status, set(state.open)) == ("running", {"b"})

        state, runs = advance(plan, state, Settled(time_at(2), (done("b"),)))

        assert (state.status, state.open, runs) == ("failed", {}, [])
        assert statuses(state) == {"a": "failed", "b": "completed"}

    def test_a_join_that_a_failure_decides_does_not_start(self) -> None:
        """All of its edges are decided, one was taken, and the execution is lost."""
        plan = plan_of({"a": "action", "b": "executor", "c": "action"}, "t>a", "t>b", "a>c", "b>c")
        state = settle(plan, begin(plan, ACCEPTED), done("a"))

        state, runs = advance(plan, state, Settled(time_at(2), (failed("b"),)))

        assert (state.status, runs) == ("failed", [])

    def test_the_first_failure_is_the_one_that_is_told(self) -> None:
        """Later ones are steps."""
        plan = plan_of({"a": "executor", "b": "executor"}, "t>a", "t>b")
        state = settle(plan, begin(plan, ACCEPTED), failed("a", "first"), failed("b", "second"))

        assert state.error == "FLK-0504: node a failed: first"
        assert statuses(state) == {"a": "failed", "b": "failed"}

    def test_what_waits_when_a_branch_fails_is_given_up(self) -> None:
        """A delay of thirty days would keep the execution from failing."""
        plan = plan_of({"a": "executor", "b": "executor"}, "t>a", "t>b")
        state, _ = advance(plan, begin(plan, ACCEPTED), Postponed("b", time_at(50), 2))

        assert settle(plan, state, failed("a"), tick=3).status == "failed"

    def test_a_further_attempt_that_is_being_made_may_end(self) -> None:
        """Its time had come: it runs, and what it does outside must not be lost."""
        plan = plan_of({"a": "executor", "b": "executor"}, "t>a", "t>b")
        state, _ = advance(plan, begin(plan, ACCEPTED), Postponed("b", time_at(2), 2))
        state = settle(plan, state, failed("a"), tick=3)
        assert (state.status, set(state.open)) == ("running", {"b"})

        state = settle(plan, state, done("b")._replace(attempts=2), tick=4)

        assert (state.status, state.outcomes["b"].attempts) == ("failed", 2)

    def test_no_further_attempt_is_made_after_another_branch_failed(self) -> None:
        """It would be something new."""
        plan = plan_of({"a": "executor", "b": "executor"}, "t>a", "t>b")
        state = settle(plan, begin(plan, ACCEPTED), failed("a"))

        state, runs = advance(plan, state, Postponed("b", time_at(9), 2))

        assert (state.status, state.open, runs) == ("failed", {}, [])


class TestWaiting:
    def test_a_postponed_node_is_asked_for_again_at_its_time(self) -> None:
        """With the number of the attempt."""
        plan = plan_of({"a": "executor"}, "t>a")
        state, runs = advance(plan, begin(plan, ACCEPTED), Postponed("a", time_at(9), 2))

        assert runs == [Run("a", 2, time_at(9))]
        assert state.open == {"a": Run("a", 2, time_at(9))}
        assert advance(plan, state, Postponed("a", time_at(9), 2)) == (state, [])

    def test_a_node_that_is_not_open_cannot_be_postponed(self) -> None:
        """It ended, or it never began."""
        plan = plan_of({"a": "action", "b": "action"}, "t>a", "a>b")
        state = settle(plan, begin(plan, ACCEPTED), done("a"))

        for node_id in ("a", "t", "nobody"):
            assert advance(plan, state, Postponed(node_id, time_at(9), 2)) == (state, [])


class TestEnding:
    def test_an_execution_completes_when_nothing_is_left_to_run(self) -> None:
        """Skipped nodes are steps too."""
        plan = plan_of({"if": "conditional", "a": "action", "b": "action"}, "t>if", "if>a:true", "if>b:false")
        state = settle(plan, begin(plan, ACCEPTED), branch("if", "false"), done("b"))

        assert (state.status, state.error) == ("completed", None)
        assert state.steps_done == plan.total_steps == 3

    def test_an_aborted_execution_fails_at_once_with_its_reason(self) -> None:
        """What was open is given up."""
        plan = plan_of({"a": "executor", "b": "action"}, "t>a", "a>b")
        state, runs = advance(plan, begin(plan, ACCEPTED), Aborted(time_at(300), "FLK-0503: late"))

        assert (state.status, state.error, state.open, runs) == ("failed", "FLK-0503: late", {}, [])

    def test_a_failure_before_the_time_limit_stays_the_reason(self) -> None:
        """The first one counts."""
        plan = plan_of({"a": "executor", "b": "executor"}, "t>a", "t>b")
        state = settle(plan, begin(plan, ACCEPTED), failed("a"))

        state, _ = advance(plan, state, Aborted(time_at(300), "FLK-0503: late"))

        assert (state.status, state.error) == ("failed", "FLK-0504: node a failed: no")

    def test_an_execution_is_accepted_once(self) -> None:
        """A second accepted event says nothing new."""
        plan = plan_of({"a": "action"}, "t>a")
        state = begin(plan, ACCEPTED)

        assert advance(plan, state, ACCEPTED) == (state, [])

    @pytest.mark.parametrize("events", [[], [Settled(time_at(1), ())]])
    def test_a_journal_that_does_not_begin_with_the_acceptance_is_refused(self, events: list[Event]) -> None:
        """An empty one too."""
        with pytest.raises(TypeError, match="a journal begins with the accepted event"):
            fold(plan_of({}), events)


class TestData:
    def test_each_output_is_in_the_context_under_its_node(self) -> None:
        """A null one is there, a skipped node's is not."""
        plan = plan_of(dict.fromkeys("abc", "action"), "t>a", "t>b", "t>c?workflow.no")
        context = settle(plan, begin(plan, ACCEPTED), done("a", {"x": 1}), done("b", None)).context

        assert context.keys() == {"workflow", "execution", "a", "b"}
        assert (context["a"], context["b"]) == ({"x": 1}, None)

    def test_the_last_set_output_is_the_final_output(self) -> None:
        """Whatever the other nodes produced."""
        plan = plan_of({"a": "set_output", "b": "set_output", "c": "action"}, "t>a", "a>b", "b>c")
        state = settle(plan, begin(plan, ACCEPTED), done("a", 1), done("b", {"x": 2}), done("c", 3))

        assert final_output(state) == state.context["output"] == {"x": 2}

    def test_a_set_output_that_failed_sets_nothing(self) -> None:
        """The final output then tells what there is."""
        plan = plan_of({"a": "set_output"}, "t>a")
        state = settle(plan, begin(plan, ACCEPTED), failed("a"))

        assert "output" not in state.context

    def test_a_state_is_never_changed_by_what_follows(self) -> None:
        """Whoever holds one keeps what it was."""
        plan = plan_of({"a": "action", "b": "action"}, "t>a", "a>b")
        state = begin(plan, ACCEPTED)
        before = state.copy()

        settle(plan, state, done("a"), done("b"))
        advance(plan, state, Postponed("a", time_at(2), 2))
        advance(plan, state, Aborted(time_at(2), "no"))

        assert state == before


class TestCounting:
    def test_an_attempt_that_begins_is_counted_and_nothing_follows(self) -> None:
        """Only what is open begins."""
        plan = plan_of({"a": "executor", "b": "executor"}, "t>a", "a>b")
        state, runs = advance(plan, begin(plan, ACCEPTED), Started(time_at(1), (("a", 1), ("b", 1), ("nobody", 1))))

        assert (state.tried, runs, state.open) == ({"a": 1}, [], {"a": Run("a")})
        assert state.has_begun("a")

    def test_an_attempt_that_could_not_be_made_counts_no_more(self) -> None:
        """It is made later, under its number."""
        plan = plan_of({"a": "executor"}, "t>a")
        state, _ = advance(plan, begin(plan, ACCEPTED), Started(time_at(1), (("a", 1),)))

        state, runs = advance(plan, state, Postponed("a", time_at(2), 1))

        assert runs == [Run("a", 1, time_at(2))]
        assert not state.has_begun("a")

    @pytest.mark.parametrize("begun", [True, False])
    def test_after_a_retry_attempts_are_counted_on_from_those_that_were_made(self, begun: bool) -> None:
        """What was open when the time was over and had not begun was no attempt."""
        plan = plan_of({"a": "executor"}, "t>a")
        events: list[Event] = [Started(time_at(1), (("a", 1),))] if begun else []
        state = fold(plan, [ACCEPTED, *events, Aborted(time_at(2), "FLK-0503: late"), reopened(3)])

        assert state.open == {"a": Run("a", 2, first=2) if begun else Run("a", 1)}
        assert not state.has_begun("a")
        assert state.open["a"].tries == 1

    def test_a_retry_renews_the_patience_of_a_node(self) -> None:
        """Its later attempts count from the first one after the retry."""
        plan = plan_of({"a": "executor"}, "t>a")
        end = Outcome("a", "failed", error="no", attempts=5)
        state = fold(plan, [ACCEPTED, Settled(time_at(1), (end,)), reopened(2), Postponed("a", time_at(9), 7)])

        assert state.open == {"a": Run("a", 7, time_at(9), first=6)}
        assert state.open["a"].tries == 2


class TestApprovals:
    def test_a_decision_completes_the_node_and_takes_its_edges(self) -> None:
        """The output tells what was decided, when and by whom; edges of the other decision are not taken."""
        plan = plan_of({"ask": "approval", "pay": "action", "refuse": "action"}, "t>ask", *_BY_DECISION)
        asked, _ = advance(plan, begin(plan, ACCEPTED), Postponed("ask", time_at(30), 1))

        state, runs = advance(plan, asked, Decided(time_at(5), "ask", "rejected", "too much", ADA))

        assert runs == [Run("refuse")]
        assert statuses(state) == {"ask": "completed", "pay": "skipped"}
        assert state.outcomes["ask"] == Outcome(
            "ask",
            "completed",
            {
                "action": "approval",
                "decision": "rejected",
                "comment": "too much",
                "decidedAt": time_at(5),
                "decidedBy": "ada",
            },
            executed_at=time_at(5),
        )

    def test_an_actor_without_a_name_is_told_by_its_kind(self) -> None:
        """Somebody decided, and that is not to look like nobody."""
        plan = plan_of({"ask": "approval"}, "t>ask")
        state, _ = advance(plan, begin(plan, ACCEPTED), Decided(time_at(5), "ask", "approved", None, SYSTEM))

        assert state.outcomes["ask"].output["decidedBy"] == "system"

    def test_a_decision_about_what_is_not_open_changes_nothing(self) -> None:
        """It came twice."""
        plan = plan_of({"ask": "approval", "a": "executor"}, "t>ask", "ask>a")
        state, _ = advance(plan, begin(plan, ACCEPTED), Decided(time_at(5), "ask", "approved", None, ADA))

        assert advance(plan, state, Decided(time_at(6), "ask", "rejected", None, ADA)) == (state, [])

    def test_an_approval_that_timed_out_is_asked_for_again_after_a_retry(self) -> None:
        """With the number of the asking."""
        plan = plan_of({"ask": "approval"}, "t>ask")
        state = fold(plan, [ACCEPTED, Settled(time_at(1), (failed("ask"),)), reopened(2)])
        assert state.open == {"ask": Run("ask", 2, first=2)}

        state, _ = advance(plan, state, Decided(time_at(3), "ask", "approved", None, ADA))

        assert (state.status, state.outcomes["ask"].attempts) == ("completed", 2)


class TestTimeLimit:
    def test_it_stands_still_while_somebody_is_asked_and_begins_anew_afterwards(self) -> None:
        """The decision is the moment from which it counts."""
        plan = plan_of({"ask": "approval", "a": "executor"}, "t>ask", "ask>a")
        asked = begin(plan, ACCEPTED)

        decided, _ = advance(plan, asked, Decided(time_at(50), "ask", "approved", None, ADA))

        assert (is_limited(plan, asked), asked.limited_from) == (False, time_at(0))
        assert (is_limited(plan, decided), decided.limited_from) == (True, time_at(50))

    @pytest.mark.parametrize("reason", [Cancelled(time_at(20), ADA, None), Settled(time_at(20), (failed("b"),))])
    def test_a_call_beside_an_approval_that_is_given_up_has_the_whole_of_it(self, reason: Event) -> None:
        """Counted from the acceptance it may be over long since, and the call would be cut off."""
        plan = plan_of({"ask": "approval", "a": "executor", "b": "executor"}, "t>ask", "t>a", "t>b")
        state, _ = advance(plan, begin(plan, ACCEPTED), Postponed("ask", time_at(50), 1))

        state, _ = advance(plan, state, reason)

        assert "a" in state.open
        assert "ask" not in state.open
        assert (is_limited(plan, state), state.limited_from) == (True, time_at(20))

    def test_other_waits_that_are_given_up_do_not_renew_it(self) -> None:
        """It counted all the time."""
        plan = plan_of({"a": "executor", "b": "executor"}, "t>a", "t>b")
        state, _ = advance(plan, begin(plan, ACCEPTED), Postponed("b", time_at(50), 2))

        state, _ = advance(plan, state, Cancelled(time_at(20), ADA, None))

        assert state.limited_from == time_at(0)

    def test_it_begins_anew_with_a_retry(self) -> None:
        """The execution may have failed days ago."""
        plan = plan_of({"a": "executor"}, "t>a")

        state = fold(plan, [ACCEPTED, Aborted(time_at(5), "FLK-0503: late"), reopened(9)])

        assert state.limited_from == time_at(9)


class TestCancelling:
    def test_a_call_that_never_began_is_given_up_though_its_time_has_come(self) -> None:
        """It waited for the store: nobody would make it any more, and nobody would end it."""
        plan = plan_of({"a": "executor", "b": "executor"}, "t>a", "t>b")
        state = begin(plan, ACCEPTED)
        state, _ = advance(plan, state, Started(time_at(1), (("a", 1),)))
        state, _ = advance(plan, state, Postponed("b", time_at(2), 1))

        state, _ = advance(plan, state, Cancelled(time_at(3), ADA, None))

        assert set(state.open) == {"a"}

    def test_what_waits_is_given_up_and_what_runs_may_end(self) -> None:
        """Nothing new starts."""
        plan = plan_of({"a": "executor", "b": "executor", "c": "action"}, "t>a", "t>b", "b>c")
        state, _ = advance(plan, begin(plan, ACCEPTED), Postponed("a", time_at(50), 2))

        state, runs = advance(plan, state, Cancelled(time_at(2), ADA, None))
        assert (state.status, state.error, set(state.open), runs) == ("running", CANCELLED, {"b"}, [])

        state = settle(plan, state, done("b"), tick=3)
        assert (state.status, state.error, statuses(state)) == ("failed", CANCELLED, {"b": "completed"})

    def test_a_failure_before_it_stays_the_reason(self) -> None:
        """The first one counts."""
        plan = plan_of({"a": "executor", "b": "executor"}, "t>a", "t>b")
        state = settle(plan, begin(plan, ACCEPTED), failed("a"))

        state, _ = advance(plan, state, Cancelled(time_at(2), ADA, None))

        assert state.error == "FLK-0504: node a failed: no"


class TestReopening:
    def test_a_failed_node_runs_again_and_a_completed_one_does_not(self) -> None:
        """What follows was skipped and is open to be decided again; the failure is forgotten."""
        plan = plan_of({"a": "executor", "b": "executor", "c": "action"}, "t>a", "a>b", "b>c")
        state = settle(plan, begin(plan, ACCEPTED), done("a", 1), Outcome("b", "failed", {"status": 500}, "no"))

        state, runs = advance(plan, state, reopened(2))

        assert runs == [Run("b", 2, first=2)]
        assert (state.status, state.error, statuses(state)) == ("running", None, {"a": "completed"})
        assert state.taken == {"t>a": True, "a>b": True}
        assert "b" not in state.context

    def test_a_failure_that_an_error_edge_took_over_stays(self) -> None:
        """It was dealt with; what failed is the node after it."""
        plan = plan_of({"a": "executor", "ok": "action", "oops": "executor"}, "t>a", "a>ok", "a>oops:error")
        state = settle(plan, begin(plan, ACCEPTED), failed("a"), failed("oops"))

        state, runs = advance(plan, state, reopened(2))

        assert runs == [Run("oops", 2, first=2)]
        assert statuses(state) == {"a": "failed", "ok": "skipped"}

    def test_a_condition_without_an_answer_is_asked_again(self) -> None:
        """What it needs may be there now; it is not asked about nodes that have to run again."""
        plan = plan_of(dict.fromkeys("ab", "executor") | {"c": "action"}, "t>a", "t>b", "a>c?b.score > 1")
        state = settle(plan, begin(plan, ACCEPTED), done("a"))
        assert state.unclear == ("a>c?b.score > 1",)
        state = settle(plan, state, done("b", {"score": 2}))
        assert (state.status, statuses(state)["c"]) == ("failed", "skipped")

        state, runs = advance(plan, state, reopened(2))

        assert (state.status, state.error, state.unclear, runs) == ("running", None, (), [Run("c")])

    def test_a_condition_that_still_has_no_answer_fails_it_again(self) -> None:
        """At once; nothing starts, and what is skipped is a step again."""
        plan = plan_of({"a": "action", "b": "action", "c": "action"}, f"t>a?{BROKEN}", "t>b", "a>c")
        first = begin(plan, ACCEPTED)

        state, runs = advance(plan, first, reopened(2))

        assert (state.status, state.error, runs) == (first.status, first.error, [])
        assert state.unclear == first.unclear
        assert statuses(state) == statuses(first) == {"a": "skipped", "c": "skipped"}

    @pytest.mark.parametrize("join", ["any", "all"])
    def test_a_join_waits_for_the_node_that_runs_again(self, join: str) -> None:
        """As it did at first."""
        plan = plan_of({"a": "executor", "b": "executor", "c": "action"}, "t>a", "t>b", "a>c", "b>c", join=join)
        state = settle(plan, begin(plan, ACCEPTED), done("a"), failed("b"))

        state, runs = advance(plan, state, reopened(2))
        assert runs == [Run("b", 2, first=2)]

        state, runs = advance(plan, state, Settled(time_at(3), (done("b"),)))
        assert runs == [Run("c")]

    def test_what_became_ready_with_the_failure_starts(self) -> None:
        """It was held back, and has no outcome."""
        plan = plan_of({"a": "executor", "b": "executor", "c": "action"}, "t>a", "t>b", "b>c")
        state = settle(plan, begin(plan, ACCEPTED), failed("a"), done("b"))
        assert state.status == "failed"

        _, runs = advance(plan, state, reopened(2))

        assert runs == [Run("a", 2, first=2), Run("c")]

    @pytest.mark.parametrize("end", [Cancelled(time_at(2), ADA, None), Aborted(time_at(2), "FLK-0503: late")])
    def test_a_wait_that_was_given_up_begins_again(self, end: Event) -> None:
        """Whole: the time it had waited does not count."""
        plan = plan_of({"ask": "approval"}, "t>ask")

        state = fold(plan, [ACCEPTED, Postponed("ask", time_at(50), 1), end, reopened(9)])

        assert state.open == {"ask": Run("ask", 1, None)}

    def test_an_execution_without_anything_left_to_run_completes(self) -> None:
        """The condition that had no answer has one, and it is no."""
        plan = plan_of(dict.fromkeys("ab", "executor") | {"c": "action"}, "t>a", "t>b", "a>c?b.score > 1")
        state = settle(plan, begin(plan, ACCEPTED), done("a"), done("b", {"score": 1}))
        assert state.status == "failed"

        state, runs = advance(plan, state, reopened(2))

        assert (state.status, state.error, runs) == ("completed", None, [])
        assert statuses(state) == {"a": "completed", "b": "completed", "c": "skipped"}

    @pytest.mark.parametrize("ends", [(), (done("a"),)])
    def test_only_what_has_failed_is_reopened(self, ends: tuple[Outcome, ...]) -> None:
        """Neither what runs nor what completed."""
        plan = plan_of({"a": "executor"}, "t>a")
        state = settle(plan, begin(plan, ACCEPTED), *ends)

        assert advance(plan, state, reopened(2)) == (state, [])


# From here on: random graphs.

CONDITIONS: dict[str, Callable[[Any], bool | None]] = {
    "": lambda _: True,
    "workflow.yes": lambda _: True,
    "workflow.no": lambda _: False,
    "workflow.absent": lambda _: False,
    "SOURCE.ok": lambda output: bool(output and output.get("ok")),
    BROKEN: lambda _: None,
}
"""What each condition gives for the output of its source; None for no answer."""


@dataclass(frozen=True)
class Link:
    id: str
    source: str
    target: str
    handle: str | None
    condition: str


@dataclass(frozen=True)
class Scenario:
    """A graph whose node names are in topological order, and how each node would end if it ran."""

    kinds: dict[str, str]
    joins: dict[str, str]
    links: list[Link]
    ends: dict[str, Outcome]

    def plan(self) -> Plan:
        nodes = [make_node(id_, kind, self.joins[id_]) for id_, kind in self.kinds.items()]
        edges = [
            {
                "id": link.id,
                "source": link.source,
                "target": link.target,
                "sourceHandle": link.handle,
                "condition": link.condition.replace("SOURCE", link.source),
            }
            for link in self.links
        ]
        return make_plan(nodes, edges)


def make_scenario(size: int, chance: Random, *, may_fail: bool, kinds: Sequence[str]) -> Scenario:
    names = [f"n{number}" for number in range(size)]
    order = ["t", *names]
    kind_of = {name: chance.choice(kinds) for name in names}
    links: list[Link] = []
    for position, target in enumerate(names):
        # One edge at least for all but a few: a graph without edges has little to say.
        for _ in range(chance.choice([0, *[1, 2, 3] * 4])):
            source = chance.choice(order[: position + 1])
            handle = chance.choice(_handles(kind_of.get(source, "trigger")))
            links.append(
                Link(f"e{len(links)}", source, target, handle, _condition(source, chance, may_fail=may_fail))
            )
    chance.shuffle(links)
    ends = {name: _end(name, kind_of[name], chance, may_fail=may_fail) for name in names}
    joins = {name: chance.choice(["any", "any", "all"]) for name in names}
    return Scenario(kind_of, joins, links, ends)


def _handles(kind: str) -> list[str | None]:
    by_kind: dict[str, list[str | None]] = {
        "conditional": [None, "true", "false"],
        "executor": [None, "error", "success"],
        "approval": [None, "approved", "rejected"],
    }
    return by_kind.get(kind, [None, "anything"])


def _condition(source: str, chance: Random, *, may_fail: bool) -> str:
    if may_fail and chance.random() < 0.04:
        return BROKEN
    usable = [text for text in CONDITIONS if text != BROKEN and (source != "t" or "SOURCE" not in text)]
    return "" if chance.random() < 0.5 else chance.choice(usable)


def _end(name: str, kind: str, chance: Random, *, may_fail: bool) -> Outcome:
    output: dict[str, Any] = {"ok": chance.random() < 0.5}
    if kind == "conditional":
        output["branchTaken"] = chance.choice(["true", "false"])
    if kind == "approval":
        output["decision"] = chance.choice(["approved", "rejected"])
    if may_fail and chance.random() < (0.4 if kind == "executor" else 0.1):
        return Outcome(name, "failed", chance.choice([None, output]), "no")
    return Outcome(name, "completed", output)


# All chances come from one number and the size is what shrinks: drawing every choice would take ten times as long.
CHANCE = st.randoms(use_true_random=True)
SCENARIOS = st.builds(
    make_scenario, st.integers(1, 7), CHANCE, may_fail=st.just(True), kinds=st.just(tuple(TEMPLATES))
)
HARMLESS_SCENARIOS = st.builds(
    make_scenario,
    st.integers(1, 7),
    CHANCE,
    may_fail=st.just(False),
    kinds=st.just(("conditional", "action", "executor", "approval")),
)


@dataclass
class Reference:
    """The rules read literally: everything is derived again from all outcomes after each of them.

    `tried` is the last attempt of each node that began one, `runs` the run that each open node is at.
    """

    scenario: Scenario
    settled: dict[str, Outcome] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)
    taken: dict[str, bool] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    is_failing: bool = False
    limited_from: str = time_at(0)

    def __post_init__(self) -> None:
        self._derive(time_at(0))

    @property
    def status(self) -> str:
        return "running" if self.runs else "failed" if self.is_failing else "completed"

    def take_in(self, event: Event) -> None:
        if isinstance(event, Reopened):
            if self.status == "failed":
                self._reopen(event.at)
        elif self.status == "running":
            self._take_in_running(event)

    def _take_in_running(self, event: Event) -> None:
        if isinstance(event, Settled):
            for outcome in event.outcomes:
                self._settle(outcome, event.at)
        elif isinstance(event, Decided) and event.node_id in self.runs:
            self._settle(_decision(event, self.runs[event.node_id].attempt), event.at)
        elif isinstance(event, Started):
            self.tried |= {node_id: attempt for node_id, attempt in event.calls if node_id in self.runs}
        elif isinstance(event, Postponed) and event.node_id in self.runs:
            self._postpone(event)
        elif isinstance(event, Cancelled):
            self.is_failing = True
            self._give_up_waits(event.at)
        elif isinstance(event, Aborted):
            self.is_failing = True
            self.runs = {}

    def _settle(self, outcome: Outcome, at: str) -> None:
        if outcome.node_id in self.runs:
            del self.runs[outcome.node_id]
            self.settled[outcome.node_id] = outcome
            if self.scenario.kinds[outcome.node_id] == "approval":
                self.limited_from = at
            self._derive(at)

    def _postpone(self, event: Postponed) -> None:
        run = self.runs.pop(event.node_id)
        self.tried[event.node_id] = event.attempt - 1
        if not self.is_failing:
            self.runs[event.node_id] = Run(event.node_id, event.attempt, event.not_before, run.first)

    def _reopen(self, at: str) -> None:
        """Whatever did not succeed is forgotten, and what then has no outcome starts when the rules let it."""
        unhandled = {name for name in self.settled if not self._is_handled(name)}
        self.tried |= {name: self.settled[name].attempts for name in unhandled}
        self.settled = {name: outcome for name, outcome in self.settled.items() if name not in unhandled}
        self.started = set(self.settled)
        self.is_failing, self.limited_from = False, at
        self._derive(at)

    def _give_up_waits(self, at: str) -> None:
        waiting = {name for name, run in self.runs.items() if self._waits(name, run, at)}
        self.runs = {name: run for name, run in self.runs.items() if name not in waiting}
        if "approval" in {self.scenario.kinds[name] for name in waiting}:
            self.limited_from = at

    def _waits(self, name: str, run: Run, at: str) -> bool:
        if run.not_before is None:
            return False
        never_began = self.scenario.kinds[name] == "executor" and self.tried.get(name, 0) < run.first
        return run.not_before > at or never_began

    def _derive(self, at: str) -> None:
        reached = self._reached()
        self.taken, self.skipped = {}, set()
        ready = set()
        failures = False
        for name in self.scenario.kinds:
            incoming = [link for link in self.scenario.links if link.target == name and link.source in reached]
            if name not in reached:
                continue
            decisions = []
            for link in incoming:
                decision, has_answer = self._decide(link)
                failures = failures or not has_answer
                decisions.append(decision)
                if decision is not None:
                    self.taken[link.id] = decision
            if None in decisions:
                continue
            if all(decisions) if self.scenario.joins[name] == "all" else any(decisions):
                ready.add(name)
            else:
                self.skipped.add(name)
        unhandled = {name for name in self.settled if not self._is_handled(name)}
        self.is_failing = self.is_failing or failures or bool(unhandled)
        if self.is_failing:
            self._give_up_waits(at)
            return
        for name in ready - self.started:
            attempt = self.tried.get(name, 0) + 1
            self.runs[name] = Run(name, attempt, first=attempt)
        self.started |= ready

    def _reached(self) -> set[str]:
        reached = {"t"}
        for _ in self.scenario.kinds:
            reached |= {link.target for link in self.scenario.links if link.source in reached}
        return reached

    def _decide(self, link: Link) -> tuple[bool | None, bool]:
        """Whether the edge is taken, None as long as that is not known; and whether its condition has an answer."""
        output: Any = None
        if link.source != "t":
            if link.source in self.skipped:
                return False, True
            outcome = self.settled.get(link.source)
            if outcome is None:
                return None, True
            output = outcome.output
            if not self._handle_fits(link, outcome):
                return False, True
        answer = CONDITIONS[link.condition](output)
        return bool(answer), answer is not None

    def _handle_fits(self, link: Link, outcome: Outcome) -> bool:
        kind = self.scenario.kinds[link.source]
        if kind == "executor" and link.handle == "error":
            return outcome.status == "failed"
        if outcome.status == "failed":
            return False
        if kind in {"conditional", "approval"} and link.handle is not None:
            return bool(outcome.output["branchTaken" if kind == "conditional" else "decision"] == link.handle)
        return True

    def _is_handled(self, name: str) -> bool:
        if self.settled[name].status != "failed":
            return True
        return self.scenario.kinds[name] == "executor" and any(
            self.taken.get(link.id, False)
            for link in self.scenario.links
            if link.source == name and link.handle == "error"
        )


def _decision(event: Decided, attempt: int) -> Outcome:
    output = {
        "action": "approval",
        "decision": event.decision,
        "comment": event.comment,
        "decidedAt": event.at,
        "decidedBy": "ada",
    }
    return Outcome(event.node_id, "completed", output, attempts=attempt, executed_at=event.at)


def histories(scenario: Scenario, chance: Random) -> list[Event]:
    """Events in a random order, with delays, repetitions, and outcomes of nodes that are not open; without an end."""
    names = list(scenario.ends)
    events: list[Event] = []
    for tick in range(1, 25):
        chosen = chance.sample(names, min(len(names), chance.randint(1, 3)))
        if chance.random() < 0.25:
            events.append(Postponed(chosen[0], time_at(chance.randint(tick - 1, tick + 3)), chance.randint(1, 3)))
        else:
            events.append(Settled(time_at(tick), tuple(scenario.ends[name] for name in chosen)))
    return events


def histories_with_people(scenario: Scenario, chance: Random) -> list[Event]:
    """Histories in which people cancel, retry and decide at any time, allowed or not; nodes end in several ways."""
    names = list(scenario.ends)
    approvals = [name for name, kind in scenario.kinds.items() if kind == "approval"] or names[:1]
    events: list[Event] = []
    for tick, event in enumerate(histories(scenario, chance), 1):
        at = time_at(tick)
        dice = chance.random()
        if dice < 0.1:
            events.append(Cancelled(at, ADA, None))
        elif dice < 0.15:
            events.append(Aborted(at, "FLK-0503: late"))
        elif dice < 0.3 and scenario.kinds[approvals[0]] == "approval":
            decision: Decision = "approved" if chance.random() < 0.5 else "rejected"
            events.append(Decided(at, chance.choice(approvals), decision, "so be it", ADA))
        elif dice < 0.4:
            events.append(Started(at, ((chance.choice(names), chance.randint(1, 4)),)))
        elif isinstance(event, Settled) and dice < 0.7:
            ends = tuple(_succeeded(scenario, one.node_id, chance.randint(1, 4)) for one in event.outcomes)
            events.append(Settled(at, ends))
        else:
            events.append(event)
        if chance.random() < 0.5:
            events.append(Reopened(at, ADA, "FLK-0504"))
    return events


def _succeeded(scenario: Scenario, name: str, attempts: int) -> Outcome:
    """How a node ends when nothing is in its way."""
    end = scenario.ends[name]
    output = end.output or {"ok": True, "branchTaken": "true", "decision": "approved"}
    return end._replace(status="completed", output=output, error=None, attempts=attempts)


@given(SCENARIOS, CHANCE)
@settings(deadline=None, max_examples=500)
def test_every_state_is_what_the_rules_say(scenario: Scenario, chance: Random) -> None:
    """After each event: the same nodes are open, ended and skipped, the same edges taken, the same status."""
    plan, reference = scenario.plan(), Reference(scenario)
    state = begin(plan, ACCEPTED)
    _assert_same(state, reference)
    for event in histories(scenario, chance):
        if state.status != "running":
            break
        state, _ = advance(plan, state, event)
        reference.take_in(event)

        _assert_same(state, reference)


@given(SCENARIOS, CHANCE)
@settings(deadline=None, max_examples=500)
def test_every_state_is_what_the_rules_say_whatever_people_do(scenario: Scenario, chance: Random) -> None:
    """Cancelled, retried and decided at any time, also where nobody may: every state is the one derived anew."""
    plan, reference = scenario.plan(), Reference(scenario)
    state = begin(plan, ACCEPTED)
    for event in histories_with_people(scenario, chance):
        state, _ = advance(plan, state, event)
        reference.take_in(event)

        _assert_same(state, reference)
        assert state.tried == reference.tried
        assert state.limited_from == reference.limited_from
        assert is_limited(plan, state) == ("approval" not in {scenario.kinds[name] for name in state.open})


def _assert_same(state: State, reference: Reference) -> None:
    assert state.open == reference.runs
    assert statuses(state) == {name: end.status for name, end in reference.settled.items()} | dict.fromkeys(
        reference.skipped, "skipped"
    )
    assert state.taken == reference.taken
    assert state.status == reference.status
    assert (state.error is not None) == reference.is_failing
    seen = {name: end.output for name, end in reference.settled.items() if end.output is not None}
    assert {name: value for name, value in state.context.items() if name in reference.scenario.kinds} == seen


@given(SCENARIOS, CHANCE)
@settings(deadline=None)
def test_every_node_runs_at_most_once_and_is_asked_for_before_it_ends(scenario: Scenario, chance: Random) -> None:
    """Runs are asked for once each; what ended stays as it ended; all that was ever open is accounted for."""
    plan = scenario.plan()
    state = begin(plan, ACCEPTED)
    asked = list(state.open)
    for event in _one_outcome_each(histories(scenario, chance)):
        before = state
        state, runs = advance(plan, state, event)
        asked += [run.node_id for run in runs if run.not_before is None]

        assert before.outcomes.items() <= state.outcomes.items()
        assert before.taken.items() <= state.taken.items()
        assert all(state.open[run.node_id] == run for run in runs)
        assert not state.open.keys() & state.outcomes.keys()
    assert len(set(asked)) == len(asked)
    assert {node_id for node_id, outcome in state.outcomes.items() if outcome.status != "skipped"} <= set(asked)
    assert state.steps_done <= plan.total_steps


@given(SCENARIOS, CHANCE)
@settings(deadline=None)
def test_the_fold_of_a_journal_is_the_state_of_the_one_who_wrote_it(scenario: Scenario, chance: Random) -> None:
    """After every event, through the journal's JSON text; also when somebody else folded the first part."""
    plan = scenario.plan()
    state = begin(plan, ACCEPTED)
    journal: list[Event] = [_through_the_journal(ACCEPTED)]
    for event in chance.choice([histories, histories_with_people])(scenario, chance):
        state, _ = advance(plan, state, event)
        journal.append(_through_the_journal(event))

        assert fold(plan, journal) == state


def _through_the_journal(event: Event) -> Event:
    kind, payload = encode_event(event)
    return decode_event(kind, jsontext.decode(jsontext.encode(payload)))


@given(SCENARIOS, CHANCE)
@settings(deadline=None)
def test_a_terminal_state_never_changes(scenario: Scenario, chance: Random) -> None:
    """Whatever comes late, except for a retry; and a time limit ends everything at any time."""
    plan = scenario.plan()
    events = [event for event in histories_with_people(scenario, chance) if not isinstance(event, Reopened)]
    state = fold(plan, [ACCEPTED, *events[: chance.randrange(len(events))]])
    if state.status == "running":
        state, _ = advance(plan, state, Aborted(time_at(50), "FLK-0503: late"))
    assert state.status in {"completed", "failed"}
    assert state.open == {}

    for event in [*events, Aborted(time_at(59), "again"), ACCEPTED]:
        assert advance(plan, state, event) == (state, [])


@given(SCENARIOS, CHANCE)
@settings(deadline=None)
def test_an_outcome_of_a_node_that_is_not_open_is_ignored(scenario: Scenario, chance: Random) -> None:
    """It came twice, too late, too early, or of a node that this run does not have."""
    plan = scenario.plan()
    state = begin(plan, ACCEPTED)
    for event in histories(scenario, chance):
        state, _ = advance(plan, state, event)
        closed = [outcome for outcome in scenario.ends.values() if outcome.node_id not in state.open]
        late = Settled(time_at(59), (*closed, done("t"), done("nobody")))

        assert advance(plan, state, late) == (state, [])


@given(SCENARIOS, CHANCE)
@settings(deadline=None)
def test_outcomes_of_one_event_are_as_good_as_one_event_each(scenario: Scenario, chance: Random) -> None:
    """How many of them were committed together does not matter."""
    plan = scenario.plan()
    together = apart = begin(plan, ACCEPTED)
    for event in histories_with_people(scenario, chance):
        together, _ = advance(plan, together, event)
        for part in _one_outcome_each([event]):
            apart, _ = advance(plan, apart, part)

        assert together == apart


def _one_outcome_each(events: Sequence[Event]) -> list[Event]:
    parts: list[Event] = []
    for event in events:
        parts += [Settled(event.at, (one,)) for one in event.outcomes] if isinstance(event, Settled) else [event]
    return parts


@given(HARMLESS_SCENARIOS, CHANCE)
@settings(deadline=None)
def test_the_result_does_not_depend_on_the_order_of_settling(scenario: Scenario, chance: Random) -> None:
    """As long as no node fails, none sets the output, and conditions look at the input and at their own source."""
    plan = scenario.plan()

    one, other = (_drive(plan, scenario, chance) for _ in range(2))

    assert one.status == other.status == "completed"
    assert statuses(one) == statuses(other)
    assert one.taken == other.taken
    assert final_output(one) == final_output(other)
    assert one.steps_done == other.steps_done == plan.total_steps


@given(SCENARIOS, CHANCE)
@settings(deadline=None)
def test_whether_an_execution_fails_does_not_depend_on_the_order_of_settling(
    scenario: Scenario, chance: Random
) -> None:
    """Only which failure comes first does."""
    plan = scenario.plan()

    assert _drive(plan, scenario, chance).status == _drive(plan, scenario, chance).status


def _drive(plan: Plan, scenario: Scenario, chance: Random) -> State:
    return _go_on_well(plan, scenario, begin(plan, ACCEPTED), chance)


def _go_on_well(plan: Plan, scenario: Scenario, state: State, chance: Random) -> State:
    while state.open:
        chosen = chance.choice(sorted(state.open))
        state = settle(plan, state, scenario.ends[chosen])
    return state


@given(SCENARIOS, CHANCE)
@settings(deadline=None)
def test_what_completed_stays_completed_and_is_never_asked_for_again(scenario: Scenario, chance: Random) -> None:
    """However often an execution is reopened: its outcome, its edges and its output stay what they were."""
    plan = scenario.plan()
    state = begin(plan, ACCEPTED)
    for event in histories_with_people(scenario, chance):
        before = state
        state, runs = advance(plan, state, event)

        completed = {node_id: one for node_id, one in before.outcomes.items() if one.status == "completed"}
        assert completed.items() <= state.outcomes.items()
        assert completed.keys().isdisjoint(run.node_id for run in runs)
        assert not state.open.keys() & state.outcomes.keys()


@given(HARMLESS_SCENARIOS, CHANCE)
@settings(deadline=None, max_examples=300)
def test_a_reopened_execution_in_which_everything_succeeds_ends_as_if_it_had_at_first(
    scenario: Scenario, chance: Random
) -> None:
    """Apart from its attempts, however often and in whatever way it failed before."""
    scenario = replace(scenario, links=[replace(one, handle=_unless_error(one.handle)) for one in scenario.links])
    plan = scenario.plan()
    state = begin(plan, ACCEPTED)
    for tick in range(1, chance.randint(2, 12)):
        state = _go_on_badly(plan, scenario, state, chance, tick)
        if state.status == "failed":
            state, _ = advance(plan, state, Reopened(time_at(tick), ADA, state.error or ""))
    state = _go_on_well(plan, scenario, state, chance)
    if state.status == "failed":
        state, _ = advance(plan, state, Reopened(time_at(30), ADA, state.error or ""))
        state = _go_on_well(plan, scenario, state, chance)
    straight = _drive(plan, scenario, chance)

    assert (state.status, state.error) == ("completed", None)
    assert statuses(state) == statuses(straight)
    assert (state.taken, state.context) == (straight.taken, straight.context)
    assert final_output(state) == final_output(straight)
    assert state.steps_done == plan.total_steps


def _unless_error(handle: str | None) -> str | None:
    return None if handle == "error" else handle


def _go_on_badly(plan: Plan, scenario: Scenario, state: State, chance: Random, tick: int) -> State:
    """One step of an execution that has every kind of bad luck."""
    if not state.open:
        return state
    node_id = chance.choice(sorted(state.open))
    events: list[Event] = [
        Settled(time_at(tick), (scenario.ends[node_id],)),
        Settled(time_at(tick), (failed(node_id),)),
        Postponed(node_id, time_at(tick + 2), state.open[node_id].attempt + 1),
        Started(time_at(tick), ((node_id, state.open[node_id].attempt),)),
        Aborted(time_at(tick), "FLK-0503: late"),
        Cancelled(time_at(tick), ADA, None),
    ]
    return advance(plan, state, chance.choice(events))[0]
