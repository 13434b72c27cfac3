"""Calls to far sides that make them wait at every moment, or lead them astray: deadlines and rules hold."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime

import pytest

from tests.reliability.conftest import Api
from tests.reliability.far_sides import (
    HEAD,
    FarSide,
    Script,
    drips,
    nobody_accepts,
    redirects_to,
    redirects_to_itself,
    says,
    says_nothing,
)
from tests.reliability.fault_proxy import FaultProxy
from tests.reliability.stub_provider import Fault, StubProvider
from tests.reliability.test_calls import call, workflow

Record = Callable[[str, object], None]

ROW = "far side: reset, black hole, slow, truncated, 10 MB answers, redirects, 429"

TIMEOUT_S = 3
DEVIATION_MAX = 0.10
SOON_S = 5.0

ENDLESS: Mapping[str, Script] = {
    "silent": says_nothing,
    "silent-in-the-status": says(b"HTTP/1.1 20"),
    "silent-in-the-headers": says(HEAD),
    "silent-before-the-body": says(HEAD + b"Content-Length: 10\r\n\r\n"),
    "silent-in-the-body": says(HEAD + b'Content-Length: 10\r\n\r\n{"a":'),
    "silent-between-chunks": says(HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n'),
    "drips-the-headers": drips(HEAD + b"X-Slow: ", b"x", every_s=0.2),
    "drips-headers": drips(HEAD, b"X-Another: x\r\n", every_s=0.1),
    "drips-the-body": drips(HEAD + b"Content-Length: 1000\r\n\r\n", b" ", every_s=1.0),
    "drips-chunks": drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", every_s=1.0),
    "is-always-processing": drips(b"", b"HTTP/1.1 102 Processing\r\n\r\n", every_s=0.2),
    "redirects-slowly": redirects_to_itself,
}
"""What never comes to an end by itself, over http."""

ENDLESS_TLS: Mapping[str, Script] = {
    "tls-silent": says_nothing,
    "tls-silent-in-the-handshake": says(b"\x16\x03\x03\x00\x7a\x02"),
    "tls-drips-the-handshake": drips(b"\x16\x03\x03\x40\x00", b"\x02", every_s=0.2),
}

PROMPT: Mapping[str, tuple[Fault, str]] = {
    "reset": (Fault.RESET, "was lost"),
    "truncated": (Fault.TRUNCATED, "broken or incomplete"),
    "huge": (Fault.HUGE, "larger than 1048576 bytes"),
    "too-many": (Fault.TOO_MANY, "429"),
    "unavailable": (Fault.UNAVAILABLE, "503"),
}
"""What fails at once, with the words that it is told in."""


@pytest.mark.quiet
@pytest.mark.row(ROW)
def test_deadlines_hold_at_every_moment_of_a_call(api: Api, provider: StubProvider, record_property: Record) -> None:
    """From the start of the call until its failure is recorded; all of them at once."""
    for name, (fault, _) in PROMPT.items():
        provider.answers("POST", f"/{name}", {"a": "long answer"})
        provider.plan(f"/{name}", fault)
    with ExitStack() as stack:
        urls = {**dict(_endless_urls(stack, provider)), **dict.fromkeys(PROMPT, provider.url)}
        configured = {name: _configure(api, url) for name, url in urls.items()}
        ids = {name: _begin(api, name, configuration_id) for name, configuration_id in configured.items()}
        ended = {name: _ended(api, id_) for name, id_ in ids.items()}

    prompt = {name: ended.pop(name) for name in PROMPT}
    deviations = {name: (took_s - TIMEOUT_S) / TIMEOUT_S for name, (took_s, _) in ended.items()}
    record_property("faults", len(urls))
    record_property("deadline", f"{TIMEOUT_S} s")
    record_property("largest deviation", f"{100 * max(map(abs, deviations.values())):.1f} %")
    assert {name: error for name, (_, error) in ended.items() if "no complete response" not in error} == {}
    assert {name: one for name, one in deviations.items() if abs(one) > DEVIATION_MAX} == {}
    for name, (took_s, error) in prompt.items():
        assert PROMPT[name][1] in error
        assert took_s < TIMEOUT_S


@pytest.mark.row(ROW)
def test_nothing_reaches_a_network_that_is_refused(api: Api, record_property: Record) -> None:
    """However its address is written, and whoever leads there; somebody listens there and hears nobody."""
    with ExitStack() as stack:
        inside = [stack.enter_context(_open(says(b""), host)) for host in ("127.0.0.2", "::1")]
        hidden = [url.format(port=inside[0].port) for url in _SPELLINGS] + [f"http://[::1]:{inside[1].port}"]
        urls = {f"directly-{number}": url for number, url in enumerate(hidden)}
        for number, url in enumerate(hidden):
            for status in (301, 302, 303, 307, 308):
                far_side = stack.enter_context(_open(redirects_to(f"{url}/call", status)))
                urls[f"redirected-{number}-{status}"] = f"http://127.0.0.1:{far_side.port}"
        configured = {name: _configure(api, url) for name, url in urls.items()}
        ids = {name: _begin(api, name, configuration_id) for name, configuration_id in configured.items()}
        errors = {name: _ended(api, id_)[1] for name, id_ in ids.items()}
        heard = [far_side.heard for far_side in inside]
        for far_side, host in zip(inside, ("127.0.0.2", "::1"), strict=True):
            socket.create_connection((host, far_side.port)).close()
        listens = [_until_heard(far_side) for far_side in inside]

    record_property("ways", len(urls))
    assert heard == [0, 0]
    assert listens == [1, 1]
    assert {name: error for name, error in errors.items() if not any(words in error for words in _REFUSALS)} == {}


_SPELLINGS = (
    "http://127.0.0.2:{port}",
    "http://[::ffff:127.0.0.2]:{port}",
    "http://[::127.0.0.2]:{port}",
    "http://[64:ff9b::7f00:2]:{port}",
    "http://2130706434:{port}",
    "http://0x7f000002:{port}",
    "http://0177.0.0.2:{port}",
    "http://127.2:{port}",
)
"""Of one address, those that some resolver or some library understands."""

_REFUSALS = ("address not allowed", "does not resolve", "no connection", "no valid host", "not valid")
"""An address that is written in a way that nobody understands leads nowhere, either."""


def _endless_urls(stack: ExitStack, provider: StubProvider) -> Iterator[tuple[str, str]]:
    host, port = provider.url.removeprefix("http://").split(":")
    proxy = stack.enter_context(FaultProxy(host, int(port)))
    proxy.pause()
    yield "lost-on-the-way", f"http://127.0.0.1:{proxy.port}"
    yield "nobody-accepts", f"http://127.0.0.1:{stack.enter_context(nobody_accepts())}"
    for scheme, scripts in (("http", ENDLESS), ("https", ENDLESS_TLS)):
        for name, script in scripts.items():
            yield name, f"{scheme}://127.0.0.1:{stack.enter_context(_open(script)).port}"


@contextmanager
def _open(script: Script, host: str = "127.0.0.1") -> Iterator[FarSide]:
    far_side = FarSide(script, host)
    try:
        yield far_side
    finally:
        far_side.close()


def _begin(api: Api, name: str, configuration_id: str) -> str:
    """The id of an execution that makes one call, once."""
    data = {"timeout": TIMEOUT_S, "retry": {"maxAttempts": 1}}
    api.activate(workflow(name, [call("c", configuration_id, f"/{name}", **data)], ("received", "c")))
    return api.deliver(name, {}, 201)


def _configure(api: Api, url: str) -> str:
    return api.configure("http", {"base_url": url, "allow_redirects": True})


def _ended(api: Api, execution_id: str) -> tuple[float, str]:
    """Seconds from the start of the call until its failure was recorded, and what it was told as."""
    results = api.results(execution_id)
    assert results["status"] == "failed"
    [attempt] = api.expect(200, "GET", f"/v1/executions/{execution_id}/steps").json()["items"][0]["attempts"]
    completed_at = api.expect(200, "GET", f"/v1/executions/{execution_id}").json()["completedAt"]
    took = datetime.fromisoformat(completed_at) - datetime.fromisoformat(attempt["startedAt"])
    return took.total_seconds(), results["errorMessage"]


def _until_heard(far_side: FarSide) -> int:
    deadline = time.monotonic() + SOON_S
    while not far_side.heard and time.monotonic() < deadline:
        time.sleep(0.01)
    return far_side.heard
