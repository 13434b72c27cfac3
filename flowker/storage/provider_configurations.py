"""Configurations of providers: where a far side is and how to speak with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy.exc import IntegrityError

from flowker import jsontext
from flowker.domain.errors import (
    ChangedMeanwhile,
    ProviderConfigurationNameTaken,
    ProviderConfigurationNotFound,
)
from flowker.storage.pages import Listing, Page, Phase, Query, read_page
from flowker.storage.statements import AnyRow, Prepared
from flowker.storage.tables import provider_configurations

STATUSES: Final = ("active", "disabled")


@dataclass(frozen=True, slots=True)
class StoredProviderConfiguration:
    """`config` has its secrets sealed; `revision` rises with every change, and not with a test."""

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
    """Raises `ProviderConfigurationNameTaken`."""
    try:
        connection.execute(
            insert_into(provider_configurations).values(
                id=configuration.id,
                provider_id=configuration.provider_id,
                created_at=configuration.created_at,
                **_columns(configuration),
            )
        )
    except IntegrityError:
        raise ProviderConfigurationNameTaken from None


def get(connection: Connection, id_: str) -> StoredProviderConfiguration | None:
    row = _select.run(connection, (id_,)).one_or_none()
    return None if row is None else _stored(row)


def require(connection: Connection, id_: str) -> StoredProviderConfiguration:
    """Raises `ProviderConfigurationNotFound`."""
    found = get(connection, id_)
    if found is None:
        raise ProviderConfigurationNotFound
    return found


def find(connection: Connection, ids: Iterable[str]) -> dict[str, StoredProviderConfiguration]:
    """Those of the ids that exist, by id."""
    rows = connection.execute(
        select(provider_configurations).where(provider_configurations.c.id.in_(sorted(set(ids))))
    )
    return {row.id: _stored(row) for row in rows}


def replace(connection: Connection, configuration: StoredProviderConfiguration, expected_revision: int) -> None:
    """Write over the expected revision; what is known of tests stays.

    Raises `ProviderConfigurationNotFound`, `ChangedMeanwhile` and `ProviderConfigurationNameTaken`.
    """
    try:
        written = connection.execute(
            update(provider_configurations)
            .where(*_is(configuration.id, expected_revision))
            .values(**_columns(configuration))
        )
    except IntegrityError:
        raise ProviderConfigurationNameTaken from None
    if not written.rowcount:
        require(connection, configuration.id)
        raise ChangedMeanwhile


def delete(connection: Connection, id_: str) -> None:
    """Raises `ProviderConfigurationNotFound`."""
    deleted = connection.execute(delete_from(provider_configurations).where(provider_configurations.c.id == id_))
    if not deleted.rowcount:
        raise ProviderConfigurationNotFound


def record_test(connection: Connection, id_: str, revision: int, tested_at: str, result: dict[str, Any]) -> None:
    """Keep the result of a test with the revision that was tested; of another one it says nothing."""
    connection.execute(
        update(provider_configurations)
        .where(*_is(id_, revision))
        .values(last_tested_at=tested_at, last_test=jsontext.encode(result).decode())
    )


def list_page(
    connection: Connection,
    *,
    status: str | None = None,
    provider_id: str | None = None,
    limit: int = 10,
    cursor: str | None = None,
    sort_by: str = "createdAt",
    sort_order: str = "DESC",
) -> Page[StoredProviderConfiguration]:
    """A page sorted by `createdAt`, `updatedAt` or `name`."""
    query = Query(status, {"provider_id": provider_id}, limit, cursor, sort_by, sort_order)
    return read_page(connection, _listing, query)


def _columns(configuration: StoredProviderConfiguration) -> dict[str, Any]:
    """What a change may write."""
    return {
        "name": configuration.name,
        "description": configuration.description,
        "config": jsontext.encode(configuration.config).decode(),
        "status": configuration.status,
        "metadata": jsontext.encode(configuration.metadata).decode(),
        "revision": configuration.revision,
        "updated_at": configuration.updated_at,
    }


def _is(id_: str, revision: int) -> tuple[Any, ...]:
    return provider_configurations.c.id == id_, provider_configurations.c.revision == revision


def list_active(connection: Connection, provider_id: str | None, limit: int) -> list[tuple[str, str]]:
    """Id and name of active configurations, the first by name; of one provider or of all of them."""
    table = provider_configurations
    query = select(table.c.id, table.c.name).where(table.c.status == "active")
    if provider_id is not None:
        query = query.where(table.c.provider_id == provider_id)
    return [(row.id, row.name) for row in connection.execute(query.order_by(table.c.name, table.c.id).limit(limit))]


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


_select = Prepared(
    lambda _: select(provider_configurations).where(provider_configurations.c.id == bindparam("id")), ("id",)
)

_statuses = {status: provider_configurations.c.status == status for status in STATUSES}

_listing = Listing(
    name="provider-configurations",
    source=provider_configurations,
    columns=tuple(provider_configurations.columns),
    id=provider_configurations.c.id,
    sorts={
        "createdAt": [Phase(provider_configurations.c.created_at, _statuses)],
        "updatedAt": [Phase(provider_configurations.c.updated_at, _statuses)],
        "name": [Phase(provider_configurations.c.name, _statuses)],
    },
    make=_stored,
    has_large_rows=True,
)
