"""Room for large bodies: how many bytes of them are in memory at once, as text and as the values they become.

A text of 1 MB can become a value of 30 MB (small numbers with a point), and its sender pays nothing for that. So a
large body waits where it is, with its sender, until there is room for it; one that waits too long is refused. Small
bodies, which are nearly all, wait for nobody, and every body is a small one until more of it has come.
"""

import asyncio
from collections import deque
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from flowker.domain.errors import FlowkerError, InternalError

BODY_BYTES_MAX = 1_048_576
"""1 MB, as the published document says of webhook payloads; the other bodies have the same bound."""

SMALL_BYTES_MAX = 65_536
"""What a connection may hold anyway before anybody asks for it; its value is judged in a few milliseconds."""

TEXT_BYTES_MAX = 16 * BODY_BYTES_MAX
"""Large bodies that are being received, together."""

VALUE_BYTES_MAX = BODY_BYTES_MAX
"""Large bodies that are being judged and committed, together, as the text that they were: one of the largest, many
that are hardly large. More at once would need more memory and share the same processor."""

WAIT_S = 30.0
"""How long a large body waits for room: as long as clients usually wait for an answer."""


class Bodies:
    """The room of one service."""

    def __init__(
        self, text_bytes_max: int = TEXT_BYTES_MAX, value_bytes_max: int = VALUE_BYTES_MAX, wait_s: float = WAIT_S
    ) -> None:
        self.texts = Room(text_bytes_max, wait_s)
        self.values = Room(value_bytes_max, wait_s)


class Room:
    """So many bytes, given out in the order in which they are asked for."""

    def __init__(self, bytes_max: int, wait_s: float) -> None:
        self._free = bytes_max
        self._wait_s = wait_s
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait for so many bytes; raises InternalError when they do not become free."""
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        has_room = False
        try:
            await asyncio.wait([turn], timeout=self._wait_s)
            has_room = turn.done()
        finally:
            if not has_room:
                self._withdraw(size, turn)
        if not has_room:
            raise InternalError(headers={"Retry-After": "1"})

    def free(self, size: int) -> None:
        self._free += size
        self._give_out()

    def _withdraw(self, size: int, turn: asyncio.Future[None]) -> None:
        if turn.done():
            self.free(size)
        else:
            self._waiting.remove((size, turn))
            self._give_out()

    def _give_out(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, turn = self._waiting.popleft()
            self._free -= size
            turn.set_result(None)


class Hold:
    """What one request has of the room."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._text_bytes = 0
        self._value_bytes = 0

    async def for_text(self, size: int) -> None:
        if size > SMALL_BYTES_MAX and not self._text_bytes:
            await self._bodies.texts.take(size)
            self._text_bytes = size

    async def for_value(self, size: int) -> None:
        if size > SMALL_BYTES_MAX and not self._value_bytes:
            await self._bodies.values.take(size)
            self._value_bytes = size

    def release(self) -> None:
        """Neither text nor value is needed any more."""
        if self._text_bytes:
            self._bodies.texts.free(self._text_bytes)
        if self._value_bytes:
            self._bodies.values.free(self._value_bytes)
        self._text_bytes = self._value_bytes = 0


async def read_bytes(
    receive: Receive, headers: Mapping[bytes, bytes], too_large: type[FlowkerError], hold: Hold
) -> bytes:
    """The body as it comes from the connection, which is not asked for more than there is room for.

    Room is taken when more than a small body has come: to announce a large one costs its sender nothing.
    """
    announced = _announced_bytes(headers)
    if announced > BODY_BYTES_MAX:
        raise too_large
    data, more = await _receive(receive)
    if not more and len(data) <= SMALL_BYTES_MAX:
        return data
    chunks = bytearray(data)
    while True:
        if len(chunks) > BODY_BYTES_MAX:
            raise too_large
        if len(chunks) > SMALL_BYTES_MAX:
            await hold.for_text(announced or BODY_BYTES_MAX)
        if not more:
            return bytes(chunks)
        data, more = await _receive(receive)
        chunks += data


def _announced_bytes(headers: Mapping[bytes, bytes]) -> int:
    """The length that is announced, if there is one; any number over the bound for one far over it."""
    announced = headers.get(b"content-length", b"")
    # int() refuses texts that are much longer than any length, be it by zeros.
    return int(announced.lstrip(b"0")[:13] or b"0") if announced.isdigit() else 0


async def _receive(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)
