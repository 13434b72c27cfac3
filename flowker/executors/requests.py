"""What the requests of all providers have in common: URL, headers, tracking, time.

What goes into a call may come straight from a webhook, so it can neither leave the base URL nor touch what identifies
the caller, nor a header of the configuration.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote, urlencode

from multidict import CIMultiDict
from yarl import URL

from flowker import __version__, jsontext
from flowker.domain.secrets import is_secret_name
from flowker.executors.authentication import Credentials, maskable
from flowker.executors.calls import Call, OutgoingRequest
from flowker.executors.egress import check_url
from flowker.executors.refusals import CallRefused

TIMEOUT_DEFAULT_S = 30.0
TIMEOUT_MIN_S = 1.0
TIMEOUT_MAX_S = 300.0

BASES_KEPT_MAX = 64
"""Base URLs that were called last. They come from configurations, and are few and short; of paths, parts come from
senders."""

URL_CHARACTERS_MAX = 16_384
"""Path and query of a call, encoded: twice what servers take. Parts of them come from senders, and libraries keep the
URLs that were called last."""

_NO_BASE_URL = "the configuration has no valid base URL"

_OURSELVES: Mapping[str, str] = {
    "Accept": "application/json, */*;q=0.5",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"Flowker/{__version__}",
}

_OURS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-flowker-execution-id",
    }
)
"""Headers that frame, route or identify the call: nobody else sets them."""

_IDENTITY = frozenset({"authorization", "cookie"})
"""Headers that say who calls: a configuration may set them, an input may not."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a configuration says of each of its requests, checked. `reserved` are headers that no input may set."""

    headers: CIMultiDict[str] = field(repr=False)
    credentials: Credentials
    reserved: frozenset[str]
    allow_redirects: bool


def terms_of(config: Mapping[str, Any], credentials: Credentials) -> Terms:
    """The terms of a configuration whose authentication comes to these credentials, or `CallRefused`."""
    fixed = headers_of(config.get("headers"), "the headers of the configuration")
    _refuse_headers(credentials.headers, _OURS)
    _refuse_headers(fixed, _OURS | credentials.header_names)
    headers = CIMultiDict(_OURSELVES)
    headers.update(fixed)
    return Terms(
        headers,
        _with_secrets(credentials, fixed),
        _OURS | _IDENTITY | credentials.header_names | _lower(fixed),
        config.get("allow_redirects") is True,
    )


def request_of(
    call: Call,
    method: str,
    url: URL,
    terms: Terms,
    *,
    body: bytes | None = None,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> OutgoingRequest:
    """The request of a call; `headers` are those that its input wants. Raises `CallRefused`."""
    all_headers = terms.headers.copy()
    if body is not None:
        all_headers.setdefault("Content-Type", content_type)
    if headers:
        _refuse_headers(headers, terms.reserved)
        all_headers.update(headers)
    all_headers.update(_tracking(call))
    return OutgoingRequest(
        method=method,
        url=url,
        headers=all_headers,
        body=body,
        timeout_s=_timeout_s(call),
        success_status_codes=call.success_status_codes,
        allow_redirects=terms.allow_redirects,
        credentials=terms.credentials,
    )


def probe_of(url: URL, terms: Terms) -> OutgoingRequest:
    """GET of a URL with the headers and credentials of a configuration."""
    return OutgoingRequest(
        method="GET",
        url=url,
        headers=terms.headers.copy(),
        body=None,
        timeout_s=TIMEOUT_DEFAULT_S,
        success_status_codes=None,
        allow_redirects=terms.allow_redirects,
        credentials=terms.credentials,
    )


def join_url(base_url: Any, path: str, query: Query) -> URL:
    """The URL of a path below a base URL; a query in the path or the base URL is kept. Raises `CallRefused`."""
    if not isinstance(base_url, str):
        raise CallRefused(_NO_BASE_URL)
    url = _below(base_url, path)
    if not query:
        return url
    queries = (url.raw_query_string, urlencode(query, quote_via=quote))
    return _build(url, url.raw_path, "&".join(part for part in queries if part))


def parse_base(base_url: Any) -> URL:
    """The base URL of a configuration, or `CallRefused`."""
    try:
        base = URL(base_url)
        check_url(base)
    except (TypeError, ValueError):
        raise CallRefused(_NO_BASE_URL) from None
    if any(is_secret_name(name) for name in base.query):
        raise CallRefused("the base URL has a secret in its query, where it would be shown")
    return base


def segment(value: Any, what: str) -> str:
    """One segment of a path, percent-encoded whole, or `CallRefused`."""
    text = _scalar(value, what)
    if not text:
        raise CallRefused(f"{what} is empty")
    return quote(text, safe="")


def query_of(parameters: Any, what: str = "query") -> list[tuple[str, str]]:
    """The query parameters of an object: a list repeats its parameter, null leaves it out."""
    if parameters is None:
        return []
    if not isinstance(parameters, Mapping):
        raise CallRefused(f"{what} of the input is not an object")
    return [
        (_encodable(name, what), _scalar(one, what))
        for name, value in parameters.items()
        for one in (value if isinstance(value, list) else [value])
        if one is not None
    ]


def headers_of(headers: Any, what: str) -> dict[str, str]:
    """The headers of an object, checked; null leaves one out."""
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise CallRefused(f"{what}: this is not an object")
    read = {name: _scalar(value, what) for name, value in headers.items() if value is not None}
    for name, value in read.items():
        if _HEADER_NAME.fullmatch(name) is None or _HEADER_VALUE.fullmatch(value) is None:
            raise CallRefused(f"{what}: one of them has a name or value that HTTP does not allow")
    return read


def input_headers_of(headers: Any) -> dict[str, str]:
    """The headers that an input wants, checked; those of the configuration are not known here."""
    read = headers_of(headers, "headers of the input")
    _refuse_headers(read, _OURS | _IDENTITY)
    return read


def encode_json(content: Any) -> bytes:
    """The content as JSON with exact numbers, or `CallRefused`."""
    try:
        return jsontext.encode(content)
    except (TypeError, ValueError, RecursionError):
        raise CallRefused("the input cannot be written as JSON") from None


@lru_cache(BASES_KEPT_MAX)
def _known_base(base_url: str) -> URL:
    return parse_base(base_url)


def _below(base_url: str, path: str) -> URL:
    base = _known_base(base_url)
    path, _, query_in_path = path.partition("?")
    _refuse_traversal(path)
    joined = f"{base.raw_path.rstrip('/')}/{_quote(path.lstrip('/'))}" if path.strip("/") else base.raw_path
    if path.endswith("/") and not joined.endswith("/"):
        joined += "/"
    queries = (base.raw_query_string, _quote(query_in_path))
    return _build(base, joined, "&".join(part for part in queries if part))


def _build(base: URL, path: str, query: str) -> URL:
    if len(path) + len(query) > URL_CHARACTERS_MAX:
        raise CallRefused(f"the URL of the call is longer than {URL_CHARACTERS_MAX} characters")
    return URL.build(scheme=base.scheme, authority=base.raw_authority, path=path, query_string=query, encoded=True)


def _refuse_traversal(path: str) -> None:
    """A path goes down only, however often and in whatever way its dots and slashes are encoded."""
    decoded = path
    while (once_more := unquote(decoded)) != decoded:
        decoded = once_more
    if {".", ".."} & set(re.split(r"[/\\]", decoded)):
        raise CallRefused("the path of the call has . or .. in it")
    if "#" in path or "\\" in decoded:
        raise CallRefused("the path of the call has a # or a backslash in it")


def _quote(text: str) -> str:
    """Percent-encode what may not stand in a URL, and keep what is encoded already."""
    try:
        return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text), safe="%/:@!$&'()*+,;=~?-._")
    except UnicodeEncodeError:
        raise CallRefused("the path of the call is not valid Unicode") from None


def _refuse_headers(headers: Mapping[str, str], reserved: frozenset[str]) -> None:
    for name in _lower(headers):
        if name in reserved or name.startswith("proxy-"):
            raise CallRefused("a header is set that only Flowker, the configuration or its authentication sets")


def _lower(headers: Mapping[str, str]) -> frozenset[str]:
    return frozenset(name.lower() for name in headers)


def _scalar(value: Any, what: str) -> str:
    if isinstance(value, str):
        return _encodable(value, what)
    if isinstance(value, bool | int | float | Decimal):
        return jsontext.encode(value).decode()
    raise CallRefused(f"{what}: only text, numbers, true and false can be sent there")


def _encodable(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CallRefused(f"{what}: a text is not valid Unicode") from None
    return text


def _timeout_s(call: Call) -> float:
    wanted = call.timeout_s if call.timeout_s is not None else call.configuration.config.get("timeout_seconds")
    if wanted is None:
        return TIMEOUT_DEFAULT_S
    if not isinstance(wanted, int | float | Decimal) or isinstance(wanted, bool):
        raise CallRefused("the timeout of the configuration is not a number")
    return float(min(max(wanted, TIMEOUT_MIN_S), TIMEOUT_MAX_S))


def _tracking(call: Call) -> dict[str, str]:
    """The same idempotency key for every attempt of the node.

    An execution is one trace (W3C Trace Context): its id names the trace, so that who knows one finds the other. Each
    attempt is a parent of its own.
    """
    return {
        "Idempotency-Key": f"{call.execution_id}:{quote(call.node_id, safe=_VISIBLE_ASCII)}",
        "X-Flowker-Execution-Id": call.execution_id,
        # No secret: what the system would have to be asked for costs a handover to another thread.
        "traceparent": f"00-{call.execution_id.replace('-', '')}-{random.getrandbits(64):016x}-01",
    }


def _with_secrets(credentials: Credentials, headers: Mapping[str, str]) -> Credentials:
    """The credentials, with the headers of the configuration that look like secrets counted as secrets."""
    secrets = [value for name, value in headers.items() if is_secret_name(name)]
    return replace(credentials, secrets=maskable([*credentials.secrets, *secrets]))
