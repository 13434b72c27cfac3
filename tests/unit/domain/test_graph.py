"""The shape of a workflow: order, reach and cycles."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker.domain.graph import find_cycles, group_by_source, group_by_target, reachable

NAMES = "abcdef"


@dataclass(frozen=True)
class Arrow:
    source: str
    target: str


def arrows(*pairs: str) -> list[Arrow]:
    return [Arrow(pair[0], pair[1]) for pair in pairs]


EDGES = st.lists(st.builds(Arrow, st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=12)


def closure(edges: list[Arrow]) -> set[tuple[str, str]]:
    """What leads to what in one or more steps, by Warshall's algorithm."""
    leads = {(edge.source, edge.target) for edge in edges}
    for middle in NAMES:
        for first in NAMES:
            for last in NAMES:
                if (first, middle) in leads and (middle, last) in leads:
                    leads.add((first, last))
    return leads


def test_edges_are_grouped_in_the_order_of_the_definition() -> None:
    """Two edges between the same nodes are two edges."""
    edges = arrows("ab", "cb", "ac", "ab")

    assert group_by_source(edges) == {"a": (edges[0], edges[2], edges[3]), "c": (edges[1],)}
    assert group_by_target(edges) == {"b": (edges[0], edges[1], edges[3]), "c": (edges[2],)}
    assert group_by_source([]) == {}


def test_the_start_is_reachable_from_itself() -> None:
    """Also when nothing leads on."""
    assert reachable("a", {}) == {"a"}


@given(EDGES)
@settings(deadline=None)
def test_reachable_is_what_the_edges_lead_to(edges: list[Arrow]) -> None:
    """Against the transitive closure, cycles included."""
    leads = closure(edges)

    assert reachable("a", group_by_source(edges)) == {"a"} | {last for first, last in leads if first == "a"}


@given(EDGES, st.permutations(NAMES))
@settings(deadline=None, max_examples=300)
def test_a_cycle_is_found_exactly_when_a_node_leads_to_itself(edges: list[Arrow], nodes: list[str]) -> None:
    """What is named is a cycle: each node leads to the next by one edge, the last one to the first."""
    cycles = list(find_cycles(nodes, group_by_source(edges)))

    assert bool(cycles) == any((name, name) in closure(edges) for name in NAMES)
    assert all(Arrow(*step) in edges for cycle in cycles for step in pairwise([*cycle, *cycle[:1]]))
    named = [name for cycle in cycles for name in cycle]
    assert len(set(named)) == len(named)


@given(EDGES, st.permutations(NAMES))
@settings(deadline=None)
def test_every_cycle_has_a_node_that_is_named(edges: list[Arrow], nodes: list[str]) -> None:
    """Without the nodes that are named nothing leads to itself any more."""
    named = {name for cycle in find_cycles(nodes, group_by_source(edges)) for name in cycle}

    left = [edge for edge in edges if not {edge.source, edge.target} & named]
    assert not any((name, name) in closure(left) for name in NAMES)


@pytest.mark.parametrize(
    ("pairs", "cycles"),
    [
        (["aa"], ["a"]),
        (["ab", "ba"], ["ab"]),
        (["ab", "bc", "cd", "db"], ["bcd"]),
        (["ab", "ba", "cd", "dc"], ["ab", "cd"]),
        (["ab", "ba", "bb"], ["ab"]),
        (["ab", "ac", "bd", "cd"], []),
        (["ab", "ab"], []),
        ([], []),
    ],
)
def test_only_the_nodes_of_the_cycles_are_named(pairs: list[str], cycles: list[str]) -> None:
    """Not the ones that lead to one, and a diamond is none."""
    assert list(map("".join, find_cycles("abcd", group_by_source(arrows(*pairs))))) == cycles


def test_a_long_chain_needs_no_recursion() -> None:
    """Deeper than the interpreter's stack."""
    chain = [Arrow(str(number), str(number + 1)) for number in range(5000)]
    outgoing = group_by_source(chain)

    assert list(find_cycles(["0"], outgoing)) == []
    assert len(reachable("0", outgoing)) == 5001
