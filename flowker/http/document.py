"""The seam to Connexion for OpenAPI 3.1: from the document and its handlers to the ASGI application.

Connexion 3.3 validates documents against a schema of OpenAPI 3.0 and refuses any other. Everything else of it that
is used here does not mind the version, so a specification class with another validator is all that is needed; each
of Connexion's internals that this touches has a test of its own in tests/unit/http/test_connexion_internals.py.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from connexion.apps.asynchronous import AsyncApp
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.main import API
from connexion.operations.openapi import OpenAPIOperation
from connexion.resolver import Resolver
from connexion.spec import OpenAPISpecification
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.types import ASGIApp

from flowker.http.compiler import compile_document
from flowker.http.contract import DocumentError, OperationContract
from flowker.http.dispatcher import Dispatcher, Handler, Refuses, misfits
from flowker.http.edge import Edge
from flowker.http.proxies import TrustedProxies
from flowker.http.routing import Routing
from flowker.http.security import ApiKeys

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


class Operation31(OpenAPIOperation):
    def get_path_parameter_types(self) -> dict[str, str]:
        """Every path parameter is text to the router: whether it is a number is a question for the contract, which
        answers 400 where a pattern that does not match would make it 404."""
        return {parameter["name"]: "path" for parameter in self.parameters if parameter.get("x-multi-segment")}


class Specification31(OpenAPISpecification):
    operation_cls = Operation31

    @classmethod
    def _validate_spec(cls, spec: dict[str, Any]) -> None:
        problems: list[str] = []
        try:
            problems.extend(map(_problem, OpenAPIV31SpecValidator(spec).iter_errors()))
        except Exception as error:  # noqa: BLE001 (a dangling $ref stops it, or what it has just found to be broken)
            problems.append(f"{type(error).__name__} {getattr(error, 'ref', '')}")
        if problems:
            raise DocumentError("The document is not valid OpenAPI 3.1:\n" + "\n".join(problems))


class ValidSpecification31(Specification31):
    """Of a document that was found to be valid before, and has not changed since."""

    @classmethod
    def _validate_spec(cls, spec: dict[str, Any]) -> None:
        """It costs as much as everything else that a start does with a document."""


def load(path: Path) -> dict[str, Any]:
    return _parse(path.read_bytes(), path)


def _parse(data: bytes, path: Path) -> dict[str, Any]:
    document = _with_text_keys(yaml.load(data, Loader=_JsonLoader))  # noqa: S506 (it is a safe loader)
    if not isinstance(document, dict):
        raise DocumentError(f"{path} is not a YAML mapping")
    return document


@dataclass(frozen=True, slots=True)
class Described:
    """A document that was checked and compiled, for any number of applications."""

    specification: Specification31
    contracts: Mapping[str, OperationContract]


def describe(document: Path | Mapping[str, Any], valid_sha256: str | None = None) -> Described:
    """Check and compile a document: most of what a start has to do. Raises `DocumentError`.

    A file with the digest `valid_sha256` is known to be valid OpenAPI: that is not checked again.
    """
    kind = Specification31
    if isinstance(document, Path):
        data = document.read_bytes()
        described = _parse(data, document)
        if sha256(data).hexdigest() == valid_sha256:
            kind = ValidSpecification31
    else:
        described = _with_text_keys(document)
    return Described(kind(described), compile_document(described))  # type: ignore[no-untyped-call]


def build_asgi(
    document: Path | Mapping[str, Any] | Described,
    handlers: Mapping[str, Handler],
    *,
    keys: ApiKeys | None,
    lifespan: Lifespan | None = None,
    trusted_proxies: Sequence[str] = (),
    refuses: Refuses | None = None,
) -> ASGIApp:
    """The application that serves the document with the handlers, one per operationId.

    Raises `DocumentError`, naming everything that is wrong, when document and handlers do not fit together. Without
    keys every operation is public. `refuses` is asked before a request of an operation that is admitted.
    """
    described = document if isinstance(document, Described) else describe(document)
    problems = misfits(described.contracts, handlers)
    if problems:
        raise DocumentError("The document and its handlers do not fit:\n" + "\n".join(problems))
    proxies = [partial(TrustedProxies, networks=trusted_proxies)] if trusted_proxies else []
    layers: list[Any] = [Edge, *proxies, Routing, Dispatcher, LifespanMiddleware]
    app = AsyncApp("flowker", lifespan=lifespan, middlewares=layers)
    options: dict[str, Any] = {"resolver": Resolver(handlers.__getitem__), "pythonic_params": False}
    options |= {"keys": keys, "refuses": refuses}
    # AsyncApp.add_api would parse the document again, with the specification class that refuses 3.1. The base path
    # is empty whatever the document says under `servers`: a gateway may have one, this service does not.
    api = API(described.specification, base_path="", contracts=described.contracts, **options)
    app.middleware.apis.append(api)
    # Connexion would build its layers at the first request, and only then find what does not fit.
    outermost, _ = app.middleware._build_middleware_stack()  # noqa: SLF001
    # The outermost layer itself: AsyncApp and its middleware would only pass every request on to it.
    return outermost


class _JsonLoader(yaml.CSafeLoader):
    """YAML without the timestamps that JSON does not have: an unquoted date in an example is text."""


_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _problem(error: Any) -> str:
    place = "/".join(str(part) for part in error.absolute_path) or "document"
    return f"{place}: {error.message.partition(chr(10))[0]}"


def _with_text_keys(node: Any) -> Any:
    """YAML reads `200:` as a number; JSON has no such keys."""
    if isinstance(node, Mapping):
        return {str(key): _with_text_keys(child) for key, child in node.items()}
    if isinstance(node, list):
        return [_with_text_keys(child) for child in node]
    return node
