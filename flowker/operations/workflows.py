"""Workflows API: definitions are written as drafts, checked when saved, and own their webhooks while active."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from uuid_utils import uuid7

from flowker import schemas
from flowker.domain.audit import Action, Actor, AuditEvent
from flowker.domain.errors import WebhookTaken
from flowker.domain.nodes import Trigger
from flowker.domain.workflows import (
    ConfigurationFacts,
    Definition,
    Status,
    check_activation,
    referenced_configurations,
    require_deletable,
    require_editable,
    require_transition,
    version_text,
)
from flowker.engine.definitions import PROVIDERS_BY_EXECUTOR, compile_aside
from flowker.operations.context import Answer, Context, Request, actor
from flowker.storage import audit_events, provider_configurations, webhook_routes, workflows
from flowker.storage.database import Connection
from flowker.storage.webhook_routes import Route
from flowker.storage.workflows import StoredWorkflow


async def list_workflows(
    context: Context, *, status: str | None, limit: int, cursor: str | None, sort_by: str, sort_order: str
) -> Answer:
    def read(connection: Connection) -> Any:
        return workflows.list_page(
            connection, status=status, limit=limit, cursor=cursor, sort_by=sort_by, sort_order=sort_order
        )

    page = await context.store.read(read)
    return {
        "items": [_present(workflow) for workflow in page.items],
        "nextCursor": page.next_cursor,
        "hasMore": page.has_more,
    }


async def create_workflow(context: Context, *, body: schemas.WorkflowInput, request: Request) -> Answer:
    workflow = _draft(body, str(uuid7()), context.timestamp())
    await _compile(workflow)
    return await _insert(context, workflow, actor(request), {})


async def get_workflow(context: Context, *, id_: str) -> Answer:
    return _present(await context.store.read(workflows.get, id_.lower()))


async def update_workflow(context: Context, *, id_: str, body: schemas.WorkflowInput, request: Request) -> Answer:
    """Replace a draft by a new revision. Two updates at once: the second is told that the draft changed."""
    current = await context.store.read(workflows.get, id_.lower())
    require_editable(current.status)
    now = context.timestamp()
    wanted = replace(_draft(body, current.id, now), revision=current.revision + 1, created_at=current.created_at)
    await _compile(wanted)
    event = _event(wanted, "WORKFLOW_UPDATED", "UPDATE", actor(request), now)

    def write(connection: Connection) -> None:
        workflows.replace(connection, wanted, current.revision)
        audit_events.append(connection, [event])

    await context.store.write(write)
    return _present(wanted)


async def delete_workflow(context: Context, *, id_: str, request: Request) -> Answer:
    who, now = actor(request), context.timestamp()

    def write(connection: Connection) -> None:
        current = workflows.get(connection, id_.lower())
        require_deletable(current.status)
        workflows.delete(connection, current.id)
        audit_events.append(connection, [_event(current, "WORKFLOW_DELETED", "DELETE", who, now)])

    await context.store.write(write)
    return None, 204


async def clone_workflow(context: Context, *, id_: str, body: schemas.CloneInput, request: Request) -> Answer:
    source = await context.store.read(workflows.get, id_.lower())
    now = context.timestamp()
    clone = replace(
        source, id=str(uuid7()), name=body["name"], status="draft", revision=1, created_at=now, updated_at=now
    )
    return await _insert(context, clone, actor(request), {"clonedFrom": source.id})


async def activate_workflow(context: Context, *, id_: str, request: Request) -> Answer:
    """Check the whole definition and take its webhooks, in the transaction that makes it active."""
    current = await context.store.read(workflows.get, id_.lower())
    require_transition(current.status, "active")
    definition = await _compile(current)

    def claim(connection: Connection) -> None:
        _check(connection, definition)
        webhook_routes.claim(connection, current.id, current.revision, _routes(definition))

    return await _change_status(context, current, "active", "ACTIVATE", actor(request), claim)


async def deactivate_workflow(context: Context, *, id_: str, request: Request) -> Answer:
    current = await context.store.read(workflows.get, id_.lower())
    require_transition(current.status, "inactive")

    def release(connection: Connection) -> None:
        webhook_routes.deactivate(connection, current.id)

    return await _change_status(context, current, "inactive", "DEACTIVATE", actor(request), release)


async def move_workflow_to_draft(context: Context, *, id_: str, request: Request) -> Answer:
    current = await context.store.read(workflows.get, id_.lower())
    require_transition(current.status, "draft")

    def forget(connection: Connection) -> None:
        webhook_routes.remove(connection, current.id)

    return await _change_status(context, current, "draft", "DRAFT", actor(request), forget)


async def _insert(context: Context, workflow: StoredWorkflow, who: Actor, origin: dict[str, Any]) -> Answer:
    event = _event(workflow, "WORKFLOW_CREATED", "CREATE", who, workflow.created_at, origin)

    def write(connection: Connection) -> None:
        workflows.insert(connection, workflow)
        audit_events.append(connection, [event])

    await context.store.write(write)
    output = {
        "workflowId": workflow.id,
        "status": workflow.status,
        "version": version_text(workflow.revision),
        "createdAt": workflow.created_at,
    }
    return output, 201, {"Location": f"/v1/workflows/{workflow.id}"}


async def _change_status(
    context: Context,
    current: StoredWorkflow,
    status: Status,
    action: Action,
    who: Actor,
    change_routes: Callable[[Connection], None],
) -> Answer:
    """Move from what was read to `status`; raises ChangedMeanwhile when it is no longer what was read."""
    wanted = replace(current, status=status, updated_at=context.timestamp())
    event = _event(wanted, f"WORKFLOW_{_PAST[action]}", action, who, wanted.updated_at)

    def write(connection: Connection) -> None:
        expected = (current.status, current.revision)
        workflows.set_status(connection, current.id, expected=expected, status=status, updated_at=wanted.updated_at)
        change_routes(connection)
        audit_events.append(connection, [event])

    await context.store.write(write)
    return _present(wanted)


_PAST: dict[Action, str] = {"ACTIVATE": "ACTIVATED", "DEACTIVATE": "DEACTIVATED", "DRAFT": "MOVED_TO_DRAFT"}


def _draft(body: schemas.WorkflowInput, id_: str, now: str) -> StoredWorkflow:
    return StoredWorkflow(
        id=id_,
        name=body["name"],
        description=body.get("description", ""),
        status="draft",
        revision=1,
        nodes=[{"position": {"x": 0, "y": 0}, **node} for node in body.get("nodes", [])],
        edges=[dict(edge) for edge in body.get("edges", [])],
        metadata=dict(body.get("metadata", {})),
        created_at=now,
        updated_at=now,
    )


async def _compile(workflow: StoredWorkflow) -> Definition:
    return await compile_aside(workflow.nodes, workflow.edges, workflow.metadata)


def _check(connection: Connection, definition: Definition) -> None:
    found = provider_configurations.find(connection, referenced_configurations(definition))
    facts = {id_: ConfigurationFacts(one.provider_id, one.status == "active") for id_, one in found.items()}
    check_activation(definition, PROVIDERS_BY_EXECUTOR, facts)


def _routes(definition: Definition) -> list[Route]:
    """One route for each trigger with a path; raises WebhookTaken where two of them name the same."""
    routes: dict[tuple[str, str], Route] = {}
    for node in definition.triggers:
        trigger = node.behaviour
        if isinstance(trigger, Trigger) and trigger.path is not None:
            route = Route(trigger.method, trigger.path, node.id)
            if routes.setdefault((trigger.method, trigger.path), route) is not route:
                raise WebhookTaken("Two triggers of the workflow have the same webhook method and path.")
    return list(routes.values())


def _event(
    workflow: StoredWorkflow,
    event_type: str,
    action: Action,
    who: Actor,
    now: str,
    origin: dict[str, Any] | None = None,
) -> AuditEvent:
    return AuditEvent(
        event_id=str(uuid7()),
        event_type=event_type,
        action=action,
        result="SUCCESS",
        resource_type="workflow",
        resource_id=workflow.id,
        actor=who,
        timestamp=now,
        context={"status": workflow.status, "version": version_text(workflow.revision), **(origin or {})},
    )


def _present(workflow: StoredWorkflow) -> dict[str, Any]:
    return {
        "id": workflow.id,
        "name": workflow.name,
        "description": workflow.description,
        "status": workflow.status,
        "version": version_text(workflow.revision),
        "nodes": workflow.nodes,
        "edges": workflow.edges,
        "metadata": workflow.metadata,
        "createdAt": workflow.created_at,
        "updatedAt": workflow.updated_at,
    }
