"""An answer is one write, whatever it consists of."""

import asyncio
from typing import Any

import pytest

from flowker.http.answers import AnswerTransport


class Wire(asyncio.Transport):
    """Notes what is written, and whether it was closed after that."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed_after: int | None = None

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed_after = len(self.writes)

    def is_closing(self) -> bool:
        return self.closed_after is not None


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_head_and_body_go_out_together(wire: Wire) -> None:
    """What follows them is written as it comes."""
    transport = AnswerTransport(wire)

    for part in (b"head ", b"body ", b"more ", b"end"):
        transport.write(part)

    assert wire.writes == [b"head body ", b"more ", b"end"]


def test_what_comes_before_an_answer_waits_for_nothing(wire: Wire) -> None:
    """The client sends its body only when it was told to."""
    transport = AnswerTransport(wire)

    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    assert wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]


def test_a_head_without_a_body_goes_out_at_the_end(wire: Wire) -> None:
    """Of HEAD, once; and with an empty body, as of 204."""
    transport = AnswerTransport(wire)
    transport.write(b"head")

    before = list(wire.writes)
    transport.flush()
    transport.flush()

    assert (before, wire.writes) == ([], [b"head"])


def test_a_head_is_written_before_the_connection_closes(wire: Wire) -> None:
    """uvicorn closes it when the application broke off."""
    transport = AnswerTransport(wire)
    transport.write(b"head")

    transport.close()

    assert wire.writes == [b"head"]
    assert wire.closed_after == 1
    assert transport.is_closing()
