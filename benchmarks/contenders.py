"""The applications that webhooks.py measures beside the service itself."""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from flowker.app import OPERATION_MODULES, bind, document_path
from flowker.http.document import build_asgi, load
from flowker.http.security import ApiKeys
from flowker.logs import configure_logs

ANSWER = {
    "executionId": "f7e6d5c4-b3a2-1098-7654-321fedcba098",
    "workflowId": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "status": "running",
    "startedAt": "2026-03-17T14:35:00.000000Z",
}


def bare() -> ASGIApp:
    """The least that a Python framework does for a JSON body and a JSON answer."""

    async def payments(request: Request) -> JSONResponse:
        await request.json()
        return JSONResponse(ANSWER, 201)

    return Starlette(routes=[Route("/payments", payments, methods=["POST"])])


def validated() -> ASGIApp:
    """Everything that Flowker does round a handler, and a handler that does nothing."""

    async def execute_workflow(*, workflow_id: str, idempotency_key: str, body: Any) -> Any:  # noqa: ARG001
        return ANSWER, 201

    configure_logs("warning")
    handlers = bind(None, OPERATION_MODULES) | {"executeWorkflow": execute_workflow}
    return build_asgi(load(document_path()), handlers, keys=ApiKeys(["benchmark-key"]))
