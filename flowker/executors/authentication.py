"""What proves to the far side who calls: the authentication of a configuration, as headers or query parameters."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import quote

from flowker.domain.secrets import MASK
from flowker.executors.refusals import CallRefused
from flowker.executors.shapes import FILLED, ISSUER_URL, TEXT, closed

API_KEY_NAME = "X-API-Key"

AUTHORIZATION = "Authorization"

MASKED_CHARACTERS_MIN = 6
"""A shorter secret is not looked for: it would be found everywhere, and hides nothing."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What an OIDC issuer gives a token for: a client's secret, or a user's password if there is one."""

    issuer_url: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] = ()
    audience: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is added to a request, and the texts that must not appear anywhere else.

    With a grant, the token that it is good for is fetched right before the request is sent.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    grant: Grant | None = None

    @property
    def header_names(self) -> frozenset[str]:
        """The headers that the request will have, in lower case."""
        return frozenset(name.lower() for name in (*self.headers, *([AUTHORIZATION] if self.grant else [])))

    def with_token(self, token: str) -> Self:
        """The credentials with the token that was fetched for them."""
        headers = {**self.headers, AUTHORIZATION: f"Bearer {token}"}
        return replace(self, headers=headers, secrets=maskable([*self.secrets, token]))

    def mask(self, text: str) -> str:
        """The text without the secrets."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text


NO_CREDENTIALS = Credentials()


def read_credentials(authentication: Any) -> Credentials:
    """The credentials of `{type, config}`, or `CallRefused`."""
    if authentication is None:
        return NO_CREDENTIALS
    if not isinstance(authentication, Mapping):
        raise CallRefused("the authentication of the configuration is not an object")
    kind = authentication.get("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise CallRefused("the configuration has an authentication of unknown type")
    config = authentication.get("config") or {}
    if not isinstance(config, Mapping):
        raise CallRefused("the authentication of the configuration has no config object")
    return read(config)


def maskable(secrets: Iterable[str]) -> tuple[str, ...]:
    """The secrets as they may come back: plain, in JSON, in a URL. Longest first, so that none leaves a rest."""
    long = [secret for secret in secrets if len(secret) >= MASKED_CHARACTERS_MIN]
    spellings = {
        spelling for secret in long for spelling in (secret, json.dumps(secret)[1:-1], quote(secret, safe=""))
    }
    return tuple(sorted(spellings, key=len, reverse=True))


def _read_none(_: Mapping[str, Any]) -> Credentials:
    return NO_CREDENTIALS


def _read_api_key(config: Mapping[str, Any]) -> Credentials:
    key = _text(config, "key")
    name = _text(config, "header" if "header" in config else "header_name", API_KEY_NAME)
    prefix = _text(config, "prefix", "")
    # "Bearer" wants a space before the key, "sk_" and "key=" do not.
    value = f"{prefix} {key}" if prefix[-1:].isalnum() else f"{prefix}{key}"
    location = config.get("location", "header")
    if location == "header":
        return Credentials(headers={_header_name(name): value}, secrets=maskable([key]))
    if location == "query":
        return Credentials(query={name: value}, secrets=maskable([key]))
    raise CallRefused("the location of the API key is neither header nor query")


def _read_bearer(config: Mapping[str, Any]) -> Credentials:
    token = _text(config, "token")
    return Credentials(headers={AUTHORIZATION: f"Bearer {token}"}, secrets=maskable([token]))


def _read_basic(config: Mapping[str, Any]) -> Credentials:
    username, password = _text(config, "username"), _text(config, "password", "")
    if ":" in username:
        raise CallRefused("the user name of the authentication has a colon")  # RFC 7617, section 2
    encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
    return Credentials(headers={AUTHORIZATION: f"Basic {encoded}"}, secrets=maskable([encoded, password]))


def _read_oidc_client_credentials(config: Mapping[str, Any]) -> Credentials:
    secret = _text(config, "client_secret")
    return Credentials(grant=_read_grant(config, client_secret=secret), secrets=maskable([secret]))


def _read_oidc_user(config: Mapping[str, Any]) -> Credentials:
    secret = _text(config, "client_secret", "")
    username, password = _text(config, "username"), _text(config, "password")
    grant = _read_grant(config, client_secret=secret or None, username=username, password=password)
    return Credentials(grant=grant, secrets=maskable([secret, password]))


def _read_grant(config: Mapping[str, Any], **proof: str | None) -> Grant:
    scopes = config.get("scopes") or []
    if not isinstance(scopes, list) or not all(isinstance(scope, str) and scope.isprintable() for scope in scopes):
        raise CallRefused("the scopes of the authentication are not a list of texts")
    issuer_url, client_id = _text(config, "issuer_url"), _text(config, "client_id")
    audience = _text(config, "audience", "") or None
    return Grant(issuer_url, client_id, scopes=tuple(scopes), audience=audience, **proof)


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Credentials]] = {
    "none": _read_none,
    "api_key": _read_api_key,
    "bearer": _read_bearer,
    "basic": _read_basic,
    "oidc_client_credentials": _read_oidc_client_credentials,
    "oidc_user": _read_oidc_user,
}

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]|[\ud800-\udfff]")


def _text(config: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = config.get(name, default)
    if not isinstance(value, str) or (default is None and not value) or _CONTROL.search(value):
        raise CallRefused(f"the {name} of the authentication is missing or not valid")
    return value


def _header_name(name: str) -> str:
    if _TOKEN.fullmatch(name) is None:
        raise CallRefused("the header of the API key is not a header name")
    return name


_OIDC: Mapping[str, Any] = {
    "issuer_url": ISSUER_URL,
    "client_id": FILLED,
    "client_secret": FILLED,
    "scopes": {"type": "array", "items": FILLED},
    "audience": TEXT,
}

_API_KEY: Mapping[str, Any] = {
    "key": FILLED,
    "header": {**FILLED, "default": API_KEY_NAME},
    "header_name": {**FILLED, "default": API_KEY_NAME},
    "location": {"enum": ["header", "query"], "default": "header"},
    "prefix": TEXT,
}

_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "none": closed({}),
    # Two spellings of one member: with both of them, one would be ignored.
    "api_key": {**closed(_API_KEY, ["key"]), "dependentSchemas": {"header": {"properties": {"header_name": False}}}},
    "bearer": closed({"token": FILLED}, ["token"]),
    "basic": closed({"username": {**FILLED, "pattern": "^[^:]*$"}, "password": TEXT}, ["username", "password"]),
    "oidc_client_credentials": closed(_OIDC, ["issuer_url", "client_id", "client_secret"]),
    "oidc_user": closed(
        {**_OIDC, "username": FILLED, "password": FILLED}, ["issuer_url", "client_id", "username", "password"]
    ),
}


def _rule(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from a type. With `oneOf` instead, a violation could not say which field is wrong."""
    return {
        "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
        "then": {"properties": {"config": config}, "required": ["config"] if config["required"] else []},
    }


SCHEMA: Mapping[str, Any] = {
    **closed({"type": {"enum": list(_CONFIGS)}, "config": {"type": "object"}}, ["type"]),
    "allOf": [_rule(kind, config) for kind, config in _CONFIGS.items()],
}
"""Any authentication of a configuration, as JSON Schema."""
