"""Everything that there is to say of a definition at once: what would be refused, and what is likely a mistake.

The findings are the refusals of saving and activating themselves, noted in place of raised (`flowker.domain.checks`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flowker.domain.actions import DelayAction
from flowker.domain.checks import Checks
from flowker.domain.errors import FlowkerError
from flowker.domain.graph import group_by_source, reachable
from flowker.domain.workflows import Definition

FINDINGS_MAX = 200
"""Two for each node of the largest workflow: more than anybody repairs before asking again."""

Severity = Literal["error", "warning"]

WARNINGS: Mapping[str, str] = {
    "NODE_UNREACHABLE": "No trigger leads to the node, so it never runs.",
    "DELAY_EXCEEDS_TIME_LIMIT": "The delay is not over before the time limit of the workflow, which then fails.",
}
"""What is allowed and hardly meant, by its code."""

_PLACE = re.compile(r"(nodes|edges)\[([0-9]+)\]")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say; `field` is its place in the definition, as in the `fields` of a refusal."""

    code: str
    severity: Severity
    message: str
    field: str | None = None
    node_id: str | None = None
    edge_id: str | None = None


class Findings:
    """Notes what the checks of a definition refuse: at most FINDINGS_MAX, the first that there are.

    Of one field of a node or an edge it notes the first finding: the others follow from it.
    """

    def __init__(self, nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]]) -> None:
        self._ids = {"nodes": [node["id"] for node in nodes], "edges": [edge["id"] for edge in edges]}
        self._fields: set[str] = set()
        self.found: list[Finding] = []
        self.checks = Checks(self._note)

    @property
    def valid(self) -> bool:
        """Whether nothing was refused."""
        return all(finding.severity == "warning" for finding in self.found)

    def warn(self, definition: Definition) -> None:
        """Note what is allowed and hardly meant; the definition may be a sketch."""
        for code, field in _doubts(definition):
            self._add(code, "warning", WARNINGS[code], field)

    def _note(self, refusal: FlowkerError) -> None:
        for field, reason in refusal.fields.items():
            message = reason if reason.endswith(".") else f"{refusal.message.rstrip('.')}: {reason}."
            self._add(refusal.code, "error", message, field)
        if not refusal.fields:
            self._add(refusal.code, "error", refusal.message, None)

    def _add(self, code: str, severity: Severity, message: str, field: str | None) -> None:
        place = _PLACE.match(field or "")
        if field in self._fields or len(self.found) >= FINDINGS_MAX:
            return
        if place is None:
            self.found.append(Finding(code, severity, message, field))
            return
        self._fields.add(place.string)
        id_ = self._ids[place[1]][int(place[2])]
        of_node = place[1] == "nodes"
        node_id, edge_id = (id_, None) if of_node else (None, id_)
        self.found.append(Finding(code, severity, message, field, node_id, edge_id))


def _doubts(definition: Definition) -> Iterator[tuple[str, str]]:
    """Codes of warnings with their fields, in the order of the definition."""
    outgoing = group_by_source(definition.edges)
    triggers = [id_ for id_, node in definition.nodes.items() if node.type == "trigger"]
    reached = frozenset().union(*(reachable(id_, outgoing) for id_ in triggers))
    for index, (id_, node) in enumerate(definition.nodes.items()):
        # Without a trigger nothing is reached, which is one finding and not a hundred.
        if triggers and id_ not in reached:
            yield "NODE_UNREACHABLE", f"nodes[{index}]"
        delay = node.behaviour
        # The limit of a sketch may be missing.
        if isinstance(delay, DelayAction) and definition.timeout_s and delay.seconds >= definition.timeout_s:
            yield "DELAY_EXCEEDS_TIME_LIMIT", f"nodes[{index}].data.seconds"
