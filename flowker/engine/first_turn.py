"""The first turn of an execution that needs nothing but its input, taken when it is accepted and committed with that.

A workflow that calls nobody and waits for nothing comes to its end in one commit, and without a worker. Nothing
depends on it: an execution for which this does not work out is accepted without, and driven like any other.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

from flowker.domain.executions import Accepted
from flowker.domain.timestamps import format_timestamp
from flowker.domain.workflows import Definition
from flowker.engine.clock import Clock
from flowker.engine.live import Live, begin_live
from flowker.engine.records import build_progress
from flowker.storage.executions import Progress

TURN_BYTES_MAX: Final = 64 * 1024
"""What a turn may produce here. More of it would make the commits longer that other senders wait for."""


class FirstTurn(NamedTuple):
    """An execution that came to its end, and what there is to commit of it."""

    live: Live
    progress: Progress


TakeFirstTurn: TypeAlias = Callable[[Accepted, Definition, int, datetime, Clock], FirstTurn | None]


def take_first_turn(
    accepted: Accepted, definition: Definition, input_bytes: int, now: datetime, clock: Clock
) -> FirstTurn | None:
    """None where an execution does not end in its first turn, or may take longer than its sender should wait.

    `now` is when it was accepted.
    """
    if not definition.plan(accepted.trigger).runs_through:
        return None
    try:
        live = begin_live(accepted, definition, input_bytes)
        if live.is_heavy:
            return None
        # A trigger alone has nothing left to do, and takes no time.
        events = [] if live.ended else live.take_in((), now, clock.now)
        ended_at = format_timestamp(clock.now()) if events else accepted.started_at
        progress = build_progress(
            live.id, live.plan.nodes, live.state, events, first_seq=1, now=ended_at, wake_at=None
        )
    except Exception:  # noqa: BLE001 - whoever drives it meets the same, and ends it alone
        return None
    return FirstTurn(live, progress) if live.ended and progress.size_bytes <= TURN_BYTES_MAX else None
