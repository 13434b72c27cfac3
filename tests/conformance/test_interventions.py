"""The rules of cancelling, retrying and deciding over the API, and of the steps that tell how far an execution is."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from tests.conformance.conftest import ASK, DECIDE, FAIL, KEY, WAIT_AN_HOUR, Answer, Api, World, until

EXECUTIONS = "/v1/executions"
CANARY = "canary-7f3a91"
CANCELLED = "FLK-0510: the execution was cancelled"
LOG = {"action": "log"}


class FarSide(BaseHTTPRequestHandler):
    """Answers with the statuses that it is told, then 200, and remembers the keys of what it was asked.

    While `free` is not set, nothing is answered.
    """

    statuses: ClassVar[list[int]]
    keys: ClassVar[list[str | None]]
    free: ClassVar[threading.Event]
    url: ClassVar[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.keys.append(self.headers.get("Idempotency-Key"))
        assert self.free.wait(10)
        body = json.dumps({"token": CANARY}).encode()
        self.send_response(self.statuses.pop(0) if self.statuses else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the output of tests to the tests."""


@pytest.fixture
def far_side() -> Iterator[type[FarSide]]:
    class Told(FarSide):
        statuses: ClassVar[list[int]] = []
        keys: ClassVar[list[str | None]] = []
        free: ClassVar = threading.Event()

    Told.free.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Told) as server:
        Told.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield Told
        Told.free.set()
        server.shutdown()
        serving.join()


def calling(api: Api, far_side: Any, *calls: dict[str, Any]) -> str:
    """An execution that was just started and makes these calls one after another, `step1` first."""
    configuration = api.provider_configuration({"base_url": far_side.url})
    definition = api.definition(*[LOG for _ in calls])
    for node, data in zip(definition["nodes"][1:], calls, strict=True):
        node |= {
            "type": "executor",
            "data": {"executorId": "http.request", "providerConfigId": configuration, **data},
        }
    started = api.deliver(api.move(api.create(definition), "activate"), {"card": CANARY})
    return str(started.json()["executionId"])


def cancel(api: Api, id_: str, body: Any = None) -> Any:
    return api.expect(200, "POST", f"{EXECUTIONS}/{id_}/cancel", body).json()


def retry(api: Api, id_: str) -> Any:
    return api.expect(200, "POST", f"{EXECUTIONS}/{id_}/retry").json()


def steps(api: Api, id_: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.expect(200, "GET", f"{EXECUTIONS}/{id_}/steps").json()["items"]
    return items


def statuses(api: Api, id_: str) -> list[str]:
    return [step["status"] for step in steps(api, id_)]


def events(api: Api, id_: str, event_type: str) -> list[dict[str, Any]]:
    path = f"/v1/audit-events?eventType={event_type}&resourceId={id_}&sortOrder=ASC"
    items: list[dict[str, Any]] = api.expect(200, "GET", path).json()["items"]
    return items


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["code"]


class TestCancelling:
    def test_an_execution_that_waits_fails_at_once(self, api: Api) -> None:
        """The answer is its status; what would have come next never runs."""
        id_ = api.execution(WAIT_AN_HOUR, DECIDE)

        status = cancel(api, id_)

        assert (status["status"], status["errorMessage"]) == ("failed", CANCELLED)
        assert status["completedAt"] is not None
        assert api.results(id_)["stepResults"] == []
        assert statuses(api, id_) == ["pending", "pending"]

    def test_cancelling_again_changes_nothing(self, api: Api) -> None:
        """The same answer, and one entry of the audit trail."""
        id_ = api.running_execution()

        answers = [cancel(api, id_, {"reason": "the order was withdrawn"}), cancel(api, id_), cancel(api, id_, {})]

        assert answers[0] == answers[1] == answers[2]
        [event] = events(api, id_, "EXECUTION_CANCELLED")
        assert event["context"] == {"reason": "the order was withdrawn"}
        assert event["actor"]["type"] == "api_key"
        assert KEY not in json.dumps(event)

    def test_a_call_that_is_under_way_may_end(self, api: Api, far_side: Any) -> None:
        """Until then the execution is running; then it has failed, and the call's outcome is known."""
        far_side.free.clear()
        id_ = calling(api, far_side, {}, {})
        until(lambda: far_side.keys)

        status = cancel(api, id_)
        meanwhile = statuses(api, id_)
        far_side.free.set()
        results = api.results(id_)

        assert (status["status"], status["errorMessage"]) == ("running", None)
        assert meanwhile == ["running", "pending"]
        assert (results["status"], results["errorMessage"]) == ("failed", CANCELLED)
        assert statuses(api, id_) == ["completed", "pending"]
        assert len(far_side.keys) == 1

    @pytest.mark.parametrize("end", ["completed_execution", "failed_execution"])
    def test_what_has_ended_cannot_be_cancelled(self, api: Api, end: str) -> None:
        """Neither well nor badly."""
        id_ = getattr(api, end)()
        before = api.expect(200, "GET", f"{EXECUTIONS}/{id_}").body

        refused = api.ask("POST", f"{EXECUTIONS}/{id_}/cancel")

        assert refusal(refused) == (422, "FLK-0511")
        assert api.expect(200, "GET", f"{EXECUTIONS}/{id_}").body == before

    @pytest.mark.parametrize("body", [{"reason": ""}, {"reason": "x" * 501}, {"why": "x"}, [], None])
    def test_a_reason_is_a_text_of_at_most_500_characters(self, api: Api, body: Any) -> None:
        """And the only thing that can be said."""
        answer = api.ask("POST", f"{EXECUTIONS}/{api.running_execution()}/cancel", json.dumps(body).encode())

        assert answer.status == 400


class TestRetrying:
    def test_only_what_failed_is_done_again(self, api: Api, far_side: Any) -> None:
        """The first call is not repeated; the second has the key that it had before, and the third follows."""
        far_side.statuses[:] = [200, 404]
        id_ = calling(api, far_side, {}, {}, {})
        failed = api.results(id_)

        status = retry(api, id_)
        results = api.results(id_)

        assert (failed["status"], failed["errorMessage"][:8]) == ("failed", "FLK-0504")
        assert status["errorMessage"] is None or status["status"] == "completed"
        assert (results["status"], results["errorMessage"]) == ("completed", None)
        assert far_side.keys == [f"{id_}:{node}" for node in ("step1", "step2", "step2", "step3")]
        assert [len(step["attempts"]) for step in steps(api, id_)] == [1, 2, 1]
        [event] = events(api, id_, "EXECUTION_RETRIED")
        assert (event["actor"]["type"], event["context"]) == ("api_key", {"code": "FLK-0504"})

    def test_what_was_cancelled_goes_on(self, world: World) -> None:
        """Its wait begins anew, and its end is told to whoever asks."""
        id_ = world.api.execution({"action": "delay", "seconds": 60}, DECIDE)
        cancel(world.api, id_)

        status = retry(world.api, id_)
        world.clock.turn(61)
        results = world.api.results(id_)

        assert (status["status"], status["completedAt"], status["errorMessage"]) == ("running", None, None)
        assert (results["status"], results["finalOutput"]) == ("completed", {"decision": "approved"})

    def test_the_time_limit_starts_anew(self, world: World) -> None:
        """Else what failed at its limit would fail at once again."""
        id_ = world.api.execution({"action": "delay", "seconds": 200}, {"action": "delay", "seconds": 200}, DECIDE)
        until(lambda: statuses(world.api, id_)[0] == "waiting")
        world.clock.turn(201)
        until(lambda: statuses(world.api, id_)[0] == "completed")
        world.clock.turn(201)
        assert world.api.results(id_)["errorMessage"][:8] == "FLK-0503"

        retry(world.api, id_)
        world.clock.turn(201)

        assert world.api.results(id_)["status"] == "completed"

    def test_what_fails_again_can_be_retried_again(self, api: Api) -> None:
        """Each time is told."""
        id_ = api.execution(FAIL)
        for _ in range(2):
            api.results(id_)
            retry(api, id_)

        assert api.results(id_)["status"] == "failed"
        assert len(events(api, id_, "EXECUTION_RETRIED")) == 2
        assert len(events(api, id_, "EXECUTION_FAILED")) == 3

    @pytest.mark.parametrize("state", ["completed_execution", "running_execution", "asking_execution"])
    def test_what_has_not_failed_is_not_retried(self, api: Api, state: str) -> None:
        """Ended well, or not ended."""
        assert refusal(api.ask("POST", f"{EXECUTIONS}/{getattr(api, state)()}/retry")) == (422, "FLK-0512")

    def test_it_runs_by_the_definition_that_it_started_with(self, api: Api, far_side: Any) -> None:
        """Also when its workflow is a draft again and says something else."""
        far_side.statuses[:] = [404]
        id_ = calling(api, far_side, {}, {})
        workflow_id = api.results(id_)["workflowId"]
        for way in ("deactivate", "draft"):
            api.expect(200, "POST", f"/v1/workflows/{workflow_id}/{way}")
        api.expect(200, "PUT", f"/v1/workflows/{workflow_id}", api.definition(FAIL))

        retry(api, id_)

        assert api.results(id_)["status"] == "completed"
        assert [step["nodeId"] for step in steps(api, id_)] == ["step1", "step2"]


class TestSteps:
    def test_a_call_is_followed_from_its_first_attempt_to_its_end(self, world: World, far_side: Any) -> None:
        """Under way, waiting for the next attempt, and ended: with status codes and durations."""
        far_side.statuses[:] = [503]
        far_side.free.clear()
        id_ = calling(world.api, far_side, {"retry": {"backoffSeconds": 30}})
        until(lambda: far_side.keys)

        [running] = steps(world.api, id_)
        far_side.free.set()
        [waiting] = until(lambda: (seen := steps(world.api, id_))[0]["status"] == "waiting" and seen)
        world.clock.turn(31)
        world.api.results(id_)
        [ended] = steps(world.api, id_)

        assert (running["status"], running["nextAttemptAt"], running["completedAt"]) == ("running", None, None)
        assert [attempt["outcome"] for attempt in running["attempts"]] == ["running"]
        assert waiting["nextAttemptAt"] > waiting["startedAt"]
        assert [(each["statusCode"], each["outcome"]) for each in ended["attempts"]] == [
            (503, "failed"),
            (200, "succeeded"),
        ]
        assert [attempt["number"] for attempt in ended["attempts"]] == [1, 2]
        assert (ended["nodeType"], ended["stepName"], ended["status"]) == ("executor", "executor_step1", "completed")
        assert ended["durationMs"] >= 15_000
        assert ended["startedAt"] == running["startedAt"] < ended["completedAt"]

    def test_neither_inputs_nor_outputs_are_told(self, api: Api, far_side: Any) -> None:
        """Operators follow an execution without seeing what it is about."""
        id_ = calling(api, far_side, {})
        assert CANARY in json.dumps(api.results(id_), default=str)

        answer = api.expect(200, "GET", f"{EXECUTIONS}/{id_}/steps")

        assert CANARY.encode() not in answer.body

    def test_branches_are_told_in_the_order_of_the_definition(self, api: Api) -> None:
        """With what was skipped; a node that the run cannot reach is none of its steps."""
        definition = api.definition(LOG, LOG)
        check = {"id": "check", "type": "conditional", "data": {"condition": "workflow.ok == true"}}
        lonely = {"id": "lonely", "type": "action", "data": LOG}
        definition["nodes"] += [check, lonely]
        definition["edges"] = [
            {"id": "a", "source": "received", "target": "check"},
            {"id": "b", "source": "check", "target": "step1", "sourceHandle": "true"},
            {"id": "c", "source": "check", "target": "step2", "sourceHandle": "false"},
        ]
        started = api.deliver(api.move(api.create(definition), "activate"), {"ok": True}).json()
        api.results(started["executionId"])

        told = steps(api, started["executionId"])

        assert [(step["nodeId"], step["status"], step["attempts"]) for step in told] == [
            ("step1", "completed", []),
            ("step2", "skipped", []),
            ("check", "completed", []),
        ]
        assert (told[1]["startedAt"], told[1]["durationMs"]) == (None, None)


class TestApprovals:
    @pytest.mark.parametrize(("decision", "taken"), [("approved", "step2"), ("rejected", "step3")])
    def test_a_decision_leads_on(self, api: Api, decision: str, taken: str) -> None:
        """Along the edges of its handle, with the decision among the data."""
        definition = api.definition(ASK, {"action": "set_output", "output": "{{step1.decision}}"}, LOG)
        definition["edges"][1] |= {"sourceHandle": "approved"}
        definition["edges"][2] |= {"source": "step1", "sourceHandle": "rejected"}
        id_ = api.deliver(api.move(api.create(definition), "activate")).json()["executionId"]
        [waiting, *_] = until(lambda: (seen := steps(api, id_))[0]["status"] == "waiting" and seen)

        decided = api.decide(id_, decision, comment="seen").json()
        results = api.results(id_)

        assert (waiting["status"], waiting["attempts"]) == ("waiting", [])
        assert waiting["nextAttemptAt"] is not None
        ended = {step["nodeId"]: step["status"] for step in results["stepResults"]}
        assert (ended["step1"], ended[taken], list(ended.values()).count("skipped")) == ("completed", "completed", 1)
        [asked] = [step["output"] for step in results["stepResults"] if step["nodeId"] == "step1"]
        assert asked["decision"] == decision
        assert decided == {
            "executionId": id_,
            "nodeId": "step1",
            "decision": decision,
            "comment": "seen",
            "decidedAt": asked["decidedAt"],
            "decidedBy": asked["decidedBy"],
        }

    def test_who_decided_is_in_the_audit_trail(self, api: Api) -> None:
        """The approver's key by its fingerprint, which the answer names too."""
        id_ = api.asking_execution()
        decided = api.decide(id_, "approved", comment="checked").json()

        [requested] = events(api, id_, "APPROVAL_REQUESTED")
        [event] = events(api, id_, "APPROVAL_DECIDED")

        assert requested["actor"]["type"] == "system"
        assert (event["actor"]["type"], event["actor"]["id"]) == ("api_key", decided["decidedBy"])
        assert event["context"] == {"nodeId": "step1", "decision": "approved", "comment": "checked"}

    def test_the_same_decision_again_is_answered_with_the_first_ones_facts(self, api: Api) -> None:
        """While the execution goes on and after its end; another comment changes nothing."""
        id_ = api.asking_execution(WAIT_AN_HOUR)
        first = api.decide(id_, "approved", comment="mine").json()
        again = api.decide(id_, "approved", comment="yours").json()
        cancel(api, id_)

        assert again == first == api.decide(id_, "approved").json()
        assert len(events(api, id_, "APPROVAL_DECIDED")) == 1

    def test_the_opposite_decision_is_refused(self, api: Api) -> None:
        """The first one counts."""
        id_ = api.asking_execution()
        api.decide(id_, "rejected")

        assert refusal(api.decide(id_, "approved")) == (409, "FLK-0515")
        assert len(events(api, id_, "APPROVAL_DECIDED")) == 1

    def test_of_many_opposite_decisions_at_once_one_counts(self, api: Api) -> None:
        """Those who decided like it are told so, the others are refused."""
        id_ = api.asking_execution()
        path = f"{EXECUTIONS}/{id_}/signals/step1"
        decisions = ["approved", "rejected"] * 8

        asked = [api.begin("POST", path, {"decision": decision}) for decision in decisions]
        answers = [answer.result() for answer in asked]

        [event] = events(api, id_, "APPROVAL_DECIDED")
        counts = event["context"]["decision"]
        given = {
            decision: [a for d, a in zip(decisions, answers, strict=True) if d == decision] for decision in decisions
        }
        assert {answer.status for answer in given.pop(counts)} == {200}
        assert {refusal(answer) for refused in given.values() for answer in refused} == {(409, "FLK-0515")}

    def test_a_decision_that_comes_early_is_refused(self, world: World) -> None:
        """And can be made when the execution has come to it."""
        id_ = world.api.execution({"action": "delay", "seconds": 60}, ASK)

        early = world.api.decide(id_, "approved", "step2")
        world.clock.turn(61)
        until(lambda: statuses(world.api, id_)[1] == "waiting")

        assert refusal(early) == (409, "FLK-0514")
        assert world.api.decide(id_, "approved", "step2").status == 200

    @pytest.mark.parametrize(
        ("on_timeout", "status", "decision"),
        [("fail", "failed", None), ("reject", "completed", "rejected"), ("approve", "completed", "approved")],
    )
    def test_a_decision_that_comes_after_its_time_is_refused(
        self, world: World, on_timeout: str, status: str, decision: str | None
    ) -> None:
        """Whatever the workflow made of the silence, nobody decided."""
        id_ = world.api.execution({**ASK, "onTimeout": on_timeout})
        until(lambda: statuses(world.api, id_) == ["waiting"])
        world.clock.turn(3601)
        results = world.api.results(id_)

        late = [world.api.decide(id_, each) for each in ("approved", "rejected")]

        assert results["status"] == status
        assert (results["stepResults"][0]["output"] or {}).get("decision") == decision
        assert [refusal(answer) for answer in late] == [(409, "FLK-0516")] * 2
        [event] = events(world.api, id_, "APPROVAL_TIMED_OUT")
        assert event["context"] == {"nodeId": "step1", "onTimeout": on_timeout}

    def test_what_was_skipped_or_ended_is_no_longer_decided(self, api: Api) -> None:
        """The run went on without it."""
        definition = api.definition(ASK)
        definition["edges"][0]["condition"] = "workflow.large == true"
        skipped = api.deliver(api.move(api.create(definition), "activate"), {"large": False}).json()["executionId"]
        api.results(skipped)
        cancelled = api.asking_execution()
        cancel(api, cancelled)

        assert refusal(api.decide(skipped, "approved")) == (409, "FLK-0516")
        assert refusal(api.decide(cancelled, "approved")) == (409, "FLK-0516")

    @pytest.mark.parametrize("node_id", ["received", "step2", "nobody", "a%2Fb"])
    def test_only_an_approval_can_be_decided(self, api: Api, node_id: str) -> None:
        """Not the trigger, not another action, and no node that is not there."""
        assert refusal(api.decide(api.asking_execution(LOG), "approved", node_id)) == (404, "FLK-0513")

    @pytest.mark.parametrize("node_id", ["four eyes", "a/b", "/a/", "//", "ä", "...", "%?#"])
    def test_an_approval_may_have_any_id_that_a_path_can_have(self, api: Api, node_id: str) -> None:
        """Encoded, as everything that is no word."""
        definition = api.definition(ASK)
        definition["nodes"][1]["id"] = definition["edges"][0]["target"] = node_id
        id_ = api.deliver(api.move(api.create(definition), "activate")).json()["executionId"]

        decided = api.decide(id_, "approved", "".join(f"%{byte:02X}" for byte in node_id.encode()))

        assert (decided.status, decided.json()["nodeId"]) == (200, node_id)

    @pytest.mark.parametrize("node_id", ["..", "a/./b"])
    def test_an_approval_that_no_path_can_name_is_refused(self, api: Api, node_id: str) -> None:
        """Nobody could decide about it. Another action may have such an id."""
        definition = api.definition(ASK)
        definition["nodes"][1]["id"] = definition["edges"][0]["target"] = node_id

        refused = api.ask("POST", "/v1/workflows", definition)
        definition["nodes"][1]["data"] = LOG

        assert (refusal(refused), list(refused.json()["fields"])) == ((400, "FLK-0119"), ["nodes[1].id"])
        api.create(definition)

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "FLK-0301"),
            ({"decision": "maybe"}, "FLK-0001"),
            ({"decision": "approved", "comment": "x" * 1001}, "FLK-0001"),
            ({"decision": "approved", "by": "me"}, "FLK-0300"),
        ],
    )
    def test_a_decision_is_one_of_two_words(self, api: Api, body: Any, code: str) -> None:
        """With a comment, if somebody has one."""
        answer = api.ask("POST", f"{EXECUTIONS}/{api.asking_execution()}/signals/step1", body)

        assert refusal(answer) == (400, code)


def test_an_id_may_be_written_in_capitals(api: Api) -> None:
    """RFC 9562: a UUID is the same in either case."""
    id_ = api.asking_execution(WAIT_AN_HOUR)

    assert api.decide(id_.upper(), "approved").json()["executionId"] == id_
    assert steps(api, id_.upper()) == steps(api, id_)
    assert cancel(api, id_.upper())["executionId"] == id_
    assert retry(api, id_.upper())["executionId"] == id_


@pytest.mark.parametrize(("method", "way"), [("GET", "steps"), ("POST", "cancel"), ("POST", "retry")])
def test_an_execution_that_is_not_there_is_not_found(api: Api, method: str, way: str) -> None:
    """FLK-0500."""
    path = f"{EXECUTIONS}/01900000-0000-7000-8000-000000000000/{way}"

    assert refusal(api.ask(method, path)) == (404, "FLK-0500")


def test_without_its_database_nothing_is_decided(world: World) -> None:
    """The approver is told to ask again, and then decides."""
    id_ = world.api.asking_execution()
    until(lambda: statuses(world.api, id_) == ["waiting"])
    world.lose_database()
    refused = world.api.decide(id_, "rejected")
    world.heal()

    assert refusal(refused) == (500, "FLK-9999")
    assert int(refused.headers["retry-after"]) >= 1
    assert world.api.decide(id_, "approved").status == 200
