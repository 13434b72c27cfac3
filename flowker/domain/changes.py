"""Changes of one value: what `transformation` does in an entry of a mapping, and five operations of transforms.

A change is one of text. In a list it changes each item; a null stays one. A number has a text, its digits, where
something is put beside it or taken out of it; anything else that is no text does not fit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

from flowker.domain.layouts import InvalidLayout, Layout, NoSuchTime, compile_layout, compile_layout_to_read
from flowker.domain.places import Spend, Unfit
from flowker.domain.templates import as_text

PARAMETER_CHARACTERS_MAX = 1_000
"""Of a prefix, a suffix, or the characters to remove."""

NAME_CHARACTERS_MAX = 50
"""Of an unexpected member, in a refusal: enough to recognise it."""

NOW = "$now"
"""In place of the layout to read by: the time of the attempt."""


class InvalidMapping(ValueError):
    """What is wrong with a mapping or with transforms: `place` says where (`[2].target`), the message why."""

    def __init__(self, place: str, reason: str) -> None:
        self.place = place
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class RemoveCharacters:
    """Takes out each of these characters, wherever it is."""

    characters: str
    _table: Mapping[int, None] = field(init=False, repr=False, compare=False)
    """Made once: a list may have as many texts as a megabyte has room for."""
    numbers_too = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "_table", dict.fromkeys(map(ord, self.characters)))

    def of_text(self, text: str) -> str:
        return text.translate(self._table)


@dataclass(frozen=True, slots=True)
class AddPrefix:
    prefix: str
    numbers_too = True

    def of_text(self, text: str) -> str:
        return self.prefix + text


@dataclass(frozen=True, slots=True)
class AddSuffix:
    suffix: str
    numbers_too = True

    def of_text(self, text: str) -> str:
        return text + self.suffix


@dataclass(frozen=True, slots=True)
class ToUppercase:
    numbers_too = False

    def of_text(self, text: str) -> str:
        return text.upper()


@dataclass(frozen=True, slots=True)
class ToLowercase:
    numbers_too = False

    def of_text(self, text: str) -> str:
        return text.lower()


@dataclass(frozen=True, slots=True)
class Reformat:
    """Writes a time in another layout. Seconds since 1970 may be a number."""

    read: Layout
    written: Layout
    numbers_too = True

    def of_text(self, text: str) -> str:
        try:
            return self.written.format(self.read.parse(text))
        except NoSuchTime:
            raise Unfit("it is no time in the form of inputFormat") from None


TextChange: TypeAlias = RemoveCharacters | AddPrefix | AddSuffix | ToUppercase | ToLowercase | Reformat


def change_value(change: TextChange, value: Any, spend: Spend) -> Any:
    """The changed value. Raises `Unfit`, or what `spend` raises."""
    if value is None:
        return None
    if isinstance(value, list):
        spend(len(value))
        return [change_value(change, item, spend) for item in value]
    changed = change.of_text(_text_of(value, change))
    spend(len(changed))
    return changed


def compile_text_change(kind: str, config: Any, place: str) -> TextChange:
    """One of `TEXT_CHANGES` by its parameters, or `InvalidMapping`."""
    make, members = TEXT_CHANGES[kind]
    if not isinstance(config, Mapping):
        raise InvalidMapping(place, "must be an object")
    refuse_others(config, members, place)
    return make(*(_parameter(config.get(member), f"{place}.{member}") for member in members))


def compile_reformat(config: Any, place: str) -> Reformat:
    """The times of `timestamp` by their layouts, or `InvalidMapping`."""
    if not isinstance(config, Mapping):
        raise InvalidMapping(place, "must be an object with inputFormat and outputFormat")
    refuse_others(config, ("inputFormat", "outputFormat"), place)
    read = _layout(config, "inputFormat", compile_layout_to_read, place)
    return Reformat(read, _layout(config, "outputFormat", compile_layout, place))


def compile_now(config: Mapping[str, Any], place: str) -> Layout:
    """The layout that the time of the attempt is written by, or `InvalidMapping`."""
    refuse_others(config, ("inputFormat", "outputFormat"), place)
    return _layout(config, "outputFormat", compile_layout, place)


def refuse_others(given: Mapping[str, Any], expected: tuple[str, ...], place: str) -> None:
    for member in given:
        if member not in expected:
            raise InvalidMapping(f"{place}.{member[:NAME_CHARACTERS_MAX]}", "is not expected")


TEXT_CHANGES: Mapping[str, tuple[Callable[..., TextChange], tuple[str, ...]]] = {
    "remove_characters": (RemoveCharacters, ("characters",)),
    "add_prefix": (AddPrefix, ("prefix",)),
    "add_suffix": (AddSuffix, ("suffix",)),
    "to_uppercase": (ToUppercase, ()),
    "to_lowercase": (ToLowercase, ()),
}
"""Each with the parameters that it needs, all of them texts."""


def _text_of(value: Any, change: TextChange) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool) and change.numbers_too:
        return as_text(value)
    raise Unfit("it is neither text nor a number" if change.numbers_too else "it is no text")


def _parameter(value: Any, place: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= PARAMETER_CHARACTERS_MAX:
        raise InvalidMapping(place, f"must be a string of 1 to {PARAMETER_CHARACTERS_MAX} characters")
    return value


def _layout(config: Mapping[str, Any], member: str, compile_it: Callable[[str], Layout], place: str) -> Layout:
    text = config.get(member)
    if not isinstance(text, str):
        raise InvalidMapping(f"{place}.{member}", "must be a layout such as 2006-01-02T15:04:05Z07:00")
    try:
        return compile_it(text)
    except InvalidLayout as error:
        raise InvalidMapping(f"{place}.{member}", str(error)) from None
