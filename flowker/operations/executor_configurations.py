"""Executor Configurations API: which endpoints a far side has and as whom they are called, tested before use."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

from uuid_utils import uuid7

from flowker import jsontext, schemas
from flowker.domain.audit import Action, AuditEvent, changes
from flowker.domain.errors import (
    AuthenticationInvalid,
    BaseUrlInvalid,
    EndpointPathInvalid,
    ExecutorConfigurationNotFound,
)
from flowker.domain.executor_configurations import (
    Move,
    proves,
    require_deletable,
    require_modifiable,
    require_move,
    require_testable,
    require_unique_names,
    status_after_test,
)
from flowker.domain.preconditions import entity_tag
from flowker.domain.secrets import NothingBehindMask, mask, unmask
from flowker.executors import authentication, http
from flowker.executors.refusals import CallRefused
from flowker.executors.requests import TIMEOUT_DEFAULT_S, join_url
from flowker.jsonschema import Schema, field_name
from flowker.operations.changes import audit_event, require_match
from flowker.operations.connectivity import Result, require_allowed, run_test, statuses
from flowker.operations.context import Answer, Context, Request
from flowker.storage import audit_events, configuration_references, executor_configurations
from flowker.storage.database import Connection
from flowker.storage.executor_configurations import StoredExecutorConfiguration
from flowker.storage.vault import Vault


async def list_executor_configurations(
    context: Context, *, status: str | None, limit: int, cursor: str | None, sort_by: str, sort_order: str
) -> Answer:
    def read(connection: Connection) -> Answer:
        page = executor_configurations.list_page(
            connection, status=status, limit=limit, cursor=cursor, sort_by=sort_by, sort_order=sort_order
        )
        return {
            "items": [_present(configuration) for configuration in page.items],
            "nextCursor": page.next_cursor,
            "hasMore": page.has_more,
        }

    return await context.store.read(read)


async def create_executor_configuration(
    context: Context, *, body: schemas.ExecutorConfigurationInput, request: Request
) -> Answer:
    stored, told = await asyncio.to_thread(_create, context.vault, body, context.timestamp())
    event = _changed(request, stored, "CREATED", "CREATE", {"changes": told})

    def write(connection: Connection) -> None:
        executor_configurations.insert(connection, stored)
        audit_events.append(connection, [event])

    await context.store.write(write)
    output = {"id": stored.id, "name": stored.name, "status": stored.status, "createdAt": stored.created_at}
    return output, 201, {"Location": f"/v1/executors/{stored.id}", "ETag": _tag(stored)}


async def get_executor_configuration(context: Context, *, id_: str) -> Answer:
    def read(connection: Connection) -> Answer:
        return _found(executor_configurations.require(connection, id_.lower()))

    return await context.store.read(read)


async def update_executor_configuration(
    context: Context,
    *,
    id_: str,
    body: schemas.ExecutorConfigurationUpdate,
    request: Request,
    if_match: str | None = None,
) -> Answer:
    """Replace the members that are given. Where nothing differs nothing is changed, and nothing is audited."""
    current = await context.store.read(executor_configurations.require, id_.lower())
    require_match(if_match, _tag(current))
    require_modifiable(current.status)
    updated = await asyncio.to_thread(_update, context.vault, current, body, context.timestamp())
    if updated is None:
        return await asyncio.to_thread(_found, current)
    stored, told = updated
    await _replace(
        context, stored, current.revision, _changed(request, stored, "UPDATED", "UPDATE", {"changes": told})
    )
    return await asyncio.to_thread(_found, stored)


async def delete_executor_configuration(
    context: Context, *, id_: str, request: Request, if_match: str | None = None
) -> Answer:
    """No active workflow uses what can be deleted: it would have to be active."""
    now = context.timestamp()

    def write(connection: Connection) -> None:
        current = executor_configurations.require(connection, id_.lower())
        require_match(if_match, _tag(current))
        require_deletable(current.status)
        executor_configurations.delete(connection, current.id)
        deleted = replace(current, updated_at=now)
        audit_events.append(connection, [_changed(request, deleted, "DELETED", "DELETE", {})])

    await context.store.write(write)
    return None, 204


async def activate_executor_configuration(context: Context, *, id_: str, request: Request) -> Answer:
    return await _move(context, id_, "activate", request)


async def disable_executor_configuration(context: Context, *, id_: str, request: Request) -> Answer:
    return await _move(context, id_, "disable", request)


async def enable_executor_configuration(context: Context, *, id_: str, request: Request) -> Answer:
    return await _move(context, id_, "enable", request)


async def test_executor_configuration(context: Context, *, id_: str, request: Request) -> Answer:
    tested = await context.store.read(executor_configurations.require, id_.lower())
    require_testable(tested.status)
    clear = await asyncio.to_thread(_opened, context.vault, tested)
    result = await run_test(context, partial(http.probe, _config(clear)))
    await _record_test(context, tested, result, request)
    require_allowed(result)
    return result


_AUTHENTICATION: Final = Schema(authentication.SCHEMA)

_MOVING: Final[Mapping[Move, tuple[str, Action]]] = {
    "activate": ("ACTIVATED", "ACTIVATE"),
    "disable": ("DISABLED", "DEACTIVATE"),
    "enable": ("ENABLED", "ACTIVATE"),
}


async def _move(context: Context, id_: str, move: Move, request: Request) -> Answer:
    """Move from what was read; raises ChangedMeanwhile when it is no longer what was read."""
    current = await context.store.read(executor_configurations.require, id_.lower())
    status = require_move(current.status, move)
    wanted = replace(current, status=status, revision=current.revision + 1, updated_at=context.timestamp())
    event = _changed(request, wanted, *_MOVING[move], {"changes": _status_change(current, wanted)})

    def write(connection: Connection) -> None:
        executor_configurations.replace(connection, wanted, current.revision)
        if move == "disable":
            configuration_references.require_unused(connection, wanted.id)
        audit_events.append(connection, [event])

    await context.store.write(write)
    return await asyncio.to_thread(_found, wanted)


async def _replace(
    context: Context, stored: StoredExecutorConfiguration, expected_revision: int, event: AuditEvent
) -> None:
    def write(connection: Connection) -> None:
        executor_configurations.replace(connection, stored, expected_revision)
        audit_events.append(connection, [event])

    await context.store.write(write)


async def _record_test(
    context: Context, tested: StoredExecutorConfiguration, result: Result, request: Request
) -> None:
    """Audit the test whatever happened to the configuration meanwhile; raises when it is gone.

    Of another revision than the one that was tested the result says nothing: it is not kept with it.
    """

    def write(connection: Connection) -> bool:
        current = executor_configurations.get(connection, tested.id)
        wanted = _after_test(tested, result)
        if current is not None and current.revision == tested.revision:
            executor_configurations.replace(connection, wanted, tested.revision)
            told = _status_change(tested, wanted)
        else:
            told = {}
        audit_events.append(connection, [_tested(request, tested, result, told)])
        return current is not None

    if not await context.store.write(write):
        raise ExecutorConfigurationNotFound


def _after_test(tested: StoredExecutorConfiguration, result: Result) -> StoredExecutorConfiguration:
    status = status_after_test(tested.status, proven=proves(statuses(result)))
    return replace(
        tested,
        status=status,
        revision=tested.revision + 1,
        updated_at=tested.updated_at if status == tested.status else result["completedAt"],
        last_tested_at=result["completedAt"],
        last_test=result,
    )


_Changed: TypeAlias = tuple[StoredExecutorConfiguration, dict[str, Any]]
"""A configuration as it will be stored, and what its audit event tells of the change."""

# With a body of a megabyte, what follows takes longer than the event loop may stand still: it runs in threads.


def _create(vault: Vault, body: schemas.ExecutorConfigurationInput, now: str) -> _Changed:
    created = StoredExecutorConfiguration(
        id=str(uuid7()),
        name=body["name"],
        description=body.get("description", ""),
        base_url=body["baseUrl"],
        endpoints=_endpoints(body["endpoints"]),
        authentication=_unmasked(body["authentication"], None),
        status="configured",
        metadata=dict(body.get("metadata", {})),
        revision=1,
        created_at=now,
        updated_at=now,
    )
    return _checked_and_sealed(vault, created), changes({}, _content(created))


def _update(
    vault: Vault, current: StoredExecutorConfiguration, body: schemas.ExecutorConfigurationUpdate, now: str
) -> _Changed | None:
    """None when nothing differs from what is stored."""
    before = _opened(vault, current)
    wanted = _updated(before, body, now)
    if _text(wanted) == _text(before):
        return None
    return _checked_and_sealed(vault, wanted), changes(_content(before), _content(wanted))


def _opened(vault: Vault, configuration: StoredExecutorConfiguration) -> StoredExecutorConfiguration:
    return replace(configuration, authentication=vault.open(configuration.authentication, configuration.id))


def _endpoints(endpoints: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The endpoints with their defaults."""
    return [
        {
            "name": endpoint["name"],
            "path": endpoint["path"],
            "method": endpoint["method"],
            "timeout": endpoint.get("timeout", int(TIMEOUT_DEFAULT_S)),
        }
        for endpoint in endpoints
    ]


def _unmasked(given: Mapping[str, Any], stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """The authentication in clear: a mask in it stands for the secret that is stored in its place."""
    try:
        clear: dict[str, Any] = unmask(given, stored)
    except NothingBehindMask as error:
        where = field_name(("authentication", *error.path))
        raise AuthenticationInvalid(fields={where: "is a mask, and there is no stored secret for it"}) from None
    return {"type": clear["type"], "config": clear.get("config", {})}


def _updated(
    before: StoredExecutorConfiguration, body: schemas.ExecutorConfigurationUpdate, now: str
) -> StoredExecutorConfiguration:
    """What the body makes of a configuration; both are in clear."""
    given = body.get("authentication")
    return replace(
        before,
        name=body.get("name", before.name),
        description=body.get("description", before.description),
        base_url=body.get("baseUrl", before.base_url),
        endpoints=_endpoints(body["endpoints"]) if "endpoints" in body else before.endpoints,
        authentication=before.authentication if given is None else _unmasked(given, before.authentication),
        metadata=dict(body.get("metadata", before.metadata)),
        revision=before.revision + 1,
        updated_at=now,
    )


def _checked_and_sealed(vault: Vault, clear: StoredExecutorConfiguration) -> StoredExecutorConfiguration:
    """The configuration as it is stored."""
    require_unique_names(endpoint["name"] for endpoint in clear.endpoints)
    _check_urls(clear)
    _check_authentication(clear)
    return replace(clear, authentication=vault.seal(clear.authentication, clear.id))


def _check_urls(configuration: StoredExecutorConfiguration) -> None:
    """Raise `BaseUrlInvalid` or `EndpointPathInvalid` for what the first call would refuse."""
    try:
        join_url(configuration.base_url, "", [])
    except CallRefused as refused:
        raise BaseUrlInvalid(fields={"baseUrl": str(refused)}) from None
    for index, endpoint in enumerate(configuration.endpoints):
        try:
            join_url(configuration.base_url, endpoint["path"], [])
        except CallRefused as refused:
            raise EndpointPathInvalid(fields={f"endpoints[{index}].path": str(refused)}) from None


def _check_authentication(clear: StoredExecutorConfiguration) -> None:
    """Raise `AuthenticationInvalid` for what its schema or its first call would refuse."""
    wrong = _AUTHENTICATION.fields(clear.authentication, "authentication")
    if wrong:
        raise AuthenticationInvalid(fields=wrong)
    try:
        http.probe(_config(clear))
    except CallRefused as refused:
        raise AuthenticationInvalid(fields={"authentication.config": str(refused)}) from None


def _config(clear: StoredExecutorConfiguration) -> dict[str, Any]:
    """What a configuration of the provider `http` would be that calls the same far side in the same way."""
    return {"base_url": clear.base_url, "auth": clear.authentication}


def _changed(
    request: Request,
    configuration: StoredExecutorConfiguration,
    what: str,
    action: Action,
    told: Mapping[str, Any],
) -> AuditEvent:
    """The audit event of a change that was made when the configuration says."""
    return audit_event(
        request,
        f"EXECUTOR_CONFIG_{what}",
        action,
        ("executor_config", configuration.id),
        configuration.updated_at,
        {"name": configuration.name, "status": configuration.status, **told},
    )


def _tested(
    request: Request, tested: StoredExecutorConfiguration, result: Result, status_change: Mapping[str, Any]
) -> AuditEvent:
    proven = proves(statuses(result))
    return audit_event(
        request,
        "EXECUTOR_CONFIG_TESTED" if proven else "EXECUTOR_CONFIG_TEST_FAILED",
        "EXECUTE",
        ("executor_config", tested.id),
        result["completedAt"],
        {
            "name": tested.name,
            "overallStatus": result["overallStatus"],
            "stages": statuses(result),
            "changes": status_change,
        },
        result="SUCCESS" if proven else "FAILED",
    )


def _status_change(before: StoredExecutorConfiguration, after: StoredExecutorConfiguration) -> dict[str, Any]:
    return changes({"status": before.status}, {"status": after.status})


def _content(configuration: StoredExecutorConfiguration) -> dict[str, Any]:
    """What an update may change."""
    return {
        "name": configuration.name,
        "description": configuration.description,
        "baseUrl": configuration.base_url,
        "endpoints": configuration.endpoints,
        "authentication": configuration.authentication,
        "metadata": configuration.metadata,
    }


def _text(configuration: StoredExecutorConfiguration) -> bytes:
    """Tells contents apart as JSON does: true is not 1, and 1.50 is not 1.5."""
    return jsontext.encode_canonical(_content(configuration))


def _tag(configuration: StoredExecutorConfiguration) -> str:
    return entity_tag(configuration.revision)


def _found(configuration: StoredExecutorConfiguration) -> Answer:
    return _present(configuration), 200, {"ETag": _tag(configuration)}


def _present(configuration: StoredExecutorConfiguration) -> dict[str, Any]:
    return {
        "id": configuration.id,
        "name": configuration.name,
        "description": configuration.description,
        "baseUrl": configuration.base_url,
        "endpoints": configuration.endpoints,
        "authentication": mask(configuration.authentication),
        "status": configuration.status,
        "metadata": configuration.metadata,
        "createdAt": configuration.created_at,
        "updatedAt": configuration.updated_at,
        "lastTestedAt": configuration.last_tested_at,
    }
