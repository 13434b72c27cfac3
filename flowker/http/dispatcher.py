"""One object per operation, built at start, which takes a request from its key to the bytes of its answer.

The order is the same everywhere: key, parameters, body (size while it is read, then its text, then its schema),
handler, answer judged, answer sent. Connexion's `RoutedMiddleware` finds the object by the operationId that its
routing left in the scope; its own operations are not used, because they inspect signatures for every request.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.operations.abstract import AbstractOperation
from connexion.spec import Specification
from starlette.types import Receive, Scope, Send

from flowker import jsontext
from flowker.domain.errors import FlowkerError, InputTooLarge, InternalError
from flowker.http.bodies import Bodies, Hold
from flowker.http.contract import OperationContract
from flowker.http.errors import BUG, render
from flowker.http.reply import Reply, empty_reply, encode_headers, json_reply, text_reply
from flowker.http.request import Request, read_body
from flowker.http.security import ApiKeys

Handler = Callable[..., Awaitable[Any]]

Refuses = Callable[[], bool]
"""Whether more wait than can be done soon; asked for each request of an operation that is admitted."""

OPERATION = "flowker.operation"
STATUS = "flowker.status"
"""Where the scope says which operation answered with which status, for the line in the log."""

UNTOLD = "flowker.untold"
"""Where the scope says that there is to be no line: who refuses many at once tells of all of them together."""

OVERLOADED = render(InternalError(headers={"Retry-After": "1"}))
"""What is answered then. It is made once, because it has to cost next to nothing."""

LISTS = frozenset({b"if-match"})
"""Headers that are lists: on several lines they mean the same as on one (RFC 9110, 5.3)."""

_log = structlog.get_logger(__name__)


class Operation:
    def __init__(
        self,
        contract: OperationContract,
        handler: Handler,
        keys: ApiKeys | None,
        bodies: Bodies,
        refuses: Refuses | None = None,
    ) -> None:
        self.contract = contract
        self._refuses = refuses if contract.is_admitted else None
        self._bodies = bodies
        self._handler = handler
        self._keys = keys if contract.needs_key else None
        wanted = set(inspect.signature(handler).parameters)
        self._body = contract.body if "body" in wanted else None
        self._takes_request = "request" in wanted
        self._left_out = tuple(p.argument for p in contract.parameters if p.argument not in wanted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[OPERATION] = self.contract.operation_id
        if self._refuses is not None and self._refuses():
            scope[STATUS], scope[UNTOLD] = OVERLOADED.status, True
            await OVERLOADED.send(send)
            return
        hold = Hold(self._bodies)
        try:
            reply = self._reply(await self._answer(scope, receive, hold))
        except FlowkerError as error:
            reply = render(error)
        finally:
            hold.release()
        complaints = self.contract.complaints(*reply)
        if complaints:
            _log.error(
                "answer departed from the document",
                operation=self.contract.operation_id,
                status=reply.status,
                complaints=complaints,
            )
            reply = render(InternalError(BUG))
        scope[STATUS] = reply.status
        await reply.send(send)

    async def _answer(self, scope: Scope, receive: Receive, hold: Hold) -> Any:
        headers = _headers_by_name(scope["headers"])
        fingerprint = self._keys.authenticate(headers.get(b"x-api-key")) if self._keys else None
        contract = self.contract
        arguments = contract.read_parameters(scope["path_params"], scope["query_string"], headers)
        for name in self._left_out:
            del arguments[name]
        if self._body is not None:
            arguments["body"] = await read_body(self._body, receive, headers, InputTooLarge, hold)
        if self._takes_request:
            arguments["request"] = Request(
                contract.operation_id,
                scope,
                receive,
                headers=headers,
                key_fingerprint=fingerprint,
                contract=contract.body,
                hold=hold,
            )
        return await self._handler(**arguments)

    def _reply(self, answer: Any) -> Reply:
        """Connexion's convention: a body, (body, status) or (body, status, headers). Text goes out as it is."""
        body, status, headers = answer, self.contract.default_status, None
        if isinstance(answer, tuple):
            body, status, *rest = answer
            headers = rest[0] if rest else None
        extra = encode_headers(headers) if headers else ()
        if body is None:
            return empty_reply(status, extra)
        if isinstance(body, str):
            return text_reply(status, body, extra)
        return json_reply(status, jsontext.encode(body), extra)


def _headers_by_name(lines: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The first of several headers with one name counts, as in Starlette and in openapi-core; lists are joined."""
    headers = dict(reversed(lines))
    if len(headers) < len(lines):
        for name in LISTS & headers.keys():
            headers[name] = b", ".join(value for each, value in lines if each == name)
    return headers


class OperationsAPI(RoutedAPI[Operation]):
    """Connexion walks the document, resolves each handler, and asks for the object that will answer."""

    def __init__(
        self,
        specification: Specification,
        *,
        contracts: Mapping[str, OperationContract],
        keys: ApiKeys | None,
        refuses: Refuses | None = None,
        **options: Any,
    ) -> None:
        super().__init__(specification, **options)
        self._contracts = contracts
        self._keys = keys
        self._refuses = refuses
        self._bodies = Bodies()
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> Operation:
        contract = self._contracts[operation.operation_id]
        return Operation(contract, operation.function, self._keys, self._bodies, self._refuses)


class Dispatcher(RoutedMiddleware[OperationsAPI]):
    api_cls = OperationsAPI


def misfits(contracts: Mapping[str, OperationContract], handlers: Mapping[str, Handler]) -> list[str]:
    """Everything in which handlers and document do not fit together, each with its name."""
    found = [f"{name}: the document has it, and there is no handler" for name in contracts.keys() - handlers.keys()]
    found += [
        f"{name}: there is a handler, and the document does not have it" for name in handlers.keys() - contracts
    ]
    found += [
        f"{name}: it is admitted, and how that is refused is not documented"
        for name, contract in contracts.items()
        if contract.is_admitted and contract.complaints(*OVERLOADED)
    ]
    for name in contracts.keys() & handlers.keys():
        found += [f"{name}: {problem}" for problem in _signature_problems(contracts[name], handlers[name])]
    return sorted(found)


def _signature_problems(contract: OperationContract, handler: Handler) -> list[str]:
    if not inspect.iscoroutinefunction(_innermost(handler)):
        return ["the handler is not a coroutine function"]
    taken = set(inspect.signature(handler).parameters)
    parameters = {parameter.argument: parameter for parameter in contract.parameters}
    found = [f"parameter {name} is not documented" for name in taken - parameters.keys() - {"body", "request"}]
    found += [
        f"parameter {name} is not taken"
        for name, parameter in parameters.items()
        if name not in taken and not parameter.may_be_ignored
    ]
    if contract.body is not None and not taken & {"body", "request"}:
        found.append("neither body nor request is taken")
    if contract.body is None and "body" in taken:
        found.append("body is taken, and the document has none")
    return found


def _innermost(handler: Any) -> Any:
    while isinstance(handler, partial):
        handler = handler.func
    return handler
