"""JSON text to values and back, with numbers exact: money never passes through a binary float.

Integers stay integers, beyond 64 bits too; everything that is written with a point becomes a `decimal.Decimal`.
Text that comes from outside goes through `decode_strict`, which also refuses what RFC 8259 leaves open and what
RFC 7493 (I-JSON) forbids: duplicate keys, lone surrogates, NaN and Infinity.
"""

import json
import re
from array import array
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import Any

import msgspec

DEPTH_MAX = 64
"""Deeper nesting than any real payload has, and far from the recursion limit of every library on the way."""

CONTAINERS_MAX = 131_072
"""Objects and arrays in one text: one for every 8 bytes of the largest body. Real payloads have a tenth of it; half a
million empty lists would stop everything else for half a second, wherever they are decoded."""

INTEGER_CHARACTERS_MAX = 4300
"""The longest integer, sign included, that msgspec reads back: a longer one could be stored and never read again."""

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
_canonical_encoder = msgspec.json.Encoder(decimal_format="number", order="deterministic")


class MalformedJson(ValueError):
    """Text that is not acceptable JSON; the message says why and never repeats the text."""


def decode(text: bytes | str) -> Any:
    """Decode text that this service wrote itself."""
    data = text.encode() if isinstance(text, str) else text
    # msgspec reads the integer -0 as 0; the fold of a journal would differ from the state that was written.
    if b"-0" in data and _NEGATIVE_ZERO.search(data):
        return _strict_decoder.decode(data.decode())
    return _decoder.decode(data)


def encode(value: Any) -> bytes:
    """Encode as compact UTF-8; a Decimal becomes a number with the digits that it has."""
    return _encoder.encode(value)


def encode_canonical(value: Any) -> bytes:
    """Encode with sorted keys: the same value gives the same bytes."""
    return _canonical_encoder.encode(value)


def decode_strict(data: bytes) -> Any:
    """Decode text from outside, or raise `MalformedJson`."""
    if _opening(data) > CONTAINERS_MAX and _opening(_STRING.sub(b"", data)) > CONTAINERS_MAX:
        raise MalformedJson(f"it has over {CONTAINERS_MAX} objects and arrays")
    try:
        value = _strict_decoder.decode(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise MalformedJson("it is not UTF-8") from None
    except RecursionError:
        raise MalformedJson("it is nested too deeply") from None
    except InvalidOperation:
        raise MalformedJson("a number has an exponent that is out of range") from None
    except MalformedJson:
        raise
    except ValueError:
        raise MalformedJson("it is not JSON") from None
    if nests_over(DEPTH_MAX, data):
        raise MalformedJson(f"it is nested over {DEPTH_MAX} levels")
    _refuse_lone_surrogates(data, value)
    return value


def nests_over(levels: int, data: bytes) -> bool:
    """Whether the value of this JSON text has more levels of containers than that."""
    if _opening(data) <= levels:
        return False
    # A walk through the value would take much longer than this, and 1 MB of brackets takes this 30 ms.
    steps = array("b", _STRING.sub(b"", data).translate(_STEPS, _NO_BRACKETS))
    return max(accumulate(steps), default=0) > levels


def _opening(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJson("an object has the same key twice")
    return members


def _refuse_constant(_: str) -> Any:
    raise MalformedJson("NaN and Infinity are not JSON")


def _parse_int(digits: str) -> int | Decimal:
    if len(digits) > INTEGER_CHARACTERS_MAX:
        raise MalformedJson("an integer is too long")
    # int("-0") is 0: a Decimal keeps the sign that the sender wrote.
    return Decimal(digits) if digits == "-0" else int(digits)


def _parse_float(digits: str) -> int | Decimal:
    number = Decimal(digits)
    if "e" in digits or "E" in digits:
        # 1.5E1 is written as 15, and has to be what is read back: an integer, if not a too long one.
        written = str(number)
        return _parse_int(written) if written.lstrip("-").isdigit() else number
    return number


_NEGATIVE_ZERO = re.compile(rb"-0(?<![^\[:,]-0)(?![^,\]}])")
"""The whole value -0 in compact text, never a part of another number. What is rare is looked for first."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = bytes(range(256)).translate(None, b"[]{}")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""Brackets as signed bytes: one level up, one level down."""

_strict_decoder = json.JSONDecoder(
    parse_float=_parse_float,
    parse_int=_parse_int,
    parse_constant=_refuse_constant,
    object_pairs_hook=_unique_pairs,
)


def _refuse_lone_surrogates(data: bytes, value: Any) -> None:
    if b"\\u" not in data:
        return
    try:
        encode(value)
    except UnicodeEncodeError:
        raise MalformedJson("a string has half of a surrogate pair") from None
