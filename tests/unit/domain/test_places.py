"""Places: how they are written, read, written to and taken out."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowker.domain.paths import ALL, MISSING, InvalidPath
from flowker.domain.places import (
    STEP_COST,
    Draft,
    End,
    Step,
    Unfit,
    find_overlap,
    misfit_of_target,
    parse_kazaam,
    parse_target,
)

DATA = {
    "doc": {"uid": 12345, "none": None, "items": [{"id": "a"}, {}, {"id": None}, {"id": "d", "tags": [1, 2]}]},
    "unit price": 3,
    "a.b": 4,
}


def nothing(_: int) -> None:
    """Spend without a bound."""


def changed(value: Any, path: str, to: Any) -> Any:
    draft = Draft(value, nothing)
    draft.put(parse_kazaam(path, ".").steps, to)
    return draft.value


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        (" a.b-c ", ("a", "b-c")),
        ("$", ()),
        ("$.a", ("a",)),
        ("a[0][12]", ("a", 0, 12)),
        ("a[ * ].b", ("a", ALL, "b")),
        ("a[+].b[-]", ("a", End.LAST, "b", End.FIRST)),
        ("a[\"x.y\"]['z']", ("a", "x.y", "z")),
        ('$["x\\u00e9"]', ("xé",)),
    ],
)
def test_both_spellings_have_the_usual_paths(text: str, steps: tuple[Step, ...]) -> None:
    """With new items of lists, which only a target can have."""
    assert parse_target(text).steps == parse_kazaam(text, ".").steps == steps


@pytest.mark.parametrize(
    ("text", "separator", "steps"),
    [
        ("unit price.@type", ".", ("unit price", "@type")),
        ("$ref.a", ".", ("$ref", "a")),
        ("a\\.b.c", ".", ("a.b", "c")),
        ("a\\b", ".", ("a\\b",)),
        ("a.b:c[0]:d", ":", ("a.b", "c", 0, "d")),
        ("$->a->b", "->", ("a", "b")),
        ("a\\->b", "->", ("a->b",)),
    ],
)
def test_kazaam_has_any_text_between_separators(text: str, separator: str, steps: tuple[Step, ...]) -> None:
    """A separator that stands for itself has a backslash before it."""
    assert parse_kazaam(text, separator).steps == steps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 1: a path starts with a name or with $"),
        ("[0]", "character 1: a path starts with a name or with $"),
        (".a", "character 1: a path starts with a name or with $"),
        ("a.", 'character 2: .key, ["key"], [0], [*], [+], [-] or the end is expected'),
        ("a[-1]", 'character 2: .key, ["key"], [0], [*], [+], [-] or the end is expected'),
        ("a]", 'character 2: .key, ["key"], [0], [*], [+], [-] or the end is expected'),
        ('a["\\u12"]', "character 4: \\u needs four hexadecimal digits"),
        ("a" + "[*]" * 9, "character 1: it has more than 8 times [*]"),
        ("a" * 10_001, "character 10001: it is longer than 10000 characters"),
    ],
)
def test_what_is_no_place_is_refused_by_its_position(text: str, message: str) -> None:
    """In both spellings."""
    for parse in (parse_target, lambda path: parse_kazaam(path, ".")):
        with pytest.raises(InvalidPath) as refused:
            parse(text)
        assert str(refused.value) == message


@given(st.text(max_size=20) | st.text(alphabet="a.[]*+-0\"'\\$: ", max_size=20))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    """And a place keeps its text, as far as it is not space."""
    for parse in (parse_target, lambda path: parse_kazaam(path, ":")):
        try:
            place = parse(text)
        except InvalidPath:
            continue
        assert place.text == text.strip()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", DATA),
        ("doc.uid", 12345),
        ("doc.none", None),
        ("unit price", 3),
        ('$["a.b"]', 4),
        ("a\\.b", 4),
        ("doc.items[3].tags[1]", 2),
        ("doc.items[*].id", ["a", None, None, "d"]),
        ("doc.items[*].tags[*]", [None, None, None, [1, 2]]),
        ("doc.items[9].id", MISSING),
        ("doc.uid.x", MISSING),
        ("doc[0]", MISSING),
        ("doc[*]", MISSING),
        ("doc.nobody[*].id", MISSING),
        ("doc.items[+]", MISSING),
    ],
)
def test_a_place_is_read(path: str, value: Any) -> None:
    """A list that `[*]` makes has a place for each item."""
    assert parse_kazaam(path, ".").read(DATA, nothing) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [("doc.items[*].id", MISSING), ("doc.items[*]", DATA["doc"]["items"]), ("doc.none", None)],  # type: ignore[index]
)
def test_a_whole_list_has_every_item(path: str, value: Any) -> None:
    """What is required of a list is required of each item; a null that is there is there."""
    assert parse_kazaam(path, ".").read(DATA, nothing, whole=True) == value


def test_reading_tells_how_much_it_looks_at() -> None:
    """Step by step, and for every item of a `[*]`."""
    spent: list[int] = []

    parse_target("doc.items[*].tags[*]").read(DATA, spent.append)

    assert spent == [STEP_COST * 6, STEP_COST * 4 * 3, STEP_COST * 2]


@pytest.mark.parametrize(
    ("value", "path", "result"),
    [
        ({}, "a.b", {"a": {"b": 9}}),
        ({"a": {"c": 1}}, "a.b", {"a": {"c": 1, "b": 9}}),
        ({"a": None}, "a.b", {"a": {"b": 9}}),
        ({"a": "text"}, "a.b", {"a": {"b": 9}}),
        ({"a": "text"}, "a[1]", {"a": [None, 9]}),
        ({"a": [1, 2, 3]}, "a[1]", {"a": [1, 9, 3]}),
        ({"a": [1]}, "a[3]", {"a": [1, None, None, 9]}),
        ({"a": [1]}, "a[+]", {"a": [1, 9]}),
        ({"a": [1]}, "a[-].b", {"a": [{"b": 9}, 1]}),
        ({}, "a[+][-]", {"a": [[9]]}),
        ({"a": [{}, {"b": 1}, 5]}, "a[*].b", {"a": [{"b": 9}, {"b": 9}, {"b": 9}]}),
        ({"a": 5}, "a[*].b", {"a": 5}),
        ({}, "a[*]", {}),
        (None, "a", {"a": 9}),
        ("text", "a", {"a": 9}),
    ],
)
def test_a_value_is_put_where_it_is_to_be(value: Any, path: str, result: Any) -> None:
    """What is missing on the way is made; what was given stays as it is."""
    before = deepcopy(value)

    assert changed(value, path, 9) == result
    assert value == before


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ({"a": [1]}, "a.b", "it leads into a list"),
        ({"a": {}}, "a[0]", "it leads into an object"),
        ({"a": {"b": 1}}, "a[+]", "it leads into an object"),
        ([1], "a", "it leads into a list"),
    ],
)
def test_a_list_is_no_object(value: Any, path: str, reason: str) -> None:
    """To write over one would lose what is in it."""
    with pytest.raises(Unfit, match=f"^{reason}$"):
        changed(value, path, 9)


@pytest.mark.parametrize("path", ["a.b", "a.list[5]", "a.list[+]", "x.y[0].z", "a.list[*]"])
def test_a_missing_value_changes_nothing(path: str) -> None:
    """It makes no container either."""
    value = {"a": {"b": 1, "list": [1]}}

    assert changed(value, path, MISSING) == value


def test_a_draft_copies_each_container_once() -> None:
    """However many values come to it."""
    spent: list[int] = []
    draft = Draft({"a": {str(number): number for number in range(100)}, "b": {"c": 1}}, spent.append)

    for number in range(50):
        draft.put(("a", f"new{number}"), number)

    assert spent[:4] == [STEP_COST * 3, 100, 2, STEP_COST * 3]
    assert sum(spent) == 102 + 50 * STEP_COST * 3
    assert len(draft.value["a"]) == 150


@pytest.mark.parametrize(
    ("path", "removed", "result"),
    [
        ("a.b", True, {"a": {"list": [1, [2], 3]}}),
        ("a", True, {}),
        ("a.list[0]", True, {"a": {"b": None, "list": [[2], 3]}}),
        ("a.list[1][0]", True, {"a": {"b": None, "list": [1, [], 3]}}),
        ("a.list[3]", False, {"a": {"b": None, "list": [1, [2], 3]}}),
        ("a.b.c", False, {"a": {"b": None, "list": [1, [2], 3]}}),
        ("a.list.b", False, {"a": {"b": None, "list": [1, [2], 3]}}),
        ("a.list[+]", False, {"a": {"b": None, "list": [1, [2], 3]}}),
    ],
)
def test_what_stands_at_a_place_is_taken_out(path: str, removed: bool, result: Any) -> None:
    """A null too; what was given stays as it is."""
    value = {"a": {"b": None, "list": [1, [2], 3]}}
    draft = Draft(value, nothing)

    assert draft.remove(parse_kazaam(path, ".").steps) is removed
    assert draft.value == result
    assert value == {"a": {"b": None, "list": [1, [2], 3]}}


@pytest.mark.parametrize(
    ("targets", "overlap"),
    [
        ((), None),
        (("a", "b.c", "b.d[0]", "b.d[1].e", "b.d[1].f"), None),
        (("a[+]", "a[+]", "a[-].b"), None),
        (("a[*].b", "a[*].c"), None),
        (("x", "a", "a"), (2, 1)),
        (("a.b", "a"), (1, 0)),
        (("a[+]", "a"), (1, 0)),
        (("a", "a[+]"), (1, 0)),
        (("a[0]", "a[+]"), (1, 0)),
        (("a[*].b", "a[0].b"), (1, 0)),
        (("a[*]", "a[*].b"), (1, 0)),
        (("a.b", "a[0]"), (1, 0)),
    ],
)
def test_overlaps_are_found(targets: tuple[str, ...], overlap: tuple[int, int] | None) -> None:
    """With the target that was there first."""
    assert find_overlap(parse_target(target).steps for target in targets) == overlap


@pytest.mark.parametrize(
    ("path", "misfit"),
    [
        ("a[99]", None),
        ("a" + ".a" * 15, None),
        ("a[*]", None),
        ("$", "must begin with the name of a member"),
        ("$[0]", "must begin with the name of a member"),
        ("$[+]", "must begin with the name of a member"),
        ("a[100]", "has a position over 99"),
        ("a" + ".a" * 16, "leads down more than 16 levels"),
    ],
)
def test_a_target_has_a_bound(path: str, misfit: str | None) -> None:
    """In depth and in position."""
    assert misfit_of_target(parse_target(path).steps) == misfit


STEPS = st.lists(st.sampled_from(["a", "b", 0, 1, 3]), min_size=1, max_size=5).map(lambda steps: ("x", *steps))
JSON = st.recursive(
    st.none() | st.integers() | st.just("text"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abx"), inner, max_size=3),
    max_leaves=8,
)


@given(value=st.dictionaries(st.sampled_from("abx"), JSON), steps=STEPS)
def test_what_was_put_is_read_and_removed(value: dict[str, Any], steps: tuple[str | int, ...]) -> None:
    """Or a container of the other kind is in the way; what was given never changes."""
    before = deepcopy(value)
    draft = Draft(value, nothing)
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    place = parse_target(text[1:])
    try:
        draft.put(steps, "new")
    except Unfit:
        assert value == before
        return

    assert place.read(draft.value, nothing) == "new"
    assert draft.remove(steps)
    assert place.read(draft.value, nothing) != "new"
    assert value == before
