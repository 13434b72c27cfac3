"""Places for calls: each configuration has a number of them, so that one slow far side cannot take all workers.

A call that finds no place stands in line. Its execution gives its worker back unless other calls of it are under way,
and is woken when a place is kept for it. What stands in line is in memory as two ids, and its row has a time to look
again (`look_after_s`): a crash loses its position and nothing else.
"""

from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass, field

SHARE = 4
"""One configuration gets a quarter of the workers: three that hang leave room for the others."""

PLACES_MIN = 10
"""With few workers a share would be so small that the branches of one execution waited for each other."""

PLACES_MAX = 250
"""A quarter of the connections (`flowker.executors.client.CONNECTIONS_MAX`): with a place there is a connection."""

IN_LINE_MAX = 20_000
"""About 10 MB. Further ones have no position; they come when their row says so."""

LOOK_AFTER_S = 10.0
"""How long who stands in line waits to look by itself, after a restart above all."""

LOOKS_PER_S = 30
"""How many of one line look in a second at most: a look costs about what a step costs."""


@dataclass(eq=False, slots=True)
class _Ticket:
    """One call of an execution, from the question for a place until the call has ended."""

    execution_id: str
    configuration_id: str
    has_place: bool = False


@dataclass(slots=True)
class _Lane:
    """The calls of one configuration: how many have a place, and who waits for one."""

    taken: int = 0
    line: OrderedDict[_Ticket, None] = field(default_factory=OrderedDict)


class Lanes:
    """The places of all configurations. `wake` is told an execution as soon as a place is kept for it."""

    def __init__(self, workers: int, wake: Callable[[str], None], *, in_line_max: int = IN_LINE_MAX) -> None:
        self.places_max = min(max(workers // SHARE, PLACES_MIN), PLACES_MAX)
        self._wake = wake
        self._in_line_max = in_line_max
        self._lanes: dict[str, _Lane] = {}
        self._tickets: dict[str, dict[str, _Ticket]] = {}
        self._in_line = 0

    @property
    def in_line(self) -> int:
        """Calls that wait for a place, of those that have a position."""
        return self._in_line

    def admit(self, execution_id: str, node_id: str, configuration_id: str) -> bool:
        """Whether the call of a node has a place; if not, it stands in line. To be asked as often as one likes."""
        ticket = self._tickets.get(execution_id, {}).get(node_id)
        if ticket is not None:
            return ticket.has_place
        lane = self._lanes.setdefault(configuration_id, _Lane())
        ticket = _Ticket(execution_id, configuration_id, lane.taken < self.places_max)
        if ticket.has_place:
            lane.taken += 1
        elif self._in_line < self._in_line_max:
            lane.line[ticket] = None
            self._in_line += 1
        else:
            return False
        self._tickets.setdefault(execution_id, {})[node_id] = ticket
        return ticket.has_place

    def leave(self, execution_id: str, node_id: str) -> None:
        """The call of a node has ended, or is not made: the next in line gets the place."""
        tickets = self._tickets.get(execution_id, {})
        ticket = tickets.pop(node_id, None)
        if ticket is None:
            return
        if not tickets:
            del self._tickets[execution_id]
        lane = self._lanes[ticket.configuration_id]
        if ticket.has_place:
            lane.taken -= 1
        else:
            del lane.line[ticket]
            self._in_line -= 1
        self._call_next(lane)
        if not lane.taken:
            del self._lanes[ticket.configuration_id]

    def keep_only(self, execution_id: str, node_ids: Container[str]) -> None:
        """Leave for every call of an execution but those of these nodes."""
        for node_id in [one for one in self._tickets.get(execution_id, ()) if one not in node_ids]:
            self.leave(execution_id, node_id)

    def has_place(self, execution_id: str, node_ids: Container[str] | None = None) -> bool:
        """Whether one of these nodes of an execution has a place; of all its nodes if none are named."""
        tickets = self._tickets.get(execution_id, {})
        return any(ticket.has_place for node_id, ticket in tickets.items() if node_ids is None or node_id in node_ids)

    def look_after_s(self, configuration_id: str) -> float:
        """In which time who stands in line looks by itself: the longer the line, the more seldom."""
        lane = self._lanes.get(configuration_id)
        return LOOK_AFTER_S if lane is None else max(LOOK_AFTER_S, len(lane.line) / LOOKS_PER_S)

    def _call_next(self, lane: _Lane) -> None:
        while lane.line and lane.taken < self.places_max:
            ticket, _ = lane.line.popitem(last=False)
            self._in_line -= 1
            ticket.has_place = True
            lane.taken += 1
            self._wake(ticket.execution_id)
