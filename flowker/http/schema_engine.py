"""The engine behind openapi-core's schema validators: jsonschema-rs, compiled once for every schema.

openapi-core asks its `schema_validators_factory` for a validator each time it judges a value, and builds one anew.
This factory is the documented hook for another: it keeps what it made. The stock validator stays inside each of
ours for the questions that openapi-core's casters ask, and decides alone where a `discriminator` occurs, which
openapi-core reads as a choice of schema and JSON Schema as a comment.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from jsonschema_path import SchemaPath
from openapi_core.validation.schemas.exceptions import InvalidSchemaValue
from openapi_core.validation.schemas.factories import DialectSchemaValidatorsFactory
from openapi_core.validation.schemas.validators import SchemaValidator
from openapi_schema_validator import OAS31_BASE_DIALECT_ID, OAS30ReadValidator, OAS31Validator

from flowker.http.violations import code_of, code_of_missing
from flowker.jsonschema import Schema, Violation, describe

ASSERTED_FORMATS = frozenset(
    {
        "date",
        "date-time",
        "time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uri",
        "uri-reference",
        "uuid",
        "regex",
    }
)
"""What jsonschema-rs checks among the formats that documents use. It passes any other in silence (int32 and int64
too), so a document that names one must not be served."""


class JudgingValidator(SchemaValidator):
    """openapi-core's schema validator, and what Flowker asks of one."""

    is_valid: Callable[[Any], bool]

    def validate(self, value: Any) -> None:
        if not self.is_valid(value):
            raise InvalidSchemaValue("", "any")

    def evolve(self, schema: SchemaPath) -> SchemaValidator:
        with schema.resolve() as resolved:
            inner = self.validator.evolve(schema=resolved.contents, _resolver=resolved.resolver)
        return SchemaValidator(schema, inner)

    def violations(self, value: Any, *, thorough: bool = True) -> list[Violation]:
        """Everything that is wrong, or only the first thing: finding them all costs more than the value itself."""
        raise NotImplementedError


class CompiledSchema(JudgingValidator):
    def __init__(self, schema: SchemaPath, validator: Any, root: Any) -> None:
        super().__init__(schema, validator)
        self._root = root
        self._compiled = Schema(root)
        self.is_valid = self._compiled.is_valid

    def violations(self, value: Any, *, thorough: bool = True) -> list[Violation]:
        found = self._compiled.violations(value, thorough=thorough)
        return [replace(violation, code=self._code(violation)) for violation in found]

    def _code(self, violation: Violation) -> str | None:
        if violation.keyword != "required":
            return code_of(self._root, violation.steps, violation.keyword)
        # jsonschema-rs calls a missing property so for `dependentRequired` too, which has no x-codes.
        is_required = violation.steps[-1] == "required"
        return code_of_missing(self._root, violation.steps, str(violation.path[-1])) if is_required else None


class DiscriminatedSchema(JudgingValidator):
    def __init__(self, schema: SchemaPath, validator: Any) -> None:
        super().__init__(schema, validator)
        self.is_valid = lambda value: bool(validator.is_valid(_inexact(value)))

    def violations(self, value: Any, *, thorough: bool = True) -> list[Violation]:
        errors = self.validator.iter_errors(_inexact(value))
        found = [
            Violation(error.validator, tuple(error.absolute_path), describe(error.validator, error.validator_value))
            for error in errors
        ]
        return found if thorough else found[:1]


class CompiledSchemas(DialectSchemaValidatorsFactory):
    """The factory to put into openapi-core's `Config`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        # The class, dialect and formats of openapi-core's own factory for 3.1.
        super().__init__(OAS31Validator, OAS31_BASE_DIALECT_ID, format_checker=OAS30ReadValidator.FORMAT_CHECKER)
        self._document = document
        self._made: dict[int, tuple[Any, JudgingValidator]] = {}

    def create(self, spec: SchemaPath, schema: SchemaPath, *args: Any, **options: Any) -> JudgingValidator:
        with schema.resolve() as resolved:
            contents = resolved.contents
        known = self._made.get(id(contents))
        if known is None:
            stock = super().create(spec, schema, *args, **options)
            # The schema is kept beside its validator: while it lives no other one can get its identity.
            known = self._made[id(contents)] = contents, self._compile(schema, stock.validator, contents)
        return known[1]

    def _compile(self, schema: SchemaPath, validator: Any, contents: Any) -> JudgingValidator:
        root = self._standing_alone(contents)
        if _mentions(root, "discriminator"):
            return DiscriminatedSchema(schema, validator)
        return CompiledSchema(schema, validator, root)

    def _standing_alone(self, contents: Any) -> Any:
        """The schema together with the components that it refers to, at the places where it refers to them."""
        if not isinstance(contents, Mapping):
            return contents
        needed: dict[str, dict[str, Any]] = {}
        waiting = [contents]
        while waiting:
            for section, name in _references(waiting.pop()):
                components = needed.setdefault(section, {})
                if name not in components:
                    components[name] = self._document["components"][section][name]
                    waiting.append(components[name])
        return {**contents, "components": needed}


def _references(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/components/"):
            _, _, section, name, *_ = reference.split("/")
            yield section, name
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def _mentions(node: Any, key: str) -> bool:
    if isinstance(node, Mapping):
        return key in node or any(_mentions(child, key) for child in node.values())
    return isinstance(node, list) and any(_mentions(child, key) for child in node)


def _inexact(value: Any) -> Any:
    """The value with binary floats for decimals: jsonschema's Python engine cannot divide a Decimal by a float."""
    if isinstance(value, Decimal):
        # An infinite float would crash the engine as well.
        nearest = max(-sys.float_info.max, min(sys.float_info.max, float(value)))
        return int(nearest) if nearest.is_integer() and abs(nearest) < 2**53 else nearest
    if isinstance(value, dict):
        return {name: _inexact(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_inexact(child) for child in value]
    return value
