"""What is committed of an execution: the row that is read, the journal, and the audit event of its end."""

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from flowker import jsontext
from flowker.domain.audit import SYSTEM
from flowker.domain.errors import ExecutionNotFound
from flowker.domain.executions import Aborted, Outcome, Postponed, Settled, State, decode_event
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

NOW = "2026-03-17T14:35:00.000000Z"


def test_an_entry_has_the_numbers_as_they_were() -> None:
    """Through the text of the journal and back."""
    event = Settled(NOW, (Outcome("a", "completed", {"amount": Decimal("100.10"), "id": 2**80}),))

    kind, payload = encode_entry(event)

    assert '"amount":100.10' in payload
    assert decode_event(kind, jsontext.decode(payload)) == event


class TestProgress:
    def test_a_running_execution_keeps_its_time_to_wake(self) -> None:
        """It has no end, no error and no audit event yet."""
        state = State({}, outcomes={"a": Outcome("a", "completed")}, error="FLK-0504: node b failed: no")
        wait = Postponed("c", NOW, 1)

        progress = build_progress("one", state, [wait], first_seq=3, now=NOW, wake_at=NOW)

        assert progress.events == [encode_entry(wait)]
        assert (progress.first_seq, progress.status, progress.current_step_number) == (3, "running", 1)
        assert progress.wake_at == NOW
        assert (progress.completed_at, progress.error_message, progress.audit) == (None, None, ())

    def test_a_completed_execution_is_audited_as_a_success(self) -> None:
        """The system ended it; there is nothing more to wake for."""
        progress = build_progress("one", State({}, status="completed"), [], first_seq=1, now=NOW, wake_at=NOW)

        [event] = progress.audit
        assert (progress.completed_at, progress.wake_at, progress.error_message) == (NOW, None, None)
        assert (event.event_type, event.result, event.resource_id) == ("EXECUTION_COMPLETED", "SUCCESS", "one")
        assert event.actor == SYSTEM
        assert event.context == {}

    def test_a_failed_execution_is_audited_with_its_code_alone(self) -> None:
        """The message may hold what the far side said, and the audit trail cannot forget."""
        state = State({}, status="failed", error="FLK-0504: node a failed: card 4111")

        progress = build_progress("one", state, [], first_seq=1, now=NOW, wake_at=None)

        [event] = progress.audit
        assert progress.error_message == "FLK-0504: node a failed: card 4111"
        assert (event.event_type, event.result) == ("EXECUTION_FAILED", "FAILED")
        assert event.context == {"code": "FLK-0504"}

    def test_an_abortion_keeps_the_steps_that_were_done(self) -> None:
        """They are known although the journal cannot be folded."""
        aborted = Aborted(NOW, "FLK-9999: the execution cannot be continued")

        progress = build_abortion("one", aborted, first_seq=4, steps_done=2)

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
