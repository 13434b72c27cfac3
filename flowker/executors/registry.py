"""The catalog of what can be called: providers, and the executors that call through them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flowker.executors import http
from flowker.executors.calls import Call, OutgoingRequest


@dataclass(frozen=True, slots=True)
class Provider:
    """A kind of far side; `config_schema` is the JSON Schema of its configurations, opened and in clear."""

    id: str
    name: str
    description: str
    version: str
    config_schema: Mapping[str, Any]
    probe: Callable[[Mapping[str, Any]], OutgoingRequest]
    """The request that tests a configuration: GET of its base URL, with the credentials as a call sends them."""


@dataclass(frozen=True, slots=True)
class Executor:
    """A way to call a provider; `prepare` makes the request of a call or raises `CallRefused`."""

    id: str
    provider_id: str
    name: str
    category: str
    version: str
    input_schema: Mapping[str, Any]
    prepare: Callable[[Call], OutgoingRequest]


PROVIDERS: Mapping[str, Provider] = {
    "http": Provider("http", "HTTP", "Any service that speaks HTTP.", "v1", http.CONFIG_SCHEMA, http.probe),
}

EXECUTORS: Mapping[str, Executor] = {
    "http.request": Executor("http.request", "http", "HTTP request", "HTTP", "v1", http.INPUT_SCHEMA, http.prepare),
}
