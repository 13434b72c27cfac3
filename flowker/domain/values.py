"""What JSON values mean to each other: equal, in order, contained, added.

Numbers are exact and of any size, text stays text, and no value is worth more time than its budget. Messages name
the path or the side that is at fault and never a value.
"""

import decimal
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

STEPS_MAX = 100_000
"""About 50 ms of a core. A comparison is a step; long texts and lists cost by their length."""

CHARACTERS_PER_STEP = 1_000
"""Searching or changing the case of so much text takes as long as a comparison."""

NUMBER_CHARACTERS_MAX = 5_000
"""Longer than any integer that JSON text can bring in (4300 digits). Converting grows with the square of it."""

_NUMBER_BITS_MAX = NUMBER_CHARACTERS_MAX * 10 // 3

EXPONENT_MAX = 9_999

_NUMERIC = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]{1,4})?")
_DATE = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)

# Traps turn everything that is not exact, or grows beyond reason, into an exception.
_EXACT = decimal.Context(
    prec=NUMBER_CHARACTERS_MAX,
    Emax=2 * EXPONENT_MAX,
    Emin=-2 * EXPONENT_MAX,
    traps=[decimal.Inexact, decimal.Overflow, decimal.InvalidOperation],
)

ORDERINGS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class ConditionError(Exception):
    """A condition has no answer for this data; the message names the path, never a value."""


class Kind(Enum):
    """What a value is, in the words of messages."""

    NULL = "null or missing"
    BOOLEAN = "true or false"
    NUMBER = "a number"
    TEXT = "text"
    LIST = "a list"
    OBJECT = "an object"
    DATE = "a date"


class Instant(NamedTuple):
    """What `date(x)` gives: a moment in UTC, to the nanosecond."""

    moment: datetime
    nanoseconds: int


class Budget:
    """The steps that one evaluation has left."""

    __slots__ = ("steps",)

    def __init__(self, steps: int = STEPS_MAX) -> None:
        self.steps = steps

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise ConditionError("the condition takes too many steps for this data")

    def spend_on_text(self, text: str) -> None:
        self.spend(1 + len(text) // CHARACTERS_PER_STEP)


@dataclass(frozen=True, slots=True)
class Named:
    """A value with the words that a message has for it."""

    value: Any
    name: str

    @property
    def kind(self) -> Kind:
        return kind_of(self.value)

    def mismatch(self, wanted: str) -> ConditionError:
        return ConditionError(f"{self.name} is {self.kind.value}, not {wanted}")


_KINDS: dict[type, Kind] = {
    type(None): Kind.NULL,
    bool: Kind.BOOLEAN,
    int: Kind.NUMBER,
    Decimal: Kind.NUMBER,
    float: Kind.NUMBER,
    str: Kind.TEXT,
    list: Kind.LIST,
    dict: Kind.OBJECT,
    Instant: Kind.DATE,
}


def kind_of(value: Any) -> Kind:
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind
    if isinstance(value, Mapping):
        return Kind.OBJECT
    raise ConditionError(f"a value has the type {type(value).__name__}, which JSON does not have")


def equal(left: Any, right: Any, budget: Budget) -> bool:
    """Numbers by value, also with a numeric text; two texts by their characters; lists and objects by content."""
    pending = [(left, right)]
    while pending:
        budget.spend(1)
        one, other = pending.pop()
        kinds = kind_of(one), kind_of(other)
        if kinds == (Kind.LIST, Kind.LIST):
            if len(one) != len(other):
                return False
            budget.spend(len(one))
            pending.extend(zip(one, other, strict=True))
        elif kinds == (Kind.OBJECT, Kind.OBJECT):
            budget.spend(len(one))
            if one.keys() != other.keys():
                return False
            pending.extend((one[key], other[key]) for key in one)
        elif not _equal_scalars(one, other, *kinds):
            return False
    return True


def compare(symbol: str, left: Named, right: Named) -> bool:
    """Numbers and numeric texts by value, other texts by code points, dates by time; anything else has no order."""
    kinds = left.kind, right.kind
    for side, kind in ((left, kinds[0]), (right, kinds[1])):
        if kind not in _ORDERED:
            raise side.mismatch("a number, text or a date")
    if kinds == (Kind.DATE, Kind.DATE):
        return ORDERINGS[symbol](left.value, right.value)
    if Kind.DATE in kinds:
        text, kind = (left, right.kind) if kinds[1] is Kind.DATE else (right, left.kind)
        raise text.mismatch(f"{kind.value}; date(…) makes one")
    one, other = _numeric_value(left.value), _numeric_value(right.value)
    if one is not None and other is not None:
        return ORDERINGS[symbol](one, other)
    if kinds == (Kind.TEXT, Kind.TEXT):
        return ORDERINGS[symbol](left.value, right.value)
    raise (left if one is None else right).mismatch("a number")


def contains(container: Named, item: Named, budget: Budget) -> bool:
    """An item of a list, a part of a text, a key of an object. Nothing is in null."""
    kind = container.kind
    if kind is Kind.LIST:
        return any(equal(candidate, item.value, budget) for candidate in container.value)
    if kind is Kind.NULL:
        return False
    if kind not in {Kind.TEXT, Kind.OBJECT}:
        raise container.mismatch("a list, text or an object")
    if item.kind is Kind.NULL:
        return False
    if item.kind is not Kind.TEXT:
        raise item.mismatch(f"text, which is all that {kind.value} can contain")
    budget.spend_on_text(item.value)
    if kind is Kind.TEXT:
        budget.spend_on_text(container.value)
    return item.value in container.value


def add(left: Named, right: Named) -> Decimal:
    """The exact sum."""
    return _calculate(_EXACT.add, left, right)


def subtract(left: Named, right: Named) -> Decimal:
    """The exact difference."""
    return _calculate(_EXACT.subtract, left, right)


def parse_number(text: str) -> Decimal | None:
    """The number that a text writes, with point and exponent; None for anything else, spaces included."""
    if len(text) > NUMBER_CHARACTERS_MAX or _NUMERIC.fullmatch(text) is None:
        return None
    return Decimal(text)


def length(argument: Named, _: Budget) -> int:
    """`length(x)`: characters of a text, items of a list, keys of an object."""
    if argument.kind not in {Kind.TEXT, Kind.LIST, Kind.OBJECT}:
        raise argument.mismatch("text, a list or an object")
    return len(argument.value)


def change_case(change: Callable[[str], str]) -> Callable[[Named, Budget], str]:
    """`lower(x)` and `upper(x)`"""

    def function(argument: Named, budget: Budget) -> str:
        if argument.kind is not Kind.TEXT:
            raise argument.mismatch("text")
        budget.spend_on_text(argument.value)
        return change(argument.value)

    return function


def to_number(argument: Named, _: Budget) -> int | Decimal:
    """`number(x)`: a number as it is, a numeric text as the number that it writes."""
    number = _numeric_value(argument.value)
    if number is None:
        raise argument.mismatch("a number")
    return number


def to_date(argument: Named, _: Budget) -> Instant:
    """`date(x)`: an RFC 3339 date (its first moment in UTC) or date and time with a zone."""
    if argument.kind is not Kind.TEXT:
        raise argument.mismatch("the text of a date")
    parts = _DATE.fullmatch(argument.value)
    if parts is None:
        raise argument.mismatch("a date like 2026-03-17 or 2026-03-17T14:35:00Z")
    zone = (parts["zone"] or "Z").upper()
    try:
        local = datetime.fromisoformat(f"{parts['day']}T{parts['time'] or '00:00:00'}{zone}")
        moment = local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise argument.mismatch("a date that exists") from None
    return Instant(moment, int((parts["fraction"] or "").ljust(9, "0")))


FUNCTIONS: Mapping[str, Callable[[Named, Budget], Any]] = {
    "length": length,
    "lower": change_case(str.lower),
    "upper": change_case(str.upper),
    "number": to_number,
    "date": to_date,
}
"""The functions of conditions that take a value; `exists` takes a path and is not among them."""


_ORDERED = frozenset({Kind.NUMBER, Kind.TEXT, Kind.DATE})


def _equal_scalars(one: Any, other: Any, kind: Kind, other_kind: Kind) -> bool:
    if kind is other_kind:
        return bool(_exact(one) == _exact(other)) if kind is Kind.NUMBER else bool(one == other)
    if kind is Kind.TEXT and other_kind is Kind.NUMBER:
        return parse_number(one) == _exact(other)
    if kind is Kind.NUMBER and other_kind is Kind.TEXT:
        return _exact(one) == parse_number(other)
    if Kind.DATE in {kind, other_kind}:
        raise ConditionError("a date is compared with something that is not a date; date(…) makes one")
    return False


def _numeric_value(value: Any) -> int | Decimal | None:
    kind = kind_of(value)
    if kind is Kind.NUMBER:
        return _exact(value)
    return parse_number(value) if kind is Kind.TEXT else None


def _exact(number: Any) -> int | Decimal:
    """The number as an integer or a decimal that is finite; a binary float counts as the text that it prints as."""
    if isinstance(number, int):
        if number.bit_length() > _NUMBER_BITS_MAX:
            raise ConditionError("a number has too many digits")
        return number
    exact = number if isinstance(number, Decimal) else Decimal(str(number))
    if not exact.is_finite():
        raise ConditionError("a number is not finite")
    return exact


def _calculate(operation: Callable[[Decimal, Decimal], Decimal], left: Named, right: Named) -> Decimal:
    for side in (left, right):
        if side.kind is not Kind.NUMBER:
            raise side.mismatch("a number" + ("; number(…) makes one" if side.kind is Kind.TEXT else ""))
    try:
        return operation(_decimal(left.value), _decimal(right.value))
    except decimal.DecimalException:
        raise ConditionError(f"the sum of {left.name} and {right.name} has too many digits") from None


def _decimal(value: Any) -> Decimal:
    return Decimal(_exact(value))
