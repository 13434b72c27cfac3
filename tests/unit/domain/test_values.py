"""What values mean to each other, where conditions cannot reach or where a table says it best."""

import time
from collections.abc import Callable
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from flowker.domain.values import (
    FUNCTIONS,
    Budget,
    ConditionError,
    Kind,
    Named,
    add,
    compare,
    contains,
    equal,
    kind_of,
    parse_number,
    subtract,
)

HUGE = Decimal("1E+999999999")
TINY = Decimal("1E-999999999")
LONG = pytest.param(10**4990, Decimal("1E-20"), id="long")


def named(value: Any, name: str = "x") -> Named:
    return Named(value, name)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (1, Decimal("1.00"), True),
        (1, 1.0, True),
        (0.1, Decimal("0.1"), True),
        (Decimal("-0"), 0, True),
        (1, True, False),
        (0, False, False),
        (None, False, False),
        (None, None, True),
        ("1", 1, True),
        (1, "1.0", True),
        ("1", "1.0", False),
        (" 1", 1, False),
        ("1e2", 100, True),
        ("1e99999", HUGE, False),
        ("٣", 3, False),
        ("NaN", 1, False),
        ("", 0, False),
        ([1, "2"], ["1", 2], True),
        ([1], [1, 2], False),
        ({"a": [1]}, {"a": [Decimal(1)]}, True),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, [1], False),
        ("a", None, False),
        (HUGE, 1, False),
        (HUGE, HUGE, True),
    ],
)
def test_equality(left: Any, right: Any, expected: bool) -> None:
    """By value and by content, the same from both sides."""
    assert equal(left, right, Budget()) is expected
    assert equal(right, left, Budget()) is expected


@pytest.mark.parametrize(
    ("left", "right", "less"),
    [
        (1, Decimal("1.5"), True),
        ("9", 10, True),
        (9, "10", True),
        ("9", "10", True),
        ("9a", "10", False),
        ("", "a", True),
        ("Z", "a", True),
        (TINY, HUGE, True),
        (HUGE, 10**4000, False),
    ],
)
def test_order(left: Any, right: Any, less: bool) -> None:
    """Numeric where both sides are numbers in any spelling, else by code points."""
    assert compare("<", named(left), named(right)) is less
    assert compare(">", named(right), named(left)) is less
    assert compare(">=", named(left), named(right)) is not less
    assert compare("<=", named(right), named(left)) is not less


@pytest.mark.parametrize("value", [None, True, [], {}, "text"])
def test_a_value_without_order_is_named_and_not_shown(value: Any) -> None:
    """The message has the name and the kind."""
    with pytest.raises(ConditionError) as first:
        compare("<", named(value, "a.b"), named(1, "c.d"))
    with pytest.raises(ConditionError) as second:
        compare("<", named(1, "c.d"), named(value, "a.b"))

    assert str(first.value).startswith(f"a.b is {kind_of(value).value}, not ")
    assert str(second.value) == str(first.value)


@pytest.mark.parametrize(
    "number", [Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), float("nan"), float("inf")]
)
def test_a_number_that_is_not_finite_is_an_error(number: Any) -> None:
    """JSON has none; one that came in anyhow does not decide anything."""
    uses: list[Callable[[], Any]] = [
        lambda: equal(number, 1, Budget()),
        lambda: equal("1", number, Budget()),
        lambda: compare("<", named(number), named(1)),
        lambda: add(named(number), named(1)),
    ]
    for use in uses:
        with pytest.raises(ConditionError, match="not finite"):
            use()


def test_sums_are_exact() -> None:
    """Money does not pass through binary floats, and nothing is rounded."""
    assert add(named(0.1), named(0.2)) == Decimal("0.3")
    assert subtract(named(100), named(Decimal("0.01"))) == Decimal("99.99")
    assert add(named(10**4000), named(1)) == 10**4000 + 1
    assert add(named(Decimal("1E+9000")), named(Decimal("1E+9000"))) == Decimal("2E+9000")


@pytest.mark.parametrize(
    ("left", "right"),
    [(HUGE, 1), (1, HUGE), (HUGE, HUGE), (HUGE, 0), (TINY, 1), LONG],
)
def test_a_sum_that_would_grow_beyond_reason_is_an_error(left: Any, right: Any) -> None:
    """No exponent makes a sum fill the memory."""
    started = time.thread_time()
    with pytest.raises(ConditionError, match="too many digits"):
        add(named(left), named(right))

    assert time.thread_time() - started < 0.5


def test_an_integer_beyond_json_is_an_error_and_not_a_long_computation() -> None:
    """Converting a million digits would take seconds."""
    started = time.thread_time()
    with pytest.raises(ConditionError, match="too many digits"):
        equal(1 << 4_000_000, Decimal("1.5"), Budget())

    assert time.thread_time() - started < 0.5


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("+1", 1), ("-.5", Decimal("-0.5")), ("5.", 5), ("007", 7), ("1E-3", Decimal("0.001"))],
)
def test_numeric_texts(text: str, number: Any) -> None:
    """What writes a number is one."""
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text", ["", ".", "1 ", "1_0", "0x1", "1e", "1e12345", "inf", "NaN", "1,5", "--1", "1" * 5001, "1\n"]
)
def test_texts_that_are_no_numbers(text: str) -> None:
    """Spaces, separators and names of numbers do not count, nor does what is too long."""
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("container", "item", "expected"),
    [
        ([1, "a"], "1", True),
        ([], None, False),
        ([None], None, True),
        ("abc", "b", True),
        ("abc", None, False),
        (None, "a", False),
        ({"a": None}, "a", True),
        ({"a": None}, "b", False),
        ([[1], {"a": 1}], {"a": 1}, True),
    ],
)
def test_containment(container: Any, item: Any, expected: bool) -> None:
    """Items, parts and keys; nothing is in null."""
    assert contains(named(container), named(item), Budget()) is expected


@pytest.mark.parametrize(("container", "item"), [("123", 1), ({"a": 1}, 1), (5, 1), (True, 1)])
def test_what_cannot_contain_is_an_error(container: Any, item: Any) -> None:
    """Looking for a number in a text would need a guess."""
    with pytest.raises(ConditionError, match=r" is .*, not "):
        contains(named(container), named(item), Budget())


def test_a_date_is_compared_with_dates_only() -> None:
    """Text that looks like a date is not taken for one silently."""
    date = FUNCTIONS["date"](named("2026-03-17"), Budget())
    text = named("2026-03-18", "a.b")

    uses: list[Callable[[], Any]] = [
        lambda: equal(date, text.value, Budget()),
        lambda: equal(text.value, date, Budget()),
        lambda: compare("<", named(date), text),
        lambda: compare("<", text, named(date)),
    ]
    for use in uses:
        with pytest.raises(ConditionError, match="date"):
            use()


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-03-17", "2026-03-17T00:00:00.000000001Z"),
        ("2026-03-17T00:00:00+03:00", "2026-03-17"),
        ("2026-03-17t10:00:00z", "2026-03-17 10:00:00.1-00:00"),
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_dates_have_the_order_of_time(earlier: str, later: str) -> None:
    """Across zones and down to the nanosecond."""
    dates = [named(FUNCTIONS["date"](named(text), Budget())) for text in (earlier, later)]

    assert compare("<", *dates)
    assert not equal(dates[0].value, dates[1].value, Budget())


@pytest.mark.parametrize(
    "value",
    [
        None,
        20260317,
        "",
        "20260317",
        "2026-03-17T10:00:00",
        "2026-03-17T10:00Z",
        "2026-02-29",
        "2026-03-17T24:00:00Z",
        "2026-03-17T10:00:60Z",
        "2026-W12",
        "0001-01-01T00:00:00+10:00",
        "2026-03-17T10:00:00+99:00",
        "0000-01-01",
        "2026-03-17\n",
        "٢٠٢٦-٠٣-٠٢",
    ],
)
def test_what_is_no_date_is_an_error(value: Any) -> None:
    """A time without a zone is not a moment either."""
    with pytest.raises(ConditionError, match=r"x is .*, not "):
        FUNCTIONS["date"](named(value), Budget())


@pytest.mark.parametrize(
    ("function", "value"),
    [("length", 5), ("length", None), ("lower", 5), ("upper", []), ("number", True), ("number", "x")],
)
def test_functions_refuse_what_they_are_not_for(function: str, value: Any) -> None:
    """The message names what was given."""
    with pytest.raises(ConditionError, match=r"x is .*, not "):
        FUNCTIONS[function](named(value), Budget())


def test_every_mapping_is_an_object() -> None:
    """The context of an execution may be any mapping."""
    assert kind_of(MappingProxyType({})) is Kind.OBJECT


def test_a_type_that_json_does_not_have_is_an_error() -> None:
    """Such a value in the context is a mistake of ours and must not decide."""
    with pytest.raises(ConditionError, match="bytes"):
        equal(b"", "", Budget())


def test_steps_are_counted_by_what_is_looked_at() -> None:
    """Long lists and texts cost by their length."""
    budget = Budget(1000)
    assert contains(named(list(range(400))), named(-1), budget) is False
    with pytest.raises(ConditionError, match="steps"):
        contains(named(list(range(700))), named(-1), budget)
    with pytest.raises(ConditionError, match="steps"):
        contains(named("a" * 2_000_000), named("b"), Budget(1000))
    with pytest.raises(ConditionError, match="steps"):
        equal(dict.fromkeys(map(str, range(2000)), 0), {}, Budget(1000))


def test_a_value_that_contains_itself_runs_out_of_steps() -> None:
    """Comparing goes without recursion and ends."""
    circle: list[Any] = []
    circle.append(circle)
    other: list[Any] = []
    other.append(other)

    with pytest.raises(ConditionError, match="steps"):
        equal(circle, other, Budget())
