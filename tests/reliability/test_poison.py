"""Executions that cannot be driven any more, whatever was done to them: each fails alone, beside a hundred others."""

import base64
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.reliability.conftest import Api, read_rows
from tests.reliability.senders import await_ends
from tests.reliability.stub_provider import Received, Reply

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess
    from tests.reliability.stub_provider import StubProvider

Make = Callable[..., "ServiceProcess"]
Record = Callable[[str, object], None]

ROW = "an execution whose definition is poison fails alone"

OTHERS = 100

CALL_S = 120
"""Every call is still under way when the service is killed."""

CALLS = {"FLOWKER_EGRESS_ALLOW": "127.0.0.1/32"}

TOKEN = "a token that is sealed"

CANNOT_CONTINUE = "FLK-9999: the execution cannot be continued"

POISONS: Mapping[str, str] = {
    "definition-no-json": "UPDATE workflow_revisions SET definition = '{' WHERE workflow_id = :workflow",
    "definition-a-number": "UPDATE workflow_revisions SET definition = '7' WHERE workflow_id = :workflow",
    "definition-without-nodes": "UPDATE workflow_revisions SET definition = '{}' WHERE workflow_id = :workflow",
    "definition-of-nulls": (
        """UPDATE workflow_revisions SET definition = '{"nodes":[null],"edges":[null],"metadata":null}'"""
        " WHERE workflow_id = :workflow"
    ),
    "unknown-node": (
        """UPDATE workflow_revisions SET definition = replace(definition, '"action"', '"ponder"')"""
        " WHERE workflow_id = :workflow"
    ),
    "definition-gone": "DELETE FROM workflow_revisions WHERE workflow_id = :workflow",
    "journal-no-json": "UPDATE journal SET payload = '{' WHERE execution_id = :execution",
    "journal-without-members": "UPDATE journal SET payload = '{}' WHERE execution_id = :execution",
    "journal-of-a-later-version": "UPDATE journal SET kind = 'pondered' WHERE execution_id = :execution",
    "journal-begins-otherwise": (
        """UPDATE journal SET kind = 'aborted', payload = '{"at":"2026-01-01T00:00:00.000000Z","error":"x"}'"""
        " WHERE execution_id = :execution AND seq = 0"
    ),
    "journal-of-another-time": (
        "UPDATE journal SET payload = replace(payload, 'startedAt', 'beganAt') WHERE execution_id = :execution"
    ),
    "journal-gone": "DELETE FROM journal WHERE execution_id = :execution",
}
"""What others have done to the store. SQL that both databases understand."""

UNREADABLE: Mapping[str, str] = {
    "journal-no-text": "UPDATE journal SET payload = CAST(x'ff' AS TEXT) WHERE execution_id = :execution",
    "row-no-text": "UPDATE executions SET error_message = CAST(x'ff' AS TEXT) WHERE id = :execution",
}
"""What cannot even be read. A PostgreSQL server would take none of it."""

SEALED = "sealed-elsewhere"
"""Its secret was sealed with a key that is not there any more."""


@pytest.mark.row(ROW)
def test_what_cannot_be_continued_fails_alone(
    make_forked: Make, provider: "StubProvider", record_property: Record
) -> None:
    """Nor does it come back with the next start."""
    first = make_forked("first", FLOWKER_SECRET_KEY=_key(1), **CALLS)
    poisoned = poison(first, {**POISONS, **UNREADABLE, SEALED: "SELECT 1"}, provider)
    second = make_forked("second", FLOWKER_DATABASE_URL=first.database_url, FLOWKER_SECRET_KEY=_key(2), **CALLS)
    rows = _end(second, poisoned, left=set(UNREADABLE))
    log = second.log()
    second.start()
    again = _end(second, poisoned, left=set(UNREADABLE), started=True)

    record_property("poisons", len(poisoned))
    record_property("others", OTHERS)
    _judge(rows, poisoned, left=set(UNREADABLE))
    assert again == rows
    for name in UNREADABLE:
        assert poisoned[name] in log
        assert poisoned[name] in second.log().removeprefix(log)


@pytest.mark.row(ROW)
def test_what_cannot_be_continued_fails_alone_on_a_server(
    make_forked: Make, postgresql_environment: dict[str, str], provider: "StubProvider", record_property: Record
) -> None:
    """The same on PostgreSQL."""
    service = make_forked(**postgresql_environment, **CALLS)
    poisoned = poison(service, POISONS, provider)
    rows = _end(service, poisoned, left=set())

    record_property("poisons", len(poisoned))
    record_property("others", OTHERS)
    _judge(rows, poisoned, left=set())


def poison(service: "ServiceProcess", poisons: Mapping[str, str], provider: "StubProvider") -> dict[str, str]:
    """Let executions be in the middle of a call, kill the service, and change what is stored.

    The id of the poisoned execution of each kind; from now on the far side answers.
    """
    killed = threading.Event()

    def answer(_: Received) -> Reply:
        killed.wait(CALL_S)
        return Reply(b"{}")

    provider.answers("POST", "/call", answer)
    service.start()
    with service.client() as client:
        api = Api(client)
        configuration_id = api.configure("http", {"base_url": provider.url})
        workflows = {name: api.activate(_calling(name, configuration_id)) for name in ("others", *poisons)}
        executions = {name: api.deliver(name, {}, 201, **{"X-Webhook-Token": TOKEN}) for name in poisons}
        for _ in range(OTHERS):
            api.deliver("others", {}, 201)
    service.kill()
    killed.set()
    for name, statement in poisons.items():
        change(service.database_url, statement, workflow=workflows[name], execution=executions[name])
    return executions


def change(database_url: str, statement: str, **parameters: str) -> None:
    """Change what is stored, past the service."""
    if database_url.startswith("postgresql://"):
        with psycopg.connect(database_url) as server:
            for name in parameters:
                statement = statement.replace(f":{name}", f"%({name})s")
            server.execute(statement.encode(), parameters)
        return
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)) as file:
        file.execute(statement, parameters)


def _end(
    service: "ServiceProcess", poisoned: Mapping[str, str], *, left: set[str], started: bool = False
) -> dict[str, tuple[str, str | None]]:
    """Status and error of each execution when all have ended but those that are left, and the service stopped."""
    if not started:
        service.start()
    left_ids = {poisoned[name] for name in left}
    await_ends(service.database_url, leaving=left_ids)
    assert service.is_ready()
    assert service.run("audit", "verify").returncode == 0
    service.stop()
    # What is left cannot be read here, either.
    query = "SELECT id, status, CASE WHEN completed_at IS NOT NULL THEN error_message END AS error FROM executions"
    rows = read_rows(service.database_url, query)
    return {row["id"]: (row["status"], row["error"]) for row in rows if row["id"] not in left_ids}


def _judge(rows: Mapping[str, tuple[str, str | None]], poisoned: Mapping[str, str], *, left: set[str]) -> None:
    ends = {name: rows[id_] for name, id_ in poisoned.items() if name not in left}
    others = [end for id_, end in rows.items() if id_ not in poisoned.values()]
    assert ends == dict.fromkeys(ends, ("failed", CANNOT_CONTINUE))
    assert others == [("completed", None)] * OTHERS


def _calling(path: str, configuration_id: str) -> dict[str, Any]:
    call = {"executorId": "http.request", "providerConfigId": configuration_id, "path": "/call", "timeout": CALL_S}
    hook = {"path": path, "verify_token": TOKEN} if path == SEALED else {"path": path}
    nodes = [
        {"id": "hook", "type": "trigger", "data": hook},
        {"id": "call", "type": "executor", "data": call},
        {"id": "tell", "type": "action", "data": {"action": "set_output", "output": {"done": True}}},
    ]
    edges = [
        {"id": "e1", "source": "hook", "target": "call"},
        {"id": "e2", "source": "call", "target": "tell"},
    ]
    return {"name": path, "nodes": nodes, "edges": edges}


def _key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()
