import gc
import random
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from connexion.middleware.abstract import ROUTING_CONTEXT
from connexion.middleware.routing import RoutingMiddleware
from connexion.resolver import Resolver
from starlette.exceptions import HTTPException

from flowker.domain.errors import MethodNotAllowed, PathNotFound
from flowker.http.document import Specification31
from flowker.http.routing import FOUND_CHARACTERS_MAX, FOUND_KEPT_MAX, Routing

Ask = Callable[..., Awaitable[Any]]
Serve = Callable[..., Any]
MakeScope = Callable[..., dict[str, Any]]


Middleware = TypeVar("Middleware", bound=RoutingMiddleware)


async def _nowhere(*_: Any) -> Any:
    """The application behind the routing, and both ends of the connection."""


@pytest.fixture
def specification(library: dict[str, Any]) -> Any:
    return Specification31(library)  # type: ignore[no-untyped-call]


@pytest.fixture
def routing(specification: Any) -> Routing:
    return _with_library(Routing(_nowhere), specification)


def _with_library(middleware: Middleware, specification: Any) -> Middleware:
    middleware.add_api(specification, base_path="", resolver=Resolver(lambda _: _nowhere))
    return middleware


async def _route(routing: Routing, scope: dict[str, Any]) -> tuple[str, dict[str, str]]:
    await routing(scope, _nowhere, _nowhere)
    return scope["extensions"][ROUTING_CONTEXT]["operation_id"], scope["path_params"]


@pytest.mark.parametrize(
    ("method", "target", "operation_id", "parameters"),
    [
        ("GET", "/version", "getVersion", {}),
        ("POST", "/books/featured", "featureBook", {}),
        ("GET", "/books/x", "getBook", {"id": "x"}),
        ("GET", "/books/x/copies/3", "getCopy", {"id": "x", "copy_number": "3"}),
        ("GET", "/books/x/copies/x", "getCopy", {"id": "x", "copy_number": "x"}),
        ("POST", "/hooks/orders/paid", "callHook", {"path": "orders/paid"}),
        ("POST", "/hooks/orders%2Fpaid", "callHook", {"path": "orders/paid"}),
        ("POST", "/hooks/orders%2fpaid/x%25", "callHook", {"path": "orders/paid/x%"}),
        ("POST", "/hooks//orders/", "callHook", {"path": "/orders/"}),
        ("POST", "/hooks/", "callHook", {"path": ""}),
        ("GET", "/books/a%2Fcopies%2F3", "getBook", {"id": "a/copies/3"}),
        ("GET", "/books/%C3%A9%2F", "getBook", {"id": "é/"}),
    ],
)
async def test_a_request_reaches_its_operation(
    routing: Routing, scope: MakeScope, method: str, target: str, operation_id: str, parameters: dict[str, str]
) -> None:
    """An encoded slash is part of a parameter, never a border between two segments."""
    assert await _route(routing, scope(method, target)) == (operation_id, parameters)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "",
        "/versions",
        "/version/",
        "//version",
        "/VERSION",
        "/books/",
        "/books%2Ffeatured",
        "/books/x/copies/",
        "/books/x/copies%0A",
        "/version%0A",
        "/hooks/a%0Ab",
    ],
)
async def test_an_undocumented_path_is_not_found(routing: Routing, scope: MakeScope, target: str) -> None:
    """No redirects, no other spelling, and no final newline that a `$` would let through."""
    request = scope("POST", target)

    with pytest.raises(PathNotFound):
        await routing(request, _nowhere, _nowhere)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "BREW"])
@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/version", "GET"),
        ("/books", "GET, POST"),
        ("/books/featured", "POST"),
        ("/books/x", "DELETE, GET"),
        ("/hooks/orders%2Fpaid", "GET, POST"),
    ],
)
async def test_another_method_is_told_all_that_the_path_has(
    routing: Routing, scope: MakeScope, method: str, target: str, allowed: str
) -> None:
    """HEAD too: Starlette would run the handler of GET for it."""
    request = scope(method, target)

    with pytest.raises(MethodNotAllowed) as raised:
        await routing(request, _nowhere, _nowhere)

    assert raised.value.headers == {"allow": allowed}


async def test_the_more_concrete_of_two_paths_is_taken(library: dict[str, Any], scope: MakeScope) -> None:
    """Also where the document has the other one first."""
    hook = library["paths"]["/hooks/{path}"]
    parameter = {"name": "x", "in": "path", "required": True, "schema": {"type": "string"}}
    for path, operation_id in (("/hooks/{x}/last", "within"), ("/hooks/special/{x}", "longer")):
        operation = {**hook["get"], "operationId": operation_id}
        library["paths"][path] = {"parameters": [parameter], "get": operation}
    specification = Specification31(library)  # type: ignore[no-untyped-call]
    routing = _with_library(Routing(_nowhere), specification)

    assert await _route(routing, scope("GET", "/hooks/a/last")) == ("within", {"x": "a"})
    assert await _route(routing, scope("GET", "/hooks/special/a")) == ("longer", {"x": "a"})
    assert await _route(routing, scope("GET", "/hooks/other/a")) == ("callHookGet", {"path": "other/a"})


async def test_the_scope_of_another_protocol_passes(routing: Routing) -> None:
    """The lifespan has no path."""
    scope = {"type": "lifespan"}

    await routing(scope, _nowhere, _nowhere)

    assert scope == {"type": "lifespan"}


async def test_a_scope_without_a_raw_path_is_routed_by_its_path(routing: Routing, scope: MakeScope) -> None:
    """ASGI lets a server leave it out."""
    request = scope("GET", "/books/x")
    del request["raw_path"]

    assert await _route(routing, request) == ("getBook", {"id": "x"})


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_path_without_parameters_is_not_a_value_of_another(
    routing: Routing, scope: MakeScope, method: str
) -> None:
    """OpenAPI matches the concrete path first: another method of it is not allowed, and no book is asked for."""
    request = scope(method, "/books/featured")

    with pytest.raises(MethodNotAllowed):
        await routing(request, _nowhere, _nowhere)


@pytest.mark.parametrize("letters", [470, 10_000])
async def test_what_is_remembered_of_paths_is_bounded(routing: Routing, scope: MakeScope, letters: int) -> None:
    """Callers choose their paths: as many as they like, and as long as a request may be."""
    tracemalloc.start()
    try:
        for number in range(8 * FOUND_KEPT_MAX):
            await _route(routing, scope("GET", f"/books/{number}{'é' * letters}"))
        gc.collect()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept_bytes < FOUND_KEPT_MAX * 4 * FOUND_CHARACTERS_MAX


async def test_the_table_finds_what_connexions_own_router_finds(
    specification: Any, routing: Routing, scope: MakeScope
) -> None:
    """Over random paths: the same operation with the same parameters, or none for both.

    Apart from the path that is concrete and fits a template as well, which Starlette tries one after another.
    """
    connexions = _with_library(RoutingMiddleware(_nowhere), specification)
    chance = random.Random(1)  # noqa: S311 (nothing here is secret)
    words = ["books", "hooks", "copies", "featured", "version", "animals", "a", "3", "é", ""]

    for _ in range(3000):
        path = "/" + "/".join(chance.choice(words) for _ in range(chance.randint(1, 5)))
        method = "POST" if path == "/books/featured" else chance.choice(["GET", "POST", "DELETE", "PUT"])

        assert await _found(routing, scope(method, path)) == await _found(connexions, scope(method, path))


async def _found(middleware: Any, scope: dict[str, Any]) -> tuple[Any, Any] | None:
    reached: list[dict[str, Any]] = []

    async def end(scope: dict[str, Any], *_: Any) -> None:
        reached.append(scope)

    middleware.app = end
    if not isinstance(middleware, Routing):
        inner = middleware.router.routes[0].app
        inner.redirect_slashes = False
        inner.default = _nothing
        for route in inner.routes:
            route.endpoint.next_app = end
    try:
        await middleware({**scope, "app": None}, _nowhere, _nowhere)
    except (HTTPException, PathNotFound, MethodNotAllowed):
        return None
    found = reached[0]
    return found["extensions"][ROUTING_CONTEXT]["operation_id"], found["path_params"]


async def _nothing(*_: Any) -> None:
    raise PathNotFound
