r"""Paths into JSON values: `workflow.items[0]["unit price"]`.

One spelling for everything that reads data of an execution: conditions, mappings, `{{path}}` in outputs. A path
starts with a name or with `$` (everything), then come `.key`, `["any key"]`, `[0]` and `[*]` (each item of a list).
Reading never fails: what is not there is `MISSING`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias

PATH_CHARACTERS_MAX = 10_000
"""As long as the longest condition; a path from a workflow is shorter than the field that holds it."""

WILDCARDS_MAX = 8
"""Each `[*]` is one level of recursion when it is read; nobody nests lists deeper."""

TEXT_LITERAL = r"""(?:"(?:[^"\\]|\\[\s\S])*+"|'(?:[^'\\]|\\[\s\S])*+')"""
"""Text in quotes of either kind. Possessive, so that an unclosed quote costs one pass."""

_WORD = r"\w[\w-]*+"
_BRACKET = rf"\[\s*+(?:(?P<index>[0-9]{{1,9}})|(?P<all>\*)|(?P<quoted>{TEXT_LITERAL}))\s*+\]"
_STEP = re.compile(rf"\.(?P<word>{_WORD})|{_BRACKET}")
_ROOT = re.compile(rf"\$|{_WORD}")

PATH = rf"(?:\$|{_WORD})(?:{re.sub(r'[?]P<[a-z]+>', '?:', _STEP.pattern)})*+"
"""A whole path as a pattern without groups, for grammars that have paths in them."""

_ESCAPE = re.compile(r"\\(?:u(?P<hex>[0-9A-Fa-f]{4})?|(?P<other>[\s\S]))")
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "/": "/", "n": "\n", "r": "\r", "t": "\t"}


class Missing(Enum):
    """The type of `MISSING`, which is not `None`: a null that is there is a value."""

    MISSING = "missing"


class Wildcard(Enum):
    """The type of `ALL`, the segment `[*]`."""

    ALL = "*"


MISSING: Final = Missing.MISSING
ALL: Final = Wildcard.ALL
Segment: TypeAlias = str | int | Wildcard


class InvalidPath(ValueError):
    """Text that is not a path. `position` counts characters from 0; the message does not repeat the text."""

    def __init__(self, reason: str, position: int) -> None:
        self.reason = reason
        self.position = position
        super().__init__(f"character {position + 1}: {reason}")


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path. Two paths are equal when they lead to the same place, however they were written."""

    text: str = field(compare=False)
    segments: tuple[Segment, ...]

    @property
    def root(self) -> str:
        """The name that the path starts with, `$` when it starts with everything."""
        first = self.segments[0] if self.segments else None
        return first if isinstance(first, str) else "$"

    @property
    def has_wildcard(self) -> bool:
        return ALL in self.segments

    def read(self, context: Mapping[str, Any], visit: Callable[[int], None] | None = None) -> Any:
        """The value at this path or `MISSING`; with `[*]` a list, without the items that have no such value.

        `visit` is told how many items a `[*]` is about to look at, and may raise when it is too much.
        """
        value: Any = context
        for position, segment in enumerate(self.segments):
            if isinstance(segment, str):
                try:
                    value = value[segment]
                except (KeyError, TypeError):  # TypeError: neither a list nor a scalar has keys
                    return MISSING
            elif not isinstance(value, list):
                return MISSING
            elif segment is ALL:
                return _read_all(value, self.segments[position + 1 :], visit)
            elif segment < len(value):
                value = value[segment]
            else:
                return MISSING
        return value


def parse_path(text: str) -> Path:
    """Parse a path; spaces around it do not matter. Raises `InvalidPath`."""
    if len(text) > PATH_CHARACTERS_MAX:
        raise InvalidPath(f"it is longer than {PATH_CHARACTERS_MAX} characters", PATH_CHARACTERS_MAX)
    start = len(text) - len(text.lstrip())
    end = len(text.rstrip())
    root = _ROOT.match(text, start, end)
    if root is None:
        raise InvalidPath("a path starts with a name or with $", start)
    segments: list[Segment] = [] if root[0] == "$" else [root[0]]
    position = root.end()
    while position < end:
        step = _STEP.match(text, position, end)
        if step is None:
            raise InvalidPath('.key, ["key"], [0], [*] or the end is expected', position)
        segments.append(_segment(step))
        position = step.end()
    if segments.count(ALL) > WILDCARDS_MAX:
        raise InvalidPath(f"it has more than {WILDCARDS_MAX} times [*]", start)
    return Path(text[start:end], tuple(segments))


def unquote(literal: str) -> str:
    r"""The text inside a `TEXT_LITERAL`. Raises `InvalidPath`.

    The escapes are `\\ \" \' \/ \n \r \t \uXXXX`. Any other backslash stands for itself, so that regular expressions
    can be written as they are: `"\d+\.\d+"`.
    """
    inside = _ESCAPE.sub(_unescape, literal[1:-1]) if "\\" in literal else literal[1:-1]
    try:
        # The two halves of a surrogate pair come from two escapes: UTF-16 puts them together and refuses one alone.
        return inside.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise InvalidPath("half of a surrogate pair", 0) from None


def _segment(step: re.Match[str]) -> Segment:
    if step["word"] is not None:
        return step["word"]
    if step["index"] is not None:
        return int(step["index"])
    if step["all"] is not None:
        return ALL
    try:
        return unquote(step["quoted"])
    except InvalidPath as invalid:
        raise InvalidPath(invalid.reason, step.start("quoted") + invalid.position) from None


def _unescape(escape: re.Match[str]) -> str:
    if escape["other"] is not None:
        return _ESCAPES.get(escape["other"], escape[0])
    if escape["hex"] is None:
        raise InvalidPath("\\u needs four hexadecimal digits", escape.start() + 1)
    return chr(int(escape["hex"], 16))


def _read_all(items: Sequence[Any], rest: tuple[Segment, ...], visit: Callable[[int], None] | None) -> list[Any]:
    if visit is not None:
        visit(len(items))
    path = Path("", rest)
    return [found for item in items if (found := path.read(item, visit)) is not MISSING]
