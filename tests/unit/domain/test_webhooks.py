"""Webhook paths, delivery keys, preferences, and the input that a delivery becomes."""

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowker.domain.errors import InvalidRequest, WebhookNotFound
from flowker.domain.webhooks import (
    METHODS,
    build_input,
    normalize_path,
    parse_idempotency_key,
    parse_prefer_wait_s,
    sign,
    signature_fits,
    token_fits,
)
from tests.unit.growth import LINEAR_MAX, growth

PUBLISHED = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
"""What GitHub's page on validating deliveries says of `Hello, World!` and the secret below."""

PUBLISHED_SECRET = "It's a Secret to Everybody"

VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F))


def deliver(
    body: dict[str, Any] | None = None,
    *,
    headers: list[tuple[str, str]] | None = None,
    query: list[tuple[str, str]] | None = None,
) -> dict[str, Any]:
    return build_input(
        body, method="PUT", path="orders/paid", headers=headers or [], query=query or [], remote_ip="192.0.2.7"
    )


def test_the_five_methods_are_those_of_the_document() -> None:
    """A trigger and a route have one of them."""
    assert METHODS == ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.mark.parametrize(
    ("path", "normalized"),
    [
        ("orders/paid", "orders/paid"),
        ("/orders/paid", "orders/paid"),
        ("orders/paid/", "orders/paid"),
        ("///orders/paid//", "orders/paid"),
        ("Orders/Paid", "Orders/Paid"),
        ("a", "a"),
        ("..a/b..", "..a/b.."),
        ("...", "..."),
        ("zahlung/größe", "zahlung/größe"),
        ("a b", "a b"),
    ],
)
def test_slashes_at_the_ends_do_not_matter_and_case_does(path: str, normalized: str) -> None:
    """One spelling for what is the same webhook."""
    assert normalize_path(path) == normalized


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "////",
        "..",
        "../admin",
        "orders/..",
        "orders/../admin",
        "/../",
        ".",
        "orders/./paid",
        "orders\x00paid",
        "orders/\x00",
        "orders/\ufffd",
        "orders/" + chr(0xDCFF),
        "\ud800",
    ],
)
def test_what_never_is_a_webhook_path_is_not_found(path: str) -> None:
    """Dot segments, NUL, and what is left of bytes that are not UTF-8."""
    with pytest.raises(WebhookNotFound):
        normalize_path(path)


@given(st.text(max_size=20))
@settings(deadline=None)
def test_a_normalized_path_is_its_own_normal_form(path: str) -> None:
    """It is text that a store can keep, and slashes around it change nothing."""
    try:
        normalized = normalize_path(path)
    except WebhookNotFound:
        return

    assert normalize_path(normalized) == normalize_path(f"//{path}/") == normalized
    assert normalized.encode()


@pytest.mark.parametrize("header", [None, "", " ", "\t ", '""', '" "', ' "" '])
def test_a_blank_key_counts_as_absent(header: str | None) -> None:
    """In quotes or without."""
    assert parse_idempotency_key(header) is None


@given(st.text(alphabet=VISIBLE, min_size=1, max_size=255).filter(lambda key: not (key[0] == key[-1] == '"')))
@settings(deadline=None)
def test_a_key_is_the_same_quoted_and_bare(key: str) -> None:
    """RFC 8941 has it quoted, many senders do not."""
    assert parse_idempotency_key(key) == key
    assert parse_idempotency_key(f'"{key}"') == key
    assert parse_idempotency_key(f"  {key}\t") == key


def test_a_key_has_at_most_255_characters() -> None:
    """The quotes do not count."""
    assert parse_idempotency_key("k" * 255) == "k" * 255
    assert parse_idempotency_key(f'"{"k" * 255}"') == "k" * 255
    for header in ("k" * 256, f'"{"k" * 256}"'):
        with pytest.raises(InvalidRequest):
            parse_idempotency_key(header)


@pytest.mark.parametrize(
    "header", ["a b", '"a b"', "schlüssel", "\xa0", "key\xa0", "\x1ckey", '"\xa0"', "a\x7f", "a\x00b", "a\nb", "€"]
)
def test_other_characters_than_visible_ascii_are_refused(header: str) -> None:
    """Also the ones that Python takes for white space. The answer names the header and does not repeat the key."""
    with pytest.raises(InvalidRequest) as caught:
        parse_idempotency_key(header)

    assert caught.value.code == "FLK-0001"
    assert caught.value.fields == {"Idempotency-Key": "must be 1 to 255 visible ASCII characters"}
    assert header not in caught.value.message


@pytest.mark.parametrize(
    ("header", "key"), [('"', '"'), ('"abc', '"abc'), ('abc"', 'abc"'), ("'a'", "'a'"), ('a"b', 'a"b')]
)
def test_a_quote_alone_is_a_part_of_the_key(header: str, key: str) -> None:
    """Only a pair of double quotes around the whole is taken off."""
    assert parse_idempotency_key(header) == key


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ([], None),
        ([""], None),
        (["wait=10"], 10),
        (["wait=0"], 0),
        (["WAIT=10"], 10),
        (["respond-async, wait=5"], 5),
        (["respond-async", "wait=5"], 5),
        (['wait="7"'], 7),
        (["wait = 7 "], 7),
        (["wait=7;foo=bar, return=minimal"], 7),
        (["wait=7; foo"], 7),
        (["wait=1, wait=2"], 1),
        (["wait=1", "wait=2"], 1),
        (["wait=x, wait=2"], 2),
        (["wait"], None),
        (["wait="], None),
        (['wait=""'], None),
        (['wait="7'], None),
        (['wait=7"'], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=1 0"], None),
        (["wait=٣"], None),
        (["wait=²"], None),
        (["wait=" + "9" * 9], 999_999_999),
        (["wait=" + "9" * 10], None),
        (["awaited=3, wait-a-bit=4"], None),
        (['note="please, wait=9", wait=5'], 5),
        (['note="a \\", wait=9", wait=5'], 5),
        (['note="please, wait=9'], None),
        (["return=minimal; wait=3"], None),
    ],
)
def test_the_seconds_of_prefer_wait_are_read(headers: list[str], wait_s: int | None) -> None:
    """RFC 7240: names in any case, parameters, several headers; what is not well-formed is as if it was not there."""
    assert parse_prefer_wait_s(headers) == wait_s


@given(st.lists(st.text(alphabet='wait=",;\\ 019xé', max_size=15), max_size=3))
@settings(deadline=None, max_examples=300)
def test_no_preference_breaks_the_parser(headers: list[str]) -> None:
    """A caller may send anything; the worst is that it is not understood."""
    wait_s = parse_prefer_wait_s(headers)

    assert wait_s is None or 0 <= wait_s < 10**9


@pytest.mark.parametrize("piece", ['"', '\\"', '"\\', "wait=", ",", 'a"b,', " ", "wait ", "wait=1;"])
def test_a_long_preference_takes_no_long_time(piece: str) -> None:
    """Linear, also for quotes that nobody closed."""
    times = growth(lambda size: parse_prefer_wait_s([piece * size]), 1_000)

    assert times < LINEAR_MAX


def test_the_input_is_the_body_and_the_delivery() -> None:
    """`_webhook` says how it came."""
    input_ = deliver({"amount": 1}, headers=[("user-agent", "shop/1")], query=[("source", "pos")])

    assert input_ == {
        "amount": 1,
        "_webhook": {
            "method": "PUT",
            "path": "orders/paid",
            "headers": {"user-agent": "shop/1"},
            "query": {"source": "pos"},
            "remote_ip": "192.0.2.7",
        },
    }


def test_a_webhook_member_of_the_caller_is_replaced() -> None:
    """Nobody can pretend another origin; the body itself stays what it was."""
    body = {"_webhook": {"remote_ip": "10.0.0.1", "admin": True}, "amount": 1}

    input_ = deliver(body)

    assert input_["_webhook"] == deliver()["_webhook"]
    assert body["_webhook"] == {"remote_ip": "10.0.0.1", "admin": True}


def test_a_delivery_without_a_body_has_only_the_delivery() -> None:
    """The body is optional."""
    assert deliver(None).keys() == deliver({}).keys() == {"_webhook"}


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "cookie",
        "x-api-key",
        "x-webhook-token",
        "proxy-authorization",
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
    ],
)
def test_credentials_and_signatures_are_left_out(name: str) -> None:
    """They would come back in the results and in the log."""
    input_ = deliver(headers=[(name, "secret"), ("accept", "*/*")])

    assert input_["_webhook"]["headers"] == {"accept": "*/*"}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(alphabet=string.ascii_letters, max_size=3)), max_size=8))
@settings(deadline=None)
def test_repeated_names_keep_all_their_values_in_order(pairs: list[tuple[str, str]]) -> None:
    """One value is text, more are a list; for query keys and for headers. Empty ones are values."""
    wanted: dict[str, Any] = {}
    for name in dict(pairs):
        values = [value for other, value in pairs if other == name]
        wanted[name] = values[0] if len(values) == 1 else values

    delivery = deliver(headers=pairs, query=pairs)["_webhook"]

    assert delivery["query"] == delivery["headers"] == wanted


def test_a_signature_is_the_one_that_others_make() -> None:
    """HMAC-SHA256 in hexadecimal after the name of the hash."""
    assert sign(PUBLISHED_SECRET, b"Hello, World!") == PUBLISHED


def test_a_signature_fits_its_body_and_its_secret() -> None:
    """The digits may be in either case; nothing else may differ."""
    assert signature_fits(PUBLISHED_SECRET, b"Hello, World!", PUBLISHED)
    assert signature_fits(PUBLISHED_SECRET, b"Hello, World!", PUBLISHED.upper())
    assert not signature_fits(PUBLISHED_SECRET, b"Hello, World! ", PUBLISHED)
    assert not signature_fits(PUBLISHED_SECRET + ".", b"Hello, World!", PUBLISHED)


def test_no_body_is_signed_as_no_bytes() -> None:
    """So that a delivery without one cannot be made by anybody."""
    assert signature_fits("s" * 16, b"", sign("s" * 16, b""))
    assert not signature_fits("s" * 16, b"", sign("t" * 16, b""))


@pytest.mark.parametrize(
    "given",
    [
        *(None, "", "sha256=", "sha1=f8cbf2", "\xff" * 71, "€", f" {PUBLISHED}"),
        *(PUBLISHED[:-1], PUBLISHED + "0", PUBLISHED[7:], PUBLISHED.replace("2", "5", 1), PUBLISHED[:-1] + "8"),
    ],
)
def test_what_is_no_signature_of_the_body_does_not_fit(given: str | None) -> None:
    """Missing, cut, longer, without the hash's name, of another hash, or no ASCII at all."""
    assert not signature_fits(PUBLISHED_SECRET, b"Hello, World!", given)


def test_a_token_is_compared_by_its_bytes() -> None:
    """Header values are decoded as latin-1, whatever the author's text is."""
    assert token_fits("sécret", "sécret".encode().decode("latin-1"))
    assert not any(token_fits("sécret", given) for given in (None, "", "secret", "sécret", "€"))
