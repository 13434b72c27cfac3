"""Whatever is asked of a running service, in whatever order: it answers and remembers what a few dictionaries would.

Hypothesis makes up what is asked, and when the service is killed; the dictionaries are in model.py. One service has
all examples: the names and paths of each are its own, while lists, counts and the audit trail are of all.
"""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, multiple, precondition, rule, run_state_machine_as_test

from tests.reliability.conversation import KINDS as EVENT_KINDS
from tests.reliability.conversation import PATHS as CONFIGURATION_PATHS
from tests.reliability.conversation import Conversation, show_configuration, show_workflow
from tests.reliability.flavours import FLAVOURS
from tests.reliability.model import CONFIGURATION_MOVES, MOVES
from tests.reliability.player import FarSide, Player, choose_tag, path_of, send_tag
from tests.reliability.stub_provider import StubProvider
from tests.reliability.things import Configuration, Draft, Execution, Trigger, Workflow

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

EXAMPLES = int(os.environ.get("FLOWKER_TEST_EXAMPLES", "100"))
STEPS = 25

CHECKED_AGAIN = 50
"""How many of the latest workflows, executions and configurations are compared again after the last kill."""

# Few, so that they collide.
NAMES = st.sampled_from(["red", "green", "blue", "white"])
PATHS = st.sampled_from(["paid", "shipped"])
KEYS = st.sampled_from([None, "first", "second"])
NUMBERS = st.integers(0, 9)

GOOD_BODIES = st.builds(lambda n: {"n": n}, NUMBERS)
BODIES = st.one_of(
    GOOD_BODIES, GOOD_BODIES, GOOD_BODIES, st.sampled_from([b"{", b"[]", b'{"n":1,"n":2}', b'{"n":NaN}'])
)

TRIGGERS = st.builds(Trigger, PATHS, st.booleans(), st.sampled_from([False, False, True]))
WEBHOOK_PATHS = st.sampled_from(["{}", "/{}/", "{}/"])
SOUND = ["asks", "asks", *[kind for kind, flavour in FLAVOURS.items() if flavour.defect is flavour.unsound is None]]
DRAFTS = st.builds(
    Draft, NAMES, st.sampled_from([*SOUND, *FLAVOURS]), st.one_of(TRIGGERS, TRIGGERS, st.just(Trigger(None)))
)
ORDERS = st.sampled_from(["ASC", "DESC"])
IF_MATCH = st.sampled_from([None, None, "current", "stale"])

CREATED = ["createdAt", "updatedAt", "name"]
LISTS: dict[str, tuple[str, list[str | None], list[str]]] = {
    "workflows": ("/v1/workflows", [None, "draft", "active", "inactive"], CREATED),
    "executions": ("/v1/executions", [None, "running", "completed", "failed"], ["startedAt", "completedAt"]),
    "provider": (CONFIGURATION_PATHS["provider"], [None, "active", "disabled"], CREATED),
    "executor": (CONFIGURATION_PATHS["executor"], [None, "configured", "active", "disabled"], CREATED),
}
"""Path, statuses and what sorts, of each list."""
LISTED = st.sampled_from(list(LISTS))


class Machine(Player):
    """One example: workflows, executions and configurations of its own, in a service that has others."""

    workflows: Bundle[Workflow] = Bundle("workflows")
    executions: Bundle[Execution] = Bundle("executions")
    configurations: Bundle[Configuration] = Bundle("configurations")

    @initialize(target=configurations)
    def have_configurations(self) -> Any:
        return multiple(*self.prepare())

    @initialize(
        target=workflows,
        kinds=st.lists(st.sampled_from(SOUND), min_size=3, max_size=3),
        trigger=TRIGGERS,
        ways=st.lists(st.sampled_from([["activate"], ["activate", "deactivate"], []]), min_size=2, max_size=2),
    )
    def have_workflows(self, kinds: list[str], trigger: Trigger, ways: list[list[str]]) -> Any:
        """An active one with a webhook, and in any status one with another and one without."""
        self.prepare()
        other = Trigger("shipped" if trigger.path == "paid" else "paid", trigger.guarded, trigger.sync)
        triggers = [trigger, other, Trigger(None)]
        names = ["red", "green", "blue"]
        drafts = [Draft(name, kind, one) for name, kind, one in zip(names, kinds, triggers, strict=True)]
        made = [self.save(self.own(draft, 0)) for draft in drafts]
        for workflow, taken in zip(made, [["activate"], *ways], strict=True):
            assert workflow is not None
            for way in taken:
                self.move(workflow, way)
        return multiple(*made)

    @initialize(target=executions, n=NUMBERS, by_webhook=st.booleans())
    def have_executions(self, n: int, by_webhook: bool) -> Any:
        """Where there are workflows already."""
        started = [
            self.send(str(workflow.draft.webhook), {"n": n}, "begin", prefer=0)
            if by_webhook and workflow.draft.webhook
            else self.start(workflow, {"n": n}, "begin")
            for workflow in self.my_workflows
        ]
        return multiple(*[execution for execution in started if execution is not None])

    def teardown(self) -> None:
        """All of it is as it should be, once more. What went wrong before is to be told instead."""
        if sys.exc_info()[0] is not None:
            return
        for workflow in self.my_workflows:
            self.talk.check_workflow(workflow)
        for one in self.my_configurations:
            self.talk.check_configuration(one)
        for execution in self.my_executions:
            self.talk.check_execution(execution)

    # Workflows

    @rule(target=workflows, draft=DRAFTS, pick=NUMBERS)
    def create_workflow(self, draft: Draft, pick: int) -> Any:
        return self.save(self.own(draft, pick)) or multiple()

    @rule(workflow=workflows, draft=DRAFTS, pick=NUMBERS, if_match=IF_MATCH)
    def update_workflow(self, workflow: Workflow, draft: Draft, pick: int, if_match: str | None) -> None:
        mine, tag = self.own(draft, pick), choose_tag(workflow, if_match)
        expected = self.model.judge_updating(workflow, mine, tag)
        path = f"/v1/workflows/{workflow.id}"
        answer = self.talk.expect(expected, "PUT", path, mine.body(), **send_tag(tag))
        if answer.status == 200:
            self.model.update(workflow, mine, answer.body["updatedAt"], answer.headers["ETag"])
            assert answer.body == show_workflow(workflow)

    @rule(target=workflows, workflow=workflows, name=NAMES)
    def clone_workflow(self, workflow: Workflow, name: str) -> Any:
        source = workflow.draft
        draft = Draft(self.called(name), source.kind, source.trigger, source.configuration, source.description)
        expected = (404, "FLK-0100") if workflow.deleted else self.model.judge_saving(draft)
        answer = self.talk.expect(expected, "POST", f"/v1/workflows/{workflow.id}/clone", {"name": draft.name})
        if answer.status != 201:
            return multiple()
        return self.created(draft, answer.body, answer.headers["ETag"], clonedFrom=workflow.id)

    @rule(workflow=workflows, way=st.sampled_from(["on", "on", "on", *MOVES]))
    def move_workflow(self, workflow: Workflow, way: str) -> None:
        """On to what comes next in its life, or anywhere."""
        nexts = {before: name for name, (before, _) in MOVES.items()}
        self.move(workflow, nexts[workflow.status] if way == "on" else way)

    @rule(workflow=workflows, if_match=IF_MATCH)
    def delete_workflow(self, workflow: Workflow, if_match: str | None) -> None:
        tag = choose_tag(workflow, if_match)
        expected = self.model.judge_deleting(workflow, tag)
        path = f"/v1/workflows/{workflow.id}"
        if self.talk.expect(expected, "DELETE", path, **send_tag(tag)).status == 204:
            self.model.delete(workflow)

    @rule(workflow=workflows)
    def look_at_workflow(self, workflow: Workflow) -> None:
        """As it is; and all that keeps it from being activated is told, and nothing else."""
        self.talk.check_workflow(workflow)
        expected = (404, "FLK-0100") if workflow.deleted else (200, None)
        answer = self.talk.expect(expected, "POST", f"/v1/workflows/{workflow.id}/validate")
        if answer.status == 200:
            found = [one["code"] for one in answer.body["findings"] if one["severity"] == "error"]
            assert found == [code for _, code in self.model.faults(workflow)]
            assert answer.body["valid"] == (found == [])

    # Deliveries and executions

    @rule(
        target=executions,
        path=PATHS,
        spelling=WEBHOOK_PATHS,
        body=BODIES,
        key=KEYS | st.sampled_from([" ", '"first"', "a b"]),
        token=st.sampled_from([True, True, False]),
        prefer=st.sampled_from([None, 0, 10]),
    )
    def deliver(self, path: str, spelling: str, body: Any, key: str | None, token: bool, prefer: int | None) -> Any:
        mine = self.webhook(path)
        return self.send(mine, body, key, spelling=spelling, token=token, prefer=prefer) or multiple()

    @rule(target=executions, path=PATHS, n=NUMBERS, key=KEYS)
    def deliver_well(self, path: str, n: int, key: str | None) -> Any:
        """With all that it needs, as most deliveries are."""
        return self.send(self.webhook(path), {"n": n}, key, prefer=0) or multiple()

    @rule(target=executions, execution=executions, same=st.booleans())
    def deliver_again(self, execution: Execution, same: bool) -> Any:
        """What was sent is sent again, or something else with its key; on whichever way it came."""
        path, workflow = execution.draft.webhook, self.model.workflows[execution.workflow_id]
        sent = execution.run.input if same else {"n": 1}
        if execution.by_webhook and path is not None:
            return self.send(path, sent, execution.key, prefer=0) or multiple()
        return self.start(workflow, sent, execution.key) or multiple()

    @rule(target=executions, workflow=workflows, n=NUMBERS, key=KEYS, spelled_anew=st.booleans())
    def execute(self, workflow: Workflow, n: int, key: str | None, spelled_anew: bool) -> Any:
        """The order of the members makes no other input."""
        return self.start(workflow, {"n": n, "more": [1]}, key, spelled_anew=spelled_anew) or multiple()

    @rule(execution=executions, reason=st.sampled_from([None, "enough"]))
    def cancel(self, execution: Execution, reason: str | None) -> None:
        expected = self.model.judge_cancelling(execution)
        body = None if reason is None else {"reason": reason}
        if self.talk.expect(expected, "POST", f"/v1/executions/{execution.id}/cancel", body).status == 200:
            self.model.cancel(execution, reason)
            self.talk.check_execution(execution)

    @rule(execution=executions)
    def retry(self, execution: Execution) -> None:
        expected = self.model.judge_retrying(execution)
        if self.talk.expect(expected, "POST", f"/v1/executions/{execution.id}/retry").status == 200:
            self.model.retry(execution)
            self.talk.check_execution(execution)

    @rule(
        execution=executions,
        node_id=st.sampled_from(["ask", "ask", "ask", "end"]),
        decision=st.sampled_from(["approved", "rejected"]),
        comment=st.sampled_from([None, "checked"]),
    )
    def decide(self, execution: Execution, node_id: str, decision: str, comment: str | None) -> None:
        expected = self.model.judge_deciding(execution, node_id, decision)
        body = {"decision": decision} | ({} if comment is None else {"comment": comment})
        path = f"/v1/executions/{execution.id}/signals/{node_id}"
        answer = self.talk.expect(expected, "POST", path, body)
        if answer.status == 200:
            self.model.decide(execution, node_id, decision, comment)
            assert (answer.body["decision"], answer.body["comment"]) == execution.run.decided[node_id]
            self.talk.check_execution(execution)

    # Configurations

    @rule(target=configurations, kind=st.sampled_from(list(CONFIGURATION_PATHS)), name=NAMES, reachable=st.booleans())
    def configure(self, kind: str, name: str, reachable: bool) -> Any:
        return (
            self.save_configuration(kind, self.called(name), reachable=reachable or kind == "provider") or multiple()
        )

    @rule(
        one=configurations,
        name=NAMES | st.none(),
        description=st.sampled_from([None, "", "changed"]),
        if_match=IF_MATCH,
    )
    def change_configuration(
        self, one: Configuration, name: str | None, description: str | None, if_match: str | None
    ) -> None:
        tag = choose_tag(one, if_match)
        change = {} if name is None else {"name": self.called(name)}
        change |= {} if description is None else {"description": description}
        expected = self.model.judge_changing(one, change, tag)
        answer = self.talk.expect(expected, "PATCH", path_of(one), change, **send_tag(tag))
        if answer.status == 200:
            self.model.change(one, change, answer.body["updatedAt"], answer.headers["ETag"])
            answer.body.pop("lastTestedAt", None)
            assert (answer.body, answer.headers["ETag"]) == (show_configuration(one), one.etag)

    @rule(one=configurations, way=st.sampled_from(["activate", "enable", "disable"]))
    def switch_configuration(self, one: Configuration, way: str) -> None:
        """A provider configuration is active from the start."""
        if way in CONFIGURATION_MOVES[one.kind]:
            self.switch(one, way)

    @rule(one=configurations)
    def test_configuration(self, one: Configuration) -> None:
        self.test(one)

    @rule(one=configurations, if_match=IF_MATCH)
    def delete_configuration(self, one: Configuration, if_match: str | None) -> None:
        tag = choose_tag(one, if_match)
        expected = self.model.judge_removing(one, tag)
        if self.talk.expect(expected, "DELETE", path_of(one), **send_tag(tag)).status == 204:
            self.model.remove(one)

    # What is read of all of them

    @rule(kind=LISTED, status=st.integers(0, 3), by=st.integers(0, 2), order=ORDERS)
    def list_what_there_is(self, kind: str, status: int, by: int, order: str) -> None:
        """In every status or in one; sorted by whatever sorts."""
        path, statuses, fields = LISTS[kind]
        wanted, field = statuses[status % len(statuses)], fields[by % len(fields)]
        ids = self.model.list_ids(kind, wanted, field, reverse=order == "DESC")
        self.talk.check_list(path, ids, status=wanted, sortBy=field, sortOrder=order)

    @rule(execution=executions, status=st.sampled_from([None, "running", "failed"]), order=ORDERS)
    def look_around(self, execution: Execution, status: str | None, order: str) -> None:
        """What else its workflow did, and what was begun since."""
        id_, since = execution.workflow_id, execution.started_at
        ids = self.model.list_ids("executions", status, "completedAt", reverse=order == "DESC", workflow_id=id_)
        query = {"workflowId": id_, "status": status, "sortBy": "completedAt", "sortOrder": order}
        self.talk.check_list("/v1/executions", ids, **query)
        self.talk.check_counts(None, None)
        self.talk.check_counts(status, since)

    @rule(
        filters=st.fixed_dictionaries(
            {},
            optional={
                "eventType": st.sampled_from(sorted(EVENT_KINDS.keys() - {"WEBHOOK_REFUSED"})),
                "action": st.sampled_from(["CREATE", "UPDATE", "DELETE", "ACTIVATE", "EXECUTE"]),
                "result": st.sampled_from(["SUCCESS", "FAILED"]),
                "resourceType": st.sampled_from(["workflow", "execution", "provider_config", "executor_config"]),
            },
        )
    )
    def search_audit_events(self, filters: dict[str, str]) -> None:
        self.talk.check_newest_events(**filters)

    # What happens to the service and its far side

    @rule(well=st.booleans())
    def far_side_changes(self, well: bool) -> None:
        """It refuses what it is sent, or does it."""
        self.model.well = self.far_side.well = well

    @precondition(lambda self: self.restarts_left)
    @rule(target=executions, workflow=workflows, n=NUMBERS, how=st.sampled_from([*["not yet"] * 14, "stop", "kill"]))
    def restart(self, workflow: Workflow, n: int, how: str) -> Any:
        """In the middle of an execution: not of a call, which might be made once or twice then."""
        if how == "not yet":
            return multiple()
        self.restarts_left -= 1
        started = None
        if workflow.draft.flavour.uses is None:
            started = self.start(workflow, {"n": n}, "before-the-end", settled=False)
        self.talk.restart(kill=how == "kill")
        if started is None:
            return multiple()
        self.talk.check_execution(started)
        return started


@pytest.mark.row("model over HTTP")
def test_the_service_is_what_a_few_dictionaries_are(
    calling_service: "ServiceProcess", provider: StubProvider, record_property: Callable[[str, object], None]
) -> None:
    """Restarts included; the example that fails is printed as the calls that make it."""
    Machine.talk = talk = Conversation(calling_service)
    Machine.far_side = FarSide(provider)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    talk.restart(kill=True)
    talk.check_everything(CHECKED_AGAIN)
    talk.close()
    record_property("examples", Machine.examples)
    record_property("requests", talk.asked)
    record_property("different answers", len(talk.seen))
    record_property("executions", len(talk.model.executions))
    record_property("restarts", talk.restarts)
    record_property("audit events", len(talk.model.trail))
