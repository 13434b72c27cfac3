"""What a start does without: each of these would take a part of its time, and stay in memory."""

import json
import subprocess
import sys

IMPORTED = """
import gc, json
import flowker.__main__
print(json.dumps([gc.get_stats()[2]["collections"], gc.isenabled(), gc.get_freeze_count()]))
"""


def test_no_garbage_is_looked_for_among_what_is_imported() -> None:
    """Hundreds of thousands of objects that stay; the collector works afterwards, and leaves them alone."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], check=True, capture_output=True, text=True)
    collections, is_enabled, frozen = json.loads(done.stdout)

    assert (collections, is_enabled) == (0, True)
    assert frozen > 100_000
