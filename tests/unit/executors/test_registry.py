"""The catalog of what can be called."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from jsonschema_rs import meta

from flowker.executors.registry import EXECUTORS, PROVIDERS, TRIGGERS

SCHEMAS = [
    *(provider.config_schema for provider in PROVIDERS.values()),
    *(executor.input_schema for executor in EXECUTORS.values()),
    *(trigger.parameter_schema for trigger in TRIGGERS.values()),
]
ID = "0b5d6a3e-6f0e-4a52-9a43-0c2f0e9b7a11"

MIDAZ = {
    "onboarding_base_url": "https://onboarding.example.com",
    "transaction_base_url": "https://transaction.example.com",
    "organization_id": ID,
    "ledger_id": ID,
}
TRACER = {"base_url": "https://tracer.example.com", "api_key": "k"}
S3 = {"region": "eu-west-1", "bucket": "reports", "access_key_id": "AKIA", "secret_access_key": "s"}
OIDC = {"issuer_url": "https://id.example.com/realms/a", "client_id": "c", "client_secret": "s"}
TRANSACTION = {
    "requestId": ID,
    "transactionType": "PIX",
    "amount": "100.10",
    "currency": "BRL",
    "transactionTimestamp": "2026-01-31T12:00:00Z",
    "account": {"accountId": ID, "type": "checking", "status": "active"},
}


def test_the_catalog_is_consistent() -> None:
    """Entries stand under their own ids, and every executor has its provider."""
    assert {id_: executor.id for id_, executor in EXECUTORS.items()} == {id_: id_ for id_ in EXECUTORS}
    assert {id_: provider.id for id_, provider in PROVIDERS.items()} == {id_: id_ for id_ in PROVIDERS}
    assert {executor.provider_id for executor in EXECUTORS.values()} <= PROVIDERS.keys()


@pytest.mark.parametrize(
    "config",
    [
        {"base_url": "https://example.com"},
        {
            "base_url": "http://example.com/v1",
            "headers": {"X-A": "b"},
            "timeout_seconds": 2.5,
            "allow_redirects": True,
        },
        {"base_url": "https://example.com", "auth": {"type": "none"}},
        {"base_url": "https://example.com", "auth": {"type": "api_key", "config": {"key": "k", "location": "query"}}},
        {"base_url": "https://example.com", "auth": {"type": "bearer", "config": {"token": "t"}}},
        {"base_url": "https://example.com", "auth": {"type": "basic", "config": {"username": "u", "password": ""}}},
        {
            "base_url": "https://example.com",
            "auth": {
                "type": "oidc_client_credentials",
                "config": {"issuer_url": "https://id.example.com", "client_id": "c", "client_secret": "s"},
            },
        },
    ],
)
def test_configurations_of_provider_http_that_fit(config: dict[str, Any]) -> None:
    """The schema takes every type of authentication."""
    assert PROVIDERS["http"].config.fields(config) == {}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"base_url": "not a uri"},
        {"base_url": "https://example.com", "timeout_seconds": 0},
        {"base_url": "https://example.com", "timeout_seconds": 301},
        {"base_url": "https://example.com", "headers": {"X-A": 5}},
        {"base_url": "https://example.com", "verify": False},
    ],
)
def test_configurations_of_provider_http_that_do_not_fit(config: dict[str, Any]) -> None:
    """Formats are asserted and additional properties refused."""
    assert PROVIDERS["http"].config.fields(config) != {}


def test_the_catalog_has_what_is_promised() -> None:
    """Four providers, nine executors of four categories, one trigger, all of version v1."""
    assert [(provider.id, provider.name) for provider in PROVIDERS.values()] == [
        ("http", "HTTP"),
        ("midaz", "Midaz"),
        ("s3", "S3"),
        ("tracer", "Tracer"),
    ]
    assert {executor.id: (executor.provider_id, executor.category) for executor in EXECUTORS.values()} == {
        "http.request": ("http", "HTTP"),
        "midaz.create-transaction": ("midaz", "Midaz"),
        "midaz.create-account": ("midaz", "Midaz"),
        "midaz.get-account": ("midaz", "Midaz"),
        "midaz.get-account-balance": ("midaz", "Midaz"),
        "s3.put-object": ("s3", "S3"),
        "s3.get-object": ("s3", "S3"),
        "tracer.validate-transaction": ("tracer", "Tracer"),
        "tracer.list-validations": ("tracer", "Tracer"),
    }
    assert list(TRIGGERS) == ["webhook"]
    versions = [entry.version for catalog in (PROVIDERS, EXECUTORS, TRIGGERS) for entry in catalog.values()]
    assert set(versions) == {"v1"}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_schema_is_json_schema_2020_12(schema: Mapping[str, Any]) -> None:
    """It says so, and it is; it has to be written into the answers of the catalog."""
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert meta.is_valid(json.loads(json.dumps(schema)))


@pytest.mark.parametrize(
    ("provider", "config"),
    [
        ("midaz", MIDAZ),
        ("midaz", {**MIDAZ, "auth": OIDC, "headers": {"X-A": "b"}, "timeout_seconds": 5}),
        ("midaz", {**MIDAZ, "auth": {**OIDC, "scopes": ["a"]}}),
        ("tracer", TRACER),
        ("tracer", {**TRACER, "headers": {"X-A": "b"}, "timeout_seconds": 300}),
        ("s3", S3),
        ("s3", {**S3, "endpoint": "http://minio.example.com:9000"}),
    ],
)
def test_configurations_that_fit(provider: str, config: dict[str, Any]) -> None:
    """The least and the most of each provider."""
    assert PROVIDERS[provider].config.fields(config) == {}


@pytest.mark.parametrize(
    ("provider", "config", "field"),
    [
        ("http", {"base_url": "ftp://example.com"}, "base_url"),
        ("http", {"base_url": "https://me:pass@example.com"}, "base_url"),
        ("http", {"base_url": "https://me@example.com/a"}, "base_url"),
        ("http", {"base_url": "https://example.com/#a"}, "base_url"),
        ("http", {"base_url": "https://:80"}, "base_url"),
        ("midaz", {**MIDAZ, "transaction_base_url": "transaction.example.com"}, "transaction_base_url"),
        ("midaz", {**MIDAZ, "ledger_id": "1"}, "ledger_id"),
        ("midaz", {**MIDAZ, "auth": {**OIDC, "issuer_url": "id"}}, "auth.issuer_url"),
        ("midaz", {**MIDAZ, "auth": {**OIDC, "issuer_url": "https://id.example.com?a=b"}}, "auth.issuer_url"),
        ("midaz", {**MIDAZ, "auth": {**OIDC, "audience": "a"}}, "auth.audience"),
        ("midaz", {**MIDAZ, "auth": {}}, "auth.issuer_url"),
        ("midaz", {**MIDAZ, "base_url": "https://example.com"}, "base_url"),
        ("tracer", {"base_url": "https://example.com"}, "api_key"),
        ("tracer", {**TRACER, "api_key": ""}, "api_key"),
        ("tracer", {**TRACER, "allow_redirects": True}, "allow_redirects"),
        ("s3", {**S3, "region": "evil.example/"}, "region"),
        ("s3", {**S3, "bucket": "a/b"}, "bucket"),
        ("s3", {**S3, "secret_access_key": ""}, "secret_access_key"),
        ("s3", {**S3, "endpoint": "minio"}, "endpoint"),
        ("s3", {**S3, "acl": "public"}, "acl"),
    ],
)
def test_configurations_that_do_not_fit(provider: str, config: dict[str, Any], field: str) -> None:
    """The violation names the field."""
    assert field in PROVIDERS[provider].config.fields(config)


@pytest.mark.parametrize(
    ("auth", "violations"),
    [
        ({}, {"auth.type": "is missing"}),
        ("bearer", {"auth": "must be an object"}),
        (
            {"type": "magic", "config": {}},
            {
                "auth.type": "must be one of: none, api_key, bearer, basic, oidc_client_credentials, oidc_user",
            },
        ),
        ({"type": "none", "config": {"a": 1}}, {"auth.config.a": "is not expected"}),
        ({"type": "bearer"}, {"auth.config": "is missing"}),
        ({"type": "bearer", "config": "t"}, {"auth.config": "must be an object"}),
        ({"type": "bearer", "config": {"token": ""}}, {"auth.config.token": "must have at least 1 character"}),
        (
            {"type": "bearer", "config": {"tokn": "t"}},
            {"auth.config.token": "is missing", "auth.config.tokn": "is not expected"},
        ),
        (
            {"type": "api_key", "config": {"key": "k", "header": "A", "header_name": "B"}},
            {"auth.config.header_name": "is not expected"},
        ),
        (
            {"type": "basic", "config": {"username": "a:b", "password": ""}},
            {"auth.config.username": "does not have the expected form"},
        ),
        (
            {"type": "oidc_user", "config": {**OIDC, "scopes": [""]}},
            {
                "auth.config.username": "is missing",
                "auth.config.password": "is missing",
                "auth.config.scopes[0]": "must have at least 1 character",
            },
        ),
        ({"type": "none", "more": 1}, {"auth.more": "is not expected"}),
    ],
)
def test_a_wrong_authentication_is_named_by_its_field(auth: Any, violations: dict[str, str]) -> None:
    """What is asked for depends on the type, and nothing else is complained about."""
    assert PROVIDERS["http"].config.fields({"base_url": "https://example.com", "auth": auth}) == violations


@pytest.mark.parametrize(
    ("executor", "input_"),
    [
        ("midaz.create-transaction", {"send": {"asset": "BRL", "value": "10"}}),
        (
            "midaz.create-transaction",
            {
                "send": {
                    "asset": "BRL",
                    "value": "10.50",
                    "source": {
                        "from": [
                            {"accountAlias": "@a", "amount": {"asset": "BRL", "value": "10.50"}, "metadata": {"a": 1}}
                        ]
                    },
                    "distribute": {"to": [{"accountAlias": "@b", "share": {"percentage": 100}, "description": "d"}]},
                },
                "description": "d" * 256,
                "code": "c",
                "pending": True,
                "chartOfAccountsGroupName": "g",
                "metadata": {"a": {"b": []}},
            },
        ),
        ("midaz.create-account", {"assetCode": "BRL", "type": "deposit"}),
        (
            "midaz.create-account",
            {
                "assetCode": "BRL",
                "type": "deposit",
                "name": "n",
                "alias": "@a",
                "parentAccountId": ID,
                "portfolioId": ID,
                "segmentId": ID,
                "entityId": "e",
                "status": {"code": "ACTIVE", "description": "d"},
                "metadata": {"a": 1},
            },
        ),
        ("midaz.get-account", {"accountId": ID}),
        ("midaz.get-account-balance", {"accountId": ID, "limit": 100, "cursor": "c"}),
        ("tracer.validate-transaction", TRANSACTION),
        (
            "tracer.validate-transaction",
            {
                **TRANSACTION,
                "subType": "s",
                "account": {"accountId": ID, "type": "credit", "status": "closed", "metadata": {"a": 1}},
                "segment": {"segmentId": "s", "name": "n", "metadata": {}},
                "portfolio": {"portfolioId": "p", "name": "n", "metadata": {}},
                "merchant": {"merchantId": ID, "name": "n", "category": "5411", "country": "BR", "metadata": {}},
                "metadata": {"k" * 64: 1},
            },
        ),
        ("tracer.list-validations", {}),
        (
            "tracer.list-validations",
            {
                "decision": "DENY",
                "transactionType": "CARD",
                "accountId": ID,
                "limit": 1,
                "cursor": "c",
                "sortBy": "createdAt",
                "sortOrder": "ASC",
            },
        ),
        ("s3.put-object", {"key": "a/b.json", "content_type": "application/json", "body": {"a": 1}}),
        ("s3.put-object", {"key": "a", "body": "text"}),
        ("s3.get-object", {"key": "a"}),
        ("http.request", {"query": {"a": [1]}, "headers": {"b": "c"}, "anything": {}}),
    ],
)
def test_inputs_that_fit(executor: str, input_: dict[str, Any]) -> None:
    """The least and the most of each executor."""
    assert EXECUTORS[executor].input.fields(input_) == {}


@pytest.mark.parametrize(
    ("executor", "input_", "field"),
    [
        ("midaz.create-transaction", {}, "send"),
        ("midaz.create-transaction", {"send": {"asset": "BRL", "value": 10}}, "send.value"),
        ("midaz.create-transaction", {"send": {"asset": "BRL", "value": "-1"}}, "send.value"),
        ("midaz.create-transaction", {"send": {"asset": "BRL", "value": "1e3"}}, "send.value"),
        ("midaz.create-transaction", {"send": {"asset": "BRL", "value": "1", "fee": "1"}}, "send.fee"),
        (
            "midaz.create-transaction",
            {"send": {"asset": "BRL", "value": "1", "source": {"from": [{}]}}},
            "send.source.from[0].accountAlias",
        ),
        (
            "midaz.create-transaction",
            {"send": {"asset": "BRL", "value": "1"}, "description": "d" * 257},
            "description",
        ),
        ("midaz.create-account", {"assetCode": "BRL"}, "type"),
        ("midaz.create-account", {"assetCode": "BRL", "type": "a", "portfolioId": "1"}, "portfolioId"),
        ("midaz.create-account", {"assetCode": "BRL", "type": "a", "status": {"state": "x"}}, "status.state"),
        ("midaz.get-account", {"accountId": "1"}, "accountId"),
        ("midaz.get-account-balance", {"accountId": ID, "limit": 101}, "limit"),
        ("tracer.validate-transaction", {**TRANSACTION, "transactionType": "CASH"}, "transactionType"),
        ("tracer.validate-transaction", {**TRANSACTION, "currency": "brl"}, "currency"),
        ("tracer.validate-transaction", {**TRANSACTION, "transactionTimestamp": "today"}, "transactionTimestamp"),
        ("tracer.validate-transaction", {**TRANSACTION, "subType": "s" * 51}, "subType"),
        ("tracer.validate-transaction", {**TRANSACTION, "merchant": {"country": "BRA"}}, "merchant.country"),
        ("tracer.validate-transaction", {**TRANSACTION, "metadata": {"k" * 65: 1}}, "metadata"),
        ("tracer.validate-transaction", {**TRANSACTION, "metadata": {f"k{n}": n for n in range(51)}}, "metadata"),
        ("tracer.validate-transaction", {**TRANSACTION, "account": {"accountId": ID}}, "account.type"),
        ("tracer.list-validations", {"sortBy": "amount"}, "sortBy"),
        ("tracer.list-validations", {"offset": 1}, "offset"),
        ("s3.put-object", {"body": "text"}, "key"),
        ("s3.get-object", {"key": ""}, "key"),
        ("http.request", {"query": "a=1"}, "query"),
    ],
)
def test_inputs_that_do_not_fit(executor: str, input_: dict[str, Any], field: str) -> None:
    """The violation names the field."""
    assert field in EXECUTORS[executor].input.fields(input_)


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({"path": "orders", "method": "POST"}, set()),
        (
            {
                "path": "orders",
                "method": "GET",
                "verify_token": "t",
                "responseMode": "sync",
                "responseTimeout": 30,
            },
            set(),
        ),
        ({"path": "orders", "method": "POST", "signing_secret": "s" * 16}, set()),
        (
            {"path": "orders", "method": "POST", "signing_secret": "s", "verify_token": ""},
            {"signing_secret", "verify_token"},
        ),
        ({}, {"path", "method"}),
        ({"path": "", "method": "HEAD", "responseMode": "later"}, {"path", "method", "responseMode"}),
        ({"path": "orders", "method": "PUT", "responseTimeout": 31, "more": 1}, {"responseTimeout", "more"}),
    ],
)
def test_the_parameters_of_a_webhook(parameters: dict[str, Any], fields: set[str]) -> None:
    """Path and method, and how the answer waits."""
    assert TRIGGERS["webhook"].parameters.fields(parameters).keys() == fields
