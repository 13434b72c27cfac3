"""The built-in actions: what each takes, and what is refused when it is saved."""

import contextlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker.domain.actions import (
    APPROVAL_DEFAULT_S,
    APPROVAL_MAX_S,
    DELAY_MAX_S,
    ApprovalAction,
    DelayAction,
    EmitEventAction,
    FailAction,
    InvalidMember,
    LogAction,
    SetOutputAction,
    TransformAction,
    compile_action,
)
from flowker.domain.errors import InvalidInputMapping, InvalidOutputMapping, InvalidTransforms
from flowker.domain.mappings import compile_input_mapping
from flowker.domain.preparing import Preparation
from flowker.domain.transforms import compile_transforms

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        [
            *("log", "set_output", "transform", "emit_event", "fail", "delay", "approval"),
            *("info", "reject", "{{workflow.a}}", "{{}}"),
        ]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from(
    [
        *("action", "actionType", "message", "level", "output", "inputMapping", "outputMapping", "transforms"),
        *("eventType", "payload", "seconds", "timeoutSeconds", "onTimeout"),
    ]
)


def refusal_of(data: dict[str, Any]) -> InvalidMember:
    with pytest.raises(InvalidMember) as caught:
        compile_action(data)
    return caught.value


@pytest.mark.parametrize("member", ["action", "actionType"])
def test_both_spellings_of_the_kind_are_understood(member: str) -> None:
    """Both occur in published examples."""
    assert isinstance(compile_action({member: "log"}), LogAction)
    assert isinstance(compile_action({member: "set_output", "output": {}}), SetOutputAction)
    assert isinstance(compile_action({member: "fail"}), FailAction)
    assert compile_action({member: "delay", "seconds": 5}) == DelayAction(5)


def test_action_wins_over_action_type() -> None:
    """When both are there."""
    assert isinstance(compile_action({"action": "log", "actionType": "fail"}), LogAction)
    assert refusal_of({"action": "no", "actionType": "log"}).field == "action"


@pytest.mark.parametrize("kind", [None, "", "LOG", "explode", 1, True, ["log"], {"log": 1}])
@pytest.mark.parametrize("member", ["action", "actionType"])
def test_an_unknown_kind_is_refused_with_those_that_exist(member: str, kind: Any) -> None:
    """Of any type, and what was written is not repeated."""
    refusal = refusal_of({member: kind})

    assert (refusal.field, str(refusal)) == (
        member,
        "must be one of log, set_output, transform, emit_event, fail, delay, approval",
    )


def test_a_missing_kind_is_refused() -> None:
    """Under the name that an author should use."""
    assert refusal_of({}).field == "action"


def test_the_published_log_example_yields_itself() -> None:
    """`{"action": "log"}` in, `{"action": "log"}` out."""
    action = compile_action({"action": "log"})

    assert isinstance(action, LogAction)
    assert action.level == "info"
    assert action.output({}) == {"action": "log"}


def test_a_log_yields_its_message_with_the_references_filled_in() -> None:
    """And the level, if one is given."""
    action = compile_action({"actionType": "log", "message": "paid {{workflow.amount}}", "level": "warning"})

    assert isinstance(action, LogAction)
    assert action.level == "warning"
    assert action.output({"workflow": {"amount": Decimal("1.10")}}) == {
        "action": "log",
        "message": "paid 1.10",
        "level": "warning",
    }


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_levels_are_those_of_the_log(level: str) -> None:
    """Four of them."""
    assert isinstance(compile_action({"action": "log", "level": level}), LogAction)


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        ({"action": "log", "level": "loud"}, "level", "must be one of debug, info, warning, error"),
        ({"action": "log", "level": None}, "level", "must be one of"),
        ({"action": "log", "level": ["info"]}, "level", "must be one of"),
        ({"action": "log", "message": "{{}}"}, "message", "has a reference that is not a path"),
        ({"action": "set_output"}, "output", "is required, or inputMapping"),
        ({"action": "set_output", "inputMapping": []}, "output", "is required, or inputMapping"),
        (
            {"action": "set_output", "inputMapping": [{"source": "a", "target": "b"}], "output": "x"},
            "output",
            "must be an object, since there is inputMapping",
        ),
        ({"action": "transform"}, "transforms", "is required, or inputMapping"),
        ({"action": "transform", "transforms": [], "inputMapping": {}}, "transforms", "is required, or inputMapping"),
        ({"action": "set_output", "output": {"a": ["{{a..b}}"]}}, "output", "has a reference that is not a path"),
        *[
            ({"action": "emit_event", "eventType": type_}, "eventType", "must be a string of 1 to 100 characters")
            for type_ in (None, "", " ", "x" * 101, 1, ["paid"], "{{workflow.type}}")
        ],
        ({"action": "emit_event"}, "eventType", "must be a string"),
        ({"action": "emit_event", "eventType": "a", "payload": ["{{}}"]}, "payload", "has a reference that is not a"),
        ({"action": "fail", "message": 1}, "message", "must be a string"),
        ({"action": "fail", "message": None}, "message", "must be a string"),
        ({"action": "fail", "message": "{{ }}"}, "message", "has a reference that is not a path"),
    ],
)
def test_what_is_wrong_is_named_with_its_member(data: dict[str, Any], field: str, reason: str) -> None:
    """The author sees where and why."""
    refusal = refusal_of(data)

    assert refusal.field == field
    assert str(refusal).startswith(reason)


@pytest.mark.parametrize("output", [None, False, 0, "", [], {}, "{{workflow}}", {"a": 1}])
def test_any_value_can_be_the_output(output: Any) -> None:
    """Also null: the author said so."""
    action = compile_action({"action": "set_output", "output": output})

    assert isinstance(action, SetOutputAction)
    assert action.output({}) == (None if output == "{{workflow}}" else output)


def test_an_output_can_be_mapped() -> None:
    """In place of text with references, or over its members."""
    mapping = [{"source": "workflow.amount", "target": "amount"}, {"source": "workflow.nobody", "target": "status"}]
    context = {"workflow": {"amount": Decimal("100.10")}}

    mapped = compile_action({"action": "set_output", "inputMapping": mapping})
    both = compile_action(
        {"action": "set_output", "inputMapping": mapping, "output": {"status": "approved", "amount": 0}}
    )

    assert isinstance(mapped, SetOutputAction)
    assert mapped.output(context) == {"amount": Decimal("100.10")}
    assert isinstance(both, SetOutputAction)
    assert both.output(context) == {"status": "approved", "amount": Decimal("100.10")}


@pytest.mark.parametrize("kind", ["action", "actionType"])
def test_a_transform_has_operations_or_a_mapping(kind: str) -> None:
    """Or both."""
    operations = [{"operation": "pass"}]
    mapping = [{"source": "workflow", "target": "a"}]

    assert compile_action({kind: "transform", "transforms": operations}) == TransformAction(
        Preparation(None, compile_transforms(operations))
    )
    assert compile_action({kind: "transform", "inputMapping": mapping, "transforms": operations}) == TransformAction(
        Preparation(compile_input_mapping(mapping), compile_transforms(operations))
    )


def test_an_event_has_its_type_and_a_payload_with_the_references_filled_in() -> None:
    """The type is as it was written; values keep their types. Without a payload it is null."""
    context = {"workflow": {"amount": Decimal("1.10")}}
    payload = {"amount": "{{workflow.amount}}", "text": "paid {{workflow.amount}}"}

    action = compile_action({"action": "emit_event", "eventType": "payment.approved", "payload": payload})
    bare = compile_action({"actionType": "emit_event", "eventType": "x" * 100})

    assert isinstance(action, EmitEventAction)
    assert action.output(context) == {
        "action": "emit_event",
        "eventType": "payment.approved",
        "payload": {"amount": Decimal("1.10"), "text": "paid 1.10"},
    }
    assert isinstance(bare, EmitEventAction)
    assert bare.output(context) == {"action": "emit_event", "eventType": "x" * 100, "payload": None}


@pytest.mark.parametrize("seconds", [0, 1, DELAY_MAX_S, Decimal("0.1"), Decimal("1E-400"), Decimal("2.592E6")])
def test_a_delay_of_up_to_thirty_days_is_taken_with_all_its_digits(seconds: Any) -> None:
    """The bounds belong to the range."""
    action = compile_action({"action": "delay", "seconds": seconds})

    assert repr(action) == repr(DelayAction(seconds))


@pytest.mark.parametrize(
    "seconds",
    [None, True, "5", [], -1, DELAY_MAX_S + 1, Decimal("-0.1"), Decimal("2592000.1"), Decimal("1E+999999"), 10**400],
)
def test_a_delay_that_is_no_number_of_seconds_is_refused(seconds: Any) -> None:
    """A negative one, a text and an endless one alike."""
    refusal = refusal_of({"action": "delay", "seconds": seconds})

    assert (refusal.field, str(refusal)) == ("seconds", f"must be a number within 0 and {DELAY_MAX_S}")


def test_a_delay_without_seconds_is_refused() -> None:
    """There is no default for a wait."""
    assert refusal_of({"action": "delay"}).field == "seconds"


def test_an_approval_waits_a_day_and_fails_unless_told_otherwise() -> None:
    """Neither an approval nor a rejection is made of silence that nobody has chosen to read so."""
    assert compile_action({"action": "approval"}) == ApprovalAction(float(APPROVAL_DEFAULT_S), "fail")
    assert APPROVAL_DEFAULT_S == 24 * 3600


@pytest.mark.parametrize("on_timeout", ["fail", "reject", "approve"])
@pytest.mark.parametrize("seconds", [1, APPROVAL_MAX_S, Decimal("1.5"), Decimal("2.592E6")])
def test_an_approval_takes_its_time_and_what_silence_means(seconds: Any, on_timeout: Any) -> None:
    """The bounds belong to the range; both spellings of the kind are understood."""
    action = compile_action({"actionType": "approval", "timeoutSeconds": seconds, "onTimeout": on_timeout})

    assert action == ApprovalAction(float(seconds), on_timeout)


@pytest.mark.parametrize(
    "seconds",
    [None, True, "60", [], 0, -1, Decimal("0.999"), APPROVAL_MAX_S + 1, Decimal("2592000.1"), Decimal("1E+999999")],
)
def test_an_approval_that_waits_no_time_or_for_ever_is_refused(seconds: Any) -> None:
    """Somebody has to have a chance, and an end has to come."""
    refusal = refusal_of({"action": "approval", "timeoutSeconds": seconds})

    assert (refusal.field, str(refusal)) == ("timeoutSeconds", f"must be a number within 1 and {APPROVAL_MAX_S}")


@pytest.mark.parametrize("on_timeout", [None, "", "approved", "FAIL", 1, True, ["fail"], {}])
def test_what_silence_means_is_one_of_three(on_timeout: Any) -> None:
    """Nothing is guessed where money is approved."""
    refusal = refusal_of({"action": "approval", "onTimeout": on_timeout})

    assert (refusal.field, str(refusal)) == ("onTimeout", "must be one of fail, reject, approve")


@given(st.dictionaries(MEMBERS, JSON))
@settings(deadline=None, max_examples=100)
def test_any_data_is_an_action_or_refused(data: dict[str, Any]) -> None:
    """No other exception, whatever an author writes."""
    with contextlib.suppress(InvalidMember, InvalidInputMapping, InvalidOutputMapping, InvalidTransforms):
        compile_action(data)
