"""Objects in a store that checks signatures: moto's server, told to let nobody in without a good one."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from flowker.executors.calls import Call, CallFailed, CallSucceeded
from flowker.executors.client import Caller
from tests.unit.executors.test_egress_hostile import Inside

CallThrough = Callable[..., Call]
REGION = "eu-west-1"
ALL_OF_S3 = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
KEYS = [
    "a.txt",
    "2026/01/a b+c%2F&é=~.json",
    "/a//b/",
    "日本/ключ",
    "a?b#c&d=e",
    "x'(y)!*;:@$,",
    "plus+ and  spaces ",
    '\U0001f4b6 \u00a0\\"<>^`{|}',
    "k" * 255,
]


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, Any]]:
    """A configuration of a store on loopback with one bucket, whose keys may use it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    anybody = {
        "endpoint_url": endpoint,
        "region_name": REGION,
        "aws_access_key_id": "anybody",
        "aws_secret_access_key": "anybody",
    }
    iam, s3 = boto3.client("iam", **anybody), boto3.client("s3", **anybody)
    iam.create_user(UserName="flowker")
    iam.put_user_policy(UserName="flowker", PolicyName="all", PolicyDocument=json.dumps(ALL_OF_S3))
    key = iam.create_access_key(UserName="flowker")["AccessKey"]
    s3.create_bucket(Bucket="reports", CreateBucketConfiguration={"LocationConstraint": REGION})
    without_proof = _let_in_without_proof(endpoint, "0")
    yield {
        "region": REGION,
        "bucket": "reports",
        "endpoint": endpoint,
        "access_key_id": key["AccessKeyId"],
        "secret_access_key": key["SecretAccessKey"],
    }
    _let_in_without_proof(endpoint, without_proof)
    server.stop()


def _let_in_without_proof(endpoint: str, requests: str) -> str:
    """How many requests the store takes before it checks signatures; the answer is how many it took until now."""
    answer = httpx.post(f"{endpoint}/moto-api/reset-auth", content=requests)
    return str(answer.json()["PREVIOUS_INITIAL_NO_AUTH_ACTION_COUNT"])


@pytest.mark.parametrize("key", KEYS, ids=ascii)
async def test_what_was_put_is_got(
    caller: Caller, store: dict[str, Any], call_through: CallThrough, key: str
) -> None:
    """Under keys of every kind, and under exactly them."""
    text = f"{key}\n\x00\r\n\u2028é\U0001d7d9"
    put = await caller.call(call_through("s3.put-object", store, {"key": key, "body": text}))
    got = await caller.call(call_through("s3.get-object", store, {"key": key}))

    assert isinstance(put, CallSucceeded)
    assert isinstance(got, CallSucceeded)
    assert got.output["body"] == text
    assert got.output["headers"]["content-type"] == "application/octet-stream"
    assert got.output["headers"]["etag"] == put.output["headers"]["etag"]
    assert _stored(store, key) == text.encode()


@pytest.mark.parametrize(
    ("body", "content_type", "stored", "got"),
    [
        ({"amount": Decimal("100.10")}, "application/json", b'{"amount":100.10}', {"amount": Decimal("100.10")}),
        (12345678901234567890, "application/json", b"12345678901234567890", 12345678901234567890),
        ("é", "text/plain; charset=iso-8859-1", b"\xe9", "é"),
        ("é", 'text/plain; Charset="UTF-8"', b"\xc3\xa9", "é"),
        ("", "text/csv", b"", None),
        ("x" * 1_000_000, "text/csv", b"x" * 1_000_000, "x" * 1_000_000),
    ],
    ids=["json", "number", "latin-1", "quoted", "empty", "large"],
)
async def test_a_body_is_read_as_it_was_written(
    caller: Caller,
    store: dict[str, Any],
    call_through: CallThrough,
    body: Any,
    content_type: str,
    stored: bytes,
    got: Any,
) -> None:
    """By its content type, which the store keeps."""
    put = {"key": "body", "body": body, "content_type": content_type}
    await caller.call(call_through("s3.put-object", store, put))
    result = await caller.call(call_through("s3.get-object", store, {"key": "body"}))

    assert isinstance(result, CallSucceeded)
    assert result.output["body"] == got
    assert result.output["headers"]["content-type"] == content_type
    assert _stored(store, "body") == stored


async def test_a_bucket_can_stand_in_the_host_name(store: dict[str, Any], call_through: CallThrough) -> None:
    """As at Amazon: the name is resolved to the store, and signed as it is."""
    port = store["endpoint"].rpartition(":")[2]
    virtual = {**store, "endpoint": f"http://reports.s3.amazonaws.com:{port}"}
    caller = Caller(egress_allow=["127.0.0.1/32"], resolver=Inside("127.0.0.1"))
    await caller.start()
    put = await caller.call(call_through("s3.put-object", virtual, {"key": "in the/host name", "body": "x"}))
    got = await caller.call(call_through("s3.get-object", virtual, {"key": "in the/host name"}))
    await caller.stop()

    assert isinstance(put, CallSucceeded)
    assert isinstance(got, CallSucceeded)
    assert got.output["url"] == f"http://reports.s3.amazonaws.com:{port}/in%20the/host%20name"
    assert _stored(store, "in the/host name") == b"x"


async def test_an_object_that_is_not_there_is_told(
    caller: Caller, store: dict[str, Any], call_through: CallThrough
) -> None:
    """With what the store says about it; asking again would not help."""
    result = await caller.call(call_through("s3.get-object", store, {"key": "nowhere"}))

    assert isinstance(result, CallFailed)
    assert not result.retryable
    assert result.output is not None
    assert result.output["status"] == 404
    assert "<Code>NoSuchKey</Code>" in result.output["body"]


@pytest.mark.parametrize("executor", ["s3.put-object", "s3.get-object"])
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, "SignatureDoesNotMatch"),
        ({"access_key_id": "AKIAIOSFODNN7EXAMPLE"}, "InvalidAccessKeyId"),
    ],
)
async def test_a_store_that_checks_refuses_a_wrong_key(
    caller: Caller, store: dict[str, Any], call_through: CallThrough, executor: str, wrong: dict[str, Any], code: str
) -> None:
    """Otherwise the tests above would prove nothing."""
    result = await caller.call(call_through(executor, {**store, **wrong}, {"key": "a.txt", "body": "x"}))

    assert isinstance(result, CallFailed)
    assert result.output is not None
    assert result.output["status"] == 403
    assert f"<Code>{code}</Code>" in result.output["body"]


def _stored(store: dict[str, Any], key: str) -> bytes:
    """The bytes of an object, read with the client of AWS."""
    client = boto3.client(
        "s3",
        endpoint_url=store["endpoint"],
        region_name=REGION,
        aws_access_key_id=store["access_key_id"],
        aws_secret_access_key=store["secret_access_key"],
    )
    return bytes(client.get_object(Bucket="reports", Key=key)["Body"].read())
