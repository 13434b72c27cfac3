"""What a handler sees of a request when it asks for more than its parameters and its body."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from flowker.domain.errors import FlowkerError, InputTooLarge, InternalError
from flowker.http.contract import Body
from flowker.http.parameters import Query

BODY_BYTES_MAX = 1_048_576
"""1 MB, as the published document says of webhook payloads; the other bodies have the same bound."""

_UNREAD = object()


class Request:
    def __init__(
        self,
        operation_id: str,
        scope: Scope,
        receive: Receive,
        *,
        headers: Mapping[bytes, bytes],
        key_fingerprint: str | None,
        contract: Body | None,
    ) -> None:
        self.operation_id = operation_id
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        client = scope.get("client")
        self.client_address: str | None = client[0] if client else None
        self.key_fingerprint = key_fingerprint
        self._scope = scope
        self._receive = receive
        self._headers_by_name = headers
        self._contract = contract
        self._raw_body: bytes | None = None
        self._body: Any = _UNREAD
        self._refusal: FlowkerError | None = None

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._scope["headers"]]

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        return Query(self._scope["query_string"]).pairs

    def header(self, name: str) -> str | None:
        """The first value of a header; of one that is a list, all of them on one line."""
        value = self._headers_by_name.get(name.lower().encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    async def raw_body(self, too_large: type[FlowkerError] = InputTooLarge) -> bytes:
        """The body as it came, read from the connection only now; nothing of it is judged but its size.

        Who needs the bytes asks for them before the `body`, which keeps what it makes of them and nothing else.
        """
        if self._raw_body is None:
            if self._body is not _UNREAD:
                raise InternalError(headers={"Retry-After": "1"})
            self._raw_body = await self._read(too_large)
        return self._raw_body

    async def body(self, too_large: type[FlowkerError] = InputTooLarge) -> Any:
        """The validated body, read from the connection only now; None when it is absent and may be."""
        if self._body is _UNREAD:
            self._body = None if self._contract is None else await self._judged(self._contract, too_large)
        return self._body

    def forget_body(self) -> None:
        """Keep nothing of the body, which may be large: it is not asked for any more."""
        self._raw_body = self._body = None

    async def _judged(self, contract: Body, too_large: type[FlowkerError]) -> Any:
        data = await self._read(too_large) if self._raw_body is None else self._raw_body
        try:
            return contract.read(data, self._headers_by_name.get(b"content-type"))
        except FlowkerError as refusal:
            self._refusal = refusal
            raise

    async def _read(self, too_large: type[FlowkerError]) -> bytes:
        """The connection gives a body once: who asks again for one that was refused is told the same."""
        if self._refusal is not None:
            raise self._refusal
        try:
            return await read_bytes(self._receive, self._headers_by_name, too_large)
        except FlowkerError as refusal:
            self._refusal = refusal
            raise


async def read_body(
    contract: Body, receive: Receive, headers: Mapping[bytes, bytes], too_large: type[FlowkerError]
) -> Any:
    return contract.read(await read_bytes(receive, headers, too_large), headers.get(b"content-type"))


async def read_bytes(receive: Receive, headers: Mapping[bytes, bytes], too_large: type[FlowkerError]) -> bytes:
    announced = headers.get(b"content-length")
    if announced is not None and _exceeds(announced):
        raise too_large
    return await _receive_bytes(receive, too_large)


def _exceeds(announced: bytes) -> bool:
    # int() refuses texts that are much longer than any length, be it by zeros.
    digits = announced.lstrip(b"0") or b"0"
    return announced.isdigit() and (len(digits) > 12 or int(digits) > BODY_BYTES_MAX)


async def _receive_bytes(receive: Receive, too_large: type[FlowkerError]) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    data: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(data) > BODY_BYTES_MAX:
            raise too_large
        return data
    chunks = bytearray(data)
    while message.get("more_body", False):
        if len(chunks) > BODY_BYTES_MAX:
            raise too_large
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks += message.get("body", b"")
    if len(chunks) > BODY_BYTES_MAX:
        raise too_large
    return bytes(chunks)
