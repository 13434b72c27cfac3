"""What every executor sends, whole: method, target, all headers, body. Nothing beside it leaves the house."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from flowker import __version__
from flowker.executors.calls import Call, CallSucceeded
from flowker.executors.client import Caller
from flowker.executors.registry import EXECUTORS
from tests.unit.executors.conftest import EXECUTION_ID, FarSide

CallThrough = Callable[..., Call]

ID = "0b5d6a3e-6f0e-4a52-9a43-0c2f0e9b7a11"
LEDGER = f"/v1/organizations/{ID}/ledgers/{ID}"
TENANT = {"X-Tenant": "t1"}


@dataclass(frozen=True)
class Sent:
    """What an input becomes on the wire; `target` is what stands in the request line."""

    executor: str
    input: dict[str, Any]
    target: str
    method: str = "GET"
    body: bytes = b""
    content_type: str = "application/json"


SENT = [
    Sent(
        "http.request",
        {"query": {"q": "a b&c", "n": 1}, "headers": {"X-Reason": "check"}, "amount": Decimal("100.10")},
        "/base/orders/a%2Fb%20c?q=a%20b%26c&n=1",
        "PUT",
        b'{"amount":100.10}',
    ),
    Sent(
        "midaz.create-account",
        {"assetCode": "BRL", "type": "deposit"},
        f"/onboarding{LEDGER}/accounts",
        "POST",
        b'{"assetCode":"BRL","type":"deposit"}',
    ),
    Sent(
        "midaz.create-transaction",
        {"send": {"asset": "BRL", "value": "100.10"}, "metadata": {"number": 12345678901234567890}},
        f"/transaction{LEDGER}/transactions/json",
        "POST",
        b'{"send":{"asset":"BRL","value":"100.10"},"metadata":{"number":12345678901234567890}}',
    ),
    Sent("midaz.get-account", {"accountId": "a/b c?é"}, f"/onboarding{LEDGER}/accounts/a%2Fb%20c%3F%C3%A9"),
    Sent(
        "midaz.get-account-balance",
        {"accountId": ID, "limit": 5, "cursor": "x=&y"},
        f"/transaction{LEDGER}/accounts/{ID}/balances?limit=5&cursor=x%3D%26y",
    ),
    Sent("s3.get-object", {"key": "2026/a b+c.txt"}, "/reports/2026/a%20b%2Bc.txt"),
    Sent(
        "s3.put-object",
        {"key": "é.csv", "body": "a;b", "content_type": "text/csv"},
        "/reports/%C3%A9.csv",
        "PUT",
        b"a;b",
        "text/csv",
    ),
    Sent(
        "tracer.list-validations",
        {"decision": "DENY", "accountId": ID},
        f"/base/v1/validations?limit=10&decision=DENY&accountId={ID}",
    ),
    Sent(
        "tracer.validate-transaction",
        {"requestId": ID, "amount": "100.10"},
        "/base/v1/validations",
        "POST",
        f'{{"requestId":"{ID}","amount":"100.10"}}'.encode(),
    ),
]


def configurations(url: str) -> dict[str, dict[str, Any]]:
    client = {"issuer_url": f"{url}/issuer", "client_id": "me", "client_secret": "s3cret!"}
    return {
        "http": {
            "base_url": f"{url}/base",
            "headers": TENANT,
            "auth": {"type": "bearer", "config": {"token": "t0ken-of-http"}},
        },
        "midaz": {
            "onboarding_base_url": f"{url}/onboarding",
            "transaction_base_url": f"{url}/transaction",
            "organization_id": ID,
            "ledger_id": ID,
            "headers": TENANT,
            "auth": client,
        },
        "s3": {
            "region": "eu-west-1",
            "bucket": "reports",
            "access_key_id": "AKIA",
            "secret_access_key": "s3cret!",
            "endpoint": url,
        },
        "tracer": {"base_url": f"{url}/base", "api_key": "tr4cer-key", "headers": TENANT},
    }


PROOFS = {
    "http": {"authorization": "Bearer t0ken-of-http", "x-tenant": "t1", "x-reason": "check"},
    "midaz": {"authorization": "Bearer t0ken-of-midaz", "x-tenant": "t1"},
    "s3": {
        "authorization": r"AWS4-HMAC-SHA256 Credential=AKIA/\d{8}/eu-west-1/s3/aws4_request, SignedHeaders=.*",
        "x-amz-date": r"\d{8}T\d{6}Z",
        "x-amz-content-sha256": "[0-9a-f]{64}",
    },
    "tracer": {"x-api-key": "tr4cer-key", "x-tenant": "t1"},
}


def test_every_executor_is_here() -> None:
    """One that is new has its row."""
    assert [sent.executor for sent in sorted(SENT, key=lambda sent: sent.executor)] == sorted(EXECUTORS)


@pytest.mark.parametrize("sent", SENT, ids=lambda sent: str(sent.executor))
async def test_a_call_is_all_that_is_sent(
    caller: Caller, far_side: FarSide, call_through: CallThrough, sent: Sent
) -> None:
    """Every header of it, with its value."""
    far_side.answer = _issue_tokens
    provider = sent.executor.partition(".")[0]
    config = configurations(far_side.url)[provider]
    call = call_through(sent.executor, config, sent.input, method="PUT", path="/orders/a%2Fb c", node_id="pay")

    result = await caller.call(call)

    received = [one for one in far_side.received if not one.path.startswith("/issuer")]
    assert isinstance(result, CallSucceeded)
    assert [(one.method, one.path, one.body) for one in received] == [(sent.method, sent.target, sent.body)]
    about_the_body = {"content-type": re.escape(sent.content_type), "content-length": str(len(sent.body))}
    expected = {
        "host": re.escape(far_side.url.removeprefix("http://")),
        "accept": re.escape("application/json, */*;q=0.5"),
        "accept-encoding": "gzip, deflate",
        "user-agent": re.escape(f"Flowker/{__version__}"),
        "idempotency-key": f"{EXECUTION_ID}:pay",
        "x-flowker-execution-id": EXECUTION_ID,
        "traceparent": f"00-{EXECUTION_ID.replace('-', '')}-[0-9a-f]{{16}}-01",
        **PROOFS[provider],
        **(about_the_body if sent.body else {}),
    }
    headers = received[0].headers
    assert headers.keys() == expected.keys()
    assert {name: value for name, value in headers.items() if not re.fullmatch(expected[name], value)} == {}


async def _issue_tokens(request: web.Request) -> web.Response:
    """An OIDC issuer below /issuer, and success everywhere else."""
    issuer = f"http://{request.host}/issuer"
    return web.json_response(
        {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/token",
            "access_token": "t0ken-of-midaz",
            "token_type": "Bearer",
            "expires_in": 60,
        }
    )
