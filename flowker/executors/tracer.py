"""The provider `tracer`: decides whether a transaction may go on, and remembers what it decided."""

from collections.abc import Mapping
from typing import Any

from flowker.executors.authentication import read_credentials
from flowker.executors.calls import Call, OutgoingRequest
from flowker.executors.requests import Terms, encode_json, join_url, probe_of, query_of, request_of, terms_of
from flowker.executors.shapes import (
    AMOUNT,
    BASE_URL,
    DATE_TIME,
    FILLED,
    HEADERS,
    METADATA,
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
        "base_url": BASE_URL,
        "api_key": {**FILLED, "description": "Sent as X-API-Key."},
        "headers": HEADERS,
        "timeout_seconds": TIMEOUT_SECONDS,
    },
    ["base_url", "api_key"],
)

_VALIDATIONS = "v1/validations"

_TRANSACTION_TYPE: Shape = {"enum": ["CARD", "WIRE", "PIX", "CRYPTO"]}

VALIDATE_TRANSACTION_SCHEMA: Shape = document(
    {
        "requestId": UUID,
        "transactionType": _TRANSACTION_TYPE,
        "subType": text(50),
        "amount": AMOUNT,
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "transactionTimestamp": DATE_TIME,
        "account": closed(
            {
                "accountId": UUID,
                "type": {"enum": ["checking", "savings", "credit"]},
                "status": {"enum": ["active", "suspended", "closed"]},
                "metadata": METADATA,
            },
            ["accountId", "type", "status"],
        ),
        "segment": closed({"segmentId": TEXT, "name": TEXT, "metadata": METADATA}),
        "portfolio": closed({"portfolioId": TEXT, "name": TEXT, "metadata": METADATA}),
        "merchant": closed(
            {
                "merchantId": UUID,
                "name": TEXT,
                "category": {"type": "string", "minLength": 4, "maxLength": 4},
                "country": {"type": "string", "minLength": 2, "maxLength": 2},
                "metadata": METADATA,
            }
        ),
        "metadata": {**METADATA, "maxProperties": 50, "propertyNames": {"maxLength": 64}},
    },
    ["requestId", "transactionType", "amount", "currency", "transactionTimestamp", "account"],
)

LIST_VALIDATIONS_SCHEMA: Shape = document(
    {
        "decision": {"enum": ["ALLOW", "DENY", "REVIEW"]},
        "transactionType": _TRANSACTION_TYPE,
        "accountId": UUID,
        "limit": PAGE_SIZE,
        "cursor": TEXT,
        "sortBy": {"enum": ["createdAt"]},
        "sortOrder": {"enum": ["ASC", "DESC"]},
    }
)


def probe(config: Mapping[str, Any]) -> OutgoingRequest:
    """GET of the base URL as a call would send it, or `CallRefused`."""
    return probe_of(join_url(config.get("base_url"), "", []), _terms(config))


def prepare_validate_transaction(call: Call) -> OutgoingRequest:
    """The transaction as it came: what a validation has to have, the far side knows best."""
    config = call.configuration.config
    url = join_url(config.get("base_url"), _VALIDATIONS, [])
    return request_of(call, "POST", url, call.configuration.know(_terms), body=encode_json(call.input))


def prepare_list_validations(call: Call) -> OutgoingRequest:
    """The filters of the input as query parameters; what else is in it stays here."""
    config = call.configuration.config
    known = LIST_VALIDATIONS_SCHEMA["properties"]
    filters = {"limit": PAGE_SIZE["default"], **{name: call.input[name] for name in known if name in call.input}}
    url = join_url(config.get("base_url"), _VALIDATIONS, query_of(filters))
    return request_of(call, "GET", url, call.configuration.know(_terms))


def _terms(config: Mapping[str, Any]) -> Terms:
    return terms_of(config, read_credentials({"type": "api_key", "config": {"key": config.get("api_key")}}))
