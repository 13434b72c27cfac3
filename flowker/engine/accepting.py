"""Accepting: from here on an execution is promised. What this returns was committed."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from uuid_utils import uuid7

from flowker import jsontext
from flowker.domain.audit import Actor, AuditEvent
from flowker.domain.errors import InternalError
from flowker.domain.executions import Accepted, Status
from flowker.domain.journal import encode_event
from flowker.domain.timestamps import format_timestamp
from flowker.domain.workflows import Definition
from flowker.engine.clock import Clock
from flowker.engine.first_turn import FirstTurn, TakeFirstTurn, take_first_turn
from flowker.engine.tallies import Tallies
from flowker.storage import executions
from flowker.storage.database import Store
from flowker.storage.executions import Acceptance, KeySeen, WorkflowMoved


class Engine(Protocol):
    """What accepting needs of an engine."""

    @property
    def stands_by(self) -> bool: ...

    def submit(self, accepted: Accepted, definition: Definition, input_bytes: int) -> None: ...

    def ended(self, execution_id: str, status: Status) -> None: ...

    def unsure(self) -> None:
        """An acceptance failed, and may have been committed all the same."""
        ...


class Submission(NamedTuple):
    """A wish to execute a revision of a workflow with an input."""

    workflow_id: str
    revision: int
    definition: Definition
    trigger_id: str
    input: Mapping[str, Any]
    actor: Actor
    idempotency_key: str | None = None
    input_digest: str | None = None


class Accepting:
    """Commits submissions and hands them to the engine, unless they have come to their end already."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        clock: Clock,
        tallies: Tallies,
        take_first_turn: TakeFirstTurn = take_first_turn,
    ) -> None:
        self._take_first_turn = take_first_turn
        self._store = store
        self._engine = engine
        self._clock = clock
        self._tallies = tallies

    async def accept(self, submission: Submission, execution_id: str) -> Accepted | KeySeen | WorkflowMoved:
        """Commit execution, input, key and audit event; raises InternalError when that failed."""
        if self._engine.stands_by:
            raise InternalError(headers={"Retry-After": "1"})
        now = self._clock.now()
        accepted = Accepted(
            execution_id, submission.workflow_id, format_timestamp(now), submission.trigger_id, submission.input
        )
        payload = jsontext.encode(encode_event(accepted)[1])
        turn = self._take_first_turn(accepted, submission.definition, len(payload), now, self._clock)
        acceptance = _acceptance(submission, accepted, payload, turn)
        try:
            verdict = await self._store.write_together(executions.accept, acceptance)
        except InternalError:
            self._engine.unsure()
            raise
        if isinstance(verdict, KeySeen | WorkflowMoved):
            return verdict
        self._tallies.accepted += 1
        if turn is None:
            self._engine.submit(accepted, submission.definition, len(payload))
        else:
            turn.live.tell_recorded()
            self._engine.ended(execution_id, turn.live.state.status)
        return accepted


def new_execution_id() -> str:
    """A UUIDv7: sorts by time, so that new rows stand side by side in the store."""
    return str(uuid7())


def input_digest(input_: Mapping[str, Any]) -> str:
    """A fingerprint of an input, to tell a repeated request from another one with the same key."""
    return hashlib.sha256(jsontext.encode_canonical(input_)).hexdigest()


def _acceptance(submission: Submission, accepted: Accepted, payload: bytes, turn: FirstTurn | None) -> Acceptance:
    return Acceptance(
        execution_id=accepted.execution_id,
        workflow_id=submission.workflow_id,
        revision=submission.revision,
        trigger_node_id=submission.trigger_id,
        idempotency_key=submission.idempotency_key,
        input_digest=submission.input_digest,
        journal_payload=payload.decode(),
        total_steps=submission.definition.plan(submission.trigger_id).total_steps,
        started_at=accepted.started_at,
        audit=_started_event(submission, accepted),
        first_turn=turn.progress if turn else None,
    )


def _started_event(submission: Submission, accepted: Accepted) -> AuditEvent:
    return AuditEvent(
        event_id=str(uuid7()),
        event_type="EXECUTION_STARTED",
        action="EXECUTE",
        result="SUCCESS",
        resource_type="execution",
        resource_id=accepted.execution_id,
        actor=submission.actor,
        timestamp=accepted.started_at,
        context={"workflowId": submission.workflow_id, "revision": submission.revision},
    )
