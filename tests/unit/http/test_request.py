from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from flowker.domain.errors import InvalidQuery, WebhookBodyTooLarge
from flowker.http.bodies import BODY_BYTES_MAX

Ask = Callable[..., Awaitable[Any]]
Serve = Callable[..., Any]
MakeScope = Callable[..., dict[str, Any]]
Connect = Callable[..., Any]

JSON = {"x-api-key": "good", "content-type": "application/json"}


def _json_of(size: int) -> bytes:
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


async def test_a_body_of_exactly_the_limit_is_read(serve: Serve, ask: Ask) -> None:
    """1 048 576 bytes and not one less."""
    answer = await ask(serve(), "POST", "/hooks/a", _json_of(BODY_BYTES_MAX))

    assert answer.status == 200
    assert BODY_BYTES_MAX == 1_048_576


async def test_one_byte_more_is_refused(serve: Serve, ask: Ask) -> None:
    """And the connection is closed, because the rest of it is not read."""
    answer = await ask(serve(), "POST", "/hooks/a", _json_of(BODY_BYTES_MAX + 1))

    assert (answer.status, answer.json()["code"]) == (413, "FLK-0506")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("announced", [None, "17", "x", "-1", ""])
async def test_the_bytes_are_counted_whatever_was_announced(
    serve: Serve, scope: MakeScope, connect: Connect, announced: str | None
) -> None:
    """Chunked bodies announce nothing; nothing after the limit is read."""
    connection = connect([b"x" * 600_000, b"x" * 600_000, b"x" * 600_000, b"x"])
    headers = JSON if announced is None else {**JSON, "content-length": announced}

    await serve()(scope("POST", "/hooks/a", headers), connection.receive, connection.send)

    assert connection.answer().status == 413
    assert connection.received == 2


async def test_the_last_chunk_counts_too(serve: Serve, scope: MakeScope, connect: Connect) -> None:
    """The one after which there is no more."""
    connection = connect([b"x" * 600_000, b"x" * 600_000])

    await serve()(scope("POST", "/hooks/a", JSON), connection.receive, connection.send)

    assert connection.answer().status == 413


async def test_the_whole_body_in_one_message_counts_too(serve: Serve, scope: MakeScope, connect: Connect) -> None:
    """Whatever server thinks it a good idea to collect it."""
    connection = connect([b"x" * (BODY_BYTES_MAX + 1)])

    await serve()(scope("POST", "/hooks/a", JSON), connection.receive, connection.send)

    assert connection.answer().status == 413


@pytest.mark.parametrize("announced", ["9" * 5000, "1048577", "0001048577", "0" * 5000 + "1048577"])
async def test_an_absurd_length_is_refused_and_not_a_crash(
    serve: Serve, scope: MakeScope, connect: Connect, announced: str
) -> None:
    """int() refuses very long texts."""
    connection = connect([b"{}"])

    await serve()(
        scope("POST", "/hooks/a", {**JSON, "content-length": announced}), connection.receive, connection.send
    )

    assert connection.answer().status == 413


@pytest.mark.parametrize("announced", ["2", "0000000000002", "0" * 5000 + "2", "0" * 5000])
async def test_zeros_before_a_length_do_not_count(
    serve: Serve, scope: MakeScope, connect: Connect, announced: str
) -> None:
    """RFC 9110 allows any number of digits."""
    connection = connect([b"{}"])

    await serve()(
        scope("POST", "/hooks/a", {**JSON, "content-length": announced}), connection.receive, connection.send
    )

    assert connection.answer().status == 200


async def test_a_body_comes_together_from_its_chunks(serve: Serve, scope: MakeScope, connect: Connect) -> None:
    """Cut anywhere, also within a character."""
    connection = connect([b"", '{"a":"é"}'.encode()[:7], '{"a":"é"}'.encode()[7:], b""])

    await serve()(scope("POST", "/hooks/a", JSON), connection.receive, connection.send)

    assert connection.answer().json()["body"] == {"a": "é"}


async def test_a_handler_may_name_its_own_refusal_of_what_is_too_large(serve: Serve, ask: Ask) -> None:
    """The webhook has a code of its own for it."""

    async def call_hook(*, path: str, request: Any) -> Any:
        return {"path": path, "body": await request.body(WebhookBodyTooLarge)}

    answer = await ask(serve(callHook=call_hook), "POST", "/hooks/a", _json_of(BODY_BYTES_MAX + 1))

    assert (answer.status, answer.json()["code"]) == (413, "FLK-0363")


async def test_a_handler_may_see_the_bytes_before_they_are_judged(serve: Serve, ask: Ask) -> None:
    """As they came, white space and all; asking again reads nothing more."""
    seen = []

    async def call_hook(*, path: str, request: Any) -> Any:
        seen.extend([await request.raw_body(), await request.raw_body()])
        return {"path": path, "body": [await request.body(), await request.body()]}

    data = b' {"a":\t1.50} '
    answer = await ask(serve(callHook=call_hook), "POST", "/hooks/a", data)
    refused = await ask(serve(callHook=call_hook), "POST", "/hooks/a", b"{")

    assert answer.json()["body"] == [{"a": 1.5}] * 2
    assert seen == [data, data, b"{", b"{"]
    assert (refused.status, refused.json()["code"]) == (400, "FLK-0001")


async def test_the_bytes_are_bounded_too(serve: Serve, ask: Ask) -> None:
    """Who asks again for what was refused is told the same."""
    told = []

    async def call_hook(*, path: str, request: Any) -> Any:
        for read in (request.raw_body, request.body, request.raw_body):
            with pytest.raises(WebhookBodyTooLarge):
                await read(WebhookBodyTooLarge)
            told.append(path)

    await ask(serve(callHook=call_hook), "POST", "/hooks/a", _json_of(BODY_BYTES_MAX + 1))

    assert told == ["a", "a", "a"]


async def test_the_bytes_of_a_body_that_was_judged_are_gone(serve: Serve, ask: Ask) -> None:
    """They would double what every request holds; who asks for them too late is told to come again."""

    async def call_hook(*, path: str, request: Any) -> Any:
        await request.body()
        return {"path": path, "body": await request.raw_body()}

    answer = await ask(serve(callHook=call_hook), "POST", "/hooks/a", {})

    assert (answer.status, answer.headers["retry-after"]) == (500, "1")


async def test_an_operation_without_a_body_reads_none(serve: Serve, ask: Ask) -> None:
    """Whatever was sent."""

    async def feature_book(*, request: Any) -> None:
        assert await request.body() is None

    assert (await ask(serve(featureBook=feature_book), "POST", "/books/featured", b"{")).status == 204


async def test_a_client_that_goes_away_leaves_the_handler_too(
    serve: Serve, scope: MakeScope, connect: Connect
) -> None:
    """Nothing after the reading of the body is done."""
    reached = []

    async def call_hook(*, path: str, request: Any) -> Any:
        reached.append(path)
        reached.append(await request.body())

    connection = connect([b"{", None])

    with capture_logs() as logs:
        await serve(callHook=call_hook)(scope("POST", "/hooks/a", JSON), connection.receive, connection.send)

    assert reached == ["a"]
    assert [line["event"] for line in logs] == ["request abandoned"]


async def test_a_request_from_nowhere_has_no_address(serve: Serve, scope: MakeScope, connect: Connect) -> None:
    """A Unix socket has none."""
    seen = []

    async def feature_book(*, request: Any) -> Any:
        seen.append(request.client_address)

    connection = connect([b""])
    request = scope("POST", "/books/featured", JSON)
    request["client"] = None

    await serve(featureBook=feature_book)(request, connection.receive, connection.send)

    assert seen == [None]


async def test_a_query_that_is_not_utf_8_is_refused_when_it_is_looked_at(serve: Serve, ask: Ask) -> None:
    """The document of the operation has no query, so the handler is the first to ask."""

    async def call_hook(*, path: str, request: Any) -> Any:
        return {"path": path, "query": request.query}

    answer = await ask(serve(callHook=call_hook), "POST", "/hooks/a?x=%ff")

    assert (answer.status, answer.json()["code"]) == (400, InvalidQuery.code)
