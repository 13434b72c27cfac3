"""Who may call: the API keys of this deployment, compared without telling how far a guess was right."""

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest

from flowker.domain.errors import ApiKeyRefused

FINGERPRINT_CHARACTERS = 12
"""48 bits: enough to tell the keys of a deployment apart in the audit trail, useless for guessing one."""


class ApiKeys:
    """Several keys are valid at once, so that one can be replaced while clients still use it."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [sha256(key.encode()).digest() for key in keys]
        if not self._digests:
            raise ValueError("at least one API key is needed")

    def authenticate(self, key: bytes | None) -> str:
        """The fingerprint of a good key; raises `ApiKeyRefused` for any other, and for none."""
        if key is None:
            raise ApiKeyRefused
        # Digests have one length whatever the key's is, and every one of them is compared: the time taken says
        # neither how long a key is nor which one came close.
        given = sha256(key).digest()
        matches = [compare_digest(digest, given) for digest in self._digests]
        if True not in matches:
            raise ApiKeyRefused
        return given.hex()[:FINGERPRINT_CHARACTERS]
