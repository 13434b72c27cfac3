"""What a webhook is: the path it is registered by, the delivery it turns into input, and its delivery key."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flowker.domain.errors import InvalidRequest, WebhookNotFound

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

IDEMPOTENCY_KEY_CHARACTERS_MAX = 255

_LEFT_OUT = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authorization",
        "x-api-key",
        "x-webhook-token",
        "x-hub-signature",
        "x-hub-signature-256",
        "x-signature",
        "x-webhook-signature",
        "stripe-signature",
        "signature",
        "signature-input",
        "webhook-signature",
        "x-slack-signature",
        "x-shopify-hmac-sha256",
        "x-gitlab-token",
        "x-twilio-signature",
        "paypal-transmission-sig",
    }
)
"""Headers that carry a credential or a signature: a workflow, and whoever reads its results, has no use for them."""

_NEVER_IN_A_PATH = re.compile("[\x00\ufffd\ud800-\udfff]")
"""NUL, and what decoders make of bytes that are not UTF-8."""

_PREFERENCE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.?)*+(?:"|\Z))++', re.DOTALL)
"""Up to the next comma outside of quotes; an unclosed quote goes on to the end."""

_WAIT = re.compile(r'\s*wait\s*=\s*(?:([0-9]{1,9})|"([0-9]{1,9})")\s*(?:;.*)?', re.IGNORECASE | re.DOTALL)

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")


def normalize_path(path: str) -> str:
    """The one spelling of a webhook path, without slashes at its ends; WebhookNotFound for what never is one."""
    normalized = path.strip("/")
    segments = normalized.split("/")
    if not normalized or _NEVER_IN_A_PATH.search(normalized) or ".." in segments or "." in segments:
        raise WebhookNotFound
    return normalized


def parse_idempotency_key(header: str | None) -> str | None:
    """The key of an Idempotency-Key header, quoted (RFC 8941 string) or bare; blank counts as absent."""
    key = (header or "").strip(" \t")
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key.strip(" \t"):
        return None
    if len(key) > IDEMPOTENCY_KEY_CHARACTERS_MAX or not _VISIBLE_ASCII.fullmatch(key):
        reason = f"must be 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} visible ASCII characters"
        raise InvalidRequest("The Idempotency-Key header is not valid.", fields={"Idempotency-Key": reason})
    return key


def parse_prefer_wait_s(headers: Iterable[str]) -> int | None:
    """The seconds of a `Prefer: wait=…` preference (RFC 7240 section 4.3); the first well-formed one counts."""
    for header in headers:
        for preference in _PREFERENCE.findall(header):
            if wait := _WAIT.fullmatch(preference):
                return int(wait[1] or wait[2])
    return None


def build_input(
    body: Mapping[str, Any] | None,
    *,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    query: Sequence[tuple[str, str]],
    remote_ip: str | None,
) -> dict[str, Any]:
    """The execution's input: the body and `_webhook`, which replaces one that the caller sent."""
    kept = ((name, value) for name, value in headers if name not in _LEFT_OUT)
    delivery = {
        "method": method,
        "path": path,
        "headers": _collect(kept),
        "query": _collect(query),
        "remote_ip": remote_ip,
    }
    return {**(body or {}), "_webhook": delivery}


def _collect(pairs: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    """A name once keeps its value; a name that is repeated keeps all of them as a list."""
    collected: dict[str, str | list[str]] = {}
    for name, value in pairs:
        known = collected.get(name)
        if known is None:
            collected[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            collected[name] = [known, value]
    return collected
