"""Secrets at rest."""

import base64
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowker.domain.secrets import mask
from flowker.storage.vault import KEY_BYTES, SecretUnreadable, Vault, make_key

OLD, NEW = bytes(range(KEY_BYTES)), bytes(KEY_BYTES)
CONFIG = {"base_url": "https://example.com", "auth": {"config": {"token": "canary-1", "password": "canary-2"}}}


def vault(*keys: bytes) -> Vault:
    return Vault(lambda: keys)


SECRETS = st.text(min_size=1) | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.booleans()


@given(secret=SECRETS)
def test_what_was_sealed_opens_as_it_was(secret: Any) -> None:
    """Any text, and numbers with their digits."""
    if isinstance(secret, str) and any(0xD800 <= ord(character) <= 0xDFFF for character in secret):
        return
    opened = vault(NEW).open(vault(NEW).seal({"token": secret}, "one"), "one")["token"]

    assert opened == secret
    assert str(opened) == str(secret) or isinstance(secret, Decimal)


def test_nothing_of_a_secret_is_left_in_clear() -> None:
    """What is no secret stays readable."""
    sealed = vault(NEW).seal(CONFIG, "one")

    assert "canary" not in str(sealed)
    assert sealed["base_url"] == "https://example.com"
    assert mask(sealed) == mask(CONFIG)


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    """Nobody sees that two of them are equal."""
    assert vault(NEW).seal({"token": "a"}, "one") != vault(NEW).seal({"token": "a"}, "one")


@pytest.mark.parametrize(
    ("owner", "move"),
    [
        ("two", lambda sealed: sealed),
        ("one", lambda sealed: {"token": sealed["password"], "password": sealed["token"]}),
        ("one", lambda sealed: {"inner": sealed}),
    ],
)
def test_a_secret_that_was_moved_does_not_open(owner: str, move: Any) -> None:
    """To another row, or to another place in its own."""
    sealed = vault(NEW).seal({"token": "a", "password": "b"}, "one")

    with pytest.raises(SecretUnreadable, match="changed or moved"):
        vault(NEW).open(move(sealed), owner)


def test_a_secret_that_was_changed_does_not_open() -> None:
    """Each of its bytes counts."""
    prefix, _, text = vault(NEW).seal({"token": "a"}, "one")["token"].rpartition(":")
    data = base64.urlsafe_b64decode(text)

    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        token = f"{prefix}:{base64.urlsafe_b64encode(bytes(changed)).decode()}"
        with pytest.raises(SecretUnreadable):
            vault(NEW).open({"token": token}, "one")


@pytest.mark.parametrize("token", ["in clear", "sealed:1:", "sealed:1:00000000:!", 12])
def test_what_is_no_sealed_secret_does_not_open(token: Any) -> None:
    """Also not as itself: nobody may plant a secret in clear."""
    with pytest.raises(SecretUnreadable):
        vault(NEW).open({"token": token}, "one")


def test_a_secret_of_a_key_that_is_gone_is_unreadable() -> None:
    """The error names the key by its id, and has nothing of the secret."""
    sealed = vault(OLD).seal({"token": "canary"}, "one")

    with pytest.raises(SecretUnreadable, match=f"the key {vault(OLD).key_id}, which is not here"):
        vault(NEW).open(sealed, "one")


def test_the_first_key_seals_and_every_key_opens() -> None:
    """So a key can be replaced while the old one is still needed."""
    sealed = vault(OLD).seal({"token": "a"}, "one")

    resealed = vault(NEW, OLD).reseal(sealed, "one")

    assert vault(NEW).open(resealed, "one") == {"token": "a"}
    assert vault(NEW, OLD).open(sealed, "one") == {"token": "a"}


def test_what_is_sealed_with_the_first_key_is_left_as_it_is() -> None:
    """Resealing can be repeated, and says by identity that there was nothing to do."""
    sealed = vault(NEW).seal(CONFIG, "one")

    assert vault(NEW, OLD).reseal(sealed, "one") is sealed


def test_the_keys_are_read_when_they_are_first_needed() -> None:
    """And once."""
    asked: list[int] = []

    def read() -> list[bytes]:
        asked.append(1)
        return [NEW]

    lazy = Vault(read)
    lazy.open({"name": "n"}, "one")
    assert asked == []

    lazy.seal({"token": "a"}, "one")
    lazy.seal({"token": "a"}, "one")
    assert asked == [1]


def test_a_made_key_is_as_long_as_it_must_be_and_new() -> None:
    """256 bits."""
    assert len(make_key()) == KEY_BYTES
    assert make_key() != make_key()
