"""What a serving process asks of the interpreter and of the system; in a process of its own, for it stays so."""

import json
import subprocess
import sys

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


def test_a_process_looks_for_garbage_rarely_and_changes_threads_quickly() -> None:
    """A body of half a million objects is no garbage."""
    thresholds, has_frozen, switched_every_s, *_ = tuned(100)

    assert (thresholds, has_frozen, switched_every_s) == ([20_000, 20, 20], True, 0.001)


def test_a_process_takes_as_many_files_as_it_may_have() -> None:
    """Each connection is one."""
    *_, soft, hard = tuned(100)

    assert soft == min(int(str(hard)), 65_536)
