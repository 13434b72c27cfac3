"""The one way out: a pooled client that sends what executors prepare, within their bounds, and never raises."""

import asyncio
import ipaddress
import socket
import ssl
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, urlencode

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict
from yarl import URL

from flowker.executors.calls import (
    Call,
    CallFailed,
    CallResult,
    CallSucceeded,
    OutgoingRequest,
    ProviderConfiguration,
)
from flowker.executors.egress import Egress
from flowker.executors.failures import failure_of
from flowker.executors.oidc import Tokens
from flowker.executors.redirects import REDIRECTS_MAX, STATUSES, next_request
from flowker.executors.refusals import CallRefused
from flowker.executors.registry import EXECUTORS
from flowker.executors.responses import read_result

__all__ = ["Call", "CallFailed", "CallResult", "CallSucceeded", "Caller", "ProviderConfiguration"]

CONNECTIONS_MAX = 1_000
"""To all far sides together. The engine bounds what each gets: waiting here would use up the time of the call."""

CONNECT_TIMEOUT_S = 10.0

_log = structlog.get_logger("flowker.executors")


class Caller:
    """Makes calls over one pool of connections.

    `egress_allow` names the networks that may be called although they are not public. The rule belongs to the pool:
    a connection that is kept alive was made under it. Names are resolved and certificates are trusted as the system
    does it, unless a resolver or a context is given.
    """

    def __init__(
        self,
        *,
        egress_allow: Sequence[str] = (),
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._egress = Egress(egress_allow)
        self._resolver = resolver
        self._tls = tls
        self._tokens = Tokens(monotonic)
        self._connect_timeout_s = connect_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS_MAX,
            resolver=self._resolver,
            socket_factory=self._egress.open_socket,
            ssl=self._tls or True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            # The time of a call as a whole is bounded in `call`.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
        )

    async def stop(self) -> None:
        await self._tokens.stop()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def resolve(self, url: URL) -> list[str]:
        """The addresses of a URL's host that calls may go to.

        Raises `AddressNotAllowed` if it has none but others, any other `OSError` if it does not resolve. This is to
        tell somebody: what may be connected to is checked again where it is connected.
        """
        return self._egress.select(await _addresses(url, self._resolver or aiohttp.ThreadedResolver()))

    async def call(self, call: Call) -> CallResult:
        """Make one attempt. Whatever happens is a result; only being cancelled is raised."""
        return await self.send(lambda: _prepare(call), execution_id=call.execution_id, node_id=call.node_id)

    async def send(self, prepare: Callable[[], OutgoingRequest], **whose: str) -> CallResult:
        """Send what `prepare` makes, or `CallRefused` that it raises. Whatever happens is a result.

        The log is told `whose` it was, should anything break.
        """
        if self._session is None:
            return CallFailed("Flowker is not connected", retryable=True)
        try:
            return await self._send_in_time(self._session, prepare())
        except CallRefused as refused:
            return CallFailed(str(refused), retryable=False)
        except (aiohttp.ClientError, OSError) as error:
            return failure_of(error)
        except Exception as error:  # noqa: BLE001 - the engine relies on an answer to every call
            # The message of an error may have a secret in it: only its type and the place are logged.
            place = traceback.format_tb(error.__traceback__)
            _log.error("call_broke", error=type(error).__name__, place=place, **whose)
            return CallFailed("the call failed inside of Flowker", retryable=False)

    async def _send_in_time(self, session: aiohttp.ClientSession, request: OutgoingRequest) -> CallResult:
        deadline = asyncio.timeout(request.timeout_s)
        try:
            async with deadline:
                return await self._send_authorized(session, request)
        except TimeoutError:
            if not deadline.expired():
                raise
            return CallFailed(f"there was no complete response within {request.timeout_s:g} s", retryable=True)

    async def _send_authorized(self, session: aiohttp.ClientSession, request: OutgoingRequest) -> CallResult:
        """Send a request with the token that its grant is good for; one that is refused is replaced once."""
        grant = request.credentials.grant
        if grant is None:
            return await _send(session, request)
        token = await self._tokens.get(session, grant)
        if isinstance(token, CallFailed):
            return token
        result = await _send(session, _with_token(request, token))
        if (result.output or {}).get("status") != 401:
            return result
        token = await self._tokens.get(session, grant, refused=token)
        return token if isinstance(token, CallFailed) else await _send(session, _with_token(request, token))


def _with_token(request: OutgoingRequest, token: str) -> OutgoingRequest:
    return replace(request, credentials=request.credentials.with_token(token))


async def _send(session: aiohttp.ClientSession, request: OutgoingRequest) -> CallResult:
    for _ in range(REDIRECTS_MAX + 1):
        credentials = request.credentials
        async with session.request(
            request.method,
            _with_query(request.url, credentials.query),
            headers=_with_headers(request.headers, credentials.headers),
            data=request.body,
            allow_redirects=False,
        ) as response:
            location = response.headers.get("Location")
            if not (request.allow_redirects and response.status in STATUSES and location is not None):
                return await read_result(response, request)
            request = next_request(request, response.status, location)
    raise CallRefused(f"the far side redirects more than {REDIRECTS_MAX} times")


async def _addresses(url: URL, resolver: AbstractResolver) -> list[str]:
    host = url.raw_host or ""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:  # it is a name
        return [one["host"] for one in await resolver.resolve(host, url.port or 0, socket.AF_UNSPEC)]


def _with_headers(headers: CIMultiDict[str], more: Mapping[str, str]) -> CIMultiDict[str]:
    if not more:
        return headers
    both = headers.copy()
    both.extend(more)
    return both


def _with_query(url: URL, parameters: Mapping[str, str]) -> URL:
    if not parameters:
        return url
    separator = "&" if url.raw_query_string else "?"
    return URL(f"{url}{separator}{urlencode(parameters, quote_via=quote)}", encoded=True)


def _prepare(call: Call) -> OutgoingRequest:
    executor = EXECUTORS.get(call.executor_id)
    if executor is None:
        raise CallRefused("the executor is not in the catalog")
    if executor.provider_id != call.configuration.provider_id:
        raise CallRefused("the provider configuration belongs to another provider")
    return executor.prepare(call)
