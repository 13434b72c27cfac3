"""What is committed of an execution: journal events, the row that the API reads, audit events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowker import jsontext
from flowker.domain.executions import TERMINAL, Aborted, Accepted, Event, Reopened, State
from flowker.domain.journal import decode_event, encode_event
from flowker.domain.nodes import Node
from flowker.engine.audit_events import build_audit_events
from flowker.storage import executions, journal
from flowker.storage.database import Connection
from flowker.storage.executions import Progress, StoredExecution


def encode_entry(event: Event) -> tuple[str, str]:
    """The journal's kind and JSON text of an event."""
    kind, payload = encode_event(event)
    return kind, jsontext.encode(payload).decode()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the store knows of an execution."""

    row: StoredExecution
    events: Sequence[Event]
    journal_bytes: int = 0

    @property
    def trigger(self) -> str:
        """The node that the run started at: the first event says it."""
        accepted = self.events[0]
        if not isinstance(accepted, Accepted):
            raise TypeError("a journal begins with the accepted event")
        return accepted.trigger


def read_recorded(connection: Connection, execution_id: str) -> Recorded:
    """Read row and journal on one snapshot; raises ExecutionNotFound."""
    row = executions.get(connection, execution_id)
    entries = journal.read(connection, execution_id)
    events = [decode_event(entry.kind, entry.payload) for entry in entries]
    return Recorded(row, events, sum(entry.size_bytes for entry in entries))


def read_extent(connection: Connection, execution_id: str) -> tuple[int, int]:
    """Steps done and journal entries of an execution whose journal may be unreadable; raises ExecutionNotFound."""
    return executions.get(connection, execution_id).current_step_number, journal.count(connection, execution_id)


def build_progress(
    execution_id: str,
    nodes: Mapping[str, Node],
    state: State,
    events: Sequence[Event],
    *,
    first_seq: int,
    now: str,
    wake_at: str | None,
    call_ends: Sequence[Event] = (),
) -> Progress:
    """What to commit after `events` led to `state`; `call_ends` are those of them that calls brought."""
    ended = state.status in TERMINAL
    return Progress(
        execution_id=execution_id,
        first_seq=first_seq,
        events=[encode_entry(event) for event in events],
        status=state.status,
        current_step_number=state.steps_done,
        completed_at=now if ended else None,
        error_message=_storable(state.error) if ended else None,
        wake_at=None if ended else wake_at,
        audit=build_audit_events(execution_id, nodes, state, events, call_ends, now),
        reopens=any(isinstance(event, Reopened) for event in events),
    )


def _storable(message: str | None) -> str | None:
    """A message may repeat what was delivered; not every store has room for U+0000. The journal has it as it was."""
    return message and message.replace("\0", "\ufffd")


def build_abortion(execution_id: str, aborted: Aborted, error: str, *, first_seq: int, steps_done: int) -> Progress:
    """What to commit of an execution that cannot be driven; `error` is why it failed."""
    state = State({}, status="failed", error=error)
    progress = build_progress(execution_id, {}, state, [aborted], first_seq=first_seq, now=aborted.at, wake_at=None)
    return progress._replace(current_step_number=steps_done)
