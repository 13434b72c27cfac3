"""Signatures by keys that follow from those that seal secrets."""

import base64

import pytest

from flowker.storage import signatures
from flowker.storage.vault import Vault

KEY, OTHER = bytes(range(32)), bytes(32)


def test_a_signature_is_of_its_text_and_its_key() -> None:
    """Neither another text nor another key will do."""
    key = signatures.derive(KEY)
    public, signature = signatures.public_key(key), signatures.sign(key, "text")

    assert signatures.is_signature(public, "text", signature)
    assert not signatures.is_signature(public, "Text", signature)
    assert not signatures.is_signature(signatures.public_key(signatures.derive(OTHER)), "text", signature)


def test_the_key_is_the_same_each_time_and_not_the_one_that_seals() -> None:
    """A signature of today can be checked by the service of tomorrow, and by older archives of it."""
    assert signatures.public_key(signatures.derive(KEY)) == "g99M+K+6VL0gE8GbWzEjRjuk6vdGqhWj3mfhXdVg39c="
    assert signatures.derive(KEY).private_bytes_raw() != KEY


@pytest.mark.parametrize("public", ["", "AAAA", "no base64", "é", base64.b64encode(bytes(33)).decode()])
@pytest.mark.parametrize("signature", ["", "AAAA", "no base64", "é", base64.b64encode(bytes(64)).decode()])
def test_what_is_no_signature_is_none(public: str, signature: str) -> None:
    """Whatever somebody put there."""
    good = signatures.public_key(signatures.derive(KEY))

    assert not signatures.is_signature(public, "text", signature)
    assert not signatures.is_signature(good, "text", signature)


def test_a_vault_signs_with_its_first_key_and_knows_all_of_them() -> None:
    """As it seals."""
    public, signature = Vault(lambda: [KEY]).sign("text")

    assert Vault(lambda: [OTHER, KEY]).has_signed("text", public, signature)
    assert Vault(lambda: [KEY, OTHER]).sign("text") == (public, signature)
    assert not Vault(lambda: [OTHER]).has_signed("text", public, signature)
    assert not Vault(lambda: [OTHER, KEY]).has_signed("text", Vault(lambda: [OTHER]).sign("")[0], signature)
