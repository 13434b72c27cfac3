"""The machine's clock, behind the seam where tests put their own."""

import asyncio
from datetime import UTC, datetime

from flowker.engine.clock import SystemClock


def test_now_is_the_time_of_day_in_utc() -> None:
    """Aware, so that it cannot be taken for a local time."""
    before = datetime.now(UTC)
    now = SystemClock().now()
    after = datetime.now(UTC)

    assert before <= now <= after
    assert now.tzinfo is UTC


async def test_a_sleep_lasts_as_long_as_it_was_asked_to() -> None:
    """On the loop's own clock, which no change of the time of day moves."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    await SystemClock().sleep(0.02)

    assert loop.time() - began >= 0.019


async def test_an_alarm_is_heard_at_its_time() -> None:
    """Unless it is cancelled before."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    heard: asyncio.Future[float] = loop.create_future()

    cancelled = SystemClock().call_later(0.01, lambda: heard.set_exception(AssertionError))
    SystemClock().call_later(0.02, lambda: heard.set_result(loop.time()))
    cancelled.cancel()

    assert await heard - began >= 0.019
