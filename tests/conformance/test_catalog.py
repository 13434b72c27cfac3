"""The catalog over the API, and workflows from its templates along their whole way: created, activated, run."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from jsonschema_rs import Draft202012Validator
from pytest_httpserver import HTTPServer

from flowker.executors.registry import EXECUTORS, PROVIDERS, TRIGGERS
from flowker.operations.template_parameters import OFFERED_MAX
from tests.conformance.conftest import CLOSED_URL, Api, Workflow, World

CATALOG = "/v1/catalog"
FROM_TEMPLATE = "/v1/workflows/from-template"
UNKNOWN = "01900000-0000-7000-8000-000000000000"
TRACER = {"base_url": CLOSED_URL, "api_key": "key"}
LEDGER = {
    "onboarding_base_url": CLOSED_URL,
    "transaction_base_url": CLOSED_URL,
    "organization_id": UNKNOWN,
    "ledger_id": UNKNOWN,
}

Json = dict[str, Any]


def get(api: Api, path: str) -> Any:
    return api.expect(200, "GET", f"{CATALOG}/{path}").json()


def offered(api: Api, template: str, parameter: str) -> Json:
    """What a template's schema says of one of its parameters."""
    schema = json.loads(get(api, f"templates/{template}")["paramSchema"])
    return dict(schema["properties"][parameter])


def choices(api: Api, template: str, parameter: str) -> list[tuple[str, str]]:
    return [(each.get("const"), each["title"]) for each in offered(api, template, parameter).get("oneOf", [])]


def disable(api: Api, id_: str) -> str:
    api.expect(200, "POST", f"/v1/provider-configurations/{id_}/disable")
    return id_


def payments(configuration_id: str, **changes: Any) -> Json:
    """Parameters of the template for payments; one that is None is left out."""
    good = {"workflowName": f"Payments {uuid4()}", "providerConfigId": configuration_id, "currency": "BRL"}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def transactions(tracer_id: str, midaz_id: str, **changes: Any) -> Json:
    names = {"workflowName": f"Transactions {uuid4()}", "webhookPath": f"/transact/{uuid4()}"}
    return {**names, "tracerProviderConfigId": tracer_id, "midazProviderConfigId": midaz_id, **changes}


def build(api: Api, template: str, params: Json) -> Workflow:
    """A draft that a template built."""
    created = api.expect(201, "POST", FROM_TEMPLATE, {"templateId": template, "params": params}).json()
    nodes = api.expect(200, "GET", f"/v1/workflows/{created['workflowId']}").json()["nodes"]
    return Workflow(created["workflowId"], params["workflowName"], nodes[0]["data"]["path"].strip("/"))


def refusals(api: Api, template: str, params: Json) -> Json:
    """What is wrong with parameters: validating them and creating from them tell the same."""
    validated = api.expect(400, "POST", f"{CATALOG}/templates/{template}/validate", {"params": params})
    created = api.expect(400, "POST", FROM_TEMPLATE, {"templateId": template, "params": params})

    assert validated.body == created.body
    assert created.json()["code"] == "FLK-0242"
    return dict(created.json()["fields"])


class TestReading:
    @pytest.mark.parametrize(
        ("kind", "members", "ids"),
        [
            ("executors", ["id", "name", "category", "version", "providerId", "schema"], list(EXECUTORS)),
            ("triggers", ["id", "name", "version", "schema"], list(TRIGGERS)),
            ("providers", ["id", "name", "description", "version", "configSchema"], list(PROVIDERS)),
            (
                "templates",
                ["id", "name", "description", "version", "category", "paramSchema"],
                ["payment-validation", "tracer-midaz-validation"],
            ),
        ],
    )
    def test_a_list_is_everything_in_the_order_of_the_ids(
        self, api: Api, kind: str, members: list[str], ids: list[str]
    ) -> None:
        """A plain array, and each entry is what is read by its id."""
        listed = get(api, kind)

        assert [entry["id"] for entry in listed] == sorted(ids)
        assert [list(entry) for entry in listed] == [members] * len(ids)
        assert [get(api, f"{kind}/{entry['id']}") for entry in listed] == listed

    @pytest.mark.parametrize("kind", ["executors", "triggers", "providers", "templates"])
    def test_a_schema_is_text_that_is_a_schema(self, api: Api, kind: str) -> None:
        """JSON Schema 2020-12, of an object."""
        for entry in get(api, kind):
            schema = json.loads(list(entry.values())[-1])
            Draft202012Validator(schema)

            assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
            assert schema["type"] == "object"

    @pytest.mark.parametrize("provider", list(PROVIDERS))
    def test_a_provider_has_its_executors(self, api: Api, provider: str) -> None:
        """Those of the list that call through it."""
        listed = get(api, f"providers/{provider}/executors")

        assert listed == [entry for entry in get(api, "executors") if entry["providerId"] == provider]
        assert listed

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("executors/fax.send", "FLK-0200"),
            ("executors/HTTP.REQUEST", "FLK-0200"),
            ("triggers/schedule", "FLK-0210"),
            ("providers/fax", "FLK-0230"),
            ("providers/fax/executors", "FLK-0230"),
            ("templates/fax", "FLK-0240"),
        ],
    )
    def test_an_unknown_id_is_not_found(self, api: Api, path: str, code: str) -> None:
        """By the code of its kind."""
        assert api.expect(404, "GET", f"{CATALOG}/{path}").json()["code"] == code

    @pytest.mark.parametrize("id_", ["x" * 101, "%20", "a%2Fb", "%C3%A9", "-", "a%0A"])
    def test_an_id_that_no_catalog_has_is_refused(self, api: Api, id_: str) -> None:
        """Before anybody looks for it."""
        refused = api.expect(400, "GET", f"{CATALOG}/executors/{id_}").json()

        assert refused["code"] == "FLK-0304"
        assert list(refused["fields"]) == ["id"]


class TestValidatingInputs:
    @pytest.mark.parametrize(
        ("executor", "config"),
        [
            ("midaz.get-account", {"accountId": UNKNOWN}),
            ("midaz.create-transaction", {"send": {"asset": "BRL", "value": "100.10"}, "metadata": {"any": [1]}}),
            ("http.request", {"query": {"a": 1}, "anything": {"else": True}}),
            ("tracer.list-validations", {}),
        ],
    )
    def test_an_input_that_fits_is_valid(self, api: Api, executor: str, config: Json) -> None:
        """Nothing is called."""
        answer = api.expect(200, "POST", f"{CATALOG}/executors/{executor}/validate", {"config": config})

        assert answer.json() == {"valid": True}

    @pytest.mark.parametrize(
        ("executor", "config", "fields"),
        [
            ("midaz.get-account", {}, {"config.accountId": "is missing"}),
            ("midaz.get-account", {"accountId": "7"}, {"config.accountId": "is not a valid uuid"}),
            (
                "midaz.create-transaction",
                {"send": {"asset": "BRL", "value": 100.1}, "fee": 1},
                {"config.send.value": "must be a string", "config.fee": "is not expected"},
            ),
            ("tracer.list-validations", {"limit": 101}, {"config.limit": "must be at most 100"}),
        ],
    )
    def test_what_does_not_fit_is_named(self, api: Api, executor: str, config: Json, fields: Json) -> None:
        """FLK-0201, with every field."""
        answer = api.expect(400, "POST", f"{CATALOG}/executors/{executor}/validate", {"config": config}).json()

        assert (answer["code"], answer["fields"]) == ("FLK-0201", fields)

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "FLK-0301"),
            ({"config": []}, "FLK-0001"),
            ({"config": {}, "params": {}}, "FLK-0300"),
            ([], "FLK-0001"),
        ],
    )
    def test_the_body_has_its_own_form(self, api: Api, body: Any, code: str) -> None:
        """Which comes before the schema of the executor."""
        refused = api.expect(400, "POST", f"{CATALOG}/executors/midaz.get-account/validate", body)

        assert refused.json()["code"] == code


class TestOffering:
    def test_without_an_active_configuration_it_is_said(self, new_world: World) -> None:
        """Whoever is asked for one learns that there is none."""
        disable(new_world.api, new_world.api.provider_configuration(TRACER, providerId="tracer"))

        shape = offered(new_world.api, "tracer-midaz-validation", "tracerProviderConfigId")

        assert shape == {
            "type": "string",
            "format": "uuid",
            "description": "The configuration of the Tracer that validates. None is active now.",
        }
        assert choices(new_world.api, "payment-validation", "providerConfigId") == []

    def test_the_active_configurations_of_each_provider_are_offered_by_name(self, new_world: World) -> None:
        """In the list as well; a template that calls any executor offers them all."""
        api = new_world.api
        second = api.provider_configuration(TRACER, providerId="tracer", name="Tracer B")
        first = api.provider_configuration(TRACER, providerId="tracer", name="Tracer A")
        ledger = api.provider_configuration(LEDGER, providerId="midaz", name="Ledger")
        disable(api, api.provider_configuration(TRACER, providerId="tracer", name="Tracer C"))

        tracers = [(first, "Tracer A"), (second, "Tracer B")]
        assert choices(api, "tracer-midaz-validation", "tracerProviderConfigId") == tracers
        assert choices(api, "tracer-midaz-validation", "midazProviderConfigId") == [(ledger, "Ledger")]
        assert choices(api, "payment-validation", "providerConfigId") == [(ledger, "Ledger"), *tracers]
        assert get(api, "templates") == [
            get(api, "templates/payment-validation"),
            get(api, "templates/tracer-midaz-validation"),
        ]

    def test_what_is_offered_fits_what_it_is_offered_in(self, new_world: World) -> None:
        """A client that checks parameters by the schema sends what the service takes."""
        api = new_world.api
        id_ = api.provider_configuration()
        schema = Draft202012Validator(
            json.loads(get(api, "templates/payment-validation")["paramSchema"]), validate_formats=True
        )

        assert schema.is_valid(payments(id_))
        assert not schema.is_valid(payments(UNKNOWN))
        assert not schema.is_valid(payments(id_, executorId="fax.send"))

    def test_more_than_can_be_offered_fit_still(self, new_world: World) -> None:
        """The first by name are named, and the others are not refused by a client that checks."""
        api = new_world.api
        ids = [api.provider_configuration(name=f"Far side {number:03}") for number in range(OFFERED_MAX + 1)]
        shape = offered(api, "payment-validation", "providerConfigId")
        schema = Draft202012Validator(shape, validate_formats=True)

        assert [each.get("const") for each in shape["oneOf"]] == [*ids[:OFFERED_MAX], None]
        assert all(schema.is_valid(id_) for id_ in ids)
        assert not schema.is_valid("not-a-uuid")

    def test_the_executors_of_the_catalog_are_offered(self, api: Api) -> None:
        """And one of them is taken without a choice."""
        shape = offered(api, "payment-validation", "executorId")

        assert shape["enum"] == [entry["id"] for entry in get(api, "executors")]
        assert shape["default"] in shape["enum"]


class TestCreating:
    def test_it_is_answered_like_any_new_workflow(self, world: World) -> None:
        """With its address and its tag; the audit trail knows the template."""
        params = payments(world.api.provider_configuration())

        created = world.api.expect(201, "POST", FROM_TEMPLATE, {"templateId": "payment-validation", "params": params})
        found = world.api.expect(200, "GET", created.headers["location"])

        assert created.headers["etag"] == found.headers["etag"]
        assert list(created.json()) == ["workflowId", "status", "version", "createdAt"]
        workflow = found.json()
        assert (workflow["name"], workflow["status"], workflow["version"]) == (
            params["workflowName"],
            "draft",
            "1.0.0",
        )
        assert workflow["metadata"] == {"templateId": "payment-validation", "templateVersion": "v1"}
        event = world.audited("WORKFLOW_CREATED")[-1]
        assert (event["resource_id"], event["context"]["templateId"]) == (workflow["id"], "payment-validation")

    def test_the_draft_can_be_edited(self, api: Api) -> None:
        """What it was built as can be sent back."""
        draft = build(api, "payment-validation", payments(api.provider_configuration()))
        read = api.expect(200, "GET", f"/v1/workflows/{draft.id}").json()
        content = {name: read[name] for name in ("name", "description", "nodes", "edges", "metadata")}

        updated = api.expect(200, "PUT", f"/v1/workflows/{draft.id}", content).json()

        assert {name: updated[name] for name in content} == content
        assert updated["version"] == "1.1.0"

    def test_a_taken_name_is_refused(self, api: Api) -> None:
        """FLK-0101, and nothing is created."""
        params = payments(api.provider_configuration(), workflowName=api.draft().name)

        refused = api.expect(409, "POST", FROM_TEMPLATE, {"templateId": "payment-validation", "params": params})

        assert refused.json()["code"] == "FLK-0101"

    @pytest.mark.parametrize("template", ["fax", "PAYMENT-VALIDATION", " "])
    def test_an_unknown_template_is_not_found(self, api: Api, template: str) -> None:
        """FLK-0240, before its parameters are looked at."""
        refused = api.expect(404, "POST", FROM_TEMPLATE, {"templateId": template, "params": {}})

        assert refused.json()["code"] == "FLK-0240"

    @pytest.mark.parametrize(
        ("changes", "fields"),
        [
            ({"currency": "real"}, {"params.currency": "does not have the expected form"}),
            ({"currency": None}, {"params.currency": "is missing"}),
            ({"workflowName": "\t"}, {"params.workflowName": "does not have the expected form"}),
            ({"workflowName": "x" * 101}, {"params.workflowName": "must have at most 100 characters"}),
            ({"providerConfigId": "7"}, {"params.providerConfigId": "is not a valid uuid"}),
            ({"owner": "me"}, {"params.owner": "is not expected"}),
            (
                {"providerConfigId": UNKNOWN},
                {"params.providerConfigId": "must name an active provider configuration"},
            ),
            (
                {"executorId": "tracer.list-validations"},
                {"params.providerConfigId": "belongs to another provider"},
            ),
        ],
    )
    def test_parameters_that_do_not_fit_are_named(self, api: Api, changes: Json, fields: Json) -> None:
        """FLK-0242, and validating them said so before."""
        assert refusals(api, "payment-validation", payments(api.provider_configuration(), **changes)) == fields

    def test_an_executor_is_one_of_the_catalog(self, api: Api) -> None:
        """Which the refusal lists."""
        params = payments(api.provider_configuration(), executorId="fax.send")

        [(field, reason)] = refusals(api, "payment-validation", params).items()

        assert field == "params.executorId"
        assert all(executor in reason for executor in EXECUTORS)

    def test_a_configuration_that_is_disabled_is_refused(self, api: Api) -> None:
        """The workflow could not be activated."""
        params = payments(disable(api, api.provider_configuration()))

        assert refusals(api, "payment-validation", params) == {
            "params.providerConfigId": "must name an active provider configuration"
        }

    def test_configurations_that_are_mixed_up_are_refused(self, api: Api) -> None:
        """Each by its parameter."""
        tracer, midaz = configured(api)

        assert refusals(api, "tracer-midaz-validation", transactions(midaz, tracer, webhookPath="/")) == {
            "params.tracerProviderConfigId": "belongs to another provider",
            "params.midazProviderConfigId": "belongs to another provider",
            "params.webhookPath": "is not a webhook path",
        }

    def test_good_parameters_are_valid_and_build(self, api: Api) -> None:
        """Both templates; an id in capitals is the same id."""
        tracer, midaz = configured(api)
        for template, params in (
            ("payment-validation", payments(tracer.upper(), executorId="tracer.validate-transaction")),
            ("tracer-midaz-validation", transactions(tracer.upper(), midaz)),
        ):
            valid = api.expect(200, "POST", f"{CATALOG}/templates/{template}/validate", {"params": params})
            api.move(build(api, template, params), "activate", "deactivate")

            assert valid.json() == {"valid": True}

    @pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
    def test_its_path_is_no_workflow(self, api: Api, method: str) -> None:
        """Nobody is asked for a workflow whose id is `from-template`."""
        refused = api.expect(405, method, FROM_TEMPLATE)

        assert refused.headers["allow"] == "POST"
        assert refused.json()["code"] == "FLK-0405"


def configured(api: Api) -> tuple[str, str]:
    """The ids of active configurations of Tracer and Midaz."""
    return (
        api.provider_configuration(TRACER, providerId="tracer"),
        api.provider_configuration(LEDGER, providerId="midaz"),
    )


@pytest.fixture
def payment_workflow(api: Api, httpserver: HTTPServer) -> Callable[[], Workflow]:
    """Activates a workflow that the template for payments built, to call the stub."""

    def activate() -> Workflow:
        id_ = api.provider_configuration({"base_url": httpserver.url_for("/screen")})
        return api.move(build(api, "payment-validation", payments(id_)), "activate")

    return activate


class TestPaymentValidation:
    @pytest.fixture(autouse=True)
    def _ends(self, api: Api) -> Any:
        """Its webhook is the same for all, so each test gives it back."""
        yield
        api.delete_all_workflows()

    @pytest.mark.parametrize(
        ("answer", "decision"),
        [
            ({"decision": "ALLOW", "score": 1}, "approved"),
            ({"score": 1}, "approved"),
            ({"decision": "DENY"}, "rejected"),
        ],
    )
    def test_a_payment_is_decided_by_the_far_side(
        self,
        api: Api,
        httpserver: HTTPServer,
        payment_workflow: Callable[[], Workflow],
        answer: Json,
        decision: str,
    ) -> None:
        """It gets the payment as it came, digits included."""
        httpserver.expect_request("/screen", method="POST").respond_with_json(answer)
        body = b'{"paymentId": "p-1", "amount": 100.10, "currency": "BRL"}'

        started = api.deliver(payment_workflow(), body, Content_Type="application/json")
        results = api.results(started.json()["executionId"])

        assert results["status"] == "completed"
        assert results["finalOutput"] == {"decision": decision, "paymentId": "p-1", "validation": answer}
        assert httpserver.log[-1][0].get_data() == b'{"paymentId":"p-1","amount":100.10,"currency":"BRL"}'

    def test_another_currency_is_rejected_without_a_call(
        self, api: Api, httpserver: HTTPServer, payment_workflow: Callable[[], Workflow]
    ) -> None:
        """The far side has no say in it."""
        started = api.deliver(payment_workflow(), {"paymentId": "p-2", "currency": "USD"})
        results = api.results(started.json()["executionId"])

        assert results["finalOutput"] == {"decision": "rejected", "paymentId": "p-2", "validation": None}
        assert httpserver.log == []

    def test_a_far_side_that_refuses_decides_nothing(
        self, api: Api, httpserver: HTTPServer, payment_workflow: Callable[[], Workflow]
    ) -> None:
        """The execution fails and says why: no payment is approved or rejected by accident."""
        httpserver.expect_request("/screen").respond_with_json({"error": "who are you"}, status=403)

        started = api.deliver(payment_workflow(), {"paymentId": "p-3", "currency": "BRL"})
        results = api.results(started.json()["executionId"])

        assert results["status"] == "failed"
        assert (
            results["errorMessage"] == "FLK-0504: node validate-payment failed: the far side answered 403 Forbidden"
        )


TRANSACTION = {
    "requestId": "22222222-0000-4000-8000-000000000001",
    "transactionType": "PIX",
    "amount": "100.10",
    "currency": "BRL",
    "transactionTimestamp": "2026-03-17T14:35:00Z",
    "account": {"accountId": "22222222-0000-4000-8000-000000000002", "type": "checking", "status": "active"},
    "transaction": {"asset": "BRL", "value": "100.10"},
    "transactionDescription": "Rent",
}
VALIDATIONS = "/tracer/v1/validations"
TRANSACTIONS = f"/ledger/v1/organizations/{UNKNOWN}/ledgers/{UNKNOWN}/transactions/json"


class TestTracerMidazValidation:
    @pytest.fixture
    def workflow(self, api: Api, httpserver: HTTPServer) -> Workflow:
        """An active workflow that the template built, to call the stubs; the ledger's takes the issuer's token."""
        issuer, ledger = httpserver.url_for("/issuer"), httpserver.url_for("/ledger")
        found = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
        httpserver.expect_request("/issuer/.well-known/openid-configuration").respond_with_json(found)
        token = {"access_token": "of-the-issuer", "token_type": "Bearer", "expires_in": 3600}
        httpserver.expect_request("/issuer/token", method="POST").respond_with_json(token)
        bearer = {"Authorization": "Bearer of-the-issuer"}
        httpserver.expect_request(TRANSACTIONS, method="POST", headers=bearer).respond_with_json(
            {"id": "t-1"}, status=201
        )
        tracer = api.provider_configuration(
            {"base_url": httpserver.url_for("/tracer"), "api_key": "key-of-tracer"}, providerId="tracer"
        )
        midaz = api.provider_configuration(
            {
                **LEDGER,
                "transaction_base_url": ledger,
                "auth": {"issuer_url": issuer, "client_id": "flowker", "client_secret": "secret"},
            },
            providerId="midaz",
        )
        return api.move(build(api, "tracer-midaz-validation", transactions(tracer, midaz)), "activate")

    def test_an_allowed_transaction_is_created_in_the_ledger(
        self, api: Api, httpserver: HTTPServer, workflow: Workflow
    ) -> None:
        """Tracer is asked with its key and the ledger with the issuer's token, each for its part of the delivery."""
        tracers_key = {"X-API-Key": "key-of-tracer"}
        httpserver.expect_request(VALIDATIONS, method="POST", headers=tracers_key).respond_with_json(
            {"decision": "ALLOW"}
        )

        started = api.deliver(workflow, TRANSACTION)
        results = api.results(started.json()["executionId"])

        assert results["status"] == "completed", results
        statuses = {step["nodeId"]: step["status"] for step in results["stepResults"]}
        assert statuses == {
            "tracer-validate": "completed",
            "decision-check": "completed",
            "midaz-create-tx": "completed",
            "rejected": "skipped",
        }
        assert results["finalOutput"]["midaz-create-tx"]["body"] == {"id": "t-1"}
        asked = {request.path: json.loads(request.get_data()) for request, _ in httpserver.log if request.is_json}
        assert asked == {
            VALIDATIONS: {name: TRANSACTION[name] for name in list(TRANSACTION)[:6]},
            TRANSACTIONS: {"send": TRANSACTION["transaction"], "description": "Rent"},
        }

    @pytest.mark.parametrize("decision", ["DENY", "REVIEW"])
    def test_another_decision_is_the_output_and_nothing_is_created(
        self, api: Api, httpserver: HTTPServer, workflow: Workflow, decision: str
    ) -> None:
        """The ledger is not asked."""
        httpserver.expect_request(VALIDATIONS, method="POST").respond_with_json({"decision": decision})

        started = api.deliver(workflow, TRANSACTION)
        results = api.results(started.json()["executionId"])

        assert results["status"] == "completed"
        assert results["finalOutput"] == {"decision": decision, "requestId": TRANSACTION["requestId"]}
        assert [request.path for request, _ in httpserver.log] == [VALIDATIONS]

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"amount": None}, "inputMapping[2]: the required source workflow.amount is missing"),
            ({"amount": 100.1}, "the input does not fit the executor: input.amount must be a string"),
        ],
    )
    def test_a_delivery_that_does_not_fit_goes_nowhere(
        self, api: Api, httpserver: HTTPServer, workflow: Workflow, changes: Json, reason: str
    ) -> None:
        """The execution fails at once, and says what is wrong with which field."""
        delivery = {name: value for name, value in {**TRANSACTION, **changes}.items() if value is not None}

        started = api.deliver(workflow, delivery)
        results = api.results(started.json()["executionId"])

        assert results["errorMessage"] == f"FLK-0504: node tracer-validate failed: {reason}"
        assert results["stepResults"][0]["attempts"] == 1
        assert httpserver.log == []
