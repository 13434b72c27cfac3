"""Templates: what they build compiles, can be activated, and decides as they say."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from flowker.domain.advance import advance, begin
from flowker.domain.calls import ExecutorCall
from flowker.domain.executions import Accepted, Outcome, Settled, State, final_output
from flowker.domain.kazaam import Occasion
from flowker.domain.steps import Produced, run_builtin
from flowker.domain.workflow_templates import (
    TEMPLATES,
    NamedConfiguration,
    configuration_ids,
    executor_of,
    misfits,
)
from flowker.domain.workflows import (
    ConfigurationFacts,
    Definition,
    check_activation,
    compile_definition,
    references,
)
from flowker.engine.definitions import PROVIDERS_BY_EXECUTOR
from flowker.executors.registry import EXECUTORS
from flowker.jsonschema import Schema

OCCASION = Occasion("2026-03-17T14:35:00.000000Z", "one:node")

HTTP = "11111111-0000-7000-8000-000000000001"
TRACER = "11111111-0000-7000-8000-00000000000a"
MIDAZ = "11111111-0000-7000-8000-00000000000b"
OTHER = "11111111-0000-7000-8000-00000000000c"

EXISTING = {
    HTTP: NamedConfiguration("http", active=True),
    TRACER: NamedConfiguration("tracer", active=True),
    MIDAZ: NamedConfiguration("midaz", active=True),
    OTHER: NamedConfiguration("tracer", active=False),
}

PAYMENT = TEMPLATES["payment-validation"]
TRANSACTION = TEMPLATES["tracer-midaz-validation"]

LEAST: Mapping[str, dict[str, Any]] = {
    "payment-validation": {"workflowName": "Payments", "providerConfigId": HTTP, "currency": "BRL"},
    "tracer-midaz-validation": {
        "workflowName": "Transactions",
        "tracerProviderConfigId": TRACER,
        "midazProviderConfigId": MIDAZ,
    },
}
MOST: Mapping[str, dict[str, Any]] = {
    "payment-validation": {
        **LEAST["payment-validation"],
        "executorId": "tracer.validate-transaction",
        "providerConfigId": TRACER.upper(),
    },
    "tracer-midaz-validation": {
        **LEAST["tracer-midaz-validation"],
        "tracerProviderConfigId": TRACER.upper(),
        "midazProviderConfigId": MIDAZ.upper(),
        "workflowDescription": "For cards.",
        "webhookPath": "cards/new",
        "webhookMethod": "POST",
    },
}
EVERY = [(id_, parameters[id_]) for id_ in TEMPLATES for parameters in (LEAST, MOST)]

TRANSACTION_INPUT: dict[str, Any] = {
    "requestId": "22222222-0000-4000-8000-000000000001",
    "transactionType": "PIX",
    "amount": "100.10",
    "currency": "BRL",
    "transactionTimestamp": "2026-03-17T14:35:00Z",
    "account": {"accountId": "22222222-0000-4000-8000-000000000002", "type": "checking", "status": "active"},
    "transaction": {"asset": "BRL", "value": "100.10"},
    "_webhook": {"path": "x"},
}


def compiled(built: Mapping[str, Any]) -> Definition:
    return compile_definition(built["nodes"], built["edges"], built["metadata"], PROVIDERS_BY_EXECUTOR)


def misfits_of(id_: str, **changes: Any) -> dict[str, str]:
    return misfits(TEMPLATES[id_], {**LEAST[id_], **changes}, PROVIDERS_BY_EXECUTOR, EXISTING)


def call_of(definition: Definition, node_id: str) -> ExecutorCall:
    behaviour = definition.nodes[node_id].behaviour
    assert isinstance(behaviour, ExecutorCall)
    return behaviour


def run(definition: Definition, input_: dict[str, Any], answers: Mapping[str, Any]) -> State:
    """The end of an execution whose calls are answered with these bodies."""
    [trigger] = definition.triggers
    plan = definition.plan(trigger.id)
    state = begin(plan, Accepted("e", "w", "2026-03-17T14:35:00.000000Z", trigger.id, input_))
    while state.open:
        node_id = next(iter(state.open))
        if node_id in answers:
            output: Any = {"status": 201, "body": answers[node_id]}
        else:
            result = run_builtin(
                definition.nodes[node_id].behaviour, state.context, elapsed=False, occasion=lambda: OCCASION
            )
            assert isinstance(result, Produced)
            output = result.output
        state, _ = advance(plan, state, Settled("later", (Outcome(node_id, "completed", output),)))
    return state


def done(state: State) -> set[str]:
    return {id_ for id_, outcome in state.outcomes.items() if outcome.status == "completed"}


@pytest.mark.parametrize(("id_", "parameters"), EVERY)
def test_what_is_built_can_be_activated(id_: str, parameters: dict[str, Any]) -> None:
    """With the least and with the most parameters, as long as the configurations are active."""
    facts = {key: ConfigurationFacts(one.provider_id, one.active) for key, one in EXISTING.items()}

    check_activation(compiled(TEMPLATES[id_].build(parameters)), PROVIDERS_BY_EXECUTOR, facts)


@pytest.mark.parametrize(("id_", "parameters"), EVERY)
def test_what_is_built_names_its_template_and_what_was_asked_for(id_: str, parameters: dict[str, Any]) -> None:
    """In its metadata, its name, and nodes that say what they do."""
    built = TEMPLATES[id_].build(parameters)

    assert built["metadata"] == {"templateId": id_, "templateVersion": "v1"}
    assert built["name"] == parameters["workflowName"]
    assert all(1 <= len(node["name"]) <= 50 for node in built["nodes"])
    assert json.loads(json.dumps(built)) == built


@pytest.mark.parametrize(("id_", "parameters"), EVERY)
def test_parameters_that_fit_the_schema_are_what_it_builds_from(id_: str, parameters: dict[str, Any]) -> None:
    """The schema is one, closed, and its defaults fit it."""
    schema = TEMPLATES[id_].parameter_schema
    judge = Schema(schema)
    defaults = {name: each["default"] for name, each in schema["properties"].items() if "default" in each}

    assert judge.is_valid(parameters)
    assert judge.is_valid({**parameters, **defaults})
    assert judge.fields({**parameters, "webhook": "x"}) == {"webhook": "is not expected"}
    assert judge.fields({**parameters, "workflowName": " "}) == {"workflowName": "does not have the expected form"}
    for name in schema["required"]:
        assert judge.fields({key: value for key, value in parameters.items() if key != name}) == {name: "is missing"}


@pytest.mark.parametrize("id_", list(TEMPLATES))
def test_defaults_are_what_is_built_without_a_choice(id_: str) -> None:
    """What a client shows as default is what it gets."""
    template = TEMPLATES[id_]
    properties = template.parameter_schema["properties"]
    defaults = {name: each["default"] for name, each in properties.items() if "default" in each}

    assert defaults
    assert template.build(LEAST[id_]) == template.build({**LEAST[id_], **defaults})


@pytest.mark.parametrize(("id_", "parameters"), EVERY)
def test_parameters_that_name_configurations_do(id_: str, parameters: dict[str, Any]) -> None:
    """Each is in the schema, is required, and is the configuration of a call."""
    template = TEMPLATES[id_]
    called = references(compiled(template.build(parameters))).providers

    assert set(template.configurations) <= set(template.parameter_schema["required"])
    assert called == set(configuration_ids(template, parameters))


@pytest.mark.parametrize(("id_", "parameters"), EVERY)
def test_every_call_checks_its_input(id_: str, parameters: dict[str, Any]) -> None:
    """What the far side would refuse is named here, and not sent."""
    nodes = compiled(TEMPLATES[id_].build(parameters)).nodes.values()
    calls = [node.behaviour for node in nodes if isinstance(node.behaviour, ExecutorCall)]

    assert calls
    assert all(call.validate_input for call in calls)


class TestMisfits:
    @pytest.mark.parametrize(("id_", "parameters"), EVERY)
    def test_good_parameters_have_none(self, id_: str, parameters: dict[str, Any]) -> None:
        """Whatever the case of the ids."""
        assert misfits(TEMPLATES[id_], parameters, PROVIDERS_BY_EXECUTOR, EXISTING) == {}

    @pytest.mark.parametrize("id_", [OTHER, "11111111-0000-7000-8000-00000000000d"])
    def test_a_configuration_is_there_and_active(self, id_: str) -> None:
        """One that is disabled is as good as none."""
        reason = "must name an active provider configuration"

        assert misfits_of("payment-validation", providerConfigId=id_) == {"providerConfigId": reason}
        assert misfits_of("tracer-midaz-validation", tracerProviderConfigId=id_) == {"tracerProviderConfigId": reason}

    def test_a_configuration_belongs_to_the_provider_that_is_called(self) -> None:
        """Each parameter for itself."""
        reason = "belongs to another provider"

        assert misfits_of("tracer-midaz-validation", tracerProviderConfigId=MIDAZ, midazProviderConfigId=TRACER) == {
            "tracerProviderConfigId": reason,
            "midazProviderConfigId": reason,
        }

    def test_a_configuration_belongs_to_the_provider_of_the_chosen_executor(self) -> None:
        """Which is the one of HTTP without a choice."""
        reason = {"providerConfigId": "belongs to another provider"}

        assert executor_of(PAYMENT, LEAST["payment-validation"]) == "http.request"
        assert executor_of(TRANSACTION, LEAST["tracer-midaz-validation"]) is None
        assert misfits_of("payment-validation", executorId="midaz.get-account", providerConfigId=MIDAZ) == {}
        assert misfits_of("payment-validation", executorId="midaz.get-account") == reason
        assert misfits_of("payment-validation", providerConfigId=MIDAZ) == reason

    @pytest.mark.parametrize("path", ["/", "a/../b", "%00", "a/%2e%2e/b", "%ff"])
    def test_the_path_of_a_webhook_is_one(self, path: str) -> None:
        """As the trigger of a workflow would have it."""
        assert misfits_of("tracer-midaz-validation", webhookPath=path) == {"webhookPath": "is not a webhook path"}
        assert misfits_of("tracer-midaz-validation", webhookPath="orders%2Fpaid") == {}


class TestTracerMidazValidation:
    def test_an_allowed_transaction_is_created(self) -> None:
        """What each far side is given fits the schema of its executor."""
        definition = compiled(TRANSACTION.build(LEAST["tracer-midaz-validation"]))
        described = {**TRANSACTION_INPUT, "transactionDescription": "Rent"}

        state = run(definition, described, {"tracer-validate": {"decision": "ALLOW"}, "midaz-create-tx": {"id": "t"}})

        assert done(state) == {"tracer-validate", "decision-check", "midaz-create-tx"}
        validated, created = (
            _mapped(definition, id_, {"workflow": described}) for id_ in ("tracer-validate", "midaz-create-tx")
        )
        assert validated == {name: described[name] for name in list(TRANSACTION_INPUT)[:6]}
        assert created == {"send": described["transaction"], "description": "Rent"}
        assert EXECUTORS["tracer.validate-transaction"].input.fields(validated) == {}
        assert EXECUTORS["midaz.create-transaction"].input.fields(created) == {}

    def test_a_description_may_be_missing(self) -> None:
        """The ledger does without."""
        definition = compiled(TRANSACTION.build(LEAST["tracer-midaz-validation"]))

        assert _mapped(definition, "midaz-create-tx", {"workflow": TRANSACTION_INPUT}) == {
            "send": TRANSACTION_INPUT["transaction"]
        }

    @pytest.mark.parametrize("decision", ["DENY", "REVIEW"])
    def test_another_decision_is_the_output(self, decision: str) -> None:
        """And nothing is created."""
        definition = compiled(TRANSACTION.build(LEAST["tracer-midaz-validation"]))

        state = run(definition, TRANSACTION_INPUT, {"tracer-validate": {"decision": decision}})

        assert done(state) == {"tracer-validate", "decision-check", "rejected"}
        assert final_output(state) == {"decision": decision, "requestId": TRANSACTION_INPUT["requestId"]}

    def test_the_webhook_is_the_one_that_was_asked_for(self) -> None:
        """Or the usual one."""
        paths = [
            compiled(TRANSACTION.build(parameters["tracer-midaz-validation"])).triggers[0].behaviour
            for parameters in (LEAST, MOST)
        ]

        assert [getattr(trigger, "path", None) for trigger in paths] == ["validate-and-transact", "cards/new"]


class TestPaymentValidation:
    @pytest.mark.parametrize("answer", [{}, {"decision": "ALLOW"}, "fine", None, ["ALLOW"], {"decision": None}])
    def test_a_payment_is_approved_unless_the_far_side_objects(self, answer: Any) -> None:
        """A service that only answers 2xx has nothing against it."""
        definition = compiled(PAYMENT.build(LEAST["payment-validation"]))

        state = run(definition, {"paymentId": "p-1", "currency": "BRL"}, {"validate-payment": answer})

        assert done(state) == {"currency-check", "validate-payment", "approved"}
        assert final_output(state) == {"decision": "approved", "paymentId": "p-1", "validation": answer}

    @pytest.mark.parametrize("decision", ["DENY", "REVIEW", "allow", False, 0, ["ALLOW"], {}])
    def test_a_payment_is_rejected_by_any_other_decision(self, decision: Any) -> None:
        """Whoever answers a decision means it."""
        definition = compiled(PAYMENT.build(LEAST["payment-validation"]))

        state = run(definition, {"paymentId": "p-1", "currency": "BRL"}, {"validate-payment": {"decision": decision}})

        assert done(state) == {"currency-check", "validate-payment", "rejected"}
        assert final_output(state)["decision"] == "rejected"

    @pytest.mark.parametrize("input_", [{}, {"currency": "USD"}, {"currency": "brl"}, {"currency": ["BRL"]}])
    def test_a_payment_in_another_currency_is_rejected_without_a_call(self, input_: dict[str, Any]) -> None:
        """Or in none."""
        definition = compiled(PAYMENT.build(LEAST["payment-validation"]))

        state = run(definition, input_, {"validate-payment": {}})

        assert done(state) == {"currency-check", "rejected"}
        assert final_output(state) == {"decision": "rejected", "paymentId": None, "validation": None}

    def test_two_currencies_have_webhooks_of_their_own(self) -> None:
        """Both can be active."""
        built = [PAYMENT.build({**LEAST["payment-validation"], "currency": each}) for each in ("BRL", "USD")]

        assert [each["nodes"][0]["data"]["path"] for each in built] == [
            "/payment-validation/brl",
            "/payment-validation/usd",
        ]


def _mapped(definition: Definition, node_id: str, context: dict[str, Any]) -> dict[str, Any]:
    prepared: dict[str, Any] = call_of(definition, node_id).preparation.apply(context, OCCASION)
    return prepared
