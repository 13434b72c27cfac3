"""What has to be true of what is stored, at any moment and after any crash; `broken_promises` says what is not."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from flowker.domain.audit import GENESIS_HASH, first_bad
from flowker.storage.tables import audit_events

Row = Mapping[str, Any]

AUDITED = {
    "accepted": "EXECUTION_STARTED",
    "cancelled": "EXECUTION_CANCELLED",
    "reopened": "EXECUTION_RETRIED",
    "decided": "APPROVAL_DECIDED",
}
"""Entries of a journal that the trail tells of, one for one."""

TERMINAL = {"completed": "EXECUTION_COMPLETED", "failed": "EXECUTION_FAILED"}

EXECUTIONS = "SELECT * FROM executions ORDER BY id"
JOURNAL = "SELECT * FROM journal ORDER BY execution_id, seq"
TRAIL = f"SELECT {', '.join(column.name for column in audit_events.columns)} FROM audit_events ORDER BY sequence"  # noqa: S608 - no values
CHECKPOINT = "SELECT sequence, hash FROM audit_checkpoint"
WORKFLOWS = "SELECT * FROM workflows"
ROUTES = "SELECT * FROM webhook_routes"


class Stored:
    """Everything that is in a store, as `read` finds it."""

    def __init__(self, read: Any) -> None:
        self.executions: list[Row] = read(EXECUTIONS)
        self.journals = {
            id_: list(entries) for id_, entries in groupby(read(JOURNAL), key=lambda row: str(row["execution_id"]))
        }
        self.trail: list[Row] = read(TRAIL)
        self.checkpoint: list[Row] = read(CHECKPOINT)
        self.workflows: list[Row] = read(WORKFLOWS)
        self.routes: list[Row] = read(ROUTES)
        self.told = Counter((row["resource_id"], row["event_type"]) for row in self.trail)

    def broken_promises(self) -> list[str]:
        return [
            *self._broken_chain(),
            *(broken for row in self.executions for broken in self._broken_execution(row)),
            *self._broken_keys(),
            *(f"{id_} has a journal and is gone" for id_ in self.journals.keys() - self._ids()),
            *(broken for row in self.workflows for broken in self._broken_workflow(row)),
        ]

    def _ids(self) -> set[str]:
        return {row["id"] for row in self.executions}

    def _broken_chain(self) -> Iterator[str]:
        [*_, (sequence, hash_)] = (0, GENESIS_HASH), *(tuple(row.values()) for row in self.checkpoint)
        bad = first_bad([tuple(row.values()) for row in self.trail], sequence, hash_)
        if bad is not None:
            yield f"the chain breaks at entry {bad}"

    def _broken_keys(self) -> Iterator[str]:
        keys = Counter((row["workflow_id"], row["idempotency_key"]) for row in self.executions)
        yield from (f"the key {key} started {count}" for (_, key), count in keys.items() if key and count > 1)

    def _broken_execution(self, row: Row) -> Iterator[str]:
        """Row, journal and trail tell the same story, and none tells anything twice."""
        journal = self.journals.get(row["id"], [])
        kinds = Counter(entry["kind"] for entry in journal)
        expected = {told: kinds[kind] for kind, told in AUDITED.items()}
        ends = kinds["reopened"] + (row["status"] in TERMINAL)
        told = {type_: self.told[row["id"], type_] for type_ in (*expected, *TERMINAL.values())}
        if [entry["seq"] for entry in journal] != list(range(len(journal))) or kinds["accepted"] != 1:
            yield f"{row['id']} has a gap in its journal"
        if self.checkpoint:
            return  # What is archived is not looked for here.
        if {type_: told[type_] for type_ in expected} != expected or sum(map(told.get, TERMINAL.values())) != ends:  # type: ignore[arg-type]
            yield f"{row['id']} is {row['status']} with {kinds}, and the trail tells {told}"
        if self.told[row["id"], "PROVIDER_CALL_STARTED"] != _calls(journal):
            yield f"{row['id']} made {_calls(journal)} calls, and the trail tells of others"

    def _broken_workflow(self, row: Row) -> Iterator[str]:
        active = [route for route in self.routes if route["workflow_id"] == row["id"] and route["active"]]
        if bool(active) != (row["status"] == "active"):
            yield f"workflow {row['name']} is {row['status']} with {len(active)} routes"
        if not self.checkpoint and self.told[row["id"], "WORKFLOW_CREATED"] != 1:
            yield f"workflow {row['name']} was created, and the trail does not tell it once"
        if not self.checkpoint and (row["status"] == "active") != self.told[row["id"], "WORKFLOW_ACTIVATED"]:
            yield f"workflow {row['name']} is {row['status']}, and the trail tells otherwise"


def _calls(journal: Iterable[Row]) -> int:
    return sum(len(json.loads(entry["payload"])["calls"]) for entry in journal if entry["kind"] == "started")
