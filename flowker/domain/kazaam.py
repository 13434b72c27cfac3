"""The operations of Kazaam v4, and five of our own: what each makes of a value.

All paths of an operation are read in the value that it is given, and no two of its targets overlap: the order in
which an author writes them does not matter. What Kazaam leaves to chance, or does without telling, is refused or
decided; the differences are listed in docs/mappings.md.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from uuid import UUID, uuid3, uuid5

from flowker.domain.changes import TextChange, change_value
from flowker.domain.layouts import Layout, Moment
from flowker.domain.paths import MISSING
from flowker.domain.places import STEP_COST, Draft, Place, Spend, Unfit
from flowker.domain.templates import Budget, RenderedTooLarge, as_text
from flowker.domain.timestamps import parse_timestamp

ITEM_COST = 16
"""What running an operation for an item costs, in characters of a rendering, whatever it does."""

UUID_CHARACTERS = 36


@dataclass(frozen=True, slots=True)
class Occasion:
    """When values are made, as a timestamp, and for what: the same `seed` gives the same UUIDs."""

    now: str
    seed: str


@dataclass(frozen=True, slots=True)
class Rendering:
    """What operations share while they run: the occasion, what they may still take, and where they are."""

    occasion: Occasion
    budget: Budget = field(default_factory=Budget)
    place: str = ""

    def at(self, place: str) -> "Rendering":
        return Rendering(self.occasion, self.budget, f"{self.place}/{place}")

    def new_uuid(self) -> UUID:
        """Looks random, and is the same whenever the same execution comes to the same place."""
        digest = hashlib.sha256(f"{self.occasion.seed}{self.place}".encode()).digest()
        return UUID(bytes=digest[:16], version=4)


class Operation(Protocol):
    """One compiled operation."""

    def run(self, data: Any, rendering: Rendering) -> Any:
        """The value that becomes of `data`, which stays as it is. Raises `Unfit`, or `RenderedTooLarge`."""


class Maker(Protocol):
    """What comes to a target."""

    def make(self, data: Any, rendering: Rendering, existing: Any) -> Any:
        """The value for a target where `existing` stands, or `MISSING` to leave it as it is."""


@dataclass(frozen=True, slots=True)
class Pass:
    def run(self, data: Any, _: Rendering) -> Any:
        return data


@dataclass(frozen=True, slots=True)
class Extract:
    """A part becomes the whole."""

    source: Place
    required: bool

    def run(self, data: Any, rendering: Rendering) -> Any:
        part = _read(self.source, data, rendering, self.required)
        return None if part is MISSING else part


@dataclass(frozen=True, slots=True)
class Delete:
    """One path after the other: what is behind a deleted item has moved up."""

    places: tuple[Place, ...]
    required: bool

    def run(self, data: Any, rendering: Rendering) -> Any:
        draft = Draft(data, rendering.budget.spend)
        for place in self.places:
            if not draft.remove(place.steps) and self.required:
                raise Unfit(f"the required path {place.text} is missing")
        return draft.value


@dataclass(frozen=True, slots=True)
class Write:
    """Values come to targets, in what was given or in a new object."""

    writes: tuple[tuple[Place, Maker], ...]
    in_place: bool = True

    def run(self, data: Any, rendering: Rendering) -> Any:
        draft = Draft(data if self.in_place else {}, rendering.budget.spend)
        for target, maker in self.writes:
            try:
                draft.change(target.steps, partial(maker.make, data, rendering.at(target.text)))
            except RenderedTooLarge as error:
                raise Unfit(f"{target.text} is too much: {error}") from None
            except Unfit as error:
                raise Unfit(f"{target.text}: {error}") from None
        return draft.value


@dataclass(frozen=True, slots=True)
class Over:
    """Another operation, for each item of a list."""

    source: Place
    operation: Operation
    required: bool

    def run(self, data: Any, rendering: Rendering) -> Any:
        items = self.source.read(data, rendering.budget.spend)
        if items is MISSING:
            if self.required:
                raise Unfit(f"the required list {self.source.text} is missing")
            return data
        if not isinstance(items, list):
            raise Unfit(f"{self.source.text} is no list")
        rendering.budget.spend(ITEM_COST * len(items))
        done = [self._run_item(item, index, rendering) for index, item in enumerate(items)]
        draft = Draft(data, rendering.budget.spend)
        draft.put(self.source.steps, done)
        return draft.value

    def _run_item(self, item: Any, index: int, rendering: Rendering) -> Any:
        try:
            return self.operation.run(item, rendering.at(str(index)))
        except Unfit as error:
            raise Unfit(f"{self.source.text}[{index}]: {error}") from None


@dataclass(frozen=True, slots=True)
class Moved:
    """`shift`: what stands at the source, or a list of it."""

    source: Place
    wrapped: bool
    required: bool

    def make(self, data: Any, rendering: Rendering, _: Any) -> Any:
        value = _read(self.source, data, rendering, self.required)
        return [value] if self.wrapped and value is not MISSING else value


@dataclass(frozen=True, slots=True)
class FirstOf:
    """`coalesce`: the first that is there, is not null, and is none of those to ignore."""

    sources: tuple[Place, ...]
    ignored: tuple[Any, ...] = ()

    def make(self, data: Any, rendering: Rendering, _: Any) -> Any:
        spend = rendering.budget.spend
        for source in self.sources:
            value = _read(source, data, rendering, required=False)
            if value is MISSING or value is None:
                continue
            if not any(_same(value, one, spend) for one in self.ignored):
                return value
        return MISSING


@dataclass(frozen=True, slots=True)
class Literal:
    """A piece of text that the author wrote."""

    text: str


@dataclass(frozen=True, slots=True)
class Joined:
    """`concat`: texts, in their order. What is missing or null is no text."""

    sources: tuple[Literal | Place, ...]
    delimiter: str
    required: bool

    def make(self, data: Any, rendering: Rendering, _: Any) -> Any:
        rendering.budget.spend(len(self.sources))
        texts = [self._text(source, data, rendering) for source in self.sources]
        rendering.budget.spend(sum(map(len, texts)) + len(self.delimiter) * len(texts))
        return self.delimiter.join(texts)

    def _text(self, source: Literal | Place, data: Any, rendering: Rendering) -> str:
        if isinstance(source, Literal):
            return source.text
        value = _read(source, data, rendering, self.required)
        if isinstance(value, list):
            return "".join(map(as_text, value))
        return "" if value is MISSING else as_text(value)


@dataclass(frozen=True, slots=True)
class Default:
    """A value of the author's, where nothing is. A null is something."""

    value: Any

    def make(self, _: Any, rendering: Rendering, existing: Any) -> Any:
        if existing is not MISSING:
            return MISSING
        rendering.budget.spend_on(self.value)
        return self.value


@dataclass(frozen=True, slots=True)
class Changed:
    """A text that is written anew: `timestamp`, and the five operations that Kazaam does not have."""

    change: TextChange
    required: bool

    def make(self, _: Any, rendering: Rendering, existing: Any) -> Any:
        if existing is MISSING:
            if self.required:
                raise Unfit("it is required and missing")
            return MISSING
        return change_value(self.change, existing, rendering.budget.spend)


@dataclass(frozen=True, slots=True)
class Now:
    """`timestamp` of `$now`."""

    layout: Layout

    def make(self, _: Any, rendering: Rendering, __: Any) -> Any:
        moment = parse_timestamp(rendering.occasion.now).replace(tzinfo=None)
        text = self.layout.format(Moment(moment.replace(microsecond=0), moment.microsecond * 1000))
        rendering.budget.spend(len(text))
        return text


@dataclass(frozen=True, slots=True)
class Name:
    """What a UUID is made from: the text at a path, or a default."""

    source: Place
    default: str | None


@dataclass(frozen=True, slots=True)
class NewUuid:
    """`uuid` of version 4, or of version 3 and 5 from names, one after the other."""

    version: int
    namespace: UUID | None = None
    names: tuple[Name, ...] = ()

    def make(self, data: Any, rendering: Rendering, _: Any) -> Any:
        rendering.budget.spend(UUID_CHARACTERS)
        if self.namespace is None:
            return str(rendering.new_uuid())
        made, of_name = self.namespace, uuid3 if self.version == 3 else uuid5
        for name in self.names:
            made = of_name(made, _name_of(name, data, rendering))
        return str(made)


def _read(source: Place, data: Any, rendering: Rendering, required: bool) -> Any:
    """What the source leads to, or `MISSING`; it costs what it takes as text."""
    value = source.read(data, rendering.budget.spend, whole=required)
    if value is not MISSING:
        rendering.budget.spend_on(value)
    elif required:
        raise Unfit(f"the required source {source.text} is missing")
    return value


def _name_of(name: Name, data: Any, rendering: Rendering) -> str:
    value = _read(name.source, data, rendering, required=False)
    if value is not MISSING and value is not None:
        return as_text(value)
    if name.default is None:
        raise Unfit(f"the name {name.source.text} is missing and has no default")
    return name.default


def _same(one: Any, other: Any, spend: Spend) -> bool:
    """Whether two JSON values are equal; true is not 1, which Python thinks it is."""
    spend(STEP_COST)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        spend(len(other))
        return one.keys() == other.keys() and all(_same(one[key], other[key], spend) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(*pair, spend) for pair in zip(one, other, strict=True))
    return bool(one == other)
