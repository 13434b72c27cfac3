import pytest

from flowker.http.reply import empty_reply, encode_headers, json_reply, text_reply


def test_a_body_goes_out_with_its_type_and_length() -> None:
    """And with the word that nobody keeps it or guesses its type."""
    reply = json_reply(201, b"{}", [(b"location", b"/x")])

    assert reply.status == 201
    assert reply.headers == [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", b"2"),
        (b"location", b"/x"),
    ]


def test_a_text_says_the_version_of_its_format() -> None:
    """And that it is UTF-8, of which its length is counted."""
    reply = text_reply(200, "é", [(b"location", b"/x")])

    assert reply.body == b"\xc3\xa9"
    assert reply.headers == [
        (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", b"2"),
        (b"location", b"/x"),
    ]


def test_no_body_has_the_length_zero() -> None:
    """Without it a server would send the nothing in chunks."""
    assert (b"content-length", b"0") in empty_reply(200).headers


def test_a_204_has_no_length() -> None:
    """RFC 9110, section 8.6."""
    assert b"content-length" not in dict(empty_reply(204).headers)


def test_header_names_go_out_in_lower_case() -> None:
    """As ASGI asks for, and as HTTP/2 needs them."""
    assert encode_headers({"X-Webhook-Workflow-ID": "é"}) == [(b"x-webhook-workflow-id", b"\xe9")]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Name": "a\r\nSet-Cookie: b"},
        {"X-Name": "a\0"},
        {"X-Na\nme": "a"},
        {"X-Name": "\u0391"},
        {"Content-Length": "3"},
        {"content-type": "text/plain"},
    ],
)
def test_what_cannot_be_a_header_never_goes_out(headers: dict[str, str]) -> None:
    """A value with a line break in it would become another header, or half an answer."""
    with pytest.raises(ValueError, match=r"header|codec"):
        encode_headers(headers)
