"""Configurations of executors: a base URL, the endpoints below it, and as whom they are called."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, get_args

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy import insert as insert_into
from sqlalchemy.exc import IntegrityError

from flowker import jsontext
from flowker.domain.errors import (
    ChangedMeanwhile,
    ExecutorConfigurationNameTaken,
    ExecutorConfigurationNotFound,
)
from flowker.domain.executor_configurations import Status
from flowker.storage.pages import Listing, Page, Phase, Query, read_page
from flowker.storage.statements import AnyRow, Prepared
from flowker.storage.tables import executor_configurations

STATUSES: Final = get_args(Status)


@dataclass(frozen=True, slots=True)
class StoredExecutorConfiguration:
    """`authentication` has its secrets sealed; `revision` rises with every change and with every test."""

    id: str
    name: str
    description: str
    base_url: str
    endpoints: list[dict[str, Any]]
    authentication: dict[str, Any]
    status: Status
    metadata: dict[str, Any]
    revision: int
    created_at: str
    updated_at: str
    last_tested_at: str | None = None
    last_test: dict[str, Any] | None = None

    def endpoint(self, name: str) -> dict[str, Any] | None:
        """The endpoint with this name, if there is one."""
        return next((endpoint for endpoint in self.endpoints if endpoint["name"] == name), None)


def insert(connection: Connection, configuration: StoredExecutorConfiguration) -> None:
    """Raises `ExecutorConfigurationNameTaken`."""
    try:
        connection.execute(
            insert_into(executor_configurations).values(
                id=configuration.id, created_at=configuration.created_at, **_columns(configuration)
            )
        )
    except IntegrityError:
        raise ExecutorConfigurationNameTaken from None


def get(connection: Connection, id_: str) -> StoredExecutorConfiguration | None:
    row = _select.run(connection, (id_,)).one_or_none()
    return None if row is None else _stored(row)


def require(connection: Connection, id_: str) -> StoredExecutorConfiguration:
    """Raises `ExecutorConfigurationNotFound`."""
    found = get(connection, id_)
    if found is None:
        raise ExecutorConfigurationNotFound
    return found


def find(connection: Connection, ids: Iterable[str]) -> dict[str, StoredExecutorConfiguration]:
    """Those of the ids that exist, by id."""
    rows = connection.execute(
        select(executor_configurations).where(executor_configurations.c.id.in_(sorted(set(ids))))
    )
    return {row.id: _stored(row) for row in rows}


def replace(connection: Connection, configuration: StoredExecutorConfiguration, expected_revision: int) -> None:
    """Write over the expected revision.

    Raises `ExecutorConfigurationNotFound`, `ChangedMeanwhile` and `ExecutorConfigurationNameTaken`.
    """
    table = executor_configurations
    try:
        written = connection.execute(
            update(table)
            .where(table.c.id == configuration.id, table.c.revision == expected_revision)
            .values(**_columns(configuration))
        )
    except IntegrityError:
        raise ExecutorConfigurationNameTaken from None
    if not written.rowcount:
        require(connection, configuration.id)
        raise ChangedMeanwhile


def delete(connection: Connection, id_: str) -> None:
    """Raises `ExecutorConfigurationNotFound`."""
    deleted = connection.execute(delete_from(executor_configurations).where(executor_configurations.c.id == id_))
    if not deleted.rowcount:
        raise ExecutorConfigurationNotFound


def list_page(
    connection: Connection,
    *,
    status: str | None = None,
    limit: int = 10,
    cursor: str | None = None,
    sort_by: str = "createdAt",
    sort_order: str = "DESC",
) -> Page[StoredExecutorConfiguration]:
    """A page sorted by `createdAt`, `updatedAt` or `name`."""
    return read_page(connection, _listing, Query(status, {}, limit, cursor, sort_by, sort_order))


def _columns(configuration: StoredExecutorConfiguration) -> dict[str, Any]:
    """What a change may write."""
    last_test = configuration.last_test
    return {
        "name": configuration.name,
        "description": configuration.description,
        "base_url": configuration.base_url,
        "endpoints": jsontext.encode(configuration.endpoints).decode(),
        "authentication": jsontext.encode(configuration.authentication).decode(),
        "status": configuration.status,
        "metadata": jsontext.encode(configuration.metadata).decode(),
        "revision": configuration.revision,
        "updated_at": configuration.updated_at,
        "last_tested_at": configuration.last_tested_at,
        "last_test": None if last_test is None else jsontext.encode(last_test).decode(),
    }


def _stored(row: AnyRow) -> StoredExecutorConfiguration:
    return StoredExecutorConfiguration(
        id=row.id,
        name=row.name,
        description=row.description,
        base_url=row.base_url,
        endpoints=jsontext.decode(row.endpoints),
        authentication=jsontext.decode(row.authentication),
        status=row.status,
        metadata=jsontext.decode(row.metadata),
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_tested_at=row.last_tested_at,
        last_test=None if row.last_test is None else jsontext.decode(row.last_test),
    )


_select = Prepared(
    lambda _: select(executor_configurations).where(executor_configurations.c.id == bindparam("id")), ("id",)
)

_statuses = {status: executor_configurations.c.status == status for status in STATUSES}

_listing = Listing(
    name="executor-configurations",
    source=executor_configurations,
    columns=tuple(executor_configurations.columns),
    id=executor_configurations.c.id,
    sorts={
        "createdAt": [Phase(executor_configurations.c.created_at, _statuses)],
        "updatedAt": [Phase(executor_configurations.c.updated_at, _statuses)],
        "name": [Phase(executor_configurations.c.name, _statuses)],
    },
    make=_stored,
    has_large_rows=True,
)
