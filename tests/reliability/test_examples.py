"""Workflows as people have them, run as people run them: the example of the documentation, and the template."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.reliability.conftest import Api
from tests.reliability.stub_provider import Received, StubProvider

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "kyc-aml.json"
PAGE = (DOCS / "examples.md").read_text()
CUSTOMER = PAGE.partition("Idempotency-Key: customer-1001' -d '")[2].partition("'")[0]
DECIDED = PAGE.partition("```json\n")[2].partition("```")[0]
"""What the page says that is delivered, and what is decided then."""

UUID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
ORGANIZATION = "0b5d6a3e-6f0e-4a52-9a43-0c2f0e9b7a11"
LEDGER = "5d1c2f0a-3c7e-4a6b-8e0f-6b7a8c9d0e1f"
TRANSACTIONS = f"/transaction/v1/organizations/{ORGANIZATION}/ledgers/{LEDGER}/transactions/json"

TRANSFER = {
    "requestId": UUID,
    "transactionType": "PIX",
    "amount": "100.10",
    "currency": "BRL",
    "transactionTimestamp": "2026-03-17T14:35:00Z",
    "account": {"accountId": UUID, "type": "checking", "status": "active"},
    "transaction": {
        "asset": "BRL",
        "value": "100.10",
        "source": {"from": [{"accountAlias": "@ada", "amount": {"asset": "BRL", "value": "100.10"}}]},
        "distribute": {"to": [{"accountAlias": "@grace", "amount": {"asset": "BRL", "value": "100.10"}}]},
    },
    "transactionDescription": "Invoice 4711",
}


def follow(execution_id: str, node: str, received: Received) -> dict[str, str]:
    """What identifies the call is right; the headers that are left."""
    headers = dict(received.headers)
    assert headers.pop("idempotency-key") == f"{execution_id}:{node}"
    assert headers.pop("x-flowker-execution-id") == execution_id
    assert re.fullmatch(rf"00-{execution_id.replace('-', '')}-[0-9a-f]{{16}}-01", headers.pop("traceparent"))
    assert headers.pop("user-agent").startswith("Flowker/")
    assert headers.pop("content-length", "0") == str(len(received.body))
    assert headers.pop("accept") == "application/json, */*;q=0.5"
    assert headers.pop("accept-encoding") == "gzip, deflate"
    return headers


class TestKnowYourCustomer:
    """trigger -> KYC -> enough of a score? -> AML -> approved, else rejected."""

    @pytest.fixture
    def active(self, api: Api, provider: StubProvider) -> Any:
        """The example as it stands in the documentation, with the ids of two configurations of a far side."""
        key = {"type": "api_key", "config": {"key": "kyc-key"}}
        bearer = {"type": "bearer", "config": {"token": "aml-token"}}
        kyc = api.configure("http", {"base_url": f"{provider.url}/kyc", "auth": key})
        aml = api.configure("http", {"base_url": f"{provider.url}/aml", "auth": bearer})
        definition = EXAMPLE.read_text().replace("KYC_CONFIGURATION_ID", kyc).replace("AML_CONFIGURATION_ID", aml)
        workflow_id = api.activate(definition)
        yield workflow_id
        api.expect(200, "POST", f"/v1/workflows/{workflow_id}/deactivate")
        api.expect(204, "DELETE", f"/v1/workflows/{workflow_id}")

    @pytest.mark.usefixtures("active")
    def test_who_is_known_and_clean_is_approved(self, api: Api, provider: StubProvider) -> None:
        """Each far side is asked once, with its own credentials and what the mapping makes."""
        provider.answers("POST", "/kyc/checks", b'{"checkId": "c-1", "status": "VERIFIED", "score": 0.750}')
        provider.answers("POST", "/aml/screenings", b'{"screeningId": "s-1", "hits": 0}')

        execution_id = api.deliver("customers/onboarding", CUSTOMER)

        kyc, aml = provider.received
        assert (kyc.method, kyc.path) == ("POST", "/kyc/checks")
        assert kyc.body == b'{"name":"Ada","document":"123.456.789-09","birthDate":"1990-12-10"}'
        assert follow(execution_id, "kyc", kyc) == {
            "host": provider.url.removeprefix("http://"),
            "content-type": "application/json",
            "x-api-key": "kyc-key",
        }
        assert (aml.method, aml.path) == ("POST", "/aml/screenings")
        assert aml.body == (
            b'{"subject":{"document":"123.456.789-09"},"amount":100.10,"kyc":{"checkId":"c-1","score":0.750}}'
        )
        assert follow(execution_id, "aml", aml) == {
            "host": provider.url.removeprefix("http://"),
            "content-type": "application/json",
            "authorization": "Bearer aml-token",
        }
        text, results = api.results_text(execution_id).replace(" ", ""), api.results(execution_id)
        assert results["status"] == "completed"
        assert results["finalOutput"] == json.loads(DECIDED, parse_float=Decimal)
        assert '"score":0.750' in text
        assert '"openingDeposit":100.10' in text
        assert [step["nodeId"] for step in results["stepResults"] if step["status"] == "completed"] == [
            "kyc",
            "score",
            "aml",
            "approved",
        ]

    @pytest.mark.usefixtures("active")
    @pytest.mark.parametrize(
        "check",
        [
            b'{"checkId": "c-1", "status": "VERIFIED", "score": 0.7499999999999999999999}',
            b'{"checkId": "c-1", "status": "PENDING", "score": 1}',
        ],
        ids=["score", "status"],
    )
    def test_who_is_not_known_well_enough_is_rejected(self, api: Api, provider: StubProvider, check: bytes) -> None:
        """Without being screened; also when a binary float would take the score for enough."""
        provider.answers("POST", "/kyc/checks", check)

        execution_id = api.deliver("customers/onboarding", CUSTOMER)

        results, steps = api.results(execution_id), api.steps(execution_id)
        assert [received.path for received in provider.received] == ["/kyc/checks"]
        assert results["finalOutput"]["decision"] == "rejected"
        assert steps["score"]["output"]["branchTaken"] == "false"
        assert steps["aml"]["status"] == steps["approved"]["status"] == "skipped"

    @pytest.mark.usefixtures("active")
    def test_who_is_found_in_the_screening_is_rejected(self, api: Api, provider: StubProvider) -> None:
        """By the same node, which has two ways in."""
        provider.answers("POST", "/kyc/checks", b'{"checkId": "c-1", "status": "VERIFIED", "score": 0.9}')
        provider.answers("POST", "/aml/screenings", b'{"screeningId": "s-1", "hits": 2}')

        execution_id = api.deliver("customers/onboarding", CUSTOMER)

        assert api.results(execution_id)["finalOutput"]["decision"] == "rejected"
        assert api.steps(execution_id)["approved"]["status"] == "skipped"


class TestTracerAndMidaz:
    """The template, with Tracer, Midaz and the issuer of Midaz's tokens on one far side."""

    @pytest.fixture
    def active(self, api: Api, provider: StubProvider) -> Any:
        issuer = provider.issues_tokens("/realms/bank", "m1daz-token")
        client = {"issuer_url": issuer, "client_id": "flowker", "client_secret": "s3cret/of:it", "scopes": ["ledger"]}
        tracer = api.configure("tracer", {"base_url": f"{provider.url}/tracer", "api_key": "tr4cer-key"})
        midaz = api.configure(
            "midaz",
            {
                "onboarding_base_url": f"{provider.url}/onboarding",
                "transaction_base_url": f"{provider.url}/transaction",
                "organization_id": ORGANIZATION,
                "ledger_id": LEDGER,
                "auth": client,
            },
        )
        params = {"workflowName": "Transfers", "tracerProviderConfigId": tracer, "midazProviderConfigId": midaz}
        body = {"templateId": "tracer-midaz-validation", "params": params}
        workflow_id = api.expect(201, "POST", "/v1/workflows/from-template", body).json()["workflowId"]
        api.expect(200, "POST", f"/v1/workflows/{workflow_id}/activate")
        yield workflow_id
        api.expect(200, "POST", f"/v1/workflows/{workflow_id}/deactivate")
        api.expect(204, "DELETE", f"/v1/workflows/{workflow_id}")

    @pytest.mark.usefixtures("active")
    def test_an_allowed_transaction_is_created(self, api: Api, provider: StubProvider) -> None:
        """Tracer is asked with its key, the issuer for a token, and Midaz with that token: header by header."""
        provider.answers("POST", "/tracer/v1/validations", {"decision": "ALLOW", "validationId": "v-1"})
        provider.answers("POST", TRANSACTIONS, {"id": "t-1", "status": {"code": "CREATED"}})

        execution_id = api.deliver("validate-and-transact", TRANSFER, Prefer="wait=10")

        host = provider.url.removeprefix("http://")
        validation, discovery, token, transaction = provider.received
        assert (validation.method, validation.path) == ("POST", "/tracer/v1/validations")
        assert validation.body == (
            b'{"requestId":"%(id)b","transactionType":"PIX","amount":"100.10","currency":"BRL",'
            b'"transactionTimestamp":"2026-03-17T14:35:00Z",'
            b'"account":{"accountId":"%(id)b","type":"checking","status":"active"}}' % {b"id": UUID.encode()}
        )
        assert follow(execution_id, "tracer-validate", validation) == {
            "host": host,
            "content-type": "application/json",
            "x-api-key": "tr4cer-key",
        }
        assert (discovery.method, discovery.path) == ("GET", "/realms/bank/.well-known/openid-configuration")
        assert "authorization" not in discovery.headers
        assert (token.method, token.path) == ("POST", "/realms/bank/token")
        assert parse_qs(token.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["ledger"]}
        assert token.headers["content-type"] == "application/x-www-form-urlencoded"
        # The Base64 of "flowker:s3cret%2Fof%3Ait": id and secret are encoded as form values first (RFC 6749, 2.3.1).
        assert token.headers["authorization"] == "Basic Zmxvd2tlcjpzM2NyZXQlMkZvZiUzQWl0"
        assert (transaction.method, transaction.path) == ("POST", TRANSACTIONS)
        assert transaction.body == (
            b'{"send":{"asset":"BRL","value":"100.10",'
            b'"source":{"from":[{"accountAlias":"@ada","amount":{"asset":"BRL","value":"100.10"}}]},'
            b'"distribute":{"to":[{"accountAlias":"@grace","amount":{"asset":"BRL","value":"100.10"}}]}},'
            b'"description":"Invoice 4711"}'
        )
        assert follow(execution_id, "midaz-create-tx", transaction) == {
            "host": host,
            "content-type": "application/json",
            "authorization": "Bearer m1daz-token",
        }
        results = api.results(execution_id)
        assert results["status"] == "completed"
        assert results["finalOutput"]["midaz-create-tx"]["body"] == {"id": "t-1", "status": {"code": "CREATED"}}

    @pytest.mark.usefixtures("active")
    def test_a_token_is_shared_by_executions(self, api: Api, provider: StubProvider) -> None:
        """The issuer is asked once."""
        provider.answers("POST", "/tracer/v1/validations", {"decision": "ALLOW"})
        provider.answers("POST", TRANSACTIONS, {"id": "t-1"})

        for _ in range(3):
            api.deliver("validate-and-transact", TRANSFER, Prefer="wait=10")

        assert len(provider.received_at("/realms/bank/token")) == 1
        assert {one.headers["authorization"] for one in provider.received_at(TRANSACTIONS)} == {"Bearer m1daz-token"}

    @pytest.mark.usefixtures("active")
    def test_a_denied_transaction_is_not_created(self, api: Api, provider: StubProvider) -> None:
        """Nobody asks Midaz, nor for a token; the output names the decision."""
        provider.answers("POST", "/tracer/v1/validations", {"decision": "DENY"})

        execution_id = api.deliver("validate-and-transact", TRANSFER, Prefer="wait=10")

        assert [received.path for received in provider.received] == ["/tracer/v1/validations"]
        assert api.results(execution_id)["finalOutput"] == {"decision": "DENY", "requestId": UUID}

    @pytest.mark.usefixtures("active")
    def test_a_transaction_that_does_not_fit_is_not_sent(self, api: Api, provider: StubProvider) -> None:
        """An amount that is no decimal text names its field, and nobody is asked."""
        execution_id = api.deliver("validate-and-transact", {**TRANSFER, "amount": 100.1}, Prefer="wait=10")

        results = api.results(execution_id)
        assert provider.received == []
        assert results["status"] == "failed"
        assert "input.amount" in results["errorMessage"]
