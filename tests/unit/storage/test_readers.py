"""Readers: snapshots, bounds, and connections that cannot write."""

import asyncio
import threading
import weakref

import pytest
from sqlalchemy import Connection, text

from flowker.domain.errors import ExecutionNotFound, InternalError
from flowker.storage import executions, journal
from flowker.storage.database import Store


def count(connection: Connection) -> int:
    number: int = connection.execute(text("SELECT count(*) FROM journal")).scalar_one()
    return number


async def put(store: Store, key: str) -> None:
    await store.write(journal.append, [(key, 0, "k", "{}")])


async def test_a_read_gets_arguments_and_returns(store: Store) -> None:
    """By position and by name."""
    assert (await store.read(executions.list_page, limit=5)).items == []
    assert await store.read(journal.read, "unknown") == []


async def test_a_refusal_reaches_its_caller(store: Store) -> None:
    """As it is, and the reader goes on."""
    with pytest.raises(ExecutionNotFound):
        await store.read(executions.get, "unknown")

    assert await store.read(count) == 0


async def test_a_reader_cannot_write(store: Store) -> None:
    """One thread writes, no other does by mistake."""
    with pytest.raises(InternalError):
        await store.read(journal.append, [("a", 0, "k", "{}")])

    assert await store.read(count) == 0


async def test_a_read_sees_one_snapshot(store: Store) -> None:
    """What is committed meanwhile is not there for it, and is for the next one."""
    begun, go_on = threading.Event(), threading.Event()

    def count_twice(connection: Connection) -> tuple[int, int]:
        first = count(connection)
        begun.set()
        go_on.wait(10)
        return first, count(connection)

    reading = asyncio.ensure_future(store.read(count_twice))
    await asyncio.to_thread(begun.wait, 10)
    await put(store, "a")
    go_on.set()

    assert await reading == (0, 0)
    assert await store.read(count) == 1


async def test_many_reads_share_the_threads(store: Store) -> None:
    """More at once than there are threads; each gets its own answer."""

    def echo(connection: Connection, number: int) -> int:
        return number + count(connection)

    numbers = await asyncio.gather(*(store.read(echo, number) for number in range(200)))

    assert numbers == list(range(200))


@pytest.fixture
async def blocked(url: str) -> tuple[Store, threading.Event, "asyncio.Future[None]"]:
    """A store whose only reader is busy until the event is set."""
    store = Store(url, queue_max=2, readers=1)
    await store.start()
    entered, opened = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        entered.set()
        opened.wait(10)

    held = asyncio.ensure_future(store.read(hold))
    await asyncio.to_thread(entered.wait, 10)
    return store, opened, held


Blocked = tuple[Store, threading.Event, "asyncio.Future[None]"]


async def test_a_full_queue_refuses_at_once(blocked: Blocked) -> None:
    """What was queued is answered."""
    store, opened, held = blocked
    queued = [asyncio.ensure_future(store.read(count)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(InternalError):
        await store.read(count)
    opened.set()

    await held
    assert await asyncio.gather(*queued) == [0, 0]
    await store.stop()


async def test_what_is_owed_finds_room_in_a_full_queue(blocked: Blocked) -> None:
    """The engine reads what it goes on with: nobody may keep it out."""
    store, opened, held = blocked
    queued = [asyncio.ensure_future(store.read(count)) for _ in range(2)]
    await asyncio.sleep(0)

    owed = asyncio.ensure_future(store.owing().read(count))
    await asyncio.sleep(0)
    opened.set()

    await held
    assert await asyncio.gather(*queued, owed) == [0, 0, 0]
    await store.stop()


async def test_stopping_answers_what_was_asked(blocked: Blocked) -> None:
    """And refuses what comes later; a cancelled waiter is passed over."""
    store, opened, held = blocked
    queued = asyncio.ensure_future(store.read(count))
    cancelled = asyncio.ensure_future(store.read(count))
    await asyncio.sleep(0)
    cancelled.cancel()

    stopping = asyncio.ensure_future(store.stop())
    await asyncio.sleep(0.05)
    opened.set()

    await held
    assert await queued == 0
    await stopping
    with pytest.raises(InternalError):
        await store.read(count)


async def test_a_connection_that_broke_is_replaced(store: Store) -> None:
    """Also when it is the end of the transaction that shows it."""

    def count_and_close(connection: Connection) -> int:
        number = count(connection)
        raw = connection.connection.dbapi_connection
        assert raw is not None
        raw.close()
        return number

    for _ in range(8):
        assert await store.read(count_and_close) == 0

    assert await store.read(count) == 0


async def test_a_failed_reader_connects_anew(store: Store) -> None:
    """A broken statement costs the connection, not the thread."""

    def break_down(connection: Connection) -> None:
        connection.execute(text("SELECT nothing FROM nowhere"))

    for _ in range(8):
        with pytest.raises(InternalError):
            await store.read(break_down)

    assert await store.read(count) == 0


async def test_what_was_read_is_not_kept(store: Store) -> None:
    """It may be large, and the next read far away."""

    class Large:
        """Something whose end can be seen."""

    async def read_large() -> weakref.ref[Large]:
        return weakref.ref(await store.read(lambda _: Large()))

    found = await read_large()
    await store.read(count)

    assert found() is None
