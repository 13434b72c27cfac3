"""What the seam uses of Connexion and Starlette below their documented surface, one test for each.

When an upgrade breaks one of these, the test says which assumption of `flowker/http` is gone.
"""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from connexion.apps.asynchronous import AsyncApp
from connexion.exceptions import InvalidSpecification
from connexion.middleware.abstract import ROUTING_CONTEXT, RoutedAPI, RoutedMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.main import API
from connexion.middleware.routing import RoutingMiddleware, RoutingOperation
from connexion.resolver import Resolver
from connexion.spec import OpenAPISpecification
from starlette.routing import Mount, Route

from flowker.http.document import Specification31

OPTIONS: dict[str, Any] = {"resolver": Resolver(lambda name: name), "pythonic_params": False}


async def _nowhere(*_: Any) -> Any:
    """An application, and both ends of a connection."""


@pytest.fixture
def specification(library: dict[str, Any]) -> Any:
    return Specification31(library)  # type: ignore[no-untyped-call]


@pytest.fixture
def routes(specification: Any) -> list[Route]:
    middleware = RoutingMiddleware(_nowhere)
    middleware.add_api(specification, base_path="", **OPTIONS)
    mount = middleware.router.routes[-1]
    assert isinstance(mount, Mount)
    return [route for route in mount.routes if isinstance(route, Route)]


def test_importing_the_seam_warns_of_nothing() -> None:
    """Connexion's imports warn of deprecations; the package initialiser silences exactly those imports."""
    command = [sys.executable, "-W", "error", "-c", "import flowker.http.document"]

    done = subprocess.run(command, check=False, capture_output=True)

    assert done.stderr == b""


def test_connexions_own_specification_refuses_3_1(library: dict[str, Any]) -> None:
    """The day it does not, Specification31 can go."""
    with pytest.raises(InvalidSpecification):
        OpenAPISpecification(library)  # type: ignore[no-untyped-call]


def test_the_constructor_asks_validate_spec(library: dict[str, Any]) -> None:
    """It is the one place where the version matters, and it gets the whole document."""
    seen = []

    class Watching(OpenAPISpecification):
        @classmethod
        def _validate_spec(cls, spec: Any) -> None:
            seen.append(spec["openapi"])

    Watching(library)  # type: ignore[no-untyped-call]

    assert seen == ["3.1.0"]


def test_references_are_resolved_also_in_circles(specification: Any) -> None:
    """A chapter of the library has chapters."""
    operation = specification.get_operation("/version", "get")

    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {"type": "object"}


def test_middleware_apis_is_the_list_that_add_api_fills(specification: Any) -> None:
    """The seam appends to it, because add_api would parse the document with its own class."""
    app = AsyncApp("flowker", middlewares=[])

    app.middleware.apis.append(API(specification, base_path="", **OPTIONS))

    assert isinstance(app.middleware.apis, list)
    assert app.middleware.apis[0].specification is specification


def test_the_stack_is_built_from_classes_and_gets_the_apis(specification: Any) -> None:
    """Outermost first; each is called with the next one, and given every API with its options."""
    added = []

    class Outer(RoutedMiddleware[Any]):
        def add_api(self, specification: Any, **options: Any) -> Any:
            added.append((specification, options))

    app = AsyncApp("flowker", middlewares=[Outer, LifespanMiddleware])
    app.middleware.apis.append(API(specification, base_path="", extra=1, **OPTIONS))

    outermost, stack = app.middleware._build_middleware_stack()

    assert isinstance(outermost, Outer)
    assert isinstance(outermost.app, LifespanMiddleware)
    assert next(iter(stack)) is outermost
    assert added == [(specification, {"base_path": "", "extra": 1, **OPTIONS})]


def test_a_given_base_path_replaces_the_one_of_servers(specification: Any) -> None:
    """Even the empty one."""
    specification._spec["servers"] = [{"url": "https://host.example/base"}]
    middleware = RoutingMiddleware(_nowhere)

    middleware.add_api(specification, base_path="", **OPTIONS)

    mount = middleware.router.routes[-1]
    assert isinstance(mount, Mount)
    assert mount.path == ""


def test_routing_makes_a_route_of_every_operation(routes: list[Route]) -> None:
    """Mounted last in its router, with the operationId in the endpoint."""
    endpoints: list[Any] = [route.endpoint for route in routes]

    assert all(isinstance(endpoint, RoutingOperation) for endpoint in endpoints)
    assert sorted(endpoint.operation_id for endpoint in endpoints) == [
        "callHook",
        "callHookGet",
        "createAnimal",
        "createBook",
        "deleteBook",
        "featureBook",
        "getBook",
        "getCopy",
        "getVersion",
        "listBooks",
    ]


def test_a_route_has_its_pattern_and_methods(routes: list[Route]) -> None:
    """Starlette adds HEAD to GET, which the route table takes away again."""
    version = next(route for route in routes if route.path == "/version")

    assert version.methods == {"GET", "HEAD"}
    assert version.param_convertors == {}
    assert version.path_regex.pattern == "^/version$"


def test_a_hyphen_in_a_path_parameter_becomes_an_underscore(routes: list[Route]) -> None:
    """A group of a pattern cannot have a hyphen, so the finder of the parameter looks for the underscore."""
    [copies] = [route for route in routes if "copies" in route.path]

    assert copies.path == "/books/{id}/copies/{copy_number}"
    assert set(copies.param_convertors) == {"id", "copy_number"}


def test_the_type_path_makes_a_parameter_of_many_segments(routes: list[Route]) -> None:
    """What `get_path_parameter_types` says is the name of a converter; none is one segment of any text."""
    patterns = {route.path: route.path_regex.pattern for route in routes}

    assert patterns["/hooks/{path:path}"] == "^/hooks/(?P<path>.*)$"
    assert patterns["/books/{id}"] == "^/books/(?P<id>[^/]+)$"


def test_the_resolver_is_asked_for_every_operation(specification: Any) -> None:
    """It finds the handler by the operationId, and Connexion keeps it as the operation's function."""
    seen: dict[str, Any] = {}

    class Watching(RoutedAPI[Any]):
        def make_operation(self, operation: Any) -> Any:
            seen[operation.operation_id] = operation.function

    handlers = {name: object() for name in ("getVersion", "getBook", "getCopy", "listBooks", "createBook")}
    handlers |= {name: object() for name in ("deleteBook", "featureBook", "callHook", "callHookGet", "createAnimal")}
    api = Watching(specification, next_app=_nowhere, resolver=Resolver(handlers.__getitem__), base_path="")
    api.add_paths()

    assert seen == handlers


async def test_the_routed_middleware_reads_the_context_of_the_routing(specification: Any) -> None:
    """Base path and operationId, under this key of the scope's extensions."""
    reached = []

    class Reached(RoutedAPI[Callable[..., Any]]):
        def __init__(self, specification: Any, **options: Any) -> None:
            super().__init__(specification, **options)
            self.add_paths()

        def make_operation(self, operation: Any) -> Callable[..., Any]:
            async def run(*_: Any) -> None:
                reached.append(operation.operation_id)

            return run

    class Middleware(RoutedMiddleware[Reached]):
        api_cls = Reached

    middleware = Middleware(_nowhere)
    middleware.add_api(specification, base_path="", **OPTIONS)
    context = {"api_base_path": "", "operation_id": "getCopy"}

    await middleware({"type": "http", "extensions": {ROUTING_CONTEXT: context}}, _nowhere, _nowhere)

    assert reached == ["getCopy"]
    assert context == {"api_base_path": "", "operation_id": "getCopy"}


def test_the_lifespan_goes_to_the_middleware_that_asks_for_it() -> None:
    """By the name of its argument."""

    def lifespan(_: Any) -> Any:
        raise NotImplementedError

    app = AsyncApp("flowker", lifespan=lifespan, middlewares=[LifespanMiddleware])

    outermost, _ = app.middleware._build_middleware_stack()

    assert isinstance(outermost, LifespanMiddleware)
    assert outermost._lifespan is lifespan
