"""Who sent a request that came through proxies: the address that the last proxy we trust was called from.

A proxy adds the address that it was called from to the right of `X-Forwarded-For`; everything further left is what
the caller claims. So the list is read from the right, past the proxies that are trusted. `Forwarded` (RFC 7239) is
not read: proxies that write it write `X-Forwarded-For` too, and two lists could contradict each other.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from starlette.types import ASGIApp, Receive, Scope, Send

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Without a zone (`fe80::1%eth0`): that may be any text, and would be written down as an address.
_IPV4 = re.compile(r"([0-9.]{7,15})(?::[0-9]{1,5})?")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})")


class TrustedProxies:
    """Puts the client's address in place of the proxy's.

    It stands inside of the edge, which has bounded the headers, and only where a proxy is trusted: without one,
    requests do not pass through here.
    """

    def __init__(self, app: ASGIApp, networks: Iterable[str]) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(network) for network in networks]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client"):
            address = scope["client"][0]
            found = client_address(address, scope["headers"], self._networks)
            if found != address:
                # The port is one of the proxy's; the client's own is not known.
                scope["client"] = (found, 0)
        await self._app(scope, receive, send)


def client_address(peer: str, headers: Iterable[tuple[bytes, bytes]], networks: Sequence[Network]) -> str:
    """The rightmost address that is not of a trusted proxy, beginning with the peer itself.

    What is not an address ends the walk: then the last one that was counts, and so it does when all are trusted.
    """
    last = parse_address(peer)
    if last is None or not _is_trusted(last, networks):
        return peer
    for entry in _from_the_right(headers):
        address = parse_address(entry)
        if address is None:
            break
        last = address
        if not _is_trusted(address, networks):
            break
    return str(last)


def parse_address(text: str) -> Address | None:
    """The address in an entry: IPv4, IPv6 bare or in brackets, with or without a port; None if it is neither."""
    found = _IPV4.fullmatch(text) or _IPV6.fullmatch(text)
    if found is None:
        return None
    try:
        address = ipaddress.ip_address(next(filter(None, found.groups())))
    except ValueError:
        return None
    # An IPv4 caller of an IPv6 socket is the same caller.
    return getattr(address, "ipv4_mapped", None) or address


def _from_the_right(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """The entries of all lines as one list; an empty one says nothing (RFC 9110, section 5.6.1)."""
    lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    for line in reversed(lines):
        for entry in reversed(line.split(",")):
            if stripped := entry.strip(" \t"):
                yield stripped


def _is_trusted(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
