"""An execution as data: events as the journal keeps them, and the final output."""

from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker import jsontext
from flowker.domain.executions import (
    TERMINAL,
    Aborted,
    Accepted,
    Event,
    Outcome,
    Postponed,
    Run,
    Settled,
    State,
    Status,
    decode_event,
    encode_event,
    final_output,
)

AT = "2026-03-17T14:35:00.000000Z"

TEXT = st.text(max_size=10)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OUTCOMES = st.builds(
    Outcome,
    TEXT,
    st.sampled_from(["completed", "failed", "skipped"]),
    JSON,
    st.none() | TEXT,
    st.integers(0, 10),
    TEXT,
    st.integers(0, 10**9),
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Accepted, TEXT, TEXT, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=3)),
    st.builds(Settled, TEXT, st.lists(OUTCOMES, max_size=3).map(tuple)),
    st.builds(Postponed, TEXT, TEXT, st.integers(1, 10)),
    st.builds(Aborted, TEXT, TEXT),
)


def state_with(context: dict[str, Any], *outcomes: Outcome) -> State:
    return State({"workflow": {}} | context, outcomes={outcome.node_id: outcome for outcome in outcomes})


@given(EVENTS)
@settings(deadline=None)
def test_the_journal_gives_back_every_event_as_it_was(event: Event) -> None:
    """Through its JSON text, all numbers exact."""
    kind, payload = encode_event(event)

    read_back = decode_event(kind, jsontext.decode(jsontext.encode(payload)))

    assert repr(read_back) == repr(event)


def test_the_kinds_of_the_journal_stay_what_they_are() -> None:
    """They are stored: a change would orphan every journal."""
    outcome = Outcome("n", "failed", {"a": 1}, "no", 2, AT, 7)

    assert encode_event(Accepted("e", "w", AT, "t", {"a": 1})) == (
        "accepted",
        {"execution": "e", "workflow": "w", "startedAt": AT, "trigger": "t", "input": {"a": 1}},
    )
    assert encode_event(Settled(AT, (outcome,))) == (
        "settled",
        {
            "at": AT,
            "outcomes": [
                {
                    "node": "n",
                    "status": "failed",
                    "output": {"a": 1},
                    "error": "no",
                    "attempts": 2,
                    "executedAt": AT,
                    "durationMs": 7,
                }
            ],
        },
    )
    assert encode_event(Postponed("n", AT, 2)) == ("postponed", {"node": "n", "notBefore": AT, "attempt": 2})
    assert encode_event(Aborted(AT, "FLK-0503: late")) == ("aborted", {"at": AT, "error": "FLK-0503: late"})


def test_an_unknown_kind_is_not_guessed() -> None:
    """A newer version wrote it."""
    with pytest.raises(ValueError, match="unknown kind: signalled"):
        decode_event("signalled", {})


def test_an_execution_ends_completed_or_failed() -> None:
    """Two of its four statuses are terminal."""
    assert set(get_args(Status)) - TERMINAL == {"pending", "running"}


def test_what_set_output_set_is_the_final_output() -> None:
    """Also when it is null."""
    assert final_output(state_with({"output": {"a": 1}, "n": 2}, Outcome("n", "completed", 2))) == {"a": 1}
    assert final_output(state_with({"output": None})) is None


def test_else_the_final_output_is_the_input_and_every_output() -> None:
    """Of the nodes that completed."""
    state = state_with(
        {"workflow": {"amount": Decimal("1.10")}, "execution": {"id": "e"}},
        Outcome("a", "completed", {"x": 1}),
        Outcome("b", "skipped"),
        Outcome("c", "completed", None),
        Outcome("d", "failed", {"status": 500}, "no"),
    )

    assert final_output(state) == {"workflow": {"amount": Decimal("1.10")}, "a": {"x": 1}, "c": None}


def test_the_headers_of_the_delivery_are_not_told() -> None:
    """The rest of `_webhook` is, and the state keeps all of it."""
    delivery = {"method": "POST", "headers": {"user-agent": "x"}, "query": {}}
    state = state_with({"workflow": {"a": 1, "_webhook": delivery}})

    assert final_output(state) == {"workflow": {"a": 1, "_webhook": {"method": "POST", "query": {}}}}
    assert state.context["workflow"]["_webhook"] == delivery


@pytest.mark.parametrize("delivery", [None, "text", ["headers"], {}, {"method": "POST"}])
def test_an_input_that_has_its_own_webhook_member_is_left_alone(delivery: Any) -> None:
    """The API starts executions with any input."""
    assert final_output(state_with({"workflow": {"_webhook": delivery}})) == {"workflow": {"_webhook": delivery}}


def test_a_copy_of_a_state_is_independent() -> None:
    """Changing one does not change the other."""
    state = State({"workflow": {}}, {"n": Run("n")}, {"m": Outcome("m", "completed")}, {"e": True}, "running", None)

    copy = state.copy()
    assert copy == state
    copy.context["x"] = 1
    copy.open.clear()
    copy.outcomes.clear()
    copy.taken.clear()

    assert state == State({"workflow": {}}, {"n": Run("n")}, {"m": Outcome("m", "completed")}, {"e": True})
    assert (state.steps_done, copy.steps_done) == (1, 0)
