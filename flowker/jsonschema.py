"""JSON Schema 2020-12, compiled once by jsonschema-rs, and what is wrong with a value in our own words.

The engine reports keywords and positions. Its messages repeat what was sent, so none of them ever leaves this module.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from flowker import jsontext

NAME_CHARACTERS_MAX = 50
"""A name in a field path may be the caller's own (an unexpected field): enough to recognise it."""

VIOLATIONS_MAX = 20
"""More than anybody repairs at once; a hostile value must not make the answer as large as itself."""

Path = Sequence[str | int]

_FORBIDS_MORE = frozenset({"additionalProperties", "unevaluatedProperties"})


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong in one place. `steps` lead through the schema to the keyword; `code` is for who knows codes."""

    keyword: str
    path: tuple[str | int, ...]
    text: str
    code: str | None = None
    steps: tuple[str | int, ...] = ()

    @property
    def field(self) -> str:
        return field_name(self.path)


class Schema:
    """A schema with formats asserted; patterns run in linear time, so that none can be made to run for ever."""

    def __init__(self, contents: Any) -> None:
        self._compiled = Draft202012Validator(contents, validate_formats=True, pattern_options=RegexOptions())
        self.is_valid: Callable[[Any], bool] = self._compiled.is_valid

    def violations(self, value: Any, *, thorough: bool = True) -> list[Violation]:
        """Everything that is wrong, or only the first thing: finding them all costs more than the value itself."""
        errors = self._compiled.iter_errors(value) if thorough else _first_error(self._compiled, value)
        return [violation for error in errors for violation in _translate(error, value)]

    def fields(self, value: Any, prefix: str = "") -> dict[str, str]:
        """What is wrong by field path, outer before inner, at most VIOLATIONS_MAX; empty when the value fits."""
        if self.is_valid(value):
            return {}
        return fields(self.violations(value), prefix)


def fields(violations: Iterable[Violation], prefix: str = "") -> dict[str, str]:
    """The violations by field path in the order in which a person would say them; a field's first one counts."""
    found: dict[str, str] = {}
    for violation in ordered(violations):
        path = (prefix, *violation.path) if prefix else violation.path
        found.setdefault(field_name(path), violation.text)
    return found


def ordered(violations: Iterable[Violation]) -> list[Violation]:
    return sorted(violations, key=_order)[:VIOLATIONS_MAX]


def field_name(path: Path) -> str:
    """`nodes[0].id`; the value itself is `body`."""
    name = ""
    for part in path:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += f".{part[:NAME_CHARACTERS_MAX]}" if name else part[:NAME_CHARACTERS_MAX]
    return name or "body"


def describe(keyword: str, expected: Any) -> str:
    """What the keyword asks for; `expected` is its value in the schema, never anything of the caller's."""
    words = _WORDS.get(keyword)
    return words(expected) if words else "has a form that is not allowed"


def _translate(error: ValidationError, value: Any) -> Iterator[Violation]:
    keyword, path, steps = error.kind.name, tuple(error.instance_path), tuple(error.evaluation_path)
    if keyword == "required":
        yield Violation(keyword, (*path, error.kind.value), describe(keyword, None), steps=steps)
        return
    if keyword == "falseSchema" and steps[-1] in _FORBIDS_MORE:
        # So it calls `additionalProperties: false` where there are no `properties` beside it.
        keyword = str(steps[-1])
    if keyword in _FORBIDS_MORE:
        for name in _unexpected(error, value):
            yield Violation(keyword, (*path, name), describe(keyword, None), steps=steps)
        return
    yield Violation(keyword, path, describe(keyword, error.kind.value), steps=steps)


def _unexpected(error: ValidationError, value: Any) -> list[str]:
    if error.kind.name != "falseSchema":
        return list(error.kind.value)
    # No field at all is expected, so every one that there is is unexpected.
    for step in error.instance_path:
        value = value[step]
    return list(value)


def _first_error(validator: Draft202012Validator, value: Any) -> Iterator[ValidationError]:
    try:
        validator.validate(value)
    except ValidationError as error:
        yield error


def _order(violation: Violation) -> tuple[int, int, list[tuple[int, str]]]:
    # Outer before inner, and what is missing before what is wrong before what is too much: the order in which a
    # person would say it, and the same one every time, whatever order the engine found them in.
    rank = {"required": 0, "additionalProperties": 2, "unevaluatedProperties": 2}.get(violation.keyword, 1)
    where = [(part, "") if isinstance(part, int) else (-1, part) for part in violation.path]
    return len(violation.path), rank, where


def _one_of(options: Iterable[Any]) -> str:
    return "must be one of: " + ", ".join(_literal(option) for option in options)


def _literal(value: Any) -> str:
    return value if isinstance(value, str) else jsontext.encode(value).decode()


def _types(types: str | Sequence[str]) -> str:
    names = [types] if isinstance(types, str) else types
    articles = {"array": "an array", "integer": "an integer", "object": "an object", "null": "null"}
    return "must be " + " or ".join(articles.get(name, f"a {name}") for name in names)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_WORDS: Mapping[str, Callable[[Any], str]] = {
    "type": _types,
    "enum": _one_of,
    "const": lambda value: f"must be {_literal(value)}",
    "required": lambda _: "is missing",
    "additionalProperties": lambda _: "is not expected",
    "unevaluatedProperties": lambda _: "is not expected",
    "falseSchema": lambda _: "is not expected",
    "minLength": lambda limit: f"must have at least {_plural(limit, 'character')}",
    "maxLength": lambda limit: f"must have at most {_plural(limit, 'character')}",
    "pattern": lambda _: "does not have the expected form",
    "format": lambda name: f"is not a valid {name}",
    "minimum": lambda limit: f"must be at least {limit}",
    "maximum": lambda limit: f"must be at most {limit}",
    "exclusiveMinimum": lambda limit: f"must be more than {limit}",
    "exclusiveMaximum": lambda limit: f"must be less than {limit}",
    "multipleOf": lambda step: f"must be a multiple of {step}",
    "minItems": lambda limit: f"must have at least {_plural(limit, 'item')}",
    "maxItems": lambda limit: f"must have at most {_plural(limit, 'item')}",
    "uniqueItems": lambda _: "has the same item twice",
    "minProperties": lambda limit: f"must have at least {_plural(limit, 'field')}",
    "maxProperties": lambda limit: f"must have at most {_plural(limit, 'field')}",
    "propertyNames": lambda _: "has a field whose name is too long or not allowed",
    "anyOf": lambda _: "fits none of the allowed forms",
    "oneOf": lambda _: "does not fit exactly one of the allowed forms",
}
