"""A far side that goes wrong by plan, in the ways in which far sides go wrong.

It listens on loopback and remembers every request as it arrived. What it answers is said by path:

    provider.answers("POST", "/checks", {"score": 7})         # JSON, or a function of what was received
    provider.plan("/checks", Fault.UNAVAILABLE, Fault.RESET)   # the next two requests go wrong, then it answers

`ledger` makes a path that moves money: it has an effect once for each `Idempotency-Key`. A request that comes again
with its key is given the answer of the first one, as ledgers do. With `Fault.LOST` the effect
is there, and the answer is not: what a caller cannot tell from a request that never arrived.
"""

import json
import socket
import struct
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

PATIENCE_S = 10.0
"""How long a request is kept waiting for what a test promises to do: it never takes as long."""

SLOW_S = 0.3

HUGE_BYTES = 10_000_000


class Fault(Enum):
    """What a request meets instead of its answer."""

    RESET = auto()
    """The connection is reset when the request was read. Nothing was done."""
    LOST = auto()
    """The request is carried out, and then the connection is reset."""
    BLACK_HOLE = auto()
    """The request is read, and there is never an answer."""
    SLOW = auto()
    """The answer comes, late."""
    TRUNCATED = auto()
    """The answer breaks off in its middle."""
    HUGE = auto()
    """The answer has ten megabytes."""
    TOO_MANY = auto()
    """429, with a Retry-After of one second."""
    UNAVAILABLE = auto()
    """503."""


@dataclass(frozen=True)
class Received:
    """A request as it arrived: the path with its query and percent signs, header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float


@dataclass(frozen=True)
class Reply:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


Answer = Callable[[Received], Reply]


class StubProvider:
    """One far side with as many paths as a test wants; `effects` counts what was done, by idempotency key."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.received: list[Received] = []
        self.effects: Counter[str] = Counter()
        self._answers: dict[tuple[str, str], Answer] = {}
        self._plans: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._replies: dict[str, Reply] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer((host, 0), _Handler)
        self._server.daemon_threads = True
        self._server.stub = self  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{self._server.server_address[0]!s}:{self._server.server_address[1]}"

    def answers(self, method: str, path: str, answer: Answer | bytes | Any) -> None:
        """Answer requests to a path: with bytes as they are, a value as JSON, or what a function makes of them."""
        if not callable(answer):
            reply = Reply(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
            self._answers[method, path] = lambda _: reply
        else:
            self._answers[method, path] = answer

    def ledger(self, method: str, path: str, answer: Answer) -> None:
        """Carry out a request once for each idempotency key; whoever repeats it is told the same."""

        def carry_out_once(received: Received) -> Reply:
            key = received.headers["idempotency-key"]
            with self._lock:
                if key not in self._replies:
                    self.effects[key] += 1
                    self._replies[key] = answer(received)
                return self._replies[key]

        self._answers[method, path] = carry_out_once

    def issues_tokens(self, path: str, token: str) -> str:
        """Become an OIDC issuer below a path, with discovery; its URL."""
        issuer = f"{self.url}{path}"
        found = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
        self.answers("GET", f"{path}/.well-known/openid-configuration", found)
        self.answers("POST", f"{path}/token", {"access_token": token, "token_type": "Bearer", "expires_in": 300})
        return issuer

    def plan(self, path: str, *faults: Fault) -> None:
        """Let the next requests to a path go wrong, one after the other."""
        self._plans[path].extend(faults)

    def received_at(self, path: str) -> list[Received]:
        """What came to a path, whatever its query."""
        return [received for received in self.received if received.path.partition("?")[0] == path]

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def next_fault(self, path: str) -> Fault | None:
        with self._lock:
            return self._plans[path].popleft() if self._plans[path] else None

    def answer(self, received: Received) -> Reply:
        answer = self._answers.get((received.method, received.path.partition("?")[0]))
        return Reply(b'{"error":"no such path"}', 404) if answer is None else answer(received)

    def wait_for_the_end(self) -> None:
        """As a black hole does."""
        self._closing.wait(PATIENCE_S)


class _Handler(BaseHTTPRequestHandler):
    """One connection, in a thread of its own; it is kept open between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """Without the story in the log when a caller has left."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def handle_any(self) -> None:
        stub = cast("StubProvider", self.server.stub)  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.command, self.path, headers, body, time.monotonic())
        stub.received.append(received)
        self._answer(stub, received, stub.next_fault(self.path.partition("?")[0]))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the library's names

    def _answer(self, stub: StubProvider, received: Received, fault: Fault | None) -> None:
        match fault:
            case Fault.RESET:
                self._reset()
            case Fault.LOST:
                stub.answer(received)
                self._reset()
            case Fault.BLACK_HOLE:
                stub.wait_for_the_end()
                self.close_connection = True
            case Fault.SLOW:
                time.sleep(SLOW_S)
                self._send(stub.answer(received))
            case Fault.TRUNCATED:
                reply = stub.answer(received)
                self._send(reply, body=reply.body[: len(reply.body) // 2])
                self.close_connection = True
            case Fault.HUGE:
                stub.answer(received)
                self._send(Reply(b"x" * HUGE_BYTES))
            case Fault.TOO_MANY:
                self._send(Reply(b"{}", 429, {"Retry-After": "1"}))
            case Fault.UNAVAILABLE:
                self._send(Reply(b"{}", 503))
            case None:
                self._send(stub.answer(received))

    def _send(self, reply: Reply, *, body: bytes | None = None) -> None:
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body if body is None else body)

    def _reset(self) -> None:
        """End the connection with a reset, as a process that dies or a firewall that gives up does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Closing is what resets; the two files of the handler would keep the socket open.
        self.rfile.close()
        self.wfile.close()
        self.connection.close()
        self.close_connection = True

    def finish(self) -> None:
        """Nothing is left to be flushed after a reset."""
        if not self.wfile.closed:
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing: what arrived is remembered."""
