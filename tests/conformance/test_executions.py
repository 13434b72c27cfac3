"""The rules of executions over the API: started once per key, bound to their revision, followed, and listed."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from tests.conformance.conftest import (
    DECIDE,
    WAIT_AN_HOUR,
    Answer,
    Api,
    Workflow,
    World,
    list_path,
    read_page,
    read_pages,
    refused_field,
    standing_still,
    until,
)

EXECUTIONS = "/v1/executions"
FAIL = {"action": "fail", "message": "The amount is {{workflow.amount}}."}
NOBODY = "01900000-0000-7000-8000-000000000000"

Item = dict[str, Any]


def execute(api: Api, workflow: Workflow, body: Any, key: str | None) -> Answer:
    return api.ask("POST", f"/v1/workflows/{workflow.id}/executions", body, Idempotency_Key=key)


def given(amount: Any) -> Item:
    return {"inputData": {"amount": amount}}


def start(api: Api, workflow: Workflow, amount: Any = 1, key: str = "key") -> str:
    """The id of an execution that was just started through the API."""
    started = execute(api, workflow, given(amount), key)
    assert started.status == 201, started.body
    return str(started.json()["executionId"])


def status_of(api: Api, execution_id: str) -> Any:
    return api.expect(200, "GET", f"{EXECUTIONS}/{execution_id}").json()


def postponed(api: Api, execution_id: str) -> Any:
    """The status of an execution whose second step is a delay, as soon as it waits for the clock."""
    return until(lambda: (seen := status_of(api, execution_id))["currentStepNumber"] == 1 and seen)


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["code"]


def test_the_first_request_with_a_key_starts_an_execution(api: Api) -> None:
    """201 says that it runs; it starts at the first trigger, with the input under `workflow`."""
    workflow = api.active({"action": "set_output", "output": {"paid": "{{workflow.amount}}"}})

    started = execute(api, workflow, given(5), "key")

    assert started.status == 201
    output = started.json()
    assert (output["workflowId"], output["status"]) == (workflow.id, "running")
    results = api.results(output["executionId"])
    assert (results["status"], results["finalOutput"]) == ("completed", {"paid": 5})


def test_the_same_request_again_is_answered_with_the_execution_that_it_started(api: Api) -> None:
    """200 and the original, now as it is; order and spacing of the input are not another input."""
    workflow = api.active()
    execution_id = start(api, workflow, key="payment-1")
    api.results(execution_id)
    first = execute(api, workflow, b'{"inputData": {"a": 1, "b": [1.50]}}', "payment-2").json()

    again = execute(api, workflow, given(1), "payment-1")
    rearranged = execute(api, workflow, b'{ "inputData":{"b":[1.50],"a":1} }', '"payment-2"')

    assert (again.status, rearranged.status) == (200, 200)
    assert again.json() == {
        "executionId": execution_id,
        "workflowId": workflow.id,
        "status": "completed",
        "startedAt": status_of(api, execution_id)["startedAt"],
    }
    assert rearranged.json()["executionId"] == first["executionId"]


@pytest.mark.parametrize("ways", [["deactivate"], ["deactivate", "draft"]])
def test_a_repeated_request_is_answered_whatever_became_of_the_workflow(api: Api, ways: list[str]) -> None:
    """Who lost the first answer gets it, but nothing new is started."""
    workflow = api.active()
    execution_id = start(api, workflow)

    api.move(workflow, *ways)

    assert execute(api, workflow, given(1), "key").json()["executionId"] == execution_id
    assert refusal(execute(api, workflow, given(2), "key")) == (409, "FLK-0505")
    assert refusal(execute(api, workflow, given(1), "new")) == (422, "FLK-0501")


@pytest.mark.parametrize("other", [2, "1", 1.5, None, True, [1]])
def test_the_same_key_with_another_input_is_refused(api: Api, other: Any) -> None:
    """It is a mistake of the caller's that must not pass for a repetition."""
    workflow = api.active()
    start(api, workflow)

    assert refusal(execute(api, workflow, given(other), "key")) == (409, "FLK-0505")


def test_a_key_counts_within_its_workflow(api: Api) -> None:
    """Two workflows may be started with the same order number."""
    first, second = api.active(), api.active()

    assert start(api, first, key="order-1") != start(api, second, key="order-1")


def test_a_key_of_a_delivery_is_taken_for_executions_too(api: Api) -> None:
    """A webhook and the API start the same executions; an input of one is never that of the other."""
    workflow = api.active()
    api.deliver(workflow, {"amount": 1}, Idempotency_Key="key")
    start(api, workflow, key="other")

    assert refusal(execute(api, workflow, given(1), "key")) == (409, "FLK-0505")
    assert refusal(api.deliver(workflow, {"amount": 1}, Idempotency_Key="other")) == (409, "FLK-0505")


@pytest.mark.parametrize("key", [None, "", " ", '""', "a b", "é".encode().decode("latin-1"), "k" * 256])
def test_an_execution_needs_a_key(api: Api, key: str | None) -> None:
    """Without one a repeated request could not be told from a new one."""
    workflow = api.active()

    refused = execute(api, workflow, given(1), key)

    assert refusal(refused) == (400, "FLK-0509")
    assert refused.json()["fields"].keys() == {"Idempotency-Key"}


def test_a_key_has_up_to_255_visible_characters(api: Api) -> None:
    """Any of them: keys of others are taken as they are."""
    workflow = api.active()

    for key in ("k" * 255, "!~#:;/?", "k"):
        assert execute(api, workflow, given(1), key).status == 201


def test_sixteen_equal_requests_at_once_start_one_execution(world: World) -> None:
    """One is told 201, all others 200 with the same execution."""
    workflow = world.api.active()
    body, path = given(1), f"/v1/workflows/{workflow.id}/executions"

    with world.held_writer():
        asked: list[Future[Answer]] = [world.api.begin("POST", path, body, Idempotency_Key="key") for _ in range(16)]
        until(lambda: world.waiting_writes() == 16)
    answers = [answer.result() for answer in asked]

    assert sorted(answer.status for answer in answers) == [200] * 15 + [201]
    assert len({answer.json()["executionId"] for answer in answers}) == 1


BAD_BODIES: list[tuple[Any, str, str]] = [
    ({}, "FLK-0301", "inputData"),
    ({"inputData": {}, "priority": 1}, "FLK-0300", "priority"),
    ({"inputData": []}, "FLK-0001", "inputData"),
    ({"inputData": None}, "FLK-0001", "inputData"),
    ([], "FLK-0001", "body"),
    (b'{"inputData": {"a": 1, "a": 2}}', "FLK-0001", "body"),
    (b'{"inputData": {"a": NaN}}', "FLK-0001", "body"),
    (None, "FLK-0001", "body"),
]


@pytest.mark.parametrize(("body", "code", "field"), BAD_BODIES)
def test_a_body_that_does_not_fit_starts_nothing(world: World, body: Any, code: str, field: str) -> None:
    """The refusal names the field, and its key is free for the corrected request."""
    workflow = world.api.active()
    before = world.count("executions")

    refused = execute(world.api, workflow, body, "key")

    assert refusal(refused) == (400, code)
    assert refused.json()["fields"].keys() == {field}
    assert world.count("executions") == before
    start(world.api, workflow, key="key")


@pytest.mark.parametrize("status", ["draft", "inactive"])
def test_only_an_active_workflow_is_executed(api: Api, status: str) -> None:
    """The caller is right, the workflow is off; one that is not there is not found."""
    workflow = getattr(api, status)()

    assert refusal(execute(api, workflow, given(1), "key")) == (422, "FLK-0501")
    api.expect(204, "DELETE", f"/v1/workflows/{workflow.id}")
    assert refusal(execute(api, workflow, given(1), "key")) == (404, "FLK-0100")


def test_what_was_deactivated_meanwhile_is_not_executed(world: World) -> None:
    """Between the request's reading and its writing nothing slips through."""
    workflow = world.api.active()
    path = f"/v1/workflows/{workflow.id}/executions"
    with world.held_writer():
        deactivated = world.api.begin("POST", f"/v1/workflows/{workflow.id}/deactivate")
        until(lambda: world.waiting_writes() == 1)
        executed = world.api.begin("POST", path, given(1), Idempotency_Key="key")
        until(lambda: world.waiting_writes() == 2)

    assert deactivated.result().status == 200
    assert refusal(executed.result()) == (422, "FLK-0501")


def test_an_execution_keeps_the_revision_that_it_was_accepted_with(world: World) -> None:
    """Its workflow may be changed and run meanwhile, or be deleted: it goes on as it began."""
    api = world.api
    definition = api.definition(
        DECIDE, {"action": "delay", "seconds": 200}, {"action": "set_output", "output": "old"}
    )
    workflow = api.move(api.create(definition), "activate")
    old = start(api, workflow, key="old")
    postponed(api, old)
    api.move(workflow, "deactivate", "draft")
    api.expect(200, "PUT", f"/v1/workflows/{workflow.id}", {**api.definition(), "name": workflow.name})
    api.move(workflow, "activate")
    new = api.results(start(api, workflow, key="new"))
    api.move(workflow, "deactivate")
    api.expect(204, "DELETE", f"/v1/workflows/{workflow.id}")

    world.clock.turn(200)

    assert new["finalOutput"] == DECIDE["output"]
    results = api.results(old)
    assert (results["status"], results["finalOutput"]) == ("completed", "old")
    assert [step["nodeId"] for step in results["stepResults"]] == ["step1", "step2", "step3"]
    assert results["workflowId"] == workflow.id


def test_results_are_there_when_the_execution_has_ended(world: World) -> None:
    """Until then its status says how far it is, and the results are refused."""
    api = world.api
    execution_id = start(api, api.active(DECIDE, {"action": "delay", "seconds": 60}, DECIDE))
    path = f"{EXECUTIONS}/{execution_id}/results"
    waiting = postponed(api, execution_id)

    assert (waiting["status"], waiting["totalSteps"], waiting["completedAt"]) == ("running", 3, None)
    assert refusal(api.ask("GET", path)) == (422, "FLK-0502")
    world.clock.turn(60)
    assert [step["stepNumber"] for step in api.results(execution_id)["stepResults"]] == [1, 2, 3]
    ended = status_of(api, execution_id)
    assert (ended["status"], ended["currentStepNumber"], ended["errorMessage"]) == ("completed", 3, None)


def test_a_failed_execution_says_why(api: Api) -> None:
    """Its results are there too: the step that failed, and what was not begun after it."""
    execution_id = start(api, api.active(DECIDE, FAIL, DECIDE), amount=7)

    results = api.results(execution_id)

    assert results["status"] == "failed"
    assert results["errorMessage"].startswith("FLK-0504: ")
    assert [(step["nodeId"], step["status"]) for step in results["stepResults"]] == [
        ("step1", "completed"),
        ("step2", "failed"),
        ("step3", "skipped"),
    ]
    assert results["stepResults"][1]["errorMessage"] == "The amount is 7."
    assert status_of(api, execution_id)["errorMessage"] == results["errorMessage"]


def test_an_execution_that_takes_too_long_fails(world: World) -> None:
    """`timeoutSeconds` of the workflow's metadata counts from the acceptance, waits included."""
    api = world.api
    definition = {**api.definition(WAIT_AN_HOUR), "metadata": {"timeoutSeconds": 30}}
    execution_id = start(api, api.move(api.create(definition), "activate"))

    world.clock.turn(31)

    results = api.results(execution_id)
    assert results["status"] == "failed"
    assert results["errorMessage"].startswith("FLK-0503: ")


def test_timestamps_are_the_same_text_in_every_answer(api: Api) -> None:
    """A caller may compare them as text."""
    workflow = api.active()
    started = execute(api, workflow, given(1), "key").json()
    results = api.results(started["executionId"])

    status = status_of(api, started["executionId"])
    again = execute(api, workflow, given(1), "key").json()
    [listed] = page(api, workflowId=workflow.id)["items"]

    assert {answer["startedAt"] for answer in (started, results, status, again, listed)} == {started["startedAt"]}
    assert results["completedAt"] == status["completedAt"] == listed["completedAt"] >= started["startedAt"]
    assert listed == status


NUMBERS = '{"amount":100.10,"reference":12345678901234567890,"debit":-0.50,"zero":0.00}'


def test_numbers_keep_every_digit_from_the_input_to_the_results(api: Api) -> None:
    """Money that comes in as 100.10 goes out as 100.10: from the author, by API and by webhook."""
    definition = api.definition(
        {"action": "set_output", "output": {"came": "{{workflow.order}}", "fixed": "NUMBERS"}}
    )
    body = json.dumps(definition).replace('"NUMBERS"', NUMBERS).encode()
    created = api.expect(201, "POST", "/v1/workflows", body).json()
    path = definition["nodes"][0]["data"]["path"]
    workflow = api.move(Workflow(created["workflowId"], definition["name"], path), "activate")

    by_api = execute(api, workflow, f'{{"inputData":{{"order":{NUMBERS}}}}}'.encode(), "key").json()
    by_webhook = api.deliver(workflow, f'{{"order":{NUMBERS}}}'.encode()).json()

    for started in (by_api, by_webhook):
        api.results(started["executionId"])
        results = api.expect(200, "GET", f"{EXECUTIONS}/{started['executionId']}/results").body.decode()
        assert f'"finalOutput":{{"came":{NUMBERS},"fixed":{NUMBERS}}}' in results


@pytest.mark.parametrize("path", [f"{EXECUTIONS}/{NOBODY}", f"{EXECUTIONS}/{NOBODY}/results"])
def test_an_execution_that_nobody_started_is_not_found(api: Api, path: str) -> None:
    """Ids are UUIDs, in either case; any other text is none."""
    execution_id = api.completed_execution()

    assert refusal(api.ask("GET", path)) == (404, "FLK-0500")
    assert refusal(api.ask("GET", path.replace(NOBODY, "42"))) == (400, "FLK-0002")
    assert api.ask("GET", path.replace(NOBODY, execution_id.upper())).json()["executionId"] == execution_id


@pytest.fixture(scope="module")
def listed(make_world: Callable[[], World]) -> Iterator[Api]:
    """Ten executions: three that completed, three that failed and three that run, and the first, which ended last."""
    world = make_world()
    world.start()
    api = world.api
    workflow = api.active()
    first = start(api, api.active(DECIDE, {"action": "delay", "seconds": 60}))
    postponed(api, first)
    for number in range(3):
        with standing_still(world.clock):
            api.results(start(api, workflow, key=f"key-{number}"))
            api.results(api.execution(FAIL))
            api.running_execution()
    world.clock.turn(60)
    api.results(first)
    yield api
    world.stop()


listing = partial(list_path, EXECUTIONS)
page = partial(read_page, EXECUTIONS)
pages = partial(read_pages, EXECUTIONS)


def place(sort_by: str) -> Callable[[Item], tuple[bool, str, str]]:
    """Where an execution stands in an ascending list; what has not ended counts as ending last."""
    return lambda item: (item[sort_by] is None, item[sort_by] or item["startedAt"], item["executionId"])


@pytest.mark.parametrize("status", [None, "completed", "failed", "running", "pending"])
@pytest.mark.parametrize("order", ["ASC", "DESC"])
@pytest.mark.parametrize("sort_by", ["startedAt", "completedAt"])
def test_the_pages_are_the_list_in_its_order(listed: Api, sort_by: str, order: str, status: str | None) -> None:
    """Cursors lead through ties, and from what has ended to what has not, without repeating or losing a row."""
    everything = page(listed, limit=100)["items"]
    wanted = [item for item in everything if status in {None, item["status"]}]
    wanted.sort(key=place(sort_by), reverse=order == "DESC")

    for limit in (1, 2, 3, 7, 10):
        found = list(pages(listed, sortBy=sort_by, sortOrder=order, status=status, limit=limit))
        assert [len(items) for items in found[:-1]] == [limit] * (len(found) - 1)
        assert [item for items in found for item in items] == wanted


def test_the_list_is_made_for_ties_and_for_what_has_no_end(listed: Api) -> None:
    """What the test above is about: all executions are there, and many have the same times as others."""
    items = page(listed, limit=100)["items"]

    assert len(items) == 10
    assert len({item["startedAt"] for item in items}) == 4
    assert sum(item["completedAt"] is None for item in items) == 3
    assert items[-1] == page(listed, sortBy="completedAt", status="completed", limit=1)["items"][0]
    assert items[0] == status_of(listed, items[0]["executionId"])


@pytest.mark.parametrize("sort_by", ["startedAt", "completedAt"])
@pytest.mark.parametrize("status", [None, "completed", "failed"])
def test_a_list_may_be_of_one_workflow(listed: Api, sort_by: str, status: str | None) -> None:
    """Alone and together with a status; its id may be written in capitals, also in the middle of the list."""
    workflow_id = page(listed, status="completed", limit=1)["items"][0]["workflowId"]
    wanted = [] if status == "failed" else [workflow_id] * 3

    found = list(pages(listed, workflowId=workflow_id, sortBy=sort_by, status=status, limit=2))

    assert [item["workflowId"] for items in found for item in items] == wanted
    cursor = page(listed, workflowId=workflow_id, limit=2)["nextCursor"]
    assert len(page(listed, workflowId=workflow_id.upper(), limit=2, cursor=cursor)["items"]) == 1
    assert page(listed, workflowId=NOBODY) == {"items": [], "nextCursor": "", "hasMore": False}


def test_an_event_that_a_workflow_emits_is_in_the_audit_trail(new_world: World) -> None:
    """Between the start and the end of its execution; the step tells it too."""
    api = new_world.api
    payload = {
        "id": "{{workflow.id}}",
        "amount": "{{workflow.amount}}",
        "note": "of {{execution.id}}",
        "token": "t0k",
    }
    workflow = api.active({"action": "emit_event", "eventType": "payment.approved", "payload": payload})

    execution_id = api.deliver(workflow, b'{"id": "p-1", "amount": 100.10}').json()["executionId"]
    [step] = api.results(execution_id)["stepResults"]

    [event] = new_world.audited("EVENT_EMITTED")
    [started] = new_world.audited("EXECUTION_STARTED")
    [completed] = new_world.audited("EXECUTION_COMPLETED")
    told = {"id": "p-1", "amount": Decimal("100.10"), "note": f"of {execution_id}", "token": "t0k"}
    assert step["output"] == {"action": "emit_event", "eventType": "payment.approved", "payload": told}
    assert (event["resource_type"], event["resource_id"], event["actor_type"]) == (
        "execution",
        execution_id,
        "system",
    )
    assert event["context"] == {
        "nodeId": "step1",
        "eventType": "payment.approved",
        "payload": {**told, "amount": "100.10", "token": "********"},
    }
    assert started["sequence"] < event["sequence"] == completed["sequence"] - 1


def test_rows_that_come_and_end_move_no_others(new_world: World) -> None:
    """Who pages through a list while executions are started and end sees every one that was there, once."""
    api = new_world.api
    workflow = api.active(DECIDE, {"action": "delay", "seconds": 60})
    there = {start(api, workflow, key=f"key-{number}") for number in range(6)}
    for execution_id in there:
        postponed(api, execution_id)
    seen: list[str] = []

    for items in pages(api, limit=2):
        seen += [item["executionId"] for item in items]
        if len(seen) == 2:
            start(api, workflow, key="late")
            new_world.clock.turn(60)
            for execution_id in there:
                api.results(execution_id)

    assert sorted(seen) == sorted(there)


def test_without_parameters_a_page_has_the_ten_newest(listed: Api) -> None:
    """The defaults of `limit`, `sortBy` and `sortOrder`."""
    assert page(listed) == page(listed, limit=10, sortBy="startedAt", sortOrder="DESC", cursor="")


OTHER_LISTS = [
    listing(status="running"),
    listing(sortBy="completedAt"),
    listing(sortOrder="ASC"),
    listing(workflowId=NOBODY),
    "/v1/workflows?",
]


@pytest.mark.parametrize("other", OTHER_LISTS)
def test_a_cursor_is_good_for_its_own_list_only(listed: Api, other: str) -> None:
    """With another filter or order its place means nothing; another limit is fine."""
    cursor = page(listed, limit=2)["nextCursor"]

    assert refused_field(listed, f"{other}&cursor={cursor}") == ("FLK-0304", "cursor")
    assert len(page(listed, limit=5, cursor=cursor)["items"]) == 5


WRONG_QUERIES = [
    *[(f"limit={limit}", "FLK-0309", "limit") for limit in ("0", "101", "-1", "1.5", "ten", "")],
    *[(f"sortOrder={order}", "FLK-0310", "sortOrder") for order in ("asc", "")],
    *[(f"sortBy={field}", "FLK-0304", "sortBy") for field in ("createdAt", "started_at", "")],
    *[(f"status={status}", "FLK-0304", "status") for status in ("active", "RUNNING", "")],
    *[(f"workflowId={id_}", "FLK-0304", "workflowId") for id_ in ("42", "", f"{NOBODY}0", f"{{{NOBODY}}}")],
    (f"workflowId={NOBODY}&workflowId={NOBODY}", "FLK-0304", "workflowId"),
    ("cursor=A", "FLK-0304", "cursor"),
]


@pytest.mark.parametrize(("query", "code", "field"), WRONG_QUERIES)
def test_a_wrong_query_is_refused_by_its_name(listed: Api, query: str, code: str, field: str) -> None:
    """It is not read as something near it, nor left out."""
    assert refused_field(listed, f"{EXECUTIONS}?{query}") == (code, field)
