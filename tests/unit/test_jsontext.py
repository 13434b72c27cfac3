"""JSON text: exact numbers, and what is refused of text from outside."""

import contextlib
import json
import time
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker.jsontext import (
    CONTAINERS_MAX,
    DEPTH_MAX,
    INTEGER_CHARACTERS_MAX,
    MalformedJson,
    decode,
    decode_strict,
    encode,
    encode_canonical,
)

PLAIN_NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,5})?", fullmatch=True)
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,5})?", fullmatch=True)
STRINGS = st.text(max_size=10).map(json.dumps)


def join_members(members: Iterable[tuple[str, str]]) -> str:
    unique = {json.dumps(key): text for key, text in members}
    return "{" + ",".join(f"{key}:{text}" for key, text in unique.items()) + "}"


def json_texts(numbers: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Compact JSON text of any shape, written without any JSON encoder for its numbers."""
    scalars = st.sampled_from(["null", "true", "false"]) | numbers | STRINGS
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4).map(lambda texts: "[" + ",".join(texts) + "]")
            | st.lists(st.tuples(st.text(max_size=5), inner), max_size=4).map(join_members)
        ),
        max_leaves=10,
    )


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


def reason_of(data: bytes) -> str:
    with pytest.raises(MalformedJson) as caught:
        decode_strict(data)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "100.10",
        "12345678901234567890",
        "-9223372036854775809",
        "18446744073709551616",
        "0.1",
        "-0",
        "-0.0",
        "1.00",
        "0.000000",
        "1" * INTEGER_CHARACTERS_MAX,
        "-" + "1" * (INTEGER_CHARACTERS_MAX - 1),
    ],
)
def test_a_number_goes_out_as_it_came_in(text: str) -> None:
    """From outside, into the store, out of the store, to the caller: the digits stay."""
    came_in = decode_strict(text.encode())
    stored = encode(came_in)
    went_out = encode(decode(stored))

    assert went_out.decode() == text


@given(json_texts(PLAIN_NUMBERS))
@settings(deadline=None)
def test_numbers_without_an_exponent_keep_their_text(text: str) -> None:
    """Whatever surrounds them, at every place of a value."""
    value = decode_strict(text.encode())

    assert encode(decode(encode(value))) == encode(value)
    assert numbers_of(encode(value)) == numbers_of(text.encode())


def numbers_of(data: bytes) -> list[str]:
    found: list[str] = []

    def keep(digits: str) -> str:
        found.append(digits)
        return digits

    json.loads(data, parse_int=keep, parse_float=keep)
    return found


@given(json_texts(NUMBERS))
@settings(deadline=None)
def test_what_the_store_gives_back_is_what_was_put_in(text: str) -> None:
    """Values, types, signs and digits: a fold of a journal cannot tell stored values from those that came in."""
    value = decode_strict(text.encode())

    read_back = decode(encode(value))

    assert repr(read_back) == repr(value)
    assert repr(decode(encode(value).decode())) == repr(value)


@given(json_texts(NUMBERS))
@settings(deadline=None)
def test_strict_decoding_reads_what_the_standard_library_reads(text: str) -> None:
    """The oracle is the standard decoder with decimals."""
    assert decode_strict(text.encode()) == json.loads(text, parse_float=Decimal)


@given(st.binary(max_size=40) | st.text(alphabet='[]{}",:\\u0dD8-+.eE1NaIfty ', max_size=30).map(str.encode))
@settings(deadline=None, max_examples=500)
def test_bytes_are_decoded_or_refused_and_nothing_else_happens(data: bytes) -> None:
    """No other exception than MalformedJson, and what is accepted can be written and read again."""
    try:
        value = decode_strict(data)
    except MalformedJson:
        return

    assert repr(decode(encode(value))) == repr(value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff", "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b"", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[1,]", "not JSON"),
        (b"01", "not JSON"),
        (b".5", "not JSON"),
        (b"'a'", "not JSON"),
        (b'"\x00"', "not JSON"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "NaN"),
        (b"-Infinity", "NaN"),
        (b'{"a":1,"a":1}', "same key"),
        (b'{"a":1,"\\u0061":2}', "same key"),
        (b'[{"x":{"b":0,"b":0}}]', "same key"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udfff":1}', "surrogate"),
        (b'["\\udc00\\ud800"]', "surrogate"),
        (b"1" * (INTEGER_CHARACTERS_MAX + 1), "too long"),
        (b"-" + b"1" * INTEGER_CHARACTERS_MAX, "too long"),
        (b"1." + b"1" * INTEGER_CHARACTERS_MAX + b"E4300", "too long"),
        (b"1e99999999999999999999", "exponent"),
        (b"[0e-99999999999999999999]", "exponent"),
    ],
)
def test_what_is_no_interoperable_json_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    """RFC 7493 (I-JSON), and what the store could not give back."""
    assert reason in reason_of(data)


@given(st.text(alphabet="abcdefghijklmnop", min_size=5, max_size=10))
@settings(deadline=None)
def test_a_refusal_never_repeats_the_text(word: str) -> None:
    """What a caller sent does not come back in a message."""
    for data in (f'{{"{word}":1,"{word}":2}}', f"[{word}]", f'"{word}\\ud800"'):
        assert word not in reason_of(data.encode())


def test_a_pair_of_surrogates_is_the_character_that_it_means() -> None:
    """Only half of a pair is refused."""
    assert decode_strict(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


@pytest.mark.parametrize(("text", "written"), [("1E0", 1), ("1.5e1", 15), ("-0E0", Decimal("-0")), ("12e-0", 12)])
def test_an_integer_written_with_an_exponent_is_that_integer(text: str, written: object) -> None:
    """It is stored as its digits, so it comes back as what those mean."""
    assert repr(decode_strict(text.encode())) == repr(written)


def test_a_high_exponent_stays_a_short_number() -> None:
    """Nothing writes out its zeros."""
    assert encode(decode(encode(decode_strict(b"1e400")))) == b"1E+400"
    assert encode(decode_strict(b"1E-999999999999999999")) == b"1E-999999999999999999"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_of_64_levels_is_accepted_and_of_65_refused(opening: str, closing: str) -> None:
    """The level of a scalar inside does not count: levels are objects and lists."""
    levels = opening.count("{") + opening.count("[")
    inside = f"{opening * (DEPTH_MAX // levels)}1{closing * (DEPTH_MAX // levels)}"

    assert decode_strict(inside.encode()) == json.loads(inside)
    assert "64 levels" in reason_of(f"[{inside}]".encode())
    assert "64 levels" in reason_of(f'[[],{{"x":{inside}}}]'.encode())


def test_brackets_inside_of_text_and_beside_each_other_are_no_nesting() -> None:
    """A thousand siblings are one level."""
    wide: list[Any] = [[[]] for _ in range(1000)]

    assert decode_strict(json.dumps(wide).encode()) == wide
    assert decode_strict(json.dumps("[{" * 1000).encode()) == "[{" * 1000


def test_as_many_containers_as_allowed_are_accepted_and_no_more() -> None:
    """Brackets in a text are none."""
    most = b'["[{"' + b",[]" * (CONTAINERS_MAX - 1) + b"]"

    assert len(decode_strict(most)) == CONTAINERS_MAX
    assert "131072 objects and arrays" in reason_of(most.replace(b"]]", b"],{}]"))
    assert decode_strict(json.dumps("[" * (CONTAINERS_MAX + 1)).encode())


def test_an_empty_object_as_deep_as_allowed_is_accepted() -> None:
    """The innermost container counts, its lack of children does not."""
    assert decode_strict(nested(DEPTH_MAX))
    assert "64 levels" in reason_of(nested(DEPTH_MAX + 1))


MEGABYTE = 1024 * 1024
BOMBS = {
    "lists": b"[" * MEGABYTE,
    "closed lists": nested(MEGABYTE // 2),
    "objects": b'{"a":' * (MEGABYTE // 5),
    "closed objects": nested(MEGABYTE // 6, '{"a":', "}"),
    "just over the limit, many times": b"[" + b",".join([nested(DEPTH_MAX + 1)] * (MEGABYTE // 131)) + b"]",
    "one integer": b"9" * MEGABYTE,
    "one decimal": b"0." + b"9" * MEGABYTE,
    "one exponent": b"1e" + b"9" * MEGABYTE,
    "many exponents": b"[" + b",".join([b"1e999999"] * (MEGABYTE // 9)) + b"]",
    "empty lists": b"[" + b",".join([b"[]"] * (MEGABYTE // 3)) + b"]",
    "same keys": b"{" + b",".join([b'"a":1'] * (MEGABYTE // 6)) + b"}",
    "unclosed text": b'"' + b"\\\\" * (MEGABYTE // 2),
    "escapes": b'"' + b"\\ud83d\\ude00" * (MEGABYTE // 12) + b'"',
    "negative zeros": b"[" + b",".join([b"-0"] * (MEGABYTE // 3)) + b"]",
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS.keys())
def test_a_megabyte_of_anything_is_dealt_with_at_once(data: bytes) -> None:
    """A body may be that large; the event loop waits for it."""
    started = time.thread_time()
    with contextlib.suppress(MalformedJson):
        decode(encode(decode_strict(data)))

    assert time.thread_time() - started < 5


@pytest.mark.parametrize(
    "text", ['"-0"', '"a:-0,"', '["2026-01-05T00:00:00Z",-0.5,-0e3]', '{"a-0":[-0,{"b":-0}],"c":"x,-0]"}', "-0"]
)
def test_only_the_number_negative_zero_is_negative_zero(text: str) -> None:
    """Text that looks like it is left alone."""
    assert repr(decode(text)) == repr(decode_strict(text.encode()))


def test_equal_values_have_one_canonical_text() -> None:
    """The order of the keys does not count, the digits do."""
    one, other = decode_strict(b'{"b":1.50,"a":[1]}'), decode_strict(b'{"a":[1],"b":1.50}')

    assert encode_canonical(one) == encode_canonical(other) == b'{"a":[1],"b":1.50}'
    assert encode(one) == b'{"b":1.50,"a":[1]}'


def test_text_is_written_as_utf_8() -> None:
    """No escapes but those that JSON wants."""
    value: Any = {"ключ": 'a "quote"\n'}

    assert encode(value) == '{"ключ":"a \\"quote\\"\\n"}'.encode()
