"""The catalog of what can be called."""

from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, ValidationError

from flowker.executors.registry import EXECUTORS, PROVIDERS


def test_the_catalog_is_consistent() -> None:
    """Entries stand under their own ids, and every executor has its provider."""
    assert {id_: executor.id for id_, executor in EXECUTORS.items()} == {id_: id_ for id_ in EXECUTORS}
    assert {id_: provider.id for id_, provider in PROVIDERS.items()} == {id_: id_ for id_ in PROVIDERS}
    assert {executor.provider_id for executor in EXECUTORS.values()} <= PROVIDERS.keys()


@pytest.mark.parametrize(
    "config",
    [
        {"base_url": "https://example.com"},
        {
            "base_url": "http://example.com/v1",
            "headers": {"X-A": "b"},
            "timeout_seconds": 2.5,
            "allow_redirects": True,
        },
        {"base_url": "https://example.com", "auth": {"type": "none"}},
        {"base_url": "https://example.com", "auth": {"type": "api_key", "config": {"key": "k", "location": "query"}}},
        {"base_url": "https://example.com", "auth": {"type": "bearer", "config": {"token": "t"}}},
        {"base_url": "https://example.com", "auth": {"type": "basic", "config": {"username": "u", "password": ""}}},
        {
            "base_url": "https://example.com",
            "auth": {
                "type": "oidc_client_credentials",
                "config": {"issuer_url": "https://id.example.com", "client_id": "c", "client_secret": "s"},
            },
        },
    ],
)
def test_configurations_of_provider_http_that_fit(config: dict[str, Any]) -> None:
    """The schema takes every type of authentication."""
    _validator().validate(config)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"base_url": "ftp://example.com"},
        {"base_url": "not a uri"},
        {"base_url": "https://example.com", "timeout_seconds": 0},
        {"base_url": "https://example.com", "timeout_seconds": 301},
        {"base_url": "https://example.com", "headers": {"X-A": 5}},
        {"base_url": "https://example.com", "verify": False},
        {"base_url": "https://example.com", "auth": {"type": "bearer"}},
        {"base_url": "https://example.com", "auth": {"type": "bearer", "config": {"token": ""}}},
        {"base_url": "https://example.com", "auth": {"type": "bearer", "config": {"token": "t", "more": 1}}},
        {"base_url": "https://example.com", "auth": {"type": "magic", "config": {}}},
    ],
)
def test_configurations_of_provider_http_that_do_not_fit(config: dict[str, Any]) -> None:
    """Formats are asserted and additional properties refused."""
    with pytest.raises(ValidationError):
        _validator().validate(config)


def test_the_input_of_an_http_request_is_open() -> None:
    """What is not query or headers is the body."""
    validator = Draft202012Validator(dict(EXECUTORS["http.request"].input_schema))

    assert validator.is_valid({"query": {"a": [1]}, "headers": {"b": "c"}, "anything": {}})
    assert not validator.is_valid({"query": "a=1"})


def _validator() -> Draft202012Validator:
    return Draft202012Validator(dict(PROVIDERS["http"].config_schema), validate_formats=True)
