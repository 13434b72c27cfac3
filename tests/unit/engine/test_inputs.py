"""What a call is made of: worked out beside the event loop where there is much of it."""

import threading
from typing import Any

import pytest

from flowker.domain.calls import ExecutorCall, compile_call
from flowker.domain.kazaam import Occasion
from flowker.engine.inputs import is_large, map_output, prepare_input
from flowker.executors.client import CallFailed, CallSucceeded

OCCASION = Occasion("2026-03-17T14:35:00.000000Z", "one:node")

MUCH = "x" * 20_000


class Watched(dict[str, Any]):
    """An object that notes which threads read `amount` in it."""

    def __init__(self, **members: Any) -> None:
        super().__init__(members)
        self.readers: set[int] = set()

    def __getitem__(self, name: str) -> Any:
        if name == "amount":
            self.readers.add(threading.get_ident())
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - that would call this


def call_of(**data: Any) -> ExecutorCall:
    return compile_call({"executorId": "http.request", **data}, "data", {"http.request": "http"})


async def test_little_is_mapped_on_the_event_loop() -> None:
    """A thread would cost more."""
    assert await _reader_of(Watched(amount=1)) == threading.get_ident()


async def test_much_is_mapped_beside_the_event_loop() -> None:
    """However small the part of it that is mapped."""
    assert await _reader_of(Watched(amount=1, rest=MUCH)) != threading.get_ident()


async def test_what_fails_aside_fails_as_ever() -> None:
    """The node keeps the answer."""
    call = call_of(outputMapping=[{"source": "body.id", "target": "id", "required": True}])
    answer = {"status": 200, "body": {"rest": MUCH}}

    result = await map_output(call, CallSucceeded(answer))

    assert isinstance(result, CallFailed)
    assert result.output is answer
    assert "outputMapping[0]: the required source body.id is missing" in result.message


@pytest.mark.parametrize(
    "value",
    [
        MUCH,
        [MUCH[:9_000], MUCH[:9_000]],
        [0] * 5_000,
        {str(number): 0 for number in range(5_000)},
        [[[]] * 40] * 60,
    ],
)
def test_much_text_or_many_values_are_large(value: Any) -> None:
    """At whatever depth."""
    assert is_large(value)


@pytest.mark.parametrize("value", [1, {"a": [1, None, "text"]}, MUCH[:16_000], [0] * 2_000])
def test_what_an_ordinary_call_has_is_not_large(value: Any) -> None:
    """It is worked out in place."""
    assert not is_large(value)


async def _reader_of(input_: Watched) -> int:
    """The thread that maps."""
    call = call_of(inputMapping=[{"source": "workflow.amount", "target": "value"}])
    assert await prepare_input(call, {"workflow": input_}, OCCASION) == {"value": 1}
    (reader,) = input_.readers
    return reader
