"""The first schema: workflows, executions with their journal, webhooks, the audit chain, provider configurations."""

import sqlalchemy as sa
from alembic import op

from flowker.storage.columns import COUNTER, TEXT

revision = "0001"
down_revision = None

_AUDIT_TRIGGERS = {
    "sqlite": (
        """CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
           BEGIN SELECT RAISE(ABORT, 'audit events are never changed'); END""",
        """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
           BEGIN SELECT RAISE(ABORT, 'audit events are never deleted'); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION refuse_change_of_audit_events() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN
               RAISE integrity_constraint_violation USING MESSAGE = 'audit events are never ' || TG_ARGV[0];
           END $$""",
        *(
            f"""CREATE TRIGGER audit_events_no_{event} BEFORE {event} ON audit_events
                FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_events('{done}')"""
            for event, done in (("update", "changed"), ("delete", "deleted"), ("truncate", "deleted"))
        ),
    ),
}


def upgrade() -> None:
    _create_workflows()
    _create_executions()
    _create_audit_events()
    _create_provider_configurations()


def _create_workflows() -> None:
    op.create_table(
        "workflows",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False, unique=True),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("updated_at", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("workflows_by_creation", "workflows", ["status", "created_at", "id"])
    op.create_index("workflows_by_update", "workflows", ["status", "updated_at", "id"])
    op.create_index("workflows_by_name", "workflows", ["status", "name", "id"])
    op.create_table(
        "workflow_revisions",
        sa.Column("workflow_id", TEXT, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("definition", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
    )
    op.create_table(
        "webhook_routes",
        sa.Column("workflow_id", TEXT, sa.ForeignKey("workflows.id"), primary_key=True),
        sa.Column("method", TEXT, primary_key=True),
        sa.Column("path", TEXT, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("node_id", TEXT, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    _create_partial_index("webhook_routes_one_active", "webhook_routes", ["method", "path"], "active", unique=True)
    op.create_index("webhook_routes_by_path", "webhook_routes", ["method", "path", "active"])


def _create_executions() -> None:
    op.create_table(
        "executions",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("workflow_id", TEXT, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("trigger_node_id", TEXT),
        sa.Column("idempotency_key", TEXT),
        sa.Column("input_digest", TEXT),
        sa.Column("current_step_number", sa.Integer, nullable=False),
        sa.Column("total_steps", sa.Integer, nullable=False),
        sa.Column("started_at", TEXT, nullable=False),
        sa.Column("deadline_at", TEXT, nullable=False),
        sa.Column("completed_at", TEXT),
        sa.Column("error_message", TEXT),
        sa.Column("wake_at", TEXT),
        sa.CheckConstraint(
            "(completed_at IS NULL) = (status IN ('pending', 'running'))", name="executions_completed_when_terminal"
        ),
        sqlite_with_rowid=False,
    )
    _create_execution_indexes()
    op.create_table(
        "journal",
        sa.Column("execution_id", TEXT, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("payload", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_execution_indexes() -> None:
    keyed, open_, ended = "idempotency_key IS NOT NULL", "completed_at IS NULL", "completed_at IS NOT NULL"
    by_workflow = ["workflow_id", "status", "started_at", "id"]
    by_workflow_completion = ["workflow_id", "status", "completed_at", "id"]
    _create_partial_index(
        "executions_one_per_key", "executions", ["workflow_id", "idempotency_key"], keyed, unique=True
    )
    op.create_index("executions_by_start", "executions", ["status", "started_at", "id"])
    _create_partial_index("executions_by_workflow_start_open", "executions", by_workflow, open_)
    _create_partial_index("executions_by_workflow_start_ended", "executions", by_workflow, ended)
    _create_partial_index("executions_by_completion", "executions", ["status", "completed_at", "id"], ended)
    _create_partial_index("executions_by_workflow_completion", "executions", by_workflow_completion, ended)
    _create_partial_index("executions_open", "executions", ["wake_at", "id"], open_)


def _create_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("sequence", COUNTER, primary_key=True, autoincrement=False),
        sa.Column("event_id", TEXT, nullable=False, unique=True),
        sa.Column("event_type", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("result", TEXT, nullable=False),
        sa.Column("resource_type", TEXT, nullable=False),
        sa.Column("resource_id", TEXT, nullable=False),
        sa.Column("actor_type", TEXT, nullable=False),
        sa.Column("actor_id", TEXT),
        sa.Column("actor_ip", TEXT),
        sa.Column("context", TEXT, nullable=False),
        sa.Column("metadata", TEXT, nullable=False),
        sa.Column("timestamp", TEXT, nullable=False),
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("previous_hash", TEXT, nullable=False),
    )
    for statement in _AUDIT_TRIGGERS[op.get_context().dialect.name]:
        op.execute(statement)


def _create_provider_configurations() -> None:
    op.create_table(
        "provider_configurations",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False, unique=True),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("provider_id", TEXT, nullable=False),
        sa.Column("config", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("metadata", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("updated_at", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
