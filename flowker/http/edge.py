"""The outermost layer: what is not for an operation gets no further, and no error leaves in another shape.

It bounds what uvicorn does not, answers every exception in the one error shape, and writes the one line that the
log has per request.
"""

import asyncio
from time import perf_counter
from urllib.parse import unquote_to_bytes

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from flowker.domain.errors import FlowkerError, InternalError, InvalidQuery, InvalidRequest, PathNotFound
from flowker.http.dispatcher import OPERATION, STATUS, UNTOLD
from flowker.http.errors import BUG, render

HEADERS_MAX = 100
HEADERS_BYTES_MAX = 32_768
QUERY_BYTES_MAX = 8_192
"""Bounds that common proxies have too; uvicorn's httptools parser has none of them."""

_log = structlog.get_logger(__name__)


class Edge:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # As it is found for each line otherwise: with every request.
        self._log = _log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        started = perf_counter()
        try:
            _refuse_beyond_bounds(scope)
            _decode_path(scope)
            await self._app(scope, receive, send)
        except FlowkerError as error:
            await self._refuse(error, scope, send)
        except ClientDisconnect:
            pass
        except Exception:
            if STATUS in scope:
                raise
            _log.exception("request failed", operation=scope.get(OPERATION))
            await self._refuse(InternalError(BUG), scope, send)
        except asyncio.CancelledError:
            await self._cut_short(scope, send)
        if UNTOLD in scope:
            return
        self._log.info(
            "request answered" if STATUS in scope else "request abandoned",
            method=scope["method"],
            operation=scope.get(OPERATION),
            status=scope.get(STATUS),
            duration_ms=round((perf_counter() - started) * 1000, 3),
        )

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._app(scope, receive, send)

    async def _cut_short(self, scope: Scope, send: Send) -> None:
        """A server that stops waits no longer: say so, unless an answer is on its way already.

        To raise would tell nobody but uvicorn, which takes it for a bug: it logs a traceback, and answers in another
        shape.
        """
        if STATUS not in scope:
            await self._refuse(InternalError(headers={"Retry-After": "1"}), scope, send)

    async def _refuse(self, error: FlowkerError, scope: Scope, send: Send) -> None:
        reply = render(error)
        scope[STATUS] = reply.status
        await reply.send(send)


def _refuse_beyond_bounds(scope: Scope) -> None:
    headers = scope["headers"]
    if len(headers) > HEADERS_MAX or sum([len(name) + len(value) for name, value in headers]) > HEADERS_BYTES_MAX:
        raise InvalidRequest("The request has too many or too large headers.")
    if len(scope["query_string"]) > QUERY_BYTES_MAX:
        raise InvalidQuery("The query is too long.")


def _decode_path(scope: Scope) -> None:
    """Decode the path strictly: servers replace what is not UTF-8, and make another path of it."""
    raw_path = scope.get("raw_path")
    if raw_path and b"%" in raw_path:
        try:
            scope["path"] = unquote_to_bytes(raw_path).decode()
        except UnicodeDecodeError:
            raise PathNotFound from None
    path = scope["path"]
    if "\0" in path or ("/." in path and not {".", ".."}.isdisjoint(path.split("/"))):
        raise PathNotFound
