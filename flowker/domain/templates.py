"""Text with references: `{{path}}` inside a string stands for the value that the path has in the context.

A string that is one reference and nothing else becomes the value itself, with its type; inside other text a value
is written as text, an object or a list as JSON. A path that is not there is null, or no text.

What is rendered is bounded: outputs refer to outputs, and a few nodes that double them would fill the memory.
"""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from flowker.domain.paths import MISSING, TEXT_LITERAL, InvalidPath, Path, parse_path

Template = Callable[[Mapping[str, Any]], Any]
"""A compiled template: context in, value out; raises `RenderedTooLarge`."""

RENDERED_CHARACTERS_MAX = 1024 * 1024
"""As much as a delivery may bring in."""

RENDERED_DEPTH_MAX = 128
"""The deepest delivery (64) inside of the deepest template, and far from the recursion limit of what encodes it."""


class RenderedTooLarge(ValueError):
    """The references of a template lead to more than an output can hold; the message says what."""


class Budget:
    """What one rendering may still take from the context."""

    __slots__ = ("characters",)

    def __init__(self) -> None:
        self.characters = RENDERED_CHARACTERS_MAX

    def spend(self, characters: int) -> None:
        self.characters -= characters
        if self.characters < 0:
            raise RenderedTooLarge(f"what is rendered is larger than {RENDERED_CHARACTERS_MAX} characters")

    def spend_on(self, value: Any) -> None:
        """Spend what the value takes as text, about; ends early for one that is too large or too deep."""
        if type(value) in _SCALARS:
            self.spend(len(_as_json(value)))
            return
        pending = [(value, 1)]
        while pending:
            one, depth = pending.pop()
            if depth > RENDERED_DEPTH_MAX:
                raise RenderedTooLarge(f"what is rendered is nested over {RENDERED_DEPTH_MAX} levels")
            children = one.values() if isinstance(one, Mapping) else one
            self.spend(1 + len(one) + (sum(map(len, one)) if isinstance(one, Mapping) else 0))
            # All scalars of a container at once: this is most of what mappings and templates take.
            self.spend(sum([len(_scalar_text(child)) for child in children if type(child) in _SCALARS]))
            pending.extend([(child, depth + 1) for child in children if type(child) not in _SCALARS])

    def read(self, path: Path, context: Mapping[str, Any]) -> Any:
        """What the path leads to, or `MISSING`; each item that `[*]` looks at costs as much as a character."""
        value = path.read(context, self.spend)
        if value is not MISSING:
            self.spend_on(value)
        return value


_Render = Callable[[Mapping[str, Any], Budget], Any]

# One character of an unclosed reference is looked at once: the text comes from a workflow's author. A quoted key may
# have braces, and ends before the next one begins.
_REFERENCE = re.compile(rf"\{{\{{((?:\[\s*+{TEXT_LITERAL}\s*+\]|[^{{}}])*+)\}}\}}")


def compile_template(value: Any) -> Template:
    """Compile any JSON value whose strings may hold references; raises `InvalidPath`."""
    render = _compile(value)
    return lambda context: render(context, Budget())


def as_text(value: Any) -> str:
    """A value as it is written inside other text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return _as_json(value)


def _compile(value: Any) -> _Render:
    if isinstance(value, str):
        return _compile_text(value)
    if isinstance(value, dict):
        return _compile_object({key: _compile(member) for key, member in value.items()})
    if isinstance(value, list):
        return _compile_list([_compile(element) for element in value])
    return lambda *_: value


def _compile_text(text: str) -> _Render:
    pieces = _REFERENCE.split(text)
    if len(pieces) == 1:
        return lambda *_: text
    paths = [parse_path(path) for path in pieces[1::2]]
    if len(paths) == 1 and not pieces[0] and not pieces[2]:
        return lambda context, budget: _read(paths[0], context, budget)
    texts = pieces[0::2]
    return lambda context, budget: _join(texts, paths, context, budget)


def _compile_object(members: dict[str, _Render]) -> _Render:
    return lambda context, budget: {key: render(context, budget) for key, render in members.items()}


def _compile_list(elements: list[_Render]) -> _Render:
    return lambda context, budget: [render(context, budget) for render in elements]


def _join(texts: list[str], paths: list[Path], context: Mapping[str, Any], budget: Budget) -> str:
    rendered = [texts[0]]
    for path, text in zip(paths, texts[1:], strict=True):
        rendered += (as_text(_read(path, context, budget)), text)
    return "".join(rendered)


def _read(path: Path, context: Mapping[str, Any], budget: Budget) -> Any:
    value = budget.read(path, context)
    return None if value is MISSING else value


def _as_json(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join([f"{_quote(key)}:{_as_json(member)}" for key, member in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_as_json(element) for element in value]) + "]"
    return _scalar_text(value)


def _scalar_text(value: Any) -> str:
    return _quote(value) if isinstance(value, str) else _scalar_as_json(value)


def _scalar_as_json(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}" if abs(value.adjusted()) < _PLAIN_DIGITS_MAX else str(value)
    return str(value)


_quote = json.encoder.encode_basestring

_SCALARS = frozenset({str, int, bool, type(None), Decimal, float})

_PLAIN_DIGITS_MAX = 400
"""An amount is written without an exponent up to this many digits; 1E+999999999 must not fill the memory."""

__all__ = ["Budget", "InvalidPath", "RenderedTooLarge", "Template", "as_text", "compile_template"]
