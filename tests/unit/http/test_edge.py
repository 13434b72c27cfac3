import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from flowker.domain.errors import InternalError, WorkflowNotFound
from flowker.http.edge import HEADERS_MAX, Edge

Ask = Callable[..., Awaitable[Any]]
Serve = Callable[..., Any]
MakeScope = Callable[..., dict[str, Any]]
Connect = Callable[..., Any]


@pytest.mark.parametrize(
    "target",
    [
        "/books/%ff",
        "/books/%C3%28",
        "/books/a%00b",
        "/hooks/%2e%2e/x",
        "/hooks/a/../b",
        "/hooks/.",
        "/hooks/a%2F..%2Fb",
        "/hooks/%ed%a0%80",
        "/nothing",
    ],
)
async def test_a_path_that_cannot_be_one_is_not_found(serve: Serve, ask: Ask, target: str) -> None:
    """Not UTF-8, NUL, dots that would climb: 404 in the one shape, whatever the server made of it."""
    answer = await ask(serve(), "POST", target, {})

    assert answer.status == 404
    assert answer.json()["code"] == "FLK-0404"


async def test_dots_inside_a_segment_are_only_dots(serve: Serve, ask: Ask) -> None:
    """Files have them, and so do versions."""
    answer = await ask(serve(), "POST", "/hooks/v1.2/.hidden/..x", {})

    assert answer.json()["path"] == "v1.2/.hidden/..x"


async def test_a_path_is_decoded_once(serve: Serve, ask: Ask) -> None:
    """A second decoding would let through what the first one was checked for."""
    answer = await ask(serve(), "POST", "/hooks/%252e%252e%2500", {})

    assert answer.json()["path"] == "%2e%2e%00"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PUT"])
async def test_a_wrong_method_is_answered_in_the_one_shape(serve: Serve, ask: Ask, method: str) -> None:
    """With everything in `Allow` that the document has for the path."""
    answer = await ask(serve(), method, "/hooks/orders%2Fpaid")

    assert answer.status == 405
    assert answer.json()["code"] == "FLK-0405"
    assert answer.headers["allow"] == "GET, POST"


async def test_too_many_headers_are_refused(serve: Serve, ask: Ask) -> None:
    """uvicorn itself counts none."""
    answer = await ask(serve(), "GET", "/version", headers={f"x-{n}": "1" for n in range(HEADERS_MAX)})

    assert (answer.status, answer.json()["code"]) == (400, "FLK-0001")


async def test_too_large_headers_are_refused(serve: Serve, ask: Ask) -> None:
    """However few they are."""
    answer = await ask(serve(), "GET", "/version", headers={"x-large": "x" * 40_000})

    assert (answer.status, answer.json()["code"]) == (400, "FLK-0001")


async def test_a_too_long_query_is_refused(serve: Serve, ask: Ask) -> None:
    """Before anything takes it apart."""
    answer = await ask(serve(), "GET", "/version?" + "q" * 10_000)

    assert (answer.status, answer.json()["code"]) == (400, "FLK-0304")


async def test_an_exception_is_answered_without_its_story(serve: Serve, ask: Ask) -> None:
    """The story is for the log, with its traceback."""

    async def get_version() -> Any:
        raise RuntimeError("postgres://user:password@db")

    with capture_logs() as logs:
        answer = await ask(serve(getVersion=get_version), "GET", "/version")

    assert answer.status == 500
    assert answer.json() == {
        "code": "FLK-9999",
        "title": "Internal Server Error",
        "message": "An internal error occurred.",
    }
    assert logs[0]["event"] == "request failed"
    assert logs[0]["exc_info"]
    assert logs[1]["status"] == 500


async def test_a_refusal_of_an_operation_keeps_its_headers(serve: Serve, ask: Ask) -> None:
    """A full queue says when to come again."""

    async def get_version() -> Any:
        raise InternalError(headers={"Retry-After": "1"})

    answer = await ask(serve(getVersion=get_version), "GET", "/version")

    assert answer.status == 500
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["message"] == InternalError.message


async def test_a_request_that_a_stop_cuts_short_is_told_to_come_again(serve: Serve, ask: Ask) -> None:
    """In the one shape, and without a story: there is no bug."""
    begun = asyncio.Event()

    async def get_version() -> Any:
        begun.set()
        await asyncio.Event().wait()

    with capture_logs() as logs:
        asking = asyncio.ensure_future(ask(serve(getVersion=get_version), "GET", "/version"))
        await begun.wait()
        asking.cancel()
        answer = await asking

    assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (500, "FLK-9999", "1")
    assert [(line["event"], line["status"]) for line in logs] == [("request answered", 500)]


async def test_an_answer_that_a_stop_cuts_short_is_not_begun_again(scope: MakeScope, connect: Connect) -> None:
    """Its client does not read it; the server closes the connection."""
    begun = asyncio.Event()

    async def app(scope: Any, _: Any, send: Any) -> None:
        scope["flowker.status"] = 200
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        await asyncio.Event().wait()

    connection = connect([b""])
    answering = asyncio.ensure_future(Edge(app)(scope("GET", "/"), connection.receive, connection.send))
    await begun.wait()

    answering.cancel()
    await answering

    assert len(connection.sent) == 1


async def test_one_line_is_logged_for_each_request(serve: Serve, ask: Ask) -> None:
    """Method, operation, status and duration; no path, no query, no key."""
    with capture_logs() as logs:
        await ask(serve(), "POST", "/hooks/secret-path?token=secret", {"a": 1})

    [line] = logs
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "request answered",
        "log_level": "info",
        "method": "POST",
        "operation": "callHook",
        "status": 200,
    }


async def test_a_request_without_an_operation_is_logged_too(serve: Serve, ask: Ask) -> None:
    """What looks for paths leaves lines."""
    with capture_logs() as logs:
        await ask(serve(), "GET", "/nothing")

    assert [(line["operation"], line["status"]) for line in logs] == [(None, 404)]


async def test_a_client_that_goes_away_is_no_error(serve: Serve, scope: MakeScope, connect: Connect) -> None:
    """There is nobody to answer and nothing to repair."""
    connection = connect([b'{"a":', None])
    request = scope("POST", "/hooks/a", {"x-api-key": "good", "content-type": "application/json"})

    with capture_logs() as logs:
        await serve()(request, connection.receive, connection.send)

    assert connection.sent == []
    assert [(line["event"], line["status"]) for line in logs] == [("request abandoned", None)]


async def test_a_client_that_goes_away_at_once_is_no_error(serve: Serve, scope: MakeScope, connect: Connect) -> None:
    """Also before the first byte of its body."""
    connection = connect([None])
    request = scope("POST", "/hooks/a", {"x-api-key": "good", "content-type": "application/json"})

    with capture_logs() as logs:
        await serve()(request, connection.receive, connection.send)

    assert [line["event"] for line in logs] == ["request abandoned"]


async def test_an_answer_that_breaks_off_is_not_begun_again(scope: MakeScope, connect: Connect) -> None:
    """After the first byte the only honest thing is to let the server close the connection."""

    async def app(scope: Any, _: Any, send: Any) -> None:
        scope["flowker.status"] = 200
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ConnectionResetError

    connection = connect([b""])

    with pytest.raises(ConnectionResetError):
        await Edge(app)(scope("GET", "/"), connection.receive, connection.send)

    assert len(connection.sent) == 1


async def test_a_refusal_below_the_edge_is_answered(scope: MakeScope, connect: Connect) -> None:
    """Whichever layer raised it."""

    async def app(*_: Any) -> None:
        raise WorkflowNotFound

    connection = connect([b""])

    await Edge(app)(scope("GET", "/"), connection.receive, connection.send)

    assert connection.answer().json()["code"] == "FLK-0100"


async def test_a_websocket_is_closed(serve: Serve) -> None:
    """There are none here, and a client that waits for one is told."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await serve()({"type": "websocket", "path": "/version", "headers": []}, receive, send)

    assert sent == [{"type": "websocket.close", "code": 1000}]
