"""Testing a connection over real sockets: how far each far side lets a test come, and what the result says."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flowker.executors import http
from flowker.executors.client import Caller
from flowker.executors.connectivity import CODES, Connectivity, Report, Stage, StageName
from flowker.executors.egress import AddressNotAllowed
from tests.unit.executors.conftest import FarSide
from tests.unit.executors.test_client import raw_far_side, says_hello

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = ["127.0.0.0/8"]
SECRET = "s3cret-of-the-far-side"
BEARER = {"auth": {"type": "bearer", "config": {"token": SECRET}}}
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
STAGE_S = 0.3
PUBLIC = "93.184.215.14"


class Names(AbstractResolver):
    """Answers every question with the next list of addresses, the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.questions: list[str] = []
        self._answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.questions.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        resolved = [_resolved(host, port, address) for address in answer]
        return [one for one in resolved if family in {socket.AF_UNSPEC, one["family"]}]

    async def close(self) -> None:
        """There is nothing to close."""


class Silence(Names):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__([])

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await asyncio.Event().wait()
        return await super().resolve(host, port, family)


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)


@asynccontextmanager
async def started(caller: Caller) -> AsyncIterator[Caller]:
    await caller.start()
    yield caller
    await caller.stop()


async def report_on(
    caller: Caller, base_url: str, config: dict[str, Any] | None = None, stage_timeout_s: float = 5
) -> Report:
    """The report on a configuration of provider `http`."""
    connectivity = Connectivity(caller, stage_timeout_s=stage_timeout_s)
    return await connectivity.test(lambda: http.probe({"base_url": base_url, **(config or {})}))


def statuses(report: Report) -> list[str]:
    return [stage.status for stage in report.stages]


def stage(report: Report, name: StageName) -> Stage:
    (found,) = (stage for stage in report.stages if stage.name == name)
    return found


async def test_a_far_side_that_lets_a_call_in_passes(caller: Caller, far_side: FarSide) -> None:
    """Every stage says what it found, in order."""
    report = await report_on(caller, f"{far_side.url}/v1", BEARER)

    assert report.overall_status == PASSED
    assert report.summary == "The far side was reached and answered as a call expects."
    assert [replace(stage, duration_ms=0) for stage in report.stages] == [
        Stage("dns_resolution", "passed", "The host name resolves.", 0, {"resolvedIP": "127.0.0.1"}),
        Stage("connectivity", "passed", "The far side answered 200 OK.", 0, {"statusCode": 200}),
        Stage("authentication", "passed", "The far side answered 200 OK.", 0, {"statusCode": 200}),
        Stage("end_to_end", "passed", "The far side answered 200 OK.", 0, {"statusCode": 200}),
    ]


async def test_credentials_are_sent_by_one_stage_only(caller: Caller, far_side: FarSide) -> None:
    """Nor does any other get what has the name of a secret, or repeats one."""
    key = {"auth": {"type": "api_key", "config": {"key": SECRET, "header": "k", "location": "query"}}}
    headers = {"X-Tenant": "t1", "X-Auth": "a", "X-Session-Token": "b", "Cookie": "c=d", "X-Copy": f"it is {SECRET}"}

    await report_on(caller, f"{far_side.url}/v1?page=1", {**key, "headers": headers})
    await report_on(caller, f"{far_side.url}/v1?page=2", BEARER)

    anonymous, full, no_bearer, bearer = far_side.received
    assert [received.method for received in far_side.received] == ["GET"] * 4
    assert anonymous.path == "/v1?page=1"
    assert anonymous.headers["x-tenant"] == "t1"
    assert not {"x-auth", "x-session-token", "cookie", "x-copy"} & anonymous.headers.keys()
    assert full.path == f"/v1?page=1&k={SECRET}"
    assert {name.lower(): value for name, value in headers.items()}.items() <= full.headers.items()
    assert no_bearer.path == bearer.path == "/v1?page=2"
    assert "authorization" not in no_bearer.headers
    assert bearer.headers["authorization"] == f"Bearer {SECRET}"


async def test_what_has_no_credentials_is_asked_once(caller: Caller, far_side: FarSide) -> None:
    """The skipped stage does not keep the test from passing."""
    report = await report_on(caller, far_side.url, {"headers": {"X-Tenant": "t1"}})

    assert report.overall_status == PASSED
    assert statuses(report) == [PASSED, PASSED, SKIPPED, PASSED]
    assert stage(report, "authentication").message == "There are no credentials to test."
    assert len(far_side.received) == 1


async def test_configured_headers_that_are_secret_are_credentials(caller: Caller, far_side: FarSide) -> None:
    """Many services know their callers by a header of their own."""
    report = await report_on(caller, far_side.url, {"headers": {"X-Service-Token": SECRET}})

    assert statuses(report) == [PASSED] * 4
    assert ["x-service-token" in received.headers for received in far_side.received] == [False, True]


@pytest.mark.parametrize(
    ("status", "expected", "error"),
    [
        (200, [PASSED, PASSED, PASSED, PASSED], None),
        (204, [PASSED, PASSED, PASSED, PASSED], None),
        (307, [PASSED, PASSED, PASSED, FAILED], "FLK-0283: the far side answered 307 Temporary Redirect"),
        (401, [PASSED, PASSED, FAILED, SKIPPED], "FLK-0282: the far side answered 401 Unauthorized"),
        (403, [PASSED, PASSED, FAILED, SKIPPED], "FLK-0282: the far side answered 403 Forbidden"),
        (404, [PASSED, PASSED, PASSED, FAILED], "FLK-0283: the far side answered 404 Not Found"),
        (429, [PASSED, PASSED, PASSED, FAILED], "FLK-0283: the far side answered 429 Too Many Requests"),
        (499, [PASSED, PASSED, PASSED, FAILED], "FLK-0283: the far side answered 499"),
        (500, [PASSED, FAILED, SKIPPED, SKIPPED], "FLK-0281: the far side answered 500 Internal Server Error"),
        (503, [PASSED, FAILED, SKIPPED, SKIPPED], "FLK-0281: the far side answered 503 Service Unavailable"),
    ],
)
async def test_a_status_decides_how_far_a_test_comes(
    caller: Caller, far_side: FarSide, status: int, expected: list[str], error: str | None
) -> None:
    """The first stage that does not take it ends the test, with its code."""
    far_side.answers(status=status)

    report = await report_on(caller, far_side.url, BEARER)

    assert statuses(report) == expected
    assert [stage.error for stage in report.stages if stage.status == "failed"] == ([error] if error else [])
    assert report.overall_status == ("partial" if error else "passed")
    assert all(stage.details["statusCode"] == status for stage in report.stages[1:] if stage.status != "skipped")


async def test_what_is_asked_for_credentials_without_having_any_fails_at_the_end(
    caller: Caller, far_side: FarSide
) -> None:
    """The far side is there; that it wants credentials is seen by the last stage."""
    far_side.answers(status=401)

    report = await report_on(caller, far_side.url)

    assert statuses(report) == [PASSED, PASSED, SKIPPED, FAILED]
    assert report.overall_status == "partial"
    assert report.summary == "The test failed at end_to_end: the far side answered 401 Unauthorized."


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_credentials_that_the_far_side_refuses_fail_their_stage(
    caller: Caller, far_side: FarSide, status: int
) -> None:
    """Also if the far side breaks over them only; who comes without them is answered."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status if "Authorization" in request.headers else 200)

    far_side.answer = answer
    report = await report_on(caller, far_side.url, BEARER)

    assert statuses(report) == [PASSED, PASSED, FAILED, SKIPPED]
    assert stage(report, "connectivity").details == {"statusCode": 200}
    assert stage(report, "authentication").details == {"statusCode": status}


async def test_the_credentials_are_what_lets_a_call_in(caller: Caller, far_side: FarSide) -> None:
    """Refused without them is reached, and with them it passes."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers.get("Authorization") == f"Bearer {SECRET}" else 401)

    far_side.answer = answer
    report = await report_on(caller, far_side.url, BEARER)

    assert report.overall_status == PASSED
    assert [stage.details.get("statusCode") for stage in report.stages] == [None, 401, 200, 200]


async def test_redirects_are_answers(caller: Caller, far_side: FarSide, elsewhere: FarSide) -> None:
    """Not followed, whatever the configuration allows its calls."""
    far_side.answers(status=302, headers={"Location": elsewhere.url})
    prepared = replace(http.probe({"base_url": far_side.url}), allow_redirects=True)

    report = await Connectivity(caller).test(lambda: prepared)

    assert statuses(report) == [PASSED, PASSED, SKIPPED, FAILED]
    assert elsewhere.received == []


async def test_what_a_node_counts_as_success_is_of_no_account(caller: Caller, far_side: FarSide) -> None:
    """It is a matter of its own calls."""
    far_side.answers(status=404)
    prepared = replace(http.probe({"base_url": far_side.url}), success_status_codes=frozenset({404}))

    report = await Connectivity(caller).test(lambda: prepared)

    assert statuses(report) == [PASSED, PASSED, SKIPPED, FAILED]


async def test_the_last_stage_takes_no_time(caller: Caller, far_side: FarSide) -> None:
    """It judges the answer that another stage has waited for."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(0.02)
        return web.Response()

    far_side.answer = answer
    report = await report_on(caller, far_side.url, BEARER)

    assert all(stage.duration_ms >= 20 for stage in report.stages[1:3])
    assert stage(report, "end_to_end").duration_ms == 0
    assert len(far_side.received) == 2


async def test_a_far_side_that_is_not_there_is_not_connected_to(caller: Caller) -> None:
    """The name may be right all the same."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    report = await report_on(caller, f"http://127.0.0.1:{port}", BEARER)

    assert statuses(report) == [PASSED, FAILED, SKIPPED, SKIPPED]
    assert stage(report, "connectivity").error == "FLK-0281: no connection to the far side"
    assert stage(report, "connectivity").details == {}
    assert stage(report, "authentication").message == "An earlier stage failed."


async def test_a_name_that_nobody_has_does_not_resolve(caller: Caller) -> None:
    """The one stage that a test can fail as a whole with."""
    report = await report_on(caller, "http://far-side.invalid", BEARER)

    assert statuses(report) == [FAILED, SKIPPED, SKIPPED, SKIPPED]
    assert report.overall_status == "failed"
    assert report.stages[0].error == "FLK-0280: the host name of the far side does not resolve"
    assert report.summary == "The test failed at dns_resolution: the host name of the far side does not resolve."


@pytest.mark.parametrize(
    ("base_url", "config", "reason"),
    [
        ("ftp://127.0.0.1", {}, "the URL is not an http or https URL"),
        ("http://someone:hidden@127.0.0.1", {}, "the URL has a user name or password in it"),
        ("http://a..b", {}, "the URL has no valid host"),
        ("http://[", {}, "the configuration has no valid base URL"),
        ("http://127.0.0.1", {"auth": {"type": "magic"}}, "the configuration has an authentication of unknown type"),
    ],
)
async def test_what_cannot_be_sent_fails_at_once(
    caller: Caller, base_url: str, config: dict[str, Any], reason: str
) -> None:
    """With the reason why no call could be made, and without what was configured."""
    report = await report_on(caller, base_url, config)

    assert statuses(report) == [FAILED, SKIPPED, SKIPPED, SKIPPED]
    assert report.stages[0].error == f"FLK-0280: {reason}"
    assert "hidden" not in repr(report)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://someone@127.0.0.1"])
async def test_no_provider_can_send_a_test_elsewhere(caller: Caller, url: str) -> None:
    """The URL is checked whoever has prepared it."""
    prepared = http.probe({"base_url": "http://127.0.0.1"})

    report = await Connectivity(caller).test(lambda: replace(prepared, url=prepared.url.__class__(url)))

    assert statuses(report) == [FAILED, SKIPPED, SKIPPED, SKIPPED]


async def test_a_success_that_is_too_large_is_none(caller: Caller, far_side: FarSide) -> None:
    """It was answered, and a call could not take the answer; exactly a megabyte passes."""
    far_side.answers(body=b"x" * 1_048_576)
    largest = await report_on(caller, far_side.url, BEARER)
    far_side.answers(body=b"x" * 1_048_577)
    larger = await report_on(caller, far_side.url, BEARER)

    assert largest.overall_status == PASSED
    assert statuses(larger) == [PASSED, PASSED, PASSED, FAILED]
    assert stage(larger, "end_to_end").error == "FLK-0283: the response is larger than 1048576 bytes"


async def test_nothing_of_the_answer_and_no_secret_is_in_the_report(caller: Caller, far_side: FarSide) -> None:
    """Also when the far side repeats what it got, in status line, headers and body."""

    async def answer(request: web.Request) -> web.Response:
        echo = request.headers.get("Authorization", SECRET)
        return web.Response(
            status=404, reason=f"no {echo}", headers={"X-Echo": echo}, text=f"from the inside: {echo}"
        )

    far_side.answer = answer
    report = await report_on(caller, far_side.url, {**BEARER, "headers": {"X-Tenant": "tenant-1"}})

    assert report.overall_status == "partial"
    assert not [text for text in (SECRET, "Echo", "inside", "tenant-1") if text in repr(report)]


class TestTime:
    async def test_a_name_server_that_stays_silent_is_left_in_time(self) -> None:
        """Before anything is connected to."""
        async with started(Caller(egress_allow=LOOPBACK, resolver=Silence())) as caller:
            report = await report_on(caller, "http://far-side.example", BEARER, STAGE_S)

        assert statuses(report) == [FAILED, SKIPPED, SKIPPED, SKIPPED]
        assert report.stages[0].error == "FLK-0280: the host name of the far side did not resolve within 0.3 s"
        assert_in_time(report.stages[0])

    async def test_a_far_side_that_does_not_accept_is_left_in_time(self, caller: Caller) -> None:
        """What a listener has no room for gets no answer at all."""
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for taken in (first, second):
                taken.setblocking(False)
                taken.connect_ex(full.getsockname())
            report = await report_on(caller, f"http://127.0.0.1:{full.getsockname()[1]}", BEARER, STAGE_S)

        assert statuses(report) == [PASSED, FAILED, SKIPPED, SKIPPED]
        assert_in_time(stage(report, "connectivity"))

    @pytest.mark.parametrize(
        "answer",
        [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n\r\n"],
        ids=["nothing", "headers", "body", "body of an error"],
    )
    async def test_an_answer_that_drips_is_left_in_time(self, caller: Caller, answer: bytes) -> None:
        """The time counts for the stage as a whole, up to the last byte."""
        async with raw_far_side(drips_after(answer)) as (port, _):
            report = await report_on(caller, f"http://127.0.0.1:{port}", BEARER, STAGE_S)

        assert statuses(report) == [PASSED, FAILED, SKIPPED, SKIPPED]
        assert stage(report, "connectivity").error == "FLK-0281: there was no complete response within 0.3 s"
        assert_in_time(stage(report, "connectivity"))
        assert report.duration_ms >= stage(report, "connectivity").duration_ms

    async def test_every_stage_has_its_own_time(self, caller: Caller, far_side: FarSide) -> None:
        """A stage does not pay for the one before."""

        async def answer(request: web.Request) -> web.Response:
            await asyncio.sleep(10 if "Authorization" in request.headers else STAGE_S / 2)
            return web.Response()

        far_side.answer = answer
        report = await report_on(caller, far_side.url, BEARER, STAGE_S)

        assert statuses(report) == [PASSED, PASSED, FAILED, SKIPPED]
        assert stage(report, "connectivity").duration_ms >= 1000 * STAGE_S / 2
        assert stage(report, "authentication").error == "FLK-0282: there was no complete response within 0.3 s"
        assert_in_time(stage(report, "authentication"))
        assert stage(report, "end_to_end").duration_ms == 0

    async def test_a_test_can_be_cancelled(self, caller: Caller, far_side: FarSide) -> None:
        """Whoever asked for it may have gone; the far side sees it too."""
        arrived, left = asyncio.Event(), asyncio.Event()

        async def waits(_: web.Request) -> web.Response:
            arrived.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.set()
            return web.Response()

        far_side.answer = waits
        task = asyncio.create_task(report_on(caller, far_side.url))
        await arrived.wait()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(left.wait(), 5)


class TestAddresses:
    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "localhost",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "0",
            "①②⑦.0.0.1",
            "127。0。0。1",
            "10.0.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "[::1]",
            "[::]",
            "[::127.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::808:808]",
            "[2002:7f00:1::]",
            "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
            "[fd00:ec2::254]",
            "[fe80::1%25lo]",
        ],
    )
    async def test_an_address_that_is_not_allowed_is_not_tested(self, host: str) -> None:
        """There is no report on it, however it is written, and the refusal does not show it."""
        async with raw_far_side(says_hello) as (port, connections), started(Caller()) as caller:
            with pytest.raises(AddressNotAllowed, match=r"^\[Errno 13\] address not allowed$"):
                await report_on(caller, f"http://{host}:{port}", BEARER)

        assert connections == []

    async def test_a_name_of_refused_addresses_only_is_not_tested(self) -> None:
        """Of both families, public names may lead inside."""
        names = Names(["10.0.0.1", "::1", "169.254.169.254"])
        async with started(Caller(resolver=names)) as caller:
            with pytest.raises(AddressNotAllowed):
                await report_on(caller, "http://far-side.example", BEARER)

        assert names.questions == ["far-side.example"]

    async def test_a_name_with_one_allowed_address_is_tested_there(self, far_side: FarSide) -> None:
        """And nowhere else."""
        names = Names(["10.0.0.1", "127.0.0.1", "169.254.169.254"])
        async with started(Caller(egress_allow=LOOPBACK, resolver=names)) as caller:
            report = await report_on(caller, far_side.url.replace("127.0.0.1", "far-side.example"), BEARER)

        assert report.overall_status == PASSED
        assert report.stages[0].details == {"resolvedIP": "127.0.0.1"}
        assert {received.headers["host"].partition(":")[0] for received in far_side.received} == {"far-side.example"}

    @pytest.mark.parametrize(("listening", "inside"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1")])
    async def test_a_name_that_changes_its_mind_leads_nowhere(self, listening: str, inside: str) -> None:
        """Public when it is checked and inside when it is connected to: the listener there sees nothing."""
        names = Names([PUBLIC], [inside])
        async with (
            raw_far_side(says_hello, listening) as (port, connections),
            started(Caller(resolver=names)) as caller,
        ):
            report = await report_on(caller, f"http://far-side.example:{port}", BEARER)

        assert names.questions == ["far-side.example"] * 2
        assert connections == []
        assert statuses(report) == [PASSED, FAILED, SKIPPED, SKIPPED]
        assert report.stages[0].details == {"resolvedIP": PUBLIC}
        assert report.stages[1].error == "FLK-0281: address not allowed"


class TestCertificates:
    async def test_a_certificate_that_nobody_vouches_for_is_refused(self, caller: Caller) -> None:
        """Nothing is sent to whoever it is."""
        async with served_with(Path(__file__).parent / "untrusted.pem") as (port, connections):
            report = await report_on(caller, f"https://localhost:{port}", BEARER)

        assert statuses(report) == [PASSED, FAILED, SKIPPED, SKIPPED]
        assert stage(report, "connectivity").error == "FLK-0281: the certificate of the far side is not valid"
        assert connections == []

    @pytest.mark.parametrize(
        ("subject", "expected"),
        [("far-side.example", PASSED), ("other.example", FAILED), ("*.other.example", FAILED), ("127.0.0.1", FAILED)],
    )
    async def test_a_certificate_is_for_the_host_name(self, tmp_path: Path, subject: str, expected: str) -> None:
        """One of another name is refused although who vouches for it is trusted."""
        authority = Authority.create()
        certificate = tmp_path / "far-side.pem"
        certificate.write_bytes(authority.certify(subject))
        names = Names(["127.0.0.1"])
        caller = Caller(egress_allow=LOOPBACK, resolver=names, tls=authority.trusting())
        async with served_with(certificate) as (port, connections), started(caller):
            report = await report_on(caller, f"https://far-side.example:{port}", BEARER)

        assert stage(report, "connectivity").status == expected
        assert (connections == []) is (expected == FAILED)


def test_codes_are_those_of_a_connectivity_test() -> None:
    """One for each stage, in order."""
    assert list(CODES.values()) == ["FLK-0280", "FLK-0281", "FLK-0282", "FLK-0283"]


def assert_in_time(stage: Stage) -> None:
    """Not before its time, and not much after it."""
    assert 1000 * STAGE_S <= stage.duration_ms < 1000 * (STAGE_S + 1)


def drips_after(beginning: bytes) -> Answer:
    """Writes the beginning of an answer, and then byte after byte for ever."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(beginning)
        while beginning:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)
        await reader.read()

    return answer


@asynccontextmanager
async def served_with(certificate: Path) -> AsyncIterator[tuple[int, list[int]]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with raw_far_side(says_hello, tls=context) as served:
        yield served


@dataclass
class Authority:
    """Vouches for names, for whoever trusts it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, _certificate("authority.example", key, "authority.example", key, is_authority=True))

    def certify(self, subject: str) -> bytes:
        """Key and certificate as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(subject, key, "authority.example", self.key, is_authority=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private + certificate.public_bytes(serialization.Encoding.PEM)

    def trusting(self) -> ssl.SSLContext:
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([_general_name(subject)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
