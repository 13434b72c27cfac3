"""Secrets at rest: sealed with AES-256-GCM, one by one, at whatever depth they stand.

A sealed secret is a text that names the key that it was sealed with. It is bound to its owner (the id of the row)
and to its place inside of it: moved elsewhere, it does not open. The first key seals, all of them open, so that a
key can be replaced while the old one is still needed.
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flowker import jsontext
from flowker.domain.secrets import Path, change_secrets
from flowker.storage import signatures

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
"""What GCM is made for (NIST SP 800-38D, 8.2.1): random nonces of 96 bits are safe for 2**32 secrets a key."""

PREFIX: Final = "sealed:1:"

_SEALED: Final = re.compile(PREFIX + r"[0-9a-f]{8}:[0-9A-Za-z_=-]+")


class SecretUnreadable(Exception):
    """A secret was sealed with a key that is not here, or was changed behind our back. Has no secret in it."""


class Vault:
    """Seals, opens and signs. `read_keys` gives the keys when they are first needed; the first of them is used."""

    def __init__(self, read_keys: Callable[[], Sequence[bytes]]) -> None:
        self._read_keys = read_keys

    def seal(self, value: Any, owner: str) -> Any:
        """A copy with every secret sealed."""
        return change_secrets(value, lambda path, secret: self._seal(secret, _place(owner, path)))

    def open(self, value: Any, owner: str) -> Any:
        """A copy with every secret in clear; raises `SecretUnreadable`."""
        return change_secrets(value, lambda path, secret: self._open(secret, _place(owner, path)))

    def reseal(self, value: Any, owner: str) -> Any:
        """A copy sealed with the first key: the value itself where it already is; raises `SecretUnreadable`."""
        return value if self._is_current(value) else self.seal(self.open(value, owner), owner)

    @property
    def key_id(self) -> str:
        """Names the key that seals."""
        return self._keys[0][0]

    def sign(self, text: str) -> tuple[str, str]:
        """The public key and the signature of a text, both in base64."""
        key = self._signing_keys[0]
        return signatures.public_key(key), signatures.sign(key, text)

    def has_signed(self, text: str, public_key: str, signature: str) -> bool:
        """Whether it is the signature of one of the keys that are here."""
        return any(signatures.public_key(key) == public_key for key in self._signing_keys) and (
            signatures.is_signature(public_key, text, signature)
        )

    @cached_property
    def _signing_keys(self) -> list[Ed25519PrivateKey]:
        return [signatures.derive(key) for key in self._read_keys()]

    @cached_property
    def _keys(self) -> list[tuple[str, AESGCM]]:
        return [(_key_id(key), AESGCM(key)) for key in self._read_keys()]

    def _seal(self, secret: Any, place: bytes) -> str:
        key_id, key = self._keys[0]
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + key.encrypt(nonce, jsontext.encode(secret), place)
        return f"{PREFIX}{key_id}:{base64.urlsafe_b64encode(sealed).decode()}"

    def _open(self, sealed: Any, place: bytes) -> Any:
        key_id, text = _parts(sealed)
        try:
            data = base64.urlsafe_b64decode(text)
            clear = dict(self._keys)[key_id].decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], place)
        except KeyError:
            raise SecretUnreadable(f"a secret was sealed with the key {key_id}, which is not here") from None
        except (InvalidTag, ValueError, binascii.Error):
            raise SecretUnreadable("a sealed secret was changed or moved") from None
        return jsontext.decode(clear)

    def _is_current(self, value: Any) -> bool:
        others: list[str] = []

        def look(_: Path, sealed: Any) -> Any:
            others.extend({_parts(sealed)[0]} - {self.key_id})
            return sealed

        change_secrets(value, look)
        return not others


def is_sealed(secret: Any) -> bool:
    """Whether this has the form of a sealed secret; with which key is not asked."""
    return isinstance(secret, str) and _SEALED.fullmatch(secret) is not None


def make_key() -> bytes:
    return AESGCM.generate_key(KEY_BYTES * 8)


def _key_id(key: bytes) -> str:
    """Tells keys apart and says nothing of them."""
    return hashlib.sha256(b"flowker key id" + key).hexdigest()[:8]


def _place(owner: str, path: Path) -> bytes:
    return jsontext.encode([owner, *path])


def _parts(sealed: Any) -> tuple[str, str]:
    if not isinstance(sealed, str) or not sealed.startswith(PREFIX):
        raise SecretUnreadable("a secret is stored in clear")
    key_id, _, text = sealed.removeprefix(PREFIX).partition(":")
    return key_id, text
