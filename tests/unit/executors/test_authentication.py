"""What proves who calls."""

from typing import Any

import pytest

from flowker.executors.authentication import NO_CREDENTIALS, Credentials, Grant, maskable, read_credentials
from flowker.executors.refusals import CallRefused

CLIENT = {"issuer_url": "https://id.example.com", "client_id": "flowker", "client_secret": "s3cret!"}


@pytest.mark.parametrize(
    ("authentication", "headers"),
    [
        (None, {}),
        ({"type": "none"}, {}),
        ({"type": "none", "config": {}}, {}),
        ({"type": "api_key", "config": {"key": "k1"}}, {"X-API-Key": "k1"}),
        ({"type": "api_key", "config": {"key": "k1", "header": "X-Key"}}, {"X-Key": "k1"}),
        ({"type": "api_key", "config": {"key": "k1", "header_name": "X-Key"}}, {"X-Key": "k1"}),
        (
            {"type": "api_key", "config": {"key": "k1", "location": "header", "prefix": "Token"}},
            {"X-API-Key": "Token k1"},
        ),
        ({"type": "api_key", "config": {"key": "k1", "prefix": "Token "}}, {"X-API-Key": "Token k1"}),
        ({"type": "api_key", "config": {"key": "k1", "prefix": "sk_"}}, {"X-API-Key": "sk_k1"}),
        ({"type": "bearer", "config": {"token": "t1"}}, {"Authorization": "Bearer t1"}),
        (
            {"type": "basic", "config": {"username": "Aladdin", "password": "open sesame"}},
            {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
        ),
        ({"type": "basic", "config": {"username": "é", "password": ""}}, {"Authorization": "Basic w6k6"}),
    ],
)
def test_credentials_become_headers(authentication: Any, headers: dict[str, str]) -> None:
    """One way for each type."""
    credentials = read_credentials(authentication)

    assert credentials.headers == headers
    assert credentials.query == {}


def test_an_api_key_can_be_a_query_parameter() -> None:
    """Under the name that a header would have."""
    credentials = read_credentials({"type": "api_key", "config": {"key": "k1", "header": "key", "location": "query"}})

    assert credentials.query == {"key": "k1"}
    assert credentials.headers == {}


@pytest.mark.parametrize(
    "authentication",
    [
        "bearer",
        {},
        {"type": "magic"},
        {"type": []},
        {"type": "bearer"},
        {"type": "bearer", "config": "t"},
        {"type": "bearer", "config": {"token": ""}},
        {"type": "bearer", "config": {"token": 5}},
        {"type": "bearer", "config": {"token": "a\r\nX: b"}},
        {"type": "bearer", "config": {"token": "\ud800"}},
        {"type": "api_key", "config": {"key": "k1", "header": "not a name"}},
        {"type": "api_key", "config": {"key": "k1", "location": "body"}},
        {"type": "basic", "config": {"username": "a:b", "password": "c"}},
        {"type": "oidc_client_credentials", "config": {"client_secret": "s3cret!"}},
        {"type": "oidc_user", "config": {}},
        {"type": "oidc_user", "config": {**CLIENT, "username": "me"}},
        {"type": "oidc_client_credentials", "config": {**CLIENT, "client_secret": ""}},
        {"type": "oidc_client_credentials", "config": {**CLIENT, "scopes": "a b"}},
        {"type": "oidc_client_credentials", "config": {**CLIENT, "scopes": [5]}},
        {"type": "oidc_client_credentials", "config": {**CLIENT, "scopes": ["\ud800"]}},
        {"type": "oidc_client_credentials", "config": {**CLIENT, "audience": 5}},
    ],
)
def test_what_cannot_be_sent_is_refused(authentication: Any) -> None:
    """The refusal does not show the secret."""
    with pytest.raises(CallRefused) as refused:
        read_credentials(authentication)

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("authentication", "grant"),
    [
        (
            {"type": "oidc_client_credentials", "config": CLIENT},
            Grant("https://id.example.com", "flowker", "s3cret!"),
        ),
        (
            {"type": "oidc_client_credentials", "config": {**CLIENT, "scopes": ["a", "b"], "audience": "ledger"}},
            Grant("https://id.example.com", "flowker", "s3cret!", ("a", "b"), "ledger"),
        ),
        (
            {"type": "oidc_user", "config": {**CLIENT, "username": "me", "password": "pass"}},
            Grant("https://id.example.com", "flowker", "s3cret!", username="me", password="pass"),
        ),
        (
            {
                "type": "oidc_user",
                "config": {
                    "issuer_url": "https://id.example.com",
                    "client_id": "flowker",
                    "username": "me",
                    "password": "pass",
                },
            },
            Grant("https://id.example.com", "flowker", username="me", password="pass"),
        ),
    ],
)
def test_oidc_is_a_grant(authentication: Any, grant: Grant) -> None:
    """Its token is fetched later, and its place is taken already."""
    credentials = read_credentials(authentication)

    assert credentials.grant == grant
    assert credentials.headers == {}
    assert credentials.header_names == {"authorization"}


def test_a_token_is_sent_and_masked() -> None:
    """As the secret is that it was fetched with."""
    credentials = read_credentials({"type": "oidc_client_credentials", "config": CLIENT}).with_token("t0ken-1")

    assert credentials.headers == {"Authorization": "Bearer t0ken-1"}
    assert credentials.mask("s3cret! t0ken-1") == "******** ********"
    assert "s3cret!" not in repr(credentials)
    assert "t0ken-1" not in repr(credentials)


def test_secrets_are_masked_in_every_spelling() -> None:
    """Plain, in JSON, in a URL; and in basic authentication also encoded."""
    credentials = read_credentials({"type": "basic", "config": {"username": "me", "password": 'pass/"word'}})

    masked = credentials.mask(f'pass/"word pass/\\"word pass%2F%22word {credentials.headers["Authorization"]}')

    assert masked == "******** ******** ******** Basic ********"


def test_a_secret_that_begins_like_another_is_masked_whole() -> None:
    """Longest first, and what is too short to be a secret is not looked for."""
    credentials = Credentials(secrets=maskable(["secret", "secret-of-mine", "abc"]))

    assert credentials.mask("secret-of-mine abc secret") == "******** abc ********"


def test_credentials_do_not_show_themselves() -> None:
    """Not in logs and not in the output of a failed test."""
    credentials = read_credentials({"type": "bearer", "config": {"token": "s3cret!"}})

    assert "s3cret" not in repr(credentials)
    assert NO_CREDENTIALS.mask("text") == "text"
