"""What a call is made of, and what its answer becomes.

Mappings, transforms and schemas work through all that they are given. Where that is much they do it in a thread: the
event loop has other executions and requests to serve.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from flowker.domain.calls import ExecutorCall
from flowker.domain.kazaam import Occasion
from flowker.domain.mappings import MappingFailed
from flowker.executors.client import CallFailed, CallResult, CallSucceeded
from flowker.executors.registry import EXECUTORS
from flowker.jsonschema import fields

FAULT_CHARACTERS_MAX = 1_000
"""Enough to name what is wrong with an input, at whatever depth."""

LARGE_CHARACTERS = 16 * 1024
"""Up to here a mapping takes a few milliseconds, whatever it does."""

VALUE_CHARACTERS = 4
"""What a value counts beside its text: small ones take as long as some text."""

P = ParamSpec("P")
T = TypeVar("T")


async def prepare_input(call: ExecutorCall, context: Mapping[str, Any], occasion: Occasion) -> dict[str, Any]:
    """What mapping and transforms make of the context; what the node says itself goes before it.

    Raises `MappingFailed`, also for an input that does not fit the executor where the node wants it to.
    """
    return await _aside(context, _input_of, call, context, occasion)


async def map_output(call: ExecutorCall, result: CallResult) -> CallResult:
    """The node's output. When the answer does not have what is mapped, the node fails with the answer kept.

    The call was made: it is not made again for that.
    """
    if call.output_mapping is None or not isinstance(result, CallSucceeded):
        return result
    try:
        return CallSucceeded(await _aside(result.output, call.output_mapping.apply, result.output))
    except MappingFailed as error:
        return CallFailed(
            f"the call succeeded, but not what is made of its answer: {error}", False, output=result.output
        )


def is_large(value: Any) -> bool:
    """Whether there is so much in a value that working through it takes long. Looks at no more than that."""
    left, pending = LARGE_CHARACTERS, [value]
    while pending and left > 0:
        one = pending.pop()
        left -= VALUE_CHARACTERS
        if isinstance(one, str):
            left -= len(one)
        elif isinstance(one, dict | list):
            left -= VALUE_CHARACTERS * len(one)
            if left > 0:
                pending.extend(one.values() if isinstance(one, dict) else one)
    return left <= 0


async def _aside(value: Any, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    if is_large(value):
        return await asyncio.to_thread(function, *args, **kwargs)
    return function(*args, **kwargs)


def _input_of(call: ExecutorCall, context: Mapping[str, Any], occasion: Occasion) -> dict[str, Any]:
    given = call.preparation.apply(context, occasion)
    if not isinstance(given, Mapping):
        raise MappingFailed("transforms: what they make is no object, which the input of a call has to be")
    input_ = {**given, **call.static_input}
    misfit = _misfit(call, input_) if call.validate_input else None
    if misfit is not None:
        raise MappingFailed(f"the input does not fit the executor: {misfit}")
    return input_


def _misfit(call: ExecutorCall, input_: Mapping[str, Any]) -> str | None:
    """The first thing that is wrong with an input: to find all of them in a megabyte would take long for nothing."""
    violations = EXECUTORS[call.executor_id].input.violations(input_, thorough=False)
    told = [f"{field} {reason}" for field, reason in fields(violations, "input").items()]
    return told[0][:FAULT_CHARACTERS_MAX] if told else None
