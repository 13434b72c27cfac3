"""Migrations lead to exactly the schema that the tables describe."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, text

from flowker.storage import migrations
from flowker.storage.database import DatabaseUnusable, upgrade
from flowker.storage.tables import metadata


def schema(path: Path) -> dict[str, str]:
    """Name and words of every table and index, whatever the white space and the order of creation."""
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN ('table', 'index')")
        return {name: " ".join(sql.replace("(", "( ").replace(")", " )").split()) for name, sql in rows}


def test_the_migrated_schema_is_that_of_the_tables(connection: Connection) -> None:
    """Alembic finds nothing to do."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})

    assert compare_metadata(context, metadata) == []


def test_the_migrated_schema_is_that_of_the_tables_word_for_word(tmp_path: Path, url: str) -> None:
    """Also what alembic does not compare: partial indexes, checks, WITHOUT ROWID."""
    engine: Engine = create_engine(f"sqlite:///{tmp_path / 'tables.db'}")
    metadata.create_all(engine)
    engine.dispose()

    migrated = schema(Path(url.removeprefix("sqlite:///")))
    del migrated["alembic_version"]

    assert migrated == schema(tmp_path / "tables.db")


def test_an_upgrade_can_be_repeated(url: str) -> None:
    """The second one finds nothing to do."""
    path = Path(url.removeprefix("sqlite:///"))
    before = schema(path)

    upgrade(url)

    assert schema(path) == before


def test_a_schema_of_another_version_is_not_current(connection: Connection) -> None:
    """Older, newer, or none at all."""
    connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    newer = migrations.schema_is_current(connection)
    connection.execute(text("DROP TABLE alembic_version"))

    assert (newer, migrations.schema_is_current(connection)) == (False, False)


def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    """Rather than run on a schema that this version does not know."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(DatabaseUnusable, match="newer version"):
        upgrade(url)


def test_upgrades_at_once_take_turns(tmp_path: Path) -> None:
    """Several processes that start on a new database all find it ready."""
    program = "import sys; from flowker.storage.database import upgrade; upgrade(sys.argv[1])"
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'new.db'}"]

    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate()[1].decode() for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0, 0], errors
    assert "executions" in schema(tmp_path / "new.db")
