"""What a redirect makes of a request."""

from dataclasses import replace

import pytest
from multidict import CIMultiDict
from yarl import URL

from flowker.executors.authentication import Credentials
from flowker.executors.calls import OutgoingRequest
from flowker.executors.redirects import next_request
from flowker.executors.refusals import CallRefused

REQUEST = OutgoingRequest(
    method="POST",
    url=URL("https://example.com/v1/orders?x=1"),
    headers=CIMultiDict({"Content-Type": "application/json", "X-Tenant": "t1", "Idempotency-Key": "e1:n1"}),
    body=b"{}",
    timeout_s=5,
    success_status_codes=None,
    allow_redirects=True,
    credentials=Credentials(headers={"Authorization": "Bearer secret"}, query={"key": "secret"}, secrets=("secret",)),
)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/v2", "https://example.com/v2"),
        ("other?y=2", "https://example.com/v1/other?y=2"),
        ("https://example.com:443/a%2Fb#part", "https://example.com/a%2Fb"),
        ("//example.org/x", "https://example.org/x"),
    ],
)
def test_a_location_is_resolved(location: str, url: str) -> None:
    """Absolute or relative to where the request went."""
    assert str(next_request(REQUEST, 307, location).url) == url


@pytest.mark.parametrize(
    "location",
    [
        "http://example.com/",
        "ftp://example.com",
        "https://u:p@example.com/",
        "https://[",
        "https://:99999/",
        "javascript:alert(1)",
    ],
)
def test_a_location_that_no_call_goes_to_is_refused(location: str) -> None:
    """Neither from https to http nor anywhere that a configuration could not point to."""
    with pytest.raises(CallRefused):
        next_request(REQUEST, 307, location)


@pytest.mark.parametrize(
    ("method", "status", "next_method"),
    [
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("PUT", 303, "GET"),
        ("PUT", 302, "PUT"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("GET", 301, "GET"),
    ],
)
def test_method_and_body_follow_the_status(method: str, status: int, next_method: str) -> None:
    """RFC 9110, section 15.4: 307 and 308 keep them, 303 asks for the result, a POST becomes a GET as everywhere."""
    redirected = next_request(replace(REQUEST, method=method), status, "/next")

    assert redirected.method == next_method
    assert (redirected.body is None) == (next_method == "GET" != method)
    assert ("Content-Type" in redirected.headers) == (redirected.body is not None)


def test_credentials_stay_with_the_origin() -> None:
    """The same origin gets them again."""
    redirected = next_request(REQUEST, 307, "/next")

    assert redirected.credentials == REQUEST.credentials
    assert redirected.headers == REQUEST.headers


@pytest.mark.parametrize(
    "location", ["https://example.org/", "https://example.com:8443/", "https://sub.example.com/"]
)
def test_credentials_never_cross_origins(location: str) -> None:
    """Nor do headers of the configuration or the input, and they do not come back on the way back."""
    redirected = next_request(REQUEST, 307, location)
    back = next_request(redirected, 307, str(REQUEST.url))

    for request in (redirected, back):
        assert request.credentials == Credentials(secrets=("secret",))
        assert set(request.headers) == {"Content-Type", "Idempotency-Key"}
