"""A real database for each test, of both kinds, and makers of what is stored in it."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from flowker.domain.audit import SYSTEM, AuditEvent
from flowker.domain.errors import FlowkerError
from flowker.storage import database
from flowker.storage.database import Store, upgrade
from flowker.storage.executions import Acceptance, Progress
from flowker.storage.workflows import StoredWorkflow
from tests.conftest import PostgresqlServer

NOON = "2026-03-17T12:00:00.000000Z"
ONE = "2026-03-17T13:00:00.000000Z"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a database without rows: copying them is faster than migrating for each test."""
    path = tmp_path_factory.mktemp("empty") / "flowker.db"
    upgrade(f"sqlite:///{path}")
    return path.read_bytes()


DATABASES = ("sqlite", "postgresql")
"""Every test runs on both, unless it is parametrised with one of them, or its module names one as its `DATABASES`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Query plans are read on SQLite alone: what the other one plans depends on how much is stored."""
    marks = metafunc.definition.iter_markers("parametrize")
    is_chosen = any("database_kind" in mark.args[0] for mark in marks)
    if "database_kind" in metafunc.fixturenames and not is_chosen:
        kinds = getattr(metafunc.module, "DATABASES", DATABASES)
        plans = "read_plans" in metafunc.fixturenames
        metafunc.parametrize("database_kind", ["sqlite"] if plans else kinds, indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def url(database_kind: str, request: pytest.FixtureRequest) -> str:
    """A database without rows."""
    found: str = request.getfixturevalue(f"{database_kind}_url")
    return found


@pytest.fixture
def sqlite_url(tmp_path: Path, empty_database: bytes) -> str:
    path = tmp_path / "flowker.db"
    path.write_bytes(empty_database)
    return f"sqlite:///{path}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    started = Store(url)
    await started.start()
    yield started
    await started.stop()


@pytest.fixture(scope="session")
def shared_postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """A database that stays without rows, because whoever uses it rolls back."""
    with postgresql_server.database() as url:
        yield url


@pytest.fixture
def connection(database_kind: str, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """The writer's kind of connection, inside a transaction.

    Making and dropping a PostgreSQL database takes longer than most tests. One that nobody else of the test looks at
    need not be its own.
    """
    is_shared = database_kind == "postgresql" and "url" not in request.fixturenames
    engine = database._engine(
        request.getfixturevalue("shared_postgresql_url" if is_shared else "url"), read_only=False
    )
    with engine.connect() as opened, opened.begin() as transaction:
        if database_kind == "postgresql":
            _undo_what_failed(opened)
        yield opened
        if is_shared:
            transaction.rollback()
    engine.dispose()


def _undo_what_failed(connection: Connection) -> None:
    """A statement that fails undoes only itself, as with SQLite.

    PostgreSQL refuses everything until the transaction is rolled back, or a savepoint: the writer sets one for each
    change, and so a test may go on after a change that was refused.
    """
    raw = connection.connection.cursor()

    def save(*_: object) -> None:
        raw.execute("SAVEPOINT statement")

    def undo(_: object) -> None:
        raw.execute("ROLLBACK TO SAVEPOINT statement")

    event.listen(connection, "before_cursor_execute", save)
    event.listen(connection.engine, "handle_error", undo)


@pytest.fixture
def make_workflow() -> Callable[..., StoredWorkflow]:
    numbers = count(1)

    def make(**changes: Any) -> StoredWorkflow:
        number = next(numbers)
        workflow = StoredWorkflow(
            id=f"workflow-{number:03}",
            name=f"Workflow {number}",
            description="",
            status="draft",
            revision=1,
            nodes=[],
            edges=[],
            metadata={},
            created_at=NOON,
            updated_at=NOON,
        )
        return replace(workflow, **changes)

    return make


@pytest.fixture
def make_audit_event() -> Callable[..., AuditEvent]:
    numbers = count(1)

    def make(**changes: Any) -> AuditEvent:
        event = AuditEvent(
            event_id=f"event-{next(numbers):05}",
            event_type="EXECUTION_STARTED",
            action="EXECUTE",
            result="SUCCESS",
            resource_type="execution",
            resource_id="execution-00001",
            actor=SYSTEM,
            timestamp=NOON,
        )
        return event._replace(**changes)

    return make


@pytest.fixture
def make_acceptance(make_audit_event: Callable[..., AuditEvent]) -> Callable[..., Acceptance]:
    """Of `workflow-001` in revision 1, unless told otherwise."""
    numbers = count(1)

    def make(**changes: Any) -> Acceptance:
        id_ = f"execution-{next(numbers):05}"
        acceptance = Acceptance(
            execution_id=id_,
            workflow_id="workflow-001",
            revision=1,
            trigger_node_id="hook",
            idempotency_key=None,
            input_digest=None,
            journal_payload='{"input":{}}',
            total_steps=2,
            started_at=NOON,
            audit=make_audit_event(resource_id=id_),
        )
        return acceptance._replace(**changes)

    return make


@pytest.fixture
def make_progress() -> Callable[..., Progress]:
    def make(execution_id: str, **changes: Any) -> Progress:
        progress = Progress(
            execution_id=execution_id,
            first_seq=1,
            events=[("settled", "{}")],
            status="running",
            current_step_number=1,
            completed_at=None,
            error_message=None,
            wake_at=None,
            audit=[],
        )
        return progress._replace(**changes)

    return make


@pytest.fixture
def read_plans(connection: Connection) -> Callable[..., list[str]]:
    """Runs a function on the connection and returns the query plan of each statement that it executed."""

    def read(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[str]:
        statements: list[str] = []
        raw: Any = connection.connection.dbapi_connection
        raw.set_trace_callback(statements.append)
        with suppress(FlowkerError):
            function(connection, *args, **kwargs)
        raw.set_trace_callback(None)
        return [_plan(connection, statement) for statement in statements if not _CONTROL.match(statement)]

    return read


_CONTROL = re.compile("BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|--")
"""What has no plan: transactions, and the comments that SQLite makes of what a trigger does."""


def _plan(connection: Connection, statement: str) -> str:
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")
    return "\n".join(row.detail for row in rows)
