"""Following the far side to another URL, where a configuration allows it."""

from dataclasses import replace

from yarl import URL

from flowker.executors.authentication import NO_CREDENTIALS
from flowker.executors.calls import OutgoingRequest
from flowker.executors.egress import check_url
from flowker.executors.refusals import CallRefused

REDIRECTS_MAX = 5

STATUSES = frozenset({301, 302, 303, 307, 308})

_KEPT_ELSEWHERE = frozenset(
    {"accept", "content-type", "idempotency-key", "traceparent", "user-agent", "x-flowker-execution-id"}
)
"""What another origin gets to see of the headers: nothing that a configuration or an input has set beside these."""


def next_request(request: OutgoingRequest, status: int, location: str) -> OutgoingRequest:
    """The request that a redirect asks for (RFC 9110, section 15.4), or `CallRefused`."""
    url = _resolve(request.url, location)
    if request.url.scheme == "https" and url.scheme == "http":
        raise CallRefused("the far side redirects from https to http")
    redirected = replace(request, url=url)
    if url.origin() != request.url.origin():
        redirected = _without_credentials(redirected)
    if status == 303 or (status in {301, 302} and request.method == "POST"):
        redirected = _without_body(redirected)
    return redirected


def _resolve(base: URL, location: str) -> URL:
    try:
        url = base.join(URL(location)).with_fragment(None)
        check_url(url)
    except ValueError:  # some URLs are taken at first and break when they are looked at
        raise CallRefused("the far side redirects to something that is not a URL") from None
    return url


def _without_credentials(request: OutgoingRequest) -> OutgoingRequest:
    """The request for another origin; the secrets are still masked, and never come back on a further redirect."""
    headers = request.headers.copy()
    for name in set(headers):
        if name.lower() not in _KEPT_ELSEWHERE:
            headers.popall(name, None)
    credentials = replace(NO_CREDENTIALS, secrets=request.credentials.secrets)
    return replace(request, headers=headers, credentials=credentials)


def _without_body(request: OutgoingRequest) -> OutgoingRequest:
    headers = request.headers.copy()
    headers.popall("Content-Type", None)
    return replace(request, method="GET", body=None, headers=headers)
