"""What the executors of provider `s3` send, and that another computation comes to the same signatures."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol

import pytest
from aiohttp import web

from flowker.executors.calls import Call, CallFailed, CallSucceeded
from flowker.executors.client import Caller
from flowker.executors.refusals import CallRefused
from flowker.executors.s3 import foresee, prepare_get_object, prepare_put_object, probe
from tests.unit.executors.conftest import EXECUTION_ID

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

CallThrough = Callable[..., Call]


class FarSide(Protocol):
    url: str
    received: list[Any]

    answer: Any

    def answers(self, **response: Any) -> None: ...


def config(**members: Any) -> dict[str, Any]:
    return {
        "region": "eu-west-1",
        "bucket": "reports",
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        **members,
    }


def signature(method: str, target: str, headers: Mapping[str, str], region: str) -> str:
    """Signature Version 4 as AWS publishes the algorithm for S3, for a request whose signed headers are these."""
    path, _, query = target.partition("?")
    parameters = sorted(pair if "=" in pair else f"{pair}=" for pair in query.split("&") if pair)
    lines = [f"{name}:{headers[name].strip()}\n" for name in sorted(headers)]
    canonical = [method, path, "&".join(parameters), "".join(lines), ";".join(sorted(headers))]
    hashed = hashlib.sha256("\n".join([*canonical, headers["x-amz-content-sha256"]]).encode()).hexdigest()
    day = headers["x-amz-date"][:8]
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], f"{day}/{region}/s3/aws4_request", hashed])
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (day, region, "s3", "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


@pytest.mark.parametrize(
    ("method", "target", "headers", "payload", "published"),
    [
        (
            "GET",
            "/test.txt",
            {"range": "bytes=0-9"},
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        ("GET", "/?lifecycle", {}, b"", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("GET", "/?max-keys=2&prefix=J", {}, b"", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_other_computation_is_right(
    method: str, target: str, headers: dict[str, str], payload: bytes, published: str
) -> None:
    """By the examples of AWS (Amazon S3 API Reference, "Signature Calculations for the Authorization Header")."""
    signed = {
        **headers,
        "host": "examplebucket.s3.amazonaws.com",
        "x-amz-content-sha256": hashlib.sha256(payload).hexdigest(),
        "x-amz-date": "20130524T000000Z",
    }

    assert signature(method, target, signed, "us-east-1") == published


def assert_signed(received: Any, names: str, body: bytes) -> None:
    """What arrived proves who sent it, now, and that nothing of it was changed."""
    headers = received.headers
    proof = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+), "
        r"SignedHeaders=(?P<names>[^,]+), Signature=(?P<signature>[0-9a-f]{64})",
        headers["authorization"],
    )
    assert proof is not None
    sent_at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%S%z")
    assert abs((datetime.now(UTC) - sent_at).total_seconds()) < 60
    assert proof["key"] == ACCESS_KEY
    assert proof["scope"] == f"{headers['x-amz-date'][:8]}/eu-west-1/s3/aws4_request"
    assert proof["names"] == names
    assert headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
    signed = {name: headers[name] for name in names.split(";")}
    assert proof["signature"] == signature(received.method, received.path, signed, "eu-west-1")


@pytest.mark.parametrize(
    ("input_", "path", "content_type", "body"),
    [
        ({"key": "a.txt", "body": "é\n"}, "/reports/a.txt", "application/octet-stream", b"\xc3\xa9\n"),
        ({"key": "a", "content_type": None}, "/reports/a", "application/octet-stream", b""),
        ({"key": "a", "body": ""}, "/reports/a", "application/octet-stream", b""),
        (
            {"key": "2026/01/a b+c%2F&é=~.json", "content_type": "application/json", "body": {"x": Decimal("1.10")}},
            "/reports/2026/01/a%20b%2Bc%252F%26%C3%A9%3D~.json",
            "application/json",
            b'{"x":1.10}',
        ),
        (
            {"key": "/a//b/", "content_type": "text/plain; charset=utf-8", "body": [1]},
            "/reports//a//b/",
            "text/plain; charset=utf-8",
            b"[1]",
        ),
    ],
)
async def test_an_object_is_put(
    caller: Caller,
    far_side: FarSide,
    call_through: CallThrough,
    input_: dict[str, Any],
    path: str,
    content_type: str,
    body: bytes,
) -> None:
    """Text as it is, anything else as JSON, under exactly its key, signed as it arrives."""
    call = call_through("s3.put-object", config(endpoint=far_side.url), input_, path="other")

    result = await caller.call(call)

    (received,) = far_side.received
    assert isinstance(result, CallSucceeded)
    assert (received.method, received.path) == ("PUT", path)
    assert received.body == body
    assert received.headers["content-type"] == content_type
    assert received.headers["content-length"] == str(len(body))
    assert received.headers["idempotency-key"] == f"{EXECUTION_ID}:n1"
    assert received.headers["x-flowker-execution-id"] == EXECUTION_ID
    assert received.headers["traceparent"].startswith("00-")
    assert_signed(received, "content-type;host;x-amz-content-sha256;x-amz-date", body)


async def test_an_object_is_got(caller: Caller, far_side: FarSide, call_through: CallThrough) -> None:
    """Signed, without a body of its own, read like any answer."""
    far_side.answers(body=b'{"x":1.10}', headers={"Content-Type": "application/json"})
    call = call_through("s3.get-object", config(endpoint=f"{far_side.url}/store/"), {"key": "a/b", "body": "x"})

    result = await caller.call(call)

    (received,) = far_side.received
    assert isinstance(result, CallSucceeded)
    assert result.output["body"] == {"x": Decimal("1.10")}
    assert (received.method, received.path, received.body) == ("GET", "/store/reports/a/b", b"")
    assert_signed(received, "host;x-amz-content-sha256;x-amz-date", b"")


async def test_the_probe_lists_nothing_of_the_bucket(caller: Caller, far_side: FarSide) -> None:
    """The least that proves that the keys may use it."""
    await caller.send(lambda: probe(config(endpoint=far_side.url)))

    (received,) = far_side.received
    assert (received.method, received.path) == ("GET", "/reports/?list-type=2&max-keys=0")
    assert_signed(received, "host;x-amz-content-sha256;x-amz-date", b"")


async def test_nothing_of_the_proof_comes_back(caller: Caller, far_side: FarSide, call_through: CallThrough) -> None:
    """A store that explains why a signature is wrong repeats it."""

    async def explain(request: Any) -> Any:
        given = request.headers["Authorization"].rpartition("=")[2]
        return web.Response(status=403, text=json.dumps({"signature": given, "secret": SECRET_KEY}))

    far_side.answer = explain

    result = await caller.call(call_through("s3.get-object", config(endpoint=far_side.url), {"key": "a"}))

    assert isinstance(result, CallFailed)
    assert result.output is not None
    assert json.loads(result.output["body"]) == {"signature": "********", "secret": "********"}


@pytest.mark.parametrize(
    ("members", "url"),
    [
        ({}, "https://reports.s3.eu-west-1.amazonaws.com/a/b"),
        ({"region": "cn-north-1"}, "https://reports.s3.cn-north-1.amazonaws.com.cn/a/b"),
        # The certificate of AWS covers one level of names only.
        ({"bucket": "my.reports"}, "https://s3.eu-west-1.amazonaws.com/my.reports/a/b"),
        ({"endpoint": "http://minio.example.com:9000"}, "http://minio.example.com:9000/reports/a/b"),
        ({"endpoint": "https://example.com/store/"}, "https://example.com/store/reports/a/b"),
        ({"endpoint": "https://reports.s3.example.com"}, "https://reports.s3.example.com/a/b"),
    ],
)
def test_where_a_bucket_is(call_through: CallThrough, members: dict[str, Any], url: str) -> None:
    """At AWS in the host name, at another store in the path unless its host has the name already."""
    request = prepare_get_object(call_through("s3.get-object", config(**members), {"key": "a/b"}))

    assert str(request.url) == url


def test_the_proof_is_kept_apart(call_through: CallThrough) -> None:
    """It is part of the credentials, which go to one origin only and do not show themselves."""
    call = call_through("s3.put-object", config(), {"key": "a", "body": "b"})

    request = prepare_put_object(call)

    assert request.credentials.headers.keys() == {"Authorization", "X-Amz-Content-SHA256", "X-Amz-Date"}
    assert "authorization" not in request.headers
    assert SECRET_KEY not in repr(request)


@pytest.mark.parametrize(
    "input_",
    [
        {},
        {"key": ""},
        {"key": 5},
        {"key": "."},
        {"key": "a/../b"},
        {"key": "\ud800"},
        {"key": "a", "body": "\ud800"},
        {"key": "a", "body": {"x": object()}},
        {"key": "a", "content_type": ""},
        {"key": "a", "content_type": 5},
        {"key": "a", "content_type": "a\r\nX-B: c"},
        {"key": "a", "content_type": "é"},
        {"key": "a", "body": "x", "content_type": "text/plain; charset=idna"},
        {"key": "a", "body": "€", "content_type": "text/plain; charset=iso-8859-1"},
    ],
)
def test_an_input_that_is_no_object_is_refused(call_through: CallThrough, input_: dict[str, Any]) -> None:
    """An empty key would be the bucket itself."""
    with pytest.raises(CallRefused):
        prepare_put_object(call_through("s3.put-object", config(), input_))


@pytest.mark.parametrize(
    "wrong",
    [
        {"region": "evil.example/"},
        {"bucket": "a/b"},
        {"bucket": None},
        {"access_key_id": ""},
        {"secret_access_key": "a\nb"},
        {"endpoint": "ftp://example.com"},
    ],
)
def test_a_configuration_that_cannot_be_signed_with_is_refused(wrong: dict[str, Any]) -> None:
    """For what got past its schema."""
    with pytest.raises(CallRefused):
        probe(config(**wrong))


@pytest.mark.parametrize(
    ("input_", "members"),
    [
        ({}, set()),
        ({"key": "a/b", "content_type": "text/plain", "body": 1}, set()),
        ({"key": "a/../b", "content_type": "é"}, {"key", "content_type"}),
    ],
)
def test_what_no_object_can_have_is_foreseen(input_: dict[str, Any], members: set[str]) -> None:
    """From what the node says itself."""
    assert foresee("", input_).keys() == members
