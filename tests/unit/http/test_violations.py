from typing import Any

import pytest

from flowker.domain import errors
from flowker.http.violations import code_of, code_of_missing, refusal
from flowker.jsonschema import VIOLATIONS_MAX, Violation


@pytest.mark.parametrize(
    ("violation", "kind"),
    [
        (Violation("required", ("a",), "is missing"), errors.MissingField),
        (Violation("additionalProperties", ("a",), "is not expected"), errors.UnexpectedField),
        (Violation("unevaluatedProperties", ("a",), "is not expected"), errors.UnexpectedField),
        (Violation("maxLength", ("a",), "is too long"), errors.InvalidRequest),
        (Violation("maxLength", ("a",), "is too long", "FLK-0111"), errors.NameTooLong),
    ],
)
def test_a_violation_has_the_code_of_its_keyword_or_its_own(
    violation: Violation, kind: type[errors.FlowkerError]
) -> None:
    """The document's code goes before the general one."""
    assert type(refusal([violation])) is kind


def test_the_first_violation_gives_the_code() -> None:
    """Outer before inner; missing before wrong before too much; then by name and index."""
    violations = [
        Violation("type", ("nodes", 10), "must be an object"),
        Violation("type", ("nodes", 2), "must be an object"),
        Violation("additionalProperties", ("extra",), "is not expected"),
        Violation("maxLength", ("name",), "is too long"),
        Violation("required", ("nodes",), "is missing", "FLK-0112"),
    ]

    refused = refusal(violations)

    assert type(refused) is errors.NoNodes
    assert list(refused.fields) == ["nodes", "name", "extra", "nodes[2]", "nodes[10]"]


def test_a_field_with_two_faults_is_named_with_the_first() -> None:
    """One line a field."""
    violations = [Violation("pattern", ("a",), "first"), Violation("maxLength", ("a",), "second")]

    assert refusal(violations).fields == {"a": "first"}


def test_the_answer_does_not_grow_with_the_faults() -> None:
    """Twenty are enough to start with."""
    violations = [Violation("type", ("nodes", n), "must be an object") for n in range(1000)]

    assert len(refusal(violations).fields) == VIOLATIONS_MAX


SCHEMA: dict[str, Any] = {
    "$ref": "#/components/schemas/Root",
    "components": {
        "schemas": {
            "Root": {
                "required": ["name", "plain"],
                "x-codes": {"type": "FLK-0001"},
                "properties": {
                    "name": {"maxLength": 1, "x-codes": {"required": "FLK-0110", "maxLength": "FLK-0111"}},
                    "plain": {"$ref": "#/components/schemas/Plain"},
                    "owner": {
                        "$ref": "#/components/schemas/Id",
                        "x-codes": {"format": "FLK-0002", "type": "FLK-0118"},
                    },
                    "items": {"items": {"x-codes": {"type": "FLK-0120"}, "allOf": [{"type": "string"}]}},
                    "a/b~c": {"anyOf": [{"$ref": "#/components/schemas/Odd~1~0"}]},
                },
            },
            "Id": {"format": "uuid", "type": "string", "x-codes": {"type": "FLK-0119"}},
            "Plain": {"x-codes": {"required": "FLK-0301"}},
            "Odd/~": {"type": "string", "x-codes": {"type": "FLK-0113"}},
        }
    },
}


@pytest.mark.parametrize(
    ("path", "keyword", "code"),
    [
        (["$ref", "properties", "name", "maxLength"], "maxLength", "FLK-0111"),
        (["$ref", "properties", "name", "type"], "type", None),
        (["$ref", "type"], "type", "FLK-0001"),
        (["$ref", "properties", "owner", "$ref", "format"], "format", "FLK-0002"),
        (["$ref", "properties", "owner", "$ref", "type"], "type", "FLK-0119"),
        (["$ref", "properties", "items", "items", "allOf", 0, "type"], "type", "FLK-0120"),
        (["$ref", "properties", "items", "type"], "type", None),
        (["$ref", "properties", "a/b~c", "anyOf", 0, "$ref", "type"], "type", "FLK-0113"),
        (["$ref", "properties", "gone", "then", "type"], "type", None),
    ],
)
def test_x_codes_are_found_along_the_path_to_the_keyword(
    path: list[str | int], keyword: str, code: str | None
) -> None:
    """The innermost schema that judges the same value speaks first; the value round it has no say."""
    assert code_of(SCHEMA, path, keyword) == code


@pytest.mark.parametrize(
    ("path", "name", "code"),
    [
        (["$ref", "required"], "name", "FLK-0110"),
        (["$ref", "required"], "plain", "FLK-0301"),
        (["$ref", "required"], "owner", None),
        (["$ref", "required"], "undescribed", None),
    ],
)
def test_the_code_of_what_is_missing_stands_in_its_own_schema(
    path: list[str | int], name: str, code: str | None
) -> None:
    """Beside its $ref or behind it."""
    assert code_of_missing(SCHEMA, path, name) == code
