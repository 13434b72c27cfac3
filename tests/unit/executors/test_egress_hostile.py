"""Everything that leads inside and does not look like it: a listener there proves that nothing arrives.

The listener has one port on every address of this machine, so that it sees whatever spelling of loopback gets
through. Addresses of other machines are refused before there is a socket; the result says so.
"""

# ruff: noqa: RUF001 - characters that look like others are what is tested

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from flowker.executors.client import Call, Caller, CallFailed, CallSucceeded
from tests.unit.executors.conftest import FarSide
from tests.unit.executors.test_client import raw_far_side

CallTo = Callable[..., Call]

REFUSALS = {
    "address not allowed",
    "the URL is not valid",
    "the URL is not an http or https URL",
    "the URL has a user name or password in it",
    "the URL has no valid host",
    "the configuration has no valid base URL",
}
REDIRECT_REFUSALS = {
    "the far side redirects to something that is not a URL",
    "the far side redirects more than 5 times",
}
UNRESOLVED = "the host name of the far side does not resolve"


def spellings(address: str) -> Iterator[str]:
    """An IPv4 address in the ways in which somebody has parsed one."""
    a, b, c, d = ipaddress.IPv4Address(address).packed
    number = int(ipaddress.IPv4Address(address))
    dotted = f"{a}.{b}.{c}.{d}"
    yield dotted
    # As one number, or fewer than four (inet_aton).
    yield from (
        f"{number}",
        f"{number:#x}",
        f"{number:#X}",
        f"0{number:o}",
        f"00000000{number:o}",
        f"0x0000{number:x}",
    )
    yield from (f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{number & 0xFFFF}", f"{a:#x}.{number & 0xFFFFFF:#x}")
    yield from (f"{a:#x}.{b}.{number & 0xFFFF}", f"0{a:o}.{number & 0xFFFFFF}", f"{number + 2**32}")
    # Each part in another base, with zeros in front, too large, or more than there should be.
    yield from (f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:#x}.0{b:o}.{c}.{d}")
    yield from (f"{a:04}.{b:04}.{c:04}.{d:04}", f"0000{a:o}.{b}.{c}.{d}", f"{a + 256}.{b}.{c}.{d}", f"0.{dotted}")
    yield from (f"{a}.{b}.{c}.{d + 256}", f"{a}.{b}.{c}.{d}.", f"{a}.{b}.{c}.{d}..", f".{dotted}", f"{number}.")
    # Encoded once and twice, in part and as a whole.
    encoded = "".join(f"%{ord(character):02x}" for character in dotted)
    yield from (encoded, encoded.replace("%", "%25"), dotted.replace(".", "%2e"), f"%{ord(dotted[0]):x}{dotted[1:]}")
    yield from (
        f"{dotted}%00",
        f"{dotted}%00.example.com",
        f"{dotted}%20",
        f"{dotted}%2e",
    )
    # Other digits and dots that Unicode takes for the same.
    for zero in "０𝟎𝟘𝟢𝟬𝟶٠०":
        yield "".join(chr(ord(zero) + int(character)) if character.isdigit() else character for character in dotted)
    yield "".join("⓪①②③④⑤⑥⑦⑧⑨"[int(character)] if character.isdigit() else character for character in dotted)
    yield "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(character)] if character.isdigit() else character for character in dotted)
    yield from (dotted.replace(".", dot) for dot in "。．｡․")
    yield from (f"{dotted}\u00ad", f"{a}.\u200b{b}.{c}.{d}", f"\ufeff{dotted}", f"{a}.{b}.{c}.\u2060{d}")
    # Inside of an IPv6 address.
    high, low = number >> 16, number & 0xFFFF
    for prefix in (
        "::ffff:",
        "::ffff:0:",
        "::",
        "64:ff9b::",
        "64:ff9b:1::",
        "0:0:0:0:0:ffff:",
        "::FFFF:",
        "fe80::5efe:",
    ):
        yield f"[{prefix}{dotted}]"
        yield f"[{prefix}{high:x}:{low:x}]"
    yield from (f"[2002:{high:x}:{low:x}::]", f"[2002:{high:x}:{low:x}::1]", f"[2002:{high:x}:{low:x}::{dotted}]")
    yield f"[2001:0:4136:e378:8000:63bf:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}]"
    yield f"[2001:0:{high:x}:{low:x}::1]"
    yield from (f"[::ffff:{dotted}%25lo]", f"[::ffff:{dotted}%lo]", f"[::ffff:{a:#x}.{b}.{c}.{d}]", f"[{dotted}]")
    yield from (f"[v1.{dotted}]", f"[::ffff:{dotted}", f"::ffff:{dotted}", f"[::ffff:{dotted}].example.com")


LOOPBACK = [
    *spellings("127.0.0.1"),
    "127.255.255.254",
    "0",
    "0x0",
    "00",
    "0.0",
    "0.0.0.0",  # noqa: S104 - nothing is bound
    "0.0.0.1",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0001]",
    "[::0.0.0.1]",
    "[::1%25lo]",
    "[::1%lo]",
    "[::1%251]",
    "[::1%25]",
    "[fe80::1%25lo]",
    "[::ffff:0.0.0.0]",
    "localhost",
    "LOCALHOST",
    "LocalHost",
    "localhost.",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
    "ｌｏｃａｌｈｏｓｔ",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "local\u00adhost",
    "loc%61lhost",
    "%6cocalhost",
    "localhost%00.example.com",
    "localhost%2eexample.com",
]
ELSEWHERE_INSIDE = [
    *spellings("169.254.169.254"),
    "10.0.0.1",
    "10.1",
    "0xa000001",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.170.2",
    "169.254.0.23",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.257",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "4294967295",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[fc00::1]",
    "[fe80::a9fe:a9fe%25eth0]",
    "[fec0::1]",
    "[ff02::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[3fff::1]",
    "[5f00::1]",
]
NAMES = [
    "metadata.google.internal",
    "metadata",
    "instance-data",
    "instance-data.ec2.internal",
    "kubernetes.default.svc",
    "host.docker.internal",
    "localtest.me",
    "127.0.0.1.nip.io",
    "127-0-0-1.sslip.io",
    "spoofed.burpcollaborator.net",
    "xn--localhost-9ib.example",
    "bücher.example",
    "a.example.",
    "under_score.example",
]
URLS = [
    "http://public.example@127.0.0.1:{port}",
    "http://public.example:80@127.0.0.1:{port}",
    "http://public.example%40127.0.0.1:{port}",
    "http://public.example%2f@127.0.0.1:{port}",
    "http://public.example%23@127.0.0.1:{port}",
    "http://@127.0.0.1:{port}",
    "http://:@127.0.0.1:{port}",
    "http://:secret@127.0.0.1:{port}",
    "http://a@b@127.0.0.1:{port}",
    "http://127.0.0.1:{port}@public.example",
    "http://127.0.0.1:{port}\\@public.example",
    "http://public.example\\@127.0.0.1:{port}",
    "http://public.example\\.127.0.0.1:{port}",
    "http://127.0.0.1:{port}#@public.example",
    "http://127.0.0.1:{port}?@public.example",
    "http://127.0.0.1:{port}/@public.example",
    "http://127.0.0.1:{port};public.example",
    "http://127.0.0.1:{port}:80",
    "http://public.example:80:127.0.0.1:{port}",
    "http://127.0.0.1:{port} public.example",
    "http://public.example 127.0.0.1:{port}",
    "http://127.0.0.1\t:{port}",
    "http://127.0.\n0.1:{port}",
    "http://127.0.0.1\r\n:{port}",
    " http://127.0.0.1:{port}",
    "\thttp://127.0.0.1:{port}",
    "http:127.0.0.1:{port}",
    "http:/127.0.0.1:{port}",
    "http:///127.0.0.1:{port}",
    "http:\\\\127.0.0.1:{port}",
    "http://\\127.0.0.1:{port}",
    "//127.0.0.1:{port}",
    "127.0.0.1:{port}",
    "http://127.0.0.1:{port}%0d%0aX: y",
    "http://127.0.0.1%0d%0a:{port}",
    "http://127.0.0.1:0{port}",
    "http://127.0.0.1:+{port}",
    "http://127.0.0.1:%31{port}",
    "http://127.0.0.1:６５５３５",
    "http://127.0.0.1:65536",
    "http://127.0.0.1:-1",
    "http://127.0.0.1:0",
    "http://127.0.0.1:",
    "https://127.0.0.1:{port}",
    "HTTP://127.0.0.1:{port}",
    "hTTps://[::1]:{port}",
    "http://[::1]{port}",
    "http://[::1]x:{port}",
    "http://x[::1]:{port}",
    "http://[[::1]]:{port}",
    "ws://127.0.0.1:{port}",
    "wss://127.0.0.1:{port}",
    "ftp://127.0.0.1:{port}",
    "ftps://127.0.0.1:{port}",
    "sftp://127.0.0.1:{port}",
    "tftp://127.0.0.1:{port}",
    "gopher://127.0.0.1:{port}/_GET",
    "dict://127.0.0.1:{port}/d:x",
    "ldap://127.0.0.1:{port}",
    "telnet://127.0.0.1:{port}",
    "tcp://127.0.0.1:{port}",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "npipe:////./pipe/docker_engine",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "jar:http://127.0.0.1:{port}!/",
    "url:http://127.0.0.1:{port}",
    "view-source:http://127.0.0.1:{port}",
    "blob:http://127.0.0.1:{port}",
    "data:text/plain,x",
    "javascript:alert(1)",
    "netdoc:///etc/passwd",
    "http",
    "http:",
    "http://",
    "http://?",
    "http://:{port}",
    "http://.:{port}",
    "http://..:{port}",
    "http://*:{port}",
    "http://%:{port}",
    "http://-:{port}",
    "http://[]:{port}",
    "http://[:{port}",
    "http://\x00:{port}",
    "http://127.0.0.1\x00:{port}",
    "http://\ud800:{port}",
    "",
]


@dataclass
class Listener:
    """One port of this machine, and who has come to it."""

    port: int = 0
    seen: list[Any] = field(default_factory=list)

    async def saw_nothing(self) -> bool:
        """Comes to the port itself, on every family: whoever came before was seen before."""
        knocks = [await self._knock(host) for host in ("127.0.0.1", "::1")]
        return self.seen == knocks

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.append(writer.get_extra_info("peername")[:2])
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nseen")
        writer.close()

    async def _knock(self, host: str) -> Any:
        reader, writer = await asyncio.open_connection(host, self.port)
        writer.write(b"knock\n")
        await reader.read()
        writer.close()
        return writer.get_extra_info("sockname")[:2]


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listening = Listener()
    everywhere = "0.0.0.0"  # noqa: S104 - it is to see what comes to any address
    async with await asyncio.start_server(listening.answer, everywhere, 0) as server:
        listening.port = server.sockets[0].getsockname()[1]
        async with await asyncio.start_server(listening.answer, "::", listening.port):
            yield listening


class Inside(AbstractResolver):
    """Every name leads to these addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)
            for address in self._addresses
            if family in {socket.AF_UNSPEC, kind := socket.AF_INET6 if ":" in address else socket.AF_INET}
        ]

    async def close(self) -> None:
        """There is nothing to close."""


@asynccontextmanager
async def started(**settings: Any) -> AsyncIterator[Caller]:
    caller = Caller(**settings)
    await caller.start()
    yield caller
    await caller.stop()


@pytest.mark.parametrize("host", LOOPBACK + ELSEWHERE_INSIDE, ids=ascii)
async def test_no_spelling_of_an_address_leads_inside(listener: Listener, call_to: CallTo, host: str) -> None:
    """As the system resolves it, where it takes it for a name."""
    async with started() as caller:
        result = await caller.call(call_to(f"http://{host}:{listener.port}"))

    assert await listener.saw_nothing()
    assert isinstance(result, CallFailed)
    assert result.message in {*REFUSALS, UNRESOLVED}


@pytest.mark.parametrize("host", LOOPBACK + ELSEWHERE_INSIDE + NAMES, ids=ascii)
async def test_no_name_leads_inside(listener: Listener, call_to: CallTo, host: str) -> None:
    """If it were one, and resolved to this machine, in either family and through a mapped address."""
    async with started(resolver=Inside("127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::")) as caller:  # noqa: S104
        result = await caller.call(call_to(f"http://{host}:{listener.port}"))

    assert await listener.saw_nothing()
    assert isinstance(result, CallFailed)
    assert result.message in REFUSALS


@pytest.mark.parametrize("url", URLS, ids=ascii)
async def test_no_url_leads_inside(listener: Listener, call_to: CallTo, url: str) -> None:
    """Whoever reads it in another way than we do."""
    async with started(resolver=Inside("127.0.0.1", "::1")) as caller:
        result = await caller.call(call_to(url.replace("{port}", str(listener.port))))

    assert await listener.saw_nothing()
    assert isinstance(result, CallFailed)
    assert result.message in REFUSALS


REDIRECTS = [
    *(f"http://{host}:{{port}}/" for host in spellings("127.0.0.2")),
    "//127.0.0.2:{port}/",
    "\\\\127.0.0.2:{port}/",
    "/\\127.0.0.2:{port}/",
    "http:/127.0.0.2:{port}/",
    "http:127.0.0.2:{port}/",
    "http://127.0.0.1@127.0.0.2:{port}/",
    "http://127.0.0.1\\@127.0.0.2:{port}/",
    "http://127.0.0.2:{port}\\@127.0.0.1/",
    "http://[::1]:{port}/",
    "https://127.0.0.2:{port}/",
    "ws://127.0.0.2:{port}/",
    "gopher://127.0.0.2:{port}/_x",
    "file:///etc/passwd",
    "\thttp://127.0.0.2:{port}/",
    "http://127.0.0.2:{port}/#@127.0.0.1",
]


PATHS = [
    "//127.0.0.2:{port}/",
    "///127.0.0.2:{port}/",
    "/\t/127.0.0.2:{port}/",
    "%2f%2f127.0.0.2:{port}/",
    "@127.0.0.2:{port}/",
    "/@127.0.0.2:{port}/",
    ":{port}@127.0.0.2",
    ":secret@127.0.0.2:{port}/",
    "http://127.0.0.2:{port}/",
    "?@127.0.0.2:{port}/",
    ".127.0.0.2:{port}/",
    "\r\nHost: 127.0.0.2:{port}",
    " HTTP/1.1\r\nHost: 127.0.0.2:{port}\r\n\r\n",
]


@pytest.mark.parametrize("location", REDIRECTS, ids=ascii)
async def test_no_redirect_leads_inside(listener: Listener, call_to: CallTo, location: str) -> None:
    """From a far side that may be called to a neighbour that may not."""

    async def redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        target = location.replace("{port}", str(listener.port)).encode()
        writer.write(
            b"HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n"
        )

    async with (
        raw_far_side(redirects) as (port, connections),
        started(egress_allow=["127.0.0.1/32"], resolver=Inside("127.0.0.2", "::1")) as caller,
    ):
        call = call_to(f"http://127.0.0.1:{port}", {"allow_redirects": True}, method="GET")
        result = await caller.call(call)

    assert await listener.saw_nothing()
    assert connections != []
    assert isinstance(result, CallFailed)
    assert result.message in {*REFUSALS, *REDIRECT_REFUSALS}


@pytest.mark.parametrize("path", PATHS, ids=ascii)
async def test_no_path_leads_inside(listener: Listener, far_side: FarSide, call_to: CallTo, path: str) -> None:
    """It stays one of the base URL, or is refused."""
    async with started(egress_allow=["127.0.0.1/32"]) as caller:
        result = await caller.call(call_to(far_side.url, path=path.replace("{port}", str(listener.port))))

    assert await listener.saw_nothing()
    assert len(far_side.received) == isinstance(result, CallSucceeded)
    assert {received.headers["host"] for received in far_side.received} <= {far_side.url.removeprefix("http://")}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "localhost", "name.example"]
)
async def test_the_listener_sees_what_is_allowed(listener: Listener, call_to: CallTo, host: str) -> None:
    """Otherwise it would prove nothing."""
    resolver = Inside("127.0.0.1")
    async with started(egress_allow=["127.0.0.0/8", "::1/128", "::ffff:0:0/96"], resolver=resolver) as caller:
        result = await caller.call(call_to(f"http://{host}:{listener.port}"))

    assert isinstance(result, CallSucceeded)
    assert result.output["body"] == "seen"
    assert len(listener.seen) == 1
    assert not await listener.saw_nothing()


def test_there_are_many_of_them() -> None:
    """Each once: whoever adds one sees that it is new."""
    hosts = LOOPBACK + ELSEWHERE_INSIDE + NAMES

    for forms in (hosts, URLS, REDIRECTS, PATHS):
        assert len(set(forms)) == len(forms)
    assert len(hosts) >= 120
