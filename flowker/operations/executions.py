"""Executions API: start a workflow without a webhook, and read what became of an execution."""

import asyncio
from typing import Any

from flowker import schemas
from flowker.domain import webhooks
from flowker.domain.advance import fold
from flowker.domain.errors import (
    ExecutionInProgress,
    IdempotencyKeyMissing,
    IdempotencyKeyUsed,
    WorkflowNotActive,
)
from flowker.domain.executions import TERMINAL, Outcome, State, final_output
from flowker.domain.workflows import Plan
from flowker.engine.accepting import Submission, input_digest, new_execution_id
from flowker.engine.records import read_recorded
from flowker.operations.context import Answer, Context, Request, actor
from flowker.storage import executions, workflows
from flowker.storage.database import Connection
from flowker.storage.executions import KeySeen, StoredExecution, WorkflowMoved


async def execute_workflow(
    context: Context, *, workflow_id: str, idempotency_key: str, body: schemas.ExecuteInput, request: Request
) -> Answer:
    """Start an active workflow; the same key with the same input again answers the execution it started."""
    key = webhooks.parse_idempotency_key(idempotency_key)
    if key is None:
        raise IdempotencyKeyMissing
    workflow = await context.store.read(workflows.get, workflow_id.lower())
    digest = input_digest(body["inputData"])
    if workflow.status != "active":
        return await _repeat(context, workflow.id, key, digest)
    definition = await context.definitions.get(workflow.id, workflow.revision)
    submission = Submission(
        workflow.id,
        workflow.revision,
        definition,
        definition.triggers[0].id,
        body["inputData"],
        actor(request),
        key,
        digest,
    )
    verdict = await context.accepting.accept(submission, new_execution_id())
    if isinstance(verdict, WorkflowMoved):
        return await _repeat(context, workflow.id, key, digest)
    if isinstance(verdict, KeySeen):
        return _original(workflow.id, verdict, digest)
    return _started(verdict.execution_id, workflow.id, "running", verdict.started_at), 201


async def list_executions(
    context: Context,
    *,
    workflow_id: str | None,
    status: str | None,
    limit: int,
    cursor: str | None,
    sort_by: str,
    sort_order: str,
) -> Answer:
    def read(connection: Connection) -> Any:
        return executions.list_page(
            connection,
            workflow_id=workflow_id.lower() if workflow_id else None,
            status=status,
            limit=limit,
            cursor=cursor,
            sort_by=sort_by,
            sort_order=sort_order,
        )

    page = await context.store.read(read)
    return {
        "items": [_present(execution) for execution in page.items],
        "nextCursor": page.next_cursor,
        "hasMore": page.has_more,
    }


async def get_execution_status(context: Context, *, id_: str) -> Answer:
    return _present(await context.store.read(executions.get, id_.lower()))


async def get_execution_results(context: Context, *, id_: str) -> Answer:
    recorded = await context.store.read(read_recorded, id_.lower())
    execution = recorded.row
    if execution.status not in TERMINAL:
        raise ExecutionInProgress
    definition = await context.definitions.get(execution.workflow_id, execution.revision)
    plan = definition.plan(recorded.trigger)
    # Folding evaluates the conditions of a whole run again: not on the event loop.
    state = await asyncio.to_thread(fold, plan, recorded.events)
    return {
        "executionId": execution.id,
        "workflowId": execution.workflow_id,
        "status": execution.status,
        "stepResults": _step_results(plan, state),
        "finalOutput": final_output(state),
        "startedAt": execution.started_at,
        "completedAt": execution.completed_at,
        "errorMessage": execution.error_message,
    }


async def _repeat(context: Context, workflow_id: str, key: str, digest: str) -> Answer:
    """A workflow that is not active starts nothing; what it started before is still answered."""
    seen = await context.store.read(executions.find_key, workflow_id, key)
    if seen is None:
        raise WorkflowNotActive
    return _original(workflow_id, seen, digest)


def _original(workflow_id: str, seen: KeySeen, digest: str) -> Answer:
    if seen.input_digest != digest:
        raise IdempotencyKeyUsed("The idempotency key was already used with another input.")
    return _started(seen.execution_id, workflow_id, seen.status, seen.started_at), 200


def _started(execution_id: str, workflow_id: str, status: str, started_at: str) -> dict[str, Any]:
    return {"executionId": execution_id, "workflowId": workflow_id, "status": status, "startedAt": started_at}


def _present(execution: StoredExecution) -> dict[str, Any]:
    return {
        "executionId": execution.id,
        "workflowId": execution.workflow_id,
        "status": execution.status,
        "currentStepNumber": execution.current_step_number,
        "totalSteps": execution.total_steps,
        "startedAt": execution.started_at,
        "completedAt": execution.completed_at,
        "errorMessage": execution.error_message,
    }


def _step_results(plan: Plan, state: State) -> list[dict[str, Any]]:
    return [_step_result(number, plan, outcome) for number, outcome in enumerate(state.outcomes.values(), 1)]


def _step_result(number: int, plan: Plan, outcome: Outcome) -> dict[str, Any]:
    return {
        "stepNumber": number,
        "stepName": plan.nodes[outcome.node_id].step_name,
        "nodeId": outcome.node_id,
        "status": outcome.status,
        "output": outcome.output,
        "executedAt": outcome.executed_at,
        "durationMs": outcome.duration_ms,
        "errorMessage": outcome.error,
        "attempts": outcome.attempts,
    }
