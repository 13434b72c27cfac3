"""Far sides that never stop talking: each call ends by a bound of its own, and so does its connection."""

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from flowker.executors.client import Call, Caller, CallFailed
from tests.unit.executors.test_client import raw_far_side

CallTo = Callable[..., Call]

BROKEN = "the response is broken or incomplete"
LATE = "there was no complete response within 1 s"
LARGE = "the response is larger than 1048576 bytes"

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def headers(number: int) -> bytes:
    return b"".join(b"X-%d-%d: %s\r\n" % (number, one, b"y" * 100) for one in range(100))


@pytest.mark.parametrize(
    ("beginning", "more", "messages"),
    [
        (OK, headers, {BROKEN}),
        (OK, lambda _: b"X-Folded: a\r\n  b" + b"c" * 10_000, {BROKEN}),
        (OK + b"X: ", lambda _: b"y" * 10_000, {BROKEN}),
        (b"HTTP/1.1 200 ", lambda _: b"y" * 10_000, {BROKEN}),
        (b"", lambda _: b"HTTP/1.1 100 Continue\r\n\r\n" * 10, {LATE}),
        (CHUNKED + b"1;", lambda _: b"a" * 10_000, {LATE, BROKEN}),
        (CHUNKED, lambda _: b"1\r\nx\r\n" * 10_000, {LARGE, LATE}),
        (CHUNKED + b"1\r\nx\r\n0\r\n", headers, {BROKEN}),
        (OK + b"Content-Length: 99999999999999\r\n\r\n", lambda _: b"x" * 100_000, {LARGE}),
        (OK + b"\r\n", lambda _: b"x" * 100_000, {LARGE}),
        (b"HTTP/1.1 500 No\r\nContent-Length: 9999\r\n\r\n", lambda _: b"x", {LATE}),
    ],
    ids=[
        *("headers", "folded", "header", "reason", "continues", "chunk-extension", "small-chunks", "trailers"),
        *("long", "until-closed", "error"),
    ],
)
async def test_an_answer_without_end_is_left(
    caller: Caller, call_to: CallTo, beginning: bytes, more: Callable[[int], bytes], messages: set[str]
) -> None:
    """In any part of it."""
    left = asyncio.Event()

    async def goes_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(beginning)
        try:
            for number in count():
                writer.write(more(number))
                await writer.drain()
                await asyncio.sleep(0.001)
        finally:
            left.set()

    async with raw_far_side(goes_on) as (port, _):
        result = await caller.call(call_to(f"http://127.0.0.1:{port}", timeout_s=1))
        await asyncio.wait_for(left.wait(), 5)

    assert isinstance(result, CallFailed)
    assert result.message in messages
