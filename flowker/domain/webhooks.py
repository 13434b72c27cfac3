"""What a webhook is: the path it is registered by, the delivery it turns into input, and its delivery key."""

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flowker.domain.errors import InvalidRequest, WebhookNotFound

SIGNATURE_HEADER = "x-webhook-signature"

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
        SIGNATURE_HEADER,
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

PATH_CHARACTERS_MAX = 500
"""Up to 2,000 bytes: an index of PostgreSQL has room for 2,700."""

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


def token_fits(wanted: str, given: str | None) -> bool:
    """Whether an X-Webhook-Token header, as it was decoded, has the token; takes as long whatever is wrong."""
    # Header values arrive as latin-1, a token may be any text: compare the bytes that were on the wire.
    return given is not None and hmac.compare_digest(given.encode("latin-1", "replace"), wanted.encode())


def sign(secret: str, body: bytes) -> str:
    """The signature of a body, as it stands in the header: HMAC-SHA256 with the secret's UTF-8 as the key."""
    return f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"


def signature_fits(secret: str, body: bytes, given: str | None) -> bool:
    """Whether an X-Webhook-Signature header is the body's signature; hexadecimal digits may be in either case."""
    return given is not None and hmac.compare_digest(
        given.lower().encode("latin-1", "replace"), sign(secret, body).encode()
    )


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
