"""The specs of operations: what is refused when a workflow is saved, by its place."""

from typing import Any

import pytest

from flowker.domain.changes import InvalidMapping
from flowker.domain.specs import OPERATIONS
from flowker.domain.transforms import compile_transforms

TEXT = "must be a string of at most 1000 characters"
A_PATH = "must be a path of at most 500 characters"


def refusal_of(operations: Any) -> tuple[str, str]:
    """Place and reason."""
    with pytest.raises(InvalidMapping) as caught:
        compile_transforms(operations)
    return caught.value.place, str(caught.value)


def test_there_are_nine_of_kazaam_and_five() -> None:
    """In the order in which they are told."""
    assert list(OPERATIONS) == [
        *("shift", "concat", "coalesce", "extract", "default", "delete", "timestamp", "uuid", "pass"),
        *("remove_characters", "add_prefix", "add_suffix", "to_uppercase", "to_lowercase"),
    ]


SOURCES = "must be a list of 1 to 200 sources"
SOURCE = "must be an object with either value or path"
PATHS = "must be a list of 1 to 200 paths"
NAMES = "must be a list of 1 to 200 names"
NOT_A_PATH = 'is not a path: character 2: .key, ["key"], [0], [*], [+], [-] or the end is expected'
EACH = "has [*], which this target cannot have: over leads through the items of a list"
VERSION = "must be an object with version 3, 4 or 5"
NAMESPACE = "must be a UUID, or one of DNS, URL, OID, X500"
LAYOUT = "must be a layout such as 2006-01-02T15:04:05Z07:00"
OVERLAP = "overlaps another target of the operation"
V5 = {"version": 5, "namespace": "DNS", "names": [{"path": "a"}]}


@pytest.mark.parametrize(
    ("operation", "spec", "place", "reason"),
    [
        ("shift", {"a": None}, '["a"]', A_PATH),
        ("shift", {"a": []}, '["a"]', "must be a path, or a list of one path"),
        ("shift", {"a": ["b", "c"]}, '["a"]', "must be a path, or a list of one path"),
        ("shift", {"a": [None]}, '["a"]', A_PATH),
        ("shift", {"a": "b["}, '["a"]', NOT_A_PATH),
        ("shift", {"a": "b[+]"}, '["a"]', "has [+] or [-], which only a target can have"),
        ("shift", {"a[": "b"}, '["a["]', NOT_A_PATH),
        ("shift", {"$": "b"}, '["$"]', "must begin with the name of a member"),
        ("shift", {"a[*]": "b"}, '["a[*]"]', EACH),
        ("shift", {"a[100]": "b"}, '["a[100]"]', "has a position over 99"),
        (
            "shift",
            {"x" * 60 + "[": "b"},
            f'["{"x" * 50}"]',
            'is not a path: character 61: .key, ["key"], [0], [*], [+], [-] or the end is expected',
        ),
        ("shift", {"a.b": "x", "a": "y"}, '["a"]', OVERLAP),
        ("concat", {"targetPath": "a"}, ".sources", SOURCES),
        ("concat", {"sources": [], "targetPath": "a"}, ".sources", SOURCES),
        ("concat", {"sources": [1], "targetPath": "a"}, ".sources[0]", SOURCE),
        ("concat", {"sources": [{}], "targetPath": "a"}, ".sources[0]", SOURCE),
        ("concat", {"sources": [{"path": "a", "value": "b"}], "targetPath": "a"}, ".sources[0]", SOURCE),
        ("concat", {"sources": [{"value": 1}], "targetPath": "a"}, ".sources[0].value", TEXT),
        ("concat", {"sources": [{"value": "x" * 1001}], "targetPath": "a"}, ".sources[0].value", TEXT),
        ("concat", {"sources": [{"path": 1}], "targetPath": "a"}, ".sources[0].path", A_PATH),
        ("concat", {"sources": [{"path": "a", "or": 1}], "targetPath": "a"}, ".sources[0].or", "is not expected"),
        ("concat", {"sources": [{"value": "a"}]}, ".targetPath", A_PATH),
        ("concat", {"sources": [{"value": "a"}], "targetPath": "a[*]"}, ".targetPath", EACH),
        ("concat", {"sources": [{"value": "a"}], "targetPath": "a", "delim": 1}, ".delim", TEXT),
        ("concat", {"source": []}, ".source", "is not expected"),
        ("coalesce", {"a": "b"}, '["a"]', PATHS),
        ("coalesce", {"a": []}, '["a"]', PATHS),
        ("coalesce", {"a": [1]}, '["a"]', A_PATH),
        ("coalesce", {"a": ["b"], "ignore": ""}, ".ignore", "must be a list of at most 200 values"),
        ("coalesce", {"a": ["b"], "ignore": [0] * 201}, ".ignore", "must be a list of at most 200 values"),
        ("coalesce", {"ignore": [""]}, "", "must have at least one target"),
        ("coalesce", {"a": ["b"], "a.b": ["c"]}, '["a.b"]', OVERLAP),
        ("extract", {"paths": "a"}, ".paths", "is not expected"),
        ("extract", {"path": None}, ".path", A_PATH),
        ("default", {"a[": 1}, '["a["]', NOT_A_PATH),
        ("default", {"a[0]": 1, "a[*].b": 1}, '["a[*].b"]', OVERLAP),
        ("delete", {"path": "a"}, ".path", "is not expected"),
        ("delete", {"paths": "a"}, ".paths", PATHS),
        ("delete", {"paths": []}, ".paths", PATHS),
        ("delete", {"paths": [None]}, ".paths[0]", A_PATH),
        (
            "delete",
            {"paths": ["a", "b[*].c"]},
            ".paths[1]",
            "must lead to one member or item: over leads through the items of a list",
        ),
        (
            "delete",
            {"paths": ["$"]},
            ".paths[0]",
            "must lead to one member or item: over leads through the items of a list",
        ),
        ("timestamp", {"a": "2006"}, '["a"]', "must be an object with inputFormat and outputFormat"),
        ("timestamp", {"a": {"outputFormat": "2006"}}, '["a"].inputFormat', LAYOUT),
        ("timestamp", {"a": {"inputFormat": "$now"}}, '["a"].outputFormat', LAYOUT),
        (
            "timestamp",
            {"a": {"inputFormat": "$now", "outputFormat": "$now"}},
            '["a"].outputFormat',
            "is no layout: 2006-01-02T15:04:05Z07:00 is one",
        ),
        (
            "timestamp",
            {"a": {"inputFormat": "15:04", "outputFormat": "2006"}},
            '["a"].inputFormat',
            "has no year, which is written 2006",
        ),
        (
            "timestamp",
            {"a": {"inputFormat": "2006", "outputFormat": "2006", "zone": "UTC"}},
            '["a"].zone',
            "is not expected",
        ),
        (
            "timestamp",
            {"a": {"inputFormat": "$now", "outputFormat": "2006", "zone": 1}},
            '["a"].zone',
            "is not expected",
        ),
        ("uuid", {"a": 4}, '["a"]', VERSION),
        ("uuid", {"a": {}}, '["a"]', VERSION),
        ("uuid", {"a": {"version": 1}}, '["a"]', VERSION),
        ("uuid", {"a": {"version": "4"}}, '["a"]', VERSION),
        ("uuid", {"a": {"version": 4, "names": []}}, '["a"].names', "is not expected"),
        ("uuid", {"a[*]": {"version": 4}}, '["a[*]"]', EACH),
        ("uuid", {"a": {**V5, "version": 3, "x": 1}}, '["a"].x', "is not expected"),
        ("uuid", {"a": {**V5, "namespace": "dns"}}, '["a"].namespace', NAMESPACE),
        ("uuid", {"a": {**V5, "namespace": None}}, '["a"].namespace', NAMESPACE),
        ("uuid", {"a": {**V5, "names": None}}, '["a"].names', NAMES),
        ("uuid", {"a": {**V5, "names": []}}, '["a"].names', NAMES),
        ("uuid", {"a": {**V5, "names": ["a"]}}, '["a"].names[0]', "must be an object with path, and default"),
        ("uuid", {"a": {**V5, "names": [{"default": "x"}]}}, '["a"].names[0].path', A_PATH),
        ("uuid", {"a": {**V5, "names": [{"path": "a", "default": 1}]}}, '["a"].names[0].default', TEXT),
        ("uuid", {"a": {**V5, "names": [{"path": "a", "or": 1}]}}, '["a"].names[0].or', "is not expected"),
        ("to_uppercase", {"path": "a"}, '["path"]', "must be an object"),
        ("to_uppercase", {"a": {"x": 1}}, '["a"].x', "is not expected"),
        ("add_prefix", {"a": {}}, '["a"].prefix', "must be a string of 1 to 1000 characters"),
        (
            "remove_characters",
            {"a[+]x": {"characters": "x"}},
            '["a[+]x"]',
            'is not a path: character 5: .key, ["key"], [0], [*], [+], [-] or the end is expected',
        ),
        ("to_lowercase", {"a[*].b": {}, "a[*]": {}}, '["a[*]"]', OVERLAP),
    ],
)
def test_a_malformed_spec_is_refused_by_its_place(operation: str, spec: Any, place: str, reason: str) -> None:
    """When the workflow is saved: it can only fail for its data when it runs."""
    assert refusal_of([{"operation": operation, "spec": spec}]) == (f"[0].spec{place}", reason)


def test_coalesce_cannot_be_required() -> None:
    """As in Kazaam: it takes what is there."""
    entry = {"operation": "coalesce", "spec": {"a": ["b"]}, "require": True}

    assert refusal_of([entry]) == ("[0]", "cannot be required: coalesce takes what is there")
