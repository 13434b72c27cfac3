"""Which workflow answers which webhook: at most one active workflow for a method and path."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from flowker.domain.errors import WebhookTaken
from flowker.storage.statements import Prepared
from flowker.storage.tables import webhook_routes, workflows


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    node_id: str


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """Who answers, or, when not `active`, who did until it was deactivated."""

    workflow_id: str
    revision: int
    node_id: str
    active: bool


def claim(connection: Connection, workflow_id: str, revision: int, routes: Sequence[Route]) -> None:
    """Make the workflow the owner of these routes, in place of those that it had. Raises `WebhookTaken`."""
    remove(connection, workflow_id)
    if not routes:
        return
    rows = [
        {
            "workflow_id": workflow_id,
            "revision": revision,
            "method": route.method,
            "path": route.path,
            "node_id": route.node_id,
            "active": True,
        }
        for route in routes
    ]
    try:
        connection.execute(insert(webhook_routes), rows)
    except IntegrityError:
        raise WebhookTaken from None


def find_taken(connection: Connection, workflow_id: str, webhooks: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of these methods and paths another active workflow owns."""
    return {
        webhook
        for webhook in webhooks
        for row in _select_owners.run(connection, webhook)
        if row.active and row.workflow_id != workflow_id
    }


def deactivate(connection: Connection, workflow_id: str) -> None:
    """Free the workflow's routes for others, and remember that they were its own."""
    connection.execute(update(webhook_routes).where(webhook_routes.c.workflow_id == workflow_id).values(active=False))


def remove(connection: Connection, workflow_id: str) -> None:
    connection.execute(delete(webhook_routes).where(webhook_routes.c.workflow_id == workflow_id))


def find(connection: Connection, method: str, path: str) -> FoundRoute | None:
    """The active owner of a webhook, else the one that was deactivated last, else None."""
    owners = _select_owners.run(connection, (method, path))
    # An inactive workflow takes no other change: what was updated last was deactivated last.
    row = max(owners, key=lambda row: (row.active, row.updated_at, row.workflow_id), default=None)
    return None if row is None else FoundRoute(row.workflow_id, row.revision, row.node_id, bool(row.active))


_select_owners = Prepared(
    lambda _: (
        select(
            webhook_routes.c.workflow_id,
            webhook_routes.c.revision,
            webhook_routes.c.node_id,
            webhook_routes.c.active,
            workflows.c.updated_at,
        )
        .join(workflows, workflows.c.id == webhook_routes.c.workflow_id)
        .where(webhook_routes.c.method == bindparam("method"), webhook_routes.c.path == bindparam("path"))
    ),
    ("method", "path"),
)
