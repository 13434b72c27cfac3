"""Mappings: what becomes of the context, exactly, and which entry is named when it cannot."""

import contextlib
import random
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker import jsontext
from flowker.domain.mappings import (
    ENTRIES_MAX,
    TRANSFORMATIONS,
    InvalidMapping,
    MappingFailed,
    compile_input_mapping,
    compile_output_mapping,
)

CONTEXT: dict[str, Any] = {
    "workflow": {
        "amount": Decimal("100.10"),
        "large": 12345678901234567890123,
        "code": "007",
        "note": None,
        "empty": [],
        "items": [{"price": Decimal("1.50")}, {"price": 2}, {}],
        "unit.price": 3,
    },
    "tracer-validate": {"status": 201, "body": {"decision": "ALLOW"}},
}


def entry(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "target": target, **more}


def apply(*entries: dict[str, Any], context: dict[str, Any] | None = None) -> dict[str, Any]:
    return compile_input_mapping(list(entries)).apply(CONTEXT if context is None else context)


def refusal_of(*entries: Any) -> tuple[str, str]:
    """Place and reason."""
    with pytest.raises(InvalidMapping) as caught:
        compile_input_mapping(list(entries))
    return caught.value.place, str(caught.value)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("workflow.amount", Decimal("100.10")),
        ("workflow.large", 12345678901234567890123),
        ("workflow.code", "007"),
        ("workflow.note", None),
        ("workflow.items[1].price", 2),
        ("workflow.items[*].price", [Decimal("1.50"), 2]),
        ("workflow.empty[*].price", []),
        ('workflow["unit.price"]', 3),
        ("tracer-validate.body.decision", "ALLOW"),
        ("$", CONTEXT),
    ],
)
def test_a_value_arrives_as_it_is(source: str, value: Any) -> None:
    """With its type and all its digits; a null that is there is a value."""
    assert repr(apply(entry(source, "it", required=True))) == repr({"it": value})


def test_targets_build_objects_and_lists() -> None:
    """In any order; members of one object and items of one list come from several entries."""
    mapped = apply(
        entry("workflow.code", "send.source.from[1].accountAlias"),
        entry("workflow.amount", "send.value"),
        entry("workflow.large", "send.source.from[0].amount.value"),
        entry("workflow.code", "send.source.from[0].accountAlias"),
        entry("workflow.note", '$["a.b"].c'),
    )

    assert mapped == {
        "send": {
            "value": Decimal("100.10"),
            "source": {
                "from": [
                    {"amount": {"value": 12345678901234567890123}, "accountAlias": "007"},
                    {"accountAlias": "007"},
                ]
            },
        },
        "a.b": {"c": None},
    }


def test_an_optional_source_that_is_missing_leaves_its_target_out() -> None:
    """And nothing that only it would have needed."""
    assert apply(entry("workflow.nobody", "a.b.c"), entry("workflow.code[0]", "d", required=False)) == {}


def test_items_of_a_list_keep_their_positions() -> None:
    """What is missing before them is null; nothing stands for what is missing behind them."""
    assert apply(
        entry("workflow.nobody", "list[0]"),
        entry("workflow.code", "list[2]"),
        entry("workflow.nobody", "list[3]"),
    ) == {"list": [None, None, "007"]}


@pytest.mark.parametrize(
    "context", [{}, {"workflow": {}}, {"workflow": {"items": "x"}}, {"workflow": {"items": [1]}}]
)
def test_a_required_source_that_is_missing_fails_by_its_entry_and_path(context: dict[str, Any]) -> None:
    """Each `required` counts for its own entry."""
    with pytest.raises(
        MappingFailed, match=r"^inputMapping\[1\]: the required source workflow\.items\[0\]\.price is missing$"
    ):
        apply(entry("workflow.nobody", "a"), entry(" workflow.items[0].price ", "b", required=True), context=context)


def test_what_is_mapped_has_the_bounds_of_what_is_rendered() -> None:
    """Sources that hold each other would fill the memory; the entry that is too much is named."""
    context = {"workflow": {"text": "x" * 600_000}}

    with pytest.raises(
        MappingFailed,
        match=r"^inputMapping\[1\]: workflow is too much: what is rendered is larger than 1048576 characters$",
    ):
        apply(entry("workflow.text", "a"), entry("workflow", "b"), context=context)


def test_many_short_lists_can_be_walked() -> None:
    """A walk costs what it looks at."""
    entries = [entry("workflow.items[*].price", f"n{number}", required=True) for number in range(ENTRIES_MAX)]

    assert len(apply(*entries)) == ENTRIES_MAX


def test_what_is_read_is_not_changed() -> None:
    """A value goes to two places, and things are put beside it."""
    context = {"workflow": {"a": {"b": [1]}}}

    apply(entry("workflow.a", "x.a"), entry("workflow.a.b", "x.b"), entry("workflow.a", "y[1]"), context=context)

    assert context == {"workflow": {"a": {"b": [1]}}}


@pytest.mark.parametrize(
    ("bad", "place", "reason"),
    [
        ("a -> b", "[0]", "must be an object with source and target"),
        ({"target": "b"}, "[0].source", "must be a path of at most 500 characters"),
        ({"source": "a"}, "[0].target", "must be a path of at most 500 characters"),
        (entry("a" * 501, "b"), "[0].source", "must be a path of at most 500 characters"),
        (
            entry("a.", "b"),
            "[0].source",
            'is not a path: character 2: .key, ["key"], [0], [*] or the end is expected',
        ),
        (entry("", "b"), "[0].source", "is not a path: character 1: a path starts with a name or with $"),
        (
            entry("a", "b c"),
            "[0].target",
            'is not a path: character 2: .key, ["key"], [0], [*], [+], [-] or the end is expected',
        ),
        (entry("a", "$"), "[0].target", "must begin with the name of a member"),
        (entry("a", "$[0]"), "[0].target", "must begin with the name of a member"),
        (entry("a", "b[*]"), "[0].target", "has [*], which only a source can have"),
        (entry("a", "$[*].b"), "[0].target", "must begin with the name of a member"),
        (entry("a", "b[100]"), "[0].target", "has a position over 99"),
        (entry("a", "b" + ".b" * 16), "[0].target", "leads down more than 16 levels"),
        (entry("a", "b", required="yes"), "[0].required", "must be true or false"),
        (entry("a", "b", required=None), "[0].required", "must be true or false"),
        (entry("a", "b", default=0), "[0].default", "is not expected"),
        (entry("a", "b", **{"x" * 60: 0}), f"[0].{'x' * 50}", "is not expected"),
        (
            entry("a[+]", "b"),
            "[0].source",
            'is not a path: character 2: .key, ["key"], [0], [*] or the end is expected',
        ),
    ],
)
def test_a_bad_entry_is_refused_by_its_place(bad: Any, place: str, reason: str) -> None:
    """When the workflow is saved."""
    assert refusal_of(bad) == (place, reason)


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_transformation_is_none(nothing: Any) -> None:
    """Editors write it."""
    assert apply(entry("workflow.code", "code", transformation=nothing)) == {"code": "007"}


@pytest.mark.parametrize("whole", ["a", {}, {"source": "a", "target": "b"}, 1, True, [{}] * (ENTRIES_MAX + 1)])
def test_a_mapping_is_a_list_that_ends(whole: Any) -> None:
    """Whatever it is instead."""
    with pytest.raises(InvalidMapping, match=r"^must be a list of at most 200 entries$") as caught:
        compile_input_mapping(whole)

    assert caught.value.place == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "a"),
        ("a", '$["a"]'),
        ("a", "a.b"),
        ("a.b", "a"),
        ("a", "a[0]"),
        ("a[0]", "a"),
        ("a.b", "a[0]"),
        ("a[0]", "a.b"),
        ("a.b.c", "a.b[1].c"),
        ("a[3]", "a[3].b"),
        ("a", "a[+]"),
        ("a[-]", "a"),
        ("a[0]", "a[+]"),
        ("a[-].b", "a.c"),
    ],
)
def test_targets_that_overlap_are_refused(one: str, other: str) -> None:
    """Which of them would count would be a matter of luck; both are named."""
    refused = refusal_of(entry("x", "unrelated"), entry("x", one), entry("x", other))

    assert refused == ("[2].target", "overlaps the target of entry [1]")


def test_new_items_come_to_the_end_and_to_the_beginning_of_a_list() -> None:
    """Each target makes an item of its own, in the order of the entries; what is missing makes none."""
    mapped = apply(
        entry("workflow.code", "list[+]"),
        entry("workflow.nobody", "list[+]"),
        entry("workflow.large", "list[+].value"),
        entry("workflow.amount", "list[-].value"),
    )

    assert mapped == {"list": [{"value": Decimal("100.10")}, "007", {"value": 12345678901234567890123}]}


def transformed(source: str, kind: str, **config: Any) -> Any:
    return apply(entry(source, "it", transformation={"type": kind, "config": config})).get("it", "left out")


class TestTransformation:
    @pytest.mark.parametrize(
        ("source", "kind", "config", "value"),
        [
            ("workflow.code", "add_prefix", {"prefix": "BR-"}, "BR-007"),
            ("workflow.code", "add_suffix", {"suffix": "/1"}, "007/1"),
            ("workflow.code", "remove_characters", {"characters": "0-"}, "7"),
            ("tracer-validate.body.decision", "to_lowercase", {}, "allow"),
            ("workflow.currency", "to_uppercase", {}, "BRL"),
            ("workflow.large", "add_prefix", {"prefix": "#"}, "#12345678901234567890123"),
            ("workflow.amount", "remove_characters", {"characters": "."}, "10010"),
            ("workflow.items[*].price", "add_suffix", {"suffix": " USD"}, ["1.50 USD", "2 USD"]),
            ("workflow.note", "to_uppercase", {}, None),
            ("workflow.nobody", "to_uppercase", {}, "left out"),
            (
                "workflow.day",
                "timestamp",
                {"inputFormat": "02/01/2006", "outputFormat": "2006-01-02"},
                "2026-03-17",
            ),
            ("workflow.nobody", "default", {"value": {"a": [Decimal("1.10")]}}, {"a": [Decimal("1.10")]}),
            ("workflow.note", "default", {"value": 1}, None),
            ("workflow.amount", "default", {"value": 1}, Decimal("100.10")),
            ("workflow.amount", "pass", {}, Decimal("100.10")),
        ],
    )
    def test_a_value_is_changed_on_its_way(self, source: str, kind: str, config: dict[str, Any], value: Any) -> None:
        """Each item of a list; what is not there stays away, unless there is a default for it."""
        context = {**CONTEXT, "workflow": {**CONTEXT["workflow"], "currency": "brl", "day": "17/03/2026"}}
        transformation = {"type": kind, "config": config}

        mapped = apply(entry(source, "it", transformation=transformation), context=context)

        assert repr(mapped.get("it", "left out")) == repr(value)

    def test_no_config_is_an_empty_one(self) -> None:
        """For what needs none."""
        assert apply(entry("workflow.code", "it", transformation={"type": "to_uppercase"})) == {"it": "007"}

    @pytest.mark.parametrize(
        ("source", "kind", "config", "reason"),
        [
            ("workflow.large", "to_uppercase", {}, "it is no text"),
            ("workflow.items[0]", "add_prefix", {"prefix": "a"}, "it is neither text nor a number"),
            (
                "workflow.code",
                "timestamp",
                {"inputFormat": "2006", "outputFormat": "2006"},
                "it is no time in the form of inputFormat",
            ),
        ],
    )
    def test_what_does_not_fit_fails_by_entry_and_path(
        self, source: str, kind: str, config: dict[str, Any], reason: str
    ) -> None:
        """And never with its value."""
        with pytest.raises(MappingFailed) as failed:
            transformed(source, kind, **config)

        assert str(failed.value) == f"inputMapping[0]: {source} does not fit its transformation: {reason}"

    def test_a_long_list_of_long_prefixes_ends(self) -> None:
        """What is made counts as what is read."""
        context = {"workflow": {"list": [""] * 2_000}}
        prefix = {"type": "add_prefix", "config": {"prefix": "x" * 1_000}}

        with pytest.raises(MappingFailed, match=r"^inputMapping\[0\]: workflow\.list is too much: "):
            apply(entry("workflow.list", "it", transformation=prefix), context=context)

    @pytest.mark.parametrize(
        ("transformation", "place", "reason"),
        [
            ([], "", "must be an object with type and config"),
            ("to_uppercase", "", "must be an object with type and config"),
            (
                {"config": {}},
                ".type",
                f"must be one of {', '.join(TRANSFORMATIONS)}",
            ),
            ({"type": "pass", "spec": {}}, ".spec", "is not expected"),
            ({"type": "pass", "config": []}, ".config", "must be an object"),
            ({"type": "pass", "config": {"value": 1}}, ".config.value", "is not expected"),
            ({"type": "default"}, ".config.value", "is required"),
            ({"type": "default", "config": {"value": 1, "or": 2}}, ".config.or", "is not expected"),
            ({"type": "add_prefix"}, ".config.prefix", "must be a string of 1 to 1000 characters"),
            (
                {"type": "add_suffix", "config": {"suffix": ""}},
                ".config.suffix",
                "must be a string of 1 to 1000 characters",
            ),
            (
                {"type": "remove_characters", "config": {"characters": 7}},
                ".config.characters",
                "must be a string of 1 to 1000 characters",
            ),
            ({"type": "to_lowercase", "config": {"locale": "tr"}}, ".config.locale", "is not expected"),
            (
                {"type": "timestamp", "config": {"inputFormat": "$now", "outputFormat": "2006"}},
                ".config.inputFormat",
                "cannot be $now, which is no form of the source",
            ),
            (
                {"type": "timestamp", "config": {"inputFormat": "$unix"}},
                ".config.outputFormat",
                "must be a layout such as 2006-01-02T15:04:05Z07:00",
            ),
        ],
    )
    def test_a_bad_one_is_refused_by_its_place(self, transformation: Any, place: str, reason: str) -> None:
        """When the workflow is saved."""
        refused = refusal_of(entry("a", "b", transformation=transformation))

        assert refused == (f"[0].transformation{place}", reason)

    def test_a_required_source_has_no_default(self) -> None:
        """It would never be used."""
        default = {"type": "default", "config": {"value": None}}

        assert refusal_of(entry("a", "b", required=True, transformation=default)) == (
            "[0].transformation",
            "has a default, which a required source never needs",
        )


class TestOutputMapping:
    ANSWER: ClassVar[dict[str, Any]] = {
        "status": 200,
        "status_text": "OK",
        "url": "https://a.example/",
        "headers": {"content-type": "application/json"},
        "body": {"amount": Decimal("100.10"), "id": 12345678901234567890},
    }

    def test_it_reads_the_answer(self) -> None:
        """Whose members are where the paths begin; `$` is all of it."""
        mapping = compile_output_mapping(
            [
                entry("body.amount", "amount"),
                entry("$.body.id", "id"),
                entry("status", "http.status"),
                entry('headers["content-type"]', "http.type"),
                entry("body.nobody", "nobody"),
                entry("$", "all"),
            ]
        )

        assert mapping.apply(self.ANSWER) == {
            "amount": Decimal("100.10"),
            "id": 12345678901234567890,
            "http": {"status": 200, "type": "application/json"},
            "all": self.ANSWER,
        }

    def test_what_is_missing_is_told_by_its_member(self) -> None:
        """It is not the input that lacks it."""
        mapping = compile_output_mapping([entry("body.decision", "decision", required=True)])

        with pytest.raises(
            MappingFailed, match=r"^outputMapping\[0\]: the required source body\.decision is missing$"
        ):
            mapping.apply(self.ANSWER)

    @pytest.mark.parametrize(
        "source", ["workflow.amount", "screening.body.id", "response.body", "Body", "$.workflow"]
    )
    def test_a_source_outside_of_the_answer_is_refused(self, source: str) -> None:
        """It would never be there."""
        with pytest.raises(InvalidMapping) as refused:
            compile_output_mapping([entry("body", "a"), entry(source, "b")])

        assert refused.value.place == "[1].source"
        assert str(refused.value) == "must begin with one of status, status_text, url, headers, body, or be $"


WORDS = st.sampled_from(["a", "b", "workflow", "$", "a-b", "items"])
STEPS = st.sampled_from(
    [".a", ".b", ".items", "[0]", "[1]", "[7]", "[*]", "[+]", "[-]", '["a.b"]', "['x']", ".", "[", "[-1]", " "]
)
PATHS = st.builds(lambda root, steps: root + "".join(steps), WORDS, st.lists(STEPS, max_size=4)) | st.text(max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "items", "a.b", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)
ODD_TRANSFORMATIONS = JSON | st.fixed_dictionaries(
    {
        "type": st.sampled_from(["add_prefix", "to_uppercase", "remove_characters", "timestamp", "default", "pass"]),
        "config": st.sampled_from(
            [
                {},
                {"prefix": "x"},
                {"characters": "ab"},
                {"value": [1]},
                {"inputFormat": "$unix", "outputFormat": "2006-01-02"},
            ]
        )
        | JSON,
    }
)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"source": PATHS, "target": PATHS},
        optional={"required": st.booleans() | st.none(), "transformation": ODD_TRANSFORMATIONS},
    )
    | JSON,
    max_size=5,
)


@given(entries=ENTRIES, context=st.dictionaries(WORDS, JSON, max_size=4))
@settings(deadline=None, max_examples=500)
def test_any_mapping_is_refused_or_makes_an_input_that_can_be_sent(entries: Any, context: dict[str, Any]) -> None:
    """Nothing that a workflow's author writes is an internal error, when it is saved or when it runs."""
    mapped: Any = {}
    with contextlib.suppress(InvalidMapping, MappingFailed):
        mapped = compile_input_mapping(entries).apply(context)

    assert isinstance(mapped, dict)
    assert jsontext.encode(mapped)


@given(targets=st.lists(st.lists(st.sampled_from(["a", "b", 0, 1]), min_size=1, max_size=4), min_size=1, max_size=5))
@settings(deadline=None, max_examples=500)
def test_targets_that_are_accepted_are_all_reached(targets: list[list[str | int]]) -> None:
    """Each finds its value where it asked for it: no entry writes over another."""
    paths = ["t" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in each) for each in targets]
    try:
        mapping = compile_input_mapping([entry(f"v[{number}]", path) for number, path in enumerate(paths)])
    except InvalidMapping:
        return
    values = list(range(len(paths)))
    mapped = mapping.apply({"v": values})

    read_back = compile_input_mapping([entry(path, f"r{number}", required=True) for number, path in enumerate(paths)])
    assert list(read_back.apply(mapped).values()) == values


@given(
    targets=st.lists(st.lists(st.sampled_from(["a", "b", 0, 1, 5]), min_size=1, max_size=4), min_size=2, max_size=6),
    seed=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=300)
def test_the_order_of_the_entries_does_not_matter(targets: list[list[str | int]], seed: random.Random) -> None:
    """Whatever the order, mappings are refused alike, and make the same."""
    paths = ["t" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in each) for each in targets]
    entries = [entry(f"v[{number}]", path) for number, path in enumerate(paths)]
    context = {"v": list(range(len(paths)))}
    shuffled = seed.sample(entries, len(entries))
    try:
        mapped = compile_input_mapping(entries).apply(context)
    except InvalidMapping:
        with pytest.raises(InvalidMapping):
            compile_input_mapping(shuffled)
        return

    assert compile_input_mapping(shuffled).apply(context) == mapped
