"""An execution as data: its state, and the final output."""

from decimal import Decimal
from typing import Any, get_args

import pytest

from flowker.domain.executions import (
    TERMINAL,
    Outcome,
    Run,
    State,
    Status,
    final_output,
)


def state_with(context: dict[str, Any], *outcomes: Outcome) -> State:
    return State({"workflow": {}} | context, outcomes={outcome.node_id: outcome for outcome in outcomes})


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
