"""Refused deliveries: every one is counted, few are written, and neither the store nor a caller suffers from them."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from flowker.domain.audit import SYSTEM, Actor
from flowker.engine import refusals
from flowker.engine.refusals import ADDRESSES_MAX, INTERVAL_S, RETRY_S, Refusal, Refusals
from flowker.storage import audit_events
from flowker.storage.database import Connection

if TYPE_CHECKING:
    from tests.unit.engine.conftest import HandClock, MoodyStore

PATIENCE_S = 10.0

Events = list[dict[str, Any]]

KEY = Actor("api_key", "0123456789ab", "192.0.2.1")


def refused(workflow_id: str = "one", **changes: Any) -> Refusal:
    return replace(Refusal(workflow_id, "POST", "orders/paid", "token", KEY), **changes)


def from_address(number: int) -> Actor:
    return Actor("api_key", KEY.id, f"198.51.100.{number}")


@pytest.fixture
async def counting(store: "MoodyStore", clock: "HandClock") -> AsyncIterator[Refusals]:
    counting = Refusals(store, clock)
    await counting.start()
    yield counting
    await counting.stop()


async def eventually(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.001)


class Trail:
    """What the audit trail has of refused deliveries."""

    def __init__(self, store: "MoodyStore") -> None:
        self._store = store

    async def read(self) -> Events:
        events: Events = await self._store.read(_events)
        return events

    async def until(self, count: int) -> Events:
        """The events as soon as there are this many."""
        give_up_at = time.monotonic() + PATIENCE_S
        while len(events := await self.read()) < count:
            assert time.monotonic() < give_up_at, events
        assert len(events) == count
        return events


def _events(connection: Connection) -> Events:
    rows = connection.exec_driver_sql(
        "SELECT event_type, action, result, resource_type, resource_id, actor_type, actor_id, actor_ip, timestamp,"
        " context FROM audit_events ORDER BY sequence"
    )
    return [{**row, "context": json.loads(row["context"])} for row in rows.mappings()]


@pytest.fixture
def trail(store: "MoodyStore") -> Trail:
    return Trail(store)


async def test_the_first_refusal_is_written_at_once(counting: Refusals, trail: Trail) -> None:
    """With all that is known of it."""
    counting.note(refused())

    [event] = await trail.until(1)

    assert event == {
        "event_type": "WEBHOOK_REFUSED",
        "action": "EXECUTE",
        "result": "FAILED",
        "resource_type": "workflow",
        "resource_id": "one",
        "actor_type": "api_key",
        "actor_id": KEY.id,
        "actor_ip": KEY.ip_address,
        "timestamp": "2026-03-17T14:35:00.000000Z",
        "context": {
            "count": 1,
            "reasons": {"token": 1},
            "firstAt": "2026-03-17T14:35:00.000000Z",
            "lastAt": "2026-03-17T14:35:00.000000Z",
            "method": "POST",
            "path": "orders/paid",
            "lastAddress": "192.0.2.1",
            "addresses": 1,
        },
    }


async def test_what_follows_is_one_event_for_an_interval(
    counting: Refusals, trail: Trail, clock: "HandClock"
) -> None:
    """A thousand refusals are two events; none is lost, and none is counted twice."""
    counting.note(refused())
    await eventually(lambda: clock.sleeps(INTERVAL_S))
    for number in range(999):
        if number == 500:
            clock.turn(INTERVAL_S - 1)
        counting.note(refused(reason="signature" if number % 3 == 0 else "token"))

    assert len(await trail.read()) == 1
    clock.turn(1)
    _, second = await trail.until(2)

    assert second["context"]["count"] == 999
    assert second["context"]["reasons"] == {"signature": 333, "token": 666}
    assert (second["context"]["firstAt"], second["context"]["lastAt"]) == (
        "2026-03-17T14:35:00.000000Z",
        "2026-03-17T14:35:09.000000Z",
    )
    assert second["timestamp"] == "2026-03-17T14:35:10.000000Z"


async def test_a_quiet_interval_writes_nothing_and_is_forgotten(
    counting: Refusals, trail: Trail, clock: "HandClock"
) -> None:
    """The next refusal after it is a first one again."""
    counting.note(refused())
    await eventually(lambda: clock.sleeps(INTERVAL_S))
    clock.turn(INTERVAL_S)
    await eventually(lambda: not counting._tallies)

    counting.note(refused())

    assert [event["context"]["count"] for event in await trail.until(2)] == [1, 1]


async def test_workflows_are_counted_for_themselves(counting: Refusals, trail: Trail) -> None:
    """The interval of one is not the other's."""
    counting.note(refused("one"))
    await trail.until(1)

    counting.note(refused("two"))
    counting.note(refused("one"))

    assert [event["resource_id"] for event in await trail.until(2)] == ["one", "two"]


@pytest.mark.parametrize(
    ("actors", "shared"),
    [
        ([KEY, KEY], KEY),
        ([from_address(1), from_address(2), from_address(1)], Actor("api_key", KEY.id)),
        ([KEY, Actor("api_key", "ba9876543210", KEY.ip_address), KEY], SYSTEM),
        ([Actor("system", None, "192.0.2.1"), Actor("system", None, "192.0.2.2")], SYSTEM),
    ],
)
async def test_the_actor_is_what_the_refused_have_in_common(
    counting: Refusals, trail: Trail, actors: list[Actor], shared: Actor
) -> None:
    """The key with its address, the key alone, or nobody."""
    for actor in actors:
        counting.note(refused(actor=actor))

    [event] = await trail.until(1)

    assert Actor(event["actor_type"], event["actor_id"], event["actor_ip"]) == shared


async def test_addresses_are_told_apart_up_to_a_bound(counting: Refusals, trail: Trail) -> None:
    """The count of refusals goes on; a client without an address is none."""
    for number in range(ADDRESSES_MAX + 20):
        counting.note(refused(actor=from_address(number), path=f"p{number}"))
    counting.note(refused(actor=Actor("api_key", KEY.id)))

    [event] = await trail.until(1)

    assert event["context"]["count"] == ADDRESSES_MAX + 21
    assert event["context"]["addresses"] == ADDRESSES_MAX
    assert event["context"]["lastAddress"] is None


async def test_while_the_store_is_away_it_is_counted_on(
    counting: Refusals, trail: Trail, clock: "HandClock", store: "MoodyStore"
) -> None:
    """What could not be written is tried again; what came meanwhile is the next event, an interval later."""
    store.refuse(audit_events.append, times=2)
    counting.note(refused())
    for _ in range(2):
        await eventually(lambda: clock.sleeps(RETRY_S))
        counting.note(refused())
        clock.turn(RETRY_S)

    first = await trail.until(1)
    await eventually(lambda: clock.sleeps(INTERVAL_S))
    clock.turn(INTERVAL_S)
    _, second = await trail.until(2)

    assert (first[0]["context"]["count"], second["context"]["count"]) == (1, 2)
    assert first[0]["timestamp"] == "2026-03-17T14:35:10.000000Z"


async def test_refusals_do_not_hurry_a_store_that_is_away(
    counting: Refusals, clock: "HandClock", store: "MoodyStore", trail: Trail
) -> None:
    """Another workflow's first one waits for the next attempt too."""
    store.refuse(audit_events.append)
    counting.note(refused("one"))
    await eventually(lambda: clock.sleeps(RETRY_S))

    for number in range(50):
        counting.note(refused(f"workflow-{number}"))
        await asyncio.sleep(0)
    before = await trail.read()
    clock.turn(RETRY_S)

    assert before == []
    assert len(await trail.until(51)) == 51


async def test_an_answer_that_was_lost_counts_twice_rather_than_never(
    counting: Refusals, trail: Trail, clock: "HandClock", store: "MoodyStore"
) -> None:
    """COMMIT failed, and the event is there: the next attempt is another event, which the store takes."""
    store.lose_answer(audit_events.append)
    counting.note(refused())
    await eventually(lambda: clock.sleeps(RETRY_S))
    clock.turn(RETRY_S)

    assert [event["context"]["count"] for event in await trail.until(2)] == [1, 1]


async def test_a_fault_does_not_end_the_counting(
    counting: Refusals, trail: Trail, clock: "HandClock", store: "MoodyStore"
) -> None:
    """Whatever it is, it is in the log, and tried again."""
    store.refuse(audit_events.append, error=ValueError("broken"))
    with capture_logs() as logs:
        counting.note(refused())
        await eventually(lambda: clock.sleeps(RETRY_S))
    clock.turn(RETRY_S)

    assert len(await trail.until(1)) == 1
    assert [line["event"] for line in logs] == ["refused deliveries not audited yet"]


async def test_a_stop_writes_what_is_counted(store: "MoodyStore", clock: "HandClock", trail: Trail) -> None:
    """Without waiting for the interval to end."""
    counting = Refusals(store, clock)
    await counting.start()
    counting.note(refused())
    await trail.until(1)
    for _ in range(5):
        counting.note(refused())

    await counting.stop()

    assert [event["context"]["count"] for event in await trail.read()] == [1, 5]


async def test_a_stop_does_not_wait_for_a_store_that_is_away(
    store: "MoodyStore", clock: "HandClock", trail: Trail
) -> None:
    """It tries once more, and the log has the count."""
    counting = Refusals(store, clock)
    await counting.start()
    store.refuse(audit_events.append, times=3)
    counting.note(refused())
    await eventually(lambda: clock.sleeps(RETRY_S))
    counting.note(refused())
    counting.note(refused())

    with capture_logs() as logs:
        await counting.stop()

    assert [line["count"] for line in logs if line["event"] == "refused deliveries not audited"] == [1, 2]
    assert await trail.read() == []


async def test_a_stop_does_not_wait_for_a_store_that_is_stuck(
    store: "MoodyStore", clock: "HandClock", trail: Trail
) -> None:
    """Longer than it may; the log says that something was lost."""
    counting = Refusals(store, clock)
    await counting.start()
    entered, opened = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        entered.set()
        opened.wait(PATIENCE_S)

    held = asyncio.ensure_future(store.write(hold))
    await asyncio.to_thread(entered.wait, PATIENCE_S)
    counting.note(refused())

    with capture_logs() as logs:
        await counting.stop(0.05)
    opened.set()
    await held

    assert [line["event"] for line in logs] == ["refused deliveries not audited"]
    assert await trail.read() == []


async def test_what_was_never_started_can_be_stopped(store: "MoodyStore", clock: "HandClock") -> None:
    """A start that failed is stopped too."""
    await Refusals(store, clock).stop()


async def test_workflows_beyond_the_bound_are_in_the_log(
    counting: Refusals, trail: Trail, clock: "HandClock", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory is bounded; those that are counted for go on being counted."""
    monkeypatch.setattr(refusals, "WORKFLOWS_MAX", 2)
    counting.note(refused("one"))
    counting.note(refused("two"))
    await trail.until(2)

    with capture_logs() as logs:
        for workflow_id in ("three", "one", "four", "three"):
            counting.note(refused(workflow_id))
        await eventually(lambda: clock.sleeps(INTERVAL_S))
        clock.turn(INTERVAL_S)
        events = await trail.until(3)

    assert [event["resource_id"] for event in events] == ["one", "two", "one"]
    assert [(line["event"], line["count"]) for line in logs] == [("refused deliveries not counted", 3)]
