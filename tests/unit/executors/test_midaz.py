"""What the executors of provider `midaz` send."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

import pytest

from flowker.executors.authentication import Grant
from flowker.executors.calls import Call
from flowker.executors.client import Caller
from flowker.executors.midaz import prepare_get_account, probe
from flowker.executors.refusals import CallRefused
from tests.unit.executors.conftest import EXECUTION_ID

ORGANIZATION = "0b5d6a3e-6f0e-4a52-9a43-0c2f0e9b7a11"
LEDGER = "5d1c2f0a-3c7e-4a6b-8e0f-6b7a8c9d0e1f"
ACCOUNT = "a3c9e1d2-1111-4222-8333-944455556666"
BELOW = f"/v1/organizations/{ORGANIZATION}/ledgers/{LEDGER}"

CallThrough = Callable[..., Call]


class FarSide(Protocol):
    url: str
    received: list[Any]


def config(onboarding: str = "https://onboarding.example.com", transaction: str | None = None) -> dict[str, Any]:
    return {
        "onboarding_base_url": f"{onboarding}/onboarding",
        "transaction_base_url": f"{transaction or onboarding}/transaction",
        "organization_id": ORGANIZATION,
        "ledger_id": LEDGER,
        "headers": {"X-Tenant": "t1"},
    }


@pytest.mark.parametrize(
    ("executor", "input_", "method", "path", "body"),
    [
        (
            "midaz.create-account",
            {"assetCode": "BRL", "type": "deposit"},
            "POST",
            f"/onboarding{BELOW}/accounts",
            b'{"assetCode":"BRL","type":"deposit"}',
        ),
        ("midaz.get-account", {"accountId": ACCOUNT}, "GET", f"/onboarding{BELOW}/accounts/{ACCOUNT}", b""),
        (
            "midaz.create-transaction",
            {"send": {"asset": "BRL", "value": "10.50"}, "fee": Decimal("1.10")},
            "POST",
            f"/transaction{BELOW}/transactions/json",
            b'{"send":{"asset":"BRL","value":"10.50"},"fee":1.10}',
        ),
        (
            "midaz.get-account-balance",
            {"accountId": ACCOUNT},
            "GET",
            f"/transaction{BELOW}/accounts/{ACCOUNT}/balances?limit=10",
            b"",
        ),
        (
            "midaz.get-account-balance",
            {"accountId": "a/b ?c", "limit": 5, "cursor": "x&y", "other": 1},
            "GET",
            f"/transaction{BELOW}/accounts/a%2Fb%20%3Fc/balances?limit=5&cursor=x%26y",
            b"",
        ),
    ],
)
async def test_a_call_goes_to_its_service(
    caller: Caller,
    far_side: FarSide,
    elsewhere: FarSide,
    call_through: CallThrough,
    executor: str,
    input_: dict[str, Any],
    method: str,
    path: str,
    body: bytes,
) -> None:
    """Accounts to onboarding, amounts to transaction, below the ledger of the configuration."""
    await caller.call(call_through(executor, config(far_side.url, elsewhere.url), input_, method="PUT", path="other"))

    (received,) = [*far_side.received, *elsewhere.received]
    assert (received.method, received.path) == (method, path)
    assert len(far_side.received) == path.startswith("/onboarding")
    assert received.body == body
    assert received.headers["x-tenant"] == "t1"
    assert received.headers["idempotency-key"] == f"{EXECUTION_ID}:n1"
    assert received.headers["x-flowker-execution-id"] == EXECUTION_ID
    assert received.headers["traceparent"].startswith("00-")
    assert "authorization" not in received.headers
    assert ("content-type" in received.headers) == bool(body)


def test_the_credentials_are_those_of_a_client(call_through: CallThrough) -> None:
    """For the issuer of the configuration, and its header is taken."""
    auth = {"issuer_url": "https://id.example.com", "client_id": "c", "client_secret": "s3cret!", "scopes": ["a"]}
    call = call_through("midaz.get-account", {**config(), "auth": auth}, {"accountId": ACCOUNT})

    request = prepare_get_account(call)

    assert request.credentials.grant == Grant("https://id.example.com", "c", "s3cret!", ("a",))
    assert probe({**config(), "auth": auth}).credentials.grant == request.credentials.grant
    with pytest.raises(CallRefused):
        probe({**config(), "auth": auth, "headers": {"authorization": "Bearer other"}})


async def test_the_probe_asks_the_transaction_service(caller: Caller, far_side: FarSide, elsewhere: FarSide) -> None:
    """The one that moves money."""
    await caller.send(lambda: probe(config(far_side.url, elsewhere.url)))

    (received,) = elsewhere.received
    assert (received.method, received.path) == ("GET", "/transaction")
    assert received.headers["x-tenant"] == "t1"
    assert far_side.received == []


@pytest.mark.parametrize("account", [None, "", "..", "a/../../b", {"id": 1}, "\ud800"])
def test_an_account_that_cannot_stand_in_a_path_is_refused(call_through: CallThrough, account: Any) -> None:
    """It may come straight from a webhook."""
    with pytest.raises(CallRefused):
        prepare_get_account(call_through("midaz.get-account", config(), {"accountId": account}))


@pytest.mark.parametrize("wrong", [{"ledger_id": None}, {"organization_id": ""}, {"onboarding_base_url": None}])
def test_a_configuration_that_is_not_complete_is_refused(call_through: CallThrough, wrong: dict[str, Any]) -> None:
    """For what got past its schema."""
    call = call_through("midaz.get-account", {**config(), **wrong}, {"accountId": ACCOUNT})

    with pytest.raises(CallRefused):
        prepare_get_account(call)
