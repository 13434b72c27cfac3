"""What a serving process asks of the interpreter and of the system; in a process of its own, for it stays so."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from flowker import turns
from flowker.cli.process import WorkThreads

SCRIPT = """
import gc, json, resource, sys
from flowker.cli.process import tune_process
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
tune_process()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
print(json.dumps([gc.get_threshold(), gc.get_freeze_count() > 0, sys.getswitchinterval(), soft, hard]))
"""


def tuned(soft: int) -> list[object]:
    """The thresholds of the garbage collector, whether something is frozen, the interval, the limits of files."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(soft=soft)], check=True, capture_output=True, text=True
    )
    return list(json.loads(done.stdout))


@pytest.fixture
def threads() -> Iterator[WorkThreads]:
    before_s = sys.getswitchinterval()
    with WorkThreads() as threads:
        yield threads
    sys.setswitchinterval(before_s)


def interval_s() -> float:
    return round(sys.getswitchinterval(), 6)


def test_a_process_looks_for_garbage_rarely_and_changes_threads_rarely() -> None:
    """A body of half a million objects is no garbage."""
    thresholds, has_frozen, switched_every_s, *_ = tuned(100)

    assert (thresholds, has_frozen, switched_every_s) == ([20_000, 20, 20], True, turns.ALONE_S)


def test_a_process_takes_as_many_files_as_it_may_have() -> None:
    """Each connection is one."""
    *_, soft, hard = tuned(100)

    assert soft == min(int(str(hard)), 65_536)


def test_threads_take_turns_more_often_while_there_is_work(threads: WorkThreads) -> None:
    """Until the last of it has ended."""
    first_may_end, second_may_end = threading.Event(), threading.Event()
    first, second = threads.submit(first_may_end.wait, 30), threads.submit(second_may_end.wait, 30)
    first_has_ended = threading.Event()
    first.add_done_callback(lambda _: first_has_ended.set())
    beside_both_s = interval_s()
    first_may_end.set()
    assert first_has_ended.wait(30)
    beside_one_s = interval_s()
    second_may_end.set()
    second.result()
    threads.shutdown()

    assert (beside_both_s, beside_one_s, interval_s()) == (
        turns.BESIDE_WORK_S,
        turns.BESIDE_WORK_S,
        turns.ALONE_S,
    )


def test_work_that_fails_has_ended_too(threads: WorkThreads) -> None:
    """Or every thread would take turns more often for ever."""
    failed = threads.submit(int, "no number")
    threads.shutdown()

    assert isinstance(failed.exception(), ValueError)
    assert interval_s() == turns.ALONE_S
