"""Migrations lead to exactly the schema that the tables describe, and that a new store has from its beginning."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from flowker.domain.errors import ConfigurationInUse
from flowker.storage import (
    configuration_references,
    database,
    executions,
    migrations,
    provider_configurations,
    workflows,
)
from flowker.storage.database import DatabaseUnusable, Store, upgrade, vault_beside
from flowker.storage.executions import StoredExecution
from flowker.storage.migrations import upgrading
from flowker.storage.tables import metadata
from tests.conftest import PostgresqlServer


def schema(path: Path) -> dict[str, str]:
    """Name and words of everything in a file, whatever the white space and the order of creation."""
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: " ".join(re.sub(r"([(),])", r" \1 ", sql).split()) for name, sql in rows}


def catalog(connection: Connection) -> list[list[str]]:
    """What a server says of the columns, indexes, constraints, triggers, functions and sequences of a database."""
    return [sorted(map(str, connection.exec_driver_sql(query))) for query in _CATALOG]


_CATALOG = (
    """SELECT c.relname, a.attnum - (SELECT count(*) FROM pg_attribute AS d
               WHERE d.attrelid = c.oid AND d.attisdropped AND d.attnum < a.attnum AND d.attnum > 0),
               a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef, o.collname
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        LEFT JOIN pg_collation AS o ON o.oid = a.attcollation
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped""",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace""",
    "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'",
)


def migrate(url: str) -> None:
    """Go all of the history, as a store does that has seen each version."""
    engine = database._engine(url, read_only=False, upgrading=True)
    with engine.begin() as connection:
        upgrading.upgrade(connection, vault_beside(url))
    engine.dispose()


def test_a_new_store_is_what_the_history_leads_to(tmp_path: Path, sqlite_url: str) -> None:
    """Word for word: also what Alembic does not compare, as partial indexes, checks, WITHOUT ROWID and triggers."""
    migrate(f"sqlite:///{tmp_path / 'migrated.db'}")

    created = schema(Path(sqlite_url.removeprefix("sqlite:///")))

    assert {"audit_checkpoint_update", "executions_open", "workflows", "alembic_version"} <= created.keys()
    assert schema(tmp_path / "migrated.db") == created


def test_a_new_store_on_a_server_is_what_the_history_leads_to(postgresql_server: PostgresqlServer) -> None:
    """As its catalog tells it."""
    with postgresql_server.database() as created_url, postgresql_server.database(empty=True) as migrated_url:
        migrate(migrated_url)
        found = []
        for url in (created_url, migrated_url):
            engine = database._engine(url, read_only=False)
            with engine.begin() as connection:
                found.append(catalog(connection))
            engine.dispose()

    assert [len(rows) > 2 for rows in found[0]] == [True, True, True, True, True, False]
    assert found[1] == found[0]


def test_the_schema_is_that_of_the_tables(connection: Connection) -> None:
    """Alembic finds nothing to do."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})

    assert compare_metadata(context, metadata) == []


def test_an_upgrade_can_be_repeated(sqlite_url: str) -> None:
    """The second one finds nothing to do."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    before = schema(path)

    upgrade(sqlite_url)

    assert schema(path) == before


def test_the_revision_of_this_version_is_the_end_of_the_history() -> None:
    """It is told by the names of files, which Alembic does not look at."""
    assert migrations.head() == ScriptDirectory.from_config(upgrading.make_config()).get_current_head()


def test_a_schema_of_another_version_is_not_current(connection: Connection) -> None:
    """Older, newer, or none at all."""
    connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    newer = migrations.schema_is_current(connection)
    connection.execute(text("DROP TABLE alembic_version"))

    assert (newer, migrations.schema_is_current(connection)) == (False, False)


def test_a_database_of_a_newer_version_is_refused(sqlite_url: str) -> None:
    """Rather than run on a schema that this version does not know."""
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(DatabaseUnusable, match="newer version"):
        upgrade(sqlite_url)


def test_upgrades_at_once_take_turns(tmp_path: Path) -> None:
    """Several processes that start on a new database all find it ready."""
    program = "import sys; from flowker.storage.database import upgrade; upgrade(sys.argv[1])"
    start = [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'new.db'}"]

    processes = [subprocess.Popen(start, stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate()[1].decode() for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0, 0], errors
    assert "executions" in schema(tmp_path / "new.db")


GUARDED = {"id": "t", "type": "trigger", "data": {"path": "p", "verify_token": "canary-token"}}
CALLING = {"id": "c", "type": "executor", "data": {"executorId": "http.request", "providerConfigId": "p1"}}
NOON = "2026-03-17T12:00:00.000000Z"


@pytest.fixture
def older(tmp_path: Path) -> str:
    """A database of the first schema, with an active workflow and a configuration, both in clear."""
    url = f"sqlite:///{tmp_path / 'older.db'}"
    engine = database._engine(url, read_only=False, upgrading=True)
    with engine.begin() as connection:
        config = upgrading.make_config()
        config.attributes.update(connection=connection, vault=None)
        command.upgrade(config, "0001")
        definition = json.dumps({"nodes": [GUARDED, CALLING], "edges": [], "metadata": {}})
        config_text = json.dumps({"base_url": "b", "auth": {"config": {"token": "canary-key"}}})
        for statement, row in (
            ("INSERT INTO workflows VALUES (?, ?, ?, ?, ?, ?, ?)", ("w1", "w", "", "active", 1, NOON, NOON)),
            ("INSERT INTO workflow_revisions VALUES (?, ?, ?, ?)", ("w1", 1, definition, NOON)),
            (
                "INSERT INTO provider_configurations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ("p1", "p", "", "http", config_text, "active", "{}", NOON, NOON),
            ),
            (
                "INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ("e1", "w1", 1, "running", "t", "k", "d", 1, 2, NOON, "deadline", None, None, "wake"),
            ),
            (
                "INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ("e2", "w1", 1, "failed", "t", None, None, 1, 2, NOON, "deadline", NOON, "FLK-0504", None),
            ),
        ):
            connection.exec_driver_sql(statement, row)
    engine.dispose()
    return url


async def test_an_upgrade_seals_what_older_versions_stored_in_clear(older: str) -> None:
    """It opens with the keys beside the database."""
    upgrade(older)

    store = Store(older)
    await store.start()
    vault = vault_beside(older)
    workflow = await store.read(workflows.get, "w1")
    configuration = await store.read(provider_configurations.get, "p1")
    await store.stop()
    assert configuration is not None
    assert "canary" not in f"{workflow}{configuration}"
    assert workflows.open_nodes(vault, "w1", workflow.nodes) == [GUARDED, CALLING]
    assert vault.open(configuration.config, "p1") == {"base_url": "b", "auth": {"config": {"token": "canary-key"}}}


async def test_an_upgrade_notes_what_active_workflows_use(older: str) -> None:
    """So that it cannot be taken from under them."""
    upgrade(older)

    store = Store(older)
    await store.start()
    with pytest.raises(ConfigurationInUse):
        await store.read(configuration_references.require_unused, "p1")
    await store.stop()


async def test_an_upgrade_keeps_executions_as_they_are(older: str) -> None:
    """All but the time limit, which follows from their journals."""
    upgrade(older)

    store = Store(older)
    await store.start()
    running, failed = [await store.read(executions.get, id_) for id_ in ("e1", "e2")]
    await store.stop()
    assert running == StoredExecution("e1", "w1", 1, "running", "t", "k", "d", 1, 2, NOON, None, None, "wake")
    assert failed == StoredExecution("e2", "w1", 1, "failed", "t", None, None, 1, 2, NOON, NOON, "FLK-0504", None)


def test_an_upgrade_leads_older_databases_to_the_same_schema(older: str, sqlite_url: str) -> None:
    """Word for word."""
    upgrade(older)

    assert schema(Path(older.removeprefix("sqlite:///"))) == schema(Path(sqlite_url.removeprefix("sqlite:///")))
