r"""Places in JSON values: where mappings and transforms read, and where they write.

A target is written like a path (`flowker.domain.paths`), with `[+]` and `[-]` for a new item at the end or at the
beginning of a list. Transforms are written as Kazaam writes them: between separators stands any text (`unit price`,
`@type`), `\.` is a dot that separates nothing, and `$` alone is everything.

What is written to is never the value that was given: a `Draft` copies the containers on the way, once.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, TypeAlias

from flowker.domain.paths import (
    ALL,
    MISSING,
    PATH_CHARACTERS_MAX,
    TEXT_LITERAL,
    WILDCARDS_MAX,
    InvalidPath,
    Wildcard,
    unquote,
)

TARGET_DEPTH_MAX = 16
"""Together with the deepest value that can be read it stays far from the recursion limit of what encodes it."""

POSITION_MAX = 99
"""Of an item in a list. The items before it are filled with null: a typing error must not fill the memory."""

STEP_COST = 4
"""What a step of a path costs, in characters of a rendering: it takes as long, and also where it finds nothing."""


class End(Enum):
    """Where a new item of a list goes."""

    FIRST = "-"
    LAST = "+"


Step: TypeAlias = str | int | Wildcard | End
Steps: TypeAlias = tuple[Step, ...]
Spend: TypeAlias = Callable[[int], None]
Change: TypeAlias = Callable[[Any], Any]
"""What stands at a place, or `MISSING`, to what is to stand there; `MISSING` leaves it as it is."""


class Unfit(ValueError):
    """The data do not allow what is asked for; the message says why, and nothing of their values."""


@dataclass(frozen=True, slots=True)
class Place:
    """A parsed place. Two are equal when they lead to the same, however they were written."""

    text: str = field(compare=False)
    steps: Steps

    def read(self, value: Any, spend: Spend, *, whole: bool = False) -> Any:
        """What is there, or `MISSING`. For `[*]` a list of as many items, null where an item has no such value.

        `whole` makes it `MISSING` when one of the items has none.
        """
        spend(STEP_COST * (len(self.steps) + 1))
        return _read(value, self.steps, spend, whole)


def parse_target(text: str) -> Place:
    """Parse a path with `[+]` and `[-]`. Raises `InvalidPath`."""
    return _parse(text, _PLAIN)


def parse_kazaam(text: str, separator: str) -> Place:
    """Parse a path as Kazaam writes it. Raises `InvalidPath`."""
    return _parse(text, _kazaam(separator))


def misfit_of_target(steps: Steps) -> str | None:
    """What keeps a place from being written to, apart from `[*]`."""
    if not steps or not isinstance(steps[0], str):
        return "must begin with the name of a member"
    if len(steps) > TARGET_DEPTH_MAX:
        return f"leads down more than {TARGET_DEPTH_MAX} levels"
    if any(isinstance(step, int) and step > POSITION_MAX for step in steps):
        return f"has a position over {POSITION_MAX}"
    return None


def find_overlap(targets: Iterable[Steps]) -> tuple[int, int] | None:
    """The first target that is another one, lies within it, or takes another for something else; with that other.

    `[+]` and `[-]` make an item of their own each time, and go together with nothing else in the same list.
    """
    owners: dict[Steps, int] = {}
    branches: dict[Steps, tuple[type, int]] = {}
    for index, target in enumerate(targets):
        fixed = _until_new_item(target)
        if target in branches:
            return index, branches[target][1]
        for depth in range(1, len(fixed) + 1):
            if fixed[:depth] in owners:
                return index, owners[fixed[:depth]]
        for depth in range(1, min(len(fixed) + 1, len(target))):
            kind = type(target[depth])
            known, first = branches.setdefault(target[:depth], (kind, index))
            if known is not kind:
                return index, first
        if len(fixed) == len(target):
            owners[target] = index
    return None


class Draft:
    """A value that is being written to. It costs what is copied for it; the value that was given stays as it is."""

    def __init__(self, value: Any, spend: Spend) -> None:
        self.value = value
        self._spend = spend
        # By identity, and kept here: an id belongs to one container for as long as that lives.
        self._own: dict[int, Any] = {}

    def change(self, steps: Steps, change: Change) -> None:
        """Change what stands at a place, or at each place when there is `[*]`.

        Containers that are missing on the way are made, and a text or a number in the way gives way to one. Raises
        `Unfit` when a list stands where an object is needed, or the other way round.
        """
        self._spend(STEP_COST * (len(steps) + 1))
        self.value = self._changed(self.value, steps, change)

    def put(self, steps: Steps, value: Any) -> None:
        """Write a value to a place, unless it is `MISSING`. Raises `Unfit`."""
        self.change(steps, lambda _: value)

    def remove(self, steps: Steps) -> bool:
        """Take out what stands at a place; False when there is nothing. The items of a list behind it move up."""
        self._spend(STEP_COST * (len(steps) + 1))
        changed = self._without(self.value, steps)
        if changed is MISSING:
            return False
        self.value = changed
        return True

    def _changed(self, value: Any, steps: Steps, change: Change) -> Any:
        if not steps:
            return change(value)
        step, below = steps[0], steps[1:]
        if step is ALL:
            return self._changed_items(value, below, change)
        here = MISSING if isinstance(step, End) else _child(value, step)
        changed = self._changed(here, below, change)
        # What did not change needs no copy, and what is left out no container.
        return value if changed is MISSING or changed is here else self._put(value, step, changed)

    def _changed_items(self, value: Any, below: Steps, change: Change) -> Any:
        if not isinstance(value, list):
            return value
        self._spend(STEP_COST * len(value) * (len(below) + 1))
        items = self._owned(value, list)
        for position, item in enumerate(value):
            changed = self._changed(item, below, change)
            items[position] = item if changed is MISSING else changed
        return items

    def _put(self, container: Any, step: str | int | End, value: Any) -> Any:
        if isinstance(step, str):
            members = self._owned(container, dict)
            members[step] = value
            return members
        items = self._owned(container, list)
        if isinstance(step, End):
            items.insert(0 if step is End.FIRST else len(items), value)
            return items
        items.extend([None] * (step + 1 - len(items)))
        items[step] = value
        return items

    def _without(self, value: Any, steps: Steps) -> Any:
        step, below = steps[0], steps[1:]
        here = MISSING if isinstance(step, Enum) else _child(value, step)
        if here is MISSING:
            return MISSING
        rest = self._without(here, below) if below else None
        if rest is MISSING:
            return MISSING
        container = self._owned(value, list if isinstance(value, list) else dict)
        if below:
            container[step] = rest
        else:
            del container[step]
        return container

    def _owned(self, container: Any, kind: type[Any]) -> Any:
        """The container, or a copy that may be written to; a new one in place of what is none."""
        if isinstance(container, Mapping | list):
            if isinstance(container, list) is not (kind is list):
                raise Unfit(f"it leads into {'a list' if isinstance(container, list) else 'an object'}")
            if id(container) in self._own:
                return container
            self._spend(len(container))
            own = kind(container)
        else:
            own = kind()
        self._own[id(own)] = own
        return own


@dataclass(frozen=True, slots=True)
class _Spelling:
    root: re.Pattern[str]
    step: re.Pattern[str]
    escaped: str
    """What stands for the separator itself, within a name; nothing when it cannot."""
    separator: str
    expected: str


_BRACKET = rf"\[\s*+(?:(?P<index>[0-9]{{1,9}})|(?P<all>\*)|(?P<end>[+-])|(?P<quoted>{TEXT_LITERAL}))\s*+\]"
_WORD = r"\w[\w-]*+"

_PLAIN = _Spelling(
    re.compile(rf"\$|{_WORD}"),
    re.compile(rf"\.(?P<word>{_WORD})|{_BRACKET}"),
    "",
    ".",
    '.key, ["key"], [0], [*], [+], [-] or the end is expected',
)


@lru_cache(maxsize=100)
def _kazaam(separator: str) -> _Spelling:
    mark = re.escape(separator)
    name = rf"(?:\\{mark}|(?!{mark})[^\[\]])++"
    return _Spelling(
        re.compile(rf"\$(?={mark}|\[|\Z)|{name}"),
        re.compile(rf"{mark}(?P<word>{name})|{_BRACKET}"),
        f"\\{separator}",
        separator,
        f'{separator}key, ["key"], [0], [*], [+], [-] or the end is expected',
    )


def _parse(text: str, spelling: _Spelling) -> Place:
    if len(text) > PATH_CHARACTERS_MAX:
        raise InvalidPath(f"it is longer than {PATH_CHARACTERS_MAX} characters", PATH_CHARACTERS_MAX)
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    root = spelling.root.match(text, start, end)
    if root is None:
        raise InvalidPath("a path starts with a name or with $", start)
    steps: list[Step] = [] if root[0] == "$" else [_name(root[0], spelling)]
    position = root.end()
    while position < end:
        found = spelling.step.match(text, position, end)
        if found is None:
            raise InvalidPath(spelling.expected, position)
        steps.append(_step(found, spelling))
        position = found.end()
    if steps.count(ALL) > WILDCARDS_MAX:
        raise InvalidPath(f"it has more than {WILDCARDS_MAX} times [*]", start)
    return Place(text[start:end], tuple(steps))


def _name(word: str, spelling: _Spelling) -> str:
    return word.replace(spelling.escaped, spelling.separator) if spelling.escaped else word


def _step(found: re.Match[str], spelling: _Spelling) -> Step:
    if found["word"] is not None:
        return _name(found["word"], spelling)
    if found["index"] is not None:
        return int(found["index"])
    if found["end"] is not None:
        return End(found["end"])
    if found["all"] is not None:
        return ALL
    try:
        return unquote(found["quoted"])
    except InvalidPath as invalid:
        raise InvalidPath(invalid.reason, found.start("quoted") + invalid.position) from None


def _read(value: Any, steps: Steps, spend: Spend, whole: bool) -> Any:
    for position, step in enumerate(steps):
        if step is ALL:
            return _read_items(value, steps[position + 1 :], spend, whole)
        value = MISSING if isinstance(step, End) else _child(value, step)
        if value is MISSING:
            break
    return value


def _read_items(value: Any, below: Steps, spend: Spend, whole: bool) -> Any:
    if not isinstance(value, list):
        return MISSING
    spend(STEP_COST * len(value) * (len(below) + 1))
    items = [_read(item, below, spend, whole) for item in value]
    if whole and MISSING in items:
        return MISSING
    return [None if item is MISSING else item for item in items]


def _child(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step, MISSING) if isinstance(value, Mapping) else MISSING
    return value[step] if isinstance(value, list) and step < len(value) else MISSING


def _until_new_item(target: Sequence[Step]) -> Steps:
    for depth, step in enumerate(target):
        if isinstance(step, End):
            return tuple(target[:depth])
    return tuple(target)
