"""The connections of one server: how many there may be, and what the clients of all of them may take their time for.

One timer looks at every connection a few times a second. A timer for each of them would be armed and cancelled with
every request.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import structlog

CONNECTIONS_MAX = 1_000
"""Unless the server is told another number. With what each may have sent unasked, 128 MB at the very worst."""

GIVES_WAY_AFTER_S = 1.0
"""Who has asked for nothing for so long is closed for a new connection when there are too many."""

TOLD_EVERY_S = 10.0
"""The log has one line for all that was cut in so many seconds: hostile clients must not fill it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take its time for. Proxies on the way have limits like these."""

    head_s: float = 10.0
    """From the first byte of a request to the end of its headers, and from a connection to its first byte."""
    body_s: float = 10.0
    """For the body, and for reading an answer, each with the time that `bytes_per_s` gives for what went over."""
    bytes_per_s: int = 65_536
    """1 MB may take 26 s."""
    close_s: float = 2.0
    """How long a refused client may go on sending before it has read its refusal."""
    look_every_s: float = 0.25


class Connection(Protocol):
    @property
    def waits_since(self) -> float | None:
        """Since when it has asked for nothing; None while it is served."""
        ...

    def drain(self) -> None:
        """Say with the answer that is under way that it is the last one."""
        ...

    def look(self, now: float) -> None:
        """Be cut, if it is time for that."""
        ...

    def give_way(self) -> None:
        """Be closed at once."""
        ...


class Connections:
    def __init__(self, connections: Iterable[Any], loop: asyncio.AbstractEventLoop, look_every_s: float) -> None:
        self._connections: Iterable[Connection] = connections
        self._loop = loop
        self._look_every_s = look_every_s
        self._looks = False
        self.drains = False
        """Whether every answer is the last one on its connection."""
        self._cut: Counter[str] = Counter()
        self._told_at: float | None = None

    def attend(self) -> None:
        """There is at least one connection now."""
        if not self._looks:
            self._looks = True
            self._loop.call_later(self._look_every_s, self._look)

    def drain(self) -> None:
        """Let every client know with its next answer that its connection ends."""
        self.drains = True
        for connection in tuple(self._connections):
            connection.drain()

    def note(self, why: str) -> None:
        """A client was refused or cut for something that it did, or did not do in time."""
        self._cut[why] += 1

    def make_room(self) -> bool:
        """Close the connection that has asked for nothing for the longest time, if there is one."""
        waiting = [(since, id(one), one) for one in self._connections if (since := one.waits_since) is not None]
        if not waiting:
            return False
        since, _, longest = min(waiting)
        if self._loop.time() - since < GIVES_WAY_AFTER_S:
            return False
        self.note("gave way")
        longest.give_way()
        return True

    def _look(self) -> None:
        now = self._loop.time()
        found = tuple(self._connections)
        for connection in found:
            connection.look(now)
        self._tell(now)
        self._looks = bool(found or self._cut)
        if self._looks:
            self._loop.call_later(self._look_every_s, self._look)

    def _tell(self, now: float) -> None:
        if self._cut and (self._told_at is None or now - self._told_at >= TOLD_EVERY_S):
            _log.warning("clients cut off", **{name.replace(" ", "_"): n for name, n in self._cut.items()})
            self._cut.clear()
            self._told_at = now


def of_server(server_state: Any, loop: asyncio.AbstractEventLoop, look_every_s: float) -> Connections:
    """The one object for all connections of a server."""
    found = _BY_SERVER.get(server_state)
    if found is None:
        found = _BY_SERVER[server_state] = Connections(server_state.connections, loop, look_every_s)
    return found


_BY_SERVER: WeakKeyDictionary[Any, Connections] = WeakKeyDictionary()
