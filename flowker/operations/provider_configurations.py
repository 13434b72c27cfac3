"""Provider Configurations API: where a provider is called and as whom. Secrets come in, and only masks come out."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

from uuid_utils import uuid7

from flowker import jsontext, schemas
from flowker.domain.audit import Action, AuditEvent, changes
from flowker.domain.errors import (
    ProviderConfigInvalid,
    ProviderConfigurationNotFound,
    UnknownProvider,
)
from flowker.domain.preconditions import entity_tag
from flowker.domain.provider_configurations import Status, require_change
from flowker.domain.secrets import NothingBehindMask, mask, unmask
from flowker.executors.refusals import CallRefused
from flowker.executors.registry import PROVIDERS
from flowker.jsonschema import Schema, field_name
from flowker.operations.changes import audit_event, require_match
from flowker.operations.connectivity import Result, require_allowed, run_test, statuses
from flowker.operations.context import Answer, Context, Request
from flowker.storage import audit_events, configuration_references, provider_configurations
from flowker.storage.database import Connection
from flowker.storage.provider_configurations import StoredProviderConfiguration
from flowker.storage.vault import Vault


async def list_provider_configurations(
    context: Context,
    *,
    status: str | None,
    provider_id: str | None,
    limit: int,
    cursor: str | None,
    sort_by: str,
    sort_order: str,
) -> Answer:
    def read(connection: Connection) -> Answer:
        page = provider_configurations.list_page(
            connection,
            status=status,
            provider_id=provider_id,
            limit=limit,
            cursor=cursor,
            sort_by=sort_by,
            sort_order=sort_order,
        )
        return {
            "items": [_present(configuration) for configuration in page.items],
            "nextCursor": page.next_cursor,
            "hasMore": page.has_more,
        }

    return await context.store.read(read)


async def create_provider_configuration(
    context: Context, *, body: schemas.ProviderConfigurationInput, request: Request
) -> Answer:
    if body["providerId"] not in PROVIDERS:
        raise UnknownProvider(fields={"providerId": "is not in the catalog"})
    stored, told = await asyncio.to_thread(_create, context.vault, body, context.timestamp())
    event = _changed(request, stored, "CREATED", "CREATE", {"changes": told})

    def write(connection: Connection) -> None:
        provider_configurations.insert(connection, stored)
        audit_events.append(connection, [event])

    await context.store.write(write)
    output = {"id": stored.id, "name": stored.name, "status": stored.status, "createdAt": stored.created_at}
    return output, 201, {"Location": f"/v1/provider-configurations/{stored.id}", "ETag": _tag(stored)}


async def get_provider_configuration(context: Context, *, id_: str) -> Answer:
    def read(connection: Connection) -> Answer:
        return _found(provider_configurations.require(connection, id_.lower()))

    return await context.store.read(read)


async def update_provider_configuration(
    context: Context,
    *,
    id_: str,
    body: schemas.ProviderConfigurationUpdate,
    request: Request,
    if_match: str | None = None,
) -> Answer:
    """Replace the members that are given. Where nothing differs nothing is changed, and nothing is audited."""
    current = await context.store.read(provider_configurations.require, id_.lower())
    require_match(if_match, _tag(current))
    updated = await asyncio.to_thread(_update, context.vault, current, body, context.timestamp())
    if updated is None:
        return await asyncio.to_thread(_found, current)
    stored, told = updated
    event = _changed(request, stored, "UPDATED", "UPDATE", {"changes": told})

    def write(connection: Connection) -> None:
        provider_configurations.replace(connection, stored, current.revision)
        audit_events.append(connection, [event])

    await context.store.write(write)
    return await asyncio.to_thread(_found, stored)


async def delete_provider_configuration(
    context: Context, *, id_: str, request: Request, if_match: str | None = None
) -> Answer:
    now = context.timestamp()

    def write(connection: Connection) -> None:
        current = provider_configurations.require(connection, id_.lower())
        require_match(if_match, _tag(current))
        configuration_references.require_unused(connection, current.id)
        provider_configurations.delete(connection, current.id)
        deleted = replace(current, updated_at=now)
        audit_events.append(connection, [_changed(request, deleted, "DELETED", "DELETE", {})])

    await context.store.write(write)
    return None, 204


async def enable_provider_configuration(context: Context, *, id_: str, request: Request) -> Answer:
    return await _change_status(context, id_, "active", request)


async def disable_provider_configuration(context: Context, *, id_: str, request: Request) -> Answer:
    return await _change_status(context, id_, "disabled", request)


async def test_provider_configuration(context: Context, *, id_: str, request: Request) -> Answer:
    """Test in whatever status: also what is disabled wants to be known to work before it is enabled."""
    tested = await context.store.read(provider_configurations.require, id_.lower())
    config = await asyncio.to_thread(context.vault.open, tested.config, tested.id)
    probe = PROVIDERS[tested.provider_id].probe
    result = await run_test(context, partial(probe, config))
    await _record_test(context, tested, result, request)
    require_allowed(result)
    return result


_SCHEMAS: Final = {provider.id: Schema(provider.config_schema) for provider in PROVIDERS.values()}

_CHANGING: Final[Mapping[Status, tuple[str, Action]]] = {
    "active": ("ENABLED", "ACTIVATE"),
    "disabled": ("DISABLED", "DEACTIVATE"),
}


async def _change_status(context: Context, id_: str, status: Status, request: Request) -> Answer:
    """Move from what was read to `status`; raises ChangedMeanwhile when it is no longer what was read."""
    current = await context.store.read(provider_configurations.require, id_.lower())
    require_change(current.status, status)
    wanted = replace(current, status=status, revision=current.revision + 1, updated_at=context.timestamp())
    told = {"changes": {"status": {"before": current.status, "after": status}}}
    event = _changed(request, wanted, *_CHANGING[status], told)

    def write(connection: Connection) -> None:
        provider_configurations.replace(connection, wanted, current.revision)
        if status == "disabled":
            configuration_references.require_unused(connection, wanted.id)
        audit_events.append(connection, [event])

    await context.store.write(write)
    return await asyncio.to_thread(_found, wanted)


_Changed: TypeAlias = tuple[StoredProviderConfiguration, dict[str, Any]]
"""A configuration as it will be stored, and what its audit event tells of the change."""

# With a body of a megabyte, what follows takes longer than the event loop may stand still: it runs in threads.


def _create(vault: Vault, body: schemas.ProviderConfigurationInput, now: str) -> _Changed:
    created = StoredProviderConfiguration(
        id=str(uuid7()),
        name=body["name"],
        description=body.get("description", ""),
        provider_id=body["providerId"],
        config=_unmasked(body["config"], None),
        status="active",
        metadata=dict(body.get("metadata", {})),
        revision=1,
        created_at=now,
        updated_at=now,
    )
    return _checked_and_sealed(vault, created), changes({}, _content(created))


def _update(
    vault: Vault, current: StoredProviderConfiguration, body: schemas.ProviderConfigurationUpdate, now: str
) -> _Changed | None:
    """None when nothing differs from what is stored."""
    before = replace(current, config=vault.open(current.config, current.id))
    wanted = _updated(before, body, now)
    if _text(wanted) == _text(before):
        return None
    stored = _checked_and_sealed(vault, wanted) if "config" in body else replace(wanted, config=current.config)
    return stored, changes(_content(before), _content(wanted))


def _unmasked(config: Mapping[str, Any], stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config in clear: a mask in it stands for the secret that is stored in its place."""
    try:
        clear: dict[str, Any] = unmask(config, stored)
    except NothingBehindMask as error:
        where = field_name(("config", *error.path))
        raise ProviderConfigInvalid(fields={where: "is a mask, and there is no stored secret for it"}) from None
    return clear


def _updated(
    before: StoredProviderConfiguration, body: schemas.ProviderConfigurationUpdate, now: str
) -> StoredProviderConfiguration:
    """What the body makes of a configuration; both are in clear."""
    return replace(
        before,
        name=body.get("name", before.name),
        description=body.get("description", before.description),
        config=_unmasked(body["config"], before.config) if "config" in body else before.config,
        metadata=dict(body.get("metadata", before.metadata)),
        revision=before.revision + 1,
        updated_at=now,
    )


def _checked_and_sealed(vault: Vault, clear: StoredProviderConfiguration) -> StoredProviderConfiguration:
    """The configuration as it is stored."""
    _check_config(clear.provider_id, clear.config)
    return replace(clear, config=vault.seal(clear.config, clear.id))


def _check_config(provider_id: str, config: Mapping[str, Any]) -> None:
    """Raise `ProviderConfigInvalid` for what the provider's schema or its first call would refuse."""
    provider = PROVIDERS[provider_id]
    wrong = _SCHEMAS[provider_id].fields(config, "config")
    if wrong:
        raise ProviderConfigInvalid(fields=wrong)
    try:
        provider.probe(config)
    except CallRefused as refused:
        raise ProviderConfigInvalid(fields={"config": str(refused)}) from None


async def _record_test(
    context: Context, tested: StoredProviderConfiguration, result: Result, request: Request
) -> None:
    """Audit the test whatever happened to the configuration meanwhile; raises when it is gone."""
    passed = result["overallStatus"] == "passed"
    event = audit_event(
        request,
        "PROVIDER_CONFIG_TESTED" if passed else "PROVIDER_CONFIG_TEST_FAILED",
        "EXECUTE",
        ("provider_config", tested.id),
        result["completedAt"],
        {
            **_identity(tested),
            "overallStatus": result["overallStatus"],
            "stages": statuses(result),
        },
        result="SUCCESS" if passed else "FAILED",
    )

    def write(connection: Connection) -> bool:
        audit_events.append(connection, [event])
        provider_configurations.record_test(connection, tested.id, tested.revision, result["completedAt"], result)
        return provider_configurations.get(connection, tested.id) is not None

    if not await context.store.write(write):
        raise ProviderConfigurationNotFound


def _changed(
    request: Request,
    configuration: StoredProviderConfiguration,
    what: str,
    action: Action,
    told: Mapping[str, Any],
) -> AuditEvent:
    """The audit event of a change that was made when the configuration says."""
    return audit_event(
        request,
        f"PROVIDER_CONFIG_{what}",
        action,
        ("provider_config", configuration.id),
        configuration.updated_at,
        {**_identity(configuration), "status": configuration.status, **told},
    )


def _identity(configuration: StoredProviderConfiguration) -> dict[str, Any]:
    return {"name": configuration.name, "providerId": configuration.provider_id}


def _content(configuration: StoredProviderConfiguration) -> dict[str, Any]:
    """What an update may change."""
    return {
        "name": configuration.name,
        "description": configuration.description,
        "config": configuration.config,
        "metadata": configuration.metadata,
    }


def _text(configuration: StoredProviderConfiguration) -> bytes:
    """Tells contents apart as JSON does: true is not 1, and 1.50 is not 1.5."""
    return jsontext.encode_canonical(_content(configuration))


def _tag(configuration: StoredProviderConfiguration) -> str:
    return entity_tag(configuration.revision)


def _found(configuration: StoredProviderConfiguration) -> Answer:
    return _present(configuration), 200, {"ETag": _tag(configuration)}


def _present(configuration: StoredProviderConfiguration) -> dict[str, Any]:
    return {
        "id": configuration.id,
        "name": configuration.name,
        "description": configuration.description,
        "providerId": configuration.provider_id,
        "config": mask(configuration.config),
        "status": configuration.status,
        "metadata": configuration.metadata,
        "createdAt": configuration.created_at,
        "updatedAt": configuration.updated_at,
    }
