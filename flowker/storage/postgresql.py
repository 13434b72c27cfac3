"""A store in a PostgreSQL database: its connections, and the lock of its engine.

One writing transaction at a time, whoever's: a transaction begins by waiting for a lock of the whole database, as it
does with a file. So the audit chain is read and extended without a gap by any number of processes, and what a batch
has checked stays true until it is committed. Readers have a snapshot each and wait for nobody.

The URL goes to libpq as it is, with whatever parameters it has (`sslmode`, `target_session_attrs`, …).
"""

import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from select import POLLIN, poll
from types import ModuleType
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from flowker.storage.refusals import DatabaseUnusable

SCHEME: Final = "postgresql://"

WRITER_LOCK: Final = 0x666C_6F77_0000_0001
"""Which advisory lock of the database a writing transaction has; any number would do that nobody else uses."""

ENGINE_LOCK: Final = 0x666C_6F77_0000_0002

WRITER_WAIT_S: Final = 5.0
"""How long a writer waits for another process before the batch is refused."""

UPGRADE_WAIT_S: Final = 60.0
"""How long an upgrade waits for another one that is running."""

STATEMENT_S: Final = 8.0
"""Far over what any statement takes: every query walks along an index. Longer than a writer may wait."""

SILENCE_S: Final = 9.0
"""How long a server may say nothing in the middle of a statement: longer than it lets one take. A server that is
frozen goes on to acknowledge packets, so that the connection never ends by itself."""

IDLE_IN_TRANSACTION_S: Final = 30.0
"""A process that froze in its transaction keeps all others from writing: the server ends it for them."""

CONNECT_S: Final = 5
"""How long a server that does not answer is waited for; libpq takes whole seconds."""

VANISHED_MS: Final = 10_000
"""How long the network may lose what was sent before the connection counts as broken."""


LEASE_S: Final = 10
"""How long the server keeps the engine's lock for a process that it hears nothing of: a frozen one loses it."""

ANSWER_S: Final = 4.0
"""How long a sign of life may stay without an answer. Who hears nothing gives up well before the server does."""


class SessionLock:
    """A lock on the database, held by a connection of its own: who loses the connection has lost the lock.

    It is a lease: the server ends the connection of a process that shows no sign of life for `LEASE_S`. That the
    system of a frozen process goes on acknowledging packets does not count as one.
    """

    def __init__(self, url: str) -> None:
        self._arguments = _connection_arguments(url)
        self._connection: Any = None

    def acquire(self) -> bool:
        """Take the lock without waiting; False when another process (or object) has it. Raises `DatabaseUnusable`."""
        driver = _driver()
        try:
            connection = _connection_class().connect(**self._arguments, autocommit=True)
            connection.execute(_set(_SESSION_SETTINGS | {"idle_session_timeout": f"{LEASE_S}s"}))
            taken = connection.execute(f"SELECT pg_try_advisory_lock({ENGINE_LOCK})").fetchone()[0]
        except driver.Error as error:
            raise DatabaseUnusable(f"the database cannot be used: {error}") from error
        if taken:
            self._connection = connection
        else:
            connection.close()
        return bool(taken)

    def keep(self, seconds: float) -> bool:
        """Wait so long, or until the connection ends, and show a sign of life; False when the lock is lost."""
        connection = self._connection
        if connection is None:
            return False
        try:
            _is_readable(connection.pgconn, seconds)  # What comes unasked is the end, or nothing to us.
            return _answers(connection.pgconn, time.monotonic() + ANSWER_S)
        except (_driver().Error, OSError):
            return False

    def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _answers(pgconn: Any, deadline: float) -> bool:
    """Whether the server answers an empty query in time; what the driver waits with has no end."""
    pgconn.send_query(b"")
    pgconn.flush()
    while _is_readable(pgconn, deadline - time.monotonic()):
        pgconn.consume_input()
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                return True
            if result.error_message:
                return False
    return False


def _is_readable(pgconn: Any, seconds: float) -> bool:
    """Whether something comes from the server in this time; the end of the connection is something too."""
    waiting = poll()
    waiting.register(pgconn.socket, POLLIN)
    return bool(waiting.poll(max(0.0, seconds) * 1000))


def make_engine(url: str, *, read_only: bool, upgrading: bool = False) -> Engine:
    """Connections to the database, which has to be there."""
    driver, arguments = _driver(), _connection_arguments(url)
    # A change of the schema may say nothing for as long as it takes.
    kind = driver.Connection if upgrading else _connection_class()
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: kind.connect(**arguments),
        poolclass=NullPool,
        hide_parameters=True,
    )
    settings = _SESSION_SETTINGS | (_UPGRADE_SETTINGS if upgrading else _WORKING_SETTINGS)

    @event.listens_for(engine, "connect")
    def prepare(raw: Any, _: ConnectionPoolEntry) -> None:
        raw.execute(_set(settings))
        raw.execute(_KEEP_DURABLE)
        raw.commit()
        # A writer takes its snapshots after it has the lock, a reader one for the whole of its transaction.
        level = driver.IsolationLevel
        raw.isolation_level = level.REPEATABLE_READ if read_only else level.READ_COMMITTED
        raw.read_only = read_only

    if not read_only:

        @event.listens_for(engine, "begin")
        def begin_as_the_only_writer(connection: Connection) -> None:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")

    return engine


def is_unreadable(error: BaseException) -> bool:
    """Whether this error says that something that is stored cannot be read."""
    return isinstance(error, UnicodeDecodeError) or getattr(error, "sqlstate", None) in _UNREADABLE


def without_password(url: str) -> str:
    """The URL as it may be shown: user, server and database, without parameters, which can be secret too."""
    arguments = _connection_arguments(url)
    user = f"{arguments['user']}@" if "user" in arguments else ""
    port = f":{arguments['port']}" if "port" in arguments else ""
    return f"{SCHEME}{user}{arguments.get('host', '')}{port}/{arguments.get('dbname', '')}"


def _set(settings: Mapping[str, str]) -> str:
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())


# The server looks for a client that has vanished with its locks; and keeps the connection of one that is quiet.
_SESSION_SETTINGS: Final = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "idle_session_timeout": "0",
}

_WORKING_SETTINGS: Final = {
    "lock_timeout": f"{WRITER_WAIT_S * 1000:.0f}",
    "statement_timeout": f"{STATEMENT_S * 1000:.0f}",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S * 1000:.0f}",
}

# A change of the schema takes as long as it takes.
_UPGRADE_SETTINGS: Final = {
    "lock_timeout": f"{UPGRADE_WAIT_S * 1000:.0f}",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}

# Acknowledged means on disk. What a server is set to beyond that (`remote_apply`) stays.
_KEEP_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)

_DEFAULTS: Final = {
    "connect_timeout": CONNECT_S,
    "tcp_user_timeout": VANISHED_MS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "application_name": "flowker",
}


_UNREADABLE: Final = frozenset({"XX001", "XX002", "22021"})
"""data_corrupted, index_corrupted, character_not_in_repertoire."""


def _driver() -> ModuleType:
    """psycopg, which comes with an extra."""
    try:
        return import_module("psycopg")
    except ImportError as error:
        raise DatabaseUnusable("PostgreSQL needs the extra flowker[postgresql]") from error


@cache
def _connection_class() -> Any:
    """Connections that end when the server is silent for too long."""
    driver = _driver()

    class ImpatientConnection(driver.Connection):  # type: ignore[misc, name-defined]
        def wait(self, steps: Any, *args: Any, **kwargs: Any) -> Any:
            """Whatever is asked of the server waits here."""
            return super().wait(self._unless_silent(steps), *args, **kwargs)

        def _unless_silent(self, steps: Any) -> Generator[Any, Any, Any]:
            """The steps of an exchange. The driver looks again and again, also when there is nothing to read."""
            heard_at = time.monotonic()
            try:
                wanted = next(steps)
                while True:
                    ready = yield wanted
                    if ready:
                        heard_at = time.monotonic()
                    elif time.monotonic() - heard_at > SILENCE_S:
                        self.close()
                        raise driver.OperationalError("the server does not answer")
                    wanted = steps.send(ready)
            except StopIteration as end:
                return end.value

    return ImpatientConnection


def _connection_arguments(url: str) -> dict[str, Any]:
    """What libpq reads in the URL, over our defaults. Raises `DatabaseUnusable` without repeating any of it."""
    driver, given = _driver(), None
    with suppress(driver.Error):
        given = driver.conninfo.conninfo_to_dict(url)
    # A password that is not percent-encoded ends up in its neighbours, and from there in messages.
    if given is None or any("@" in given.get(name, "") for name in ("host", "dbname")) or not _is_port(given):
        raise DatabaseUnusable("the database URL cannot be read; are user and password percent-encoded?")
    return {**_DEFAULTS, **given, "client_encoding": "utf8"}


def _is_port(given: Mapping[str, str]) -> bool:
    """One for all servers or one for each, all in digits."""
    return all(port == "" or (port.isascii() and port.isdigit()) for port in given.get("port", "").split(","))
