"""The client's address behind proxies: found past those that are trusted, and never what a client claims."""

import ipaddress
from collections.abc import Callable
from typing import Any

import pytest

from flowker.http.document import build_asgi
from flowker.http.edge import HEADERS_BYTES_MAX
from flowker.http.proxies import client_address, parse_address

MakeScope = Callable[..., dict[str, Any]]
Connect = Callable[..., Any]

TRUSTED = [ipaddress.ip_network(network) for network in ("10.0.0.0/8", "192.0.2.1", "fd00::/8")]


def found(peer: str, *lines: str) -> str:
    headers = [(b"host", b"flowker"), *((b"x-forwarded-for", line.encode("latin-1")) for line in lines)]
    return client_address(peer, headers, TRUSTED)


class TestEntries:
    @pytest.mark.parametrize(
        ("entry", "address"),
        [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("2001:DB8:0::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("::", "::"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        ],
    )
    def test_an_address_is_read_in_every_form(self, entry: str, address: str) -> None:
        """And comes out in one, an IPv4 address in IPv6 as itself."""
        assert str(parse_address(entry)) == address

    @pytest.mark.parametrize(
        "entry",
        [
            "",
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.256",
            "203.0.113.07",
            "203.0.113.7:",
            "203.0.113.7:123456",
            "203.0.113.7 ",
            "2001:db8::7::1",
            "[2001:db8::7",
            "2001:db8::7]",
            "[2001:db8::7]4711",
            "[]",
            ":",
            "fe80::1%eth0",
            "fe80::1%<script>",
            '"203.0.113.7"',
            "for=203.0.113.7",
            "٢03.0.113.7",
            "1" * 5000,
        ],
    )
    def test_what_is_no_address_is_none(self, entry: str) -> None:
        """Names, zones, quotes, half brackets."""
        assert parse_address(entry) is None


class TestClientAddress:
    def test_a_peer_that_is_not_trusted_is_the_client(self) -> None:
        """Whatever it says of itself."""
        assert found("198.51.100.1", "203.0.113.7") == "198.51.100.1"

    def test_a_proxy_names_its_client(self) -> None:
        """By the entry that it added."""
        assert found("10.0.0.1", "203.0.113.7") == "203.0.113.7"

    def test_what_the_client_wrote_does_not_count(self) -> None:
        """It stands left of what the proxy added."""
        assert found("10.0.0.1", "198.51.100.9, 10.1.1.1, 203.0.113.7") == "203.0.113.7"

    def test_every_trusted_proxy_on_the_way_is_passed_over(self) -> None:
        """Of either family, also where the networks are single addresses."""
        assert found("fd00::1", "198.51.100.9, 203.0.113.7, 192.0.2.1, [fd00::2]:443, 10.9.9.9:80") == "203.0.113.7"

    def test_several_lines_are_one_list(self) -> None:
        """In the order in which they came."""
        assert found("10.0.0.1", "203.0.113.7", "198.51.100.9, 10.0.0.2", "10.0.0.3") == "198.51.100.9"

    @pytest.mark.parametrize("line", [" , 203.0.113.7,,\t, ", "203.0.113.7,", "\t203.0.113.7 , 10.0.0.2"])
    def test_empty_entries_and_spaces_say_nothing(self, line: str) -> None:
        """Lists of HTTP may have them."""
        assert found("10.0.0.1", line) == "203.0.113.7"

    def test_an_entry_that_is_no_address_ends_the_walk(self) -> None:
        """Nobody knows what it stood for; the last good one was a proxy of ours."""
        assert found("10.0.0.1", "203.0.113.7, unknown, 10.0.0.2") == "10.0.0.2"
        assert found("10.0.0.1", "203.0.113.7, unknown") == "10.0.0.1"

    @pytest.mark.parametrize("lines", [(), ("",), (" , ,",)])
    def test_a_proxy_that_names_nobody_is_the_client_itself(self, lines: tuple[str, ...]) -> None:
        """It asks on its own behalf, for its health checks perhaps."""
        assert found("10.0.0.1", *lines) == "10.0.0.1"

    def test_a_way_on_which_all_are_trusted_leads_to_its_beginning(self) -> None:
        """A client of the inner network."""
        assert found("10.0.0.1", "10.0.0.3, 10.0.0.2") == "10.0.0.3"

    def test_a_trusted_ipv4_peer_of_an_ipv6_socket_is_trusted(self) -> None:
        """It is the same proxy."""
        assert found("::ffff:10.0.0.1", "203.0.113.7") == "203.0.113.7"

    def test_a_peer_that_is_no_address_is_left_as_it_is(self) -> None:
        """A test client, for one."""
        assert found("testclient", "203.0.113.7") == "testclient"


class TestRequests:
    @pytest.fixture
    def address_of(
        self, library: dict[str, Any], handlers: dict[str, Any], scope: MakeScope, connect: Connect
    ) -> Callable[..., Any]:
        """The address that a handler sees of a request from 192.0.2.1."""

        async def ask(trusted: list[str], forwarded_for: str, client: Any = ("192.0.2.1", 50000)) -> Any:
            seen: list[Any] = []

            async def feature_book(*, request: Any) -> None:
                seen.append(request.client_address)

            app = build_asgi(library, {**handlers, "featureBook": feature_book}, keys=None, trusted_proxies=trusted)
            asked = scope("POST", "/books/featured", {"x-forwarded-for": forwarded_for}) | {"client": client}
            connection = connect([b""])
            await app(asked, connection.receive, connection.send)
            return seen or connection.answer().status

        return ask

    async def test_a_handler_sees_the_client(self, address_of: Callable[..., Any]) -> None:
        """When its proxy is trusted."""
        assert await address_of(["192.0.2.0/24"], "203.0.113.7") == ["203.0.113.7"]
        assert await address_of(["10.0.0.0/8"], "203.0.113.7") == ["192.0.2.1"]

    async def test_by_default_the_header_means_nothing(self, address_of: Callable[..., Any]) -> None:
        """Nobody is trusted."""
        assert await address_of([], "203.0.113.7") == ["192.0.2.1"]

    async def test_a_peer_without_an_address_is_never_trusted(self, address_of: Callable[..., Any]) -> None:
        """A Unix socket has none."""
        assert await address_of(["0.0.0.0/0"], "203.0.113.7", None) == [None]

    async def test_a_header_without_bound_is_not_walked(self, address_of: Callable[..., Any]) -> None:
        """The edge stands before."""
        assert await address_of(["0.0.0.0/0"], "10.0.0.1," * (HEADERS_BYTES_MAX // 9)) == 400
        assert await address_of(["0.0.0.0/0"], "10.0.0.1," * (HEADERS_BYTES_MAX // 9 - 9)) == ["10.0.0.1"]
