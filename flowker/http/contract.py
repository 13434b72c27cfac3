"""What an operation of the document accepts and answers, ready to be asked for every request.

These objects only hold what `flowker.http.compiler` got out of openapi-core for one operation: deserializers,
validators, statuses. They judge, and say what is wrong as the refusal that the document asks for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from flowker import jsontext
from flowker.domain.errors import FlowkerError, InvalidRequest
from flowker.http.parameters import HOLDS_NUL, NO_QUERY, Parameter, ParameterRefused, Query, Sources, parse_cookies
from flowker.http.schema_engine import JudgingValidator
from flowker.http.violations import refusal
from flowker.jsonschema import VIOLATIONS_MAX, field_name

THOROUGH_BYTES_MAX = 32_768
"""Up to this size of a body every violation is reported. Finding them all costs about 8 µs each, and a body of
1 MB can hold half a million: beyond this size the first one is reported, which costs nothing."""

_decode_answer = msgspec.json.Decoder(float_hook=Decimal).decode
"""Like jsontext.decode, but for the sign of the integer -0, which no schema can tell from 0."""

DECODERS: Mapping[str, tuple[str, Callable[[bytes], Any]]] = {
    "application/json": ("JSON", _decode_answer),
    "text/plain": ("UTF-8", bytes.decode),
}
"""The media types that an answer can have: in which form its body is, and how that is read."""


class DocumentError(Exception):
    """The document asks for something that this service does not do, or its handlers do not fit it."""


class Body:
    """What an operation accepts as its body."""

    def __init__(self, validator: JudgingValidator, *, required: bool, any_text: bool = False) -> None:
        self._validator = validator
        self._required = required
        self._any_text = any_text

    def read(self, data: bytes, content_type: bytes | None) -> Any:
        """The body's value, None when it is absent and may be; raises the refusal that the document asks for."""
        if not data:
            if self._required:
                raise InvalidRequest(fields={"body": "is missing"})
            return None
        if content_type != b"application/json" and not is_json(content_type):
            raise InvalidRequest("The content type of the body is not application/json.")
        try:
            value = jsontext.decode_strict(data)
        except jsontext.MalformedJson as reason:
            raise InvalidRequest(fields={"body": str(reason)}) from None
        if not self._validator.is_valid(value):
            raise refusal(self._validator.violations(value, thorough=len(data) <= THOROUGH_BYTES_MAX))
        # JSON has no other way to write it.
        if not self._any_text and b"\\u0000" in data:
            _refuse_nul(value)
        return value


class Response:
    """What an operation may answer with one status: JSON, text, or no body at all."""

    def __init__(
        self,
        validator: JudgingValidator | None,
        headers: Sequence[Parameter],
        media_type: str = "application/json",
    ) -> None:
        self._validator = validator
        self._headers = headers
        self._media_type = media_type.encode()
        self._form, self._decode = DECODERS[media_type]

    def complaints(self, headers: Mapping[bytes, bytes], body: bytes) -> list[str]:
        """Everything in which the answer departs from the document; values are not repeated."""
        found = self._header_complaints(headers) if self._headers else []
        if self._validator is None:
            return [*found, "body: the document has none"] if body else found
        if headers.get(b"content-type", b"").partition(b";")[0] != self._media_type:
            return [*found, f"content-type: is not {self._media_type.decode()}"]
        try:
            value = self._decode(body)
        except ValueError:
            return [*found, f"body: is not {self._form}"]
        if not self._validator.is_valid(value):
            violations = self._validator.violations(value, thorough=len(body) <= THOROUGH_BYTES_MAX)
            found += [f"{violation.field}: {violation.text}" for violation in violations[:VIOLATIONS_MAX]]
        return found

    def _header_complaints(self, headers: Mapping[bytes, bytes]) -> list[str]:
        sources = Sources(path={}, query=NO_QUERY, headers=headers, cookies={})
        found = []
        for header in self._headers:
            try:
                header.read(sources)
            except ParameterRefused as refused:
                found.append(f"{header.name}: {refused}")
        return found


@dataclass(frozen=True, slots=True)
class OperationContract:
    operation_id: str
    method: str
    path: str
    parameters: Sequence[Parameter]
    body: Body | None
    responses: Mapping[int, Response]
    default_status: int
    """The lowest success that is documented: what an answer without a status has."""
    needs_key: bool
    reads_query: bool
    reads_cookies: bool
    is_admitted: bool = False
    """Whether it is refused at once when more wait than can be done soon."""

    def read_parameters(
        self, path: Mapping[str, str], query: bytes, headers: Mapping[bytes, bytes]
    ) -> dict[str, Any]:
        """The arguments for the handler; raises the refusal that the document asks for."""
        sources = Sources(
            path,
            Query(query) if self.reads_query else NO_QUERY,
            headers,
            parse_cookies(headers) if self.reads_cookies else {},
        )
        arguments: dict[str, Any] = {}
        refused: list[tuple[Parameter, str]] = []
        for parameter in self.parameters:
            try:
                arguments[parameter.argument] = parameter.read(sources)
            except ParameterRefused as reason:
                refused.append((parameter, str(reason)))
        if refused:
            raise _parameters_refusal(refused)
        return arguments

    def complaints(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> list[str]:
        """Everything in which these bytes depart from the document; an empty list lets them go out."""
        response = self.responses.get(status)
        if response is None:
            return [f"status: {status} is not documented"]
        return response.complaints(dict(reversed(headers)), body)


def _refuse_nul(value: Any, path: tuple[str | int, ...] = ()) -> None:
    """Refuse the first text in the value, or name in it, with the character that not every store has room for."""
    if isinstance(value, str) and "\0" in value:
        raise InvalidRequest(fields={field_name(path): HOLDS_NUL})
    if isinstance(value, dict):
        if any("\0" in name for name in value):
            raise InvalidRequest(fields={field_name(path): "has a name with the character U+0000"})
        for name, child in value.items():
            _refuse_nul(child, (*path, name))
    elif isinstance(value, list):
        for position, child in enumerate(value):
            _refuse_nul(child, (*path, position))


def is_json(content_type: bytes | None) -> bool:
    """Whether a content type is JSON.

    Parameters mean nothing to JSON (RFC 8259, section 11), but a charset that is not UTF-8 says that the sender
    wrote something else.
    """
    if content_type is None:
        return False
    essence, *attributes = content_type.lower().split(b";")
    if essence.strip() != b"application/json":
        return False
    pairs = [attribute.partition(b"=") for attribute in attributes]
    charsets = {value.strip(b' \t"') for name, _, value in pairs if name.strip() == b"charset"}
    return charsets <= {b"", b"utf-8", b"utf8", b"us-ascii"}


def _parameters_refusal(refused: Sequence[tuple[Parameter, str]]) -> FlowkerError:
    """Its code is the first parameter's, its fields name them all."""
    kind = refused[0][0].refusal
    # The class's own message speaks of a body.
    message = "A path or header parameter is not valid." if kind is InvalidRequest else None
    return kind(message, fields={parameter.name: reason for parameter, reason in refused})
