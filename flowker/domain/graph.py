"""The shape of a workflow: which nodes a run can reach, what leads where, and whether it is free of cycles."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar


class Edge(Protocol):
    """What the graph needs to know of an edge."""

    @property
    def source(self) -> str: ...

    @property
    def target(self) -> str: ...


E = TypeVar("E", bound=Edge)


def group_by_source(edges: Iterable[E]) -> dict[str, tuple[E, ...]]:
    """Each source's outgoing edges, in the order of the definition."""
    return _group((edge.source, edge) for edge in edges)


def group_by_target(edges: Iterable[E]) -> dict[str, tuple[E, ...]]:
    """Each target's incoming edges, in the order of the definition."""
    return _group((edge.target, edge) for edge in edges)


def reachable(start: str, outgoing: Mapping[str, Sequence[Edge]]) -> frozenset[str]:
    """The nodes that a run which starts at `start` can come to, `start` included."""
    seen = {start}
    frontier = [start]
    while frontier:
        for edge in outgoing.get(frontier.pop(), ()):
            if edge.target not in seen:
                seen.add(edge.target)
                frontier.append(edge.target)
    return frozenset(seen)


def find_cycles(nodes: Iterable[str], outgoing: Mapping[str, Sequence[Edge]]) -> Iterator[list[str]]:
    """Cycles without a node in common, each with its nodes in the order of its edges; every cycle meets one of them.

    Depth-first with an explicit stack: a definition's depth is bounded by its node count, not by the interpreter.
    """
    finished: set[str] = set()
    for root in nodes:
        while root not in finished:
            cycle = _find_cycle_from(root, outgoing, finished)
            if cycle:
                finished.update(cycle)
                yield cycle


def _find_cycle_from(root: str, outgoing: Mapping[str, Sequence[Edge]], finished: set[str]) -> list[str]:
    trail = [root]
    pending = [iter(outgoing.get(root, ()))]
    while trail:
        edge = next(pending[-1], None)
        if edge is None:
            finished.add(trail.pop())
            pending.pop()
        elif edge.target in trail:
            return trail[trail.index(edge.target) :]
        elif edge.target not in finished:
            trail.append(edge.target)
            pending.append(iter(outgoing.get(edge.target, ())))
    return []


def _group(pairs: Iterable[tuple[str, E]]) -> dict[str, tuple[E, ...]]:
    grouped: dict[str, list[E]] = {}
    for key, edge in pairs:
        grouped.setdefault(key, []).append(edge)
    return {key: tuple(edges) for key, edges in grouped.items()}
