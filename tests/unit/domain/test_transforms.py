"""Lists of operations: what is taken when a workflow is saved, and what is refused by its place."""

from typing import Any

import pytest

from flowker.domain.changes import InvalidMapping
from flowker.domain.kazaam import Occasion
from flowker.domain.specs import OPERATIONS
from flowker.domain.transforms import OPERATIONS_MAX, compile_transforms

OCCASION = Occasion("2026-03-17T14:35:00.000000Z", "one:node")

ANY = "must be one of " + ", ".join(OPERATIONS)
ODD_SEPARATORS: list[Any] = [1, "[", "\\", "$", " ", "------", ["."], 0, False, [], {}]
A_PATH = "must be a path of at most 500 characters"


def refusal_of(operations: Any) -> tuple[str, str]:
    """Place and reason."""
    with pytest.raises(InvalidMapping) as caught:
        compile_transforms(operations)
    return caught.value.place, str(caught.value)


def test_operations_follow_each_other() -> None:
    """Each works on what the one before made."""
    transforms = compile_transforms(
        [
            {"operation": "shift", "spec": {"code": "currency", "all": "$"}},
            {"operation": "to_uppercase", "spec": {"code": {}}},
            {"operation": "delete", "spec": {"paths": ["all.amount"]}},
            {"operation": "pass", "require": True, "inplace": True},
        ]
    )

    made = transforms.apply({"currency": "brl", "amount": 1}, OCCASION)

    assert made == {"code": "BRL", "all": {"currency": "brl"}}


def test_no_operation_is_none() -> None:
    """The value stays what it is."""
    assert compile_transforms([]).apply(7, OCCASION) == 7


@pytest.mark.parametrize("whole", [None, {}, "shift", 1, {"operation": "pass"}, [{"operation": "pass"}] * 51])
def test_transforms_are_a_list_that_ends(whole: Any) -> None:
    """Whatever they are instead."""
    assert refusal_of(whole) == ("", f"must be a list of at most {OPERATIONS_MAX} operations")


@pytest.mark.parametrize(
    ("entry", "place", "reason"),
    [
        ("pass", "", "must be an object with operation and spec"),
        ({}, ".operation", ANY),
        ({"operation": "merge", "spec": {"a": "b"}}, ".operation", ANY),
        ({"operation": ["pass"]}, ".operation", ANY),
        ({"operation": "pass", "sepc": {}}, ".sepc", "is not expected"),
        ({"operation": "shift"}, ".spec", "must be an object with at most 200 members"),
        ({"operation": "shift", "spec": []}, ".spec", "must be an object with at most 200 members"),
        (
            {"operation": "shift", "spec": {f"a{number}": "a" for number in range(201)}},
            ".spec",
            "must be an object with at most 200 members",
        ),
        ({"operation": "shift", "spec": {}}, ".spec", "must have at least one member"),
        ({"operation": "pass", "require": 1}, ".require", "must be true or false"),
        ({"operation": "pass", "required": "yes"}, ".required", "must be true or false"),
        ({"operation": "pass", "inplace": None}, ".inplace", "must be true or false"),
        (
            {"operation": "pass", "require": True, "required": True},
            ".required",
            "cannot be given together with require",
        ),
        *(
            (
                {"operation": "pass", "keySeparator": separator},
                ".keySeparator",
                "must be 1 to 5 characters without brackets, backslashes, $ and spaces",
            )
            for separator in ODD_SEPARATORS
        ),
        ({"operation": "pass", "over": 1}, ".over", A_PATH),
        ({"operation": "pass", "over": "a[*]"}, ".over", "has [*]: over leads through the items itself"),
        ({"operation": "pass", "over": "$[0]"}, ".over", "must begin with the name of a member"),
        ({"operation": "pass", "over": "a[+]"}, ".over", "has [+] or [-], which only a target can have"),
    ],
)
def test_a_malformed_operation_is_refused_by_its_place(entry: Any, place: str, reason: str) -> None:
    """Whatever it is called."""
    assert refusal_of([{"operation": "pass"}, entry]) == (f"[1]{place}", reason)
