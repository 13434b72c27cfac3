from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from jsonschema_path import SchemaPath
from openapi_core.validation.schemas.exceptions import InvalidSchemaValue

from flowker.http.schema_engine import (
    ASSERTED_FORMATS,
    CompiledSchema,
    CompiledSchemas,
    DiscriminatedSchema,
    JudgingValidator,
)

Compile = Callable[..., JudgingValidator]


@pytest.fixture
def compile_schema() -> Compile:
    def compile_schema(schema: Any, **components: Any) -> JudgingValidator:
        document = {"openapi": "3.1.0", "x": schema, "components": {"schemas": components}}
        spec = SchemaPath.from_dict(document)
        return CompiledSchemas(document).create(spec, spec / "x")

    return compile_schema


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"type": "number"}, Decimal("100.10"), True),
        ({"type": "number"}, Decimal("1E+400"), True),
        ({"type": "number"}, 10**400, True),
        ({"type": "number"}, Decimal("NaN"), False),
        ({"type": "string"}, Decimal("1.5"), False),
        ({"type": "integer"}, Decimal("1.0"), True),
        ({"type": "integer"}, Decimal("1E+5"), True),
        ({"type": "integer"}, Decimal("1.5"), False),
        ({"type": "integer"}, 10**400, True),
        ({"maximum": 10}, Decimal("10.00000000000000000001"), False),
        ({"maximum": 10}, Decimal("9.99999999999999999999"), True),
        ({"maximum": 9007199254740993}, 9007199254740993, True),
        ({"maximum": 9007199254740992}, 9007199254740993, False),
        ({"multipleOf": 0.01}, Decimal("0.07"), True),
        ({"multipleOf": 0.01}, Decimal("100000000000000.07"), True),
        ({"multipleOf": 0.01}, Decimal("0.075"), False),
        ({"enum": [1.5]}, Decimal("1.50"), True),
        ({"const": 100000}, Decimal("1E+5"), True),
        ({"uniqueItems": True}, [Decimal("1.0"), 1], False),
        ({"minimum": 0}, Decimal("-0.0"), True),
        ({"maximum": 1}, Decimal("1E+999999"), False),
    ],
)
def test_numbers_are_judged_exactly(compile_schema: Compile, schema: Any, value: Any, fits: bool) -> None:
    """A Decimal is a number with all of its digits, and an integer may have any size."""
    assert compile_schema(schema).is_valid(value) is fits


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("uuid", "a1b2c3d4-e5f6-7890-abcd-ef1234567890", True),
        ("uuid", "A1B2C3D4-E5F6-7890-ABCD-EF1234567890", True),
        ("uuid", "a1b2c3d4e5f67890abcdef1234567890", False),
        ("uuid", "{a1b2c3d4-e5f6-7890-abcd-ef1234567890}", False),
        ("uuid", "a1b2c3d4-e5f6-7890-abcd-ef1234567890\n", False),
        ("date-time", "2026-03-17T14:35:00Z", True),
        ("date-time", "2026-03-17T14:35:00.123456+01:00", True),
        ("date-time", "2026-03-17T14:35:00", False),
        ("date-time", "2026-03-17", False),
        ("date-time", "2026-02-30T00:00:00Z", False),
        ("date-time", "2026-03-17T14:35:00Z\n", False),
    ],
)
def test_formats_are_asserted(compile_schema: Compile, name: str, value: str, fits: bool) -> None:
    """To JSON Schema 2020-12 a format is a comment; to this service it is a rule."""
    assert compile_schema({"type": "string", "format": name}).is_valid(value) is fits


@pytest.mark.parametrize("name", sorted(ASSERTED_FORMATS))
def test_every_format_that_a_document_may_name_is_asserted(compile_schema: Compile, name: str) -> None:
    """The engine passes the ones that it does not know in silence."""
    assert not compile_schema({"type": "string", "format": name}).is_valid("\\ [(")


def test_a_pattern_cannot_run_for_ever(compile_schema: Compile) -> None:
    """The engine is linear: what makes others backtrack for hours is answered at once."""
    validator = compile_schema({"pattern": "^(a+)+$"})

    assert not validator.is_valid("a" * 100_000 + "b")


def test_a_schema_may_contain_itself(compile_schema: Compile) -> None:
    """With only the components that it refers to, and those that they refer to."""
    tree = {"type": "object", "properties": {"left": {"$ref": "#/components/schemas/Tree"}}, "required": ["x"]}
    validator = compile_schema({"$ref": "#/components/schemas/Tree"}, Tree=tree, Unused={"$ref": "#/nowhere"})

    assert validator.is_valid({"x": 1, "left": {"x": 2}})
    assert [violation.field for violation in validator.violations({"x": 1, "left": {"left": {}}})] == [
        "left.x",
        "left.left.x",
    ]


def test_a_boolean_schema_is_one(compile_schema: Compile) -> None:
    """3.1 has them."""
    assert isinstance(compile_schema(True), CompiledSchema)
    assert not compile_schema(False).is_valid(1)


def test_a_schema_is_compiled_once() -> None:
    """openapi-core asks the factory for every value that it judges."""
    document = {"openapi": "3.1.0", "x": {"type": "string"}, "y": {"type": "string"}}
    spec = SchemaPath.from_dict(document)
    factory = CompiledSchemas(document)

    assert factory.create(spec, spec / "x") is factory.create(spec, spec / "x")
    assert factory.create(spec, spec / "x") is not factory.create(spec, spec / "y")


def test_openapi_core_gets_its_own_exception(compile_schema: Compile) -> None:
    """And nothing of the value in it."""
    validator = compile_schema({"type": "string"})

    validator.validate("x")
    with pytest.raises(InvalidSchemaValue) as raised:
        validator.validate(3)
    assert raised.value.value == ""


def test_openapi_cores_casters_can_look_into_a_schema(compile_schema: Compile) -> None:
    """They ask a validator for one of a part of its schema."""
    spec = SchemaPath.from_dict({"x": {"properties": {"a": {"type": "integer"}}}})
    validator = compile_schema({"type": "object"})
    inner = validator.evolve(spec / "x" / "properties" / "a")

    inner.validate(3)
    with pytest.raises(InvalidSchemaValue):
        inner.validate("3")


@pytest.mark.parametrize(
    ("schema", "value", "found"),
    [
        ({"required": ["a"]}, {}, [("required", "a")]),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, [("required", "b")]),
        (
            {"properties": {"a": {}}, "additionalProperties": False},
            {"b": 1, "c": 1},
            [("additionalProperties", "b"), ("additionalProperties", "c")],
        ),
        ({"type": "object", "additionalProperties": False}, {"b": 1}, [("additionalProperties", "b")]),
        (
            {"properties": {"a": {"items": {"additionalProperties": False}}}},
            {"a": [{}, {"b": 1, "c": 1}]},
            [("additionalProperties", "a[1].b"), ("additionalProperties", "a[1].c")],
        ),
        ({"unevaluatedProperties": False}, {"b": 1}, [("unevaluatedProperties", "b")]),
        ({"properties": {"a": False}}, {"a": 1}, [("falseSchema", "a")]),
        ({"items": {"type": "string"}}, ["a", 1, 2], [("type", "[1]"), ("type", "[2]")]),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, 1, [("oneOf", "body")]),
    ],
)
def test_violations_name_keyword_and_field(
    compile_schema: Compile, schema: Any, value: Any, found: list[tuple[str, str]]
) -> None:
    """As the document calls them, where the engine has names of its own."""
    violations = compile_schema(schema).violations(value)

    assert [(violation.keyword, violation.field) for violation in violations] == found


def test_one_violation_is_enough_where_there_may_be_too_many(compile_schema: Compile) -> None:
    """Finding the first costs nothing, finding all of them costs more than the value."""
    validator = compile_schema({"items": {"type": "string"}})

    assert len(validator.violations([1, 2, 3], thorough=False)) == 1
    assert validator.violations([], thorough=False) == []


CAT = {"type": "object", "properties": {"kind": {"type": "string"}, "weight": {"multipleOf": 0.5, "type": "number"}}}
DOG = {"type": "object", "required": ["name"]}
ANIMAL = {
    "oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}],
    "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/components/schemas/Cat"}},
}


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"kind": "cat", "name": "Tom"}, True),
        ({"kind": "Dog", "name": "Rex"}, True),
        ({"kind": "Dog"}, False),
        ({"kind": "cow"}, False),
        ({}, False),
        ({"kind": "cat", "weight": Decimal("1.5")}, True),
        ({"kind": "cat", "weight": Decimal("1.3")}, False),
        ({"kind": "cat", "weight": Decimal(2)}, True),
        ({"kind": "cat", "weight": Decimal("1E+400")}, True),
        ({"kind": "cat", "more": [Decimal("1.5"), {"a": Decimal(1)}]}, True),
    ],
)
def test_a_discriminator_chooses_the_schema(compile_schema: Compile, value: Any, fits: bool) -> None:
    """By mapping or by name, as openapi-core does; to JSON Schema it would be a comment."""
    validator = compile_schema(ANIMAL, Cat=CAT, Dog=DOG)

    assert isinstance(validator, DiscriminatedSchema)
    assert validator.is_valid(value) is fits


def test_violations_under_a_discriminator_are_named(compile_schema: Compile) -> None:
    """By the Python engine, in the same words."""
    validator = compile_schema(ANIMAL, Cat=CAT, Dog=DOG)

    [violation] = validator.violations({"kind": "cat", "weight": Decimal("1.3")}, thorough=False)

    assert (violation.field, violation.text) == ("weight", "must be a multiple of 0.5")
