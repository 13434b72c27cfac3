"""Who did it, for the audit trail."""

from dataclasses import replace
from typing import TYPE_CHECKING

from flowker.domain.audit import Actor
from flowker.operations.context import actor

if TYPE_CHECKING:
    from tests.unit.operations.conftest import Asked


def test_a_request_with_a_key_is_the_keys_doing(asked: "Asked") -> None:
    """Named by its fingerprint, never by itself."""
    assert actor(asked) == Actor("api_key", "0123456789ab", "192.0.2.1")


def test_a_request_without_authentication_is_somebodys_doing(asked: "Asked") -> None:
    """There is nobody to name; where it came from is known all the same."""
    assert actor(replace(asked, key_fingerprint=None)) == Actor("user", None, "192.0.2.1")
