"""Changes of one value, which mappings and transforms have in common."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowker.domain.changes import (
    TEXT_CHANGES,
    AddPrefix,
    AddSuffix,
    InvalidMapping,
    RemoveCharacters,
    TextChange,
    ToLowercase,
    ToUppercase,
    change_value,
    compile_reformat,
    compile_text_change,
)
from flowker.domain.places import Unfit

UNIX = compile_reformat({"inputFormat": "$unix", "outputFormat": "2006-01-02"}, "")


def nothing(_: int) -> None:
    """Spend without a bound."""


class Counted(str):
    """Counts how often its characters are gone through."""

    __slots__ = ("times",)
    times: int

    def __iter__(self) -> Iterator[str]:
        self.times += 1
        return super().__iter__()


def test_characters_to_remove_are_looked_at_once() -> None:
    """And not for each text of a list, which may have hundreds of thousands."""
    characters = Counted(".-")
    characters.times = 0

    assert change_value(RemoveCharacters(characters), ["a.", "b-", "c"], nothing) == ["a", "b", "c"]
    assert characters.times == 1


@pytest.mark.parametrize(
    ("change", "value", "result"),
    [
        (RemoveCharacters(".-/"), "12.345.678/0001-95", "12345678000195"),
        (RemoveCharacters("."), Decimal("100.10"), "10010"),
        (AddPrefix("@"), "x", "@x"),
        (AddPrefix("@"), 12345678901234567890, "@12345678901234567890"),
        (AddSuffix("!"), ["a", None, ["b", 1]], ["a!", None, ["b!", "1!"]]),
        (ToUppercase(), "straße", "STRASSE"),
        (ToLowercase(), "ÀB", "àb"),
        (UNIX, 1500711327, "2017-07-22"),
        (UNIX, "1500711327", "2017-07-22"),
        *((change, None, None) for change in (RemoveCharacters("a"), AddPrefix("a"), ToUppercase(), UNIX)),
    ],
)
def test_a_text_is_changed(change: TextChange, value: Any, result: Any) -> None:
    """And each text of a list; a number where its digits are meant."""
    assert change_value(change, value, nothing) == result


@pytest.mark.parametrize(
    ("change", "value", "reason"),
    [
        (ToUppercase(), 1, "it is no text"),
        (ToLowercase(), ["a", {}], "it is no text"),
        (AddPrefix("a"), True, "it is neither text nor a number"),
        (AddSuffix("a"), {"a": 1}, "it is neither text nor a number"),
        (UNIX, Decimal("1.5"), "it is no time in the form of inputFormat"),
    ],
)
def test_what_has_no_text_does_not_fit(change: TextChange, value: Any, reason: str) -> None:
    """Whatever else it is."""
    with pytest.raises(Unfit, match=f"^{reason}$"):
        change_value(change, value, nothing)


def test_a_change_costs_what_it_makes() -> None:
    """And the items that it looks at."""
    spent: list[int] = []

    change_value(AddPrefix("abc"), ["x", "yz"], spent.append)

    assert spent == [2, 4, 5]


@pytest.mark.parametrize("config", [None, 1, "a", []])
def test_parameters_are_an_object(config: Any) -> None:
    """Also where there are none."""
    with pytest.raises(InvalidMapping, match=r"^must be an object$") as refused:
        compile_text_change("to_uppercase", config, "p")
    assert refused.value.place == "p"

    with pytest.raises(InvalidMapping, match=r"^must be an object with inputFormat and outputFormat$"):
        compile_reformat(config, "p")


def test_each_of_the_five_has_its_parameter() -> None:
    """Under its own name."""
    made = {
        kind: compile_text_change(kind, dict.fromkeys(members, "x"), "p")
        for kind, (_, members) in TEXT_CHANGES.items()
    }

    assert made == {
        "remove_characters": RemoveCharacters("x"),
        "add_prefix": AddPrefix("x"),
        "add_suffix": AddSuffix("x"),
        "to_uppercase": ToUppercase(),
        "to_lowercase": ToLowercase(),
    }


@given(text=st.text(), affix=st.text(min_size=1))
def test_what_is_removed_is_gone_and_what_is_added_is_there(text: str, affix: str) -> None:
    """And nothing else happens to a text."""
    kept = change_value(RemoveCharacters(affix), text, nothing)

    assert kept == "".join(one for one in text if one not in affix)
    assert change_value(AddPrefix(affix), text, nothing) == affix + text
    assert change_value(AddSuffix(affix), text, nothing) == text + affix
