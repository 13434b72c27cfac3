"""The provider `http` and its executor `http.request`: any call to the base URL of a configuration.

Method and path come from the node; `query` and `headers` of the input become what they say, and the rest of the
input is the body.
"""

from collections.abc import Mapping
from typing import Any

from flowker.executors import authentication
from flowker.executors.authentication import read_credentials
from flowker.executors.calls import Call, OutgoingRequest
from flowker.executors.refusals import CallRefused
from flowker.executors.requests import encode_json, headers_of, join_url, probe_of, query_of, request_of
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
    "description": "Everything beside query and headers is the JSON body.",
}


def probe(config: Mapping[str, Any]) -> OutgoingRequest:
    """GET of the base URL as a call would send it, or `CallRefused`."""
    return probe_of(config, join_url(config.get("base_url"), "", []), read_credentials(config.get("auth")))


def prepare(call: Call) -> OutgoingRequest:
    """The request of a call, or `CallRefused`."""
    config = call.configuration.config
    credentials = read_credentials(config.get("auth"))
    query = query_of(call.input.get("query"))
    if credentials.query.keys() & {name for name, _ in query}:
        raise CallRefused("the query of the input sets the parameter of the API key")
    return request_of(
        call,
        call.method,
        join_url(config.get("base_url"), call.path, query),
        credentials,
        body=_encode_body(call),
        headers=headers_of(call.input.get("headers"), "headers of the input"),
    )


def _encode_body(call: Call) -> bytes | None:
    content = {name: value for name, value in call.input.items() if name not in {"query", "headers"}}
    if not content and call.method in {"GET", "DELETE"}:
        return None
    return encode_json(content)
