"""The mappings and transforms of a node: compiled from its data, or refused by their place in the definition.

`Preparation` is what executor nodes and the action `transform` have in common: the value that they begin with.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flowker.domain.checks import STRICT, Checks
from flowker.domain.errors import FlowkerError, InvalidInputMapping, InvalidOutputMapping, InvalidTransforms
from flowker.domain.kazaam import Occasion
from flowker.domain.mappings import (
    InvalidMapping,
    ValueMapping,
    compile_input_mapping,
    compile_output_mapping,
)
from flowker.domain.transforms import Transforms, compile_transforms

MEMBERS: Mapping[str, type[InvalidInputMapping | InvalidOutputMapping | InvalidTransforms]] = {
    "inputMapping": InvalidInputMapping,
    "outputMapping": InvalidOutputMapping,
    "transforms": InvalidTransforms,
}
"""Members of a node's data, each with how it is refused."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a node makes of the context before it does anything: the mapped values, transformed."""

    input_mapping: ValueMapping | None = None
    transforms: Transforms | None = None

    def apply(self, context: Mapping[str, Any], occasion: Occasion) -> Any:
        """Without a mapping it begins with the workflow's input, without its delivery. Raises `MappingFailed`."""
        if self.input_mapping is None:
            value: Any = _without_delivery(context["workflow"])
        else:
            value = self.input_mapping.apply(context)
        return value if self.transforms is None else self.transforms.apply(value, occasion)


NO_PREPARATION = Preparation()


def compile_preparation(data: Mapping[str, Any], where: str, checks: Checks = STRICT) -> Preparation:
    """The `inputMapping` and the `transforms` of a node's data; raises by their place in the definition."""
    mapping = _compile(data, where, "inputMapping", compile_input_mapping, checks)
    return Preparation(mapping, _compile(data, where, "transforms", compile_transforms, checks))


def compile_output(data: Mapping[str, Any], where: str, checks: Checks = STRICT) -> ValueMapping | None:
    return _compile(data, where, "outputMapping", compile_output_mapping, checks)


def refuse_members(data: Mapping[str, Any], where: str, members: Iterable[str], reason: str) -> None:
    """What a node does not look at is refused, since ignoring it would make something else than was meant."""
    for member in members:
        if not is_unsaid(data.get(member)):
            raise MEMBERS[member](fields={f"{where}.{member}": reason})


def is_unsaid(value: Any) -> bool:
    """Whether a member with mappings or transforms has none; editors write empty ones."""
    return value in _NOTHING


_NOTHING: Sequence[Any] = (None, [], {})

_Compiled = TypeVar("_Compiled")


def _compile(
    data: Mapping[str, Any],
    where: str,
    member: str,
    compile_it: Callable[[Any, Checks], _Compiled],
    checks: Checks,
) -> _Compiled | None:
    if is_unsaid(data.get(member)):
        return None

    def refusal(error: InvalidMapping) -> FlowkerError:
        return MEMBERS[member](fields={f"{where}.{member}{error.place}": str(error)})

    entries = checks.translating(InvalidMapping, refusal)
    return entries(compile_it, data[member], entries)


def _without_delivery(input_: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in input_.items() if name != "_webhook"}
