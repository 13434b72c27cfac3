"""What the requests of all providers have in common."""

import re
import tracemalloc
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from flowker.executors.refusals import CallRefused
from flowker.executors.requests import join_url, segment

BASE = "https://example.com/v1"


@pytest.mark.parametrize(
    ("base_url", "path", "url"),
    [
        ("https://example.com", "", "https://example.com/"),
        ("https://example.com", "/", "https://example.com/"),
        ("https://example.com/v1", "", "https://example.com/v1"),
        ("https://example.com/v1", "/", "https://example.com/v1/"),
        ("https://example.com/v1/", "", "https://example.com/v1/"),
        ("https://example.com/v1", "orders", "https://example.com/v1/orders"),
        ("https://example.com/v1/", "/orders/", "https://example.com/v1/orders/"),
        ("https://example.com/v1", "//evil.example/x", "https://example.com/v1/evil.example/x"),
        ("https://example.com", "@evil.example", "https://example.com/@evil.example"),
        ("https://example.com", ".evil.example", "https://example.com/.evil.example"),
        ("https://example.com", "http://evil.example/", "https://example.com/http://evil.example/"),
        ("https://example.com", "a b/ü/100%/%2F/..a", "https://example.com/a%20b/%C3%BC/100%25/%2F/..a"),
        ("https://example.com", "{id}\n", "https://example.com/%7Bid%7D%0A"),
        ("https://example.com?version=1", "a?b=c d&e=/%26", "https://example.com/a?version=1&b=c%20d&e=/%26"),
        ("http://127.0.0.1:8080", "a", "http://127.0.0.1:8080/a"),
        ("http://[::1]:8080/x", "a", "http://[::1]:8080/x/a"),
        ("https://bücher.example", "a", "https://xn--bcher-kva.example/a"),
    ],
)
def test_a_path_is_joined_to_the_base(base_url: str, path: str, url: str) -> None:
    """Below it, on the same origin, percent-encoded once."""
    assert str(join_url(base_url, path, [])) == url


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "a/../b",
        "a/./b",
        "%2e%2e/b",
        "a/%2E./b",
        "a%2f..%2fb",
        "a%252f%252e%252e%252fb",
        "a\\..\\b",
        "a%5cb",
        "a#b",
        "\ud800",
    ],
)
def test_a_path_that_goes_up_is_refused(path: str) -> None:
    """However it is encoded."""
    with pytest.raises(CallRefused):
        join_url(BASE, path, [])


@pytest.mark.parametrize(
    "base_url",
    [
        *(None, 5, "", "example.com", "ftp://example.com", "https://u:p@example.com", "https://[", "https://:1"),
        "https://example.com?tenant=1&api_key=x",
    ],
)
def test_a_base_url_that_is_none_is_refused(base_url: Any) -> None:
    """The configuration was checked when it was saved; this is for what got past it."""
    with pytest.raises(CallRefused):
        join_url(base_url, "", [])


@given(st.text(max_size=30) | st.text(alphabet="./\\%25eEfF?#@:a", max_size=30))
def test_no_path_leaves_the_base(path: str) -> None:
    """Not the origin, not the path of the base URL."""
    try:
        url = join_url(BASE, path, [])
    except CallRefused:
        return

    assert url.origin() == URL(BASE).origin()
    assert url.raw_path == "/v1" or url.raw_path.startswith("/v1/")
    assert URL(str(url)).raw_path.startswith("/v1")
    assert ".." not in re.split(r"[/\\]", unquote(url.raw_path))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [("a", "a"), (5, "5"), ("a/b", "a%2Fb"), ("a?b#c", "a%3Fb%23c"), ("é %", "%C3%A9%20%25")],
)
def test_a_segment_is_encoded_whole(value: Any, encoded: str) -> None:
    """It stays one segment, whatever is in it."""
    assert segment(value, "id") == encoded
    assert str(join_url(BASE, f"a/{segment(value, 'id')}/b", [])) == f"{BASE}/a/{encoded}/b"


@pytest.mark.parametrize("value", [None, "", {}, [], "\ud800"])
def test_a_segment_that_is_none_is_refused(value: Any) -> None:
    """By its name, without its value."""
    with pytest.raises(CallRefused, match=r"^the id"):
        segment(value, "the id")


@pytest.mark.parametrize("value", ["..", ".", "../b", "a/../../b", "%2e%2e", "a\\b"])
def test_a_segment_does_not_go_up(value: str) -> None:
    """Not even for a far side that decodes it twice."""
    with pytest.raises(CallRefused):
        join_url(BASE, f"a/{segment(value, 'id')}/b", [])


@pytest.mark.parametrize(("path", "query"), [("é" * 3_000, []), ("a", [("q", "é" * 3_000)])])
def test_a_url_that_no_server_takes_is_refused(path: str, query: list[tuple[str, str]]) -> None:
    """A delivery may bring a megabyte of it."""
    with pytest.raises(CallRefused, match="longer than 16384 characters"):
        join_url(BASE, path, query)


def test_what_senders_write_into_paths_is_bounded_where_it_is_kept() -> None:
    """Libraries keep the URLs that were called last."""
    tracemalloc.start()
    join_url(BASE, "", [])
    before, _ = tracemalloc.get_traced_memory()
    for number in range(1_000):
        join_url(BASE, f"{number}/{'a' * 16_000}", [])
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 8_000_000
