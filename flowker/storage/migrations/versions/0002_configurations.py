"""Configurations of executors, sealed secrets, references of active workflows, and lists of everything."""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection

from flowker import jsontext
from flowker.storage.columns import TEXT
from flowker.storage.vault import Vault

revision = "0002"
down_revision = "0001"


_NO_REPLACE = """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
           WHEN EXISTS (SELECT 1 FROM audit_events WHERE sequence = NEW.sequence OR event_id = NEW.event_id)
           BEGIN SELECT RAISE(ABORT, 'audit events are never changed'); END"""
"""To SQLite, INSERT OR REPLACE is no DELETE, and fires none of the triggers for one."""


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute(_NO_REPLACE)
    op.create_index("audit_events_by_type", "audit_events", ["event_type", "sequence"])
    op.create_index("audit_events_by_resource", "audit_events", ["resource_id", "event_type", "sequence"])
    vault: Vault = op.get_context().opts["vault"]
    _make_provider_configurations_anew(op.get_bind(), vault)
    _create_executor_configurations()
    _create_configuration_references()
    _take_over_definitions(op.get_bind(), vault)


def _make_provider_configurations_anew(connection: Connection, vault: Vault) -> None:
    old = sa.table("provider_configurations", *map(sa.column, _OLD_COLUMNS))
    rows = [dict(row) for row in connection.execute(sa.select(old)).mappings()]
    op.drop_table("provider_configurations")
    table = op.create_table(
        "provider_configurations",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False, unique=True),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("provider_id", TEXT, nullable=False),
        sa.Column("config", TEXT, nullable=False),
        *_common_columns(),
        sqlite_with_rowid=False,
    )
    for name, column in (("creation", "created_at"), ("update", "updated_at"), ("name", "name")):
        columns = ["status", column, "id"]
        op.create_index(f"provider_configurations_by_{name}", "provider_configurations", columns)
        op.create_index(
            f"provider_configurations_by_provider_and_{name}", "provider_configurations", ["provider_id", *columns]
        )
    for row in rows:
        sealed = vault.seal(jsontext.decode(row["config"]), row["id"])
        connection.execute(
            sa.insert(table).values({**row, "config": jsontext.encode(sealed).decode(), "revision": 1})
        )


_OLD_COLUMNS = (
    "id",
    "name",
    "description",
    "provider_id",
    "config",
    "status",
    "metadata",
    "created_at",
    "updated_at",
)


def _create_executor_configurations() -> None:
    op.create_table(
        "executor_configurations",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False, unique=True),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("base_url", TEXT, nullable=False),
        sa.Column("endpoints", TEXT, nullable=False),
        sa.Column("authentication", TEXT, nullable=False),
        *_common_columns(),
        sqlite_with_rowid=False,
    )
    op.create_index("executor_configurations_by_creation", "executor_configurations", ["status", "created_at", "id"])
    op.create_index("executor_configurations_by_update", "executor_configurations", ["status", "updated_at", "id"])
    op.create_index("executor_configurations_by_name", "executor_configurations", ["status", "name", "id"])


def _common_columns() -> Iterable[sa.Column[Any]]:
    return (
        sa.Column("status", TEXT, nullable=False),
        sa.Column("metadata", TEXT, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("updated_at", TEXT, nullable=False),
        sa.Column("last_tested_at", TEXT),
        sa.Column("last_test", TEXT),
    )


def _create_configuration_references() -> None:
    op.create_table(
        "configuration_references",
        sa.Column("configuration_id", TEXT, primary_key=True),
        sa.Column("workflow_id", TEXT, sa.ForeignKey("workflows.id"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("configuration_references_by_workflow", "configuration_references", ["workflow_id"])


def _take_over_definitions(connection: Connection, vault: Vault) -> None:
    """Seal the tokens of triggers in every revision, and note what active workflows refer to."""
    revisions = sa.table("workflow_revisions", *map(sa.column, ("workflow_id", "revision", "definition")))
    for id_, number, text in connection.execute(sa.select(revisions)).all():
        definition = jsontext.decode(text)
        definition["nodes"] = [_sealed(node, id_, vault) for node in definition["nodes"]]
        connection.execute(
            sa.update(revisions)
            .where(revisions.c.workflow_id == id_, revisions.c.revision == number)
            .values(definition=jsontext.encode(definition).decode())
        )
    _note_references(connection, revisions)


def _sealed(node: Mapping[str, Any], workflow_id: str, vault: Vault) -> Mapping[str, Any]:
    if node["type"] != "trigger" or not node.get("data"):
        return node
    return {**node, "data": vault.seal(node["data"], f"{workflow_id}/{node['id']}")}


def _note_references(connection: Connection, revisions: sa.TableClause) -> None:
    workflows = sa.table("workflows", *map(sa.column, ("id", "revision", "status")))
    references = sa.table("configuration_references", sa.column("configuration_id"), sa.column("workflow_id"))
    active = sa.select(revisions.c.workflow_id, revisions.c.definition).where(
        workflows.c.status == "active",
        workflows.c.id == revisions.c.workflow_id,
        workflows.c.revision == revisions.c.revision,
    )
    for workflow_id, text in connection.execute(active).all():
        nodes = jsontext.decode(text)["nodes"]
        ids = {(node.get("data") or {}).get("providerConfigId") for node in nodes if node["type"] == "executor"}
        for id_ in ids - {None}:
            connection.execute(sa.insert(references).values(configuration_id=id_, workflow_id=workflow_id))
