"""The calls that were made for each node, as the journal tells it."""

from collections.abc import Iterable

from flowker.domain.executions import Attempt, Event, Outcome, Postponed, Settled, Started


def attempts(events: Iterable[Event]) -> dict[str, list[Attempt]]:
    """Every call of each node, in order. One without a duration is under way, or its end is not known."""
    made: dict[str, dict[int, Attempt]] = {}
    for event in events:
        if isinstance(event, Started):
            for node_id, number in event.calls:
                made.setdefault(node_id, {})[number] = Attempt(number, event.at)
        if isinstance(event, Postponed) and event.made is None:
            # The store was away: what was about to be made was not, and begins under its number later.
            made.get(event.node_id, {}).pop(event.attempt, None)
        for node_id, attempt in _ended(event):
            # Without its start it was never made: an open circuit breaker ends nodes too.
            if start := made.get(node_id, {}).get(attempt.number):
                # It keeps the start that was told while it was under way.
                made[node_id][attempt.number] = attempt._replace(started_at=start.started_at)
    return {node_id: list(by_number.values()) for node_id, by_number in made.items() if by_number}


def _ended(event: Event) -> list[tuple[str, Attempt]]:
    if isinstance(event, Postponed) and event.made is not None:
        return [(event.node_id, event.made)]
    if isinstance(event, Settled):
        return [(outcome.node_id, _attempt_of(outcome)) for outcome in event.outcomes]
    return []


def _attempt_of(outcome: Outcome) -> Attempt:
    return Attempt(outcome.attempts, outcome.executed_at, outcome.duration_ms, outcome.status_code, outcome.error)
