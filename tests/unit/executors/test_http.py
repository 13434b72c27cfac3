"""What `http.request` makes of a call."""

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from flowker.executors.calls import Call
from flowker.executors.http import foresee, prepare, probe
from flowker.executors.refusals import CallRefused
from tests.unit.executors.conftest import EXECUTION_ID

BASE = "https://example.com/v1"
BEARER = {"auth": {"type": "bearer", "config": {"token": "t0ken-of-mine"}}}
QUERY_KEY = {"auth": {"type": "api_key", "config": {"key": "k", "location": "query", "header": "key"}}}

CallTo = Callable[..., Call]


def test_what_is_left_of_the_input_is_the_body(call_to: CallTo) -> None:
    """Numbers keep their digits."""
    call = call_to(BASE, input={"query": {}, "headers": {}, "amount": Decimal("100.10"), "big": 12345678901234567890})

    request = prepare(call)

    assert request.body == b'{"amount":100.10,"big":12345678901234567890}'
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "input_", "body"),
    [
        ("GET", {}, None),
        ("DELETE", {"query": {"a": 1}}, None),
        ("DELETE", {"reason": "x"}, b'{"reason":"x"}'),
        ("POST", {}, b"{}"),
        ("PUT", {}, b"{}"),
        ("PATCH", {"headers": {}}, b"{}"),
    ],
)
def test_get_and_delete_have_no_body_when_nothing_is_left(
    call_to: CallTo, method: str, input_: dict[str, Any], body: bytes | None
) -> None:
    """The other methods always have one."""
    request = prepare(call_to(BASE, method=method, input=input_))

    assert request.body == body
    assert ("Content-Type" in request.headers) == (body is not None)


def test_the_query_is_appended(call_to: CallTo) -> None:
    """Lists repeat their parameter, null leaves it out, everything is encoded."""
    query = {"a": ["x y", 1], "b": Decimal("1.50"), "c": True, "d": None, "e": [], "f&=#": "&=#+/?é"}

    request = prepare(call_to(BASE, path="find?z=0", input={"query": query}))

    encoded = "z=0&a=x%20y&a=1&b=1.50&c=true&f%26%3D%23=%26%3D%23%2B%2F%3F%C3%A9"
    assert str(request.url) == f"{BASE}/find?{encoded}"


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("c-1", "c-1"),
        ("a/b?c=d#e", "a%2Fb%3Fc%3Dd%23e"),
        ("é {x}", "%C3%A9%20%7Bx%7D"),
        (12345678901234567890, "12345678901234567890"),
        (Decimal("1.50"), "1.50"),
        (True, "true"),
    ],
)
def test_parameters_of_the_path_come_from_the_input(call_to: CallTo, value: Any, encoded: str) -> None:
    """Each stays one segment, whatever is in it, and is not sent a second time in the body."""
    call = call_to(BASE, path="customers/{id}/of/{id}?via={channel}", input={"id": value, "channel": "web", "a": 1})

    request = prepare(call)

    assert str(request.url) == f"{BASE}/customers/{encoded}/of/{encoded}?via=web"
    assert request.body == b'{"a":1}'


@pytest.mark.parametrize("value", ["", None, [], ["x"], {}, {"a": 1}, "..", ".", "../admin", "%2e%2e", "x" * 1001])
def test_a_parameter_that_is_no_segment_is_refused(call_to: CallTo, value: Any) -> None:
    """It would call something else than was meant."""
    with pytest.raises(CallRefused):
        prepare(call_to(BASE, path="customers/{id}", input={"id": value}))


def test_a_missing_parameter_is_named(call_to: CallTo) -> None:
    """The author knows what to map."""
    with pytest.raises(CallRefused, match="the input has no customer-id, which the path wants"):
        prepare(call_to(BASE, path="customers/{customer-id}", input={"id": 1}))


@pytest.mark.parametrize("path", ["{{id}}", "{}", "{1}", "{a b}", "{id", "id}"])
def test_other_braces_are_text(call_to: CallTo, path: str) -> None:
    """They are percent-encoded like everything else."""
    request = prepare(call_to(BASE, path=path, input={"id": 1}))

    assert request.url.path == f"/v1/{path}"
    assert request.body == b'{"id":1}'


def test_headers_have_an_order_of_precedence(call_to: CallTo) -> None:
    """The configuration and the input over what is usual; ours over everything."""
    config = {"headers": {"X-Tenant": "t1", "accept": "text/csv", "Authorization": "Custom x"}}
    wanted = {"user-agent": "shop/1", "X-Number": 5, "X-None": None, "x-tenant": None}
    call = call_to(BASE, config, node_id="né\r\n 1", input={"headers": wanted})

    headers = prepare(call).headers

    assert headers["X-Tenant"] == "t1"
    assert headers["Accept"] == "text/csv"
    assert headers["Authorization"] == "Custom x"
    assert headers["X-Number"] == "5"
    assert "X-None" not in headers
    assert headers["Idempotency-Key"] == f"{EXECUTION_ID}:n%C3%A9%0D%0A%201"
    assert headers["X-Flowker-Execution-Id"] == EXECUTION_ID
    assert headers.getall("User-Agent") == ["shop/1"]
    assert prepare(call_to(BASE)).headers["User-Agent"].startswith("Flowker/")


@pytest.mark.parametrize("name", ["X-Tenant", "x-tenant"])
def test_a_header_of_the_configuration_is_not_overridden(call_to: CallTo, name: str) -> None:
    """The operator chose the tenant; the input may come from anybody."""
    call = call_to(BASE, {"headers": {"X-Tenant": "t1"}}, input={"headers": {name: "t2"}})

    with pytest.raises(CallRefused, match="the configuration"):
        prepare(call)


def test_every_attempt_has_the_same_key(call_to: CallTo) -> None:
    """The far side recognises the repetition."""
    first, second = (prepare(call_to(BASE, attempt=attempt)).headers for attempt in (1, 2))

    assert first["Idempotency-Key"] == second["Idempotency-Key"] == f"{EXECUTION_ID}:n1"


def test_an_execution_is_one_trace(call_to: CallTo) -> None:
    """Its id names the trace, and each attempt of each node is a parent of its own."""
    calls = [call_to(BASE, node_id=node, attempt=attempt) for node in ("n1", "n2") for attempt in (1, 2)]

    parents = [prepare(call).headers["traceparent"] for call in calls]

    assert len(set(parents)) == len(calls)
    for traceparent in parents:
        assert re.fullmatch(rf"00-{EXECUTION_ID.replace('-', '')}-(?!0{{16}})[0-9a-f]{{16}}-01", traceparent)


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Expect",
        "Upgrade",
        "Proxy-Authorization",
        "Idempotency-Key",
        "TraceParent",
        "X-Flowker-Execution-ID",
    ],
)
def test_headers_that_are_ours_are_refused(call_to: CallTo, name: str) -> None:
    """From an input, which may come from anybody, from a configuration, and as the header of its API key."""
    with pytest.raises(CallRefused, match="only Flowker"):
        prepare(call_to(BASE, input={"headers": {name: "x"}}))
    with pytest.raises(CallRefused, match="only Flowker"):
        prepare(call_to(BASE, {"headers": {name: "x"}}))
    with pytest.raises(CallRefused, match="only Flowker"):
        prepare(call_to(BASE, {"auth": {"type": "api_key", "config": {"key": "x", "header": name}}}))


def test_credentials_are_not_overridden(call_to: CallTo) -> None:
    """Neither by an input nor by the headers beside them; without credentials an input has no identity to give."""
    api_key = {"auth": {"type": "api_key", "config": {"key": "k", "header": "X-Key"}}}
    for config, input_ in (
        (BEARER, {"headers": {"authorization": "Bearer other"}}),
        ({**BEARER, "headers": {"authorization": "Bearer other"}}, {}),
        (api_key, {"headers": {"x-key": "other"}}),
        (QUERY_KEY, {"query": {"key": "other"}}),
        ({}, {"headers": {"Authorization": "Bearer other"}}),
        ({}, {"headers": {"Cookie": "a=b"}}),
    ):
        with pytest.raises(CallRefused):
            prepare(call_to(BASE, config, input=input_))


@pytest.mark.parametrize(
    "input_",
    [
        {"headers": []},
        {"headers": {"X-A": {}}},
        {"headers": {"X-A": "a\r\nX-B: c"}},
        {"headers": {"X-A": "\x00"}},
        {"headers": {"X-A": "\ud800"}},
        {"headers": {"X A": "b"}},
        {"headers": {"": "b"}},
        {"headers": {"X-A:": "b"}},
        {"query": "a=1"},
        {"query": {"a": {}}},
        {"query": {"a": [[1]]}},
        {"query": {"a": "\ud800"}},
        {"query": {"\ud800": "a"}},
        {"text": "\ud800"},
        {"text": object()},
    ],
)
def test_an_input_that_cannot_be_sent_is_refused(call_to: CallTo, input_: dict[str, Any]) -> None:
    """Instead of being sent as something else."""
    with pytest.raises(CallRefused):
        prepare(call_to(BASE, input=input_))


@pytest.mark.parametrize(
    ("timeout_s", "config", "expected"),
    [
        (None, {}, 30),
        (None, {"timeout_seconds": 5}, 5),
        (None, {"timeout_seconds": Decimal("2.5")}, 2.5),
        (7, {"timeout_seconds": 5}, 7),
        (0.1, {}, 1),
        (1000, {}, 300),
        (None, {"timeout_seconds": 1000}, 300),
    ],
)
def test_the_timeout(call_to: CallTo, timeout_s: float | None, config: dict[str, Any], expected: float) -> None:
    """Of the node, else of the configuration, else 30 s; always within 1 and 300."""
    assert prepare(call_to(BASE, config, timeout_s=timeout_s)).timeout_s == expected


def test_a_timeout_that_is_no_number_is_refused(call_to: CallTo) -> None:
    """Rather than replaced by one that nobody chose."""
    with pytest.raises(CallRefused):
        prepare(call_to(BASE, {"timeout_seconds": "5"}, timeout_s=None))


def test_redirects_are_off_unless_the_configuration_allows_them(call_to: CallTo) -> None:
    """Only by saying true."""
    assert not prepare(call_to(BASE)).allow_redirects
    assert not prepare(call_to(BASE, {"allow_redirects": "yes"})).allow_redirects
    assert prepare(call_to(BASE, {"allow_redirects": True})).allow_redirects


def test_headers_that_look_like_secrets_are_masked(call_to: CallTo) -> None:
    """A configuration may keep a key in its headers."""
    request = prepare(call_to(BASE, {**BEARER, "headers": {"X-Api-Key": "s3cret!", "X-Tenant": "tenant-1"}}))

    assert request.credentials.mask("s3cret! tenant-1 t0ken-of-mine") == "******** tenant-1 ********"


def test_the_probe_is_made_as_a_call_is() -> None:
    """GET of the base URL with the headers and credentials of the configuration; redirects as they are allowed."""
    request = probe({"base_url": f"{BASE}/", **BEARER, "headers": {"X-Tenant": "t1"}, "allow_redirects": True})

    assert (request.method, str(request.url), request.body) == ("GET", f"{BASE}/", None)
    assert request.headers["X-Tenant"] == "t1"
    assert request.credentials.headers == {"Authorization": "Bearer t0ken-of-mine"}
    assert request.allow_redirects
    assert not probe({"base_url": BASE}).allow_redirects
    with pytest.raises(CallRefused, match="only Flowker"):
        probe({"base_url": BASE, **BEARER, "headers": {"Authorization": "Bearer other"}})


@pytest.mark.parametrize(
    ("path", "input_", "members"),
    [
        ("", {}, set()),
        ("/a/{id}?q={id}", {}, set()),
        ("/a/{id}", {"id": 7, "query": {"a": [1, None]}, "headers": {"X-A": True}}, set()),
        ("/{query}/{headers}", {"query": "q", "headers": "h"}, set()),
        ("/a#b", {}, {"path"}),
        ("/%2e%2e/a", {}, {"path"}),
        ("/a\\b", {}, {"path"}),
        ("/{id}/{other}", {"id": ""}, {"id"}),
        ("/{id}", {"id": ".."}, {"path"}),
        ("/a", {"query": {"a": {"b": 1}}, "headers": {"Idempotency-Key": "k"}}, {"query", "headers"}),
        ("/a", {"headers": {"Cookie": "c"}}, {"headers"}),
        ("/a", {"headers": {"not a name": "x"}}, {"headers"}),
    ],
)
def test_what_no_call_can_be_sent_with_is_foreseen(path: str, input_: dict[str, Any], members: set[str]) -> None:
    """From what the node says itself; what is not known yet is taken to fit."""
    assert foresee(path, input_).keys() == members


def test_calls_through_one_configuration_have_nothing_of_each_other(call_to: CallTo) -> None:
    """What the configuration says of all of them is read once; what their inputs say stays with each."""
    first = call_to(BASE, {"headers": {"X-Tenant": "t1"}, **BEARER}, path="a", input={"headers": {"X-Reason": "one"}})
    second = replace(first, execution_id=first.execution_id[::-1], path="b", input={"query": {"q": 1}})

    one, two, again = prepare(first), prepare(second), prepare(first)

    assert "X-Reason" not in two.headers
    assert one.headers["X-Reason"] == again.headers["X-Reason"] == "one"
    assert one.headers["Idempotency-Key"] == again.headers["Idempotency-Key"] != two.headers["Idempotency-Key"]
    assert [str(request.url) for request in (one, two, again)] == [f"{BASE}/a", f"{BASE}/b?q=1", f"{BASE}/a"]
    assert {request.headers["X-Tenant"] for request in (one, two, again)} == {"t1"}
    assert one.credentials is two.credentials


def test_a_configuration_that_is_refused_is_refused_to_each_call(call_to: CallTo) -> None:
    """Nothing is kept of it."""
    call = call_to(BASE, {"headers": {"Host": "elsewhere.example"}})

    for _ in range(2):
        with pytest.raises(CallRefused, match="a header is set that only Flowker"):
            prepare(call)


def test_headers_of_the_configuration_replace_ours(call_to: CallTo) -> None:
    """However they are written; there is one of each."""
    config = {"headers": {"accept": "text/csv", "content-type": "application/vnd.own+json"}}

    request, probing = prepare(call_to(BASE, config)), probe({"base_url": BASE, **config})

    assert request.headers.getall("Accept") == probing.headers.getall("Accept") == ["text/csv"]
    assert request.headers.getall("Content-Type") == ["application/vnd.own+json"]
