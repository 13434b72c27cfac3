"""What is wrong with a value, in our own words: which field, what about it, and which code says so.

The schema engines report keywords and positions. Their messages repeat what the caller sent, and openapi-core's
can even fail to render, so none of them ever leaves this module's input side.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowker import jsontext
from flowker.domain.errors import FlowkerError, InvalidRequest, MissingField, UnexpectedField
from flowker.http.errors import classes_by_code

VIOLATIONS_MAX = 20
"""More than anybody repairs at once; a hostile body must not make the answer as large as itself."""
NAME_CHARACTERS_MAX = 50
"""A name in a field path may be the caller's own (an unexpected field): enough to recognise it."""

Path = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Violation:
    keyword: str
    path: tuple[str | int, ...]
    text: str
    code: str | None = None

    @property
    def field(self) -> str:
        return field_name(self.path)


def refusal(violations: Iterable[Violation]) -> FlowkerError:
    """The refusal of a body: its code is the first violation's, its fields name them all."""
    ordered = sorted(violations, key=_order)[:VIOLATIONS_MAX]
    fields: dict[str, str] = {}
    for violation in ordered:
        fields.setdefault(violation.field, violation.text)
    return refusal_class(ordered[0])(fields=fields)


def refusal_class(violation: Violation) -> type[FlowkerError]:
    if violation.code is not None:
        return classes_by_code()[violation.code]
    return _BY_KEYWORD.get(violation.keyword, InvalidRequest)


def field_name(path: Path) -> str:
    """`nodes[0].id`; the body itself is `body`."""
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


def code_of(root: Any, evaluation_path: Path, keyword: str) -> str | None:
    """The code that the document's `x-codes` give to this keyword at this place.

    The path leads from the root schema to the keyword. Of the schemas on it that judge the same value (a `$ref` and
    its target, a branch of `allOf`) the innermost speaks first.
    """
    codes: list[Mapping[str, str]] = []
    schema = root
    position = 0
    while position < len(evaluation_path):
        if isinstance(schema, Mapping) and "x-codes" in schema:
            codes.append(schema["x-codes"])
        step = evaluation_path[position]
        position += 1
        if step == "$ref":
            schema = _follow(root, schema["$ref"])
            continue
        if step in _DESCENDING and position < len(evaluation_path):
            codes = []
        schema = _child(schema, step)
        if step in _HOLDING_SCHEMAS and position < len(evaluation_path):
            schema = _child(schema, evaluation_path[position])
            position += 1
    return next((of[keyword] for of in reversed(codes) if keyword in of), None)


def code_of_missing(root: Any, evaluation_path: Path, name: str) -> str | None:
    """The code that the missing property's own schema gives to `required`."""
    schema = root
    for step in evaluation_path[:-1]:
        schema = _follow(root, schema["$ref"]) if step == "$ref" else _child(schema, step)
    prop = _child(_child(schema, "properties"), name)
    while isinstance(prop, Mapping):
        code: str | None = prop.get("x-codes", {}).get("required")
        if code is not None or "$ref" not in prop:
            return code
        prop = _follow(root, prop["$ref"])
    return None


def _order(violation: Violation) -> tuple[int, int, list[tuple[int, str]]]:
    # Outer before inner, and what is missing before what is wrong before what is too much: the order in which a
    # person would say it, and the same one every time, whatever order the engine found them in.
    rank = {"required": 0, "additionalProperties": 2, "unevaluatedProperties": 2}.get(violation.keyword, 1)
    where = [(part, "") if isinstance(part, int) else (-1, part) for part in violation.path]
    return len(violation.path), rank, where


def _child(schema: Any, step: str | int) -> Any:
    if isinstance(schema, Mapping):
        return schema.get(str(step))
    if isinstance(schema, list) and isinstance(step, int):
        return schema[step]
    return None


def _follow(root: Any, reference: str) -> Any:
    target = root
    for step in reference.removeprefix("#").split("/")[1:]:
        target = _child(target, step.replace("~1", "/").replace("~0", "~"))
    return target


_DESCENDING = frozenset(
    {"properties", "patternProperties", "additionalProperties", "items", "prefixItems", "unevaluatedProperties"}
    | {"unevaluatedItems", "contains", "propertyNames"}
)
_HOLDING_SCHEMAS = frozenset(
    {"properties", "patternProperties", "prefixItems", "allOf", "anyOf", "oneOf", "dependentSchemas", "$defs"}
)

_BY_KEYWORD: dict[str, type[FlowkerError]] = {
    "required": MissingField,
    "additionalProperties": UnexpectedField,
    "unevaluatedProperties": UnexpectedField,
}


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


_WORDS: dict[str, Callable[[Any], str]] = {
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
    "anyOf": lambda _: "fits none of the allowed forms",
    "oneOf": lambda _: "does not fit exactly one of the allowed forms",
}
