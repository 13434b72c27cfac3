"""The condition language: its page for authors, its grammar, its bounds, and a second interpreter that must agree."""

import contextlib
import json
import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker.domain.conditions import CHARACTERS_MAX, ConditionError, parse
from flowker.domain.errors import InvalidCondition

PAGE = (Path(__file__).parents[3] / "docs" / "conditions.md").read_text(encoding="utf-8")


def _examples() -> list[tuple[str, str]]:
    blocks = re.findall(r"```condition\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [(text.strip(), answer.strip()) for text, _, answer in (line.rpartition("->") for line in lines)]


def _page_context() -> dict[str, Any]:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    return json.loads(block, parse_float=Decimal)  # type: ignore[no-any-return]


def _answer(text: str, context: dict[str, Any]) -> str:
    try:
        condition = parse(text)
    except InvalidCondition:
        return "refused"
    try:
        return str(condition.evaluate(context)).lower()
    except ConditionError:
        return "error"


@pytest.mark.parametrize(("text", "answer"), _examples())
def test_every_example_of_the_page_is_true_to_its_word(text: str, answer: str) -> None:
    """docs/conditions.md promises nothing that does not hold."""
    assert _answer(text, _page_context()) == answer


def test_the_page_has_examples_of_every_answer() -> None:
    """A page whose examples were not found would pass every test."""
    assert {answer for _, answer in _examples()} == {"true", "false", "error", "refused"}


CONTEXT: dict[str, Any] = {
    "a": 1,
    "b": "2",
    "t": True,
    "f": False,
    "in-stock": True,
    "order": True,
    "notable": True,
    "date": {"x": 1},
    "not": {"x": 1},
    "1": {"x": [5]},
    "2fa": True,
    "text": "AND == OR",
    "long": "x" * 1_000_000,
    "many": list(range(500_000)),
    "broken": "\ud800",
}


@pytest.mark.parametrize(
    "text",
    [
        "a==1",
        "a\t==\n1",
        "((a)) == (((1)))",
        "t AND NOT f",
        "t && !f",
        "f || t",
        "f oR t AnD NoT f",
        "t OR f AND f",
        "NOT f AND t",
        "NOT NOT t",
        "!!t",
        "NOT a == 2",
        "!a == 2",
        "(NOT f) == true",
        "TRUE",
        "Null == nothing",
        "in-stock",
        "order",
        "notable",
        "2fa",
        "date.x == 1",
        "not.x == 1",
        "1.x[0] == 5",
        '$["1"] == $["1"]',
        "DATE ( '2026-01-01' ) == date('2026-01-01')",
        "date.x == 1 AND date('2026-01-01') < date('2026-01-02')",
        'text == "AND == OR"',
        "text contains ' == '",
        'text matches "=="',
        "'it\\'s' == \"it's\"",
        "a == 1.0",
        "a > -1",
        "a > - 1",
        "a == 2 - 1",
        "a == 2 -1",
        "a == 2 +-1",
        "a <=1 and a>=1 and a< 2 and a >0 and a != 2",
        "1e2 == 100",
        "1.5E-1 == 0.15",
        "0.30 == 0.3",
        "12345678901234567890 == 12345678901234567890.0",
        "a in [1]",
        "a in[2,1]",
        "[a, b] == [1, 2]",
        "[[], [1]] contains []",
        "[] == []",
        "a in ([1])",
        "length(upper(lower(b))) == 1",
        "(a == 1) == t",
        "$ contains 'a'",
        "a + 1 + 1 - 1 == number(b)",
    ],
)
def test_true_in_any_spelling(text: str) -> None:
    """Case, spaces and parentheses do not matter; words that only begin like keywords are names."""
    assert parse(text).evaluate(CONTEXT) is True


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", "line 1, column 1: the condition ends too early"),
        ("  \n ", "line 2, column 2: the condition ends too early"),
        ("a ==", "line 1, column 5: the condition ends too early"),
        ("a ==\n ==", "line 2, column 2: this is not expected here"),
        ("a = 1", "line 1, column 3: this character"),
        ("a === 1", "line 1, column 5: this character"),
        ("a == 1 == 1", "line 1, column 8: this is not"),
        ("a b", "line 1, column 3: this is not"),
        ("a == 'x", "line 1, column 6: the quote is not closed"),
        ('a == "x\\"', "line 1, column 6: the quote is not closed"),
        ("a == and", "line 1, column 6: this is not"),
        ("(a", "line 1, column 3: the condition ends too early"),
        ("a)", "line 1, column 2: this is not"),
        ("a[b] == 1", "line 1, column 2: this is not"),
        ("[1,] == a", "line 1, column 4: this is not"),
        ("nope(a)", "line 1, column 5: this is not"),
        ("exists(a, b)", "line 1, column 9: this is not"),
        ("exists('a')", r"line 1, column 1: exists\(…\) is given a path"),
        ("exists(lower(a))", "line 1, column 1: exists"),
        ("length() == 0", "line 1, column 8: this is not"),
        ("a == 1.000.000", "line 1, column 6: this is not a number"),
        ("1-1 == 0", "line 1, column 1: this is not a number"),
        ("a == 1e10000", "line 1, column 6: the number is too large"),
        ("a == -1e10000", "line 1, column 7: the number is too large"),
        ('a == "\\ud800"', "line 1, column 6: half of a surrogate pair"),
        ("a[*][*][*][*][*][*][*][*][*] == 1", "line 1, column 1: it has more than 8"),
        ("5", "line 1, column 1: a constant is neither true nor false"),
        ("null", "line 1, column 1: a constant is neither true nor false"),
        ("a + 1", "line 1, column 1: the sum is neither"),
        ("[a]", "line 1, column 1: the list is neither"),
        ("t AND lower(a)", r"line 1, column 3: lower\(…\) is neither"),
        ("NOT 'x'", "line 1, column 1: a constant is neither"),
        ("a > true", "line 1, column 3: the right side of > has no order"),
        ("[1] < a", "line 1, column 5: the left side of < has no order"),
        ("a + '1' == 2", "line 1, column 3: a constant is not a number"),
        ("a in 5", "line 1, column 3: the right side of in is neither a list nor text"),
        ("true contains a", "line 1, column 6: the left side of contains is neither"),
        ("1 > 'x'", "line 1, column 3: the right side of > is text, not a number"),
        ("lower(5) == a", "line 1, column 1: what lower"),
        ("1e9999 + 1 == a", "line 1, column 8: the sum of a constant and a constant has too many digits"),
        ("a matches '('", "line 1, column 3: the regular expression is not valid"),
        ("a matches '(?=x)'", "line 1, column 3: the regular expression is not valid"),
        ("a matches '.{1000}{1000}'", "line 1, column 3: the regular expression is not valid"),
        ("a matches b", "line 1, column 3: the right side of matches is a regular expression in quotes"),
        ("a matches 5", "line 1, column 3: the right side of matches is a regular expression in quotes"),
        ("!" * 60 + "t", "line 1, column 11: the condition is nested over 50 levels"),
    ],
)
def test_what_is_wrong_whatever_the_data_is_refused_with_its_position(text: str, position: str) -> None:
    """The refusal says where and why, and does not repeat the text."""
    with pytest.raises(InvalidCondition, match=f"^The condition is not valid at {position}"):
        parse(text)


def test_a_text_over_the_bound_is_refused_unread() -> None:
    """The document allows less; the bound is for whoever else calls."""
    with pytest.raises(InvalidCondition, match="longer than 10000 characters"):
        parse("a" * (CHARACTERS_MAX + 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope.x > 1", "nope.x is null or missing, not a number, text or a date"),
        ("1 <= a.x", "a.x is null or missing"),
        ("a > t", "t is true or false, not"),
        ("a > b + 1", "b is text, not a number; number"),
        ("(a + 1) > text", "text is text, not a number"),
        ("lower(text) > a", "the left side of > is text, not a number"),
        ("a", "a is a number, not true or false"),
        ("t AND text", "text is text, not true or false"),
        ("length(a) == 1", "a is a number, not text, a list or an object"),
        ("a contains 1", "a is a number, not a list, text or an object"),
        ("1 in text", "the left side of in is a number, not text"),
        ("nope matches 'x'", "nope is null or missing, not text"),
        ("broken matches 'x'", "broken has half of a surrogate pair"),
        ("date(text) == null", "text is text, not a date like"),
        ("many contains -1", "too many steps"),
        ("many == many", "too many steps"),
        ("long matches '(?i)[a-z].{0,300}$'", "too many steps"),
        ("a" + "b" * 200 + " > 1", r"^ab{99}… is null or missing"),
    ],
)
def test_a_condition_without_an_answer_names_the_path(text: str, message: str) -> None:
    """The message is for the author: the path, what is there, what was expected; never a value."""
    with pytest.raises(ConditionError, match=message):
        parse(text).evaluate(CONTEXT)


def test_what_is_decided_is_not_looked_at_further() -> None:
    """The second side of AND and OR is evaluated only when the first leaves the answer open."""
    assert parse("f AND nope > 1").evaluate(CONTEXT) is False
    assert parse("t OR nope > 1").evaluate(CONTEXT) is True
    assert parse("exists(nope) AND nope > 1").evaluate(CONTEXT) is False


def test_a_condition_knows_the_names_that_its_paths_start_with() -> None:
    """So that a workflow can be checked for names that it does not have."""
    condition = parse('a.x > 1 AND exists(b[0]) OR lower($["c d"].x) in [$, "x", e-f + 1] AND 1 == 1')

    assert condition.paths == {"a", "b", "c d", "$", "e-f"}
    assert condition.text.startswith("a.x > 1")


def test_conditions_are_equal_by_their_text() -> None:
    """Compiled definitions can be compared."""
    assert parse("a == 1") == parse("a == 1")
    assert parse("a == 1") != parse("a == 2")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4990 + "t" + ")" * 4990,
        "(" * CHARACTERS_MAX,
        "!" * 9_999 + "t",
        "[" * 4_000 + "]" * 4_000,
        "lower(" * 1_600,
        "t AND " * 1_660 + "t",
        "1+" * 4_990 + "1 == 4991",
        "a in [" + "1," * 4_900 + "1]",
        " OR ".join(f'b matches ".{{{n}}}"' for n in range(500, 900)),
        '"\\' * 5_000,
        "a['" * 3_000,
        "a" + ".b" * 4_999,
        "1." * 5_000,
        "a-" * 5_000,
    ],
)
def test_no_text_takes_long_to_parse(text: str) -> None:
    """Nor does any run into the recursion limit."""
    started = time.thread_time()
    answer = _answer(text, CONTEXT)

    assert answer in {"true", "false", "refused"}
    assert time.thread_time() - started < 9


@pytest.mark.parametrize(
    "text",
    [
        " OR ".join(["many contains -1"] * 20),
        " OR ".join(["lower(upper(long)) == 1"] * 20),
        " OR ".join(["many == [1]"] * 30),
        " OR ".join(["long contains 'xy'"] * 25),
        " OR ".join(["long matches '(x+x+)+y'"] * 20),
        " OR ".join([f"long matches '.{{{n}}}y'" for n in range(80, 98)]),
    ],
)
def test_no_condition_takes_long_to_evaluate(text: str) -> None:
    """500 characters against a megabyte of data: an answer or an error well within a second."""
    condition = parse(text)
    started = time.thread_time()
    with contextlib.suppress(ConditionError):
        condition.evaluate(CONTEXT)

    assert time.thread_time() - started < 3


FRAGMENTS = (
    "a b.c c-d [0] [*] $ == != < <= > >= in contains matches and OR not ! && || ( ) [ ] , + - 1 1.5 1e3 -2 "
    r"'x' \ ' . 5-3 true false null exists( length( lower( number( date( '2026-01-01'"
)
fragments = st.lists(st.sampled_from(FRAGMENTS.split()), max_size=15)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.text(max_size=3)
values = st.recursive(
    scalars | st.sampled_from(["1", "-0.5", "1e999", "BRL", "2026-01-01"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["amount", "currency", "items", "body", "tags", "limit", "a", "c"]), inner)
    ),
)
contexts = st.dictionaries(st.sampled_from(["workflow", "tracer-validate", "a", "b", "c-d"]), values)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | fragments.map(" ".join) | fragments.map("".join), contexts)
def test_any_text_has_an_answer_for_any_data(text: str, context: dict[str, Any]) -> None:
    """`InvalidCondition` when it is parsed, `ConditionError` when it is evaluated, and nothing else ever."""
    assert _answer(text, context) in {"true", "false", "error", "refused"}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([text for text, answer in _examples() if answer != "refused"]), contexts)
def test_any_data_gives_an_answer_or_a_condition_error(text: str, context: dict[str, Any]) -> None:
    """Whatever comes in, a condition of the page does not break."""
    assert _answer(text, context) in {"true", "false", "error"}
