"""The service as a few dictionaries: what it has to answer, and what it has to remember.

Written from the documents (openapi/flowker.yaml and docs/), not from the code. `judge_…` says which status and code
an operation must answer; the other methods remember what it did. Ids and times are the service's: they are taken from
its first answer, and must be the same in all that follow.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.reliability.flavours import Run
from tests.reliability.things import Configuration, Draft, Entry, Execution, Workflow

Verdict = tuple[int, str | None]

MOVES = {"activate": ("draft", "active"), "deactivate": ("active", "inactive"), "draft": ("inactive", "draft")}
TOLD_MOVES = {"activate": "ACTIVATED", "deactivate": "DEACTIVATED", "draft": "MOVED_TO_DRAFT"}

CODES = {
    "provider": {"unknown": "FLK-0290", "taken": "FLK-0291", "status": "FLK-0292"},
    "executor": {"unknown": "FLK-0250", "taken": "FLK-0251", "status": "FLK-0252"},
}
CONFIGURATION_MOVES = {
    "provider": {"enable": ("disabled", "active"), "disable": ("active", "disabled")},
    "executor": {
        "activate": ("tested", "active"),
        "enable": ("disabled", "active"),
        "disable": ("active", "disabled"),
    },
}
DELETABLE = {"provider": {"active", "disabled"}, "executor": {"configured", "disabled"}}
CHANGEABLE = {"provider": {"active", "disabled"}, "executor": {"configured"}}


class Model:
    """Everything that the service was told, by id."""

    def __init__(self) -> None:
        self.workflows: dict[str, Workflow] = {}
        self.executions: dict[str, Execution] = {}
        self.configurations: dict[str, Configuration] = {}
        self.routes: dict[str, str] = {}
        """The workflow that answers for a path: active, or the last one that was."""
        self.keys: dict[tuple[str, str], str] = {}
        self.trail: list[Entry] = []
        self.refused: Counter[str] = Counter()
        """Deliveries without the token, by workflow; and how many of them are in the trail for certain."""
        self.refused_at_least: Counter[str] = Counter()
        self.well = True
        """Whether the far side does what it is asked."""

    def living(self) -> list[Workflow]:
        return [workflow for workflow in self.workflows.values() if not workflow.deleted]

    def owner(self, path: str) -> Workflow | None:
        """Whose webhook a path is."""
        return self.workflows.get(self.routes.get(path, ""))

    def list_ids(
        self, kind: str, status: str | None, by: str, *, reverse: bool, workflow_id: str | None = None
    ) -> list[str]:
        """What is listed in this order; what has not ended counts as ending last."""
        if kind == "executions":
            executions = [one for one in self.executions.values() if workflow_id in {None, one.workflow_id}]
            rows = [(one.id, one.run.status, one.started_at, one.completed_at or "~", "") for one in executions]
        elif kind == "workflows":
            rows = [(one.id, one.status, one.created_at, one.updated_at, one.draft.name) for one in self.living()]
        else:
            ones = self.of_kind(kind)
            rows = [(one.id, one.status, one.created_at, one.updated_at, one.body["name"]) for one in ones]
        column = {"createdAt": 2, "startedAt": 2, "updatedAt": 3, "completedAt": 3, "name": 4}[by]
        rows.sort(key=lambda row: (row[column], row[2]), reverse=reverse)
        return [row[0] for row in rows if status in {None, row[1]}]

    def count_workflows(self) -> dict[str, int]:
        counts = Counter(workflow.status for workflow in self.living())
        return {status: counts[status] for status in ("draft", "active", "inactive")}

    def count_executions(self, status: str | None, since: str | None) -> dict[str, int]:
        """By status; with a status or a time only those, and their sum."""
        counts = Counter(
            one.run.status
            for one in self.executions.values()
            if status in {None, one.run.status} and (since is None or one.started_at >= since)
        )
        statuses = ("completed", "failed", "pending", "running")
        return {"total": counts.total(), **{status: counts[status] for status in statuses}}

    # Workflows

    def judge_saving(self, draft: Draft, *, but: Workflow | None = None) -> Verdict:
        """A definition is looked at before the name is."""
        if draft.flavour.unsound is not None:
            return draft.flavour.unsound
        taken = any(other.draft.name == draft.name for other in self.living() if other is not but)
        return (409, "FLK-0101") if taken else (201 if but is None else 200, None)

    def create(self, id_: str, draft: Draft, created_at: str, etag: str, **told: Any) -> Workflow:
        workflow = Workflow(id_, draft, created_at, created_at, etag)
        self.workflows[id_] = workflow
        context = {"name": draft.name, "status": "draft", "version": workflow.version, **told}
        self._tell("WORKFLOW_CREATED", id_, **context)
        return workflow

    def judge_updating(self, workflow: Workflow, draft: Draft, if_match: str | None) -> Verdict:
        if workflow.deleted:
            return 404, "FLK-0100"
        if if_match not in {None, workflow.etag}:
            return 409, "FLK-0350"
        if workflow.status != "draft":
            return 422, "FLK-0103"
        return self.judge_saving(draft, but=workflow)

    def update(self, workflow: Workflow, draft: Draft, updated_at: str, etag: str) -> None:
        before, after = workflow.draft.shown(), draft.shown()
        changed = [name for name in after if before[name] != after[name]]
        workflow.draft, workflow.updated_at, workflow.etag = draft, updated_at, etag
        workflow.revision += 1
        self._tell("WORKFLOW_UPDATED", workflow.id, version=workflow.version, changed=sorted(changed))

    def judge_deleting(self, workflow: Workflow, if_match: str | None) -> Verdict:
        if workflow.deleted:
            return 404, "FLK-0100"
        if if_match not in {None, workflow.etag}:
            return 409, "FLK-0350"
        return (422, "FLK-0103") if workflow.status == "active" else (204, None)

    def delete(self, workflow: Workflow) -> None:
        workflow.deleted = True
        self._forget_route(workflow)
        self._tell("WORKFLOW_DELETED", workflow.id)

    def judge_moving(self, workflow: Workflow, way: str) -> Verdict:
        if workflow.deleted:
            return 404, "FLK-0100"
        if workflow.status != MOVES[way][0]:
            return 422, "FLK-0102"
        return (self.faults(workflow) or [(200, None)])[0] if way == "activate" else (200, None)

    def faults(self, workflow: Workflow) -> list[Verdict]:
        """What keeps a workflow from being activated: its own faults, its configuration, its webhook."""
        flavour, draft = workflow.draft.flavour, workflow.draft
        found: list[Verdict] = [] if flavour.defect is None else [flavour.defect]
        if flavour.uses is not None and not self._is_usable(draft.configuration, flavour.uses):
            found.append((400, "FLK-0150"))
        if draft.webhook is not None:
            owner = self.owner(draft.webhook)
            if owner is not None and owner.status == "active" and owner is not workflow:
                found.append((409, "FLK-0360"))
        return found

    def move(self, workflow: Workflow, way: str, updated_at: str, etag: str) -> None:
        before, workflow.status = MOVES[way]
        workflow.updated_at, workflow.etag = updated_at, etag
        if way == "activate" and workflow.draft.webhook is not None:
            self.routes[workflow.draft.webhook] = workflow.id
        elif way == "draft":
            self._forget_route(workflow)
        changes = {"status": {"before": before, "after": workflow.status}}
        self._tell(f"WORKFLOW_{TOLD_MOVES[way]}", workflow.id, changes=changes)

    # Executions

    def judge_delivery(self, path: str, key: str | None, *, token: bool, sound: bool = True) -> Verdict:
        """The webhook, its token, the body, then the state. 201 stands for 200 as well."""
        workflow = self.owner(path)
        if workflow is None:
            return 404, "FLK-0361"
        if workflow.draft.trigger.guarded and not token:
            return 401, "FLK-0362"
        if not sound:
            return 400, "FLK-0001"
        if key is not None and (workflow.id, key) in self.keys:
            return 409, "FLK-0505"
        return (201, None) if workflow.status == "active" else (422, "FLK-0501")

    def judge_execution(self, workflow: Workflow, input_: Any, key: str | None) -> Verdict:
        if key is None:
            return 400, "FLK-0509"
        if workflow.deleted:
            return 404, "FLK-0100"
        if (workflow.id, key) in self.keys:
            seen = self.executions[self.keys[workflow.id, key]]
            return (200, None) if not seen.by_webhook and seen.run.input == input_ else (409, "FLK-0505")
        return (201, None) if workflow.status == "active" else (422, "FLK-0501")

    def start(
        self,
        id_: str,
        workflow: Workflow,
        input_: dict[str, Any],
        key: str | None,
        started_at: str,
        *,
        by_webhook: bool,
    ) -> Execution:
        """Start an execution and go as far as it goes."""
        execution = Execution(id_, workflow.id, workflow.draft, Run(input_), started_at, key, by_webhook)
        self.executions[id_] = execution
        if key is not None:
            self.keys[workflow.id, key] = id_
        self._tell("EXECUTION_STARTED", id_, workflowId=workflow.id, revision=workflow.revision)
        self._go(execution, 0)
        return execution

    def judge_cancelling(self, execution: Execution) -> Verdict:
        ended = execution.run.status != "running" and execution.run.code != "FLK-0510"
        return (422, "FLK-0511") if ended else (200, None)

    def cancel(self, execution: Execution, reason: str | None) -> None:
        """Cancelling twice is the same as once."""
        if execution.run.status == "running":
            execution.run.cancel(reason)
            self._flush(execution)

    def judge_retrying(self, execution: Execution) -> Verdict:
        return (200, None) if execution.run.status == "failed" else (422, "FLK-0512")

    def retry(self, execution: Execution) -> None:
        execution.completed_at = execution.error_message = None
        attempts = execution.run.reopen()
        self._go(execution, attempts)

    def judge_deciding(self, execution: Execution, node_id: str, decision: str) -> Verdict:
        run = execution.run
        if node_id != "ask" or execution.draft.kind not in {"asks", "waits"}:
            return 404, "FLK-0513"
        if node_id in run.decided:
            return (200, None) if run.decided[node_id][0] == decision else (409, "FLK-0515")
        if run.waits_for == node_id:
            return 200, None
        return (409, "FLK-0514") if run.status == "running" else (409, "FLK-0516")

    def decide(self, execution: Execution, node_id: str, decision: str, comment: str | None) -> None:
        run = execution.run
        if node_id in run.decided:
            return
        run.decided[node_id], run.waits_for = (decision, comment), None
        run.end(node_id)
        run.told.append(("APPROVAL_DECIDED", {"nodeId": node_id, "decision": decision, "comment": comment}))
        self._go(execution, 0)

    def refuse(self, workflow: Workflow) -> None:
        """The first refused delivery is told at once, others together."""
        self.refused[workflow.id] += 1
        self.refused_at_least[workflow.id] = 1

    # Configurations

    def of_kind(self, kind: str) -> list[Configuration]:
        return [one for one in self.configurations.values() if one.kind == kind and not one.deleted]

    def judge_configuring(self, kind: str, body: Mapping[str, Any]) -> Verdict:
        return (409, CODES[kind]["taken"]) if self._is_name_taken(kind, body["name"], None) else (201, None)

    def configure(self, kind: str, id_: str, body: dict[str, Any], created_at: str, etag: str) -> Configuration:
        status = "active" if kind == "provider" else "configured"
        made = self.configurations[id_] = Configuration(id_, kind, body, status, created_at, created_at, etag)
        self._tell(self._event(made, "CREATED"), id_)
        return made

    def judge_reading(self, one: Configuration) -> Verdict:
        return (404, CODES[one.kind]["unknown"]) if one.deleted else (200, None)

    def judge_changing(self, one: Configuration, change: Mapping[str, Any], if_match: str | None) -> Verdict:
        if one.deleted:
            return 404, CODES[one.kind]["unknown"]
        if if_match not in {None, one.etag}:
            return 409, "FLK-0350"
        if one.status not in CHANGEABLE[one.kind]:
            return 422, CODES[one.kind]["status"]
        if "name" in change and self._is_name_taken(one.kind, change["name"], one):
            return 409, CODES[one.kind]["taken"]
        return 200, None

    def change(self, one: Configuration, change: Mapping[str, Any], updated_at: str, etag: str) -> None:
        """What differs in nothing changes nothing."""
        changed = [name for name, value in change.items() if one.body.get(name) != value]
        if changed:
            one.body, one.updated_at, one.etag = {**one.body, **change}, updated_at, etag
            self._tell(self._event(one, "UPDATED"), one.id, changed=sorted(changed))

    def judge_removing(self, one: Configuration, if_match: str | None) -> Verdict:
        if one.deleted:
            return 404, CODES[one.kind]["unknown"]
        if if_match not in {None, one.etag}:
            return 409, "FLK-0350"
        if one.status not in DELETABLE[one.kind]:
            return 422, CODES[one.kind]["status"]
        return (409, "FLK-0253") if self.users(one) else (204, None)

    def remove(self, one: Configuration) -> None:
        one.deleted = True
        self._tell(self._event(one, "DELETED"), one.id)

    def judge_switching(self, one: Configuration, way: str) -> Verdict:
        if one.deleted:
            return 404, CODES[one.kind]["unknown"]
        if one.status != CONFIGURATION_MOVES[one.kind][way][0]:
            return 422, CODES[one.kind]["status"]
        return (409, "FLK-0253") if way == "disable" and self.users(one) else (200, None)

    def switch(self, one: Configuration, way: str, updated_at: str, etag: str) -> None:
        before, one.status = CONFIGURATION_MOVES[one.kind][way]
        one.updated_at, one.etag = updated_at, etag
        changes = {"status": {"before": before, "after": one.status}}
        self._tell(self._event(one, f"{way.upper()}D".replace("EED", "ED")), one.id, changes=changes)

    def test(self, one: Configuration, *, reachable: bool) -> str:
        """The base URL answers with 404, if at all: that proves an executor configuration, and fails in part.
        The name is resolved in any case."""
        proves = one.kind == "executor" and reachable
        self._tell(self._event(one, "TESTED" if proves else "TEST_FAILED"), one.id)
        if one.kind == "executor" and one.status in {"configured", "tested"}:
            one.status = "tested" if reachable else "configured"
        return "partial"

    def users(self, one: Configuration) -> list[Workflow]:
        """The active workflows that call through a configuration."""
        return [
            workflow
            for workflow in self.living()
            if workflow.status == "active" and workflow.draft.flavour.uses and workflow.draft.configuration == one.id
        ]

    def _is_usable(self, id_: str, kind: str) -> bool:
        found = self.configurations.get(id_)
        return found is not None and not found.deleted and (found.kind, found.status) == (kind, "active")

    def _is_name_taken(self, kind: str, name: str, but: Configuration | None) -> bool:
        return any(one.body["name"] == name for one in self.of_kind(kind) if one is not but)

    def _event(self, one: Configuration, what: str) -> str:
        return f"{one.kind.upper()}_CONFIG_{what}"

    def _forget_route(self, workflow: Workflow) -> None:
        self.routes = {path: id_ for path, id_ in self.routes.items() if id_ != workflow.id}

    def _go(self, execution: Execution, attempts: int) -> None:
        execution.draft.flavour.go(execution.run, self.well, attempts)
        self._flush(execution)

    def _flush(self, execution: Execution) -> None:
        for event_type, context in execution.run.told:
            self._tell(event_type, execution.id, **context)
        execution.run.told.clear()

    def _tell(self, event_type: str, resource_id: str, **context: Any) -> None:
        self.trail.append(Entry(event_type, resource_id, context))
