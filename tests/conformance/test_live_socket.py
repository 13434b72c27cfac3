"""The service as users run it, spoken to byte by byte: what no client library sends, and what must not come back."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowker.app import document_path
from tests.conformance.conftest import FUZZED_WEBHOOK, KEY, PATIENCE_S, ROOT, Answer, Live, Workflow

BODY_BYTES_MAX = 1_048_576

CANARY = "c4n4ry-4242"
"""Part of every request that is refused: whoever repeats it in an answer repeats what a caller sent."""

EXAMPLES_MAX = 20
"""A few of each kind for every operation: the long run is a command of its own."""


class Wire:
    """A connection at a time to a live service."""

    def __init__(self, live: Live) -> None:
        self._address = live.address

    def ask(self, method: str, target: str, *headers: str, body: bytes = b"", key: str | None = KEY) -> Answer:
        """One request with a body of a known length; the connection is closed afterwards."""
        lengths = [f"Content-Length: {len(body)}"] if body else []
        [answer] = self.exchange(head(method, target, *lengths, *headers, key=key) + body)
        return answer

    def exchange(self, *parts: bytes) -> list[Answer]:
        """Send the bytes, and read answers until the service closes the connection."""
        return answers(b"".join(self._sent(parts)))

    def _sent(self, parts: tuple[bytes, ...]) -> Iterator[bytes]:
        with socket.create_connection(self._address, timeout=PATIENCE_S) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
            except ConnectionError:
                pass  # It has answered already, and reads no more.
            try:
                while received := connection.recv(65536):
                    yield received
            except ConnectionResetError:
                pass  # What it had not read when it closed.


def head(method: str, target: str, *headers: str, key: str | None = KEY, connection: str = "close") -> bytes:
    keys = [f"X-API-Key: {key}"] if key is not None else []
    lines = [f"{method} {target} HTTP/1.1", "Host: flowker", f"Connection: {connection}", *keys, *headers]
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


def chunked(body: bytes, size: int) -> bytes:
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])


def answers(received: bytes) -> list[Answer]:
    found = []
    while received:
        start, _, rest = received.partition(b"\r\n\r\n")
        line, *fields = start.decode("latin-1").split("\r\n")
        pairs = (field.partition(": ") for field in fields)
        headers = {name.lower(): value for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        found.append(Answer(int(line.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return found


def assert_refused(answer: Answer, status: int, code: str) -> None:
    """It is the refusal, in the one shape, and tells nothing that was sent and nothing of how the service is made."""
    refusal = answer.json()
    assert (answer.status, refusal["code"]) == (status, code)
    assert refusal.keys() - {"fields"} == {"code", "title", "message"}
    assert answer.headers["content-type"] == "application/json"
    for forbidden in (CANARY, "Traceback", 'File "', "Error:"):
        assert forbidden not in answer.body.decode() + str(answer.headers)


@pytest.fixture
def wire(live: Live) -> Wire:
    return Wire(live)


@pytest.fixture(scope="module")
def workflow(live: Live) -> Workflow:
    return live.api.active(path="orders/paid")


@pytest.fixture(autouse=True)
def _quiet(live: Live) -> Iterator[None]:
    """Whatever a test sends, the log of the service has no story of a bug afterwards, and the service goes on."""
    yield
    assert "Traceback" not in live.log()
    assert '"level":"error"' not in live.log()
    assert live.api.ask("GET", "/health/ready").status == 200


JSON = "Content-Type: application/json"
WEBHOOK = "/v1/webhooks/orders/paid"
WORKFLOWS = "/v1/workflows"
NOBODY = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


BAD_JSON = {
    "duplicate keys": b'{"x": "%s", "x": 2}',
    "duplicate keys, one of them escaped": rb'{"x": "%s", "\u0078": 2}',
    "NaN": b'{"%s": NaN}',
    "Infinity": b'{"%s": -Infinity}',
    "65 levels": b'{"%s": ' + b"[" * 64 + b"]" * 64 + b"}",
    "a thousand levels": b'{"%s": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    "levels without an end": b'{"%s": ' + b"[" * 100_000,
    "a lone surrogate": rb'{"x": "%s\ud800"}',
    "a lone surrogate as a key": rb'{"%s\udc00": 1}',
    "an array": b'["%s"]',
    "a string": b'"%s"',
    "an integer that is too long": b'{"%s": ' + b"7" * 5000 + b"}",
    "an exponent without bounds": b'{"%s": 1e9999999999999999999}',
    "no UTF-8": b'{"x": "%s\xff"}',
    "UTF-16": '{"x": "%s"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"x": "%s"}',
    "two values": b'{"x": "%s"} {}',
    "half a value": b'{"x": "%s"',
    "a comment": b'{"x": "%s" /* really */}',
    "single quotes": b"{'x': '%s'}",
    "a control character in a string": b'{"x": "%s\x01"}',
    "a leading zero": b'{"%s": 007}',
    "a form": b"x=%s&y=2",
}

MALFORMED = {
    "a method that nobody has": b"FETCH /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "another protocol": b"GET /health SSH/2.0\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
    "a method of other characters": b"G\x00T /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in the target": b"GET /hea lth HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header without a colon": b"GET /health HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "a space before the colon": b"GET /health HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n",
    "NUL in a header": b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: b\x00c\r\n\r\n",
    "a length that is no number": b"POST /v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
    "a negative length": b"POST /v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a length without end": b"POST /v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n",
    "two lengths": b"POST /v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"POST /v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.usefixtures("workflow")
class TestTargets:
    @pytest.mark.parametrize(
        "target",
        ["orders%2Fpaid", "orders/paid", "orders%2fpaid", "/orders/paid/", "%6Frders/paid?from=shop", "orders/paid?"],
    )
    def test_the_spellings_of_a_webhook_reach_it(self, wire: Wire, target: str) -> None:
        """As they come over the wire, before any library has made them pretty."""
        assert wire.ask("POST", f"/v1/webhooks/{target}").status == 201

    @pytest.mark.parametrize(
        "target",
        [
            f"/v1/webhooks/{CANARY}%ff",
            f"/v1/webhooks/{CANARY}%00",
            f"/v1/webhooks/{CANARY}/../orders/paid",
            f"/v1/webhooks/{CANARY}/%2e%2e/orders/paid",
            f"/v1/webhooks/..%2f..%2f{CANARY}",
            f"/v1/webhooks/./orders/paid/{CANARY}",
            f"/v1/webhooks/{CANARY}%ed%a0%80",
            f"/v1/webhooks/{CANARY}%",
            f"/v1/webhooks/{CANARY}%zz",
            f"/v1/{CANARY}",
            f"/{CANARY}/../v1/workflows",
            f"//v1/workflows/{CANARY}",
            f"/v1/workflows/{CANARY}/",
            f"/v1/workflows%2F{CANARY}",
            f"/V1/workflows?{CANARY}",
            f"/v1/workflows;{CANARY}",
        ],
    )
    def test_a_target_that_leads_nowhere_is_not_found(self, wire: Wire, target: str) -> None:
        """Never a way around the routes, never a 500."""
        method = "POST" if "webhooks" in target else "GET"

        answer = wire.ask(method, target)

        assert_refused(answer, 404, answer.json()["code"])
        assert answer.json()["code"] in {"FLK-0404", "FLK-0361"}

    @pytest.mark.parametrize("target", ["http://flowker/version", "http://elsewhere.example/version?x=y"])
    def test_an_absolute_target_is_its_path(self, wire: Wire, target: str) -> None:
        """RFC 9112, 3.2.2: a server takes the form that is for proxies, too."""
        assert wire.ask("GET", target).status == 200


class TestMethods:
    @pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PATCH", "DELETE", "PROPFIND"])
    def test_a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has(
        self, wire: Wire, method: str
    ) -> None:
        """RFC 9110, 15.5.6: `Allow` names them all."""
        answer = wire.ask(method, WORKFLOWS, f"X-Trace: {CANARY}")

        assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
        if method != "HEAD":
            assert_refused(answer, 405, "FLK-0405")

    @pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE"])
    @pytest.mark.parametrize(
        ("target", "allowed"),
        [
            ("/health", "GET"),
            (f"{WORKFLOWS}/{NOBODY}", "DELETE, GET, PUT"),
            (f"{WORKFLOWS}/{NOBODY}/activate", "POST"),
            (WEBHOOK, "DELETE, GET, PATCH, POST, PUT"),
            ("/v1/webhooks/nobody", "DELETE, GET, PATCH, POST, PUT"),
        ],
    )
    def test_allow_is_the_same_whoever_asks_and_whatever_exists(
        self, wire: Wire, method: str, target: str, allowed: str
    ) -> None:
        """It is what the document says of the path."""
        with_key, without = wire.ask(method, target), wire.ask(method, target, key=None)

        assert (with_key.status, with_key.headers["allow"]) == (405, allowed)
        assert (without.status, without.headers["allow"]) == (405, allowed)


@pytest.mark.usefixtures("workflow")
class TestBodies:
    @pytest.mark.parametrize("size", [1, 1000, 70_000])
    def test_a_chunked_body_is_read(self, wire: Wire, live: Live, size: int) -> None:
        """Whatever the sizes of the chunks."""
        body = b'{"amount": 100.10, "padding": "%s"}' % (b"x" * (2 * size))

        [answer] = wire.exchange(head("POST", WEBHOOK, JSON, "Transfer-Encoding: chunked") + chunked(body, size))

        assert answer.status == 201
        assert live.api.results(answer.json()["executionId"])["status"] == "completed"

    @pytest.mark.parametrize(("size_bytes", "status"), [(BODY_BYTES_MAX, 201), (BODY_BYTES_MAX + 1, 413)])
    @pytest.mark.parametrize("framing", ["length", "chunks"])
    def test_a_body_has_up_to_1_mb_with_and_without_a_length(
        self, wire: Wire, framing: str, size_bytes: int, status: int
    ) -> None:
        """It is counted while it is read."""
        body = b'{"%s": ""}' % CANARY.encode()
        body = body[:-2] + b"x" * (size_bytes - len(body)) + body[-2:]
        if framing == "length":
            answer = wire.ask("POST", WEBHOOK, JSON, body=body)
        else:
            [answer] = wire.exchange(head("POST", WEBHOOK, JSON, "Transfer-Encoding: chunked"), chunked(body, 65_536))

        assert answer.status == status
        if status == 413:
            assert_refused(answer, 413, "FLK-0363")

    @pytest.mark.parametrize(("target", "code"), [(WEBHOOK, "FLK-0363"), (WORKFLOWS, "FLK-0506")])
    def test_an_announced_giant_is_refused_before_it_is_sent(self, wire: Wire, target: str, code: str) -> None:
        """The length is enough to know, and the connection is closed."""
        [answer] = wire.exchange(
            head("POST", target, JSON, f"Content-Length: {BODY_BYTES_MAX + 1}", connection="keep-alive")
        )

        assert_refused(answer, 413, code)
        assert answer.headers["connection"] == "close"

    def test_an_endless_body_is_refused_while_it_is_sent(self, wire: Wire) -> None:
        """Without a length there is nothing to know before: it is read up to the bound and no further."""
        start = head("POST", WEBHOOK, JSON, "Transfer-Encoding: chunked", connection="keep-alive")

        [answer] = wire.exchange(start, *[chunked(b"x" * 65_536, 65_536)[:-5]] * 64)

        assert_refused(answer, 413, "FLK-0363")

    def test_nothing_of_a_body_is_read_before_the_key_is_good(self, wire: Wire) -> None:
        """The answer is there although the body never came."""
        [answer] = wire.exchange(head("POST", WEBHOOK, JSON, "Content-Length: 20", key=CANARY))

        assert_refused(answer, 401, "FLK-0401")

    @pytest.mark.parametrize("target", [WEBHOOK, WORKFLOWS])
    @pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON)
    def test_what_is_no_good_json_object_is_refused(self, wire: Wire, target: str, body: bytes) -> None:
        """What two readers could understand differently, or one cannot at all, starts nothing."""
        answer = wire.ask("POST", target, JSON, body=body.replace(b"%s", CANARY.encode()))

        assert_refused(answer, 400, "FLK-0001")

    def test_64_levels_are_taken(self, wire: Wire) -> None:
        """The object itself is the first."""
        assert wire.ask("POST", WEBHOOK, JSON, body=b'{"x": ' + b"[" * 63 + b"]" * 63 + b"}").status == 201

    @pytest.mark.parametrize(
        "content_type",
        [
            "",
            "Content-Type:",
            f"Content-Type: text/{CANARY}",
            "Content-Type: text/plain",
            "Content-Type: application/problem+json",
            "Content-Type: application/json, text/plain",
            "Content-Type: application/json; charset=utf-16",
            "Content-Type: multipart/form-data",
            "Content-Type: \xff\xfe",
        ],
    )
    def test_a_body_of_another_content_type_is_refused(self, wire: Wire, content_type: str) -> None:
        """Also when it would be JSON."""
        answer = wire.ask("POST", WEBHOOK, *filter(None, [content_type]), body=b'{"x": "%s"}' % CANARY.encode())

        assert_refused(answer, 400, "FLK-0001")


class TestRefusals:
    @pytest.mark.parametrize(
        ("method", "target", "header", "body", "status", "code"),
        [
            ("GET", f"{WORKFLOWS}/{CANARY}", "", "", 400, "FLK-0002"),
            ("GET", f"/v1/executions/{CANARY}/results", "", "", 400, "FLK-0002"),
            ("GET", f"{WORKFLOWS}?limit={CANARY}", "", "", 400, "FLK-0309"),
            ("GET", f"{WORKFLOWS}?sortOrder={CANARY}", "", "", 400, "FLK-0310"),
            ("GET", f"{WORKFLOWS}?status={CANARY}", "", "", 400, "FLK-0304"),
            ("GET", f"{WORKFLOWS}?cursor={CANARY}", "", "", 400, "FLK-0304"),
            ("GET", f"{WORKFLOWS}?cursor=%ff{CANARY}", "", "", 400, "FLK-0304"),
            ("GET", f"{WORKFLOWS}?x={CANARY * 800}", "", "", 400, "FLK-0304"),
            ("GET", f"/v1/executions?workflowId={CANARY}", "", "", 400, "FLK-0304"),
            ("POST", WORKFLOWS, "", {"name": 1, "description": [CANARY]}, 400, "FLK-0001"),
            ("POST", WORKFLOWS, "", {"name": CANARY * 20}, 400, "FLK-0111"),
            ("POST", WORKFLOWS, "", {"name": "x", "nodes": [{"id": "a", "type": CANARY}]}, 400, "FLK-0001"),
            ("POST", WORKFLOWS, "", {"name": "x", "surplus": CANARY}, 400, "FLK-0300"),
            ("POST", f"{WORKFLOWS}/{NOBODY}/clone", "", {"name": CANARY}, 404, "FLK-0100"),
            ("POST", f"{WORKFLOWS}/{NOBODY}/executions", f"Idempotency-Key: {CANARY} {CANARY}", {}, 400, "FLK-0509"),
            ("POST", f"/v1/webhooks/{CANARY}", f"Idempotency-Key: {CANARY}", {"x": CANARY}, 404, "FLK-0361"),
            ("POST", WEBHOOK, f"Idempotency-Key: {CANARY} {CANARY}", {"x": CANARY}, 400, "FLK-0001"),
            ("POST", WEBHOOK, f"X-Webhook-Token: {CANARY}\r\nIdempotency-Key: \x80{CANARY}", {}, 400, "FLK-0001"),
            ("GET", WORKFLOWS, f"X-API-Key: {CANARY}", "", 401, "FLK-0401"),
            ("GET", WORKFLOWS, f"X-API-Key: \xff{CANARY}", "", 401, "FLK-0401"),
            ("GET", WORKFLOWS, "\r\n".join(f"X-{CANARY}-{n}: {n}" for n in range(120)), "", 400, "FLK-0001"),
            ("GET", WORKFLOWS, f"X-Large: {CANARY * 4000}", "", 400, "FLK-0001"),
        ],
    )
    @pytest.mark.usefixtures("workflow")
    def test_a_refusal_does_not_repeat_what_was_sent(
        self, wire: Wire, method: str, target: str, header: str, body: object, status: int, code: str
    ) -> None:
        """Nor where the value was, in the path, the query, a header or the body."""
        sent = json.dumps(body).encode() if body != "" else b""
        key = None if header.startswith("X-API-Key") else KEY

        answer = wire.ask(method, target, *filter(None, [header]), *([JSON] if sent else []), body=sent, key=key)

        assert_refused(answer, status, code)

    @pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
    def test_what_is_no_http_is_answered_with_400_or_not_at_all(self, wire: Wire, data: bytes) -> None:
        """It gets no further than the server, and nobody else notices."""
        statuses = {answer.status for answer in wire.exchange(data)}

        assert statuses <= {400}

    def test_a_chunk_that_is_none_starts_nothing(self, wire: Wire, live: Live, workflow: Workflow) -> None:
        """The size of the second chunk is no number: the body has no end, and is no body."""
        before = newest_execution(live, workflow)

        found = wire.exchange(head("POST", WEBHOOK, JSON, "Transfer-Encoding: chunked") + b"2\r\n{}\r\nzz\r\n\r\n")

        assert {answer.status for answer in found} <= {400}
        assert newest_execution(live, workflow) == before


@pytest.mark.usefixtures("workflow")
class TestConnections:
    def test_pipelined_requests_are_answered_in_their_order(self, wire: Wire) -> None:
        """Three at once, of which the second is refused, and the body of the first belongs to it alone."""
        body = b'{"x": 1}'
        sent = [
            head("POST", WEBHOOK, JSON, f"Content-Length: {len(body)}", connection="keep-alive") + body,
            head("GET", f"{WORKFLOWS}/{CANARY}", connection="keep-alive"),
            head("GET", "/version"),
        ]

        found = wire.exchange(b"".join(sent))

        assert [answer.status for answer in found] == [201, 400, 200]

    def test_a_body_that_was_not_read_does_not_become_the_next_request(self, wire: Wire) -> None:
        """Request smuggling: what stands in a refused body is never executed."""
        smuggled = head("POST", WEBHOOK)
        refused = head(
            "POST", WORKFLOWS, JSON, f"Content-Length: {len(smuggled)}", key=CANARY, connection="keep-alive"
        )

        found = wire.exchange(refused + smuggled + head("GET", "/version"))

        assert found[0].status == 401
        assert 201 not in [answer.status for answer in found]

    def test_a_request_that_comes_byte_by_byte_is_a_request(self, wire: Wire) -> None:
        """Slow senders are senders."""
        data = head("POST", WEBHOOK, JSON, "Content-Length: 2") + b"{}"

        [answer] = wire.exchange(*[data[i : i + 1] for i in range(len(data))])

        assert answer.status == 201

    def test_a_sender_that_hangs_up_starts_nothing(self, live: Live, workflow: Workflow) -> None:
        """Half a body is no body, also when half of it would have been enough."""
        before = newest_execution(live, workflow)

        with socket.create_connection(live.address, timeout=PATIENCE_S) as connection:
            connection.sendall(head("POST", WEBHOOK, JSON, "Content-Length: 100") + b"{}")

        assert newest_execution(live, workflow) == before


def newest_execution(live: Live, workflow: Workflow) -> str:
    """Its id: an execution that began before may still be moving."""
    listed = live.api.ask("GET", f"/v1/executions?workflowId={workflow.id}&limit=1").json()
    return str(listed["items"][0]["executionId"])


class TestAnswers:
    def test_an_answer_says_what_it_is_and_that_it_is_not_to_be_kept(self, wire: Wire) -> None:
        """No server name, no cache, no guessing of types."""
        answer = wire.ask("GET", WORKFLOWS)

        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers.keys() <= {
            "content-type",
            "content-length",
            "cache-control",
            "x-content-type-options",
            "connection",
            "date",
        }

    def test_a_deleted_resource_is_answered_without_a_body(self, wire: Wire, live: Live) -> None:
        """RFC 9110, 8.6: a 204 has no length either."""
        answer = wire.ask("DELETE", f"{WORKFLOWS}/{live.api.draft().id}")

        assert (answer.status, answer.body) == (204, b"")
        assert "content-length" not in answer.headers


def test_schemathesis_finds_nothing(live: Live) -> None:
    """The command that anybody can run against a service, with few examples: no failure, no error."""
    live.api.active(path=FUZZED_WEBHOOK)
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", str(document_path()), "--url", live.url]
    options = ["-H", f"X-API-Key: {KEY}", "-n", str(EXAMPLES_MAX), "--generation-deterministic", "--no-color"]

    ran = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout
