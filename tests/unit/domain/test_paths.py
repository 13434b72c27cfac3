"""Paths: what parses, where they lead, and that nothing else ever happens."""

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowker.domain.paths import ALL, MISSING, InvalidPath, parse_path, unquote

CONTEXT: dict[str, Any] = {
    "workflow": {"amount": 5, "key with.dots": "x", "nothing": None, "items": [{"sku": "A"}, {}, {"sku": None}]},
    "tracer-validate": {"body": {"decision": "ALLOW"}},
    "1": {"grid": [[1, 2], [3]]},
    "coração": True,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("workflow.amount", 5),
        ("  workflow.amount\n", 5),
        ("tracer-validate.body.decision", "ALLOW"),
        ('workflow["key with.dots"]', "x"),
        ("workflow[ 'key with.dots' ]", "x"),
        ("workflow.nothing", None),
        ("workflow.items[0].sku", "A"),
        ("workflow.items[*].sku", ["A", None]),
        ("workflow.items[*].nope", []),
        ("1.grid[*][0]", [1, 3]),
        ("1.grid[*][*]", [[1, 2], [3]]),
        ("1.grid[1][0]", 3),
        ("coração", True),
        ("$", CONTEXT),
        ("$.workflow.amount", 5),
        ('$["tracer-validate"].body.decision', "ALLOW"),
    ],
)
def test_a_path_leads_to_its_value(text: str, value: Any) -> None:
    """Keys, quoted keys, indices and wildcards are followed from the root."""
    assert parse_path(text).read(CONTEXT) == value


@pytest.mark.parametrize(
    "text",
    [
        "nope",
        "nope.deeper",
        "workflow.amount.deeper",
        "workflow.amount[0]",
        "workflow.amount[*]",
        "workflow.nothing.deeper",
        "workflow.items[3]",
        "workflow.items.sku",
        'workflow.items["0"]',
        "workflow[0]",
        "workflow[*]",
        'workflow["key with.dots"][0]',
        "$[0]",
    ],
)
def test_a_path_that_leads_nowhere_is_missing(text: str) -> None:
    """An index is for lists only, a key for objects only, and null has neither."""
    assert parse_path(text).read(CONTEXT) is MISSING


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("   ", 3),
        (".a", 0),
        ("a.", 1),
        ("a..b", 1),
        ("a b", 1),
        ("a[", 1),
        ("a[-1]", 1),
        ("a[1.5]", 1),
        ("a[1234567890]", 1),
        ("a[b]", 1),
        ('a["x]', 1),
        ("$a", 1),
        ("-a", 0),
        ("a + b", 1),
        (r'a["\ud800"]', 2),
        (r'a["b\u12"]', 4),
        ("a" + "[*]" * 9, 0),
        ("a" * 10_001, 10_000),
    ],
)
def test_anything_else_is_refused_with_its_position(text: str, position: int) -> None:
    """The message says where, and never repeats the text."""
    with pytest.raises(InvalidPath) as refused:
        parse_path(text)

    assert refused.value.position == position
    assert str(refused.value).startswith(f"character {position + 1}: ")


def test_paths_are_equal_when_they_lead_to_the_same_place() -> None:
    """How a key was written does not matter."""
    assert parse_path('a["b"][0]') == parse_path("$.a.b[0]")
    assert parse_path("a.b").segments == ("a", "b")
    assert parse_path("a[*]").segments == ("a", ALL)


def test_a_path_knows_its_root() -> None:
    """Later checks ask whether the node that a path starts with exists."""
    assert parse_path("a.b").root == "a"
    assert parse_path('$["x y"].b').root == "x y"
    assert parse_path("$").root == "$"
    assert parse_path("$[0]").root == "$"


def test_a_path_knows_whether_it_gives_a_list_of_findings() -> None:
    """Only `[*]` makes one value into many."""
    assert parse_path("a[*].b").has_wildcard
    assert not parse_path("a[0].b").has_wildcard


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ('"plain"', "plain"),
        ("'it is \"quoted\"'", 'it is "quoted"'),
        (r'"\"\\\'\/"', "\"\\'/"),
        (r'"\n\r\t"', "\n\r\t"),
        (r'"\u00e9\ud83d\ude00"', "é😀"),
        (r'"\d+\.\b"', r"\d+\.\b"),
        (r"'\\d'", r"\d"),
    ],
)
def test_escapes_stand_for_characters_and_other_backslashes_for_themselves(literal: str, text: str) -> None:
    """A regular expression reads in a condition as it does elsewhere."""
    assert unquote(literal) == text


@pytest.mark.parametrize(
    "text", ["a" * 10_000, "a" + ".b" * 4999, "a" + '["' * 3000, 'a["' + r"\"" * 4000, "a[ " * 3000]
)
def test_parsing_takes_linear_time(text: str) -> None:
    """No spelling makes the patterns go back and forth."""
    started = time.thread_time()
    with contextlib.suppress(InvalidPath):
        parse_path(text)

    assert time.thread_time() - started < 2


@given(st.text(max_size=40) | st.text(alphabet="ab.[]*$'\"\\ u0-", max_size=40))
def test_any_text_is_a_path_or_is_refused(text: str) -> None:
    """Nothing but `InvalidPath` is raised, and what parses can be read from anything."""
    try:
        path = parse_path(text)
    except InvalidPath:
        return

    path.read(CONTEXT)
    path.read({"a": [{"b": "text"}], "b": {"a": []}})


@given(st.text(max_size=5), st.lists(st.text(max_size=5) | st.integers(0, 3), max_size=5), st.integers())
def test_every_key_and_index_can_be_written(root: str, segments: list[str | int], value: int) -> None:
    """A quoted key may hold any characters: reading from data that was built along the segments gives the value."""
    context: Any = value
    for segment in reversed([root, *segments]):
        context = {segment: context} if isinstance(segment, str) else [None] * segment + [context]

    path = parse_path("$" + "".join(f"[{_written(segment)}]" for segment in [root, *segments]))

    assert path.read(context) == value


def _written(segment: str | int) -> str:
    if isinstance(segment, int):
        return str(segment)
    return '"' + segment.replace("\\", "\\\\").replace('"', '\\"') + '"'
