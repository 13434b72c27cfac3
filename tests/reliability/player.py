"""What the rules of test_model.py are made of: each asks the service, compares, and lets the model remember."""

import socket
from typing import Any, ClassVar
from urllib.parse import quote

from hypothesis.stateful import RuleBasedStateMachine
from hypothesis.strategies import just
from hypothesis.strategies._internal.featureflags import FeatureFlags

from tests.reliability.conversation import PATHS, Conversation, show_workflow
from tests.reliability.model import Model
from tests.reliability.stub_provider import Received, Reply, StubProvider
from tests.reliability.things import TOKEN, UNKNOWN_ID, Configuration, Draft, Execution, Trigger, Workflow

STALE = '"0-0"'

ASKS_A_PERSON = {"asks", "waits"}


class Player(RuleBasedStateMachine):
    """One example: workflows, executions and configurations of its own, in a service that has others."""

    talk: ClassVar[Conversation]
    far_side: ClassVar["FarSide"]
    examples: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        # Hypothesis leaves most rules out of most examples, which is good for many thousands of them. In a hundred,
        # whatever takes several steps would never come to pass.
        self._rules_strategy.enabled_rules_strategy = just(FeatureFlags())
        Player.examples += 1
        self.prefix = f"{Player.examples:06}"
        self.model: Model = self.talk.model
        # Starting again takes long, and so does waiting until a sync answer gives up.
        self.waits_left = self.restarts_left = 1
        self.my_workflows: list[Workflow] = []
        self.my_executions: list[Execution] = []
        self.my_configurations: list[Configuration] = []

    def prepare(self) -> list[Configuration]:
        """Two active configurations, so that not every example has to come to them."""
        if not self.my_configurations:
            self.model.well = self.far_side.well = True
            self.save_configuration("provider", self.called("red"), reachable=True)
            self.save_configuration("executor", self.called("red"), reachable=True)
            executor = self.my_configurations[1]
            self.test(executor)
            self.switch(executor, "activate")
        return self.my_configurations

    def save(self, draft: Draft) -> Workflow | None:
        """Create a workflow; None when the name is taken, or it is unsound."""
        answer = self.talk.expect(self.model.judge_saving(draft), "POST", "/v1/workflows", draft.body())
        return None if answer.status != 201 else self.created(draft, answer.body, answer.headers["ETag"])

    def move(self, workflow: Workflow, way: str) -> None:
        expected = self.model.judge_moving(workflow, way)
        answer = self.talk.expect(expected, "POST", f"/v1/workflows/{workflow.id}/{way}")
        if answer.status == 200:
            self.model.move(workflow, way, answer.body["updatedAt"], answer.headers["ETag"])
            assert answer.body == show_workflow(workflow)

    def save_configuration(self, kind: str, name: str, *, reachable: bool) -> Configuration | None:
        body = self.far_side.configuration(kind, name, reachable=reachable)
        expected = self.model.judge_configuring(kind, body)
        answer = self.talk.expect(expected, "POST", PATHS[kind], body)
        if answer.status != 201:
            return None
        id_, created_at = answer.body["id"], answer.body["createdAt"]
        one = self.model.configure(kind, id_, body, created_at, answer.headers["ETag"])
        self.my_configurations.append(one)
        return one

    def switch(self, one: Configuration, way: str) -> None:
        expected = self.model.judge_switching(one, way)
        answer = self.talk.expect(expected, "POST", f"{path_of(one)}/{way}")
        if answer.status == 200:
            self.model.switch(one, way, answer.body["updatedAt"], answer.headers["ETag"])
        elif answer.status == 409:
            assert all(user.id in str(answer.body["fields"]) for user in self.model.users(one)[:20])

    def test(self, one: Configuration) -> None:
        """A test of an executor configuration is a change of it."""
        answer = self.talk.expect(self.model.judge_reading(one), "POST", f"{path_of(one)}/test")
        if answer.status != 200:
            return
        reachable = self.far_side.is_reached_by(one.body)
        assert answer.body["overallStatus"] == self.model.test(one, reachable=reachable)
        if one.kind == "executor":
            read = self.talk.expect((200, None), "GET", path_of(one))
            assert read.headers["ETag"] != one.etag
            one.etag, one.updated_at = read.headers["ETag"], read.body["updatedAt"]

    def send(
        self, path: str, body: Any, key: str | None, *, prefer: int | None, spelling: str = "{}", token: bool = True
    ) -> Execution | None:
        """Deliver; the execution, if there is a new one. A blank key is none, and a key may be quoted."""
        known_as = (key or "").strip(' "') or None
        sound = isinstance(body, dict) and " " not in (known_as or "")
        verdict = self.model.judge_delivery(path, known_as, token=token, sound=sound)
        workflow, status = self.model.owner(path), 201
        if verdict == (201, None):
            prefer, status = self.patience(workflow, prefer)
        headers = send(Idempotency_Key=key, X_Webhook_Token=TOKEN if token else None)
        headers |= send(Prefer=None if prefer is None else f"wait={prefer}")
        sent_to = f"/v1/webhooks/{quote(spelling.format(path), safe='/' if token else '')}"
        expected = (status, None) if verdict == (201, None) else verdict
        answer = self.talk.expect(expected, "POST", sent_to, body, **headers)
        if workflow is None:
            return None
        if answer.status == 401:
            self.model.refuse(workflow)
        if answer.status == 409:
            assert answer.headers["X-Webhook-Execution-ID"] == self.model.keys[workflow.id, known_as or ""]
        if answer.status not in {200, 201}:
            return None
        assert answer.headers["Location"] == f"/v1/executions/{answer.body['executionId']}"
        execution = self.started(workflow, body, known_as, answer.body, by_webhook=True)
        assert answer.body["status"] == (execution.run.status if status == 200 else "running")
        return execution

    def start(
        self,
        workflow: Workflow,
        input_: dict[str, Any],
        key: str | None,
        *,
        spelled_anew: bool = False,
        settled: bool = True,
    ) -> Execution | None:
        """Execute a workflow; the execution, if there is a new one."""
        expected = self.model.judge_execution(workflow, input_, key)
        sent = dict(reversed(input_.items())) if spelled_anew else input_
        path, headers = f"/v1/workflows/{workflow.id}/executions", send(Idempotency_Key=key)
        answer = self.talk.expect(expected, "POST", path, {"inputData": sent}, **headers)
        if answer.status == 200:
            seen = self.model.executions[self.model.keys[workflow.id, key or ""]]
            assert (answer.body["executionId"], answer.body["startedAt"]) == (seen.id, seen.started_at)
        if answer.status != 201:
            return None
        return self.started(workflow, input_, key, answer.body, settled=settled)

    def started(
        self,
        workflow: Workflow,
        input_: dict[str, Any],
        key: str | None,
        body: dict[str, Any],
        *,
        by_webhook: bool = False,
        settled: bool = True,
    ) -> Execution:
        id_, started_at = body["executionId"], body["startedAt"]
        assert body["workflowId"] == workflow.id
        execution = self.model.start(id_, workflow, input_, key, started_at, by_webhook=by_webhook)
        self.my_executions.append(execution)
        if settled:
            self.talk.check_execution(execution)
        return execution

    def created(self, draft: Draft, body: dict[str, Any], etag: str, **told: Any) -> Workflow:
        assert (body["status"], body["version"]) == ("draft", "1.0.0")
        workflow = self.model.create(body["workflowId"], draft, body["createdAt"], etag, **told)
        self.my_workflows.append(workflow)
        return workflow

    def patience(self, workflow: Workflow | None, prefer: int | None) -> tuple[int | None, int]:
        """How long to ask for waiting, and the status then: nobody waits for a person, or only for a second."""
        assert workflow is not None
        waits = prefer > 0 if prefer is not None else workflow.draft.trigger.sync
        if not waits:
            return prefer, 201
        if workflow.draft.kind not in ASKS_A_PERSON:
            return prefer, 200
        wait_s = self.waits_left if workflow.draft.kind == "waits" and workflow.revision % 3 == 2 else 0
        self.waits_left -= wait_s
        return wait_s, 201

    def own(self, draft: Draft, pick: int) -> Draft:
        """A draft of this example, which may call through one of its configurations."""
        usable = [one.id for one in self.my_configurations if one.kind == draft.flavour.uses]
        configuration = usable[pick % len(usable)] if usable else UNKNOWN_ID
        path = draft.trigger.path
        trigger = Trigger(path and self.webhook(path), draft.trigger.sync, draft.trigger.guarded)
        return Draft(self.called(draft.name), draft.kind, trigger, configuration)

    def called(self, name: str) -> str:
        return f"{self.prefix} {name}"

    def webhook(self, path: str) -> str:
        return f"{self.prefix}/{path}"


class FarSide:
    """Answers to calls while it is well, and refuses them while it is not. Its base URL is no resource: 404."""

    def __init__(self, stub: StubProvider) -> None:
        self.well = True
        self._stub = stub
        stub.answers("POST", "/far/pay", self._answer)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            self._closed_url = f"http://127.0.0.1:{closed.getsockname()[1]}"

    def configuration(self, kind: str, name: str, *, reachable: bool) -> dict[str, Any]:
        url = f"{self._stub.url}/far" if reachable else self._closed_url
        common = {"name": name, "description": "", "metadata": {}}
        if kind == "provider":
            return {**common, "providerId": "http", "config": {"base_url": url}}
        endpoints = [{"name": "pay", "path": "/pay", "method": "POST", "timeout": 10}]
        return {**common, "baseUrl": url, "endpoints": endpoints, "authentication": {"type": "none", "config": {}}}

    def is_reached_by(self, body: dict[str, Any]) -> bool:
        return self._stub.url in str(body)

    def _answer(self, received: Received) -> Reply:
        return Reply(received.body) if self.well else Reply(b"{}", 422)


def choose_tag(one: Workflow | Configuration, which: str | None) -> str | None:
    return {None: None, "current": one.etag, "stale": STALE}[which]


def send_tag(tag: str | None) -> dict[str, str]:
    return send(If_Match=tag)


def send(**headers: str | None) -> dict[str, str]:
    return {name: value for name, value in headers.items() if value is not None}


def path_of(one: Configuration) -> str:
    return f"{PATHS[one.kind]}/{one.id}"
