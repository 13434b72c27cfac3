"""Which code says what is wrong with a body: what the document's `x-codes` give to the keyword that refused it."""

from collections.abc import Iterable, Mapping
from typing import Any

from flowker.domain.errors import FlowkerError, InvalidRequest, MissingField, UnexpectedField
from flowker.http.errors import classes_by_code
from flowker.jsonschema import Path, Violation, fields, ordered


def refusal(violations: Iterable[Violation]) -> FlowkerError:
    """The refusal of a body: its code is the first violation's, its fields name them all."""
    found = ordered(violations)
    return refusal_class(found[0])(fields=fields(found))


def refusal_class(violation: Violation) -> type[FlowkerError]:
    if violation.code is not None:
        return classes_by_code()[violation.code]
    return _BY_KEYWORD.get(violation.keyword, InvalidRequest)


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
