from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from flowker.http.contract import DocumentError
from flowker.http.document import build_asgi, describe, load

Ask = Callable[..., Awaitable[Any]]
Handlers = dict[str, Callable[..., Any]]


def test_a_document_is_loaded_with_text_for_keys_and_dates(tmp_path: Path) -> None:
    """Statuses and unquoted dates are numbers and dates in YAML, and text in JSON."""
    path = tmp_path / "document.yaml"
    path.write_text("responses: {200: {example: 2026-03-17T14:35:00Z}}\nlist: [{404: x}]\n", encoding="utf-8")

    document = load(path)

    assert document == {"responses": {"200": {"example": "2026-03-17T14:35:00Z"}}, "list": [{"404": "x"}]}


def test_a_file_that_is_not_a_mapping_is_no_document(tmp_path: Path) -> None:
    """A wrong file is told from a wrong document."""
    path = tmp_path / "document.yaml"
    path.write_text("- nothing\n", encoding="utf-8")

    with pytest.raises(DocumentError, match="not a YAML mapping"):
        load(path)


async def test_a_document_is_served_from_its_file(handlers: Handlers, ask: Ask) -> None:
    """The path of a document does as well as its contents."""
    app = build_asgi(Path(__file__).parent / "library.yaml", handlers, keys=None)

    answer = await ask(app, "GET", "/version")

    assert answer.json() == {"version": "1"}


def test_an_invalid_document_stops_the_start_with_everything_that_is_wrong(
    library: dict[str, Any], handlers: Handlers
) -> None:
    """The validator for OpenAPI 3.1 sees the document, not Connexion's for 3.0."""
    library["info"] = {"title": 1}
    library["paths"]["/version"]["get"]["responses"]["200"] = {"content": 3}

    with pytest.raises(DocumentError) as raised:
        build_asgi(library, handlers, keys=None)

    assert "info: " in str(raised.value)
    assert "paths//version/get/responses/200" in str(raised.value)


def test_only_a_file_that_is_known_to_be_valid_is_not_validated_again(tmp_path: Path) -> None:
    """Known by its digest: one byte more, and it is judged."""
    library = Path(__file__).parent / "library.yaml"
    invalid = tmp_path / "invalid.yaml"
    invalid.write_bytes(library.read_bytes().replace(b"title: Library", b"title: 1"))
    digest = sha256(invalid.read_bytes()).hexdigest()

    described = describe(invalid, digest)
    with pytest.raises(DocumentError, match="info/title"):
        describe(invalid, sha256(library.read_bytes()).hexdigest())
    invalid.write_bytes(invalid.read_bytes() + b"\n")
    with pytest.raises(DocumentError, match="info/title"):
        describe(invalid, digest)

    assert described.contracts.keys() == describe(library).contracts.keys()


def test_a_reference_to_nowhere_stops_the_start(library: dict[str, Any], handlers: Handlers) -> None:
    """The validator breaks off there; it is named, not let out as a crash."""
    library["paths"]["/version"]["get"]["responses"]["200"] = {"$ref": "#/components/responses/Nowhere"}

    with pytest.raises(DocumentError, match="/components/responses/Nowhere"):
        build_asgi(library, handlers, keys=None)


def test_a_path_parameter_without_its_place_stops_the_start(library: dict[str, Any], handlers: Handlers) -> None:
    """It could never be found."""
    library["paths"]["/books/{id}"]["parameters"][0]["name"] = "key"

    with pytest.raises(DocumentError, match="Path parameter"):
        build_asgi(library, handlers, keys=None)


def test_what_openapi_3_1_has_over_3_0_is_accepted(library: dict[str, Any], handlers: Handlers) -> None:
    """Lists of types, null, const and a $ref with siblings are not in Connexion's schema."""
    library["components"]["schemas"]["Cat"]["properties"]["name"] = {"type": ["string", "null"], "const": "Tom"}

    build_asgi(library, handlers, keys=None)


def test_missing_and_surplus_handlers_stop_the_start_by_name(library: dict[str, Any], handlers: Handlers) -> None:
    """All of them in one message: nobody starts five times to find five names."""
    surplus = handlers["getVersion"]
    del handlers["getBook"], handlers["getCopy"]

    with pytest.raises(DocumentError) as raised:
        build_asgi(library, {**handlers, "burnBooks": surplus}, keys=None)

    assert str(raised.value).splitlines()[1:] == [
        "burnBooks: there is a handler, and the document does not have it",
        "getBook: the document has it, and there is no handler",
        "getCopy: the document has it, and there is no handler",
    ]


def test_a_refusal_of_what_is_admitted_has_to_be_documented(library: dict[str, Any], handlers: Handlers) -> None:
    """It goes out without being judged."""
    del library["paths"]["/hooks/{path}"]["post"]["responses"]["500"]

    with pytest.raises(DocumentError, match="callHook: it is admitted, and how that is refused is not documented"):
        build_asgi(library, handlers, keys=None)


async def test_the_base_path_of_servers_is_not_served(library: dict[str, Any], handlers: Handlers, ask: Ask) -> None:
    """A gateway may serve the API under a path; the service itself has it at the root."""
    library["servers"] = [{"url": "https://gateway.example/library/{v}", "variables": {"v": {"default": "v1"}}}]
    app = build_asgi(library, handlers, keys=None)

    assert (await ask(app, "GET", "/version")).status == 200
    assert (await ask(app, "GET", "/library/v1/version")).status == 404


async def test_the_lifespan_is_entered_and_left(library: dict[str, Any], handlers: Handlers) -> None:
    """Edge, routing and dispatcher let the lifespan through to Connexion's own middleware for it."""
    seen = []

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        seen.append("entered")
        yield
        seen.append("left")

    app = build_asgi(library, handlers, keys=None, lifespan=lifespan)
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan", "state": {}}, receive, send)

    assert seen == ["entered", "left"]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_without_a_lifespan_the_server_is_still_answered(library: dict[str, Any], handlers: Handlers) -> None:
    """uvicorn runs with lifespan on: silence would stop the start."""
    app = build_asgi(library, handlers, keys=None)
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan", "state": {}}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
