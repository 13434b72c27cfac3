"""A second, naive interpreter of conditions: random trees are printed, parsed and evaluated, and both must agree."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flowker.domain.conditions import Condition, ConditionError, parse
from flowker.domain.errors import InvalidCondition

Tree = tuple[Any, ...]
ORDER = {"<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}
NAMES = ("a", "b", "c-d")


class Wrong(Exception):
    """The naive interpreter has no answer."""


def reference(tree: Tree, context: dict[str, Any]) -> Any:
    return globals()[f"_reference_{tree[0]}"](context, *tree[1:])


def _reference_literal(_: dict[str, Any], value: Any) -> Any:
    return value


def _reference_path(context: dict[str, Any], *segments: str | int) -> Any:
    value: Any = context
    for segment in segments:
        if isinstance(value, dict):
            value = value.get(segment)
        elif isinstance(value, list) and isinstance(segment, int) and segment < len(value):
            value = value[segment]
        else:
            value = None
    return value


def _reference_list(context: dict[str, Any], *elements: Tree) -> Any:
    return [reference(element, context) for element in elements]


def _reference_logical(context: dict[str, Any], word: str, *operands: Tree) -> bool:
    for operand in operands:
        if _truth(operand, context) is (word == "OR"):
            return word == "OR"
    return word == "AND"


def _reference_not(context: dict[str, Any], operand: Tree) -> bool:
    return not _truth(operand, context)


def _truth(tree: Tree, context: dict[str, Any]) -> bool:
    value = reference(tree, context)
    if value is None:
        return False
    if value is True or value is False:
        return value
    raise Wrong


def _reference_equality(context: dict[str, Any], symbol: str, left: Tree, right: Tree) -> bool:
    return _same(reference(left, context), reference(right, context)) is (symbol == "==")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return set(one) == set(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    numbers = _as_number(one), _as_number(other)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return type(one) is type(other) and one == other and numbers == (None, None)


def _as_number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    if isinstance(value, str) and not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,4})?", value, re.ASCII):
        return None
    return Decimal(value)


def _reference_ordering(context: dict[str, Any], symbol: str, left: Tree, right: Tree) -> bool:
    one, other = reference(left, context), reference(right, context)
    numbers = _as_number(one), _as_number(other)
    if numbers[0] is not None and numbers[1] is not None:
        sign = (numbers[0] > numbers[1]) - (numbers[0] < numbers[1])
    elif isinstance(one, str) and isinstance(other, str):
        sign = (one > other) - (one < other)
    else:
        raise Wrong
    return sign in ORDER[symbol]


def _reference_membership(context: dict[str, Any], word: str, left: Tree, right: Tree) -> bool:
    values = reference(left, context), reference(right, context)
    item, container = values if word == "in" else values[::-1]
    if container is None:
        return False
    if isinstance(container, list):
        return any(_same(item, one) for one in container)
    if not isinstance(container, str | dict):
        raise Wrong
    if item is None:
        return False
    if not isinstance(item, str):
        raise Wrong
    return item in container


def _reference_sum(context: dict[str, Any], first: Tree, *terms: tuple[str, Tree]) -> Decimal:
    total = _addend(first, context)
    for sign, term in terms:
        total = total + _addend(term, context) if sign == "+" else total - _addend(term, context)
    return total


def _addend(tree: Tree, context: dict[str, Any]) -> Decimal:
    value = reference(tree, context)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Wrong
    return Decimal(value)


def _reference_call(context: dict[str, Any], function: str, argument: Tree) -> Any:
    value = reference(argument, context)
    if function == "exists":
        return value is not None
    if function == "length" and isinstance(value, str | list | dict):
        return len(value)
    if function in {"lower", "upper"} and isinstance(value, str):
        return getattr(value, function)()
    if function == "number" and (number := _as_number(value)) is not None:
        return number
    raise Wrong


def printed(tree: Tree) -> str:
    kind, *parts = tree
    return _PRINTERS.get(kind, _printed_comparison)(*parts)


def _printed_literal(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def _printed_comparison(symbol: str, left: Tree, right: Tree) -> str:
    return f"({printed(left)} {symbol} {printed(right)})"


_PRINTERS: dict[str, Callable[..., str]] = {
    "literal": _printed_literal,
    "path": lambda root, *rest: root + "".join(f"[{_printed_literal(segment)}]" for segment in rest),
    "list": lambda *elements: f"[{', '.join(map(printed, elements))}]",
    "call": lambda function, argument: f"{function}({printed(argument)})",
    "not": lambda operand: f"(NOT ({printed(operand)}))",
    "logical": lambda word, *operands: "(" + f" {word} ".join(map(printed, operands)) + ")",
    "sum": lambda first, *terms: f"({printed(first)}" + "".join(f" {sign} {printed(x)}" for sign, x in terms) + ")",
}


numbers = st.integers(-20, 20) | st.decimals(-10, 10, places=2)
texts = st.sampled_from(["", "a", "b", "ab", "1", "1.0", "-2", "1e1", "A", '"', "\\", "x y", "é"])
scalars = st.none() | st.booleans() | numbers | texts
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "x y"]), inner, max_size=3)
    ),
)
contexts = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, json_values))

paths = st.builds(
    lambda root, rest: ("path", root, *rest),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(["a", "b", "x y"]) | st.integers(0, 2), max_size=2),
)
literals = st.builds(lambda value: ("literal", value), scalars)
operands: st.SearchStrategy[Tree] = st.deferred(
    lambda: (
        paths
        | literals
        | st.builds(lambda elements: ("list", *elements), st.lists(paths | literals, max_size=3))
        | st.builds(
            lambda name, x: ("call", name, x), st.sampled_from(["length", "lower", "upper", "number"]), operands
        )
        | st.builds(
            lambda first, terms: ("sum", first, *terms),
            paths,
            st.lists(
                st.tuples(st.sampled_from("+-"), paths | st.builds(lambda n: ("literal", n), numbers)),
                min_size=1,
                max_size=3,
            ),
        )
    )
)
comparisons = (
    st.builds(lambda symbol, *sides: ("equality", symbol, *sides), st.sampled_from(["==", "!="]), operands, operands)
    | st.builds(lambda symbol, *sides: ("ordering", symbol, *sides), st.sampled_from(list(ORDER)), operands, operands)
    | st.builds(
        lambda word, *sides: ("membership", word, *sides), st.sampled_from(["in", "contains"]), operands, operands
    )
    | st.builds(lambda path: ("call", "exists", path), paths)
    | paths
    | st.builds(lambda value: ("literal", value), st.booleans())
)
trees = st.recursive(
    comparisons,
    lambda inner: (
        st.builds(lambda operand: ("not", operand), inner)
        | st.builds(
            lambda word, parts: ("logical", word, *parts),
            st.sampled_from(["AND", "OR"]),
            st.lists(inner, min_size=2, max_size=3),
        )
        | st.builds(lambda symbol, *sides: ("equality", symbol, *sides), st.sampled_from(["==", "!="]), inner, inner)
    ),
    max_leaves=6,
)


def _is_wrong_without_data(tree: Tree) -> bool:
    """Whether a part of the tree has no answer for any data, which is why parse may refuse it."""
    parts = [part for part in _parts(tree) if _parts(part) or part[0] == "literal"]
    if any(_is_wrong_without_data(part) for part in parts):
        return True
    if tree[0] in {"literal", "path"}:
        return False
    contexts_to_try = (
        [{}] if _is_constant(tree) else [dict.fromkeys(NAMES, value) for value in (1, "1", "a", ["a"], {"a": 1})]
    )
    return all(_fails(tree, context) for context in contexts_to_try)


def _parts(tree: Tree) -> list[Tree]:
    found = [part for part in tree[1:] if isinstance(part, tuple)]
    return [part[1] if part[0] in {"+", "-"} else part for part in found]


def _is_constant(tree: Tree) -> bool:
    return tree[0] != "path" and all(_is_constant(part) for part in _parts(tree))


def _fails(tree: Tree, context: dict[str, Any]) -> bool:
    try:
        reference(tree, context)
    except Wrong:
        return True
    return False


@settings(max_examples=200, deadline=None)
@given(trees, contexts)
def test_the_naive_interpreter_agrees(tree: Tree, context: dict[str, Any]) -> None:
    """What is printed, parsed and evaluated means what the tree means."""
    text = printed(tree)
    try:
        condition = parse(text)
    except InvalidCondition:
        assert _is_wrong_without_data(tree), text
        return
    try:
        expected: bool | str = _truth(tree, context)
    except Wrong:
        expected = "error"

    assert _evaluated(condition, context) == expected, text


def _evaluated(condition: Condition, context: dict[str, Any]) -> bool | str:
    try:
        return condition.evaluate(context)
    except ConditionError:
        return "error"
