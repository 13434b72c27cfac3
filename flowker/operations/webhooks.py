"""Webhooks API: a delivery from outside becomes a committed execution of the workflow that registered its path."""

import asyncio
from typing import Any, NamedTuple

from flowker.domain import webhooks
from flowker.domain.errors import (
    FlowkerError,
    IdempotencyKeyUsed,
    InternalError,
    WebhookBodyTooLarge,
    WebhookNotFound,
    WebhookTokenRefused,
    WorkflowNotActive,
)
from flowker.domain.executions import Accepted, Status
from flowker.domain.nodes import Trigger
from flowker.domain.workflows import Definition
from flowker.engine.accepting import Submission, new_execution_id
from flowker.engine.refusals import Reason, Refusal
from flowker.operations.context import Answer, Context, Request, actor
from flowker.storage import executions
from flowker.storage.executions import KeySeen, WorkflowMoved
from flowker.storage.webhook_routes import FoundRoute

MOVES_MAX = 5
"""How often a delivery follows a workflow that is being changed before it gives up: nobody edits that fast."""


async def trigger_webhook(context: Context, *, path: str, request: Request) -> Answer:
    return await _trigger(context, path, request)


async def trigger_webhook_get(context: Context, *, path: str, request: Request) -> Answer:
    return await _trigger(context, path, request)


async def trigger_webhook_put(context: Context, *, path: str, request: Request) -> Answer:
    return await _trigger(context, path, request)


async def trigger_webhook_patch(context: Context, *, path: str, request: Request) -> Answer:
    return await _trigger(context, path, request)


async def trigger_webhook_delete(context: Context, *, path: str, request: Request) -> Answer:
    return await _trigger(context, path, request)


class _Target(NamedTuple):
    """Who answers a delivery: the route as the store last told it, and the trigger behind it."""

    route: FoundRoute
    definition: Definition
    trigger: Trigger


async def _trigger(context: Context, path: str, request: Request) -> Answer:
    """Deliver by the route that is remembered; what that would refuse is refused only if the route is still right."""
    normalized = webhooks.normalize_path(path)
    for _ in range(MOVES_MAX):
        try:
            begun = await _deliver(context, request, normalized)
            if begun is not None:
                # What was delivered is committed, and has not to be remembered while its execution is waited for.
                request.release()
                return _answer(begun, await _terminal_status(context, begun))
            context.routes.forget(request.method, normalized)
        except InternalError:
            raise
        except _NotTrusted as refused:
            if not await context.routes.has_moved(request.method, normalized):
                context.refusals.note(
                    Refusal(refused.workflow_id, request.method, normalized, refused.reason, actor(request))
                )
                raise WebhookTokenRefused(_MESSAGES[refused.reason]) from None
        except FlowkerError:
            if not await context.routes.has_moved(request.method, normalized):
                raise
    raise InternalError(headers={"Retry-After": "1"})


class _NotTrusted(Exception):
    """A delivery does not have what the trigger asks for. Only if the route is still right is it refused."""

    def __init__(self, workflow_id: str, reason: Reason) -> None:
        self.workflow_id = workflow_id
        self.reason = reason
        super().__init__(reason)


_MESSAGES: dict[Reason, str] = {
    "token": WebhookTokenRefused.message,
    "signature": "The webhook signature is missing or wrong.",
}


class _Begun(NamedTuple):
    """An execution that was committed, and how long its end is waited for."""

    execution_id: str
    workflow_id: str
    started_at: str
    finished: asyncio.Future[Status | None] | None
    wait_s: float


async def _deliver(context: Context, request: Request, path: str) -> _Begun | None:
    """Route and token first, then the body and its signature, then the state: a caller learns nothing it has no
    right to."""
    target = await _admit(context, request, path)
    key = webhooks.parse_idempotency_key(request.header("idempotency-key"))
    if target.trigger.signing_secret is not None:
        await _check_signature(target, target.trigger.signing_secret, request)
    body = await request.body(WebhookBodyTooLarge)
    input_ = webhooks.build_input(
        body,
        method=request.method,
        path=path,
        headers=request.headers,
        query=request.query,
        remote_ip=request.client_address,
    )
    if not target.route.active:
        await _refuse_key_seen(context, target.route.workflow_id, key)
        raise WorkflowNotActive
    return await _execute(context, request, target, input_, key)


async def _admit(context: Context, request: Request, path: str) -> _Target:
    """Find the route and check the delivery's token."""
    route = await context.routes.find(request.method, path)
    if route is None:
        raise WebhookNotFound
    definition = await context.definitions.get(route.workflow_id, route.revision)
    trigger = definition.nodes[route.node_id].behaviour
    if not isinstance(trigger, Trigger):
        raise TypeError(f"node {route.node_id} of workflow {route.workflow_id} is no trigger")
    if trigger.verify_token is not None and not webhooks.token_fits(
        trigger.verify_token, request.header("x-webhook-token")
    ):
        raise _NotTrusted(route.workflow_id, "token")
    return _Target(route, definition, trigger)


async def _check_signature(target: _Target, secret: str, request: Request) -> None:
    """The signature is of the bytes as they came, and is checked before anything looks into them."""
    data = await request.raw_body(WebhookBodyTooLarge)
    if not webhooks.signature_fits(secret, data, request.header(webhooks.SIGNATURE_HEADER)):
        raise _NotTrusted(target.route.workflow_id, "signature")


async def _execute(
    context: Context, request: Request, target: _Target, input_: dict[str, Any], key: str | None
) -> _Begun | None:
    """Commit the execution; None when the workflow was changed since the route was found."""
    execution_id = new_execution_id()
    submission = Submission(
        target.route.workflow_id,
        target.route.revision,
        target.definition,
        target.route.node_id,
        input_,
        actor(request),
        key,
    )
    wait_s = _wait_s(target.trigger, request)
    finished = context.engine.expect(execution_id) if wait_s and context.engine.may_be_waited_for else None
    accepted: Accepted | None = None
    try:
        with context.admission.place():
            verdict = await context.accepting.accept(submission, execution_id)
        if isinstance(verdict, WorkflowMoved):
            return None
        if isinstance(verdict, KeySeen):
            raise _key_used(target.route.workflow_id, verdict)
        accepted = verdict
    finally:
        if accepted is None:
            context.engine.forget(execution_id)
    return _Begun(execution_id, accepted.workflow_id, accepted.started_at, finished, wait_s)


async def _refuse_key_seen(context: Context, workflow_id: str, key: str | None) -> None:
    """A delivery that arrived is told so, also when its workflow was switched off since."""
    seen = None if key is None else await context.store.read(executions.find_key, workflow_id, key)
    if seen is not None:
        raise _key_used(workflow_id, seen)


def _key_used(workflow_id: str, seen: KeySeen) -> IdempotencyKeyUsed:
    return IdempotencyKeyUsed(headers=_identify(workflow_id, seen.execution_id))


def _wait_s(trigger: Trigger, request: Request) -> float:
    """How long the answer waits for the end of the execution; 0 for not at all."""
    preferred_s = webhooks.parse_prefer_wait_s(value for name, value in request.headers if name == "prefer")
    if preferred_s is not None:
        return min(preferred_s, trigger.response_timeout_s)
    return trigger.response_timeout_s if trigger.sync else 0


async def _terminal_status(context: Context, begun: _Begun) -> Status | None:
    if begun.finished is None:
        return None
    try:
        return await asyncio.wait_for(begun.finished, begun.wait_s)
    except TimeoutError:
        return None
    finally:
        context.engine.forget(begun.execution_id)


def _answer(begun: _Begun, status: Status | None) -> Answer:
    body = {
        "executionId": begun.execution_id,
        "workflowId": begun.workflow_id,
        "status": status or "running",
        "startedAt": begun.started_at,
    }
    headers = _identify(begun.workflow_id, begun.execution_id)
    headers["Location"] = f"/v1/executions/{begun.execution_id}"
    return body, 201 if status is None else 200, headers


def _identify(workflow_id: str, execution_id: str) -> dict[str, str]:
    return {"X-Webhook-Workflow-ID": workflow_id, "X-Webhook-Execution-ID": execution_id}
