"""The writer: what is answered is on disk, and nobody pays for somebody else's fault."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from flowker.domain.errors import InternalError, WorkflowNameTaken
from flowker.storage import executions, journal, workflows
from flowker.storage.database import Store
from flowker.storage.executions import Acceptance, Accepted, KeySeen
from flowker.storage.postgresql import WRITER_LOCK, WRITER_WAIT_S
from flowker.storage.workflows import StoredWorkflow
from flowker.storage.writer import BATCH_BYTES_MAX

if TYPE_CHECKING:
    from tests.conftest import PostgresqlServer

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


def put(connection: Connection, key: str) -> str:
    """A change that leaves a trace."""
    journal.append(connection, [(key, 0, "k", "{}")])
    return key


def put_all(connection: Connection, keys: Sequence[str]) -> list[str]:
    """The same for many; `poison` cannot be written, and leaves something half done."""
    for key in keys:
        put(connection, key)
        if key == "poison":
            raise ValueError(key)
    return [f"{key} of {len(keys)}" for key in keys]


def put_then_fail(connection: Connection, key: str) -> None:
    put(connection, key)
    raise WorkflowNameTaken


def read_keys(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT execution_id FROM journal ORDER BY execution_id")).scalars())


class Gate:
    """Holds the writer inside a change until it is opened, so that a batch collects behind it."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()

    def hold(self, _: Connection) -> None:
        self._entered.set()
        self._opened.wait(10)

    async def wait_until_held(self) -> None:
        await asyncio.to_thread(self._entered.wait, 10)

    def open(self) -> None:
        self._opened.set()


async def collect(store: Store, *waiting: Any) -> list[Any]:
    """The outcomes of these calls, made while the writer is held: they are one batch."""
    gate = Gate()
    held = asyncio.ensure_future(store.write(gate.hold))
    await gate.wait_until_held()
    tasks = [asyncio.ensure_future(call) for call in waiting]
    await asyncio.sleep(0)
    gate.open()
    await held
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_change_returns_what_it_returned(store: Store) -> None:
    """After it was committed: a reader sees it at once."""
    result = await store.write(put, "a")

    assert result == "a"
    assert await store.read(read_keys) == ["a"]


async def test_changes_of_a_batch_are_one_list(store: Store) -> None:
    """Items of one function come together, each caller gets its own result."""
    outcomes = await collect(store, *(store.write_together(put_all, key) for key in "abc"))

    assert outcomes == ["a of 3", "b of 3", "c of 3"]


async def test_a_change_that_raises_undoes_only_itself(store: Store) -> None:
    """The others of its batch are committed, and only its caller hears of it."""
    outcomes = await collect(
        store, store.write(put, "a"), store.write(put_then_fail, "b"), store.write_together(put_all, "c")
    )

    assert outcomes[0] == "a"
    assert isinstance(outcomes[1], WorkflowNameTaken)
    assert outcomes[2] == "c of 1"
    assert await store.read(read_keys) == ["a", "c"]


async def test_a_poison_item_fails_alone(store: Store) -> None:
    """Its batch is rolled back and every request runs again by itself."""
    outcomes = await collect(
        store, *(store.write_together(put_all, key) for key in ("a", "poison", "b")), store.write(put, "c")
    )

    assert outcomes[0] == "a of 1"
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2:] == ["b of 1", "c"]
    assert await store.read(read_keys) == ["a", "b", "c"]


async def test_a_database_error_says_nothing_of_sql(store: Store) -> None:
    """The caller may come again; what went wrong is in the log."""
    await store.write(put, "a")

    with pytest.raises(InternalError) as refusal:
        await store.write(put, "a")

    assert refusal.value.headers == {"Retry-After": "1"}
    assert refusal.value.__cause__ is None
    assert refusal.value.message == InternalError.message


def break_commit(connection: Connection, key: str) -> str:
    """Breaks a rule that the database checks at COMMIT."""
    put(connection, key)
    if connection.dialect.name == "sqlite":
        connection.execute(text("PRAGMA defer_foreign_keys = ON"))
        connection.execute(text("INSERT INTO webhook_routes VALUES ('nobody', 'POST', 'p', 1, 'n', 1)"))
    else:
        connection.execute(text("CREATE TABLE numbers (number int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        connection.execute(text("INSERT INTO numbers VALUES (1), (1)"))
    return key


async def test_a_commit_that_fails_fails_every_waiter(store: Store) -> None:
    """Nothing of the batch is recorded, and the next one is written."""
    outcomes = await collect(
        store, store.write(put, "a"), store.write(break_commit, "b"), store.write_together(put_all, "c")
    )

    assert [type(outcome) for outcome in outcomes] == [InternalError] * 3
    assert all(outcome.headers == {"Retry-After": "1"} for outcome in outcomes)
    assert await store.read(read_keys) == []
    assert await store.write(put, "d") == "d"


@on_sqlite
async def test_a_full_disk_fails_the_waiters_and_then_goes_on(store: Store) -> None:
    """Refused, never acknowledged and lost."""

    def fill(connection: Connection) -> None:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        # For this connection only: the next one finds room.
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))

    await store.write(fill)
    outcomes = await collect(
        store,
        store.write(put, "a"),
        store.write(journal.append, [("large", 0, "k", "x" * 100_000)]),
        store.write_together(put_all, "b"),
    )

    assert [type(outcome) for outcome in outcomes] == [InternalError] * 3
    assert await store.read(read_keys) == []
    assert await store.write(put, "c") == "c"


async def test_a_transaction_that_is_gone_fails_the_batch(store: Store) -> None:
    """A change that ends the transaction under everybody's feet must not let others be half written."""

    def roll_back(connection: Connection) -> None:
        connection.exec_driver_sql("ROLLBACK")
        raise ValueError

    outcomes = await collect(store, store.write(put, "a"), store.write(roll_back), store.write(put, "b"))

    assert [type(outcome) for outcome in outcomes] == [InternalError] * 3
    assert await store.read(read_keys) == []
    assert await store.write(put, "c") == "c"


async def test_the_writer_survives_everything(store: Store) -> None:
    """Even what is no Exception: the batch fails, the thread goes on."""

    def exit_now(_: Connection) -> None:
        raise SystemExit

    with pytest.raises(InternalError):
        await store.write(exit_now)

    assert await store.write(put, "a") == "a"


def move_files(source: Path, target: Path) -> None:
    """The database with its log and index."""
    target.mkdir(exist_ok=True)
    for path in source.glob("flowker.db*"):
        path.rename(target / path.name)


@on_sqlite
async def test_a_database_that_went_away_is_refused_and_found_again(store: Store, tmp_path: Path) -> None:
    """Not written into a file that nobody can find any more."""
    await store.write(put, "a")
    move_files(tmp_path, tmp_path / "elsewhere")

    with pytest.raises(InternalError):
        await store.write(put, "lost")
    with pytest.raises(InternalError):
        await store.read(read_keys)
    move_files(tmp_path / "elsewhere", tmp_path)

    assert await store.write(put, "b") == "b"
    assert await store.read(read_keys) == ["a", "b"]


@on_sqlite
async def test_a_replaced_file_is_noticed(store: Store, tmp_path: Path, empty_database: bytes) -> None:
    """As after a backup was restored: the connection is made anew, the next request goes to the new file."""
    await store.write(put, "a")
    move_files(tmp_path, tmp_path / "elsewhere")
    (tmp_path / "flowker.db").write_bytes(empty_database)

    with pytest.raises(InternalError):
        await store.write(put, "lost")

    assert await store.write(put, "b") == "b"
    assert await store.read(read_keys) == ["b"]


@on_postgresql
async def test_a_server_that_went_away_is_refused_and_found_again(
    store: Store, url: str, postgresql_server: "PostgresqlServer"
) -> None:
    """No connection to it, then one again."""
    await store.write(put, "a")
    postgresql_server.cut_off(url)

    with pytest.raises(InternalError):
        await store.write(put, "lost")
    with pytest.raises(InternalError):
        await store.read(read_keys)
    postgresql_server.let_in(url)

    assert await store.write(put, "b") == "b"
    assert await store.read(read_keys) == ["a", "b"]


@on_postgresql
async def test_a_connection_that_was_lost_while_idle_is_replaced(
    store: Store, url: str, postgresql_server: "PostgresqlServer"
) -> None:
    """Nobody hears of it: nothing was asked of it yet."""
    await store.write(put, "a")
    await asyncio.gather(*(store.read(read_keys) for _ in range(16)))
    postgresql_server.end_connections(url)

    assert await store.write(put, "b") == "b"
    assert await asyncio.gather(*(store.read(read_keys) for _ in range(16))) == [["a", "b"]] * 16


def lose_connection(connection: Connection, key: str) -> None:
    """The server ends the connection in the middle of the change."""
    put(connection, key)
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


@on_postgresql
@pytest.mark.parametrize("keys", ["bc", "b", ""])
async def test_a_connection_that_is_lost_fails_the_batch(store: Store, keys: str) -> None:
    """Wherever in it that happens: nothing of it is recorded, so nobody may hear that it was."""
    outcomes = await collect(
        store, store.write(put, "a"), store.write(lose_connection, "lost"), *(store.write(put, key) for key in keys)
    )

    assert [type(outcome) for outcome in outcomes] == [InternalError] * (2 + len(keys))
    assert await store.read(read_keys) == []
    assert await store.write(put, "d") == "d"


@on_postgresql
async def test_a_list_whose_connection_is_lost_is_not_tried_one_by_one(store: Store) -> None:
    """A server that is silent would keep everybody waiting once more, to come to the same."""
    tried: list[Sequence[str]] = []

    def lose_all(connection: Connection, keys: Sequence[str]) -> list[str]:
        tried.append(keys)
        lose_connection(connection, keys[0])
        return list(keys)

    outcomes = await collect(store, store.write(put, "a"), *(store.write_together(lose_all, key) for key in "bc"))

    assert [type(outcome) for outcome in outcomes] == [InternalError] * 3
    assert tried == [["b", "c"]]
    assert await store.read(read_keys) == []
    assert await store.write(put, "d") == "d"


@on_postgresql
async def test_a_writer_that_waits_too_long_for_another_process_refuses(store: Store, url: str) -> None:
    """Its batch is refused, and the next one is written."""
    with psycopg.connect(url) as other:
        other.execute(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")
        began = time.monotonic()

        with pytest.raises(InternalError):
            await store.write(put, "a")

        waited_s = time.monotonic() - began
    assert WRITER_WAIT_S <= waited_s < WRITER_WAIT_S + 2
    assert await store.write(put, "b") == "b"


async def test_a_cancelled_waiter_disturbs_nobody(store: Store) -> None:
    """Cancelled before its turn it is not run; cancelled during it, its outcome is dropped."""
    gate = Gate()
    held = asyncio.ensure_future(store.write(gate.hold))
    await gate.wait_until_held()
    waiting = asyncio.ensure_future(store.write(put, "a"))
    staying = asyncio.ensure_future(store.write(put, "b"))
    await asyncio.sleep(0)

    waiting.cancel()
    held.cancel()
    gate.open()

    assert await staying == "b"
    assert await store.read(read_keys) == ["b"]


async def test_sixty_four_deliveries_of_one_key_start_one_execution(
    store: Store, make_workflow: Callable[..., StoredWorkflow], make_acceptance: Callable[..., Acceptance]
) -> None:
    """At once, in whatever batches; everybody else learns of the one."""
    await store.write(workflows.insert, make_workflow(status="active"))
    items = [make_acceptance(idempotency_key="k") for _ in range(64)]

    outcomes = await asyncio.gather(*(store.write_together(executions.accept, item) for item in items))

    accepted = [item for item, outcome in zip(items, outcomes, strict=True) if isinstance(outcome, Accepted)]
    seen = {outcome.execution_id for outcome in outcomes if isinstance(outcome, KeySeen)}
    assert len(accepted) == 1
    assert seen == {accepted[0].execution_id}


async def test_a_full_queue_refuses_at_once(url: str) -> None:
    """Without waiting for the writer; what was queued is written."""
    store = Store(url, queue_max=2)
    await store.start()
    gate = Gate()
    held = asyncio.ensure_future(store.write(gate.hold))
    await gate.wait_until_held()
    queued = [asyncio.ensure_future(store.write(put, key)) for key in "ab"]
    await asyncio.sleep(0)

    with pytest.raises(InternalError) as refusal:
        await store.write(put, "c")
    gate.open()

    assert refusal.value.headers == {"Retry-After": "1"}
    assert await asyncio.gather(*queued) == ["a", "b"]
    await held
    await store.stop()


async def test_what_is_owed_finds_room_in_a_full_queue(url: str) -> None:
    """It is what empties the others: nobody may keep it out."""
    store = Store(url, queue_max=2)
    await store.start()

    outcomes = await collect(store, *(store.write(put, key) for key in "abc"), store.owing().write(put, "owed"))

    assert outcomes[:2] == ["a", "b"]
    assert isinstance(outcomes[2], InternalError)
    assert outcomes[3] == "owed"
    await store.stop()


async def test_a_batch_takes_in_turn_what_is_asked_and_what_is_owed(url: str) -> None:
    """Whichever came first: neither keeps the other waiting for long."""
    store = Store(url, batch_max=4)
    await store.start()
    batches: list[list[str]] = []

    def note(_: Connection, keys: Sequence[str]) -> list[int]:
        batches.append(list(keys))
        return [len(batches) for _ in keys]

    numbers = await collect(
        store,
        *(store.owing().write_together(note, f"owed {number}") for number in range(6)),
        *(store.write_together(note, key) for key in "ab"),
    )

    assert numbers == [1, 1, 2, 2, 2, 2, 1, 1]
    assert batches == [["a", "owed 0", "b", "owed 1"], ["owed 2", "owed 3", "owed 4", "owed 5"]]
    await store.stop()


async def test_a_batch_is_bounded(url: str) -> None:
    """By number: what does not fit into one comes with the next."""
    store = Store(url, batch_max=3)
    await store.start()

    outcomes = await collect(store, *(store.write_together(put_all, key) for key in "abcd"))

    assert outcomes == ["a of 3", "b of 3", "c of 3", "d of 1"]
    await store.stop()


class Large(str):
    """A key that claims to bring a lot with it."""

    __slots__ = ()

    @property
    def size_bytes(self) -> int:
        return BATCH_BYTES_MAX // 2


async def test_a_batch_is_bounded_in_bytes(store: Store) -> None:
    """Large bodies do not make everybody wait for one huge transaction."""
    outcomes = await collect(store, *(store.write_together(put_all, Large(key)) for key in "abcd"))

    assert outcomes == ["a of 3", "b of 3", "c of 3", "d of 1"]


async def test_the_queue_is_bounded_in_bytes(store: Store) -> None:
    """The number of requests alone would allow gigabytes; small ones still find room."""
    many = [store.write_together(put_all, Large(f"{number:03}")) for number in range(70)]

    outcomes = await collect(store, *many, store.write(put, "small"))

    assert sum(isinstance(outcome, InternalError) for outcome in outcomes) == 6
    assert outcomes[-1] == "small"
    assert await store.write_together(put_all, Large("later")) == "later of 1"


async def test_a_stopped_writer_finishes_what_was_accepted(url: str) -> None:
    """And refuses what comes later."""
    store = Store(url)
    await store.start()
    gate = Gate()
    held = asyncio.ensure_future(store.write(gate.hold))
    await gate.wait_until_held()
    queued = asyncio.ensure_future(store.write(put, "a"))
    await asyncio.sleep(0)

    stopping = asyncio.ensure_future(store.stop())
    await asyncio.sleep(0)
    gate.open()

    assert await queued == "a"
    await held
    await stopping
    with pytest.raises(InternalError):
        await store.write(put, "b")


@pytest.mark.parametrize("kind", ["write", "read"])
async def test_a_stop_waits_no_longer_than_it_may(url: str, kind: str) -> None:
    """What is stuck is left as it is, and a stop that may wait longer ends it."""
    store = Store(url, readers=1)
    await store.start()
    gate = Gate()
    held = asyncio.ensure_future(store.write(gate.hold) if kind == "write" else store.read(gate.hold))
    await gate.wait_until_held()
    queued = asyncio.ensure_future(store.write(put, "a"))
    await asyncio.sleep(0)

    stopped_at_once = await store.stop(0.05)
    gate.open()
    stopped = await store.stop()

    assert (stopped_at_once, stopped) == (False, True)
    assert await queued == "a"
    await held
    with pytest.raises(InternalError):
        await store.write(put, "b")


async def test_each_turn_of_the_writer_shows(store: Store) -> None:
    """While a turn lasts, the heartbeat stands still."""
    gate = Gate()
    before = store.writer_heartbeat
    held = asyncio.ensure_future(store.write(gate.hold))
    await gate.wait_until_held()
    during = store.writer_heartbeat
    gate.open()
    await held
    await store.write(put, "a")
    after = store.writer_heartbeat

    assert before <= during < after <= time.monotonic()


async def test_an_idle_writer_turns_too(store: Store) -> None:
    """Its heartbeat goes on without any request."""
    before = store.writer_heartbeat

    def wait_for_turn() -> None:
        give_up_at = time.monotonic() + 10
        while store.writer_heartbeat == before and time.monotonic() < give_up_at:
            time.sleep(0.01)

    await asyncio.to_thread(wait_for_turn)

    assert store.writer_heartbeat > before


KILLED = """
import asyncio, sys
from flowker.storage import journal
from flowker.storage.database import Store

async def write(store, worker):
    number = 0
    while True:
        key = f"{worker}-{number}"
        await store.write(journal.append, [(key, 0, "k", "{}")])
        print(key, flush=True)
        number += 1

async def main():
    store = Store(sys.argv[1])
    await store.start()
    await asyncio.gather(*(write(store, worker) for worker in range(16)))

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    """kill -9 under load, a few times over: every key that was printed is stored."""
    acknowledged: list[str] = []
    for round_ in range(3):
        command = [sys.executable, "-c", KILLED, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            keys = [process.stdout.readline().strip() for _ in range(100 + 100 * round_)]
            process.kill()
            # The last line may be torn.
            keys += process.stdout.read().split("\n")[:-1]
        asyncio.run(_require_stored(url, keys))
        acknowledged += keys

    assert len(acknowledged) > 500


async def _require_stored(url: str, keys: Sequence[str]) -> None:
    """Every key is there; makes room for the next round."""
    store = Store(url)
    await store.start()
    stored = await store.read(read_keys)
    await store.write(_forget_all)
    await store.stop()
    assert set(keys) <= set(stored)


def _forget_all(connection: Connection) -> None:
    connection.execute(text("DELETE FROM journal"))
