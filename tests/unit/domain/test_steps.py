"""Nodes that need nothing from outside."""

from decimal import Decimal
from typing import Any

import pytest

from flowker.domain.actions import compile_action
from flowker.domain.calls import ExecutorCall
from flowker.domain.conditions import parse
from flowker.domain.kazaam import Occasion
from flowker.domain.nodes import Behaviour, Conditional, Trigger
from flowker.domain.retries import RetryPolicy
from flowker.domain.steps import Failed, Produced, Wait, run_builtin

OCCASION = Occasion("2026-03-17T14:35:00.000000Z", "one:node")


def conditional(text: str) -> Conditional:
    return Conditional(parse(text), text)


def run(
    behaviour: Behaviour, context: dict[str, Any] | None = None, *, elapsed: bool = False
) -> Produced | Failed | Wait:
    return run_builtin(behaviour, context or {}, elapsed=elapsed, occasion=lambda: OCCASION)


@pytest.mark.parametrize(("amount", "result", "branch"), [(101, True, "true"), (Decimal("100.00"), False, "false")])
def test_a_conditional_tells_its_result_and_the_branch(amount: Any, result: bool, branch: str) -> None:
    """Its output: the condition as it was written, the result, the branch that is taken."""
    text = "workflow.amount > 100"

    produced = run(conditional(text), {"workflow": {"amount": amount}})

    assert produced == Produced({"condition": text, "result": result, "branchTaken": branch})


def test_a_conditional_without_an_answer_fails_and_names_the_path() -> None:
    """Ordering needs a value on both sides."""
    failed = run(conditional("workflow.amount > 100"), {"workflow": {}})

    assert isinstance(failed, Failed)
    assert failed.message.startswith("the condition cannot be evaluated: ")
    assert "workflow.amount" in failed.message


def test_a_log_and_an_output_are_produced() -> None:
    """What their templates make of the context."""
    context = {"workflow": {"amount": Decimal("1.10")}}

    assert run(compile_action({"action": "log"}), context) == Produced({"action": "log"})
    assert run(compile_action({"action": "set_output", "output": {"a": "{{workflow.amount}}"}}), context) == Produced(
        {"a": Decimal("1.10")}
    )


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("no {{workflow.reason}}", "no funds"),
        ("{{workflow.reason}}", "funds"),
        ("{{workflow.zero}}", "0"),
        ("{{workflow.paid}}", "false"),
        ("{{workflow.amount}}", "100000"),
        ("{{workflow.details}}", '{"limit":1.50}'),
        ("{{workflow.nothing}}", "the workflow failed here"),
        ("", "the workflow failed here"),
    ],
)
def test_a_fail_fails_with_its_message_as_text(message: str, text: str) -> None:
    """The values of references are written as in any other text; without a message there is one that says so."""
    context = {
        "workflow": {
            "reason": "funds",
            "zero": 0,
            "paid": False,
            "amount": Decimal("1E+5"),
            "details": {"limit": Decimal("1.50")},
        }
    }

    assert run(compile_action({"action": "fail", "message": message}), context) == Failed(text)


def test_a_fail_message_is_cut() -> None:
    """It is stored in several places."""
    assert run(compile_action({"action": "fail", "message": "x" * 501})) == Failed("x" * 500)


def test_a_delay_waits_first_and_then_produces_its_seconds() -> None:
    """The exact number, so that a state and the fold of its journal have the same."""
    delay = compile_action({"action": "delay", "seconds": Decimal("0.1")})

    assert run(delay) == Wait(0.1)
    assert repr(run(delay, elapsed=True)) == repr(Produced({"action": "delay", "seconds": Decimal("0.1")}))


def test_an_event_is_produced_as_it_is_emitted() -> None:
    """Its output tells what the audit trail gets."""
    behaviour = compile_action({"action": "emit_event", "eventType": "paid", "payload": "{{workflow.id}}"})

    assert run(behaviour, {"workflow": {"id": 7}}) == Produced(
        {"action": "emit_event", "eventType": "paid", "payload": 7}
    )


@pytest.mark.parametrize("action", ["set_output", "log", "fail", "emit_event"])
def test_what_is_too_large_to_be_an_output_fails_the_node(action: str) -> None:
    """It neither fills the memory nor breaks the worker."""
    text = "{{workflow.text}}" * 3
    members = {"output": text, "message": text, "payload": text, "eventType": "paid"}
    behaviour = compile_action({"action": action, **members})

    failed = run(behaviour, {"workflow": {"text": "x" * 500_000}})

    assert failed == Failed("what is rendered is larger than 1048576 characters")


def test_a_transform_makes_its_output_of_the_input() -> None:
    """Without the delivery; or of what is mapped from anywhere."""
    context = {"workflow": {"amount": Decimal("100.10"), "_webhook": {}}, "check": {"body": {"id": 7}}}
    double = {"operation": "shift", "spec": {"all": "$", "value": "amount"}}
    check = [{"source": "check.body", "target": "amount"}]

    of_input = run(compile_action({"action": "transform", "transforms": [double]}), context)
    of_mapped = run(compile_action({"action": "transform", "transforms": [double], "inputMapping": check}), context)
    mapped = run(compile_action({"action": "transform", "inputMapping": check}), context)

    assert of_input == Produced({"all": {"amount": Decimal("100.10")}, "value": Decimal("100.10")})
    assert of_mapped == Produced({"all": {"amount": {"id": 7}}, "value": {"id": 7}})
    assert mapped == Produced({"amount": {"id": 7}})


@pytest.mark.parametrize("action", ["set_output", "transform"])
def test_a_mapping_without_its_source_fails_the_node(action: str) -> None:
    """With the entry and the path."""
    mapping = [{"source": "workflow.id", "target": "id", "required": True}]

    failed = run(compile_action({"action": action, "inputMapping": mapping}), {"workflow": {}})

    assert failed == Failed("inputMapping[0]: the required source workflow.id is missing")


@pytest.mark.parametrize(
    "behaviour", [Trigger(), ExecutorCall("http.request", None, "POST", "", None, RetryPolicy(), None, {})]
)
def test_a_trigger_and_a_call_are_not_built_in(behaviour: Behaviour) -> None:
    """Asking for it is a bug of the engine."""
    with pytest.raises(TypeError, match="is not built in"):
        run(behaviour)


@pytest.mark.parametrize("seconds", [1, Decimal("1.5"), 30 * 24 * 3600])
def test_an_approval_waits_for_its_time(seconds: Any) -> None:
    """A decision comes from outside; the node itself only waits."""
    approval = compile_action({"action": "approval", "timeoutSeconds": seconds})

    assert run(approval) == Wait(float(seconds))


@pytest.mark.parametrize(("on_timeout", "decision"), [("approve", "approved"), ("reject", "rejected")])
def test_silence_can_be_a_decision_that_nobody_made(on_timeout: str, decision: str) -> None:
    """The output says what it was taken for, and names nobody."""
    approval = compile_action({"action": "approval", "onTimeout": on_timeout})

    assert run(approval, elapsed=True) == Produced(
        {"action": "approval", "decision": decision, "comment": None, "decidedAt": None, "decidedBy": None}
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(60, "60"), (Decimal("1.5"), "1.5"), (30 * 24 * 3600, "2592000"), (1234567, "1234567")]
)
def test_silence_is_a_failure_otherwise(seconds: Any, text: str) -> None:
    """The message says how long was waited, in all its digits."""
    approval = compile_action({"action": "approval", "timeoutSeconds": seconds})

    assert run(approval, elapsed=True) == Failed(f"nobody decided within {text} s")
