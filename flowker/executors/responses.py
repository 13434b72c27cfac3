"""What the far side answered: read within bounds, understood as JSON or text, judged by its status."""

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from flowker import jsontext
from flowker.executors.authentication import Credentials
from flowker.executors.calls import CallFailed, CallResult, CallSucceeded, OutgoingRequest

BODY_BYTES_MAX = 1_048_576
"""The same megabyte that a workflow takes in."""

ERROR_BODY_BYTES_MAX = 4_096
"""Enough to see what the far side complains about. Twice as much is read, so that no secret is cut and overlooked."""

LARGE_BODY_BYTES = 16_384
"""Up to here a body is read in a few milliseconds, whatever is in it."""

RETRY_AFTER_MAX_S = 86_400.0

CHARSETS = frozenset({"utf-8", "us-ascii", "ascii", "iso-8859-1", "latin1", "iso-8859-15", "windows-1252", "utf-16"})
"""The charsets of the web. Python knows more, and some of them are slow or make text that is not valid Unicode."""

_RETRYABLE = frozenset({408, 425, 429})

_JSON = re.compile(r"application/json|[^/;\s]+/[^;\s]+\+json", re.IGNORECASE)
"""JSON by its name, or by the suffix that types of every kind may have (RFC 6839, section 3.1)."""


async def read_result(response: aiohttp.ClientResponse, request: OutgoingRequest) -> CallResult:
    """The result of a call, from the answer that ended it."""
    succeeded = _is_success(response.status, request.success_status_codes)
    body, complete = await read_bounded(response, BODY_BYTES_MAX if succeeded else 2 * ERROR_BODY_BYTES_MAX)
    envelope = _envelope(response, request)
    if not succeeded:
        envelope["body"] = _mask(_read_error_body(response, request, body), request.credentials)
        message = f"the far side answered {response.status} {_phrase(response.status)}".rstrip()
        return CallFailed(message, is_retryable(response.status), envelope, retry_after_s(response.headers))
    if not complete:
        return CallFailed(f"the response is larger than {BODY_BYTES_MAX} bytes", retryable=False, output=envelope)
    read = partial(_read_body, response, request, body)
    # Reading much JSON holds up everybody else.
    envelope["body"] = await asyncio.to_thread(read) if len(body) > LARGE_BODY_BYTES else read()
    return CallSucceeded(envelope)


async def read_bounded(response: aiohttp.ClientResponse, bytes_max: int) -> tuple[bytes, bool]:
    """The body up to a bound, counted after decompression, and whether that is all of it."""
    body = bytearray()
    while not response.content.at_eof():
        body += await response.content.readany()
        if len(body) > bytes_max:
            return bytes(body[:bytes_max]), False
    return bytes(body), True


def is_retryable(status: int) -> bool:
    return status in _RETRYABLE or 500 <= status <= 599


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds: a number, or a date seen from the date of the answer (RFC 9110, section 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), RETRY_AFTER_MAX_S)
    at = _parse_date(text)
    if at is None:
        return None
    now = _parse_date(headers.get("Date", "")) or datetime.now(UTC)
    return min(max((at - now).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def _is_success(status: int, wanted: frozenset[int] | None) -> bool:
    return 200 <= status <= 299 if wanted is None else status in wanted


def _envelope(response: aiohttp.ClientResponse, request: OutgoingRequest) -> dict[str, Any]:
    return {
        "status": response.status,
        "status_text": _phrase(response.status),
        "url": request.credentials.mask(str(request.url)),
        "headers": {name: request.credentials.mask(text) for name, text in _headers(response.headers).items()},
        "body": None,
    }


def _phrase(status: int) -> str:
    """The standard phrase: what the far side writes there is of no use and may be anything."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _headers(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """The headers by lower-case name, repeated ones joined. Cookies are left out: they are secrets of a session."""
    joined: dict[str, str] = {}
    for name, value in headers.items():
        lower, text = name.lower(), value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if lower != "set-cookie":
            joined[lower] = f"{joined[lower]}, {text}" if lower in joined else text
    return joined


def _read_body(response: aiohttp.ClientResponse, request: OutgoingRequest, body: bytes) -> Any:
    return _mask(_understand(response, body), request.credentials)


def _read_error_body(response: aiohttp.ClientResponse, request: OutgoingRequest, body: bytes) -> Any:
    """The body of an error, without secrets that the far side repeats; what is longer is cut off, and text."""
    masked = request.credentials.mask(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    if len(masked) > ERROR_BODY_BYTES_MAX:
        return _as_text(response, masked[:ERROR_BODY_BYTES_MAX])
    return _understand(response, masked)


def _mask(value: Any, credentials: Credentials) -> Any:
    """The value, its texts without the secrets. Masking the bytes could break a number and would miss an escape."""
    if not credentials.secrets:
        return value
    if isinstance(value, str):
        return credentials.mask(value)
    if isinstance(value, list):
        return [_mask(one, credentials) for one in value]
    if isinstance(value, dict):
        return {credentials.mask(name): _mask(one, credentials) for name, one in value.items()}
    return value


def _understand(response: aiohttp.ClientResponse, body: bytes) -> Any:
    if not body:
        return None
    if _JSON.fullmatch(response.content_type):
        try:
            return jsontext.decode_strict(body)
        except jsontext.MalformedJson:
            pass
    return _as_text(response, body)


def _as_text(response: aiohttp.ClientResponse, body: bytes) -> str:
    charset = (response.charset or "utf-8").lower()
    text = body.decode(charset if charset in CHARSETS else "utf-8", "replace")
    return text.encode("utf-8", "replace").decode("utf-8")


def _parse_date(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
