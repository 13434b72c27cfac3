"""What the executors of provider `tracer` send."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

import pytest

from flowker.executors.calls import Call, CallSucceeded
from flowker.executors.client import Caller
from flowker.executors.refusals import CallRefused
from flowker.executors.tracer import prepare_list_validations, prepare_validate_transaction, probe
from tests.unit.executors.conftest import EXECUTION_ID

KEY = "tr4cer-key"
CallThrough = Callable[..., Call]


class FarSide(Protocol):
    url: str
    received: list[Any]

    def answers(self, **response: Any) -> None: ...


def config(url: str = "https://tracer.example.com") -> dict[str, Any]:
    return {"base_url": f"{url}/base", "api_key": KEY, "headers": {"X-Tenant": "t1"}, "timeout_seconds": 7}


async def test_a_transaction_is_validated(caller: Caller, far_side: FarSide, call_through: CallThrough) -> None:
    """As it came, with the key, the headers of the configuration and what identifies the attempt."""
    far_side.answers(body=b'{"decision":"ALLOW"}', headers={"Content-Type": "application/json", "X-Echo": KEY})
    input_ = {"requestId": "r1", "amount": Decimal("100.10"), "headers": {"X-API-Key": "other"}}

    result = await caller.call(call_through("tracer.validate-transaction", config(far_side.url), input_))

    (received,) = far_side.received
    assert isinstance(result, CallSucceeded)
    assert result.output["body"] == {"decision": "ALLOW"}
    assert result.output["headers"]["x-echo"] == "********"
    assert (received.method, received.path) == ("POST", "/base/v1/validations")
    assert received.body == b'{"requestId":"r1","amount":100.10,"headers":{"X-API-Key":"other"}}'
    assert received.headers["content-type"] == "application/json"
    assert received.headers["x-api-key"] == KEY
    assert received.headers["x-tenant"] == "t1"
    assert received.headers["idempotency-key"] == f"{EXECUTION_ID}:n1"
    assert received.headers["x-flowker-execution-id"] == EXECUTION_ID
    assert received.headers["traceparent"].startswith("00-")


async def test_validations_are_listed_by_query(caller: Caller, far_side: FarSide, call_through: CallThrough) -> None:
    """What is no filter stays here, and nothing is a body."""
    input_ = {"decision": "DENY", "accountId": "a&b", "cursor": None, "amount": "1", "sortOrder": "ASC"}

    await caller.call(call_through("tracer.list-validations", config(far_side.url), input_))

    (received,) = far_side.received
    query = "limit=10&decision=DENY&accountId=a%26b&sortOrder=ASC"
    assert (received.method, received.path) == ("GET", f"/base/v1/validations?{query}")
    assert received.body == b""
    assert "content-type" not in received.headers
    assert received.headers["x-api-key"] == KEY


def test_method_and_path_of_the_node_do_not_count(call_through: CallThrough) -> None:
    """They are for executors whose call is not fixed; the time limit counts."""
    call = call_through(
        "tracer.list-validations", config(), {"limit": 5}, method="DELETE", path="other", timeout_s=None
    )

    request = prepare_list_validations(call)

    assert request.method == "GET"
    assert str(request.url) == "https://tracer.example.com/base/v1/validations?limit=5"
    assert request.timeout_s == 7
    assert not request.allow_redirects


async def test_the_probe_is_sent_as_a_call_is(caller: Caller, far_side: FarSide) -> None:
    """GET of the base URL with the key and the headers of the configuration."""
    await caller.send(lambda: probe(config(far_side.url)))

    (received,) = far_side.received
    assert (received.method, received.path) == ("GET", "/base")
    assert received.headers["x-api-key"] == KEY
    assert received.headers["x-tenant"] == "t1"


@pytest.mark.parametrize(
    "wrong", [{"api_key": ""}, {"api_key": "a\nb"}, {"base_url": None}, {"headers": {"x-api-key": "other"}}]
)
def test_a_configuration_that_cannot_be_sent_is_refused(call_through: CallThrough, wrong: dict[str, Any]) -> None:
    """For what got past its schema, and for a header that the key would be sent twice with."""
    with pytest.raises(CallRefused):
        prepare_validate_transaction(call_through("tracer.validate-transaction", {**config(), **wrong}))


def test_an_input_that_is_no_filter_is_refused(call_through: CallThrough) -> None:
    """Instead of being sent as something else."""
    with pytest.raises(CallRefused):
        prepare_list_validations(call_through("tracer.list-validations", config(), {"decision": {"a": 1}}))
