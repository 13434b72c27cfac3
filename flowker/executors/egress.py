"""Where calls may go: checked on the address that is connected to, for every connection.

Checking names or URLs is not enough: a name may resolve to another address a moment later, and there are many ways
to write an address. So the check stands where the socket is made, after everything else has been resolved.
"""

import errno
import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

from yarl import URL

from flowker.executors.refusals import CallRefused

REFUSED_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent: a public address with a private meaning
        "169.254.0.0/16",  # link-local, metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
"""IANA's special-purpose registry: what is not a host of the public internet."""

GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
"""The only block that is assigned to hosts. Outside are loopback, link-local, private and multicast addresses, and
the forms that carry an IPv4 address: mapped, compatible and NAT64."""

REFUSED_IPV6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

COMPATIBLE = ipaddress.IPv6Network("::/96")

HOST_CHARACTERS_MAX = 253
LABEL_CHARACTERS_MAX = 63

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


class AddressNotAllowed(OSError):
    """A connection to this address is refused. The address is not in the message: it says how the inside looks."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "address not allowed")


class Egress:
    """The rule of this deployment: the public internet and the networks that it allows."""

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._allowed = tuple(ipaddress.ip_network(network) for network in allow)

    def allows(self, address: str) -> bool:
        """Whether calls may go to an address, given as text, with or without an IPv6 zone.

        One that carries an IPv4 address needs both to be allowed: whoever allows NAT64 does not allow the metadata
        service behind it. What is no address leads nowhere.
        """
        parsed = _parse(address)
        if parsed is None:
            return False
        carried = _carried(parsed)
        if carried is not None and not self.allows(str(carried)):
            return False
        if any(parsed in network for network in self._allowed):
            return True
        if isinstance(parsed, ipaddress.IPv4Address):
            return not any(parsed in network for network in REFUSED_IPV4)
        return parsed in GLOBAL_IPV6 and not any(parsed in network for network in REFUSED_IPV6)

    def select(self, addresses: Sequence[str]) -> list[str]:
        """Those of the addresses that calls may go to; `AddressNotAllowed` if there are none."""
        allowed = [address for address in addresses if self.allows(address)]
        if not allowed:
            raise AddressNotAllowed
        return allowed

    def open_socket(self, addr_info: AddrInfo) -> socket.socket:
        """A socket for an address that is about to be connected to, or `AddressNotAllowed`."""
        family, kind, protocol, _, address = addr_info
        if not self.allows(str(address[0])):
            raise AddressNotAllowed
        return socket.socket(family, kind, protocol)


def check_url(url: URL) -> None:
    """Refuse what no call goes to, whatever it resolves to."""
    if url.scheme not in {"http", "https"} or not url.host:
        raise CallRefused("the URL is not an http or https URL")
    if url.user is not None or url.password is not None:
        raise CallRefused("the URL has a user name or password in it")
    if not _is_host(url.raw_host or ""):
        raise CallRefused("the URL has no valid host")


def _is_host(host: str) -> bool:
    """Whether it is an address, or a name that can be asked for (RFC 1035, section 2.3.4). Libraries raise if not."""
    if ":" in host:
        return _parse(host) is not None
    name = host.removesuffix(".")
    labels = name.split(".")
    return len(name) <= HOST_CHARACTERS_MAX and all(0 < len(label) <= LABEL_CHARACTERS_MAX for label in labels)


def _parse(address: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None


def _carried(address: IPAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is reached in the end, if an IPv6 address carries one."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.teredo is not None:
        return address.teredo[1]
    if address in NAT64 or (address in COMPATIBLE and int(address) > 1):  # :: and ::1 are themselves
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
