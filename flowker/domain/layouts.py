"""Layouts of times as Go writes them: one moment, 2006-01-02 15:04:05 -0700, in the wanted form.

They are what Kazaam's `timestamp` has. Nanoseconds are kept, and the zone that a text has. Where Go would make
something up it is refused instead: an abbreviated zone other than UTC and GMT says nothing of its offset.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

LAYOUT_CHARACTERS_MAX = 100

TEXT_CHARACTERS_MAX = 200
"""Of a text that is read as a time."""

UNIX = "$unix"
"""In place of a layout: whole seconds since 1970, as text."""


class InvalidLayout(ValueError):
    """Text that is no layout, or says too little; the message says what."""


class NoSuchTime(ValueError):
    """A text without the form of the layout, or of a time that does not exist."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A local time to the second, what it has beyond, and how far it is from UTC."""

    local: datetime
    nanoseconds: int = 0
    offset_s: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """A compiled layout. `pieces` are literal texts, and elements at the odd positions."""

    text: str
    pieces: tuple[str, ...] = field(compare=False)
    elements: tuple[str, ...] = field(compare=False)
    pattern: re.Pattern[str] = field(compare=False)
    """One group for each of `elements`: those of the layout, and fractions of seconds that it does not mention."""

    def format(self, moment: Moment) -> str:
        if self.text == UNIX:
            # Not the local time in UTC, which may lie before the first year or after the last.
            return str(_whole_seconds(moment.local - _EPOCH) - moment.offset_s)
        return "".join(_write(piece, moment) if position % 2 else piece for position, piece in enumerate(self.pieces))

    def parse(self, text: str) -> Moment:
        """The moment that a text tells; UTC when it has no zone. Raises `NoSuchTime`."""
        found = self.pattern.fullmatch(text) if len(text) <= TEXT_CHARACTERS_MAX else None
        if found is None:
            raise NoSuchTime
        try:
            if self.text == UNIX:
                return Moment(_EPOCH + timedelta(seconds=int(text)))
            return _moment_of(zip(self.elements, found.groups(), strict=True))
        except (ValueError, OverflowError):
            raise NoSuchTime from None


def compile_layout(text: str) -> Layout:
    """Compile a layout to write times by. Raises `InvalidLayout`."""
    if len(text) > LAYOUT_CHARACTERS_MAX:
        raise InvalidLayout(f"has more than {LAYOUT_CHARACTERS_MAX} characters")
    if text == UNIX:
        return Layout(text, (text,), (), re.compile("[+-]?[0-9]{1,18}", re.ASCII))
    pieces = _split(text)
    if len(pieces) == 1:
        raise InvalidLayout("is no layout: 2006-01-02T15:04:05Z07:00 is one")
    elements, pattern = _pattern_of(pieces)
    return Layout(text, pieces, elements, re.compile(pattern, re.ASCII | re.IGNORECASE))


def compile_layout_to_read(text: str) -> Layout:
    """Compile a layout to read times by. Raises `InvalidLayout`."""
    layout = compile_layout(text)
    if text != UNIX and not {"2006", "06"} & set(layout.elements):
        raise InvalidLayout("has no year, which is written 2006")
    return layout


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a moment has its offset beside its local time

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_ELEMENT = re.compile(
    r"(January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|2006|15|002|0[1-6]|__2|_2(?!006)|[1-5]|PM|pm"
    r"|[-Z](?:07:00:00|070000|07:00|0700|07)|[.,](?:0+|9+)(?![0-9]))"
)

_ANY_FRACTION = ".?"
"""A element that no layout has: Go reads a fraction after seconds also where the layout has none."""


def _short(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name[:3] for name in names)


# One or two digits: as many as there are, as Go takes them.
_FEW = "[0-9]{1,2}+"
_TWO = "[0-9]{2}"

_PATTERNS = {
    "2006": "[0-9]{4}",
    "06": _TWO,
    "January": "|".join(_MONTHS),
    "Jan": "|".join(_short(_MONTHS)),
    "01": _TWO,
    "1": _FEW,
    "02": _TWO,
    "2": _FEW,
    "_2": f" ?{_FEW}",
    "002": "[0-9]{3}",
    "__2": " {0,2}[0-9]{1,3}+",
    "Monday": "|".join(_DAYS),
    "Mon": "|".join(_short(_DAYS)),
    "15": _FEW,
    "03": _TWO,
    "3": _FEW,
    "04": _TWO,
    "4": _FEW,
    "05": _TWO,
    "5": _FEW,
    "PM": "AM|PM",
    "pm": "am|pm",
    "MST": "UTC|GMT",
    _ANY_FRACTION: "(?:[.,][0-9]++)?",
}


def _split(text: str) -> tuple[str, ...]:
    return tuple(_ELEMENT.split(text))


def _pattern_of(pieces: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    elements: list[str] = []
    pattern = [_literal(pieces[0])]
    for element, literal in zip(pieces[1::2], pieces[2::2], strict=True):
        # A fraction that the layout tells follows directly; any other is read all the same.
        if elements and elements[-1] in {"05", "5"} and not (_is_fraction(element) and pattern[-1] == ""):
            elements.append(_ANY_FRACTION)
            pattern.insert(-1, f"({_PATTERNS[_ANY_FRACTION]})")
        elements.append(element)
        pattern += (f"({_group(element)})", _literal(literal))
    if elements[-1] in {"05", "5"}:
        elements.append(_ANY_FRACTION)
        pattern.insert(-1, f"({_PATTERNS[_ANY_FRACTION]})")
    return tuple(elements), "".join(pattern)


def _literal(text: str) -> str:
    """A space stands for any number of them, as in Go."""
    return " +".join(re.escape(part) for part in re.split(" +", text))


def _group(element: str) -> str:
    if _is_fraction(element):
        digits = len(element) - 1
        return rf"[.,][0-9]{{{digits}}}" if element[1] == "0" else "(?:[.,][0-9]++)?"
    if element[0] in "-Z":
        numbers = re.sub("[0-9]{2}", _TWO, element[1:])
        return rf"Z|[+-]{numbers}" if element[0] == "Z" else rf"[+-]{numbers}"
    return _PATTERNS[element]


def _is_fraction(element: str) -> bool:
    return element[0] in ".,"


def _moment_of(read: Iterable[tuple[str, str]]) -> Moment:
    parts = {"year": 1, "month": 1, "day": 1, "day_of_year": 0, "hour": 0, "minute": 0, "second": 0}
    half, nanoseconds, offset_s = "", 0, 0
    for element, text in read:
        if _is_fraction(element):
            nanoseconds = int(text[1:10].ljust(9, "0"))
        elif element in {"PM", "pm"}:
            half = text.upper()
        elif element[0] in "-Z":
            offset_s = _offset_of(text)
        elif element in _PARTS:
            parts[_PARTS[element]] = _number_of(element, text)
    hour = _hour_of(parts["hour"], half)
    local = datetime(parts["year"], parts["month"], parts["day"], hour, parts["minute"], parts["second"])  # noqa: DTZ001
    if parts["day_of_year"]:
        local = _on_day_of_year(local, parts["day_of_year"])
    return Moment(local, nanoseconds, offset_s)


_PARTS = {
    "2006": "year",
    "06": "year",
    "January": "month",
    "Jan": "month",
    "01": "month",
    "1": "month",
    "02": "day",
    "2": "day",
    "_2": "day",
    "002": "day_of_year",
    "__2": "day_of_year",
    "15": "hour",
    "03": "hour",
    "3": "hour",
    "04": "minute",
    "4": "minute",
    "05": "second",
    "5": "second",
}


def _number_of(element: str, text: str) -> int:
    if element in {"January", "Jan"}:
        return _short(_MONTHS).index(text[:3].title()) + 1
    number = int(text)
    if element == "06":
        # The century is Go's: 69 and later are of the last one.
        return number + (1900 if number >= 69 else 2000)
    if element in {"03", "3"} and not 0 <= number <= 12:
        raise NoSuchTime
    return number


def _hour_of(hour: int, half: str) -> int:
    if half == "PM" and hour < 12:
        return hour + 12
    return 0 if half == "AM" and hour == 12 else hour


def _on_day_of_year(local: datetime, day: int) -> datetime:
    found = local.replace(month=1, day=1) + timedelta(days=day - 1)
    if found.year != local.year:
        raise NoSuchTime
    return found


def _offset_of(text: str) -> int:
    if text in {"Z", "z"}:
        return 0
    numbers = [int(number) for number in re.findall("[0-9]{2}", text)]
    hours, minutes, seconds = (*numbers, 0, 0)[:3]
    if hours > 24 or minutes > 59 or seconds > 59:
        raise NoSuchTime
    offset_s = hours * 3600 + minutes * 60 + seconds
    return -offset_s if text[0] == "-" else offset_s


def _whole_seconds(since: timedelta) -> int:
    return since.days * 86_400 + since.seconds


def _write(element: str, moment: Moment) -> str:
    if _is_fraction(element):
        return _write_fraction(element, moment.nanoseconds)
    if element[0] in "-Z":
        return _write_offset(element, moment.offset_s)
    if element == "MST":
        return "UTC" if moment.offset_s == 0 else _write_offset("-0700", moment.offset_s)
    local = moment.local
    if element in {"PM", "pm"}:
        half = "PM" if local.hour >= 12 else "AM"
        return half if element == "PM" else half.lower()
    if element in _NAMES:
        return _NAMES[element](local)
    number, width, padding = _NUMBERS[element](local)
    return str(number).rjust(width, padding)


_NAMES: Mapping[str, Callable[[datetime], str]] = {
    "January": lambda local: _MONTHS[local.month - 1],
    "Jan": lambda local: _MONTHS[local.month - 1][:3],
    "Monday": lambda local: _DAYS[local.weekday()],
    "Mon": lambda local: _DAYS[local.weekday()][:3],
}

_NUMBERS: Mapping[str, Callable[[datetime], tuple[int, int, str]]] = {
    "2006": lambda local: (local.year, 4, "0"),
    "06": lambda local: (local.year % 100, 2, "0"),
    "01": lambda local: (local.month, 2, "0"),
    "1": lambda local: (local.month, 1, "0"),
    "02": lambda local: (local.day, 2, "0"),
    "2": lambda local: (local.day, 1, "0"),
    "_2": lambda local: (local.day, 2, " "),
    "002": lambda local: (local.timetuple().tm_yday, 3, "0"),
    "__2": lambda local: (local.timetuple().tm_yday, 3, " "),
    "15": lambda local: (local.hour, 2, "0"),
    "03": lambda local: (local.hour % 12 or 12, 2, "0"),
    "3": lambda local: (local.hour % 12 or 12, 1, "0"),
    "04": lambda local: (local.minute, 2, "0"),
    "4": lambda local: (local.minute, 1, "0"),
    "05": lambda local: (local.second, 2, "0"),
    "5": lambda local: (local.second, 1, "0"),
}


def _write_fraction(element: str, nanoseconds: int) -> str:
    digits = f"{nanoseconds:09d}"[: len(element) - 1].ljust(len(element) - 1, "0")
    if element[1] == "0":
        return element[0] + digits
    kept = digits.rstrip("0")
    return element[0] + kept if kept else ""


def _write_offset(element: str, offset_s: int) -> str:
    if element[0] == "Z" and offset_s == 0:
        return "Z"
    minutes, seconds = divmod(abs(offset_s), 60)
    numbers = iter((minutes // 60, minutes % 60, seconds))
    sign = "-" if offset_s < 0 else "+"
    return sign + re.sub("[0-9]{2}", lambda _: f"{next(numbers):02d}", element[1:])
