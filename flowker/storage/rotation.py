"""Sealing every stored secret anew with the first key, a few rows in a transaction, beside a service that goes on.

What is sealed with the first key already is left alone, so that it can be repeated after an interruption. Each row
that changes has its audit event in the same transaction.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Connection, Table, select, tuple_, update
from uuid_utils import uuid7

from flowker import jsontext
from flowker.domain.audit import SYSTEM, AuditEvent, ResourceType
from flowker.storage import audit_checkpoint, audit_events
from flowker.storage.database import Store
from flowker.storage.statements import AnyRow
from flowker.storage.tables import executor_configurations, provider_configurations, workflow_revisions
from flowker.storage.vault import Vault
from flowker.storage.workflows import reseal_nodes

PAGE: Final = 50
"""Definitions may be a megabyte each, and other writers wait meanwhile."""


async def reseal_all(store: Store, vault: Vault, now: Callable[[], str]) -> int:
    """The number of rows that were sealed anew; the checkpoint of the audit chain is signed anew, too.

    Raises `SecretUnreadable` or `CheckpointBad`, and what came before stays done.
    """
    resealed = 0
    for sealed in _EVERYTHING:
        after: tuple[Any, ...] | None = None
        while True:
            after, changed = await store.write(_reseal_page, sealed, vault, after, now())
            resealed += changed
            if after is None:
                break
    await store.write(audit_checkpoint.resign, vault)
    return resealed


@dataclass(frozen=True, slots=True)
class _Sealed:
    """Where secrets stand: a column of a table, and how its value is sealed anew (itself when nothing is to do)."""

    table: Table
    column: str
    resource_type: ResourceType
    event_type: str
    reseal: Callable[[Vault, str, Any], Any]

    @property
    def key(self) -> Sequence[Column[Any]]:
        return list(self.table.primary_key.columns)

    def touch(self) -> dict[str, Any]:
        """A change like any other: who read the row before must not write back what was sealed with the old key."""
        return {} if self.table is workflow_revisions else {"revision": self.table.c.revision + 1}


def _reseal_page(
    connection: Connection, sealed: _Sealed, vault: Vault, after: tuple[Any, ...] | None, now: str
) -> tuple[tuple[Any, ...] | None, int]:
    """Seal the rows behind a place anew; the place of the last one, None at the end, and how many were changed."""
    rows = connection.execute(_select_page(sealed, after)).all()
    events = list(_reseal_rows(connection, sealed, vault, rows, now))
    audit_events.append(connection, events)
    last = tuple(rows[-1][: len(sealed.key)]) if len(rows) == PAGE else None
    return last, len(events)


def _select_page(sealed: _Sealed, after: tuple[Any, ...] | None) -> Any:
    page = select(*sealed.key, sealed.table.c[sealed.column]).order_by(*sealed.key).limit(PAGE)
    return page if after is None else page.where(tuple_(*sealed.key) > tuple_(*after))


def _reseal_rows(
    connection: Connection, sealed: _Sealed, vault: Vault, rows: Sequence[AnyRow], now: str
) -> Iterator[AuditEvent]:
    for row in rows:
        *key, text = row
        value = jsontext.decode(text)
        resealed = sealed.reseal(vault, key[0], value)
        if resealed is value:
            continue
        connection.execute(
            update(sealed.table)
            .where(*(column == part for column, part in zip(sealed.key, key, strict=True)))
            .values({sealed.column: jsontext.encode(resealed).decode(), **sealed.touch()})
        )
        yield _event(sealed, key[0], vault.key_id, now)


def _event(sealed: _Sealed, resource_id: str, key_id: str, now: str) -> AuditEvent:
    return AuditEvent(
        event_id=str(uuid7()),
        event_type=sealed.event_type,
        action="UPDATE",
        result="SUCCESS",
        resource_type=sealed.resource_type,
        resource_id=resource_id,
        actor=SYSTEM,
        timestamp=now,
        context={"keyId": key_id},
    )


def _reseal_configuration(vault: Vault, id_: str, config: Any) -> Any:
    return vault.reseal(config, id_)


def _reseal_definition(vault: Vault, workflow_id: str, definition: dict[str, Any]) -> dict[str, Any]:
    nodes = reseal_nodes(vault, workflow_id, definition["nodes"])
    return definition if nodes is definition["nodes"] else {**definition, "nodes": nodes}


_EVERYTHING: Final = (
    _Sealed(provider_configurations, "config", "provider_config", "PROVIDER_CONFIG_RESEALED", _reseal_configuration),
    _Sealed(
        executor_configurations,
        "authentication",
        "executor_config",
        "EXECUTOR_CONFIG_RESEALED",
        _reseal_configuration,
    ),
    _Sealed(workflow_revisions, "definition", "workflow", "WORKFLOW_RESEALED", _reseal_definition),
)
