"""The store as a whole, the engine's lock, and what makes an SQLite file durable."""

import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, text

from flowker.domain.errors import InternalError
from flowker.storage import postgresql, sqlite
from flowker.storage.database import DatabaseUnusable, EngineLock, Store, upgrade
from tests.conftest import PostgresqlServer

DATABASES = ("sqlite",)
"""What is special about a file."""

BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
"""What is promised of both."""


def read_settings(connection: Connection) -> dict[str, object]:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    return {name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in names}


async def test_a_commit_is_durable(store: Store) -> None:
    """Write-ahead log, flushed at each commit; a writer waits for another process."""
    settings = await store.write(read_settings)

    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


async def test_an_upgraded_store_is_current(store: Store) -> None:
    """What readiness asks."""
    assert await store.check()


async def test_a_schema_of_another_version_is_noticed(store: Store) -> None:
    """The database answers, and is not the one that this version needs."""

    def outdate(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))

    await store.write(outdate)

    assert not await store.check()


async def test_a_store_starts_without_its_database(tmp_path: Path) -> None:
    """It refuses until the database is there, makes no empty one, and needs no new start."""
    url = f"sqlite:///{tmp_path / 'late.db'}"
    store = Store(url)
    await store.start()

    with pytest.raises(InternalError):
        await store.check()
    assert not (tmp_path / "late.db").exists()
    upgrade(url)

    assert await store.check()
    assert (await store.write(read_settings))["journal_mode"] == "wal"
    await store.stop()


async def test_a_store_that_never_started_stops(url: str) -> None:
    """As when something else fails while the service starts."""
    store = Store(url)

    await store.stop()

    with pytest.raises(InternalError):
        await store.check()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/flowker"])
def test_only_a_file_is_a_store(url: str) -> None:
    """Memory is not durable; other databases are not supported yet."""
    with pytest.raises(ValueError, match="sqlite:///"):
        Store(url)


def test_a_path_with_special_characters_is_a_path(tmp_path: Path) -> None:
    """Percent signs, hashes and spaces mean themselves."""
    path = tmp_path / "50% of it, #1.db"

    upgrade(f"sqlite:///{path}")

    assert path.exists()


def test_a_database_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """In the driver's words."""
    (tmp_path / "text.db").write_text("not a database at all" * 100)

    with pytest.raises(DatabaseUnusable, match="unable to open"):
        upgrade(f"sqlite:///{tmp_path}/nowhere/x.db")
    with pytest.raises(DatabaseUnusable, match="not a database"):
        upgrade(f"sqlite:///{tmp_path}/text.db")


def test_a_locked_database_is_waited_for(url: str) -> None:
    """SQLite refuses some locks at once, however long it was told to wait."""
    path = url.removeprefix("sqlite:///")
    engine = create_engine(url, connect_args={"timeout": 0, "isolation_level": None})
    attempts: list[str] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as other, engine.connect() as connection:
        other.execute("BEGIN IMMEDIATE")

        def take_the_lock() -> None:
            attempts.append("attempt")
            if len(attempts) == 3:
                other.execute("ROLLBACK")
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        sqlite._retry_while_locked(take_the_lock)
    engine.dispose()

    assert len(attempts) == 3


class TestEngineLock:
    @BOTH
    def test_one_engine_has_the_store(self, url: str) -> None:
        """The second is told, and gets its turn after a release."""
        first, second = EngineLock(url), EngineLock(url)

        taken = [first.acquire(), second.acquire()]
        first.release()

        assert taken == [True, False]
        assert second.acquire()
        second.release()

    def test_a_link_to_the_database_is_the_same_store(self, url: str, tmp_path: Path) -> None:
        """However the link is spelled, and before the database is there."""
        (tmp_path / "linked.db").symlink_to("flowker.db")
        (tmp_path / "folder").symlink_to(tmp_path)
        (tmp_path / "flowker.db").unlink()
        first = EngineLock(url)

        taken = [
            first.acquire(),
            EngineLock(f"sqlite:///{tmp_path}/linked.db").acquire(),
            EngineLock(f"sqlite:///{tmp_path}/folder/linked.db").acquire(),
            EngineLock(f"sqlite:///{tmp_path}/folder/../{tmp_path.name}/flowker.db").acquire(),
        ]
        first.release()

        assert taken == [True, False, False, False]

    @BOTH
    def test_release_without_a_lock_does_nothing(self, url: str) -> None:
        """As when a start failed half way."""
        lock = EngineLock(url)

        lock.release()

        assert lock.acquire()
        lock.release()

    @BOTH
    def test_the_lock_ends_with_its_process(self, url: str) -> None:
        """Nobody has to clean up after a crash."""
        program = (
            "import os, sys; from flowker.storage.database import EngineLock; "
            "lock = EngineLock(sys.argv[1]); print(lock.acquire(), flush=True); sys.stdin.read()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lock = EngineLock(url)

        answers = [process.stdout.readline().strip(), lock.acquire()]
        process.kill()
        process.communicate()

        assert answers == ["True", False]
        assert lock.acquire()
        lock.release()

    @BOTH
    def test_a_lock_is_kept_until_it_is_released(self, url: str) -> None:
        """Whoever has none keeps none."""
        lock = EngineLock(url)

        kept = [lock.keep(0), lock.acquire(), lock.keep(0.01), lock.keep(0)]
        lock.release()

        assert kept == [False, True, True, True]
        assert not lock.keep(0)


class TestLease:
    """On a server the lock can be lost."""

    def test_only_the_lock_on_a_server_may_be_lost(self, url: str, postgresql_url: str) -> None:
        """One on a file ends with its process."""
        assert [EngineLock(one).may_be_lost for one in (url, postgresql_url)] == [False, True]

    def test_whoever_loses_its_connection_hears_so_at_once(
        self, postgresql_server: PostgresqlServer, postgresql_url: str
    ) -> None:
        """And another one may take the lock."""
        first, second = EngineLock(postgresql_url), EngineLock(postgresql_url)
        first.acquire()
        timer = threading.Timer(0.1, postgresql_server.end_connections, [postgresql_url])
        timer.start()
        began = time.monotonic()

        kept = first.keep(60)
        waited_s = time.monotonic() - began
        timer.join()

        assert not kept
        assert waited_s < 30
        assert not first.keep(0)
        assert second.acquire()
        first.release()
        second.release()

    def test_a_server_that_does_not_answer_is_given_up(
        self, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A network that loses everything ends no connection: what was sent stays without an answer."""
        monkeypatch.setattr(postgresql, "ANSWER_S", 0.1)
        held = Middleman(postgresql_url)
        lock = EngineLock(held.url)
        lock.acquire()
        kept = [lock.keep(0)]

        held.swallow()
        kept.append(lock.keep(0))

        held.close()
        lock.release()
        assert kept == [True, False]

    def test_a_process_that_shows_no_sign_of_life_loses_the_lock(
        self, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As when it is frozen: its system goes on to acknowledge packets."""
        monkeypatch.setattr(postgresql, "LEASE_S", 1)
        frozen, other = EngineLock(postgresql_url), EngineLock(postgresql_url)
        frozen.acquire()
        deadline = time.monotonic() + 30

        while not other.acquire():
            assert time.monotonic() < deadline
            time.sleep(0.05)

        assert not frozen.keep(0)
        frozen.release()
        other.release()


class Middleman:
    """A socket between a client and its server, which passes everything on until it is told otherwise."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as connection:
            told = connection.info
            self._server = (told.host, told.port)
            user, database = f"{told.user}:{quote(told.password)}", told.dbname
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = [self._listener]
        self._swallows = threading.Event()
        port = self._listener.getsockname()[1]
        self.url = f"postgresql://{user}@127.0.0.1:{port}/{database}?sslmode=disable"
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """Take everything, pass on nothing."""
        self._swallows.set()

    def close(self) -> None:
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = self._connect()
        self._open += [client, server]
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=[source, target], daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection(self._server)
        local = socket.socket(socket.AF_UNIX)
        local.connect(f"{host}/.s.PGSQL.{port}")
        return local

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self._swallows.is_set():
                    target.sendall(data)
