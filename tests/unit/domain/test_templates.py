"""References in text: exact values, exact text, and bounds on what they lead to."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker.domain.templates import RENDERED_CHARACTERS_MAX, InvalidPath, RenderedTooLarge, as_text, compile_template
from tests.unit.growth import LINEAR_MAX, growth

CONTEXT: dict[str, Any] = {
    "workflow": {
        "amount": Decimal("100.10"),
        "large": 12345678901234567890123,
        "code": "007",
        "paid": True,
        "refund": False,
        "note": None,
        "empty": "",
        "zero": 0,
        "items": [{"price": Decimal("1.50")}, {"price": 2}, {}],
        "customer": {"name": 'Ada "the" Ünïque\n', "tags": []},
        "unit price": 3,
        "{braces}}": 4,
    },
    "tracer-validate": {"body": {"decision": "ALLOW"}},
}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def render(template: Any, context: dict[str, Any] | None = None) -> Any:
    return compile_template(template)(CONTEXT if context is None else context)


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("{{workflow.amount}}", Decimal("100.10")),
        ("{{workflow.large}}", 12345678901234567890123),
        ("{{workflow.code}}", "007"),
        ("{{workflow.paid}}", True),
        ("{{workflow.note}}", None),
        ("{{workflow.nobody}}", None),
        ("{{workflow.items[0].price}}", Decimal("1.50")),
        ("{{workflow.items[9]}}", None),
        ("{{workflow.items[*].price}}", [Decimal("1.50"), 2]),
        ("{{ workflow.code\t}}", "007"),
        ('{{workflow["unit price"]}}', 3),
        ('{{workflow["{braces}}"]}}', 4),
        ("{{tracer-validate.body.decision}}", "ALLOW"),
        ("{{workflow.customer}}", CONTEXT["workflow"]["customer"]),
        ("{{$}}", CONTEXT),
    ],
)
def test_a_string_that_is_one_reference_becomes_the_value(reference: str, value: Any) -> None:
    """With its type and all its digits; what is not there is null."""
    rendered = render(reference)

    assert repr(rendered) == repr(value)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{workflow.amount}} BRL", "100.10 BRL"),
        ("{{workflow.large}}!", "12345678901234567890123!"),
        ("no. {{workflow.code}}", "no. 007"),
        ("{{workflow.paid}}/{{workflow.refund}}", "true/false"),
        ("[{{workflow.note}}{{workflow.nobody}}{{workflow.empty}}]", "[]"),
        ("{{workflow.code}}{{workflow.code}}", "007007"),
        (" {{workflow.code}}", " 007"),
        ("{{workflow.items}} in all", '[{"price":1.50},{"price":2},{}] in all'),
        ("{{workflow.customer}}.", '{"name":"Ada \\"the\\" Ünïque\\n","tags":[]}.'),
        ("{{workflow.customer.name}}.", 'Ada "the" Ünïque\n.'),
        ("{{{workflow.code}}}", "{007}"),
        ("{{workflow.code}}}}", "007}}"),
    ],
)
def test_inside_other_text_a_value_is_written_as_text(template: str, text: str) -> None:
    """Numbers digit by digit, text as it is, objects and lists as JSON, null as nothing."""
    assert render(template) == text


@pytest.mark.parametrize(
    "text", ["", "plain", "{workflow.code}", "{{workflow.code", "workflow.code}}", "{{a}b}}", "{ {a}}"]
)
def test_text_without_a_reference_stays_as_it_is(text: str) -> None:
    """Two braces on both sides make a reference, and nothing else."""
    assert render(text) == text


def test_references_are_found_at_every_depth_and_keys_are_no_templates() -> None:
    """The shape of the template is the shape of the output."""
    template = {"{{workflow.code}}": ["{{workflow.code}}", {"a": {"b": "{{workflow.zero}}"}}, 1, None, True]}

    assert render(template) == {"{{workflow.code}}": ["007", {"a": {"b": 0}}, 1, None, True]}


@pytest.mark.parametrize(
    "template", ["{{}}", "{{ }}", "{{a b}}", "{{a.}}", "x {{.a}} y", {"k": ["{{a[}}"]}, "{{a[-1]}}"]
)
def test_a_reference_that_is_not_a_path_is_refused(template: Any) -> None:
    """When the workflow is saved, not when it runs; at any depth."""
    with pytest.raises(InvalidPath):
        compile_template(template)


@given(VALUES)
@settings(deadline=None)
def test_a_value_without_references_renders_to_itself(value: Any) -> None:
    """Numbers keep their digits."""
    if "{{" not in json.dumps(value, default=str):
        assert repr(render(value)) == repr(value)


@given(VALUES)
@settings(deadline=None)
def test_a_reference_gives_exactly_the_value_of_the_context(value: Any) -> None:
    """It is the very object: nothing is copied and nothing changed."""
    assert render("{{node}}", {"node": value}) is value


@given(st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3) | st.lists(VALUES, max_size=3), max_size=3))
@settings(deadline=None)
def test_an_object_or_a_list_in_text_is_json_of_the_same_value(value: list[Any]) -> None:
    """Whoever reads the text gets the value back."""
    text = render("v={{node}}", {"node": value})

    assert json.loads(text.removeprefix("v="), parse_float=Decimal) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1E+5"), "100000"),
        (Decimal("1.50E-7"), "0.000000150"),
        (Decimal("-0.00"), "-0.00"),
        (Decimal("1E+399"), "1" + "0" * 399),
        (Decimal("1E+400"), "1E+400"),
        (Decimal("1E-999999999"), "1E-999999999"),
        (0, "0"),
        (False, "false"),
        (None, ""),
        ("", ""),
        ("x", "x"),
        ([None, "x", True], '[null,"x",true]'),
    ],
)
def test_a_number_is_written_without_an_exponent_unless_it_would_be_endless(value: Any, text: str) -> None:
    """An amount is read by people; a hostile exponent must not fill the memory."""
    assert as_text(value) == text


def test_outputs_that_double_are_stopped() -> None:
    """Thirty nodes that each hold the context twice would be a billion values."""
    template = compile_template({"left": "{{$}}", "right": "{{$}}"})
    context: dict[str, Any] = {"workflow": {"amount": 1}}
    for number in range(9):
        context = {**context, f"node{number}": template(context)}
    context = {**context, "left": context, "right": context}

    with pytest.raises(RenderedTooLarge, match=r"^what is rendered is larger than 1048576 characters$"):
        template(context)


def test_outputs_that_nest_without_end_are_stopped() -> None:
    """What is too deep could be written and never be read again."""
    template = compile_template({"inner": "{{output}}"})
    output: Any = {}
    for _ in range(128):
        output = template({"output": output})

    with pytest.raises(RenderedTooLarge, match=r"^what is rendered is nested over 128 levels$"):
        template({"output": output})


def test_a_value_as_deep_as_any_delivery_can_be_rendered() -> None:
    """64 levels, also within text."""
    value = json.loads("[" * 64 + "]" * 64)

    assert render("{{v}}", {"v": value}) is value
    assert render("{{v}}.", {"v": value}) == "[" * 64 + "]" * 64 + "."


@pytest.mark.parametrize(
    "value",
    ["x" * 600_000, ["x" * 600_000], {"x" * 600_000: 1}, [0] * 300_000, 10**4000, Decimal("1E+390"), '"' * 300_000],
)
@pytest.mark.parametrize("template", ["{{v}}{{v}}", ["{{v}}", "{{v}}"], {"a": "{{v}}", "b": ["{{v}}"]}])
def test_what_a_rendering_takes_from_the_context_is_counted_together(value: Any, template: Any) -> None:
    """Each reference alone would fit. Smaller values are referred to more often."""
    repeated = [template] * (1 if len(as_text(value)) > 300_000 else 2000)

    with pytest.raises(RenderedTooLarge):
        render(repeated, {"v": value})


def test_a_delivery_of_its_largest_size_can_be_the_output() -> None:
    """A megabyte comes in, a megabyte may go out."""
    value = {"text": "x" * (1024 * 1024 - 50)}

    assert render("{{workflow}}", {"workflow": value}) is value


def test_a_thousand_walks_through_a_large_list_are_stopped() -> None:
    """They would take the event loop's time, though they find nothing."""
    looks = 0

    class Watched(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            nonlocal looks
            looks += 1
            raise KeyError(key)

    template = compile_template(["{{v[*].nothing}}"] * 1000)
    with pytest.raises(RenderedTooLarge):
        template({"v": [Watched()] * 20_000})

    assert 0 < looks <= RENDERED_CHARACTERS_MAX


@pytest.mark.parametrize("piece", ["{", "{{", "{{ ", " ", "{{a", "a}}", "{{a}} {{"])
def test_a_long_text_takes_no_long_time(piece: str) -> None:
    """Linear, whatever an author writes."""
    times = growth(lambda size: render("{{" + piece * size, {"a": 1}), 1_000)

    assert times < LINEAR_MAX
