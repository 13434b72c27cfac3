"""A PostgreSQL server that says nothing: nobody waits for it for long, and nobody behind them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import Connection, text

from flowker.domain.errors import InternalError
from flowker.storage import journal, postgresql, readers, writer
from flowker.storage.database import Store
from tests.reliability.fault_proxy import FaultProxy

SILENCE_S = 0.3
"""Instead of the nine seconds that it is."""


def put(connection: Connection, key: str) -> str:
    journal.append(connection, [(key, 0, "k", "{}")])
    return key


def count(connection: Connection) -> int:
    found: int = connection.execute(text("SELECT count(*) FROM journal")).scalar_one()
    return found


def sleep(connection: Connection, seconds: float) -> None:
    connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})


@pytest.fixture
def proxy(postgresql_url: str) -> Iterator[FaultProxy]:
    with psycopg.connect(postgresql_url) as connection:
        told = connection.info
        host, port = told.host, told.port
    with FaultProxy(*((f"{host}/.s.PGSQL.{port}", 0) if host.startswith("/") else (host, port))) as made:
        yield made


@pytest.fixture
async def store(postgresql_url: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """A store whose server can be made to say nothing."""
    monkeypatch.setattr(postgresql, "SILENCE_S", SILENCE_S)
    monkeypatch.setattr(postgresql, "_DEFAULTS", {**postgresql._DEFAULTS, "connect_timeout": 2})
    for module in (readers, writer):
        monkeypatch.setattr(module, "HOPELESS_S", SILENCE_S / 2)
    with psycopg.connect(postgresql_url) as connection:
        told = connection.info
        url = f"postgresql://{quote(told.user)}:{quote(told.password)}@127.0.0.1:{proxy.port}/{told.dbname}"
    made = Store(f"{url}?sslmode=disable", readers=1, batch_max=1)
    await made.start()
    await made.write(put, "before")
    await made.read(count)
    yield made
    proxy.mend()
    await made.stop()


async def test_nobody_waits_behind_a_change_that_has_no_answer(store: Store, proxy: FaultProxy) -> None:
    """All of them together wait as long as the first."""
    proxy.pause()
    began = time.monotonic()

    outcomes = await asyncio.gather(*(store.write(put, f"{n}") for n in range(50)), return_exceptions=True)

    assert {type(outcome) for outcome in outcomes} == {InternalError}
    assert time.monotonic() - began < 50 * SILENCE_S
    proxy.mend()
    assert await store.write(put, "after") == "after"
    assert await store.read(count) == 2


async def test_nobody_waits_behind_a_read_that_has_no_answer(store: Store, proxy: FaultProxy) -> None:
    """Nor does anybody ask again on a new connection."""
    proxy.pause()
    began = time.monotonic()

    outcomes = await asyncio.gather(*(store.read(count) for _ in range(50)), return_exceptions=True)

    assert {type(outcome) for outcome in outcomes} == {InternalError}
    assert time.monotonic() - began < 50 * SILENCE_S
    proxy.mend()
    assert await store.read(count) == 1


async def test_a_statement_that_takes_long_is_no_silence_to_an_upgrade(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes as long as it takes."""
    monkeypatch.setattr(postgresql, "SILENCE_S", 0.0)
    engine = postgresql.make_engine(postgresql_url, read_only=False, upgrading=True)

    with engine.connect() as connection:
        sleep(connection, 0.3)

    engine.dispose()
