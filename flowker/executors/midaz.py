"""The provider `midaz`: a ledger. Accounts are kept by its onboarding service, amounts by its transaction service."""

from collections.abc import Mapping
from typing import Any

from yarl import URL

from flowker.executors.authentication import read_credentials
from flowker.executors.calls import Call, OutgoingRequest
from flowker.executors.requests import (
    Query,
    Terms,
    encode_json,
    join_url,
    probe_of,
    query_of,
    request_of,
    segment,
    terms_of,
)
from flowker.executors.shapes import (
    AMOUNT,
    BASE_URL,
    FILLED,
    HEADERS,
    ISSUER_URL,
    METADATA,
    OPEN,
    PAGE_SIZE,
    TEXT,
    TIMEOUT_SECONDS,
    UUID,
    Shape,
    closed,
    document,
    text,
)

CONFIG_SCHEMA: Shape = document(
    {
        "onboarding_base_url": BASE_URL,
        "transaction_base_url": BASE_URL,
        "organization_id": UUID,
        "ledger_id": UUID,
        "auth": {
            **closed(
                {
                    "issuer_url": ISSUER_URL,
                    "client_id": FILLED,
                    "client_secret": FILLED,
                    "scopes": {"type": "array", "items": FILLED},
                },
                ["issuer_url", "client_id", "client_secret"],
            ),
            "description": "OIDC client credentials.",
        },
        "headers": HEADERS,
        "timeout_seconds": TIMEOUT_SECONDS,
    },
    ["onboarding_base_url", "transaction_base_url", "organization_id", "ledger_id"],
)

_LEG: Shape = closed(
    {
        "accountAlias": TEXT,
        "amount": closed({"asset": TEXT, "value": AMOUNT}),
        "share": OPEN,
        "description": TEXT,
        "metadata": METADATA,
    },
    ["accountAlias"],
)

CREATE_TRANSACTION_SCHEMA: Shape = document(
    {
        "send": closed(
            {
                "asset": TEXT,
                "value": AMOUNT,
                "source": closed({"from": {"type": "array", "items": _LEG}}),
                "distribute": closed({"to": {"type": "array", "items": _LEG}}),
            },
            ["asset", "value"],
        ),
        "description": text(256),
        "code": text(100),
        "pending": {"type": "boolean"},
        "chartOfAccountsGroupName": TEXT,
        "metadata": METADATA,
    },
    ["send"],
)

CREATE_ACCOUNT_SCHEMA: Shape = document(
    {
        "assetCode": text(100),
        "type": text(256),
        "name": text(256),
        "alias": text(100),
        "parentAccountId": UUID,
        "portfolioId": UUID,
        "segmentId": UUID,
        "entityId": text(256),
        "status": closed({"code": TEXT, "description": TEXT}),
        "metadata": METADATA,
    },
    ["assetCode", "type"],
)

GET_ACCOUNT_SCHEMA: Shape = document({"accountId": UUID}, ["accountId"])

GET_ACCOUNT_BALANCE_SCHEMA: Shape = document({"accountId": UUID, "limit": PAGE_SIZE, "cursor": TEXT}, ["accountId"])


def probe(config: Mapping[str, Any]) -> OutgoingRequest:
    """GET of the base URL of the transaction service, the one that moves money, or `CallRefused`."""
    return probe_of(join_url(config.get("transaction_base_url"), "", []), _terms(config))


def prepare_create_transaction(call: Call) -> OutgoingRequest:
    """The transaction as it came: what it has to have, the far side knows best."""
    url = _url(call, "transaction_base_url", "transactions/json")
    return request_of(call, "POST", url, call.configuration.know(_terms), body=encode_json(call.input))


def prepare_create_account(call: Call) -> OutgoingRequest:
    """The account as it came."""
    url = _url(call, "onboarding_base_url", "accounts")
    return request_of(call, "POST", url, call.configuration.know(_terms), body=encode_json(call.input))


def prepare_get_account(call: Call) -> OutgoingRequest:
    """One account by its id."""
    url = _url(call, "onboarding_base_url", _account_path(call))
    return request_of(call, "GET", url, call.configuration.know(_terms))


def prepare_get_account_balance(call: Call) -> OutgoingRequest:
    """A page of the balances of one account."""
    page = {"limit": call.input.get("limit", PAGE_SIZE["default"]), "cursor": call.input.get("cursor")}
    url = _url(call, "transaction_base_url", f"{_account_path(call)}/balances", query_of(page))
    return request_of(call, "GET", url, call.configuration.know(_terms))


def _account_path(call: Call) -> str:
    return f"accounts/{segment(call.input.get('accountId'), 'accountId of the input')}"


def _url(call: Call, base_url: str, path: str, query: Query = ()) -> URL:
    """The URL of a path below the ledger of the configuration."""
    config = call.configuration.config
    organization = segment(config.get("organization_id"), "organization_id of the configuration")
    ledger = segment(config.get("ledger_id"), "ledger_id of the configuration")
    return join_url(config.get(base_url), f"v1/organizations/{organization}/ledgers/{ledger}/{path}", query)


def _terms(config: Mapping[str, Any]) -> Terms:
    auth = config.get("auth")
    return terms_of(config, read_credentials(auth and {"type": "oidc_client_credentials", "config": auth}))
