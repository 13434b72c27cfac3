"""What operations make of values: the examples of Kazaam, and where Flowker decides."""

import uuid
from copy import deepcopy
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowker import jsontext
from flowker.domain.kazaam import Occasion
from flowker.domain.mappings import MappingFailed
from flowker.domain.transforms import compile_transforms

NOW = "2026-03-17T14:35:06.250000Z"
OCCASION = Occasion(NOW, "0190-execution:node")

MESSAGE: dict[str, Any] = {
    "doc": {
        "uid": 12345,
        "guid": ["guid0", "guid2", "guid4"],
        "guidObjects": [{"id": "guid0"}, {"id": "guid2"}, {"id": "guid4"}],
    },
    "top-level-key": None,
}
PAYMENT: dict[str, Any] = {
    "amount": Decimal("100.10"),
    "large": 12345678901234567890,
    "currency": "brl",
    "note": None,
    "legs": [{"to": "a", "value": Decimal("1.50")}, {"to": "b"}, {"to": None, "value": 2}],
}


def operation(name: str, spec: Any = None, **more: Any) -> dict[str, Any]:
    return {"operation": name, "spec": spec, **more}


def run(data: Any, *operations: dict[str, Any], occasion: Occasion = OCCASION) -> Any:
    before = deepcopy(data)
    made = compile_transforms(list(operations)).apply(data, occasion)
    assert data == before
    return made


def failure_of(data: Any, *operations: dict[str, Any]) -> str:
    with pytest.raises(MappingFailed) as failed:
        run(data, *operations)
    return str(failed.value)


class TestShift:
    def test_the_example_of_kazaam(self) -> None:
        """Members, items, and a member of each item."""
        spec = {"object.id": "doc.uid", "gid2": "doc.guid[1]", "allGuids": "doc.guidObjects[*].id"}

        assert run(MESSAGE, operation("shift", spec)) == {
            "object": {"id": 12345},
            "gid2": "guid2",
            "allGuids": ["guid0", "guid2", "guid4"],
        }

    @pytest.mark.parametrize(
        ("spec", "more", "result"),
        [
            ({"all": "$"}, {}, {"all": PAYMENT}),
            ({"all": ["$"]}, {}, {"all": [PAYMENT]}),
            ({"a": "nobody", "b": ["nobody"]}, {}, {}),
            ({"a": "note", "b": "large"}, {"require": True}, {"a": None, "b": 12345678901234567890}),
            ({"values": "legs[*].value"}, {}, {"values": [Decimal("1.50"), None, 2]}),
            ({"a[1]": "amount"}, {}, {"a": [None, Decimal("100.10")]}),
            ({"send:value": "legs[0]:value"}, {"keySeparator": ":"}, {"send": {"value": Decimal("1.50")}}),
            ({"sum.brl": "amount"}, {"inplace": True}, {**PAYMENT, "sum": {"brl": Decimal("100.10")}}),
            ({"legs[+]": "currency"}, {"inplace": True}, {**PAYMENT, "legs": [*PAYMENT["legs"], "brl"]}),
            (
                {"legs[-].to": "amount"},
                {"inplace": True},
                {**PAYMENT, "legs": [{"to": Decimal("100.10")}, *PAYMENT["legs"]]},
            ),
            (
                {"amount": "large", "large": "amount"},
                {"inplace": True},
                {**PAYMENT, "amount": PAYMENT["large"], "large": PAYMENT["amount"]},
            ),
            ({"currency.code": "currency"}, {"inplace": True}, {**PAYMENT, "currency": {"code": "brl"}}),
        ],
    )
    def test_values_go_where_they_are_to_be(self, spec: Any, more: dict[str, Any], result: Any) -> None:
        """As they are; what is missing leaves its target out, and sources are read in what was given."""
        assert repr(run(PAYMENT, operation("shift", spec, **more))) == repr(result)

    @pytest.mark.parametrize("required", ["require", "required"])
    @pytest.mark.parametrize("source", ["nobody", "legs[3]", "legs[*].value"])
    def test_what_is_required_has_to_be_there(self, required: str, source: str) -> None:
        """In every item, if it is of each."""
        failed = failure_of(PAYMENT, operation("pass"), operation("shift", {"a.b": source}, **{required: True}))

        assert failed == f"transforms[1] (shift): a.b: the required source {source} is missing"

    def test_a_list_in_the_way_of_a_member_fails(self) -> None:
        """It would be lost."""
        failed = failure_of(PAYMENT, operation("shift", {"legs.first": "amount"}, inplace=True))

        assert failed == "transforms[0] (shift): legs.first: it leads into a list"


class TestConcat:
    def test_the_example_of_kazaam(self) -> None:
        """The target may be a source."""
        spec = {"sources": [{"value": "TEST"}, {"path": "a.timestamp"}], "targetPath": "a.timestamp", "delim": ","}

        assert run({"a": {"timestamp": 1481305274}}, operation("concat", spec)) == {
            "a": {"timestamp": "TEST,1481305274"}
        }

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("amount", "100.10"),
            ("large", "12345678901234567890"),
            ("note", ""),
            ("nobody", ""),
            ("legs[*].to", "ab"),
            ("legs[*].value", "1.502"),
            ("legs[0]", '{"to":"a","value":1.50}'),
            ("yes", "true"),
        ],
    )
    def test_every_value_has_a_text(self, path: str, text: str) -> None:
        """Numbers have their digits; what is missing or null has none, and its delimiter stays."""
        spec = {"sources": [{"value": "<"}, {"path": path}, {"value": ">"}], "targetPath": "t", "delim": "|"}

        assert run({**PAYMENT, "yes": True}, operation("concat", spec))["t"] == f"<|{text}|>"

    def test_without_a_delimiter_texts_touch(self) -> None:
        """As Kazaam has it."""
        assert run({"a": "x"}, operation("concat", {"sources": [{"path": "a"}] * 3, "targetPath": "a"})) == {
            "a": "xxx"
        }

    def test_what_is_required_has_to_be_there(self) -> None:
        """Each path, not each text."""
        spec = {"sources": [{"path": "amount"}, {"path": "nobody"}], "targetPath": "t"}

        assert failure_of(PAYMENT, operation("concat", spec, require=True)) == (
            "transforms[0] (concat): t: the required source nobody is missing"
        )


class TestCoalesce:
    @pytest.mark.parametrize(
        ("spec", "found"),
        [
            ({"first": ["doc.guidObjects[0].uid", "doc.guidObjects[0].id"]}, "guid0"),
            ({"first": ["top-level-key", "doc.uid"]}, 12345),
            ({"first": ["top-level-key", "doc.nobody"]}, "left out"),
            ({"first": ["doc.guid[0]", "doc.guid[1]"], "ignore": ["guid0"]}, "guid2"),
            ({"first": ["doc.uid", "doc.guid[1]"], "ignore": [Decimal("12345.0")]}, "guid2"),
            ({"first": ["doc.guid", "doc.uid"], "ignore": [["guid0", "guid2", "guid4"]]}, 12345),
            ({"first": ["doc.guid", "doc.uid"], "ignore": [["guid0"], {}]}, ["guid0", "guid2", "guid4"]),
            ({"first": ["doc.guidObjects[0]", "doc.uid"], "ignore": [{"id": "guid0"}]}, 12345),
            ({"first": ["doc.guidObjects[0]", "doc.uid"], "ignore": [{"id": "guid2"}, {"x": 1}]}, {"id": "guid0"}),
        ],
    )
    def test_the_first_that_is_there_is_taken(self, spec: Any, found: Any) -> None:
        """Not null, and none of those to ignore; with none, nothing is written."""
        made = run(MESSAGE, operation("coalesce", spec))

        assert made.get("first", "left out") == found
        assert made["doc"] == MESSAGE["doc"]

    @pytest.mark.parametrize(("value", "ignored"), [(1, True), (True, 1), (0, False), ("1", 1), (False, None)])
    def test_values_of_other_types_are_not_the_same(self, value: Any, ignored: Any) -> None:
        """True is not 1."""
        spec = {"b": ["a"], "ignore": [ignored]}

        assert run({"a": value}, operation("coalesce", spec)) == {"a": value, "b": value}

    @pytest.mark.parametrize(("value", "other"), [(1, 2), ([1] * 20, [1] * 19 + [2]), ({"a": [1]}, {"a": [2]})])
    def test_what_is_to_be_ignored_costs_what_it_is_compared_with(self, value: Any, other: Any) -> None:
        """Many sources with as many values to ignore would hold a worker for an hour."""
        spec = {f"to{number}": ["a"] * 200 for number in range(199)} | {"ignore": [other] * 199 + [value]}

        failed = failure_of({"a": value}, operation("coalesce", spec))

        assert failed.endswith("is too much: what is rendered is larger than 1048576 characters")


class TestExtract:
    @pytest.mark.parametrize(
        ("path", "part"),
        [("doc.guidObjects[1]", {"id": "guid2"}), ("doc.guid[0]", "guid0"), ("$", MESSAGE), ("doc.nobody", None)],
    )
    def test_a_part_becomes_the_whole(self, path: str, part: Any) -> None:
        """Whatever it is; null when it is missing."""
        assert run(MESSAGE, operation("extract", {"path": path})) == part

    def test_a_required_part_has_to_be_there(self) -> None:
        """The whole would be nothing."""
        assert failure_of(MESSAGE, operation("extract", {"path": "a"}, require=True)) == (
            "transforms[0] (extract): the required source a is missing"
        )


class TestDefault:
    @pytest.mark.parametrize(
        ("spec", "result"),
        [
            ({"type": "message"}, {**PAYMENT, "type": "message"}),
            ({"a.b[0]": [1, {"c": Decimal("1.10")}]}, {**PAYMENT, "a": {"b": [[1, {"c": Decimal("1.10")}]]}}),
            ({"amount": 0, "currency": "usd"}, PAYMENT),
            ({"note": "x"}, PAYMENT),
            ({"empty": None}, {**PAYMENT, "empty": None}),
            (
                {"legs[*].value": 0},
                {**PAYMENT, "legs": [PAYMENT["legs"][0], {"to": "b", "value": 0}, PAYMENT["legs"][2]]},
            ),
        ],
    )
    def test_it_is_set_only_where_nothing_is(self, spec: Any, result: Any) -> None:
        """A null is something."""
        assert repr(run(PAYMENT, operation("default", spec))) == repr(result)


class TestDelete:
    def test_the_example_of_kazaam(self) -> None:
        """A member and an item."""
        spec = {"paths": ["doc.uid", "doc.guidObjects[1]"]}

        assert run(MESSAGE, operation("delete", spec)) == {
            "doc": {"guid": ["guid0", "guid2", "guid4"], "guidObjects": [{"id": "guid0"}, {"id": "guid4"}]},
            "top-level-key": None,
        }

    def test_items_move_up_from_path_to_path(self) -> None:
        """As in Kazaam: the second path finds what the first has left."""
        assert run({"a": [0, 1, 2, 3]}, operation("delete", {"paths": ["a[0]", "a[0]", "a[1]"]})) == {"a": [2]}

    def test_what_is_missing_is_gone_already(self) -> None:
        """Unless it is required."""
        spec = {"paths": ["doc.nobody", "doc.guid[7]"]}

        assert run(MESSAGE, operation("delete", spec)) == MESSAGE
        assert failure_of(MESSAGE, operation("delete", spec, require=True)) == (
            "transforms[0] (delete): the required path doc.nobody is missing"
        )


class TestTimestamp:
    def test_the_example_of_kazaam(self) -> None:
        """One item is written anew, and now is written."""
        times = ["Sat Jul 22 08:15:27 +0000 2017", "Sun Jul 23 08:15:27 +0000 2017"]
        spec = {
            "timestamp[0]": {
                "inputFormat": "Mon Jan _2 15:04:05 -0700 2006",
                "outputFormat": "2006-01-02T15:04:05-0700",
            },
            "nowTimestamp": {"inputFormat": "$now", "outputFormat": "2006-01-02T15:04:05-0700"},
            "epochTimestamp": {"inputFormat": "2006-01-02T15:04:05-0700", "outputFormat": "$unix"},
        }

        assert run({"timestamp": times}, operation("timestamp", spec)) == {
            "timestamp": ["2017-07-22T08:15:27+0000", times[1]],
            "nowTimestamp": "2026-03-17T14:35:06+0000",
        }

    @pytest.mark.parametrize("path", ["times", "times[*]"])
    def test_every_time_of_a_list_is_written_anew(self, path: str) -> None:
        """A null stays one."""
        spec = {path: {"inputFormat": "2006-01-02", "outputFormat": "$unix"}}

        made = run({"times": ["1970-01-02", None, "1970-01-03"]}, operation("timestamp", spec))

        assert made == {"times": ["86400", None, "172800"]}

    def test_now_is_the_time_of_the_attempt_in_utc(self) -> None:
        """To the microsecond, whatever stood there."""
        spec = {"at": {"inputFormat": "$now", "outputFormat": "2006-01-02T15:04:05.000000000Z07:00"}}

        assert run({"at": {"a": 1}}, operation("timestamp", spec)) == {"at": "2026-03-17T14:35:06.250000000Z"}

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            ({"at": "17 March"}, "at: it is no time in the form of inputFormat"),
            ({"at": True}, "at: it is neither text nor a number"),
            ({}, "at: it is required and missing"),
        ],
    )
    def test_what_is_no_such_time_fails(self, data: Any, reason: str) -> None:
        """Without its value."""
        spec = {"at": {"inputFormat": "2006-01-02", "outputFormat": "2006"}}

        assert failure_of(data, operation("timestamp", spec, require=True)) == f"transforms[0] (timestamp): {reason}"


class TestUuid:
    SPEC: ClassVar[Any] = {"doc.id": {"version": 4}}

    def test_version_4_looks_random(self) -> None:
        """It has the form of one."""
        made = uuid.UUID(run({}, operation("uuid", self.SPEC))["doc"]["id"])

        assert (made.version, made.variant) == (4, uuid.RFC_4122)

    def test_the_same_place_of_the_same_execution_has_the_same(self) -> None:
        """At whatever time: a call that is made again carries it again."""
        again = Occasion("2027-01-01T00:00:00.000000Z", OCCASION.seed)

        assert run({}, operation("uuid", self.SPEC)) == run({}, operation("uuid", self.SPEC), occasion=again)

    def test_every_other_place_has_another(self) -> None:
        """Of the operations, of their targets, of the items, of the nodes and executions."""
        spec = {"id": {"version": 4}, "other": {"version": 4}}
        operations = [operation("uuid", spec, over="items"), operation("uuid", {"id": {"version": 4}})]
        items: dict[str, Any] = {"items": [{}, {}]}

        made = [run(items, *operations), run(items, *operations, occasion=Occasion(NOW, "another:node"))]
        ids = [one["id"] for one in made] + [id_ for one in made for item in one["items"] for id_ in item.values()]

        assert len(set(ids)) == len(ids) == 10

    @pytest.mark.parametrize(("version", "of_name"), [(3, uuid.uuid3), (5, uuid.uuid5)])
    @pytest.mark.parametrize(
        ("namespace", "of"),
        [
            ("DNS", uuid.NAMESPACE_DNS),
            ("URL", uuid.NAMESPACE_URL),
            ("OID", uuid.NAMESPACE_OID),
            ("X500", uuid.NAMESPACE_X500),
            ("6BA7B810-9dad-11d1-80b4-00c04fd430c9", uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c9")),
        ],
    )
    def test_versions_3_and_5_are_made_of_names(
        self, version: int, of_name: Any, namespace: str, of: uuid.UUID
    ) -> None:
        """One in the namespace of the one before."""
        names = [{"path": "author"}, {"path": "nobody", "default": "some string"}, {"path": "amount"}]
        spec = {"id": {"version": version, "namespace": namespace, "names": names}}

        made = run({"author": "jason", "amount": Decimal("1.10")}, operation("uuid", spec))

        assert made["id"] == str(of_name(of_name(of_name(of, "jason"), "some string"), "1.10"))

    @pytest.mark.parametrize("data", [{}, {"author": None}])
    def test_a_name_that_is_nowhere_fails(self, data: Any) -> None:
        """Two things would have the same id."""
        spec = {"id": {"version": 5, "namespace": "DNS", "names": [{"path": "author"}]}}

        assert failure_of(data, operation("uuid", spec)) == (
            "transforms[0] (uuid): id: the name author is missing and has no default"
        )


class TestTexts:
    @pytest.mark.parametrize(
        ("name", "spec", "member", "value"),
        [
            ("to_uppercase", {"currency": {}}, "currency", "BRL"),
            ("add_prefix", {"large": {"prefix": "n"}}, "large", "n12345678901234567890"),
            ("add_suffix", {"currency": {"suffix": "!"}}, "currency", "brl!"),
            ("remove_characters", {"currency": {"characters": "rx"}}, "currency", "bl"),
            ("to_lowercase", {"nobody": {}, "note": {}}, "note", None),
            (
                "to_uppercase",
                {"legs[*].to": {}},
                "legs",
                [{"to": "A", "value": Decimal("1.50")}, {"to": "B"}, {"to": None, "value": 2}],
            ),
        ],
    )
    def test_texts_are_changed_where_they_stand(self, name: str, spec: Any, member: str, value: Any) -> None:
        """What is missing stays away."""
        assert run(PAYMENT, operation(name, spec)) == {**PAYMENT, member: value}

    def test_what_does_not_fit_fails_by_its_path(self) -> None:
        """And what is required and missing."""
        assert failure_of(PAYMENT, operation("to_uppercase", {"amount": {}})) == (
            "transforms[0] (to_uppercase): amount: it is no text"
        )
        assert failure_of(PAYMENT, operation("to_uppercase", {"a": {}}, require=True)) == (
            "transforms[0] (to_uppercase): a: it is required and missing"
        )


class TestOver:
    def test_the_examples_of_kazaam(self) -> None:
        """Each item of a list is the whole for the operation."""
        concat = {"sources": [{"path": "foo"}, {"value": "KEY"}], "targetPath": "url", "delim": ":"}

        assert run(
            {"a": [{"foo": 0}, {"foo": 1}]},
            operation("concat", concat, over="a"),
            operation("shift", {"urls": "a[*].url"}),
        ) == {"urls": ["0:KEY", "1:KEY"]}
        assert run(
            {"rating": {"primary": [{"value": 3}, {"value": 5}], "example": 3}},
            operation("shift", {"new_value": "value"}, over="rating.primary"),
        ) == {"rating": {"primary": [{"new_value": 3}, {"new_value": 5}], "example": 3}}

    def test_everything_can_be_a_list(self) -> None:
        """When an operation before it made one."""
        made = run(
            MESSAGE, operation("extract", {"path": "doc.guidObjects"}), operation("extract", {"path": "id"}, over="$")
        )

        assert made == ["guid0", "guid2", "guid4"]

    def test_a_list_that_is_missing_has_no_items(self) -> None:
        """Unless it is required."""
        assert run({"b": 1}, operation("default", {"x": 1}, over="a")) == {"b": 1}
        assert failure_of({"b": 1}, operation("default", {"x": 1}, over="a", require=True)) == (
            "transforms[0] (default): the required list a is missing"
        )

    def test_what_is_no_list_and_an_item_that_fails_are_told(self) -> None:
        """The item by its position."""
        assert failure_of({"a": {}}, operation("pass", over="a")) == "transforms[0] (pass): a is no list"
        assert failure_of({"a": ["x", 1]}, operation("extract", {"path": "b"}, over="a", require=True)) == (
            "transforms[0] (extract): a[0]: the required source b is missing"
        )


class TestBounds:
    def test_what_doubles_ends(self) -> None:
        """A text that is put beside itself thirty times would have a billion characters."""
        double = operation("concat", {"sources": [{"path": "a"}] * 2, "targetPath": "a"})

        failed = failure_of({"a": "x"}, *[double] * 30)

        assert failed == (
            "transforms[17] (concat): a is too much: what is rendered is larger than 1048576 characters"
        )

    def test_what_contains_itself_ends(self) -> None:
        """Also where nothing is copied."""
        double = operation("shift", {"a": "$", "b": "$"})

        assert "is too much: what is rendered is larger than 1048576 characters" in failure_of({}, *[double] * 40)

    def test_what_nests_ends(self) -> None:
        """Far from where nobody could write it down."""
        deeper = operation("shift", {".".join("a" * 16): "$"})

        assert "is too much: what is rendered is nested over 128 levels" in failure_of({}, *[deeper] * 50)
        assert jsontext.encode(run({}, *[deeper] * 8))

    def test_constants_count_for_every_item(self) -> None:
        """They come from the definition, and there they are once."""
        items: dict[str, Any] = {"items": [{} for _ in range(1_100)]}

        assert failure_of(items, operation("default", {"items[*].text": "x" * 1_000})) == (
            "transforms[0] (default): items[*].text is too much: what is rendered is larger than 1048576 characters"
        )

    @pytest.mark.parametrize(
        ("name", "spec"),
        [
            ("pass", None),
            ("shift", {f"a{number}": "b" for number in range(200)}),
            ("coalesce", {"a": ["b"] * 200}),
            ("concat", {"sources": [{"value": ""}] * 200, "targetPath": "a"}),
            ("delete", {"paths": ["a"] * 200}),
            ("to_uppercase", {f"a{number}": {} for number in range(200)}),
            ("uuid", {"a": {"version": 4}}),
            ("timestamp", {"a": {"inputFormat": "$now", "outputFormat": "2006" * 25}}),
        ],
    )
    def test_work_counts_also_where_nothing_comes_of_it(self, name: str, spec: Any) -> None:
        """Looking for what is not there takes its time for every item."""
        failed = failure_of({"items": [{}] * 70_000}, operation(name, spec, over="items"))

        assert failed.endswith("what is rendered is larger than 1048576 characters")

    def test_extracting_and_walking_count_too(self) -> None:
        """Where no target can be named."""
        data = {"list": ["x" * 600_000]}

        assert failure_of(data, *[operation("extract", {"path": "$"})] * 2) == (
            "transforms[1] (extract): what is rendered is larger than 1048576 characters"
        )
        assert "what is rendered is larger" in failure_of(
            {"list": [None] * 400_000}, *[operation("pass", over="list")] * 3
        )


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


@given(JSON)
def test_pass_is_nothing(data: Any) -> None:
    """It gives what it was given, and so does a part that is everything."""
    assert run(data, operation("pass")) is data
    assert run(data, operation("extract", {"path": "$"})) is data


@given(OBJECTS)
def test_numbers_keep_their_digits(data: dict[str, Any]) -> None:
    """Through every operation that moves them."""
    moved = run(
        data,
        operation("default", {"zzz": 1}),
        operation("delete", {"paths": ["zzz"]}),
        operation("shift", {"in[0].it": "$"}),
        operation("coalesce", {"found": ["nobody", "in[0].it"]}),
        operation("extract", {"path": "found"}),
    )

    assert jsontext.encode(moved) == jsontext.encode(data)


@given(OBJECTS, st.permutations(["a.b", "c[1]", "d", "x.y", "x.z"]))
def test_the_order_of_a_spec_does_not_matter(data: dict[str, Any], targets: list[str]) -> None:
    """Sources are read in what was given, and targets do not overlap."""
    spec = dict.fromkeys(targets, "$")

    assert run(data, operation("shift", spec)) == run(data, operation("shift", dict(sorted(spec.items()))))


@given(OBJECTS, st.text(max_size=5))
def test_what_is_added_can_be_taken_away(data: dict[str, Any], text: str) -> None:
    """A default that is deleted leaves what was there."""
    added = run(data, operation("default", {"new.member[0]": text}))

    assert added["new"] == {"member": [text]}
    assert run(added, operation("delete", {"paths": ["new"]})) == data
