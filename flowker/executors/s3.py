"""The provider `s3`: objects in a bucket of Amazon S3 or of a store that speaks the same protocol.

Requests are signed (AWS Signature Version 4) at the moment of each attempt: the far side refuses a signature that is
a quarter of an hour old.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

from yarl import URL

from flowker.executors.authentication import Credentials, maskable
from flowker.executors.calls import Call, OutgoingRequest
from flowker.executors.refusals import CallRefused, faults_of
from flowker.executors.requests import encode_json, parse_base, probe_of, request_of, terms_of
from flowker.executors.responses import CHARSETS
from flowker.executors.shapes import BASE_URL, FILLED, Shape, document

CONTENT_TYPE = "application/octet-stream"

_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_VISIBLE = re.compile(r"[!-~]+")
_CONTENT_TYPE = re.compile(r"[!-~]+(?: [!-~]+)*")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^;\"\s]+)", re.IGNORECASE)

_KEY: Shape = {"type": "string", "pattern": f"^{_VISIBLE.pattern}$"}

CONFIG_SCHEMA: Shape = document(
    {
        "region": {"type": "string", "pattern": f"^{_REGION.pattern}$"},
        "bucket": {"type": "string", "pattern": f"^{_BUCKET.pattern}$"},
        "access_key_id": _KEY,
        "secret_access_key": _KEY,
        "endpoint": {**BASE_URL, "description": "The URL of an S3-compatible store; Amazon S3 without it."},
    },
    ["region", "bucket", "access_key_id", "secret_access_key"],
)

INPUT_SCHEMA: Shape = document(
    {
        "key": {**FILLED, "maxLength": 1024, "description": "The key of the object in the bucket."},
        "content_type": {
            "type": "string",
            "minLength": 1,
            "default": CONTENT_TYPE,
            "description": "What an object that is put contains.",
        },
        "body": {"description": "The contents of an object that is put: a text as it is, anything else as JSON."},
    },
    ["key"],
)


class _Keys(NamedTuple):
    """What botocore signs with. Its own class for this would import all of its configuration."""

    access_key: str
    secret_key: str
    token: None = None


def probe(config: Mapping[str, Any]) -> OutgoingRequest:
    """A listing of the bucket without an entry, signed, or `CallRefused`."""
    url = _url(config, "").with_query({"list-type": "2", "max-keys": "0"})
    return probe_of(url, terms_of(config, _sign(config, "GET", url)))


def prepare_put_object(call: Call) -> OutgoingRequest:
    """PUT of the object, its whole body signed."""
    url = _object_url(call)
    content_type = _content_type(call.input.get("content_type"))
    body = _encode_body(call.input.get("body"), content_type)
    config = call.configuration.config
    terms = terms_of(config, _sign(config, "PUT", url, body, content_type))
    return request_of(call, "PUT", url, terms, body=body, content_type=content_type)


def prepare_get_object(call: Call) -> OutgoingRequest:
    """GET of the object."""
    url = _object_url(call)
    config = call.configuration.config
    return request_of(call, "GET", url, terms_of(config, _sign(config, "GET", url)))


def load() -> None:
    """Import what signs. It takes longer than all else that is only for calls, and most stores have none to S3."""
    import botocore.auth  # noqa: F401, PLC0415 - as is said above


def foresee(_: str, input_: Mapping[str, Any]) -> dict[str, str]:
    """What of a node's own members refuses each of its calls."""
    readers = {"key": _key, "content_type": _content_type}
    return faults_of({name: partial(read, input_[name]) for name, read in readers.items() if name in input_})


def _object_url(call: Call) -> URL:
    return _url(call.configuration.config, _key(call.input.get("key")))


def _key(key: Any) -> str:
    if not isinstance(key, str) or not key:
        raise CallRefused("key of the input is not a text, or is empty")
    if {".", ".."} & set(key.split("/")):
        # Between here and the store somebody would follow them to another object.
        raise CallRefused("key of the input has . or .. in it")
    return key


def _url(config: Mapping[str, Any], key: str) -> URL:
    """The URL of an object, or of the bucket for an empty key. Other stores rarely have host names for buckets."""
    bucket, region = _setting(config, "bucket", _BUCKET), _setting(config, "region", _REGION)
    base = parse_base(config.get("endpoint") or _amazon(region))
    prefix = base.raw_path.rstrip("/")
    if config.get("endpoint") is None and "." not in bucket:
        return _build(base, f"{bucket}.{base.raw_authority}", prefix, key)
    if (base.host or "").startswith(f"{bucket}."):
        return _build(base, base.raw_authority, prefix, key)
    return _build(base, base.raw_authority, f"{prefix}/{bucket}", key)


def _amazon(region: str) -> str:
    return f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _build(base: URL, authority: str, prefix: str, key: str) -> URL:
    try:
        path = quote(key, safe="/")
    except UnicodeEncodeError:
        raise CallRefused("key of the input is not valid Unicode") from None
    return URL.build(scheme=base.scheme, authority=authority, path=f"{prefix}/{path}", encoded=True)


def _sign(
    config: Mapping[str, Any], method: str, url: URL, body: bytes | None = None, content_type: str | None = None
) -> Credentials:
    """The headers that prove who calls. What the way may change, as the trace, is not signed."""
    from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - see `load`
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - same

    keys = _Keys(_setting(config, "access_key_id", _VISIBLE), _setting(config, "secret_access_key", _VISIBLE))
    request = AWSRequest(method, str(url), {"Content-Type": content_type} if content_type else {}, body or b"")
    S3SigV4Auth(keys, "s3", config["region"]).add_auth(request)
    signature = request.headers["Authorization"].rpartition("=")[2]
    names = ("Authorization", "X-Amz-Content-SHA256", "X-Amz-Date")
    return Credentials(
        headers={name: request.headers[name] for name in names}, secrets=maskable([keys.secret_key, signature])
    )


def _setting(config: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = config.get(name)
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise CallRefused(f"the {name} of the configuration is missing or not valid")
    return value


def _content_type(value: Any) -> str:
    if value is None:
        return CONTENT_TYPE
    if not isinstance(value, str) or _CONTENT_TYPE.fullmatch(value) is None:
        raise CallRefused("content_type of the input is not a media type")
    return value


def _encode_body(body: Any, content_type: str) -> bytes:
    """A text in the charset that its content type names, so that it is read as it was written; JSON has but one."""
    if body is None:
        return b""
    if not isinstance(body, str):
        return encode_json(body)
    named = _CHARSET.search(content_type)
    charset = named[1].lower() if named else "utf-8"
    if charset not in CHARSETS:
        raise CallRefused("content_type of the input has a charset that is not known")
    try:
        return body.encode(charset)
    except UnicodeEncodeError:
        raise CallRefused("body of the input has characters that its charset does not have") from None
