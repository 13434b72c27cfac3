"""Commands that die at each boundary of what they do, and the same commands after that."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.reliability.conftest import read_rows
from tests.reliability.failpoints import DIED
from tests.reliability.scenarios import Sender, around, pays
from tests.reliability.stores import Stores

if TYPE_CHECKING:
    from tests.reliability.conftest import ForkedService

DATABASES = ("sqlite", "postgresql")

STRIDE = 9
"""Of the statements of an upgrade each so-manieth is one to die at."""

STATEMENTS_MIN = 40
"""An upgrade of an empty database has more."""


@pytest.mark.row("failpoints")
@pytest.mark.parametrize("database", DATABASES)
def test_an_upgrade_that_dies_is_as_if_it_had_not_begun(
    stores: Stores, record_property: Callable[[str, object], None]
) -> None:
    """Or as if it had ended; the next one makes the same of both."""
    deaths = 0
    with stores.empty() as service:
        assert service.run_to_die("", "db", "upgrade") == 0
        expected = schema(service)
    for boundary in upgrade_boundaries():
        with stores.empty() as service:
            if service.run_to_die(boundary, "db", "upgrade") == 0:
                break
            assert schema(service) == (expected if boundary.startswith("after commit") else []), boundary
            service.start()
            service.kill()
            assert schema(service) == expected, boundary
            deaths += 1

    record_property("boundaries", deaths)
    assert deaths > STATEMENTS_MIN // STRIDE


@pytest.mark.row("failpoints")
@pytest.mark.parametrize("database", DATABASES)
def test_a_prune_that_dies_has_removed_an_execution_whole_or_not(
    stores: Stores, record_property: Callable[[str, object], None]
) -> None:
    """The next one removes what is left, and the trail tells of it once."""
    boundaries = around("delete executions", "delete journal", "audit_events EXECUTIONS_PRUNED")
    for boundary in boundaries:
        with stores.copy() as service:
            complete_one(service)
            change(service, "UPDATE executions SET completed_at = '2020-01-01T00:00:00.000000Z'")

            code = service.run_to_die(boundary, "prune", "--older-than", "90d")

            died = stores.look_at(service)
            assert (code, died.broken_promises()) == (DIED, []), boundary
            assert len(died.executions) == (not boundary.startswith("after commit")), boundary
            service.command("prune", "--older-than", "90d")
            pruned = stores.look_at(service)
            assert (pruned.executions, pruned.journals, pruned.broken_promises()) == ([], {}, []), boundary
            assert [row["event_type"] for row in pruned.trail].count("EXECUTIONS_PRUNED") == 1, boundary
    record_property("boundaries", len(boundaries))


@pytest.mark.row("failpoints")
@pytest.mark.parametrize("database", DATABASES)
def test_an_archive_that_dies_loses_no_entry(stores: Stores, record_property: Callable[[str, object], None]) -> None:
    """Each is in the file, which verifies; those that are not in the store any more are behind its checkpoint."""
    boundaries = around("insert audit_checkpoint", "delete audit_events")
    arguments = ("audit", "archive", "--before", "2999-01-01", "--to")
    for boundary in boundaries:
        with stores.copy() as service:
            complete_one(service)
            written = [row["sequence"] for row in stores.look_at(service).trail]

            code = service.run_to_die(boundary, *arguments, "archive.jsonl")

            died = stores.look_at(service)
            left = written[-1:] if boundary.startswith("after commit") else written
            assert (code, died.broken_promises()) == (DIED, []), boundary
            assert [row["sequence"] for row in died.trail] == left, boundary
            assert "as it was written and signed." in service.command("audit", "verify", "--archive", "archive.jsonl")
            if left == written:
                service.command(*arguments, "again.jsonl")
            assert stores.look_at(service).broken_promises() == [], boundary
            assert "were archived: the checkpoint is as this service signed it." in service.command("audit", "verify")
    record_property("boundaries", len(boundaries))


def upgrade_boundaries() -> Iterator[str]:
    """The commit, and every few statements until there are no more."""
    yield "before commit of insert alembic_version"
    yield "after commit of insert alembic_version"
    yield from (f"before statement #{number}" for number in itertools.count(1, STRIDE))


def complete_one(service: "ForkedService") -> None:
    service.start()
    sender = Sender(service)
    with sender.connected():
        pays(sender)
    service.stop()


def schema(service: "ForkedService") -> list[str]:
    """What there is in the database, by name."""
    on_a_server = service.database_url.startswith("postgresql://")
    query = _SCHEMA_ON_A_SERVER if on_a_server else "SELECT name, sql FROM sqlite_master ORDER BY name"
    return [f"{row['name']} {row['sql']}" for row in read_rows(service.database_url, query)]


_SCHEMA_ON_A_SERVER = """
    SELECT c.relname AS name, string_agg(a.attname || a.atttypid, ',' ORDER BY a.attnum) AS sql
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE n.nspname = 'public' AND a.attnum > 0 GROUP BY c.relname ORDER BY c.relname
"""


def change(service: "ForkedService", statement: str) -> None:
    """Change what is stored, past the service."""
    if service.database_url.startswith("postgresql://"):
        with psycopg.connect(service.database_url) as server:
            server.execute(statement.encode())
    else:
        with closing(sqlite3.connect(service.database_url.removeprefix("sqlite:///"))) as file, file:
            file.execute(statement)
