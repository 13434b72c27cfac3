"""Room for large bodies: in order, bounded, and given back whatever becomes of a request."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowker.domain.errors import InputTooLarge, InternalError
from flowker.http.bodies import BODY_BYTES_MAX, SMALL_BYTES_MAX, Bodies, Hold, Room, read_bytes

LARGE = SMALL_BYTES_MAX + 1


async def settled() -> None:
    """Everybody who can go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_room_is_given_in_the_order_in_which_it_is_asked_for() -> None:
    """A small wish behind a large one waits too: else the large one might wait for ever."""
    room, got = Room(10, wait_s=10), []

    async def ask(size: int) -> None:
        await room.take(size)
        got.append(size)

    await room.take(8)
    waiting = [asyncio.create_task(ask(size)) for size in (9, 1)]
    await settled()
    before = list(got)
    room.free(8)
    await asyncio.gather(*waiting)

    assert (before, got) == ([], [9, 1])


async def test_who_gets_no_room_is_refused_and_told_to_come_again() -> None:
    """And keeps nobody behind it waiting."""
    room = Room(10, wait_s=0.05)
    await room.take(8)

    with pytest.raises(InternalError) as refused:
        await room.take(5)

    assert refused.value.headers == {"Retry-After": "1"}
    await room.take(2)


async def test_who_goes_away_while_it_waits_takes_no_room_along() -> None:
    """Before its turn and in the moment of it."""
    room = Room(10, wait_s=10)
    await room.take(10)
    early, late = (asyncio.create_task(room.take(10)) for _ in range(2))
    await settled()

    early.cancel()
    await settled()
    room.free(10)
    late.cancel()
    await asyncio.gather(early, late, return_exceptions=True)

    await asyncio.wait_for(room.take(10), 1)


async def test_a_small_body_waits_for_nobody() -> None:
    bodies = Bodies(text_bytes_max=0, value_bytes_max=0, wait_s=0.01)
    hold = Hold(bodies)

    await hold.for_text(SMALL_BYTES_MAX)
    await hold.for_value(SMALL_BYTES_MAX)
    hold.release()

    with pytest.raises(InternalError):
        await hold.for_text(LARGE)


async def test_what_is_held_is_given_back_once() -> None:
    """However often it is asked for and released."""
    bodies = Bodies(text_bytes_max=LARGE, value_bytes_max=LARGE, wait_s=0.01)
    hold = Hold(bodies)
    for _ in range(2):
        await hold.for_text(LARGE)
        await hold.for_value(LARGE)
    hold.release()
    hold.release()

    await Hold(bodies).for_text(LARGE)

    with pytest.raises(InternalError):
        await Hold(bodies).for_text(LARGE)


async def test_the_rest_of_a_large_body_is_not_asked_for_before_there_is_room(connect: Callable[..., Any]) -> None:
    """It waits where it is, and its sender with it."""
    bodies = Bodies(text_bytes_max=2 * LARGE, wait_s=10)
    first, second = Hold(bodies), Hold(bodies)
    await first.for_text(LARGE)
    connection = connect([b"x" * 10, b"x" * SMALL_BYTES_MAX, b"x" * (LARGE - 10)])

    reading = asyncio.create_task(
        read_bytes(connection.receive, {b"content-length": b"%d" % (2 * LARGE)}, InputTooLarge, second)
    )
    await settled()
    asked = connection.received
    first.release()

    assert asked == 2
    assert len(await reading) == 2 * LARGE - 1


async def test_who_only_announces_a_large_body_takes_no_room(connect: Callable[..., Any]) -> None:
    """However many there are of them: they hold nothing, so they keep nobody waiting."""
    bodies = Bodies(text_bytes_max=BODY_BYTES_MAX, wait_s=0.01)
    announced = {b"content-length": b"%d" % BODY_BYTES_MAX}
    asked = asyncio.Event()

    async def send_nothing_more() -> Any:
        if asked.is_set():
            await asyncio.Event().wait()
        asked.set()
        return {"type": "http.request", "body": b"x" * SMALL_BYTES_MAX, "more_body": True}

    idle = asyncio.create_task(read_bytes(send_nothing_more, announced, InputTooLarge, Hold(bodies)))
    await asked.wait()
    await settled()
    read = await read_bytes(connect([b"x" * BODY_BYTES_MAX]).receive, announced, InputTooLarge, Hold(bodies))

    idle.cancel()
    await asyncio.gather(idle, return_exceptions=True)
    assert len(read) == BODY_BYTES_MAX


async def test_a_body_of_unknown_length_needs_room_for_the_largest_once_it_is_large(
    connect: Callable[..., Any],
) -> None:
    """Until then it is a small one."""
    hold = Hold(Bodies(text_bytes_max=BODY_BYTES_MAX - 1, wait_s=0.01))
    small, large = connect([b"x" * 10, b"y"]), connect([b"x" * LARGE, b"y"])

    read = await read_bytes(small.receive, {}, InputTooLarge, hold)

    assert read == b"x" * 10 + b"y"
    with pytest.raises(InternalError):
        await read_bytes(large.receive, {}, InputTooLarge, hold)
