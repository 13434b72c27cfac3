"""Which active workflows call through which configuration, so that none is taken from under them."""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select

from flowker.domain.errors import ConfigurationInUse
from flowker.storage.tables import configuration_references, workflows

NAMED_MAX = 20
"""How many workflows a refusal names."""


def claim(connection: Connection, workflow_id: str, configuration_ids: Iterable[str]) -> None:
    """Note what a workflow uses from now on, in place of what it used."""
    release(connection, workflow_id)
    rows = [{"configuration_id": id_, "workflow_id": workflow_id} for id_ in sorted(set(configuration_ids))]
    if rows:
        connection.execute(insert(configuration_references), rows)


def release(connection: Connection, workflow_id: str) -> None:
    """The workflow uses nothing any more."""
    connection.execute(delete(configuration_references).where(configuration_references.c.workflow_id == workflow_id))


def require_unused(connection: Connection, configuration_id: str) -> None:
    """Raise `ConfigurationInUse`, which names the workflows, while an active one calls through the configuration."""
    users = connection.execute(
        select(workflows.c.id, workflows.c.name)
        .join(configuration_references, configuration_references.c.workflow_id == workflows.c.id)
        .where(configuration_references.c.configuration_id == configuration_id)
        .order_by(workflows.c.id)
        .limit(NAMED_MAX)
    ).all()
    if users:
        named = {f"workflows.{row.id}": f"is active and uses it: {row.name}" for row in users}
        raise ConfigurationInUse(fields=named)
