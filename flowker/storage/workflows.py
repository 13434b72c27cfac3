"""Workflows and their revisions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, bindparam, exists, join, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy.exc import IntegrityError

from flowker import jsontext
from flowker.domain.errors import ChangedMeanwhile, WorkflowNameTaken, WorkflowNotFound
from flowker.domain.secrets import mask
from flowker.storage import webhook_routes
from flowker.storage.pages import Listing, Page, Phase, Query, read_page
from flowker.storage.statements import AnyRow, Prepared
from flowker.storage.tables import executions, workflow_revisions, workflows
from flowker.storage.vault import Vault

STATUSES: Final = ("draft", "active", "inactive")


@dataclass(frozen=True, slots=True)
class StoredWorkflow:
    """A workflow with the definition of its current revision; the secrets of its nodes are sealed."""

    id: str
    name: str
    description: str
    status: str
    revision: int
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    metadata: dict[str, Any]
    created_at: str
    updated_at: str


def seal_nodes(vault: Vault, workflow_id: str, nodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The nodes with the secrets of triggers sealed, as they are stored."""
    return [_with_secrets(node, partial(vault.seal, owner=f"{workflow_id}/{node['id']}")) for node in nodes]


def open_nodes(vault: Vault, workflow_id: str, nodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stored nodes with their secrets in clear; raises `SecretUnreadable`."""
    return [_with_secrets(node, partial(vault.open, owner=f"{workflow_id}/{node['id']}")) for node in nodes]


def reseal_nodes(vault: Vault, workflow_id: str, nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stored nodes sealed with the first key: the list itself where they already are."""
    resealed = [_with_secrets(node, partial(vault.reseal, owner=f"{workflow_id}/{node['id']}")) for node in nodes]
    same = all(new.get("data") is old.get("data") for new, old in zip(resealed, nodes, strict=True))
    return nodes if same else resealed


def mask_nodes(nodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The nodes as they may be shown."""
    return [_with_secrets(node, mask) for node in nodes]


def insert(connection: Connection, workflow: StoredWorkflow) -> None:
    """Raises `WorkflowNameTaken`."""
    try:
        connection.execute(
            insert_into(workflows).values(id=workflow.id, **_columns(workflow), created_at=workflow.created_at)
        )
    except IntegrityError:
        raise WorkflowNameTaken from None
    _insert_revision(connection, workflow)


def get(connection: Connection, id_: str) -> StoredWorkflow:
    """Raises `WorkflowNotFound`."""
    row = _select_whole.run(connection, (id_,)).one_or_none()
    if row is None:
        raise WorkflowNotFound
    return _stored(row)


def get_revision(connection: Connection, id_: str, revision: int) -> dict[str, Any]:
    """`{nodes, edges, metadata}` of a revision, also of a deleted workflow that was executed; or WorkflowNotFound."""
    definition = _select_definition.run(connection, (id_, revision)).scalar_one_or_none()
    if definition is None:
        raise WorkflowNotFound
    decoded: dict[str, Any] = jsontext.decode(definition)
    return decoded


def replace(connection: Connection, workflow: StoredWorkflow, expected_revision: int) -> None:
    """Write a new revision over the expected one, in the status that `workflow` has.

    Raises `WorkflowNotFound`, `ChangedMeanwhile` when revision or status moved, `WorkflowNameTaken`.
    """
    try:
        written = connection.execute(
            update(workflows)
            .where(*_is(workflow.id, workflow.status, expected_revision))
            .values(**_columns(workflow))
        )
    except IntegrityError:
        raise WorkflowNameTaken from None
    _require_written(connection, workflow.id, written.rowcount)
    _insert_revision(connection, workflow)


def set_status(connection: Connection, id_: str, *, expected: tuple[str, int], status: str, updated_at: str) -> None:
    """Move from the expected (status, revision). Raises `WorkflowNotFound` and `ChangedMeanwhile`."""
    written = connection.execute(
        update(workflows).where(*_is(id_, *expected)).values(status=status, updated_at=updated_at)
    )
    _require_written(connection, id_, written.rowcount)


def delete(connection: Connection, id_: str) -> None:
    """Remove the workflow and its routes; its revisions too, unless an execution of it needs them.

    Executions stay, and one that still runs goes on with the revision that it was accepted with.
    """
    webhook_routes.remove(connection, id_)
    deleted = connection.execute(delete_from(workflows).where(workflows.c.id == id_))
    if not deleted.rowcount:
        raise WorkflowNotFound
    delete_unused_revisions(connection, id_)


def delete_unused_revisions(connection: Connection, id_: str) -> int:
    """Remove the revisions of a workflow that is gone and has no execution; how many those were."""
    # Two questions, because there is an index for each and none for both.
    its_own = executions.c.workflow_id == id_
    is_there = exists().where(workflows.c.id == id_)
    is_executed = exists().where(its_own, executions.c.completed_at.is_(None))
    was_executed = exists().where(its_own, executions.c.completed_at.is_not(None))
    deleted = connection.execute(
        delete_from(workflow_revisions).where(
            workflow_revisions.c.workflow_id == id_, ~is_there, ~is_executed, ~was_executed
        )
    )
    return deleted.rowcount


def list_page(
    connection: Connection,
    *,
    status: str | None = None,
    limit: int = 10,
    cursor: str | None = None,
    sort_by: str = "createdAt",
    sort_order: str = "DESC",
) -> Page[StoredWorkflow]:
    """A page sorted by `createdAt`, `updatedAt` or `name`."""
    return read_page(connection, _listing, Query(status, {}, limit, cursor, sort_by, sort_order))


def _with_secrets(node: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """What other nodes than triggers say is data of the business, whatever its names."""
    return {**node, "data": change(node["data"])} if node["type"] == "trigger" and node.get("data") else node


def _columns(workflow: StoredWorkflow) -> dict[str, Any]:
    return {
        "name": workflow.name,
        "description": workflow.description,
        "status": workflow.status,
        "revision": workflow.revision,
        "updated_at": workflow.updated_at,
    }


def _insert_revision(connection: Connection, workflow: StoredWorkflow) -> None:
    definition = {"nodes": workflow.nodes, "edges": workflow.edges, "metadata": workflow.metadata}
    connection.execute(
        insert_into(workflow_revisions).values(
            workflow_id=workflow.id,
            revision=workflow.revision,
            definition=jsontext.encode(definition).decode(),
            created_at=workflow.updated_at,
        )
    )


def _is(id_: str, status: str, revision: int) -> tuple[Any, ...]:
    return workflows.c.id == id_, workflows.c.status == status, workflows.c.revision == revision


def _require_written(connection: Connection, id_: str, rows: int) -> None:
    if rows:
        return
    if connection.execute(select(workflows.c.id).where(workflows.c.id == id_)).one_or_none() is None:
        raise WorkflowNotFound
    raise ChangedMeanwhile


def _stored(row: AnyRow) -> StoredWorkflow:
    return StoredWorkflow(
        id=row.id,
        name=row.name,
        description=row.description,
        status=row.status,
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
        **jsontext.decode(row.definition),
    )


_with_definition = join(
    workflows,
    workflow_revisions,
    (workflow_revisions.c.workflow_id == workflows.c.id) & (workflow_revisions.c.revision == workflows.c.revision),
)

_whole = (*workflows.columns, workflow_revisions.c.definition)

_select_whole = Prepared(
    lambda _: select(*_whole).select_from(_with_definition).where(workflows.c.id == bindparam("id")), ("id",)
)

_select_definition = Prepared(
    lambda _: select(workflow_revisions.c.definition).where(
        workflow_revisions.c.workflow_id == bindparam("workflow_id"),
        workflow_revisions.c.revision == bindparam("revision"),
    ),
    ("workflow_id", "revision"),
)

_statuses = {status: workflows.c.status == status for status in STATUSES}

_listing = Listing(
    name="workflows",
    source=_with_definition,
    columns=_whole,
    id=workflows.c.id,
    sorts={
        "createdAt": [Phase(workflows.c.created_at, _statuses)],
        "updatedAt": [Phase(workflows.c.updated_at, _statuses)],
        "name": [Phase(workflows.c.name, _statuses)],
    },
    make=_stored,
    has_large_rows=True,
)
