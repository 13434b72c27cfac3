"""What is committed of an execution: the row that is read, the journal, and the audit event of its end."""

import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from flowker import jsontext
from flowker.domain.audit import SYSTEM
from flowker.domain.errors import ExecutionNotFound
from flowker.domain.executions import Aborted, Outcome, Postponed, Settled, State
from flowker.domain.journal import decode_event
from flowker.domain.nodes import compile_node
from flowker.engine.records import (
    Recorded,
    build_abortion,
    build_progress,
    encode_entry,
    read_extent,
    read_recorded,
)
from flowker.storage import journal
from flowker.storage.database import Connection

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench, Draw

NODES = {
    str(data["id"]): compile_node({"type": "action", **data}, "node", {})
    for data in (
        {"id": "log", "data": {"action": "log"}},
        {"id": "emit", "data": {"action": "emit_event", "eventType": "payment.approved"}},
        {"id": "wait", "data": {"action": "delay", "seconds": 60}},
        {"id": "large", "data": {"action": "emit_event", "eventType": "too.large"}},
    )
}

NOW = "2026-03-17T14:35:00.000000Z"


def test_an_entry_has_the_numbers_as_they_were() -> None:
    """Through the text of the journal and back."""
    event = Settled(NOW, (Outcome("a", "completed", {"amount": Decimal("100.10"), "id": 2**80}),))

    kind, payload = encode_entry(event)

    assert '"amount":100.10' in payload
    assert decode_event(kind, jsontext.decode(payload)) == event


def emitted(payload: Any) -> dict[str, Any]:
    return {"action": "emit_event", "eventType": "payment.approved", "payload": payload}


class TestProgress:
    def test_a_running_execution_keeps_its_time_to_wake(self) -> None:
        """It has no end, no error and no audit event yet."""
        state = State({}, outcomes={"a": Outcome("a", "completed")}, error="FLK-0504: node b failed: no")
        wait = Postponed("wait", NOW, 1)

        progress = build_progress("one", NODES, state, [wait], first_seq=3, now=NOW, wake_at=NOW)

        assert progress.events == [encode_entry(wait)]
        assert (progress.first_seq, progress.status, progress.current_step_number) == (3, "running", 1)
        assert progress.wake_at == NOW
        assert (progress.completed_at, progress.error_message, progress.audit) == (None, None, [])

    def test_a_completed_execution_is_audited_as_a_success(self) -> None:
        """The system ended it; there is nothing more to wake for."""
        progress = build_progress("one", {}, State({}, status="completed"), [], first_seq=1, now=NOW, wake_at=NOW)

        [event] = progress.audit
        assert (progress.completed_at, progress.wake_at, progress.error_message) == (NOW, None, None)
        assert (event.event_type, event.result, event.resource_id) == ("EXECUTION_COMPLETED", "SUCCESS", "one")
        assert event.actor == SYSTEM
        assert event.context == {}

    def test_an_event_that_a_node_emitted_is_audited_before_the_end(self) -> None:
        """By what its outcome says; other nodes and those that failed emit nothing."""
        settled = Settled(
            NOW,
            (
                Outcome("log", "completed", {"action": "log"}),
                Outcome("emit", "completed", emitted({"id": "p-1", "amount": Decimal("1.50"), "token": "s3cr3t"})),
                Outcome("large", "failed", error="what is rendered is larger"),
            ),
        )

        progress = build_progress(
            "one", NODES, State({}, status="completed"), [settled], first_seq=1, now=NOW, wake_at=None
        )

        event, end = progress.audit
        assert end.event_type == "EXECUTION_COMPLETED"
        assert (event.event_type, event.action, event.result) == ("EVENT_EMITTED", "EXECUTE", "SUCCESS")
        assert (event.resource_type, event.resource_id, event.actor) == ("execution", "one", SYSTEM)
        assert event.timestamp == NOW
        assert event.context == {
            "nodeId": "emit",
            "eventType": "payment.approved",
            "payload": {"id": "p-1", "amount": Decimal("1.50"), "token": "********"},
        }

    @pytest.mark.parametrize(("length", "whole"), [(4_094, True), (4_095, False)])
    def test_a_long_payload_is_audited_by_its_digest(self, length: int, whole: bool) -> None:
        """Over 4,096 bytes of JSON, quotes included; the outcome in the journal has all of it."""
        payload = "x" * length
        settled = Settled(NOW, (Outcome("emit", "completed", emitted(payload)),))

        progress = build_progress("one", NODES, State({}), [settled], first_seq=1, now=NOW, wake_at=None)

        [event] = progress.audit
        digest = hashlib.sha256(f'"{payload}"'.encode()).hexdigest()
        assert event.context["payload"] == (payload if whole else {"sha256": digest, "bytes": length + 2})
        assert payload in progress.events[0][1]

    def test_a_failed_execution_is_audited_with_its_code_alone(self) -> None:
        """The message may hold what the far side said, and the audit trail cannot forget."""
        state = State({}, status="failed", error="FLK-0504: node a failed: card 4111")

        progress = build_progress("one", {}, state, [], first_seq=1, now=NOW, wake_at=None)

        [event] = progress.audit
        assert progress.error_message == "FLK-0504: node a failed: card 4111"
        assert (event.event_type, event.result) == ("EXECUTION_FAILED", "FAILED")
        assert event.context == {"code": "FLK-0504"}

    def test_an_abortion_keeps_the_steps_that_were_done(self) -> None:
        """They are known although the journal cannot be folded."""
        aborted = Aborted(NOW, "FLK-9999: the execution cannot be continued")

        progress = build_abortion("one", aborted, aborted.error, first_seq=4, steps_done=2)

        assert progress.events == [encode_entry(aborted)]
        assert (progress.status, progress.first_seq, progress.current_step_number) == ("failed", 4, 2)
        assert progress.error_message == aborted.error


class TestReading:
    async def test_row_and_journal_come_together(self, bench: "Bench", draw: "Draw") -> None:
        """From one snapshot, the events in order."""
        recorded = await bench.run(await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a")))

        again = await bench.store.read(read_recorded, recorded.row.id)
        extent = await bench.store.read(read_extent, recorded.row.id)

        assert again == recorded
        assert recorded.trigger == "t"
        assert extent == (1, 2)

    async def test_an_unknown_execution_is_told(self, bench: "Bench") -> None:
        """By both ways to read."""
        for query in (read_recorded, read_extent):
            with pytest.raises(ExecutionNotFound):
                await bench.store.read(query, "unknown")

    async def test_the_extent_of_an_unreadable_journal_can_be_read(self, bench: "Bench", draw: "Draw") -> None:
        """An entry of a later version: the journal cannot be folded here, and can be ended."""
        recorded = await bench.run(await bench.save([draw.trigger], []))
        await bench.store.write(_append_unknown, recorded.row.id)

        with pytest.raises(ValueError, match="unknown kind"):
            await bench.store.read(read_recorded, recorded.row.id)
        assert await bench.store.read(read_extent, recorded.row.id) == (0, 2)

    async def test_a_journal_that_does_not_begin_with_acceptance_has_no_trigger(
        self, bench: "Bench", draw: "Draw"
    ) -> None:
        """It was changed behind our back."""
        recorded = await bench.run(await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a")))

        with pytest.raises(TypeError):
            _ = Recorded(recorded.row, recorded.events[1:]).trigger


def _append_unknown(connection: Connection, execution_id: str) -> None:
    journal.append(connection, [(execution_id, 1, "pondered", "{}")])
