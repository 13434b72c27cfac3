"""Every table of the store, with the indexes that keep each request off a table scan.

Text columns named after JSON (`definition`, `payload`, `context`, `config`, …) hold JSON text as it was written:
decoding is for the noun modules, so that a number keeps its digits. Timestamps are RFC 3339 text in UTC with
microseconds, which sorts as time does.

Lists are read as a merge of their statuses (see `flowker.storage.pages`), so each list index starts with `status`
and serves the list with and without that filter. `executions` and `journal` are the hot tables: they have no index
that a request does not need, and no foreign keys, whose check would cost one more lookup for each row.
"""

from typing import Final

from sqlalchemy import CheckConstraint, Index, Table
from sqlmodel import AutoString, Field, SQLModel

from flowker.storage.columns import COUNTER, TEXT

PARTIAL: Final = "where"
"""Says in the `info` of an index which rows it has. Whoever creates it tells its database: each option that is named
after a database here would import all that there is for that one, at each start.
"""


class Workflow(SQLModel, table=True):
    __tablename__ = "workflows"
    __table_args__ = (
        Index("workflows_by_creation", "status", "created_at", "id"),
        Index("workflows_by_update", "status", "updated_at", "id"),
        Index("workflows_by_name", "status", "name", "id"),
        {"sqlite_with_rowid": False},
    )

    id: str = Field(primary_key=True)
    name: str = Field(sa_column_kwargs={"unique": True})
    description: str
    status: str
    revision: int
    created_at: str
    updated_at: str


class WorkflowRevision(SQLModel, table=True):
    """A definition as it once was. It outlives its workflow while executions refer to it."""

    __tablename__ = "workflow_revisions"

    workflow_id: str = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    definition: str
    created_at: str


class WebhookRoute(SQLModel, table=True):
    """Who answers a webhook: one active workflow at most, and the workflows that did until they were deactivated."""

    __tablename__ = "webhook_routes"
    __table_args__ = (
        Index(
            "webhook_routes_one_active",
            "method",
            "path",
            unique=True,
            info={PARTIAL: "active"},
        ),
        Index("webhook_routes_by_path", "method", "path", "active"),
        {"sqlite_with_rowid": False},
    )

    workflow_id: str = Field(primary_key=True, foreign_key="workflows.id")
    method: str = Field(primary_key=True)
    path: str = Field(primary_key=True)
    revision: int
    node_id: str
    active: bool


class Execution(SQLModel, table=True):
    __tablename__ = "executions"
    __table_args__ = (
        CheckConstraint(
            "(completed_at IS NULL) = (status IN ('pending', 'running'))", name="executions_completed_when_terminal"
        ),
        Index(
            "executions_one_per_key",
            "workflow_id",
            "idempotency_key",
            unique=True,
            info={PARTIAL: "idempotency_key IS NOT NULL"},
        ),
        Index("executions_by_start", "status", "started_at", "id"),
        # Two indexes of one order: the open executions of all workflows together fill a page or two, and a batch of
        # acceptances writes these instead of one page for each workflow.
        Index(
            "executions_by_workflow_start_open",
            "workflow_id",
            "status",
            "started_at",
            "id",
            info={PARTIAL: "completed_at IS NULL"},
        ),
        Index(
            "executions_by_workflow_start_ended",
            "workflow_id",
            "status",
            "started_at",
            "id",
            info={PARTIAL: "completed_at IS NOT NULL"},
        ),
        Index(
            "executions_by_completion",
            "status",
            "completed_at",
            "id",
            info={PARTIAL: "completed_at IS NOT NULL"},
        ),
        Index(
            "executions_by_workflow_completion",
            "workflow_id",
            "status",
            "completed_at",
            "id",
            info={PARTIAL: "completed_at IS NOT NULL"},
        ),
        # Serves both what is due (wake_at has a time) and what nobody waits for (wake_at is null).
        Index(
            "executions_open",
            "wake_at",
            "id",
            info={PARTIAL: "completed_at IS NULL"},
        ),
        {"sqlite_with_rowid": False},
    )

    id: str = Field(primary_key=True)
    workflow_id: str
    revision: int
    status: str
    trigger_node_id: str | None
    idempotency_key: str | None
    input_digest: str | None
    current_step_number: int
    total_steps: int
    started_at: str
    completed_at: str | None
    error_message: str | None
    wake_at: str | None


class JournalEntry(SQLModel, table=True):
    """One event of an execution; its state is the fold of them in order."""

    __tablename__ = "journal"
    __table_args__ = ({"sqlite_with_rowid": False},)

    execution_id: str = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    kind: str
    payload: str


class AuditRow(SQLModel, table=True):
    """A link of the audit chain. Triggers (see `flowker.storage.triggers`) refuse UPDATE, and DELETE of what
    was not archived.

    The chain is ordered by time too (see `flowker.storage.audit_events`), so its sequence orders every list.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("audit_events_by_type", "event_type", "sequence"),
        Index("audit_events_by_resource", "resource_id", "event_type", "sequence"),
    )

    sequence: int = Field(primary_key=True, sa_type=COUNTER, sa_column_kwargs={"autoincrement": False})
    event_id: str = Field(sa_column_kwargs={"unique": True})
    event_type: str
    action: str
    result: str
    resource_type: str
    resource_id: str
    actor_type: str
    actor_id: str | None
    actor_ip: str | None
    context: str
    # `metadata` is taken in every SQLModel class.
    metadata_: str = Field(sa_column_kwargs={"name": "metadata"})
    timestamp: str
    hash: str
    previous_hash: str


class AuditCheckpoint(SQLModel, table=True):
    """Up to where the chain was archived, signed. Triggers refuse to delete it, to set it back, and to set it forward
    to anything but an entry of the chain that another one follows.
    """

    __tablename__ = "audit_checkpoint"
    __table_args__ = (CheckConstraint("number = 1", name="audit_checkpoint_is_one"),)

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    first_sequence: int = Field(sa_type=COUNTER)
    previous_hash: str
    sequence: int = Field(sa_type=COUNTER)
    hash: str
    timestamp: str
    archived_at: str
    public_key: str
    signature: str


class ProviderConfiguration(SQLModel, table=True):
    """`config` has its secrets sealed (see `flowker.storage.vault`); `revision` rises with every change."""

    __tablename__ = "provider_configurations"
    __table_args__ = (
        Index("provider_configurations_by_creation", "status", "created_at", "id"),
        Index("provider_configurations_by_update", "status", "updated_at", "id"),
        Index("provider_configurations_by_name", "status", "name", "id"),
        Index("provider_configurations_by_provider_and_creation", "provider_id", "status", "created_at", "id"),
        Index("provider_configurations_by_provider_and_update", "provider_id", "status", "updated_at", "id"),
        Index("provider_configurations_by_provider_and_name", "provider_id", "status", "name", "id"),
        {"sqlite_with_rowid": False},
    )

    id: str = Field(primary_key=True)
    name: str = Field(sa_column_kwargs={"unique": True})
    description: str
    provider_id: str
    config: str
    status: str
    metadata_: str = Field(sa_column_kwargs={"name": "metadata"})
    revision: int
    created_at: str
    updated_at: str
    last_tested_at: str | None
    last_test: str | None


class ExecutorConfiguration(SQLModel, table=True):
    """`authentication` has its secrets sealed; `revision` rises with every change."""

    __tablename__ = "executor_configurations"
    __table_args__ = (
        Index("executor_configurations_by_creation", "status", "created_at", "id"),
        Index("executor_configurations_by_update", "status", "updated_at", "id"),
        Index("executor_configurations_by_name", "status", "name", "id"),
        {"sqlite_with_rowid": False},
    )

    id: str = Field(primary_key=True)
    name: str = Field(sa_column_kwargs={"unique": True})
    description: str
    base_url: str
    endpoints: str
    authentication: str
    status: str
    metadata_: str = Field(sa_column_kwargs={"name": "metadata"})
    revision: int
    created_at: str
    updated_at: str
    last_tested_at: str | None
    last_test: str | None


class ConfigurationReference(SQLModel, table=True):
    """An active workflow calls through a configuration, of a provider or of an executor."""

    __tablename__ = "configuration_references"
    __table_args__ = (
        Index("configuration_references_by_workflow", "workflow_id"),
        {"sqlite_with_rowid": False},
    )

    configuration_id: str = Field(primary_key=True)
    workflow_id: str = Field(primary_key=True, foreign_key="workflows.id")


metadata = SQLModel.metadata

for _column in (column for table in metadata.tables.values() for column in table.columns):
    if isinstance(_column.type, AutoString):
        _column.type = TEXT


def _table(name: str) -> Table:
    return metadata.tables[name]


workflows = _table("workflows")
workflow_revisions = _table("workflow_revisions")
webhook_routes = _table("webhook_routes")
executions = _table("executions")
journal = _table("journal")
audit_events = _table("audit_events")
audit_checkpoint = _table("audit_checkpoint")
provider_configurations = _table("provider_configurations")
executor_configurations = _table("executor_configurations")
configuration_references = _table("configuration_references")
