"""Transforms: a list of operations as Kazaam v4 writes them, `{operation, spec, over?, require?, inplace?}`.

The list is compiled when its workflow is saved; whatever in it is malformed is refused then, by its place. What
compiles fails for one reason only when it runs: for what the data do not have, or have too much of.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowker.domain.changes import InvalidMapping, refuse_others
from flowker.domain.checks import STRICT, Checks
from flowker.domain.kazaam import Occasion, Operation, Over, Rendering
from flowker.domain.mappings import ENTRIES_MAX, MappingFailed
from flowker.domain.paths import ALL
from flowker.domain.places import Place, Unfit, misfit_of_target
from flowker.domain.specs import OPERATIONS, Options, Spec
from flowker.domain.templates import RenderedTooLarge

OPERATIONS_MAX = 50

SEPARATOR_CHARACTERS_MAX = 5

_UNSAID: Sequence[Any] = (None, "")

_MEMBERS = ("operation", "spec", "over", "require", "required", "inplace", "keySeparator")


@dataclass(frozen=True, slots=True)
class Transforms:
    """The operations in their order, each with its name."""

    operations: tuple[tuple[str, Operation], ...]

    def apply(self, value: Any, occasion: Occasion) -> Any:
        """What the operations make of a value, which stays as it is; or `MappingFailed`."""
        rendering = Rendering(occasion)
        for index, (name, operation) in enumerate(self.operations):
            try:
                value = operation.run(value, rendering.at(str(index)))
            except (Unfit, RenderedTooLarge) as error:
                raise MappingFailed(f"transforms[{index}] ({name}): {error}") from None
        return value


def compile_transforms(operations: Any, checks: Checks = STRICT) -> Transforms:
    """Compile a list of operations, or raise `InvalidMapping`."""
    if not isinstance(operations, list) or len(operations) > OPERATIONS_MAX:
        raise InvalidMapping("", f"must be a list of at most {OPERATIONS_MAX} operations")
    compiled = (checks(_compile, operation, f"[{index}]") for index, operation in enumerate(operations))
    return Transforms(tuple(compiled))


def _compile(entry: Any, place: str) -> tuple[str, Operation]:
    if not isinstance(entry, dict):
        raise InvalidMapping(place, "must be an object with operation and spec")
    refuse_others(entry, _MEMBERS, place)
    name = entry.get("operation")
    if not isinstance(name, str) or name not in OPERATIONS:
        raise InvalidMapping(f"{place}.operation", f"must be one of {', '.join(OPERATIONS)}")
    options = _options(entry, place)
    operation = OPERATIONS[name](_spec(entry, name, place), options, f"{place}.spec")
    if entry.get("over") is None:
        return name, operation
    over = _over(entry["over"], options, f"{place}.over")
    return name, Over(over, operation, options.required)


def _options(entry: Spec, place: str) -> Options:
    if "require" in entry and "required" in entry:
        raise InvalidMapping(f"{place}.required", "cannot be given together with require")
    for member in ("require", "required", "inplace"):
        if not isinstance(entry.get(member, False), bool):
            raise InvalidMapping(f"{place}.{member}", "must be true or false")
    separator = entry.get("keySeparator")
    # Kazaam takes an empty one for none; editors write it.
    separator = "." if separator in _UNSAID else separator
    if not isinstance(separator, str) or not re.fullmatch(
        rf"[^\[\]\\$\s]{{1,{SEPARATOR_CHARACTERS_MAX}}}", separator
    ):
        reason = f"must be 1 to {SEPARATOR_CHARACTERS_MAX} characters without brackets, backslashes, $ and spaces"
        raise InvalidMapping(f"{place}.keySeparator", reason)
    required = entry.get("require", entry.get("required", False))
    return Options(required, entry.get("inplace", False), separator)


def _spec(entry: Spec, name: str, place: str) -> Spec:
    spec = entry.get("spec")
    if spec is None and name == "pass":
        return {}
    if not isinstance(spec, dict) or len(spec) > ENTRIES_MAX:
        raise InvalidMapping(f"{place}.spec", f"must be an object with at most {ENTRIES_MAX} members")
    if not spec and name != "pass":
        raise InvalidMapping(f"{place}.spec", "must have at least one member")
    return spec


def _over(text: Any, options: Options, place: str) -> Place:
    source = options.source(text, place)
    misfit = misfit_of_target(source.steps) if source.steps else None
    if misfit is not None or ALL in source.steps:
        raise InvalidMapping(place, misfit or "has [*]: over leads through the items itself")
    return source
