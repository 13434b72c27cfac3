"""What a start does without: each of these would take a part of its time, and stay in memory."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_cli import Process

NOT_NEEDED = (
    *("alembic", "mako"),  # for stores of older versions
    *("sqlalchemy.dialects.postgresql", "psycopg"),  # for stores on a server
    *("botocore", "dateutil", "jmespath"),  # for calls to S3
    *(
        "flask.app",
        "httpx",
        "jinja2",
        "requests",
        "starlette.testclient",
        "urllib3",
    ),  # for what Connexion does not do
    *("pygments", "rich.console"),  # for people before a terminal
)

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


LOADED = """
import asyncio, json, sys
from flowker.engine.definitions import compile_aside
nodes = [
    {"id": "t", "type": "trigger", "data": {"triggerId": "webhook", "path": "p"}},
    {"id": "c", "type": "executor", "data": {"executorId": sys.argv[1], "providerConfigId": "p"}},
]
edges = [{"id": "e", "source": "t", "target": "c"}]
asyncio.run(compile_aside(nodes, edges, {}))
print("botocore.auth" in sys.modules)
"""


@pytest.mark.parametrize(("executor", "is_loaded"), [("s3.get-object", "True"), ("http.request", "False")])
def test_what_signs_a_call_is_imported_before_the_first_one(executor: str, is_loaded: str) -> None:
    """With the definition: a call is prepared on the event loop."""
    program = [sys.executable, "-c", LOADED, executor]

    assert subprocess.run(program, check=True, capture_output=True, text=True).stdout.strip() == is_loaded
