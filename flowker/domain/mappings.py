"""Mappings: which values of an execution's context become the input of a call, and under which names.

A mapping is a list of entries `{source, target, required?}`. It is compiled when its workflow is saved; what compiles
fails for one reason only when it runs: for what the data do not have, or have too much of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from flowker.domain.paths import ALL, MISSING, InvalidPath, Path, parse_path
from flowker.domain.templates import Budget, RenderedTooLarge

ENTRIES_MAX = 200
"""More than the largest message of a payment has fields that anybody maps one by one."""

PATH_CHARACTERS_MAX = 500
"""As long as the condition of an edge; a failed entry repeats its path in the step's error."""

TARGET_DEPTH_MAX = 16
"""Together with the deepest value that can be read it stays far from the recursion limit of what encodes it."""

POSITION_MAX = 99
"""Of an item in a list. The items before it are filled with null: a typing error must not fill the memory."""

NAME_CHARACTERS_MAX = 50
"""Of an unexpected member, in a refusal: enough to recognise it."""

_Target: TypeAlias = tuple[str | int, ...]
"""Names of members, and positions in lists."""

_MEMBERS = ("source", "target", "required")


class InvalidMapping(ValueError):
    """What is wrong with a mapping: `place` says where (`[2].target`, nothing for the whole), the message why."""

    def __init__(self, place: str, reason: str) -> None:
        self.place = place
        super().__init__(reason)


class MappingFailed(Exception):
    """The data do not have what an entry needs; the message names the entry, the path and the reason."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The value at `source` becomes the one at `target`."""

    source: Path
    target: _Target
    required: bool


@dataclass(frozen=True, slots=True)
class InputMapping:
    """The entries in the order of the definition; no target lies within another."""

    entries: tuple[Entry, ...]

    def apply(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The mapped input, or `MappingFailed`. A source that is not there leaves its target out."""
        mapped: dict[str, Any] = {}
        budget = Budget()
        for index, entry in enumerate(self.entries):
            try:
                value = budget.read(entry.source, context)
            except RenderedTooLarge as error:
                raise MappingFailed(f"inputMapping[{index}]: {entry.source.text} is too much: {error}") from None
            if value is not MISSING:
                _put(mapped, entry.target, value)
            elif entry.required:
                raise MappingFailed(f"inputMapping[{index}]: the required source {entry.source.text} is missing")
        return mapped


def compile_input_mapping(entries: Any) -> InputMapping:
    """Compile the `inputMapping` of a node, or raise `InvalidMapping`."""
    if not isinstance(entries, list) or len(entries) > ENTRIES_MAX:
        raise InvalidMapping("", f"must be a list of at most {ENTRIES_MAX} entries")
    compiled = tuple(_compile_entry(entry, f"[{index}]") for index, entry in enumerate(entries))
    _refuse_overlaps([entry.target for entry in compiled])
    return InputMapping(compiled)


def _compile_entry(entry: Any, place: str) -> Entry:
    if not isinstance(entry, dict):
        raise InvalidMapping(place, "must be an object with source and target")
    if entry.get("transformation") not in (None, {}):
        raise InvalidMapping(f"{place}.transformation", "is not supported by this version")
    for member in entry:
        if member not in _MEMBERS and member != "transformation":
            raise InvalidMapping(f"{place}.{member[:NAME_CHARACTERS_MAX]}", "is not expected")
    required = entry.get("required", False)
    if not isinstance(required, bool):
        raise InvalidMapping(f"{place}.required", "must be true or false")
    source = _compile_path(entry.get("source"), f"{place}.source")
    return Entry(source, _compile_target(entry.get("target"), f"{place}.target"), required)


def _compile_path(text: Any, place: str) -> Path:
    if not isinstance(text, str) or len(text) > PATH_CHARACTERS_MAX:
        raise InvalidMapping(place, f"must be a path of at most {PATH_CHARACTERS_MAX} characters")
    try:
        return parse_path(text)
    except InvalidPath as error:
        raise InvalidMapping(place, f"is not a path: {error}") from None


def _compile_target(text: Any, place: str) -> _Target:
    segments = _compile_path(text, place).segments
    if not segments or not isinstance(segments[0], str):
        raise InvalidMapping(place, "must begin with the name of a member of the input")
    if len(segments) > TARGET_DEPTH_MAX:
        raise InvalidMapping(place, f"leads down more than {TARGET_DEPTH_MAX} levels")
    if ALL in segments:
        raise InvalidMapping(place, "has [*], which only a source can have")
    target = tuple(segment for segment in segments if segment is not ALL)
    if any(isinstance(segment, int) and segment > POSITION_MAX for segment in target):
        raise InvalidMapping(place, f"has a position over {POSITION_MAX}")
    return target


def _refuse_overlaps(targets: Sequence[_Target]) -> None:
    """Refuse a target that is another one, lies within it, or makes a list of what another makes an object."""
    owners: dict[_Target, int] = {}
    branches: dict[_Target, tuple[type, int]] = {}
    for index, target in enumerate(targets):
        if target in branches:
            raise _overlap(index, branches[target][1])
        for depth in range(1, len(target) + 1):
            if target[:depth] in owners:
                raise _overlap(index, owners[target[:depth]])
        for depth in range(1, len(target)):
            kind = type(target[depth])
            known, first = branches.setdefault(target[:depth], (kind, index))
            if known is not kind:
                raise _overlap(index, first)
        owners[target] = index


def _overlap(index: int, first: int) -> InvalidMapping:
    return InvalidMapping(f"[{index}].target", f"overlaps the target of entry [{first}]")


def _put(mapped: dict[str, Any], target: _Target, value: Any) -> None:
    container: Any = mapped
    for segment, below in pairwise(target):
        container = _enter(container, segment, [] if isinstance(below, int) else {})
    _enter(container, target[-1], value)


def _enter(container: Any, segment: str | int, value: Any) -> Any:
    """What stands at the segment; the value, if nothing does yet. No two targets overlap, so a null is a gap."""
    if isinstance(segment, str):
        return container.setdefault(segment, value)
    container.extend([None] * (segment + 1 - len(container)))
    if container[segment] is None:
        container[segment] = value
    return container[segment]
