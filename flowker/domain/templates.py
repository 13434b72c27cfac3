"""Text with references: `{{path}}` inside a string stands for the value that the path has in the context.

A string that is one reference and nothing else becomes the value itself, with its type; inside other text a value
is written as text. A path that is not there is null, or no text.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from flowker.domain.paths import MISSING, InvalidPath, Path, parse_path

Template = Callable[[Mapping[str, Any]], Any]
"""A compiled template: context in, value out."""

_REFERENCE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def compile_template(value: Any) -> Template:
    """Compile any JSON value whose strings may hold references; raises `InvalidPath`."""
    if isinstance(value, str):
        return _compile_text(value)
    if isinstance(value, dict):
        return _compile_object({key: compile_template(member) for key, member in value.items()})
    if isinstance(value, list):
        return _compile_list([compile_template(element) for element in value])
    return lambda _: value


def _compile_text(text: str) -> Template:
    pieces = _REFERENCE.split(text)
    if len(pieces) == 1:
        return lambda _: text
    paths = [parse_path(path) for path in pieces[1::2]]
    if len(paths) == 1 and not pieces[0] and not pieces[2]:
        return lambda context: _read(paths[0], context)
    texts = pieces[0::2]
    return lambda context: _join(texts, paths, context)


def _compile_object(members: dict[str, Template]) -> Template:
    return lambda context: {key: render(context) for key, render in members.items()}


def _compile_list(elements: list[Template]) -> Template:
    return lambda context: [render(context) for render in elements]


def _join(texts: list[str], paths: list[Path], context: Mapping[str, Any]) -> str:
    rendered = [texts[0]]
    for path, text in zip(paths, texts[1:], strict=True):
        rendered += (_as_text(_read(path, context)), text)
    return "".join(rendered)


def _read(path: Path, context: Mapping[str, Any]) -> Any:
    value = path.read(context)
    return None if value is MISSING else value


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}" if abs(value.adjusted()) < _PLAIN_DIGITS_MAX else str(value)
    return str(value)


_PLAIN_DIGITS_MAX = 400
"""An amount is written without an exponent up to this many digits; 1E+999999999 must not fill the memory."""

__all__ = ["InvalidPath", "Template", "compile_template"]
