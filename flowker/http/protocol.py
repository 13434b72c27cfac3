"""HTTP on one connection: uvicorn's protocol, with a bound for everything that a client may send or put off.

uvicorn's own has no time limits but one for idle connections, takes headers and pipelined requests without an end,
and answers what is no HTTP in a shape of its own. What is refused here never reaches the application, so no
operation documents it.
"""

import asyncio
import re
import socket
from typing import Any, Literal, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from flowker.domain.errors import FlowkerError, InputTooLarge, InternalError, InvalidRequest, RequestTimeout
from flowker.http.answers import AnswerTransport
from flowker.http.bodies import BODY_BYTES_MAX
from flowker.http.connections import CONNECTIONS_MAX, Connections, Limits, of_server
from flowker.http.errors import render

HEAD_BYTES_MAX = 65_536
"""Request line and headers of one request, while they arrive: more than what may go on to the application."""

PIPELINED_MAX = 16
"""Requests of one connection that wait for the answer to another. Browsers and clients send none of them."""

UNASKED_BYTES_MAX = 65_536
"""What the kernel takes from a client (twice that, on Linux) while nobody here asks for more."""

_NOT_HTTP = re.compile(rb"(?:^|\n)[A-Z_-]+ +[^ \r\n]+ +(?:RTSP|ICE)/")
"""Protocols that the parser knows and takes for HTTP/1.0."""


def connections_of(server_state: ServerState, loop: asyncio.AbstractEventLoop) -> Connections:
    return of_server(server_state, loop, BoundedProtocol.limits.look_every_s)


class BoundedProtocol(HttpToolsProtocol):
    """For uvicorn's option `http`; `limit_concurrency` is the number of connections."""

    limits = Limits()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connections_max = self.limit_concurrency or CONNECTIONS_MAX
        # uvicorn would answer in another shape, and with a status that is not documented.
        self.limit_concurrency = None
        self.ws_protocol_class = None
        self._all = of_server(server_state, self.loop, self.limits.look_every_s)
        self._awaits: Literal["head", "body"] | None = "head"
        self._since = self._looked_at = self.loop.time()
        self._head = bytearray()
        self._head_bytes = 0
        self._data = b""
        self._begins_here = False
        self._hosts = 0
        self._body_bytes = 0
        self._answering: RequestResponseCycle | None = None
        self._refusal: FlowkerError | None = None
        self._is_deaf = False
        self._last_words: bytes | None = None
        self._ends_at: float | None = None
        self._closes = False

    # What the transport tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNASKED_BYTES_MAX)
        self._all.attend()
        if len(self.connections) > self._connections_max and not self._all.make_room():
            self._refuse(InternalError(headers={"Retry-After": "1"}), "too many connections")

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        if self._awaits is None:
            self._await("head")
        self._data, self._begins_here = data, False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing here speaks what the client asks for: it is answered in HTTP, and what follows is not read.
            self._end_after(self.cycle)
        except httptools.HttpParserError:
            if not self._is_deaf:
                self._refuse(self._refusal or InvalidRequest("The request is not valid HTTP."), "malformed")
        else:
            self._keep_head(data)
        self._data = b""

    def pause_writing(self) -> None:
        super().pause_writing()
        self._allow(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._ends_at = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._is_deaf = True
        self.pipeline.clear()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    # What the parser finds.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await("head")
        self._begins_here = True
        self._hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come while the request is being answered already: they are no headers of it.
        if self._awaits == "head":
            super().on_header(name, value)
            self._hosts += self.headers[-1][0] == b"host"

    def on_headers_complete(self) -> None:
        self._refusal = self._find_fault()
        if self._refusal is not None:
            raise self._refusal
        super().on_headers_complete()
        self.cycle.transport = AnswerTransport(self.transport)
        if self._all.drains:
            self.cycle.keep_alive = False
        self._await("body")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self.cycle.response_complete and self._body_bytes > BODY_BYTES_MAX:
            # It was answered already, and goes on sending: so much is skipped and no more.
            self._end()
            raise InputTooLarge
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._awaits = None
        if self.cycle.response_complete:
            # It was answered before its body had come. What uvicorn did after the answer ended with these bytes.
            self._be_idle()

    # What uvicorn asks for.

    def shutdown(self) -> None:
        """Close what waits for nothing; a request that is arriving is answered first."""
        self.drain()
        self._closes = True
        is_arriving = self._awaits == "body" or (self._awaits == "head" and bool(self._head))
        if not is_arriving and not self._is_answering():
            self.transport.close()

    def on_response_complete(self) -> None:
        cast("AnswerTransport", cast("RequestResponseCycle", self._answering).transport).flush()
        super().on_response_complete()
        self._since = self.loop.time() if self._awaits is None else self._since
        if self._is_deaf and not self._is_answering():
            self._end()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        # The last body may have come with this request, after its answer: then the connection was idle just now.
        self._unset_keepalive_if_required()
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        return False

    # What all connections are asked.

    @property
    def waits_since(self) -> float | None:
        is_served = self._is_deaf or self._awaits == "body" or self._is_answering()
        return None if is_served or self.transport.get_write_buffer_size() else self._since

    def drain(self) -> None:
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def give_way(self) -> None:
        self.connections.discard(self)
        self.transport.abort()

    def look(self, now: float) -> None:
        if self._ends_at is not None:
            if now > self._ends_at:
                self._all.note("did not read")
                self.transport.abort()
        elif self.transport.is_closing():
            self._allow(self.transport.get_write_buffer_size())
        elif self._holds_up_client():
            self._since += now - self._looked_at
        elif not self._is_deaf and self._awaits is not None and now - self._since > self._allowed_s():
            self._time_out()
        self._looked_at = now

    def _holds_up_client(self) -> bool:
        """Whether the client may not send, or was not asked to yet, so that this is no time of its own."""
        return self.flow.read_paused or (self._awaits == "body" and self.cycle.waiting_for_100_continue)

    def _allowed_s(self) -> float:
        limits = self.limits
        return limits.head_s if self._awaits == "head" else limits.body_s + self._body_bytes / limits.bytes_per_s

    def _allow(self, unread_bytes: int) -> None:
        """Let the client take its time to read an answer, and no more."""
        self._ends_at = self.loop.time() + self.limits.body_s + unread_bytes / self.limits.bytes_per_s

    def _time_out(self) -> None:
        if self._awaits == "head" and not self._head:
            # It has asked for nothing, so there is nothing to answer.
            self._is_deaf = True
            self.transport.close()
        else:
            self._refuse(RequestTimeout(), "slow")

    # How a connection ends.

    def _refuse(self, refusal: FlowkerError, why: str) -> None:
        """Say why, after the answers to what came before, and close."""
        self._all.note(why)
        self._is_deaf = True
        if self._awaits == "body" and not self._give_up_body():
            self.transport.abort()
            return
        self._last_words = self._words(refusal)
        if not self._is_answering():
            self._end()

    def _give_up_body(self) -> bool:
        """Whether the request whose body is cut can be answered from here."""
        cycle = self.cycle
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
            return True
        if cycle.response_started:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return True

    def _end_after(self, cycle: RequestResponseCycle) -> None:
        self._is_deaf = True
        cycle.keep_alive = False
        if cycle.response_complete:
            self._end()

    def _end(self) -> None:
        """Say the last words, and leave it to the client to close: a reset could overtake them."""
        self._is_deaf = True
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        if self._last_words is not None:
            self.transport.write(self._last_words)
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(self.limits.close_s, self.transport.close)

    def _words(self, refusal: FlowkerError) -> bytes:
        reply = render(refusal)
        headers = [*self.server_state.default_headers, *reply.headers, (b"connection", b"close")]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        return b"".join([STATUS_LINE[reply.status], *lines, b"\r\n", reply.body])

    # What is wrong with a request.

    def _find_fault(self) -> FlowkerError | None:
        """What the parser takes, and an intermediary may understand in another way."""
        version = self.parser.get_http_version()
        if version != "1.1" and (version != "1.0" or _NOT_HTTP.search(self._head + self._data)):
            return InvalidRequest("The request is not HTTP/1.1 or HTTP/1.0.")
        if self._hosts > 1 or (self._hosts == 0 and version == "1.1"):
            return InvalidRequest("The request has no Host header, or several.")
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (version == "1.0" or codings != [b"chunked"]):
            return InvalidRequest("The request has a Transfer-Encoding other than chunked.")
        if not self.url.startswith((b"/", b"http://", b"https://")):
            return InvalidRequest("The request has a target that is no path.")
        if len(self.pipeline) >= PIPELINED_MAX:
            return InvalidRequest("There are too many requests at once on one connection.")
        return None

    def _await(self, what: Literal["head", "body"]) -> None:
        self._awaits = what
        self._since = self.loop.time()
        self._head_bytes = self._body_bytes = 0
        self._head.clear()

    def _keep_head(self, data: bytes) -> None:
        """Keep a head that has no end yet. Where it begins in its first piece is not known: that does not count."""
        if self._awaits != "head":
            return
        self._head += data
        self._head_bytes += 0 if self._begins_here else len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(InvalidRequest("The request has too large headers."), "malformed")

    def _be_idle(self) -> None:
        """Wait for another request, for so long as any connection does, unless nothing more is wanted."""
        self._since = self.loop.time()
        if self._closes:
            self.transport.close()
            return
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _is_answering(self) -> bool:
        cycle = self._answering
        busy = cycle is not None and not cycle.response_complete and not cycle.disconnected
        return busy or bool(self.pipeline)
