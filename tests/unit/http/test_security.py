import hashlib

import pytest

from flowker.domain.errors import ApiKeyRefused
from flowker.http.security import ApiKeys


def test_a_good_key_gives_its_fingerprint() -> None:
    """The audit trail names the key without holding it."""
    fingerprint = ApiKeys(["secret"]).authenticate(b"secret")

    assert fingerprint == hashlib.sha256(b"secret").hexdigest()[:12]


def test_every_one_of_several_keys_is_good() -> None:
    """While a key is replaced both the old and the new one are in use."""
    keys = ApiKeys(["old", "new"])

    assert keys.authenticate(b"old") != keys.authenticate(b"new")


@pytest.mark.parametrize("given", [None, b"", b"secre", b"secret ", b"SECRET", b"\xff\x00", "schlüssel".encode()])
def test_any_other_key_is_refused(given: bytes | None) -> None:
    """Missing, shorter, longer, and bytes that are no text at all: one refusal, no crash."""
    with pytest.raises(ApiKeyRefused):
        ApiKeys(["secret", "other"]).authenticate(given)


def test_a_key_need_not_be_ascii() -> None:
    """`hmac.compare_digest` refuses such text; its bytes are compared."""
    assert ApiKeys(["schlüssel"]).authenticate("schlüssel".encode())


def test_there_is_at_least_one_key() -> None:
    """No key at all would lock everybody out; to switch keys off is another decision, taken elsewhere."""
    with pytest.raises(ValueError, match="at least one"):
        ApiKeys([])
