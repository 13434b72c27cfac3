"""What is counted: each thing once, where it is committed or has ended."""

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from flowker.engine.accepting import new_execution_id
from flowker.engine.tallies import DURATION_BOUNDS_S, Ending, Tallies, ending
from flowker.executors.client import CallFailed, CallResult, CallSucceeded
from flowker.storage.executions import WorkflowMoved

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench, Draw


class TestExecutions:
    async def test_accepted_and_ended_are_counted_when_they_are_committed(self, bench: "Bench", draw: "Draw") -> None:
        """One that waits has been accepted and has not ended."""
        done = await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a"))
        failing = await bench.save([draw.trigger, draw.action("f", "fail", message="no")], draw.chain("t", "f"))
        waiting = await bench.save([draw.trigger, draw.action("d", "delay", seconds=60)], draw.chain("t", "d"))
        for workflow_id in (done, done, failing):
            await bench.run(workflow_id)
        await bench.until(await bench.accept(waiting), lambda recorded: len(recorded.events) > 1)

        await bench.eventually(lambda: bench.tallies.ended.total() == 3)

        assert bench.tallies.accepted == 4
        assert bench.tallies.ended == {"completed": 2, "failed": 1}

    async def test_what_is_not_accepted_is_not_counted(self, bench: "Bench", draw: "Draw") -> None:
        """An execution of a revision that is not the active one."""
        submission = await bench.submission(await bench.save([draw.trigger], []))

        verdict = await bench.accepting.accept(submission._replace(revision=2), new_execution_id())

        assert verdict == WorkflowMoved()
        assert bench.tallies.accepted == 0


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (CallSucceeded({"status": 200}), "succeeded"),
        (CallFailed("answered", retryable=False, output={"status": 404}), "refused"),
        (CallFailed("answered", retryable=True, output={"status": 503}), "failed"),
        (CallFailed("lost", retryable=True), "failed"),
        (CallFailed("address not allowed", retryable=False), "not_sent"),
    ],
)
def test_a_result_is_one_of_four_endings(result: CallResult, wanted: Ending) -> None:
    """So that whose fault it was can be told from the numbers."""
    assert ending(result) == wanted


def test_a_duration_counts_in_the_first_bound_that_holds_it() -> None:
    """The bounds themselves included; what is longer than all of them has a place of its own."""
    tallies = Tallies()
    for seconds in (-1, 0.005, 0.006, 300, 301):
        tallies.call_ended("http.request", CallSucceeded({}), timedelta(seconds=seconds))

    durations = tallies.durations["http.request"]
    assert durations.counts == [2, 1, *[0] * (len(DURATION_BOUNDS_S) - 3), 1, 1]
    assert durations.sum_s == pytest.approx(601.011)
    assert tallies.calls == {("http.request", "succeeded"): 5}
