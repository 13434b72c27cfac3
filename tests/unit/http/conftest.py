"""A small library served by the seam, and a client that speaks ASGI to it without any server between."""

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.types import ASGIApp

from flowker.http.document import build_asgi, load
from flowker.http.security import ApiKeys

LIBRARY = Path(__file__).parent / "library.yaml"
KEYS = ApiKeys(["good"])
BOOK = {"id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890", "name": "Emma", "createdAt": "2026-03-17T14:35:00.000000Z"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """The two ends of one ASGI request: what the client sends, and what came back."""

    def __init__(self, chunks: Iterable[bytes | None]) -> None:
        self._chunks = list(chunks)
        self.received = 0
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        """The next chunk of the body; None is a client that has gone away."""
        chunk = self._chunks[self.received]
        self.received += 1
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": self.received < len(self._chunks)}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def answer(self) -> Answer:
        start, body = self.sent
        headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        assert len(headers) == len(start["headers"])
        return Answer(start["status"], headers, body["body"])


def make_handler(answer: Callable[[dict[str, Any]], Any], *names: str) -> Callable[..., Any]:
    """A handler that takes these arguments, and answers with what the function makes of them."""

    async def handle(**arguments: Any) -> Any:
        return answer(arguments)

    taken = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    handle.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    return handle


LIST_BOOKS = ("limit", "sort_order", "price", "lent", "tag", "pages", "filter_", "near", "cursor")
HANDLERS: Mapping[str, Callable[..., Any]] = {
    "getVersion": make_handler(lambda _: {"version": "1"}),
    "listBooks": make_handler(lambda _: ([], 200, {"X-Total": "0"}), *LIST_BOOKS),
    "createBook": make_handler(
        lambda given: ({**BOOK, "name": given["body"]["name"]}, 201, {"Location": "/books/1"}),
        "idempotency_key",
        "body",
    ),
    "featureBook": make_handler(lambda _: None),
    "getBook": make_handler(lambda given: {**BOOK, "id": given["id_"]}, "id_"),
    "deleteBook": make_handler(lambda _: None, "id_"),
    "getCopy": make_handler(lambda given: given, "id_", "copy_number"),
    "callHook": make_handler(lambda given: given, "path", "body"),
    "callHookGet": make_handler(lambda given: given, "path"),
    "createAnimal": make_handler(lambda given: given, "body"),
}


@pytest.fixture(scope="session")
def loaded_library() -> dict[str, Any]:
    return load(LIBRARY)


@pytest.fixture
def library(loaded_library: dict[str, Any]) -> dict[str, Any]:
    """The document, to be changed at will."""
    return deepcopy(loaded_library)


@pytest.fixture
def handlers() -> dict[str, Callable[..., Any]]:
    return dict(HANDLERS)


@pytest.fixture(scope="session")
def unchanged_library_app(loaded_library: dict[str, Any]) -> ASGIApp:
    return build_asgi(loaded_library, HANDLERS, keys=KEYS)


@pytest.fixture
def serve(
    library: dict[str, Any], handlers: dict[str, Callable[..., Any]], unchanged_library_app: ASGIApp
) -> Callable[..., ASGIApp]:
    """Serve the library; with other keys or handlers it is built anew, from the document as the test has it."""

    def serve(keys: ApiKeys | None = KEYS, **replaced: Any) -> ASGIApp:
        if keys is KEYS and not replaced:
            return unchanged_library_app
        return build_asgi(library, {**handlers, **replaced}, keys=keys)

    return serve


@pytest.fixture
def handler() -> Callable[..., Callable[..., Any]]:
    return make_handler


@pytest.fixture
def connect() -> Callable[..., Connection]:
    return Connection


@pytest.fixture
def scope() -> Callable[..., dict[str, Any]]:
    """The scope that uvicorn makes of a request line and headers."""

    def scope(method: str, target: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        path, _, query = target.partition("?")
        return {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
            "client": ("192.0.2.1", 50000),
        }

    return scope


@pytest.fixture
def ask(scope: Callable[..., dict[str, Any]]) -> Callable[..., Awaitable[Answer]]:
    """Send a request with the good key and wait for its answer; a body that is not bytes is sent as JSON."""

    async def ask(
        app: ASGIApp, method: str, target: str, body: Any = b"", *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        default = {"x-api-key": "good", "content-type": "application/json", "content-length": str(len(data))}
        connection = Connection([data])
        await app(scope(method, target, {**default, **(headers or {})}), connection.receive, connection.send)
        return connection.answer()

    return ask
