"""Connexion's routing, and a faster way to the same route.

Connexion makes a Starlette route of every operation in the document. Trying them one after another costs more than
everything else for a request, so they are kept in a table: a dictionary for the paths without parameters, and for
the others one for each set of places at which they have literal segments.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from re import Pattern
from typing import Any, NamedTuple, cast
from urllib.parse import unquote_to_bytes

from connexion.middleware.abstract import ROUTING_CONTEXT
from connexion.middleware.routing import RoutingMiddleware, RoutingOperation
from connexion.spec import Specification
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from flowker.domain.errors import MethodNotAllowed, PathNotFound

FOUND_KEPT_MAX = 1_024
FOUND_CHARACTERS_MAX = 512
"""Paths whose operation is remembered, and the longest of them: a few megabytes, whatever is asked for."""

_SLASH_IN_SEGMENT = "\0"
"""Stands for an encoded slash while a path is matched; a path with a real NUL never comes here."""


class _Target(NamedTuple):
    context: dict[str, Any]
    """What Connexion's `RoutedMiddleware` reads from the scope. It is shared by all requests and never written."""


class _Template(NamedTuple):
    pattern: Pattern[str]
    methods: dict[str, _Target]


Found = tuple[_Target, Mapping[str, str]]
"""An operation, and the path parameters that it was found with. All requests share them: they are never written."""

Pick = Callable[[list[str]], Any]
"""Takes the literal segments of a template out of the segments of a path."""


class RouteTable:
    def __init__(self, routes: Iterable[Route]) -> None:
        self._static: dict[str, dict[str, _Target]] = {}
        self._templates: dict[str, _Template] = {}
        for route in routes:
            methods = self._methods(route)
            # Starlette adds HEAD to GET by itself; here a path has the methods that the document gives it.
            for method in (route.methods or set()) - {"HEAD"}:
                context = {"api_base_path": "", "operation_id": cast("RoutingOperation", route.endpoint).operation_id}
                methods[method] = _Target(context)
        self._shapes = _shapes(path for path, template in self._templates.items() if not _is_multi_segment(template))
        self._multi_segment = [one for one in self._templates.values() if _is_multi_segment(one)]
        self._find_again = lru_cache(FOUND_KEPT_MAX)(self._find)

    def find(self, path: str, method: str) -> Found:
        """The operation and its path parameters; raises `PathNotFound` or `MethodNotAllowed`."""
        return self._find_again(path, method) if len(path) <= FOUND_CHARACTERS_MAX else self._find(path, method)

    def _find(self, path: str, method: str) -> Found:
        methods = self._static.get(path)
        if methods is not None:
            # A path without parameters is nobody else's, whatever template it would fit.
            if method not in methods:
                raise _not_allowed(methods)
            return methods[method], {}
        allowed: set[str] = set()
        for template in self._candidates(path):
            # fullmatch: the `$` of Starlette's patterns also matches before a final newline.
            match = template.pattern.fullmatch(path)
            if match is None:
                continue
            if method in template.methods:
                return template.methods[method], match.groupdict()
            allowed.update(template.methods)
        if not allowed:
            raise PathNotFound
        raise _not_allowed(allowed)

    def _candidates(self, path: str) -> Iterator[_Template]:
        """The templates that a path can fit. The more concrete one goes first, as OpenAPI asks for when two match."""
        segments = path.split("/")
        for pick, paths in self._shapes.get(len(segments), ()):
            found = paths.get(pick(segments))
            if found is not None:
                yield self._templates[found]
        yield from self._multi_segment

    def _methods(self, route: Route) -> dict[str, _Target]:
        if not route.param_convertors:
            return self._static.setdefault(route.path, {})
        return self._templates.setdefault(route.path, _Template(route.path_regex, {})).methods


def _shapes(paths: Iterable[str]) -> dict[int, list[tuple[Pick, dict[Any, str]]]]:
    """Templates by their number of segments, then by which of those are literal, the most first, and by these."""
    shapes: dict[int, dict[tuple[int, ...], dict[Any, str]]] = {}
    for path in paths:
        segments = path.split("/")
        # The empty text before the first slash is literal, too.
        literal = tuple(place for place, segment in enumerate(segments) if "{" not in segment)
        shapes.setdefault(len(segments), {}).setdefault(literal, {})[itemgetter(*literal)(segments)] = path
    return {
        length: [(itemgetter(*literal), found[literal]) for literal in sorted(found, key=len, reverse=True)]
        for length, found in shapes.items()
    }


def _not_allowed(allowed: Iterable[str]) -> MethodNotAllowed:
    return MethodNotAllowed(headers={"allow": ", ".join(sorted(allowed))})


def _is_multi_segment(template: _Template) -> bool:
    return ".*" in template.pattern.pattern


class Routing(RoutingMiddleware):
    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self._table = RouteTable(())

    def add_api(
        self,
        specification: Specification,
        base_path: str | None = None,
        arguments: dict[Any, Any] | None = None,
        **options: Any,
    ) -> None:
        super().add_api(specification, base_path, arguments, **options)
        mount = cast("Mount", self.router.routes[-1])
        self._table = RouteTable(route for route in mount.routes if isinstance(route, Route))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            target, parameters = self._find(scope)
            scope["path_params"] = parameters
            scope.setdefault("extensions", {})[ROUTING_CONTEXT] = target.context
        await self.app(scope, receive, send)

    def _find(self, scope: Scope) -> Found:
        raw_path = scope.get("raw_path") or b""
        if b"%2" not in raw_path:
            return self._table.find(scope["path"], scope["method"])
        # An encoded slash is part of a segment: it may stand in a parameter, it does not make another path.
        path = raw_path.replace(b"%2f", b"\0").replace(b"%2F", b"\0")
        target, parameters = self._table.find(unquote_to_bytes(path).decode(), scope["method"])
        return target, {name: value.replace(_SLASH_IN_SEGMENT, "/") for name, value in parameters.items()}
