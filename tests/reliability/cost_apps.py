"""What the cost of a request is compared with, and a part of the service that can be compared."""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from flowker.app import OPERATION_MODULES, bind, shipped_document
from flowker.http.document import build_asgi
from flowker.http.security import ApiKeys
from flowker.logs import configure_logs

KEY = "reliability-key"
PATH = "/v1/workflows/a1b2c3d4-e5f6-7890-abcd-ef1234567890/executions"
ANSWER = {
    "executionId": "019dffff-0000-7000-8000-000000000000",
    "workflowId": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "status": "running",
    "startedAt": "2026-03-17T14:35:00.000000Z",
}


def bare() -> ASGIApp:
    """The least that a Python framework does for a body and an answer in JSON."""

    async def answer(request: Request) -> JSONResponse:
        await request.json()
        return JSONResponse(ANSWER, 201)

    return Starlette(routes=[Route(PATH, answer, methods=["POST"])])


def validated() -> ASGIApp:
    """Everything that the service does round a handler which stores nothing."""

    async def execute_workflow(*, workflow_id: str, idempotency_key: str, body: Any) -> Any:  # noqa: ARG001
        return ANSWER, 201

    configure_logs("warning")
    handlers = bind(None, OPERATION_MODULES) | {"executeWorkflow": execute_workflow}
    return build_asgi(shipped_document(), handlers, keys=ApiKeys([KEY]))
