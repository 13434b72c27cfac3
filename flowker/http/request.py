"""What a handler sees of a request when it asks for more than its parameters and its body."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope

from flowker.domain.errors import FlowkerError, InputTooLarge, InternalError
from flowker.http.bodies import SMALL_BYTES_MAX, Hold, read_bytes
from flowker.http.contract import Body
from flowker.http.parameters import Query

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
        hold: Hold,
    ) -> None:
        self.operation_id = operation_id
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        client = scope.get("client")
        self.client_address: str | None = client[0] if client else None
        self.key_fingerprint = key_fingerprint
        self._scope = scope
        self._receive = receive
        self._headers: list[tuple[str, str]] | None = None
        self._headers_by_name = headers
        self._contract = contract
        self._hold = hold
        self._raw_body: bytes | None = None
        self._body: Any = _UNREAD
        self._refusal: FlowkerError | None = None

    @property
    def headers(self) -> list[tuple[str, str]]:
        if self._headers is None:
            lines = self._scope["headers"]
            self._headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines]
        return self._headers

    @property
    def query(self) -> list[tuple[str, str]]:
        raw = self._scope["query_string"]
        return Query(raw).pairs if raw else []

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

    def release(self) -> None:
        """The body is not needed any more: others may have its room while this request is still being answered."""
        self._raw_body = self._body = None
        self._hold.release()

    async def _judged(self, contract: Body, too_large: type[FlowkerError]) -> Any:
        data = await self._read(too_large) if self._raw_body is None else self._raw_body
        try:
            return await judge(contract, data, self._headers_by_name.get(b"content-type"), self._hold)
        except FlowkerError as refusal:
            self._refusal = refusal
            raise

    async def _read(self, too_large: type[FlowkerError]) -> bytes:
        """The connection gives a body once: who asks again for one that was refused is told the same."""
        if self._refusal is not None:
            raise self._refusal
        try:
            return await read_bytes(self._receive, self._headers_by_name, too_large, self._hold)
        except FlowkerError as refusal:
            self._refusal = refusal
            raise


async def read_body(
    contract: Body, receive: Receive, headers: Mapping[bytes, bytes], too_large: type[FlowkerError], hold: Hold
) -> Any:
    data = await read_bytes(receive, headers, too_large, hold)
    return await judge(contract, data, headers.get(b"content-type"), hold)


async def judge(contract: Body, data: bytes, content_type: bytes | None, hold: Hold) -> Any:
    """The value of a body; a large one is read in a thread, because it keeps a processor busy for long."""
    if len(data) <= SMALL_BYTES_MAX:
        return contract.read(data, content_type)
    await hold.for_value(len(data))
    return await asyncio.to_thread(contract.read, data, content_type)
