"""How an answer goes out: in one write.

uvicorn writes the head of an answer and its body one after another. Each write is a call of the system and a packet,
which together cost as much as judging the request.
"""

import asyncio
from typing import Final

_INTERIM: Final = b"HTTP/1.1 100 "
"""What begins the one thing that is written before a head: `100 Continue`, which the client waits for."""


class AnswerTransport(asyncio.Transport):
    """What one answer writes to: its head waits for what follows it. uvicorn asks for no more than this.

    It does not know whose answer it is: the two would hold each other, and be garbage that has to be looked for.
    """

    __slots__ = ("_head", "_is_past_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head = b""
        self._is_past_head = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_past_head:
            self._transport.write(self._head + data if self._head else data)
            self._head = b""
        elif data[: len(_INTERIM)] == _INTERIM:
            self._transport.write(data)
        else:
            self._head, self._is_past_head = bytes(data), True

    def flush(self) -> None:
        """Write a head that nothing follows."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
