"""What is secret, and how it is shown and kept."""

from decimal import Decimal
from typing import Any

import pytest

from flowker.domain.secrets import MASK, NothingBehindMask, change_secrets, is_secret_name, mask, unmask

CONFIG: dict[str, Any] = {
    "base_url": "https://example.com",
    "timeout_seconds": 30,
    "headers": {"Authorization": "Bearer abc", "X-Tenant": "t1", "X-Api-Key": "k"},
    "auth": {
        "type": "oidc_user",
        "config": {"client_id": "c", "client_secret": "s", "scopes": ["a"], "password": 1234},
    },
    "tokens": ["one", {"token": "two", "name": "n"}],
    "access_key_id": "AKIA",
    "verify_token": None,
    "secret": "",
}


@pytest.mark.parametrize(
    "name",
    [
        *("key", "api_key", "X-API-Key", "token", "verify_token", "password", "client_secret", "secret_access_key"),
        *("Authorization", "Proxy-Authorization", "Cookie", "signing_secret", "X-Signature", "passphrase"),
    ],
)
def test_a_name_that_says_so_is_secret(name: str) -> None:
    """In configurations and in headers, whatever its case."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["access_key_id", "client_id", "username", "base_url", "scopes", "issuer_url", "name"]
)
def test_what_only_identifies_is_not(name: str) -> None:
    """Readers need it to recognise a configuration."""
    assert not is_secret_name(name)


def test_a_masked_copy_shows_no_secret_at_any_depth() -> None:
    """In objects, in lists, in headers; numbers too. Null and the empty text stay: nothing is behind them."""
    assert mask(CONFIG) == {
        "base_url": "https://example.com",
        "timeout_seconds": 30,
        "headers": {"Authorization": MASK, "X-Tenant": "t1", "X-Api-Key": MASK},
        "auth": {
            "type": "oidc_user",
            "config": {"client_id": "c", "client_secret": MASK, "scopes": ["a"], "password": MASK},
        },
        "tokens": [MASK, {"token": MASK, "name": "n"}],
        "access_key_id": "AKIA",
        "verify_token": None,
        "secret": "",
    }


def test_a_mask_that_comes_back_keeps_what_is_stored() -> None:
    """The copy that was read can be sent again as it is."""
    assert unmask(mask(CONFIG), CONFIG) == CONFIG


def test_a_new_secret_beside_masks_is_taken() -> None:
    """Only masks are replaced."""
    sent = mask(CONFIG)
    sent["headers"]["X-Api-Key"] = "new"

    kept = unmask(sent, CONFIG)

    assert (kept["headers"]["X-Api-Key"], kept["headers"]["Authorization"]) == ("new", "Bearer abc")


def test_the_text_of_the_mask_is_allowed_where_nothing_is_secret() -> None:
    """A name may be eight asterisks."""
    assert unmask({"name": MASK}, {}) == {"name": MASK}


@pytest.mark.parametrize(
    "stored", [None, {}, {"auth": None}, {"auth": {"token": ""}}, {"auth": {"token": {}}}, {"auth": [1]}, "text"]
)
def test_a_mask_with_nothing_behind_it_is_refused(stored: Any) -> None:
    """With the place: it would become the secret itself."""
    with pytest.raises(NothingBehindMask) as refused:
        unmask({"auth": {"token": MASK}}, stored)

    assert refused.value.path == ("auth", "token")


def test_each_secret_is_changed_once_with_its_path() -> None:
    """And keeps its type."""
    seen: dict[tuple[str | int, ...], Any] = {}

    def note(path: tuple[str | int, ...], secret: Any) -> Any:
        seen[path] = secret
        return secret

    assert change_secrets({"keys": [Decimal("1.10"), {"a": {"token": True}}]}, note) == {
        "keys": [Decimal("1.10"), {"a": {"token": True}}]
    }
    assert seen == {("keys", 0): Decimal("1.10"), ("keys", 1, "a", "token"): True}
