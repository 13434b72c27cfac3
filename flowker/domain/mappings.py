"""Mappings: which values of a context go where, in the input of a call or in the output of a node.

A mapping is a list of entries `{source, target, required?, transformation?}`. It is compiled when its workflow is
saved; what compiles fails for one reason only when it runs: for what the data do not have, or have too much of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flowker.domain.changes import (
    NOW,
    TEXT_CHANGES,
    InvalidMapping,
    TextChange,
    change_value,
    compile_reformat,
    compile_text_change,
    refuse_others,
)
from flowker.domain.checks import STRICT, Checks
from flowker.domain.paths import ALL, MISSING, InvalidPath, Path, parse_path
from flowker.domain.places import (
    POSITION_MAX,
    TARGET_DEPTH_MAX,
    Draft,
    Place,
    Unfit,
    find_overlap,
    misfit_of_target,
    parse_target,
)
from flowker.domain.templates import Budget, RenderedTooLarge

__all__ = [
    "ENTRIES_MAX",
    "PATH_CHARACTERS_MAX",
    "POSITION_MAX",
    "RESPONSE_MEMBERS",
    "TARGET_DEPTH_MAX",
    "Entry",
    "InvalidMapping",
    "MappingFailed",
    "ValueMapping",
    "compile_input_mapping",
    "compile_output_mapping",
    "compile_path_at",
]

ENTRIES_MAX = 200
"""More than the largest message of a payment has fields that anybody maps one by one."""

PATH_CHARACTERS_MAX = 500
"""As long as the condition of an edge; a failed entry repeats its path in the step's error."""

RESPONSE_MEMBERS = ("status", "status_text", "url", "headers", "body")
"""Of an answer to a call: what the sources of an output mapping begin with."""

_Parsed = TypeVar("_Parsed", Path, Place)

_MEMBERS = ("source", "target", "required", "transformation")


class MappingFailed(Exception):
    """The data do not have what a mapping or a transform needs; the message names entry, path and reason."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The value at `source`, changed if it is to be, becomes the one at `target`."""

    source: Path
    target: Place
    required: bool
    change: TextChange | None = None
    default: Any = MISSING
    """What stands for a source that is not there."""

    def read(self, context: Mapping[str, Any], budget: Budget) -> Any:
        """The value for the target, or `MISSING`. Raises `Unfit`, or `RenderedTooLarge`."""
        value = budget.read(self.source, context)
        if value is MISSING:
            if self.required:
                raise Unfit(f"the required source {self.source.text} is missing")
            if self.default is not MISSING:
                budget.spend_on(self.default)
            return self.default
        return value if self.change is None else self._changed(self.change, value, budget)

    def _changed(self, change: TextChange, value: Any, budget: Budget) -> Any:
        try:
            return change_value(change, value, budget.spend)
        except Unfit as error:
            raise Unfit(f"{self.source.text} does not fit its transformation: {error}") from None


@dataclass(frozen=True, slots=True)
class ValueMapping:
    """The entries in the order of the definition; no target lies within another. `member` has them in the node."""

    member: str
    entries: tuple[Entry, ...]

    def apply(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The mapped object, or `MappingFailed`. A source that is not there leaves its target out."""
        budget = Budget()
        draft = Draft({}, budget.spend)
        for index, entry in enumerate(self.entries):
            try:
                draft.put(entry.target.steps, entry.read(context, budget))
            except RenderedTooLarge as error:
                reason = f"{entry.source.text} is too much: {error}"
                raise MappingFailed(f"{self.member}[{index}]: {reason}") from None
            except Unfit as error:
                raise MappingFailed(f"{self.member}[{index}]: {error}") from None
        mapped: dict[str, Any] = draft.value
        return mapped


def compile_input_mapping(entries: Any, checks: Checks = STRICT) -> ValueMapping:
    """Compile an `inputMapping`, or raise `InvalidMapping`."""
    return _compile("inputMapping", entries, checks)


def compile_output_mapping(entries: Any, checks: Checks = STRICT) -> ValueMapping:
    """Compile an `outputMapping`, whose sources lie in the answer to the call, or raise `InvalidMapping`."""
    mapping = _compile("outputMapping", entries, checks)
    for index, entry in enumerate(mapping.entries):
        checks(_check_source_of_answer, entry, f"[{index}].source")
    return mapping


def _check_source_of_answer(entry: Entry | None, place: str) -> None:
    if entry is not None and entry.source.segments and entry.source.root not in RESPONSE_MEMBERS:
        raise InvalidMapping(place, f"must begin with one of {', '.join(RESPONSE_MEMBERS)}, or be $")


def compile_path_at(text: Any, place: str, parse: Callable[[str], _Parsed]) -> _Parsed:
    """Parse a path of an author's, or raise `InvalidMapping`."""
    if not isinstance(text, str) or len(text) > PATH_CHARACTERS_MAX:
        raise InvalidMapping(place, f"must be a path of at most {PATH_CHARACTERS_MAX} characters")
    try:
        return parse(text)
    except InvalidPath as error:
        raise InvalidMapping(place, f"is not a path: {error}") from None


def _compile(member: str, entries: Any, checks: Checks) -> ValueMapping:
    if not isinstance(entries, list) or len(entries) > ENTRIES_MAX:
        raise InvalidMapping("", f"must be a list of at most {ENTRIES_MAX} entries")
    compiled = tuple(checks(_compile_entry, entry, f"[{index}]") for index, entry in enumerate(entries))
    # Of a sketch, which lacks entries, the targets are not known.
    if all(compiled):
        checks(_refuse_overlap, compiled)
    return ValueMapping(member, compiled)


def _refuse_overlap(entries: Sequence[Entry]) -> None:
    overlap = find_overlap(entry.target.steps for entry in entries)
    if overlap is not None:
        raise InvalidMapping(f"[{overlap[0]}].target", f"overlaps the target of entry [{overlap[1]}]")


def _compile_entry(entry: Any, place: str) -> Entry:
    if not isinstance(entry, dict):
        raise InvalidMapping(place, "must be an object with source and target")
    refuse_others(entry, _MEMBERS, place)
    required = entry.get("required", False)
    if not isinstance(required, bool):
        raise InvalidMapping(f"{place}.required", "must be true or false")
    source = compile_path_at(entry.get("source"), f"{place}.source", parse_path)
    target = _compile_target(entry.get("target"), f"{place}.target")
    change, default = _compile_transformation(entry.get("transformation"), f"{place}.transformation")
    if required and default is not MISSING:
        raise InvalidMapping(f"{place}.transformation", "has a default, which a required source never needs")
    return Entry(source, target, required, change, default)


def _compile_target(text: Any, place: str) -> Place:
    target = compile_path_at(text, place, parse_target)
    misfit = misfit_of_target(target.steps) or (
        "has [*], which only a source can have" if ALL in target.steps else None
    )
    if misfit is not None:
        raise InvalidMapping(place, misfit)
    return target


TRANSFORMATIONS = (*TEXT_CHANGES, "timestamp", "default", "pass")
"""What an entry can do with its value."""


def _compile_transformation(transformation: Any, place: str) -> tuple[TextChange | None, Any]:
    """What the entry does with its value, and what stands for one that is not there."""
    if transformation in ({}, None):
        return None, MISSING
    if not isinstance(transformation, dict):
        raise InvalidMapping(place, "must be an object with type and config")
    refuse_others(transformation, ("type", "config"), place)
    kind, config = transformation.get("type"), transformation.get("config")
    config = {} if config is None else config
    if not isinstance(kind, str) or kind not in TRANSFORMATIONS:
        raise InvalidMapping(f"{place}.type", f"must be one of {', '.join(TRANSFORMATIONS)}")
    if not isinstance(config, dict):
        raise InvalidMapping(f"{place}.config", "must be an object")
    return _compile_kind(kind, config, f"{place}.config")


def _compile_kind(kind: str, config: Mapping[str, Any], place: str) -> tuple[TextChange | None, Any]:
    if kind in TEXT_CHANGES:
        return compile_text_change(kind, config, place), MISSING
    if kind == "timestamp":
        if config.get("inputFormat") == NOW:
            raise InvalidMapping(f"{place}.inputFormat", f"cannot be {NOW}, which is no form of the source")
        return compile_reformat(config, place), MISSING
    refuse_others(config, ("value",) if kind == "default" else (), place)
    if kind == "pass":
        return None, MISSING
    if "value" not in config:
        raise InvalidMapping(f"{place}.value", "is required")
    return None, config["value"]
