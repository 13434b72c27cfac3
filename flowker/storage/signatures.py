"""Signatures with Ed25519, by keys that follow from those that seal secrets: there is no second key to keep.

A signature can be checked by whoever has the public key, which says nothing of the key that it follows from.
"""

import base64
import binascii
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_PURPOSE: Final = b"flowker audit checkpoint 1"
"""Keeps this key apart from every other that may once follow from the same one (RFC 5869, 3.2)."""


def derive(key: bytes) -> Ed25519PrivateKey:
    seed = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(key)
    return Ed25519PrivateKey.from_private_bytes(seed)


def public_key(key: Ed25519PrivateKey) -> str:
    """In base64, as is everything here."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(key: Ed25519PrivateKey, text: str) -> str:
    return base64.b64encode(key.sign(text.encode())).decode()


def is_signature(public: str, text: str, signature: str) -> bool:
    """Whether whoever has the private key of this public one signed the text."""
    try:
        verifying = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        verifying.verify(base64.b64decode(signature, validate=True), text.encode())
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
