"""The webhook operation, rule by rule: which webhook is meant, what a delivery may hold, what an answer promises."""

import time
from decimal import Decimal
from typing import Any

import pytest

from flowker.domain.webhooks import sign
from tests.conformance.conftest import DECIDE, PATIENCE_S, WAIT_AN_HOUR, Api, Workflow, World, read_page, until

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
BODY_BYTES_MAX = 1_048_576
DUPLICATES = 64
SECRET = "a signing secret"

SHOW_DELIVERY = {"action": "set_output", "output": "{{workflow._webhook}}"}
FAIL = {"action": "fail", "message": "No funds."}
WAIT_A_MINUTE = {"action": "delay", "seconds": 60}

PADDED = len(b'{"padding": ""}')


def padded(size_bytes: int) -> bytes:
    """A body of exactly this size."""
    return b'{"padding": "%s"}' % (b"x" * (size_bytes - PADDED))


def executions_of(api: Api, workflow: Workflow) -> list[Any]:
    page = api.expect(200, "GET", f"/v1/executions?workflowId={workflow.id}&limit=100").json()
    assert not page["hasMore"]
    return list(page["items"])


class TestPath:
    @pytest.mark.parametrize(
        "spelling", ["{0}/{1}", "{0}%2F{1}", "{0}%2f{1}", "/{0}/{1}/", "{0}/{1}/", "%2F{0}/{1}%2F", "%68ooks/{1}"]
    )
    def test_every_spelling_of_a_path_is_the_same_webhook(self, api: Api, spelling: str) -> None:
        """Characters may be encoded, slashes among them, and slashes at the ends do not matter."""
        workflow = api.active()
        segments = workflow.webhook.split("/")

        answer = api.ask("POST", "/v1/webhooks/" + spelling.format(*segments))

        assert (answer.status, answer.json()["workflowId"]) == (201, workflow.id)

    @pytest.mark.parametrize("registered", ["/shops/one", "shops/two/", "/shops/three/"])
    def test_slashes_at_the_ends_of_a_registered_path_do_not_matter_either(self, api: Api, registered: str) -> None:
        """Authors write them as they please."""
        workflow = api.active(path=registered)

        answer = api.ask("POST", f"/v1/webhooks/{registered.strip('/')}")

        assert (answer.status, answer.json()["workflowId"]) == (201, workflow.id)

    def test_case_matters(self, api: Api) -> None:
        """Paths are compared as they are."""
        api.active(path="Refunds/Paid")

        assert api.ask("POST", "/v1/webhooks/Refunds/Paid").status == 201
        assert api.ask("POST", "/v1/webhooks/refunds/paid").json()["code"] == "FLK-0361"

    def test_text_beyond_ascii_is_a_path_like_any_other(self, api: Api) -> None:
        """It goes over the wire as percent-encoded UTF-8."""
        workflow = api.active(path="zahlungen/größe")

        answer = api.ask("POST", "/v1/webhooks/zahlungen/gr%C3%B6%C3%9Fe")

        assert answer.json()["workflowId"] == workflow.id

    @pytest.mark.parametrize(
        "path", ["%00", "a%00b", "%ff", "a%c3", "%2e%2e", "a%2F%2e%2e%2Fb", "%2E%2E/a", "%ed%a0%80"]
    )
    def test_what_cannot_be_a_path_is_not_found(self, api: Api, path: str) -> None:
        """NUL, what is not UTF-8, and ways upwards are 404, never 500."""
        assert api.ask("POST", f"/v1/webhooks/{path}", {}).status == 404

    @pytest.mark.parametrize("path", ["", "/", "%2F"])
    def test_no_path_is_no_webhook(self, api: Api, path: str) -> None:
        """There is nothing to register it by."""
        assert api.ask("POST", f"/v1/webhooks/{path}", {}).status == 404


class TestMethod:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_webhook_has_the_method_that_its_trigger_names(self, api: Api, method: str) -> None:
        """Other methods at its path are other webhooks, which nobody has registered."""
        workflow = api.active(method=method)

        answers = {other: api.deliver(workflow, {}, method=other).status for other in METHODS}

        assert answers == {other: 201 if other == method else 404 for other in METHODS}

    def test_a_path_may_belong_to_two_workflows_by_method(self, api: Api) -> None:
        """What is registered is a method with a path."""
        first = api.active(path="ledger/entries", method="POST")
        second = api.active(path="ledger/entries", method="PUT")

        assert api.deliver(first, {}).json()["workflowId"] == first.id
        assert api.deliver(second, {}, method="PUT").json()["workflowId"] == second.id

    def test_one_method_and_path_belong_to_one_active_workflow(self, api: Api) -> None:
        """The second cannot be activated; when the first is switched off, it can."""
        first = api.active()
        second = api.draft(path=first.webhook)

        refused = api.ask("POST", f"/v1/workflows/{second.id}/activate")
        api.move(first, "deactivate")
        api.move(second, "activate")

        assert (refused.status, refused.json()["code"]) == (409, "FLK-0360")
        assert api.deliver(second).json()["workflowId"] == second.id

    def test_both_published_names_of_the_trigger_register_a_webhook(self, api: Api) -> None:
        """Published examples say `triggerId` and `triggerType`."""
        definition = api.definition()
        del definition["nodes"][0]["data"]["triggerId"]
        definition["nodes"][0]["data"]["triggerType"] = "webhook"
        workflow = api.move(api.create(definition), "activate")

        assert api.deliver(workflow).status == 201


class TestBody:
    @pytest.mark.parametrize("body", [None, b""])
    def test_a_body_is_optional(self, api: Api, body: bytes | None) -> None:
        """The input is then what is known of the delivery, and no more."""
        started = api.deliver(api.active(WAIT_A_MINUTE, DECIDE), body)

        assert started.status == 201

    @pytest.mark.parametrize("method", METHODS)
    def test_a_body_is_read_with_every_method(self, api: Api, method: str) -> None:
        """Also with GET and DELETE, for senders that cannot do otherwise."""
        echo = {"action": "set_output", "output": "{{workflow.id}}"}
        started = api.deliver(api.active(echo, method=method), {"id": "p-1"}, method=method).json()

        assert api.results(started["executionId"])["finalOutput"] == "p-1"

    def test_a_body_may_have_exactly_1_mb(self, api: Api) -> None:
        """1 048 576 bytes are taken, one more is not, and the connection is closed."""
        workflow = api.active()

        taken = api.deliver(workflow, padded(BODY_BYTES_MAX))
        refused = api.deliver(workflow, padded(BODY_BYTES_MAX + 1))

        assert taken.status == 201
        assert (refused.status, refused.json()["code"]) == (413, "FLK-0363")
        assert refused.headers["connection"] == "close"
        assert len(executions_of(api, workflow)) == 1

    @pytest.mark.parametrize(
        "body", [b"[]", b'"text"', b"1", b"null", b"true", b"{", b"{}{}", b"\xef\xbb\xbf{}", b" "]
    )
    def test_what_is_no_json_object_is_refused(self, api: Api, body: bytes) -> None:
        """The input of an execution is an object."""
        workflow = api.active()

        refused = api.deliver(workflow, body)

        assert (refused.status, refused.json()["code"]) == (400, "FLK-0001")
        assert executions_of(api, workflow) == []

    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/x-www-form-urlencoded", "application/xml", "application/jsonx", None],
    )
    def test_another_content_type_is_refused(self, api: Api, content_type: str | None) -> None:
        """A body that does not say that it is JSON is not read as if it did."""
        refused = api.deliver(api.active(), {}, Content_Type=content_type)

        assert (refused.status, refused.json()["code"]) == (400, "FLK-0001")

    @pytest.mark.parametrize(
        "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"]
    )
    def test_every_spelling_of_the_content_type_is_json(self, api: Api, content_type: str) -> None:
        """Parameters and capitals mean nothing to JSON."""
        assert api.deliver(api.active(), {}, Content_Type=content_type).status == 201

    def test_numbers_keep_their_exact_value_from_the_delivery_to_the_results(self, api: Api) -> None:
        """Money, account numbers beyond 64 bits, and exponents that no binary float has."""
        body = b'{"amount": 100.10, "account": 12345678901234567890, "vast": 1E400, "tiny": -1.5e-400, "whole": 5.0}'

        started = api.deliver(api.active({"action": "log"}), body).json()
        results = api.results(started["executionId"])

        received = results["finalOutput"]["workflow"]
        del received["_webhook"]
        assert received == {
            "amount": Decimal("100.10"),
            "account": 12345678901234567890,
            "vast": Decimal("1E400"),
            "tiny": Decimal("-1.5E-400"),
            "whole": Decimal("5.0"),
        }
        text = api.ask("GET", f"/v1/executions/{started['executionId']}/results").body
        assert b'"amount":100.10,' in text
        assert b'"account":12345678901234567890,' in text
        assert b'"whole":5.0' in text


class TestDelivery:
    def test_the_input_tells_how_it_was_delivered(self, api: Api) -> None:
        """Method, path, headers, query and address are part of the input."""
        workflow = api.active(SHOW_DELIVERY)

        started = api.ask(
            "POST", f"/v1/webhooks/{workflow.webhook}/?a=1&b=2&a=3&c=", {}, X_Source="shop", Accept="x/y"
        )
        delivery = api.results(started.json()["executionId"])["finalOutput"]

        assert (delivery["method"], delivery["path"]) == ("POST", workflow.webhook)
        assert delivery["query"] == {"a": ["1", "3"], "b": "2", "c": ""}
        assert delivery["headers"].items() >= {"x-source": "shop", "accept": "x/y"}.items()
        assert delivery["remote_ip"] == "127.0.0.1"
        assert delivery.keys() == {"method", "path", "headers", "query", "remote_ip"}

    def test_credentials_and_signatures_are_left_out(self, api: Api) -> None:
        """Whoever reads the results of an execution has no use for them."""
        secret = "s3cr3t"
        names = ["Authorization", "Cookie", "Proxy-Authorization", "X-Hub-Signature-256", "X-Webhook-Signature"]
        workflow = api.active(SHOW_DELIVERY, verify_token=secret)

        headers = {name.replace("-", "_"): secret for name in names}
        started = api.deliver(workflow, {}, X_Webhook_Token=secret, **headers).json()
        results = api.ask("GET", f"/v1/executions/{api.results(started['executionId'])['executionId']}/results")

        delivered = results.json()["finalOutput"]["headers"].keys()
        assert delivered.isdisjoint({name.lower() for name in [*names, "X-API-Key", "X-Webhook-Token"]})
        assert secret.encode() not in results.body

    def test_what_the_caller_says_of_the_delivery_is_replaced(self, api: Api) -> None:
        """Nobody can pass himself off as another sender."""
        forged = {"_webhook": {"remote_ip": "10.0.0.1", "trusted": True}}

        started = api.deliver(api.active(SHOW_DELIVERY), forged).json()
        delivery = api.results(started["executionId"])["finalOutput"]

        assert delivery["remote_ip"] == "127.0.0.1"
        assert "trusted" not in delivery

    def test_a_final_output_that_nobody_set_has_no_headers(self, api: Api) -> None:
        """The input is part of it, without what may be private to the sender."""
        started = api.deliver(api.active({"action": "log"}), {"id": 1}).json()
        output = api.results(started["executionId"])["finalOutput"]

        assert output["workflow"]["id"] == 1
        assert "headers" not in output["workflow"].get("_webhook", {})


class TestToken:
    def test_a_webhook_with_a_token_wants_it(self, api: Api) -> None:
        """Missing, wrong, or too long by one character is 401."""
        workflow = api.active(verify_token="token-1")

        given = [None, "", "token-2", "token-11", "Token-1"]
        refused = [api.deliver(workflow, {}, X_Webhook_Token=token) for token in given]

        assert [(answer.status, answer.json()["code"]) for answer in refused] == [(401, "FLK-0362")] * len(given)
        assert api.deliver(workflow, {}, X_Webhook_Token="token-1").status == 201
        assert len(executions_of(api, workflow)) == 1

    def test_a_webhook_without_a_token_takes_any(self, api: Api) -> None:
        """Some senders always send one."""
        assert api.deliver(api.active(), {}, X_Webhook_Token="whatever").status == 201

    def test_a_new_token_counts_from_the_activation_on(self, api: Api) -> None:
        """What was remembered of the former revision is not used any more."""
        workflow = api.active(verify_token="old")
        api.deliver(workflow, {}, X_Webhook_Token="old")
        api.move(workflow, "deactivate", "draft")
        definition = api.definition(path=workflow.webhook, verify_token="new")
        api.expect(200, "PUT", f"/v1/workflows/{workflow.id}", definition)
        api.move(workflow, "activate")

        assert api.deliver(workflow, {}, X_Webhook_Token="old").status == 401
        assert api.deliver(workflow, {}, X_Webhook_Token="new").status == 201


class TestSignature:
    def test_a_webhook_with_a_secret_wants_the_bodys_signature(self, api: Api) -> None:
        """Missing, of another body, or made with another secret is 401; the right one lets the delivery in."""
        workflow = api.active(signing_secret=SECRET)
        body = b'{"id": "p-1",  "amount": 100.10}'

        given = [None, "", sign(SECRET, body + b" "), sign(f"{SECRET}!", body), sign(SECRET, body)[7:]]
        refused = [api.deliver(workflow, body, X_Webhook_Signature=signature) for signature in given]

        assert [(answer.status, answer.json()["code"]) for answer in refused] == [(401, "FLK-0362")] * len(given)
        assert {answer.json()["message"] for answer in refused} == {"The webhook signature is missing or wrong."}
        assert api.deliver(workflow, body, X_Webhook_Signature=sign(SECRET, body)).status == 201
        assert len(executions_of(api, workflow)) == 1

    def test_a_delivery_without_a_body_signs_no_bytes(self, api: Api) -> None:
        """It is a delivery like any other."""
        workflow = api.active(signing_secret=SECRET)

        assert api.deliver(workflow, X_Webhook_Signature=sign(SECRET, b"")).status == 201
        assert api.deliver(workflow).status == 401

    def test_a_body_of_any_allowed_size_can_be_signed(self, api: Api) -> None:
        """One byte more is told to be too large before its signature is looked at."""
        workflow = api.active(signing_secret=SECRET)
        largest = padded(BODY_BYTES_MAX)

        assert api.deliver(workflow, largest, X_Webhook_Signature=sign(SECRET, largest)).status == 201
        assert api.deliver(workflow, padded(BODY_BYTES_MAX + 1)).json()["code"] == "FLK-0363"

    def test_a_token_may_be_asked_for_as_well(self, api: Api) -> None:
        """Then both have to be right."""
        workflow = api.active(signing_secret=SECRET, verify_token="token")
        signature = sign(SECRET, b"{}")

        assert api.deliver(workflow, b"{}", X_Webhook_Signature=signature).status == 401
        assert api.deliver(workflow, b"{}", X_Webhook_Token="token").status == 401
        assert api.deliver(workflow, b"{}", X_Webhook_Signature=signature, X_Webhook_Token="token").status == 201

    def test_the_secret_is_shown_to_nobody(self, world: World, api: Api) -> None:
        """Readers see a mask, and sending that back keeps the secret."""
        workflow = api.draft(signing_secret=SECRET)
        shown = api.expect(200, "GET", f"/v1/workflows/{workflow.id}")
        definition = {name: shown.json()[name] for name in ("name", "nodes", "edges")}

        api.expect(200, "PUT", f"/v1/workflows/{workflow.id}", definition)
        api.move(workflow, "activate")

        assert shown.json()["nodes"][0]["data"]["signing_secret"] == "********"
        assert SECRET.encode() not in shown.body
        assert api.deliver(workflow, b"{}", X_Webhook_Signature=sign(SECRET, b"{}")).status == 201
        assert SECRET not in str(world.audited("WORKFLOW_UPDATED"))


class TestRefused:
    def test_a_thousand_wrong_tokens_are_two_events_and_all_of_them_count(self, new_world: World) -> None:
        """The first at once, the others together; every caller is answered."""
        api = new_world.api
        workflow = api.active(verify_token="token")

        answers = [api.deliver(workflow, X_Webhook_Token=f"guess-{number}").status for number in range(1_000)]
        until(lambda: new_world.audited("WEBHOOK_REFUSED"))
        new_world.clock.turn(10)
        until(lambda: len(new_world.audited("WEBHOOK_REFUSED")) == 2)

        events = new_world.audited("WEBHOOK_REFUSED")
        assert set(answers) == {401}
        assert sum(event["context"]["count"] for event in events) == 1_000
        for event in events:
            assert (event["resource_type"], event["resource_id"]) == ("workflow", workflow.id)
            assert (event["action"], event["result"]) == ("EXECUTE", "FAILED")
            assert (event["actor_type"], event["actor_ip"]) == ("api_key", "127.0.0.1")
            assert event["context"].items() >= {"method": "POST", "path": workflow.webhook, "addresses": 1}.items()
        assert "guess" not in str(events)

    def test_a_wrong_signature_is_told_by_its_reason(self, new_world: World) -> None:
        """A sender that signs wrongly is another problem than one that does not know the token."""
        api = new_world.api

        api.deliver(api.active(signing_secret=SECRET), {}, X_Webhook_Signature="sha256=00")

        [event] = until(lambda: new_world.audited("WEBHOOK_REFUSED"))
        assert event["context"]["reasons"] == {"signature": 1}

    def test_other_refusals_are_not_among_them(self, new_world: World) -> None:
        """Nobody, a body that does not fit, a workflow that is off: no delivery of a stranger."""
        api = new_world.api
        workflow = api.active(verify_token="token")
        api.ask("POST", "/v1/webhooks/nobody", {})
        api.deliver(workflow, b"{", X_Webhook_Token="token")
        api.deliver(workflow, X_API_Key="wrong")
        api.move(workflow, "deactivate")
        api.deliver(workflow, X_Webhook_Token="token")

        api.deliver(workflow, X_Webhook_Token="wrong")

        [event] = until(lambda: new_world.audited("WEBHOOK_REFUSED"))
        assert event["context"]["count"] == 1


class TestIdempotency:
    def test_a_key_seen_before_is_refused_with_409(self, api: Api) -> None:
        """The answer tells which execution the first delivery started, also if the second says something else."""
        workflow = api.active()
        first = api.deliver(workflow, {"id": 1}, Idempotency_Key="delivery-1")

        second = api.deliver(workflow, {"id": 2}, Idempotency_Key="delivery-1")

        assert (second.status, second.json()["code"]) == (409, "FLK-0505")
        for header in ("x-webhook-workflow-id", "x-webhook-execution-id"):
            assert second.headers[header] == first.headers[header]
        assert len(executions_of(api, workflow)) == 1

    def test_identical_deliveries_at_once_start_one_execution(self, api: Api) -> None:
        """One of 64 is accepted, and the others hear which execution it started."""
        workflow = api.active()

        path = f"/v1/webhooks/{workflow.webhook}"
        sent = [api.begin("POST", path, {"id": 1}, Idempotency_Key="at-once") for _ in range(DUPLICATES)]
        answers = [answer.result(PATIENCE_S) for answer in sent]

        assert sorted(answer.status for answer in answers) == [201] + [409] * (DUPLICATES - 1)
        [execution] = executions_of(api, workflow)
        assert {answer.headers["x-webhook-execution-id"] for answer in answers} == {execution["executionId"]}

    def test_a_key_may_be_quoted_or_bare(self, api: Api) -> None:
        """It is the same key."""
        workflow = api.active()

        assert api.deliver(workflow, Idempotency_Key='"delivery-2"').status == 201
        assert api.deliver(workflow, Idempotency_Key="delivery-2").status == 409

    @pytest.mark.parametrize("key", ["", "  ", '""', '" "'])
    def test_a_blank_key_counts_as_none(self, api: Api, key: str) -> None:
        """Two deliveries without a key are two deliveries."""
        workflow = api.active()

        assert [api.deliver(workflow, Idempotency_Key=key).status for _ in range(2)] == [201, 201]

    def test_a_key_has_up_to_255_characters(self, api: Api) -> None:
        """Longer ones are refused, not cut off: two long keys could become one."""
        workflow = api.active()

        assert api.deliver(workflow, Idempotency_Key="k" * 255).status == 201
        assert api.deliver(workflow, Idempotency_Key="k" * 256).json()["code"] == "FLK-0001"

    @pytest.mark.parametrize("key", ["two words", "tab\there", "naïve"])
    def test_a_key_has_visible_ascii_characters_only(self, api: Api, key: str) -> None:
        """What proxies may change on the way is no key."""
        refused = api.deliver(api.active(), Idempotency_Key=key)

        assert (refused.status, refused.json()["code"]) == (400, "FLK-0001")
        assert refused.json()["fields"].keys() == {"Idempotency-Key"}

    def test_a_key_belongs_to_one_workflow(self, api: Api) -> None:
        """Two senders do not know of each other's keys."""
        assert api.deliver(api.active(), Idempotency_Key="shared").status == 201
        assert api.deliver(api.active(), Idempotency_Key="shared").status == 201

    def test_a_key_outlives_the_revision_that_took_it(self, api: Api) -> None:
        """A delivery that is repeated after a change of the workflow is still the same delivery."""
        workflow = api.active()
        api.deliver(workflow, Idempotency_Key="before")
        api.move(workflow, "deactivate", "draft")
        api.expect(200, "PUT", f"/v1/workflows/{workflow.id}", api.definition(path=workflow.webhook))
        api.move(workflow, "activate")

        assert api.deliver(workflow, Idempotency_Key="before").status == 409

    def test_a_refused_delivery_does_not_use_its_key_up(self, api: Api) -> None:
        """The sender repairs the body and delivers again."""
        workflow = api.active()
        api.deliver(workflow, b"{", Idempotency_Key="repaired")

        assert api.deliver(workflow, {}, Idempotency_Key="repaired").status == 201


class TestAccepted:
    def test_the_answer_says_where_to_look(self, api: Api) -> None:
        """Ids in the body and in headers, and the address of the execution, which is there already."""
        workflow = api.active(WAIT_AN_HOUR)

        accepted = api.deliver(workflow, {})

        body = accepted.json()
        assert accepted.status == 201
        assert body.keys() == {"executionId", "workflowId", "status", "startedAt"}
        assert (body["workflowId"], body["status"]) == (workflow.id, "running")
        assert accepted.headers["x-webhook-workflow-id"] == workflow.id
        assert accepted.headers["x-webhook-execution-id"] == body["executionId"]
        assert accepted.headers["location"] == f"/v1/executions/{body['executionId']}"
        found = api.expect(200, "GET", accepted.headers["location"]).json()
        assert (found["startedAt"], found["status"]) == (body["startedAt"], "running")

    def test_nothing_is_answered_before_it_is_committed(self, world: World) -> None:
        """While nothing can be written, a delivery is neither accepted nor visible."""
        workflow = world.api.active()
        with world.held_writer():
            sent = world.api.begin("POST", f"/v1/webhooks/{workflow.webhook}", {})
            until(world.waiting_writes)

            assert executions_of(world.api, workflow) == []
            assert not sent.done()

        assert sent.result(PATIENCE_S).status == 201
        assert len(executions_of(world.api, workflow)) == 1

    def test_execution_key_and_audit_event_are_recorded_together(self, world: World) -> None:
        """One delivery, one of each; a repeated one adds nothing."""
        workflow = world.api.active(WAIT_AN_HOUR)
        before = world.count("executions")

        first = world.api.deliver(workflow, Idempotency_Key="together")
        world.api.deliver(workflow, Idempotency_Key="together")

        execution_id = first.headers["X-Webhook-Execution-ID"]
        told = read_page("/v1/audit-events", world.api, resourceId=execution_id)["items"]
        assert world.count("executions") == before + 1
        assert [event["eventType"] for event in told] == ["EXECUTION_STARTED"]

    def test_without_the_store_a_delivery_is_refused_and_nothing_recorded(self, world: World) -> None:
        """The sender is told when to come again, and may: its key is still free."""
        workflow = world.api.active()
        world.api.deliver(workflow)
        before = world.count("executions")

        world.lose_database()
        refused = world.api.deliver(workflow, Idempotency_Key="again")
        world.heal()

        assert (refused.status, refused.json()["code"]) == (500, "FLK-9999")
        assert int(refused.headers["retry-after"]) > 0
        assert world.count("executions") == before
        assert world.api.deliver(workflow, Idempotency_Key="again").status == 201


class TestSynchronous:
    @pytest.mark.parametrize(("step", "status"), [(DECIDE, "completed"), (FAIL, "failed")])
    def test_a_synchronous_trigger_answers_with_the_end(self, api: Api, step: dict[str, Any], status: str) -> None:
        """200 means that the execution has ended, well or not."""
        answer = api.deliver(api.active(step, responseMode="sync"), {})

        execution_id = answer.json()["executionId"]
        assert (answer.status, answer.json()["status"]) == (200, status)
        assert answer.headers["location"] == f"/v1/executions/{execution_id}"
        assert answer.headers["x-webhook-execution-id"] == execution_id
        assert api.expect(200, "GET", f"/v1/executions/{execution_id}/results").json()["status"] == status

    def test_a_request_may_prefer_to_wait(self, api: Api) -> None:
        """RFC 7240: `Prefer: wait=5`, also among other preferences."""
        workflow = api.active()

        assert api.deliver(workflow, Prefer="wait=5").status == 200
        assert api.deliver(workflow, Prefer='respond-async, handling="lenient", wait=5').status == 200
        assert api.deliver(workflow, Prefer="handling=lenient").status == 201

    def test_a_request_may_prefer_not_to_wait(self, api: Api) -> None:
        """`wait=0` is answered at once, whatever the trigger says."""
        assert api.deliver(api.active(responseMode="sync"), Prefer="wait=0").status == 201

    def test_an_answer_waits_no_longer_than_the_trigger_says_and_the_execution_goes_on(self, world: World) -> None:
        """201 then, and the execution ends when its time has come."""
        workflow = world.api.active(WAIT_A_MINUTE, DECIDE, responseMode="sync", responseTimeout=1)

        began = time.monotonic()
        answer = world.api.deliver(workflow, {}, Prefer="wait=30")
        waited_s = time.monotonic() - began
        world.clock.turn(60)

        assert (answer.status, answer.json()["status"]) == (201, "running")
        assert 1 <= waited_s < PATIENCE_S
        assert world.api.results(answer.json()["executionId"])["finalOutput"] == {"decision": "approved"}

    def test_a_repeated_delivery_does_not_wait(self, api: Api) -> None:
        """It is refused as with any other trigger."""
        workflow = api.active(WAIT_AN_HOUR, responseMode="sync", responseTimeout=1)
        api.deliver(workflow, Idempotency_Key="waits")

        assert api.deliver(workflow, Idempotency_Key="waits").status == 409


class TestState:
    def test_after_its_workflow_was_deactivated_a_webhook_answers_422(self, api: Api) -> None:
        """At once, although the route was just used: its sender is right, the workflow is off."""
        workflow = api.active()
        api.deliver(workflow)
        api.move(workflow, "deactivate")

        refused = api.deliver(workflow)

        assert (refused.status, refused.json()["code"]) == (422, "FLK-0501")

    def test_after_its_workflow_was_moved_to_draft_a_webhook_is_not_found(self, api: Api) -> None:
        """Nobody has registered it any more."""
        workflow = api.active()
        api.deliver(workflow)
        api.move(workflow, "deactivate", "draft")

        refused = api.deliver(workflow)

        assert (refused.status, refused.json()["code"]) == (404, "FLK-0361")

    def test_after_its_workflow_was_deleted_a_webhook_is_not_found(self, api: Api) -> None:
        """Nobody has registered it any more."""
        workflow = api.inactive()
        api.expect(204, "DELETE", f"/v1/workflows/{workflow.id}")

        assert api.deliver(workflow).json()["code"] == "FLK-0361"

    def test_a_webhook_of_a_draft_is_not_found(self, api: Api) -> None:
        """It is registered by the activation."""
        assert api.deliver(api.draft()).json()["code"] == "FLK-0361"

    def test_a_webhook_follows_its_workflow_to_another_path(self, api: Api) -> None:
        """The path of the active revision counts, no other."""
        workflow = api.inactive()
        moved = api.definition()
        api.move(workflow, "draft")
        api.expect(200, "PUT", f"/v1/workflows/{workflow.id}", moved)
        api.move(workflow, "activate")

        assert api.deliver(workflow).status == 404
        assert (
            api.ask("POST", f"/v1/webhooks/{moved['nodes'][0]['data']['path']}").json()["workflowId"] == workflow.id
        )

    def test_an_execution_goes_on_after_its_workflow_was_deactivated(self, world: World) -> None:
        """What was accepted comes to its end, by the revision that it was accepted with."""
        workflow = world.api.active(WAIT_A_MINUTE, DECIDE)
        accepted = world.api.deliver(workflow).json()
        world.api.move(workflow, "deactivate", "draft")
        world.api.expect(200, "PUT", f"/v1/workflows/{workflow.id}", world.api.definition(FAIL))

        world.clock.turn(60)

        assert world.api.results(accepted["executionId"])["finalOutput"] == {"decision": "approved"}


class TestOrderOfChecks:
    """Each delivery has several faults, and the answer tells the first in the order."""

    def test_without_a_key_nobody_learns_which_webhooks_exist(self, api: Api) -> None:
        """The answer is the same, byte for byte."""
        guarded = api.active(verify_token="token")

        known = api.deliver(guarded, b"{", X_API_Key=None)
        unknown = api.ask("POST", "/v1/webhooks/nobody/has/this", b"{", X_API_Key="wrong")

        assert (known.status, known.json()["code"]) == (401, "FLK-0401")
        assert known.body == unknown.body

    def test_the_route_comes_before_the_body(self, api: Api) -> None:
        """A body for nobody is not even measured."""
        assert api.ask("POST", "/v1/webhooks/nobody", padded(BODY_BYTES_MAX + 1)).json()["code"] == "FLK-0361"

    def test_the_token_comes_before_the_body(self, api: Api) -> None:
        """Who may not deliver has no say in how much is read."""
        workflow = api.active(verify_token="token")

        assert api.deliver(workflow, padded(BODY_BYTES_MAX + 1)).json()["code"] == "FLK-0362"
        assert api.deliver(workflow, b"{").json()["code"] == "FLK-0362"

    def test_the_size_comes_before_what_the_body_says(self, api: Api) -> None:
        """What is too large is not parsed."""
        assert api.deliver(api.active(), b"{" * (BODY_BYTES_MAX + 1)).json()["code"] == "FLK-0363"

    def test_the_signature_comes_before_what_the_body_says(self, api: Api) -> None:
        """Nothing looks into a body before it is known who wrote it."""
        workflow = api.active(signing_secret=SECRET)

        assert api.deliver(workflow, b"{").json()["code"] == "FLK-0362"
        assert api.deliver(workflow, b"{", X_Webhook_Signature=sign(SECRET, b"{")).json()["code"] == "FLK-0001"

    def test_the_body_comes_before_the_state(self, api: Api) -> None:
        """Also while the workflow is off."""
        workflow = api.inactive()

        assert api.deliver(workflow, b"{").json()["code"] == "FLK-0001"
        assert api.deliver(workflow, {}).json()["code"] == "FLK-0501"

    def test_a_repeated_delivery_hears_so_even_when_its_workflow_is_off(self, api: Api) -> None:
        """It arrived: to send it again later would be of no use."""
        workflow = api.active()
        api.deliver(workflow, Idempotency_Key="late")
        api.move(workflow, "deactivate")

        assert api.deliver(workflow, Idempotency_Key="late").json()["code"] == "FLK-0505"
