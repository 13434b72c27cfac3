"""The provider `http` and its executor `http.request`: any call to the base URL of a configuration.

Method and path come from the node; `{name}` in the path takes that member of the input, `query` and `headers` of it
become what they say, and the rest is the body.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from flowker.executors import authentication
from flowker.executors.authentication import read_credentials
from flowker.executors.calls import Call, OutgoingRequest
from flowker.executors.refusals import CallRefused, faults_of
from flowker.executors.requests import (
    Terms,
    encode_json,
    input_headers_of,
    join_url,
    probe_of,
    query_of,
    request_of,
    segment,
    terms_of,
)
from flowker.executors.shapes import BASE_URL, HEADERS, TIMEOUT_SECONDS, Shape, document

CONFIG_SCHEMA: Shape = document(
    {
        "base_url": BASE_URL,
        "headers": HEADERS,
        "timeout_seconds": TIMEOUT_SECONDS,
        "auth": authentication.SCHEMA,
        "allow_redirects": {"type": "boolean", "default": False},
    },
    ["base_url"],
)

INPUT_SCHEMA: Shape = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "query": {
            "type": "object",
            "description": "Query parameters; a list repeats its parameter, null leaves it out.",
        },
        "headers": {"type": "object", "description": "Request headers."},
    },
    "description": "Everything beside query, headers and what {name} in the path takes is the JSON body.",
}

PARAMETER_CHARACTERS_MAX = 1_000
"""Of a value in the path, encoded. An id is shorter, and a far side refuses long URLs anyway."""

_PARAMETER = re.compile(r"(?<!\{)\{([A-Za-z_][\w-]*)\}(?!\})")


def probe(config: Mapping[str, Any]) -> OutgoingRequest:
    """GET of the base URL as a call would send it, or `CallRefused`."""
    return probe_of(join_url(config.get("base_url"), "", []), _terms(config))


def prepare(call: Call) -> OutgoingRequest:
    """The request of a call, or `CallRefused`."""
    terms = call.configuration.know(_terms)
    path, input_ = _fill(call.path, call.input)
    query = query_of(input_.get("query"))
    if terms.credentials.query.keys() & {name for name, _ in query}:
        raise CallRefused("the query of the input sets the parameter of the API key")
    return request_of(
        call,
        call.method,
        join_url(call.configuration.config.get("base_url"), path, query),
        terms,
        body=_encode_body(call.method, input_),
        headers=input_headers_of(input_.get("headers")),
    )


def foresee(path: str, input_: Mapping[str, Any]) -> dict[str, str]:
    """What of a node's own path and members refuses each of its calls, whatever else the input will have."""
    names = set(_PARAMETER.findall(path))
    of_path = {name: partial(_parameter, input_, name) for name in names & input_.keys()}
    faults = faults_of(of_path)
    known = {name: read() for name, read in of_path.items() if name not in faults}
    filled = _PARAMETER.sub(lambda parameter: known.get(parameter[1], "any"), path)
    left = {name: input_.get(name) for name in ("query", "headers") if name not in names}
    return faults | faults_of(
        {
            "path": lambda: join_url(_ANY_BASE_URL, filled, []),
            "query": lambda: query_of(left.get("query")),
            "headers": lambda: input_headers_of(left.get("headers")),
        }
    )


_ANY_BASE_URL = "https://any.invalid"


def _terms(config: Mapping[str, Any]) -> Terms:
    return terms_of(config, read_credentials(config.get("auth")))


def _fill(path: str, input_: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The path with its parameters, and what they leave of the input. Raises `CallRefused`."""
    names = set(_PARAMETER.findall(path))
    if not names:
        return path, input_
    values = {name: _parameter(input_, name) for name in names}
    left = {name: value for name, value in input_.items() if name not in names}
    return _PARAMETER.sub(lambda parameter: values[parameter[1]], path), left


def _parameter(input_: Mapping[str, Any], name: str) -> str:
    if name not in input_:
        raise CallRefused(f"the input has no {name}, which the path wants")
    value = segment(input_[name], f"{name} of the input")
    if len(value) > PARAMETER_CHARACTERS_MAX:
        raise CallRefused(f"{name} of the input is longer than {PARAMETER_CHARACTERS_MAX} characters in the path")
    return value


def _encode_body(method: str, input_: Mapping[str, Any]) -> bytes | None:
    content = {name: value for name, value in input_.items() if name not in {"query", "headers"}}
    if not content and method in {"GET", "DELETE"}:
        return None
    return encode_json(content)
