"""What a start does without: each of these would take a part of its time, and stay in memory."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_cli import Process

NOT_NEEDED = ("alembic", "mako")
"""Alembic is for stores of older versions."""

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


@pytest.mark.parametrize("store", ["new", "same"])
def test_a_start_imports_only_what_it_needs(store: str, tmp_path: Path) -> None:
    """Until it has told how it is tried, on a new store with a sample workflow that it has made."""
    settings = {"PYTHONPROFILEIMPORTTIME": "1", "SERVER_ADDRESS": ":0"}
    for _ in range(1 if store == "new" else 2):
        service = Process(tmp_path, "serve", **settings)
        service.read_until("-d '")
        service.end(signal.SIGINT)

    imported = set(re.findall(r"^import time:.*\| +(\S+)$", service.errors, re.MULTILINE))

    assert {"sqlalchemy", "aiohttp.client", "flowker.engine.embedded"} <= imported
    assert imported & set(NOT_NEEDED) == set()
