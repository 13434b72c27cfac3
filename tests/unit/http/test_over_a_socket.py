"""The seam behind a real uvicorn, spoken to byte by byte: what no client library would send."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn

from tests.unit.http.servers import Server

KEY = b"X-API-Key: good\r\n"
JSON = b"Content-Type: application/json\r\n"

Talk = Callable[..., Any]


@pytest.fixture
async def port(serve: Callable[..., Any]) -> AsyncIterator[int]:
    config = uvicorn.Config(
        serve(), port=0, http="httptools", loop="none", ws="none", lifespan="on", log_config=None, access_log=False
    )
    server = Server(config)
    running = asyncio.create_task(server.serve())
    await server.listening.wait()
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


@pytest.fixture
def talk(port: int) -> Talk:
    """Send these bytes and read until the server closes the connection."""

    async def talk(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
        answer = b""
        with contextlib.suppress(ConnectionError):
            while chunk := await asyncio.wait_for(reader.read(65536), 10):
                answer += chunk
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return answer

    return talk


def _last(line: bytes, headers: bytes = b"", body: bytes = b"") -> bytes:
    return line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + b"\r\n" + body


async def test_an_encoded_slash_arrives_as_part_of_the_parameter(talk: Talk) -> None:
    """Raw on the wire: client libraries like to decode or double it."""
    answer = await talk(_last(b"POST /hooks/orders%2Fpaid", KEY + JSON + b"Content-Length: 2\r\n", b"{}"))

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"path":"orders/paid","body":{}}')


@pytest.mark.parametrize(
    "target", [b"/hooks/%ff", b"/hooks/%00", b"/hooks/%2e%2e/x", b"/hooks/a/../b", b"/books%2Ffeatured"]
)
async def test_a_path_that_cannot_be_one_is_not_found(talk: Talk, target: bytes) -> None:
    """uvicorn decodes with replacement characters; the edge goes back to the raw path."""
    answer = await talk(_last(b"POST " + target, KEY))

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"code":"FLK-0404"' in answer


@pytest.mark.parametrize("method", [b"OPTIONS", b"TRACE", b"PUT", b"PROPFIND"])
async def test_another_method_is_refused_with_all_that_are_allowed(talk: Talk, method: bytes) -> None:
    """OPTIONS and TRACE are methods as any others."""
    answer = await talk(_last(method + b" /hooks/orders%2Fpaid", KEY))

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nallow: GET, POST\r\n" in answer
    assert b'"code":"FLK-0405"' in answer


async def test_head_does_not_run_the_handler_of_get(talk: Talk) -> None:
    """And its answer has no body, as HTTP asks for."""
    answer = await talk(_last(b"HEAD /version"))

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(b"\r\n\r\n")


async def test_an_announced_giant_is_refused_before_it_is_sent(talk: Talk) -> None:
    """The client that waits for 100 Continue never sends it."""
    headers = KEY + JSON + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n"

    answer = await talk(b"POST /hooks/a HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in answer


async def test_a_chunked_giant_is_refused_while_it_is_sent(talk: Talk) -> None:
    """Nothing announces its size; the connection is closed with most of it unread."""
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    headers = KEY + JSON + b"Transfer-Encoding: chunked\r\n"

    answer = await talk(b"POST /hooks/a HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + chunk * 17)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in answer


async def test_a_chunked_body_under_the_limit_is_read(talk: Talk) -> None:
    """Cut where it hurts."""
    headers = KEY + JSON + b"Transfer-Encoding: chunked\r\n"

    answer = await talk(_last(b"POST /hooks/a", headers, b'3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n'))

    assert answer.endswith(b'{"path":"a","body":{"a":1}}')


async def test_pipelined_requests_are_answered_in_their_order(talk: Talk) -> None:
    """Refusals keep their place and the connection."""
    first = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
    second = b"POST /hooks/a HTTP/1.1\r\nHost: x\r\n" + KEY + JSON + b"Content-Length: 1\r\n\r\n{"
    third = b"DELETE /nothing HTTP/1.1\r\nHost: x\r\n\r\n"

    answer = await talk(first + second + third + _last(b"GET /version"))

    statuses = re.findall(rb"HTTP/1.1 (\d+) ", answer)
    assert statuses == [b"200", b"400", b"404", b"200"]


async def test_an_unread_body_does_not_spoil_the_next_request(talk: Talk) -> None:
    """What was refused before its body was read is skipped, not taken for a request."""
    headers = JSON + b"Content-Length: 40\r\n"
    refused = (
        b"POST /hooks/a HTTP/1.1\r\nHost: x\r\n"
        + headers
        + b"\r\n"
        + b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n".ljust(40)
    )

    answer = await talk(refused + _last(b"GET /version"))

    statuses = re.findall(rb"HTTP/1.1 (\d+) ", answer)
    assert statuses == [b"401", b"200"]


async def test_a_key_that_is_no_text_is_refused(talk: Talk) -> None:
    """Bytes above ASCII reach the comparison as they are."""
    answer = await talk(_last(b"POST /books/featured", b"X-API-Key: g\xff\xfe\r\n"))

    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_too_many_headers_are_refused(talk: Talk) -> None:
    """The parser below takes any number."""
    answer = await talk(_last(b"GET /version", b"".join(b"X-%d: 1\r\n" % n for n in range(200))))

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"FLK-0001"' in answer


async def test_a_client_that_hangs_up_leaves_no_trace(port: int, talk: Talk) -> None:
    """The next one is served."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /hooks/a HTTP/1.1\r\nHost: x\r\n" + KEY + JSON + b"Content-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await talk(_last(b"GET /version"))).startswith(b"HTTP/1.1 200 ")
