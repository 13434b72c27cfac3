"""Asks one service after one thing after the other, and compares what it shows with the dictionaries of model.py."""

import http.client
import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from tests.reliability.conftest import KEY
from tests.reliability.flavours import Run, Step
from tests.reliability.model import Model, Verdict
from tests.reliability.things import Configuration, Entry, Execution, Workflow

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

SETTLED_WITHIN_S = 20.0

ITEMS_MAX = 5
"""Items on a page: few, so that a list takes several pages."""

PAGES_MAX = 3
"""How far the lists of everything are followed."""

AUDIT = Path(__file__).parents[2] / "docs" / "audit.md"
KINDS = {
    cells[0]: tuple(cells[1:])
    for line in AUDIT.read_text().splitlines()
    if line.startswith("| `") and len(cells := [cell.strip(" `") for cell in line.strip("|").split("|")]) == 4
}
"""Action, result and resource of each type of event, as its page says."""

UUID = re.compile(r"[0-9a-f-]{36}|[0-9]{6}[/%][a-z2F]+")

OF_THE_ENGINE = {
    *("EXECUTION_COMPLETED", "EXECUTION_FAILED", "EVENT_EMITTED", "APPROVAL_REQUESTED"),
    *("PROVIDER_CALL_STARTED", "PROVIDER_CALL_COMPLETED", "PROVIDER_CALL_FAILED"),
}
REFUSED = "WEBHOOK_REFUSED"
PATHS = {"provider": "/v1/provider-configurations", "executor": "/v1/executors"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: Any

    @property
    def verdict(self) -> Verdict:
        return self.status, self.body["code"] if self.status >= 400 else None


class Conversation:
    """Asks a service over one connection, which lasts as long as the process does."""

    def __init__(self, service: "ServiceProcess") -> None:
        self.model = Model()
        self.asked = 0
        self.seen: Counter[tuple[str, str, Verdict]] = Counter()
        """Which answers were met, of which operation."""
        self.restarts = 0
        self._service = service
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: Any = None, /, **headers: str) -> Answer:
        """A body in bytes is sent as it is."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(urlsplit(self._service.url).netloc, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | {"X-API-Key": KEY}
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if content is not None:
            sent["Content-Type"] = "application/json"
        self._connection.request(method, path, content, sent)
        response = self._connection.getresponse()
        read = response.read()
        self.asked += 1
        return Answer(response.status, response.headers, json.loads(read) if read else None)

    def expect(self, verdict: Verdict, method: str, path: str, body: Any = None, /, **headers: str) -> Answer:
        """The answer, if it is what the model says."""
        answer = self.ask(method, path, body, **headers)
        self.seen[method, UUID.sub("*", path.partition("?")[0]), answer.verdict] += 1
        assert answer.verdict == verdict, f"{method} {path} answers {answer}, and not {verdict}"
        return answer

    def read(self, path: str, **query: Any) -> Any:
        given = urlencode({name: value for name, value in query.items() if value is not None})
        return self.expect((200, None), "GET", f"{path}?{given}" if given else path).body

    def restart(self, *, kill: bool) -> None:
        self.restarts += 1
        self.close()
        if kill:
            self._service.kill()
            self.model.refused_at_least.clear()
        else:
            self._service.stop()
        self._service.start()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # What is shown of one thing

    def check_workflow(self, workflow: Workflow) -> None:
        path = f"/v1/workflows/{workflow.id}"
        if workflow.deleted:
            self.expect((404, "FLK-0100"), "GET", path)
        else:
            answer = self.expect((200, None), "GET", path)
            assert (answer.body, answer.headers["ETag"]) == (show_workflow(workflow), workflow.etag)
        self.check_trail(workflow.id)

    def check_configuration(self, one: Configuration) -> None:
        path = f"{PATHS[one.kind]}/{one.id}"
        if one.deleted:
            self.expect(self.model.judge_reading(one), "GET", path)
        else:
            answer = self.expect((200, None), "GET", path)
            shown = {name: value for name, value in answer.body.items() if name != "lastTestedAt"}
            assert shown == show_configuration(one)
            assert answer.headers["ETag"] == one.etag
        self.check_trail(one.id)

    def check_execution(self, execution: Execution) -> None:
        """Wait until it is where the model says that it comes to, and compare everything."""
        self._await(execution)
        run = execution.run
        shown = self.read(f"/v1/executions/{execution.id}")
        assert shown.pop("errorMessage") == execution.error_message
        assert shown == show_execution(execution)
        nodes = execution.draft.flavour.nodes
        assert [show_step(step) for step in self.read(f"/v1/executions/{execution.id}/steps")["items"]] == [
            expect_step(run, node["id"]) for node in nodes
        ]
        self.check_trail(execution.id)

    def _await(self, execution: Execution) -> None:
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while not self._has_settled(execution):
            assert time.monotonic() < deadline, f"{execution} does not come to where it should"
            time.sleep(0.002)

    def _has_settled(self, execution: Execution) -> bool:
        path, run = f"/v1/executions/{execution.id}", execution.run
        if run.status == "running":
            steps = self.read(f"{path}/steps")["items"]
            return [step["nodeId"] for step in steps if step["status"] == "waiting"] == [run.waits_for]
        answer = self.ask("GET", f"{path}/results")
        if answer.verdict == (422, "FLK-0502"):
            return False
        assert answer.status == 200
        self._check_results(execution, answer.body)
        return True

    def _check_results(self, execution: Execution, results: dict[str, Any]) -> None:
        """What is read first of an end stays."""
        run = execution.run
        if execution.completed_at is None:
            execution.completed_at, execution.error_message = results["completedAt"], results["errorMessage"]
        assert (results["status"], execution.error_message and execution.error_message[:8]) == (run.status, run.code)
        assert {name: results[name] for name in ("startedAt", "completedAt", "errorMessage", "workflowId")} == {
            "startedAt": execution.started_at,
            "completedAt": execution.completed_at,
            "errorMessage": execution.error_message,
            "workflowId": execution.workflow_id,
        }
        steps = results["stepResults"]
        assert [step["stepNumber"] for step in steps] == list(range(1, len(run.steps) + 1))
        # What is skipped and what runs end in one turn: their order says nothing.
        known = {step.node_id: step for step in run.steps}
        assert in_order([show_result(step, known.get(step["nodeId"])) for step in steps]) == in_order(run.steps)
        check_output(execution, results["finalOutput"])

    def check_trail(self, resource_id: str) -> None:
        """Exactly the events that the model knows of, in their order, with what they must tell."""
        expected = [entry for entry in self.model.trail if entry.resource_id == resource_id]
        events = self._await_events(resource_id)
        told = [event for event in events if event["eventType"] != REFUSED]
        assert [event["eventType"] for event in told] == [entry.event_type for entry in expected]
        for event, entry in zip(told, expected, strict=True):
            check_event(event, entry)
        assert count_refused(events) <= self.model.refused[resource_id]

    def _await_events(self, resource_id: str) -> list[dict[str, Any]]:
        """The service tells of refused deliveries by itself, after it has answered them."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        query = {"resourceId": resource_id, "sortOrder": "ASC", "limit": 100}
        while True:
            events: list[dict[str, Any]] = self.read("/v1/audit-events", **query)["items"]
            if count_refused(events) >= self.model.refused_at_least[resource_id]:
                return events
            assert time.monotonic() < deadline, f"nothing is told of what {resource_id} refused"
            time.sleep(0.002)

    def check_everything(self, count: int) -> None:
        """So many of each kind, the latest; and that the whole chain is as it was written."""
        for workflow in list(self.model.workflows.values())[-count:]:
            self.check_workflow(workflow)
        for one in list(self.model.configurations.values())[-count:]:
            self.check_configuration(one)
        for execution in list(self.model.executions.values())[-count:]:
            self.check_execution(execution)
        self.check_counts(None, None)
        self.check_newest_events()
        newest = self.read("/v1/audit-events", limit=1)["items"][0]["eventId"]
        assert self.read(f"/v1/audit-events/{newest}/verify")["isValid"]

    # Lists

    def check_list(self, path: str, wanted: list[str], **query: Any) -> None:
        """The first pages of a list have these ids, in this order."""
        found: list[str] = []
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = self.read(path, cursor=cursor, limit=ITEMS_MAX, **query)
            found += [item.get("id") or item["executionId"] for item in page["items"]]
            cursor = page["nextCursor"] or None
            assert page["hasMore"] == (cursor is not None)
            if cursor is None:
                break
        assert found == wanted[: len(found)]
        assert len(found) == (len(wanted) if cursor is None else PAGES_MAX * ITEMS_MAX)

    def check_counts(self, status: str | None, since: str | None) -> None:
        counts = self.read("/v1/dashboards/executions", status=status, startTime=since)
        assert counts == self.model.count_executions(status, since)
        summary, expected = self.read("/v1/dashboards/workflows/summary"), self.model.count_workflows()
        assert {one["status"]: one["count"] for one in summary["byStatus"]} == expected
        assert (summary["total"], summary["active"]) == (sum(expected.values()), expected["active"])

    def check_newest_events(self, **query: str) -> None:
        """Over all that was told, by everybody."""
        names = {"action": 0, "result": 1, "resourceType": 2}
        expected = [
            (entry.event_type, entry.resource_id)
            for entry in reversed(self.model.trail)
            if all(
                entry.event_type == value if name == "eventType" else KINDS[entry.event_type][names[name]] == value
                for name, value in query.items()
            )
        ]
        first = self.read("/v1/audit-events", limit=ITEMS_MAX, **query)
        second = self.read("/v1/audit-events", limit=ITEMS_MAX, cursor=first["nextCursor"], **query)
        found = [
            (event["eventType"], event["resourceId"])
            for event in first["items"] + (second["items"] if first["hasMore"] else [])
            if event["eventType"] != REFUSED
        ]
        assert found == expected[: len(found)]


def show_workflow(workflow: Workflow) -> dict[str, Any]:
    return {
        "id": workflow.id,
        **workflow.draft.shown(),
        "status": workflow.status,
        "version": workflow.version,
        "createdAt": workflow.created_at,
        "updatedAt": workflow.updated_at,
    }


def show_configuration(one: Configuration) -> dict[str, Any]:
    return {
        "id": one.id,
        **one.body,
        "status": one.status,
        "createdAt": one.created_at,
        "updatedAt": one.updated_at,
    }


def show_execution(execution: Execution) -> dict[str, Any]:
    return {
        "executionId": execution.id,
        "workflowId": execution.workflow_id,
        "status": execution.run.status,
        "currentStepNumber": len(execution.run.steps),
        "totalSteps": len(execution.draft.flavour.nodes),
        "startedAt": execution.started_at,
        "completedAt": execution.completed_at,
    }


def show_step(step: dict[str, Any]) -> tuple[Any, ...]:
    numbers = [attempt["number"] for attempt in step["attempts"]]
    return step["nodeId"], step["status"], numbers, step["errorMessage"] is not None


def expect_step(run: Run, node_id: str) -> tuple[Any, ...]:
    for step in run.steps:
        if step.node_id == node_id:
            numbers = list(range(1, step.attempts + 1)) if node_id == "call" else []
            return node_id, step.status, numbers, step.error is not None
    return node_id, "waiting" if run.waits_for == node_id else "pending", [], False


def show_result(result: dict[str, Any], known: Step | None) -> Step:
    """What the documents leave open of an output or an error is taken as it is."""
    output, error = result["output"], result["errorMessage"]
    if known is not None:
        output = known.output if known.output is None else output
        error = known.error if error is not None and (known.error or "-") in error else error
    return Step(result["nodeId"], result["status"], result["attempts"], output, error)


def in_order(steps: list[Step]) -> tuple[list[Step], list[Step]]:
    return [step for step in steps if step.status != "skipped"], [step for step in steps if step.status == "skipped"]


def check_output(execution: Execution, output: Any) -> None:
    """What an action set, else the input and what every node made of it."""
    run = execution.run
    if run.output is not None:
        assert output == run.output
        return
    came = output["workflow"]
    if execution.by_webhook:
        webhook = came.pop("_webhook")
        assert (webhook["method"], webhook["path"]) == ("POST", execution.draft.trigger.path)
        assert "headers" not in webhook
    assert came == run.input


def check_event(event: dict[str, Any], entry: Entry) -> None:
    kind = (event["action"], event["result"], event["resourceType"])
    assert kind == KINDS[entry.event_type]
    assert event["actor"]["type"] == ("system" if entry.event_type in OF_THE_ENGINE else "api_key")
    context = dict(event["context"])
    context["changed"] = sorted(context.get("changes", []))
    told = {name: context.get(name) for name in entry.context}
    assert told == dict(entry.context), f"{entry.event_type} tells {event['context']}"


def count_refused(events: list[dict[str, Any]]) -> int:
    """How many refused deliveries these tell of."""
    return sum(event["context"]["count"] for event in events if event["eventType"] == REFUSED)
