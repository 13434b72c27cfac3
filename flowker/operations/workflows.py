"""Workflows API: definitions are written as drafts, checked when saved, and own their webhooks while active."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from uuid_utils import uuid7

from flowker import schemas
from flowker.domain.audit import Action, AuditEvent, changes
from flowker.domain.checks import STRICT, Checks
from flowker.domain.errors import CatalogTemplateNotFound, InvalidTrigger
from flowker.domain.preconditions import entity_tag
from flowker.domain.secrets import NothingBehindMask, unmask
from flowker.domain.validation import Finding, Findings
from flowker.domain.workflow_templates import TEMPLATES
from flowker.domain.workflows import (
    ConfigurationFacts,
    Definition,
    EndpointFacts,
    Status,
    check_activation,
    references,
    require_deletable,
    require_editable,
    require_transition,
    version_text,
    webhooks,
)
from flowker.engine.definitions import PROVIDERS_BY_EXECUTOR, check_aside
from flowker.jsonschema import field_name
from flowker.operations.changes import audit_event, require_match
from flowker.operations.context import Answer, Context, Request
from flowker.operations.template_parameters import require_fitting
from flowker.storage import (
    audit_events,
    configuration_references,
    executor_configurations,
    provider_configurations,
    webhook_routes,
    workflows,
)
from flowker.storage.database import Connection
from flowker.storage.webhook_routes import Route
from flowker.storage.workflows import StoredWorkflow


async def list_workflows(
    context: Context, *, status: str | None, limit: int, cursor: str | None, sort_by: str, sort_order: str
) -> Answer:
    def read(connection: Connection) -> Answer:
        page = workflows.list_page(
            connection, status=status, limit=limit, cursor=cursor, sort_by=sort_by, sort_order=sort_order
        )
        return {
            "items": [_present(workflow) for workflow in page.items],
            "nextCursor": page.next_cursor,
            "hasMore": page.has_more,
        }

    return await context.store.read(read)


async def create_workflow(context: Context, *, body: schemas.WorkflowInput, request: Request) -> Answer:
    return await _insert_draft(context, body, request, {})


async def create_workflow_from_template(
    context: Context, *, body: schemas.WorkflowFromTemplateInput, request: Request
) -> Answer:
    template = TEMPLATES.get(body["templateId"])
    if template is None:
        raise CatalogTemplateNotFound
    await require_fitting(context, template, body["params"])
    built = cast("schemas.WorkflowInput", template.build(body["params"]))
    return await _insert_draft(context, built, request, {"templateId": template.id})


async def get_workflow(context: Context, *, id_: str) -> Answer:
    def read(connection: Connection) -> Answer:
        return _found(workflows.get(connection, id_.lower()))

    return await context.store.read(read)


async def update_workflow(
    context: Context, *, id_: str, body: schemas.WorkflowInput, request: Request, if_match: str | None = None
) -> Answer:
    """Replace a draft by a new revision. Two updates at once: the second is told that the draft changed."""
    current = await context.store.read(workflows.get, id_.lower())
    require_match(if_match, _tag(current))
    require_editable(current.status)
    before = await asyncio.to_thread(_opened, context, current)
    draft = await asyncio.to_thread(_draft, body, current.id, context.timestamp(), before)
    wanted = replace(draft, revision=current.revision + 1, created_at=current.created_at)
    await _compile(wanted)
    told = await asyncio.to_thread(changes, _content(replace(current, nodes=before)), _content(wanted))
    event = _event(request, wanted, "WORKFLOW_UPDATED", "UPDATE", {"changes": told})
    stored = await asyncio.to_thread(_sealed, context, wanted)

    def write(connection: Connection) -> None:
        workflows.replace(connection, stored, current.revision)
        audit_events.append(connection, [event])

    await context.store.write(write)
    return await asyncio.to_thread(_found, stored)


async def delete_workflow(context: Context, *, id_: str, request: Request, if_match: str | None = None) -> Answer:
    now = context.timestamp()

    def write(connection: Connection) -> None:
        current = workflows.get(connection, id_.lower())
        require_match(if_match, _tag(current))
        require_deletable(current.status)
        workflows.delete(connection, current.id)
        deleted = replace(current, updated_at=now)
        audit_events.append(connection, [_event(request, deleted, "WORKFLOW_DELETED", "DELETE", {})])

    await context.store.write(write)
    return None, 204


async def clone_workflow(context: Context, *, id_: str, body: schemas.CloneInput, request: Request) -> Answer:
    source = await context.store.read(workflows.get, id_.lower())
    now = context.timestamp()
    clone = replace(
        source,
        id=str(uuid7()),
        name=body["name"],
        status="draft",
        revision=1,
        nodes=await asyncio.to_thread(_opened, context, source),
        created_at=now,
        updated_at=now,
    )
    return await _insert(context, clone, request, {"clonedFrom": source.id})


async def validate_workflow(context: Context, *, id_: str) -> Answer:
    """Run the checks of saving and of activating to their end, and change nothing."""
    current = await context.store.read(workflows.get, id_.lower())
    nodes = await asyncio.to_thread(_opened, context, current)
    findings = Findings(nodes, current.edges)
    sketch = await check_aside(nodes, current.edges, current.metadata, findings.checks)
    await context.store.read(_check, current.id, sketch, findings.checks)
    findings.warn(sketch)
    return {"valid": findings.valid, "findings": [_present_finding(finding) for finding in findings.found]}


async def activate_workflow(context: Context, *, id_: str, request: Request) -> Answer:
    """Check the whole definition and take its webhooks, in the transaction that makes it active."""
    current = await context.store.read(workflows.get, id_.lower())
    require_transition(current.status, "active")
    definition = await _compile(replace(current, nodes=await asyncio.to_thread(_opened, context, current)))

    def claim(connection: Connection) -> None:
        _check(connection, current.id, definition)
        webhook_routes.claim(connection, current.id, current.revision, _routes(definition))
        used = references(definition)
        configuration_references.claim(connection, current.id, used.providers | used.executors)

    return await _change_status(context, current, "active", "ACTIVATE", request, claim)


async def deactivate_workflow(context: Context, *, id_: str, request: Request) -> Answer:
    current = await context.store.read(workflows.get, id_.lower())
    require_transition(current.status, "inactive")

    def release(connection: Connection) -> None:
        webhook_routes.deactivate(connection, current.id)
        configuration_references.release(connection, current.id)

    return await _change_status(context, current, "inactive", "DEACTIVATE", request, release)


async def move_workflow_to_draft(context: Context, *, id_: str, request: Request) -> Answer:
    current = await context.store.read(workflows.get, id_.lower())
    require_transition(current.status, "draft")

    def forget(connection: Connection) -> None:
        webhook_routes.remove(connection, current.id)

    return await _change_status(context, current, "draft", "DRAFT", request, forget)


async def _insert_draft(
    context: Context, body: schemas.WorkflowInput, request: Request, origin: dict[str, Any]
) -> Answer:
    workflow = await asyncio.to_thread(_draft, body, str(uuid7()), context.timestamp(), [])
    await _compile(workflow)
    return await _insert(context, workflow, request, origin)


async def _insert(context: Context, workflow: StoredWorkflow, request: Request, origin: dict[str, Any]) -> Answer:
    """Store a draft whose secrets are in clear, sealed."""
    told = {"name": workflow.name, **origin}
    event = _event(request, workflow, "WORKFLOW_CREATED", "CREATE", told)
    stored = await asyncio.to_thread(_sealed, context, workflow)

    def write(connection: Connection) -> None:
        workflows.insert(connection, stored)
        audit_events.append(connection, [event])

    await context.store.write(write)
    output = {
        "workflowId": workflow.id,
        "status": workflow.status,
        "version": version_text(workflow.revision),
        "createdAt": workflow.created_at,
    }
    return output, 201, {"Location": f"/v1/workflows/{workflow.id}", "ETag": _tag(workflow)}


async def _change_status(
    context: Context,
    current: StoredWorkflow,
    status: Status,
    action: Action,
    request: Request,
    change_claims: Callable[[Connection], None],
) -> Answer:
    """Move from what was read to `status`; raises ChangedMeanwhile when it is no longer what was read."""
    wanted = replace(current, status=status, updated_at=context.timestamp())
    told = {"changes": {"status": {"before": current.status, "after": status}}}
    event = _event(request, wanted, f"WORKFLOW_{_PAST[action]}", action, told)

    def write(connection: Connection) -> None:
        expected = (current.status, current.revision)
        workflows.set_status(connection, current.id, expected=expected, status=status, updated_at=wanted.updated_at)
        change_claims(connection)
        audit_events.append(connection, [event])

    await context.store.write(write)
    return await asyncio.to_thread(_found, wanted)


_PAST: dict[Action, str] = {"ACTIVATE": "ACTIVATED", "DEACTIVATE": "DEACTIVATED", "DRAFT": "MOVED_TO_DRAFT"}


def _draft(body: schemas.WorkflowInput, id_: str, now: str, before: Sequence[dict[str, Any]]) -> StoredWorkflow:
    """What the body describes, in clear: a mask in it stands for the secret that the node had `before`."""
    known = {node["id"]: node.get("data") for node in before}
    nodes = [_unmasked(dict(node), index, known) for index, node in enumerate(body.get("nodes", []))]
    return StoredWorkflow(
        id=id_,
        name=body["name"],
        description=body.get("description", ""),
        status="draft",
        revision=1,
        nodes=[{"position": {"x": 0, "y": 0}, **node} for node in nodes],
        edges=[dict(edge) for edge in body.get("edges", [])],
        metadata=dict(body.get("metadata", {})),
        created_at=now,
        updated_at=now,
    )


def _unmasked(node: dict[str, Any], index: int, known: Mapping[str, Any]) -> dict[str, Any]:
    if node["type"] != "trigger" or "data" not in node:
        return node
    try:
        return {**node, "data": unmask(node["data"], known.get(node["id"]))}
    except NothingBehindMask as error:
        where = field_name(("nodes", index, "data", *error.path))
        raise InvalidTrigger(fields={where: "is a mask, and there is no stored secret for it"}) from None


def _sealed(context: Context, workflow: StoredWorkflow) -> StoredWorkflow:
    return replace(workflow, nodes=workflows.seal_nodes(context.vault, workflow.id, workflow.nodes))


def _opened(context: Context, workflow: StoredWorkflow) -> list[dict[str, Any]]:
    return workflows.open_nodes(context.vault, workflow.id, workflow.nodes)


async def _compile(workflow: StoredWorkflow) -> Definition:
    return await check_aside(workflow.nodes, workflow.edges, workflow.metadata)


def _check(connection: Connection, workflow_id: str, definition: Definition, checks: Checks = STRICT) -> None:
    used = references(definition)
    providers = {
        id_: ConfigurationFacts(found.provider_id, found.status == "active")
        for id_, found in provider_configurations.find(connection, used.providers).items()
    }
    executors = {
        id_: EndpointFacts(frozenset(endpoint["name"] for endpoint in found.endpoints), found.status == "active")
        for id_, found in executor_configurations.find(connection, used.executors).items()
    }
    taken = webhook_routes.find_taken(connection, workflow_id, webhooks(definition).values())
    check_activation(definition, PROVIDERS_BY_EXECUTOR, providers, executors, taken, checks)


def _routes(definition: Definition) -> list[Route]:
    return [Route(method, path, node_id) for node_id, (method, path) in webhooks(definition).items()]


def _event(
    request: Request, workflow: StoredWorkflow, event_type: str, action: Action, told: Mapping[str, Any]
) -> AuditEvent:
    context = {"status": workflow.status, "version": version_text(workflow.revision), **told}
    return audit_event(request, event_type, action, ("workflow", workflow.id), workflow.updated_at, context)


def _content(workflow: StoredWorkflow) -> dict[str, Any]:
    """What an update may change."""
    return {
        "name": workflow.name,
        "description": workflow.description,
        "nodes": workflow.nodes,
        "edges": workflow.edges,
        "metadata": workflow.metadata,
    }


def _tag(workflow: StoredWorkflow) -> str:
    """Revisions count definitions; the time tells a change of status as well."""
    return entity_tag(workflow.revision, re.sub(r"\D", "", workflow.updated_at))


def _found(workflow: StoredWorkflow) -> Answer:
    return _present(workflow), 200, {"ETag": _tag(workflow)}


def _present_finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "message": finding.message,
        "nodeId": finding.node_id,
        "edgeId": finding.edge_id,
        "field": finding.field,
    }


def _present(workflow: StoredWorkflow) -> dict[str, Any]:
    return {
        "id": workflow.id,
        "name": workflow.name,
        "description": workflow.description,
        "status": workflow.status,
        "version": version_text(workflow.revision),
        "nodes": workflows.mask_nodes(workflow.nodes),
        "edges": workflow.edges,
        "metadata": workflow.metadata,
        "createdAt": workflow.created_at,
        "updatedAt": workflow.updated_at,
    }
