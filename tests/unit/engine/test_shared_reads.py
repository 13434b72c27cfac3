"""One read for all who ask at the same time, as fresh for each of them as one of his own."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from flowker.domain.errors import InternalError
from flowker.engine.shared_reads import SharedReads
from flowker.storage.database import Connection

if TYPE_CHECKING:
    from tests.unit.engine.conftest import MoodyStore

TURN_REAL_S = 10.0


class Shelf:
    """What is stored, and a query of it. A read tells when it begins, and ends when it may."""

    def __init__(self) -> None:
        self.stored = "old"
        self.reads: list[str] = []
        self.begun = asyncio.Event()
        self.may_end = threading.Event()
        self.may_end.set()
        self._loop = asyncio.get_running_loop()

    def find(self, _: Connection, id_: str) -> str:
        found = f"{id_} {self.stored}"
        self.reads.append(found)
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self.may_end.wait(TURN_REAL_S)
        if self.stored == "broken":
            raise LookupError(id_)
        return found


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    made = Shelf()
    yield made
    made.may_end.set()


@pytest.fixture
def reads(store: "MoodyStore") -> SharedReads:
    return SharedReads(store)


async def under_way(reads: SharedReads, shelf: Shelf, id_: str = "a") -> asyncio.Task[str]:
    """Somebody whose read has begun, and does not end yet."""
    shelf.may_end.clear()
    shelf.begun.clear()
    asker = asyncio.create_task(reads.read(shelf.find, id_))
    await shelf.begun.wait()
    return asker


async def asked(*askers: "asyncio.Task[str]") -> None:
    """Let these tasks come as far as to ask."""
    await asyncio.sleep(0)
    assert not any(asker.done() for asker in askers)


async def test_who_asks_at_the_same_time_shares_a_read(reads: SharedReads, shelf: Shelf) -> None:
    """Each hears the same, and the store was asked once."""
    answers = await asyncio.gather(*(reads.read(shelf.find, "a") for _ in range(5)))

    assert answers == ["a old"] * 5
    assert shelf.reads == ["a old"]


async def test_who_asks_during_a_read_hears_what_is_stored_now(reads: SharedReads, shelf: Shelf) -> None:
    """The read under way is older than the question: all who ask meanwhile share the next one."""
    early = await under_way(reads, shelf)
    shelf.stored = "new"
    late = [asyncio.create_task(reads.read(shelf.find, "a")) for _ in range(3)]
    await asked(early, *late)
    shelf.may_end.set()

    assert await early == "a old"
    assert await asyncio.gather(*late) == ["a new"] * 3
    assert shelf.reads == ["a old", "a new"]


async def test_nothing_is_remembered(reads: SharedReads, shelf: Shelf) -> None:
    """Who asks after the answer has it read again."""
    before = await reads.read(shelf.find, "a")
    shelf.stored = "new"

    assert [before, await reads.read(shelf.find, "a")] == ["a old", "a new"]


async def test_questions_do_not_wait_for_each_other(reads: SharedReads, shelf: Shelf, store: "MoodyStore") -> None:
    """What is slow to read holds up only those who asked for it."""
    slow = await under_way(reads, shelf)

    assert await reads.read(lambda _, id_: f"{id_} at once", "a") == "a at once"
    assert await store.read(lambda _: "as any other") == "as any other"
    assert not slow.done()
    shelf.may_end.set()
    assert await slow == "a old"


async def test_each_who_asked_hears_of_a_failure(reads: SharedReads, shelf: Shelf) -> None:
    """And nobody else: the next read is another one."""
    shelf.stored = "broken"
    failures = await asyncio.gather(*(reads.read(shelf.find, "a") for _ in range(3)), return_exceptions=True)
    shelf.stored = "whole"

    assert [(type(failure), str(failure)) for failure in failures] == [(LookupError, "a")] * 3
    assert await reads.read(shelf.find, "a") == "a whole"
    assert len(shelf.reads) == 2


async def test_a_store_that_is_away_is_told_to_each(reads: SharedReads, shelf: Shelf, store: "MoodyStore") -> None:
    """As each would have heard it himself."""
    store.refuse(shelf.find)
    refusals = await asyncio.gather(*(reads.read(shelf.find, "a") for _ in range(2)), return_exceptions=True)

    assert [type(refusal) for refusal in refusals] == [InternalError] * 2
    assert await reads.read(shelf.find, "a") == "a old"


@pytest.mark.parametrize("gone", [0, 1])
async def test_who_goes_away_takes_the_answer_from_nobody(reads: SharedReads, shelf: Shelf, gone: int) -> None:
    """Neither the one for whom the read was begun, nor one that joined him."""
    askers = [asyncio.create_task(reads.read(shelf.find, "a")) for _ in range(3)]
    shelf.may_end.clear()
    await shelf.begun.wait()
    askers.pop(gone).cancel()
    await asked(*askers)
    shelf.may_end.set()

    assert await asyncio.gather(*askers) == ["a old"] * 2
    assert shelf.reads == ["a old"]


async def test_who_goes_away_hears_of_no_failure(reads: SharedReads, shelf: Shelf) -> None:
    """It is told to those who are left."""
    shelf.stored = "broken"
    gone = await under_way(reads, shelf)
    gone.cancel()
    left = asyncio.create_task(reads.read(shelf.find, "a"))
    await asked(left)
    shelf.may_end.set()

    with pytest.raises(LookupError):
        await left
    assert gone.cancelled()


async def test_nobody_waits_for_a_read_that_is_given_up(reads: SharedReads, shelf: Shelf) -> None:
    """When everything ends: neither whom it would answer, nor who waits for the next one."""
    early = await under_way(reads, shelf)
    late = asyncio.create_task(reads.read(shelf.find, "a"))
    await asked(early, late)
    [reading] = asyncio.all_tasks() - {early, late, asyncio.current_task()}
    reading.cancel()

    await asyncio.wait([early, late])

    assert early.cancelled()
    assert late.cancelled()
    shelf.may_end.set()
    assert await reads.read(shelf.find, "a") == "a old"
