"""Tokens of OIDC issuers: found through discovery, kept until shortly before they expire, shared by all calls.

An issuer is a far side like any other: its address is checked, its answers are bounded, redirects are not followed.
"""

import asyncio
import base64
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode

import aiohttp
from yarl import URL

from flowker import __version__, jsontext
from flowker.executors.authentication import Grant
from flowker.executors.calls import CallFailed
from flowker.executors.egress import check_url
from flowker.executors.failures import failure_of
from flowker.executors.refusals import CallRefused
from flowker.executors.responses import is_retryable, read_bounded, retry_after_s

DISCOVERY_PATH = "/.well-known/openid-configuration"

ANSWER_BYTES_MAX = 65_536
"""A configuration has some kilobytes, a token too."""

FETCH_TIMEOUT_S = 10.0
"""For discovery and token together. A call that has less time gives up on its own; the others go on waiting."""

LIFETIME_DEFAULT_S = 60.0
"""For an issuer that does not say how long its token lasts."""

LIFETIME_MAX_S = 86_400.0

MARGIN_S = 30.0
"""A token this near to its end may be refused when it arrives; one that lasts less long is kept for half of it."""

TOKENS_MAX = 1_000

_HEADERS: Mapping[str, str] = {"Accept": "application/json", "User-Agent": f"Flowker/{__version__}"}

_TOKEN = re.compile(r"[!-~]+")

_ERRORS = frozenset(
    {
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
"""What may be wrong with a request (RFC 6749, section 5.2); nothing else that an issuer says is repeated."""


@dataclass(frozen=True, slots=True)
class _Kept:
    token: str
    until_s: float


class _Failed(Exception):
    """There is no token."""

    def __init__(self, message: str, *, retryable: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.failure = CallFailed(message, retryable, retry_after_s=retry_after_s)


class Tokens:
    """The tokens that are in use. However many calls want the same one, it is fetched once."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, *, timeout_s: float = FETCH_TIMEOUT_S
    ) -> None:
        self._monotonic = monotonic
        self._timeout_s = timeout_s
        self._kept: dict[Grant, _Kept] = {}
        self._fetches: dict[Grant, asyncio.Task[str | CallFailed]] = {}

    async def get(
        self, session: aiohttp.ClientSession, grant: Grant, *, refused: str | None = None
    ) -> str | CallFailed:
        """The token for a grant, other than the one that was refused, or why there is none."""
        kept = self._kept.get(grant)
        if kept is not None and kept.token != refused and self._monotonic() < kept.until_s:
            return kept.token
        fetch = self._fetches.get(grant)
        if fetch is None:
            fetch = self._fetches[grant] = asyncio.create_task(self._fetch(session, grant))
        # The fetch goes on when a call that waits for it is out of time: the others wait for it too.
        return await asyncio.shield(fetch)

    async def stop(self) -> None:
        """Give up what is being fetched."""
        fetches = list(self._fetches.values())
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)

    async def _fetch(self, session: aiohttp.ClientSession, grant: Grant) -> str | CallFailed:
        self._kept.pop(grant, None)
        deadline = asyncio.timeout(self._timeout_s)
        try:
            async with deadline:
                return self._keep(grant, await _ask(session, grant))
        except _Failed as failed:
            return failed.failure
        except (aiohttp.ClientError, OSError) as error:
            if deadline.expired():
                return CallFailed(f"the issuer gave no token within {self._timeout_s:g} s", retryable=True)
            return failure_of(error, "the issuer")
        finally:
            del self._fetches[grant]

    def _keep(self, grant: Grant, answer: Mapping[str, Any]) -> str:
        token = _token(answer)
        lifetime_s = _lifetime_s(answer.get("expires_in"))
        if len(self._kept) >= TOKENS_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[grant] = _Kept(token, self._monotonic() + lifetime_s - min(MARGIN_S, lifetime_s / 2))
        return token


async def _ask(session: aiohttp.ClientSession, grant: Grant) -> Mapping[str, Any]:
    metadata = await _discover(session, grant)
    endpoint = _endpoint(metadata, grant)
    form, headers = _prove(grant, metadata)
    encoded = urlencode(form).encode()
    headers = {**_HEADERS, **headers, "Content-Type": "application/x-www-form-urlencoded"}
    async with session.post(endpoint, data=encoded, headers=headers, allow_redirects=False) as response:
        return await _read(response, "the token endpoint of the issuer")


async def _discover(session: aiohttp.ClientSession, grant: Grant) -> Mapping[str, Any]:
    """The configuration of the issuer (OpenID Connect Discovery 1.0, section 4)."""
    url = _url(grant.issuer_url.rstrip("/") + DISCOVERY_PATH)
    async with session.get(url, headers=_HEADERS, allow_redirects=False) as response:
        metadata = await _read(response, "the discovery of the issuer")
    issuer = metadata.get("issuer")
    if not isinstance(issuer, str) or issuer.rstrip("/") != grant.issuer_url.rstrip("/"):
        raise _Failed("the configuration of the issuer is that of another issuer")
    return metadata


def _endpoint(metadata: Mapping[str, Any], grant: Grant) -> URL:
    endpoint = _url(metadata.get("token_endpoint"))
    if endpoint.scheme != "https" and _url(grant.issuer_url).scheme == "https":
        raise _Failed("the issuer wants the secret sent without TLS")
    return endpoint


def _url(text: Any) -> URL:
    try:
        url = URL(text)
        check_url(url)
    except (TypeError, ValueError, CallRefused):
        raise _Failed("the issuer or its token endpoint is not an http or https URL") from None
    return url


def _prove(grant: Grant, metadata: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The form and the headers that ask for a token (RFC 6749, sections 2.3.1, 4.3.2 and 4.4.2)."""
    form = {"grant_type": "client_credentials"}
    if grant.username is not None and grant.password is not None:
        form = {"grant_type": "password", "username": grant.username, "password": grant.password}
    if grant.scopes:
        form["scope"] = " ".join(grant.scopes)
    if grant.audience is not None:
        form["audience"] = grant.audience
    if grant.client_secret is None:
        return {**form, "client_id": grant.client_id}, {}
    supported = metadata.get("token_endpoint_auth_methods_supported")
    if not isinstance(supported, list) or "client_secret_basic" in supported:
        pair = f"{quote_plus(grant.client_id)}:{quote_plus(grant.client_secret)}"
        return form, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    if "client_secret_post" in supported:
        return {**form, "client_id": grant.client_id, "client_secret": grant.client_secret}, {}
    raise _Failed("the issuer takes no client secret")


async def _read(response: aiohttp.ClientResponse, whom: str) -> Mapping[str, Any]:
    """The answer as an object. Of one that is no success, only a reason that everybody knows is told."""
    body, complete = await read_bounded(response, ANSWER_BYTES_MAX)
    if not complete:
        raise _Failed(f"the answer of {whom} is larger than {ANSWER_BYTES_MAX} bytes")
    answer = _decode(body)
    if response.status != 200:
        error = answer.get("error")
        reason = f" ({error})" if isinstance(error, str) and error in _ERRORS else ""
        raise _Failed(
            f"{whom} answered {response.status}{reason}",
            retryable=is_retryable(response.status),
            retry_after_s=retry_after_s(response.headers),
        )
    if not answer:
        raise _Failed(f"the answer of {whom} is not a JSON object")
    return answer


def _decode(body: bytes) -> Mapping[str, Any]:
    try:
        answer = jsontext.decode_strict(body)
    except jsontext.MalformedJson:
        return {}
    return answer if isinstance(answer, Mapping) else {}


def _token(answer: Mapping[str, Any]) -> str:
    token, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _Failed("the token of the issuer is not a bearer token")
    if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
        raise _Failed("the issuer gave no token that can be sent")
    return token


def _lifetime_s(expires_in: Any) -> float:
    try:
        lifetime_s = float(expires_in)
    except (TypeError, ValueError, OverflowError):
        return LIFETIME_DEFAULT_S
    return min(max(lifetime_s, 0.0), LIFETIME_MAX_S)
