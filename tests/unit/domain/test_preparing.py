"""What a node begins with: the input, mapped and transformed."""

from typing import Any

import pytest

from flowker.domain.errors import FlowkerError
from flowker.domain.kazaam import Occasion
from flowker.domain.preparing import (
    MEMBERS,
    NO_PREPARATION,
    compile_output,
    compile_preparation,
    is_unsaid,
    refuse_members,
)

OCCASION = Occasion("2026-03-17T14:35:00.000000Z", "one:node")

CONTEXT: dict[str, Any] = {"workflow": {"a": 1, "b": 2, "_webhook": {"path": "p"}}, "check": {"status": 200}}

MAPPING = [{"source": "check.status", "target": "a"}]
TRANSFORMS = [{"operation": "shift", "spec": {"c": "a"}}]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ({}, {"a": 1, "b": 2}),
        ({"inputMapping": MAPPING}, {"a": 200}),
        ({"transforms": TRANSFORMS}, {"c": 1}),
        ({"inputMapping": MAPPING, "transforms": TRANSFORMS}, {"c": 200}),
    ],
)
def test_the_mapping_comes_before_the_transforms(data: dict[str, Any], value: Any) -> None:
    """Without a mapping, it is the input without its delivery."""
    assert compile_preparation(data, "data").apply(CONTEXT, OCCASION) == value


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_what_is_empty_is_none(nothing: Any) -> None:
    """Editors write it."""
    data = dict.fromkeys(MEMBERS, nothing)

    refuse_members(data, "data", MEMBERS, "is not expected")
    assert is_unsaid(nothing)
    assert compile_preparation(data, "data") == NO_PREPARATION
    assert compile_output(data, "data") is None


@pytest.mark.parametrize(
    ("member", "code", "place"),
    [
        ("inputMapping", "FLK-0140", "[0].source"),
        ("outputMapping", "FLK-0141", "[0].source"),
        ("transforms", "FLK-0142", "[0].operation"),
    ],
)
def test_each_is_refused_by_its_code_and_place(member: str, code: str, place: str) -> None:
    """As far down as the fault is."""
    with pytest.raises(FlowkerError) as refused:
        (compile_output if member == "outputMapping" else compile_preparation)({member: [{}]}, "nodes[1].data")

    assert refused.value.code == code
    assert list(refused.value.fields) == [f"nodes[1].data.{member}{place}"]
