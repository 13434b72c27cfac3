"""What conditions, mappings and templates see of an execution: its input, and what its nodes brought.

`State.context` has all of it. A call sees what there was when its first attempt began, and nothing that comes later.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from flowker.domain.actions import SetOutputAction
from flowker.domain.executions import Outcome, State
from flowker.domain.workflows import Plan


def context_of(plan: Plan, state: State, node_id: str) -> Mapping[str, Any]:
    """What the call of a node sees: what there was when its first attempt began.

    What a branch beside it brings meanwhile would change the body of a call that is repeated under the same key.
    """
    seen = state.seen.get(node_id, len(state.outcomes))
    if seen == len(state.outcomes):
        return state.context
    context = {"execution": state.context["execution"], "workflow": state.context["workflow"]}
    for outcome in islice(state.outcomes.values(), seen):
        show(plan, context, outcome)
    return context


def show(plan: Plan, context: dict[str, Any], outcome: Outcome) -> None:
    """Add what a node brought."""
    if outcome.output is not None or outcome.status == "completed":
        context[outcome.node_id] = outcome.output
    if outcome.status == "completed" and isinstance(plan.nodes[outcome.node_id].behaviour, SetOutputAction):
        context["output"] = outcome.output
