"""A network that goes wrong by command: a proxy between a client and a server, in a thread of its own.

Both ends are healthy; what is between them does what networks, firewalls and hosts do:

    pause     Bytes stay where they are, in one direction or both, and no connection ends: a frozen host, a cable that
              was pulled, a firewall that forgot the connection. Nobody is told anything.
    slow      Bytes arrive, a few per second.
    cut       Connections end in order, as when a server closes them. What was on its way is lost.
    reset     Connections end with a reset, as when a process dies or a firewall gives up.
    cut_after Connections end after so many further bytes: in the middle of whatever is being said.
    refuse    Nobody listens any more: new connections are refused, those that are open stay.

`mend` ends them all, `close` ends the proxy. What is lost is lost for good: a proxy repeats nothing.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import Flag, auto
from typing import Any, Self, TypeVar

T = TypeVar("T")

CHUNK_BYTES = 64 * 1024

SLOW_TICK_S = 0.02
"""A slow connection passes a portion on so often."""

COMMAND_S = 10.0
"""A command takes effect at once; this is when something is wrong with the proxy itself."""


class Way(Flag):
    TO_SERVER = auto()
    TO_CLIENT = auto()
    BOTH = TO_SERVER | TO_CLIENT


class FaultProxy:
    """Listens on a port of loopback and passes everything on to one server, until it is told otherwise.

    The server is a host with a port, or the path of a local socket. Commands may come from any thread, and have
    taken effect when they return.
    """

    def __init__(self, host: str, port: int = 0) -> None:
        self._server_address = (host, port)
        self.connections = 0
        """How many were made through it."""
        # It holds the port and never listens: while connections are refused, nobody else gets the port.
        self._placeholder = _bound(0)
        self.port: int = self._placeholder.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._command(self._begin())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pause(self, way: Way = Way.BOTH) -> None:
        """Hold what is said from now on; connections can still be made, and hear nothing."""
        self._tell(lambda: self._set_paused(way))

    def resume(self) -> None:
        """Pass on what was held, and all that follows."""
        self._tell(lambda: self._set_paused(Way(0)))

    def slow(self, bytes_per_s: float) -> None:
        """Pass on so much per second, in each direction of each connection."""
        self._tell(lambda: setattr(self, "_bytes_per_s", bytes_per_s))

    def cut(self) -> None:
        """End every connection in order; new ones can be made."""
        self._tell(lambda: self._end_all(_close))

    def reset(self) -> None:
        """End every connection with a reset; new ones can be made."""
        self._tell(lambda: self._end_all(_reset))

    def cut_after(self, bytes_: int, way: Way = Way.TO_CLIENT) -> None:
        """Let so many further bytes pass in a direction, over all connections, and then cut."""
        self._tell(lambda: self._set_ration(bytes_, way))

    def refuse(self) -> None:
        """Listen no more, as when no server is there."""
        self._command(self._stop_listening())

    def mend(self) -> None:
        """Be a healthy network again."""
        self._command(self._mend())

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._command(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(COMMAND_S)
        self._loop.close()
        self._placeholder.close()

    async def _begin(self) -> None:
        self._listener: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._gates = {way: asyncio.Event() for way in (Way.TO_SERVER, Way.TO_CLIENT)}
        self._tasks: set[asyncio.Task[None]] = set()
        await self._mend()

    async def _mend(self) -> None:
        self._bytes_per_s: float | None = None
        self._ration: int | None = None
        self._rationed = Way(0)
        self._set_paused(Way(0))
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, sock=_bound(self.port))

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            await asyncio.sleep(0)

    async def _end(self) -> None:
        await self._stop_listening()
        self._end_all(_reset)
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        link = _Link(writer)
        self._links.add(link)
        try:
            await self._gates[Way.TO_SERVER].wait()
            server_reader, server_writer = await self._connect()
            link.writers.append(server_writer)
            await asyncio.gather(
                self._pass_on(reader, server_writer, Way.TO_SERVER),
                self._pass_on(server_reader, writer, Way.TO_CLIENT),
            )
        except (OSError, asyncio.CancelledError):
            link.end(_reset)
        finally:
            self._links.discard(link)
            link.end(_close)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._server_address
        if host.startswith("/"):
            return await asyncio.open_unix_connection(host)
        return await asyncio.open_connection(host, port)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, way: Way) -> None:
        while data := await source.read(CHUNK_BYTES):
            while data:
                portion, data = await self._next_portion(data, way)
                target.write(portion)
                await target.drain()
                if self._ration == 0 and way in self._rationed:
                    self._ration = None
                    self._end_all(_close)
        with suppress(OSError):
            target.write_eof()

    async def _next_portion(self, data: bytes, way: Way) -> tuple[bytes, bytes]:
        """What may pass now, and the rest."""
        await self._gates[way].wait()
        bytes_max = len(data)
        if self._bytes_per_s is not None:
            bytes_max = max(1, int(self._bytes_per_s * SLOW_TICK_S))
            await asyncio.sleep(bytes_max / self._bytes_per_s)
            await self._gates[way].wait()
        if self._ration is not None and way in self._rationed:
            bytes_max = min(bytes_max, self._ration)
            self._ration -= min(bytes_max, len(data))
        return data[:bytes_max], data[bytes_max:]

    def _set_paused(self, paused: Way) -> None:
        for way, gate in self._gates.items():
            if way in paused:
                gate.clear()
            else:
                gate.set()

    def _set_ration(self, bytes_: int, way: Way) -> None:
        self._ration, self._rationed = bytes_, way

    def _end_all(self, how: Callable[[asyncio.StreamWriter], None]) -> None:
        for link in self._links:
            link.end(how)
        self._links.clear()

    def _tell(self, command: Callable[[], None]) -> None:
        async def carry_out() -> None:
            command()

        self._command(carry_out())

    def _command(self, command: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(command, self._loop).result(COMMAND_S)


class _Link:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]

    def end(self, how: Callable[[asyncio.StreamWriter], None]) -> None:
        for writer in self.writers:
            if not writer.transport.is_closing():
                how(writer)


def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made
