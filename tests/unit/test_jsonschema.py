"""Values judged by JSON Schema, and what is wrong with them in our own words."""

from decimal import Decimal
from typing import Any

import pytest

from flowker.jsonschema import VIOLATIONS_MAX, Schema, describe, field_name

ORDER = Schema(
    {
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "amount": {"type": "string", "pattern": "^[0-9]+$"},
            "lines": {"type": "array", "items": {"type": "object", "additionalProperties": False}},
        },
        "required": ["id"],
        "additionalProperties": False,
    }
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ((), "body"),
        (("name",), "name"),
        (("nodes", 0, "id"), "nodes[0].id"),
        ((2, 3), "[2][3]"),
        (("a" * 60,), "a" * 50),
        (("x", "a" * 60), "x." + "a" * 50),
    ],
)
def test_a_field_is_named_by_its_path(path: tuple[str | int, ...], name: str) -> None:
    """A name that the caller made up is cut."""
    assert field_name(path) == name


@pytest.mark.parametrize(
    ("keyword", "expected", "text"),
    [
        ("type", "string", "must be a string"),
        ("type", ["array", "null"], "must be an array or null"),
        ("enum", ["a", 1, True, None], "must be one of: a, 1, true, null"),
        ("const", "x", "must be x"),
        ("required", "name", "is missing"),
        ("additionalProperties", None, "is not expected"),
        ("minLength", 1, "must have at least 1 character"),
        ("maxLength", 5, "must have at most 5 characters"),
        ("pattern", "^a", "does not have the expected form"),
        ("format", "uuid", "is not a valid uuid"),
        ("minimum", 1, "must be at least 1"),
        ("maximum", 1, "must be at most 1"),
        ("exclusiveMinimum", 1, "must be more than 1"),
        ("exclusiveMaximum", 1, "must be less than 1"),
        ("multipleOf", 0.01, "must be a multiple of 0.01"),
        ("minItems", 1, "must have at least 1 item"),
        ("maxItems", 2, "must have at most 2 items"),
        ("uniqueItems", None, "has the same item twice"),
        ("minProperties", 1, "must have at least 1 field"),
        ("maxProperties", 2, "must have at most 2 fields"),
        ("anyOf", None, "fits none of the allowed forms"),
        ("oneOf", None, "does not fit exactly one of the allowed forms"),
        ("not", {}, "has a form that is not allowed"),
    ],
)
def test_a_keyword_is_described_in_our_words(keyword: str, expected: Any, text: str) -> None:
    """From what the schema says, never from what the caller sent."""
    assert describe(keyword, expected) == text


def test_a_value_that_fits_has_no_faults() -> None:
    """The empty table says so."""
    assert ORDER.fields({"id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890", "amount": "12"}) == {}


def test_faults_are_named_by_field_outer_before_inner() -> None:
    """Missing before wrong before too much; formats are asserted; no text repeats what was sent."""
    value = {"amount": "1,2", "lines": [{"canary": 1}, "canary"], "surplus": "canary"}

    found = ORDER.fields(value, "config")

    assert list(found.items()) == [
        ("config.id", "is missing"),
        ("config.amount", "does not have the expected form"),
        ("config.surplus", "is not expected"),
        ("config.lines[1]", "must be an object"),
        ("config.lines[0].canary", "is not expected"),
    ]


def test_a_format_is_asserted() -> None:
    """Not only noted, as JSON Schema would have it."""
    assert ORDER.fields({"id": "canary"}) == {"id": "is not a valid uuid"}


def test_the_faults_are_bounded() -> None:
    """However many there are, and one if one is asked for."""
    value = {"lines": ["canary"] * 1000}

    assert len(ORDER.fields(value)) == VIOLATIONS_MAX
    assert len(ORDER.violations(value, thorough=False)) == 1


def test_decimals_are_numbers() -> None:
    """Money comes as a Decimal."""
    assert Schema({"type": "number", "maximum": 10}).fields(Decimal("10.01")) == {"body": "must be at most 10"}
