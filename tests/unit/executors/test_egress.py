"""Where calls may go."""

import socket

import pytest
from yarl import URL

from flowker.executors.egress import AddressNotAllowed, Egress, check_url
from flowker.executors.refusals import CallRefused

REFUSED = [
    "0.0.0.0",  # noqa: S104 - nothing is bound
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
ALLOWED = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.0",
    "172.32.0.1",
    "11.0.0.1",
    "2606:4700:4700::1111",
    "2a00::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_the_public_internet_is_refused(address: str) -> None:
    """In every form in which an address can be written."""
    assert not Egress().allows(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_public_addresses_are_allowed(address: str) -> None:
    """Up to the very edges of the refused networks."""
    assert Egress().allows(address)


@pytest.mark.parametrize("address", REFUSED + ALLOWED)
def test_everything_can_be_allowed(address: str) -> None:
    """The setting for a deployment that calls only its own."""
    assert Egress(["0.0.0.0/0", "::/0"]).allows(address)


def test_a_network_is_allowed_and_nothing_beside_it() -> None:
    """Nor are other forms of its addresses."""
    egress = Egress(["10.1.0.0/16", "fd00::/8"])

    assert egress.allows("10.1.2.3")
    assert egress.allows("fd00::1")
    assert egress.allows("8.8.8.8")
    assert not egress.allows("10.2.0.1")
    assert not egress.allows("::ffff:10.1.2.3")
    assert not egress.allows("fe80::1")


@pytest.mark.parametrize(
    ("carrier", "public", "inside"),
    [
        ("::ffff:0:0/96", "::ffff:8.8.8.8", "::ffff:127.0.0.1"),
        ("::/96", "::8.8.8.8", "::127.0.0.1"),
        ("64:ff9b::/96", "64:ff9b::8.8.8.8", "64:ff9b::169.254.169.254"),
        ("2002::/16", "2002:808:808::1", "2002:a00:1::1"),
        ("2001::/32", "2001:0:808:808:0:ffff:f7f7:f7f7", "2001:0:808:808:0:ffff:80ff:fffe"),
        ("::/0", "64:ff9b::8.8.8.8", "::ffff:10.0.0.1"),
    ],
)
def test_an_address_that_carries_another_needs_both(carrier: str, public: str, inside: str) -> None:
    """Who allows a way to the IPv4 internet has not allowed what is private there."""
    assert Egress([carrier]).allows(public)
    assert not Egress([carrier]).allows(inside)
    assert Egress([carrier, "0.0.0.0/0"]).allows(inside)


def test_loopback_carries_nothing() -> None:
    """Although it looks like a compatible address."""
    assert Egress(["::1/128"]).allows("::1")
    assert Egress(["::/128"]).allows("::")


@pytest.mark.parametrize("address", ["", "name", "127.1", "::ffff:0x7f.0.0.1", "1.1.1.1.1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """Even if everything is allowed."""
    assert not Egress(["0.0.0.0/0", "::/0"]).allows(address)


@pytest.mark.parametrize(
    "host", ["a..b", ".a", "..", "[::ffff:0x7f.1]", "a" * 64, f"b.{'a' * 64}.c", "a." * 126 + "aa"]
)
def test_hosts_that_no_resolver_can_be_asked_for(host: str) -> None:
    """Labels that are empty or too long, names that are too long."""
    with pytest.raises(CallRefused, match="host"):
        check_url(URL(f"http://{host}"))


@pytest.mark.parametrize("host", ["a", "a.b.", "a" * 63, "a_b.example", "a." * 126 + "a", "a." * 126 + "a.", "[::1]"])
def test_hosts_that_a_resolver_can_be_asked_for(host: str) -> None:
    """Up to the bounds, with or without the dot at the end."""
    check_url(URL(f"http://{host}"))


def test_a_socket_is_made_for_an_allowed_address_only() -> None:
    """The check is where the connection is made, and its refusal does not show the address."""
    egress = Egress(["127.0.0.0/8"])

    egress.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))).close()
    with pytest.raises(AddressNotAllowed, match=r"^\[Errno 13\] address not allowed$"):
        egress.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80)))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "file:///etc/passwd",
        "example.com",
        "//example.com",
        "http:///x",
        "",
        "https://u@example.com",
        "https://u:p@example.com",
        "https://:p@example.com",
    ],
)
def test_urls_that_no_call_goes_to(url: str) -> None:
    """Only http and https, and no credentials in the URL."""
    with pytest.raises(CallRefused):
        check_url(URL(url))


def test_urls_that_calls_go_to() -> None:
    """With port, path and query."""
    check_url(URL("http://example.com"))
    check_url(URL("https://example.com:8443/a?b=c"))
