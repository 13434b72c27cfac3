"""Executions API: start a workflow without a webhook, read what becomes of an execution, and intervene in it."""

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
from flowker.domain.execution_steps import AttemptOutcome, Step, steps
from flowker.domain.executions import TERMINAL, Attempt, Outcome, State, final_output
from flowker.domain.interventions import Cancel, Decide, Intervention, Retry
from flowker.domain.workflows import Plan
from flowker.engine.accepting import Submission, input_digest, new_execution_id
from flowker.engine.records import Recorded, read_recorded
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
    with context.admission.place():
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
    plan = await _plan(context, recorded)
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


async def list_execution_steps(context: Context, *, id_: str) -> Answer:
    recorded = await context.store.read(read_recorded, id_.lower())
    plan = await _plan(context, recorded)
    found = await asyncio.to_thread(_steps, plan, recorded, context.timestamp())
    return {"items": [_present_step(step) for step in found]}


async def cancel_execution(
    context: Context, *, id_: str, body: schemas.CancelInput | None, request: Request
) -> Answer:
    reason = body.get("reason") if body else None
    await _intervene(context, id_, Cancel(actor(request), reason))
    return await get_execution_status(context, id_=id_)


async def retry_execution(context: Context, *, id_: str, request: Request) -> Answer:
    await _intervene(context, id_, Retry(actor(request)))
    return await get_execution_status(context, id_=id_)


async def signal_execution(
    context: Context, *, id_: str, node_id: str, body: schemas.SignalInput, request: Request
) -> Answer:
    """Decide about an approval; who decides the same again is told the facts of the first decision."""
    decide = Decide(node_id, body["decision"], body.get("comment"), actor(request))
    state = await _intervene(context, id_, decide)
    decided = state.outcomes[node_id].output
    facts = {name: decided[name] for name in ("decision", "comment", "decidedAt", "decidedBy")}
    return {"executionId": id_.lower(), "nodeId": node_id, **facts}


async def _intervene(context: Context, id_: str, intervention: Intervention) -> State:
    """What the intervention led to. An id that was made up is refused here, and takes up no turn of the engine."""
    execution = await context.store.read(executions.get, id_.lower())
    return await context.engine.intervene(execution.id, intervention)


async def _plan(context: Context, recorded: Recorded) -> Plan:
    definition = await context.definitions.get(recorded.row.workflow_id, recorded.row.revision)
    return definition.plan(recorded.trigger)


def _steps(plan: Plan, recorded: Recorded, now: str) -> list[Step]:
    return steps(plan, fold(plan, recorded.events), recorded.events, now)


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


def _present_step(step: Step) -> dict[str, Any]:
    return {
        "nodeId": step.node.id,
        "stepName": step.node.step_name,
        "nodeType": step.node.type,
        "status": step.status,
        "attempts": [_present_attempt(*each) for each in step.attempts],
        "nextAttemptAt": step.next_attempt_at,
        "startedAt": step.started_at,
        "completedAt": step.completed_at,
        "durationMs": step.duration_ms,
        "errorMessage": step.error,
    }


def _present_attempt(attempt: Attempt, outcome: AttemptOutcome) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "startedAt": attempt.started_at,
        "durationMs": attempt.duration_ms,
        "statusCode": attempt.status_code,
        "outcome": outcome,
        "errorMessage": attempt.error,
    }
