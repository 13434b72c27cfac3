"""Everything that Flowker does round a handler, and a handler that stores nothing."""

from typing import Any

from starlette.types import ASGIApp

from benchmarks.contenders.answers import ANSWER
from flowker.app import OPERATION_MODULES, bind, document_path
from flowker.http.document import build_asgi, load
from flowker.http.security import ApiKeys
from flowker.logs import configure_logs


async def execute_workflow(*, workflow_id: str, idempotency_key: str, body: Any) -> Any:  # noqa: ARG001
    return ANSWER, 201


def create() -> ASGIApp:
    configure_logs("warning")
    handlers = bind(None, OPERATION_MODULES) | {"executeWorkflow": execute_workflow}
    return build_asgi(load(document_path()), handlers, keys=ApiKeys(["benchmark-key"]))
