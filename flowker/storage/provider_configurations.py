"""Configurations of providers: where a far side is and how to speak with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy import insert as insert_into

from flowker import jsontext
from flowker.storage.statements import AnyRow
from flowker.storage.tables import provider_configurations


@dataclass(frozen=True, slots=True)
class StoredProviderConfiguration:
    """`config` has its secrets sealed; `revision` rises with every change."""

    id: str
    name: str
    description: str
    provider_id: str
    config: dict[str, Any]
    status: str
    metadata: dict[str, Any]
    revision: int
    created_at: str
    updated_at: str
    last_tested_at: str | None = None
    last_test: dict[str, Any] | None = None


def insert(connection: Connection, configuration: StoredProviderConfiguration) -> None:
    connection.execute(
        insert_into(provider_configurations).values(
            id=configuration.id,
            name=configuration.name,
            description=configuration.description,
            provider_id=configuration.provider_id,
            config=jsontext.encode(configuration.config).decode(),
            status=configuration.status,
            metadata=jsontext.encode(configuration.metadata).decode(),
            revision=configuration.revision,
            created_at=configuration.created_at,
            updated_at=configuration.updated_at,
        )
    )


def get(connection: Connection, id_: str) -> StoredProviderConfiguration | None:
    return find(connection, [id_]).get(id_)


def find(connection: Connection, ids: Iterable[str]) -> dict[str, StoredProviderConfiguration]:
    """Those of the ids that exist, by id."""
    rows = connection.execute(
        select(provider_configurations).where(provider_configurations.c.id.in_(sorted(set(ids))))
    )
    return {row.id: _stored(row) for row in rows}


def _stored(row: AnyRow) -> StoredProviderConfiguration:
    return StoredProviderConfiguration(
        id=row.id,
        name=row.name,
        description=row.description,
        provider_id=row.provider_id,
        config=jsontext.decode(row.config),
        status=row.status,
        metadata=jsontext.decode(row.metadata),
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_tested_at=row.last_tested_at,
        last_test=None if row.last_test is None else jsontext.decode(row.last_test),
    )


def list_active(connection: Connection, provider_id: str | None, limit: int) -> list[tuple[str, str]]:
    """Id and name of active configurations, the first by name; of one provider or of all of them."""
    table = provider_configurations
    query = select(table.c.id, table.c.name).where(table.c.status == "active")
    if provider_id is not None:
        query = query.where(table.c.provider_id == provider_id)
    return [(row.id, row.name) for row in connection.execute(query.order_by(table.c.name, table.c.id).limit(limit))]
