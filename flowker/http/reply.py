"""What goes out: a status, the headers and the bytes, decided before the first of them is sent."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from starlette.types import Send

_ALWAYS = (
    # An answer is about one caller at one moment: no cache on the way may keep it or guess at its type.
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_OURS = frozenset({b"content-type", b"content-length", b"cache-control", b"x-content-type-options"})
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TEXT_HEADERS = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), *_ALWAYS)
"""The only text that goes out is for Prometheus, which reads the version of its format here."""

_JSON_HEADERS = ((b"content-type", b"application/json"), *_ALWAYS)


class Reply(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def json_reply(status: int, body: bytes, extra: Iterable[tuple[bytes, bytes]] = ()) -> Reply:
    return Reply(status, [*_JSON_HEADERS, (b"content-length", b"%d" % len(body)), *extra], body)


def text_reply(status: int, text: str, extra: Iterable[tuple[bytes, bytes]] = ()) -> Reply:
    body = text.encode()
    return Reply(status, [*_TEXT_HEADERS, (b"content-length", b"%d" % len(body)), *extra], body)


def empty_reply(status: int, extra: Iterable[tuple[bytes, bytes]] = ()) -> Reply:
    # RFC 9110, 8.6: a 204 must not carry a content-length.
    length = () if status == 204 else ((b"content-length", b"0"),)
    return Reply(status, [*_ALWAYS, *length, *extra], b"")


def encode_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Raises ValueError for what cannot be a header. uvicorn would find out only after the answer has begun."""
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    for name, value in encoded:
        if name in _OURS or _CONTROL.search(name + value):
            raise ValueError(f"the header {name!r} cannot be set, or not to this value")
    return encoded
