"""Provider configurations in the store."""

from decimal import Decimal

from sqlalchemy import Connection

from flowker.storage import provider_configurations
from flowker.storage.provider_configurations import StoredProviderConfiguration

NOON = "2026-03-17T12:00:00.000000Z"


def stored(id_: str) -> StoredProviderConfiguration:
    return StoredProviderConfiguration(
        id=id_,
        name=f"Name of {id_}",
        description="",
        provider_id="http",
        config={"base_url": "https://example.com", "timeout_seconds": Decimal("1.50")},
        status="active",
        metadata={"team": "payments"},
        revision=1,
        created_at=NOON,
        updated_at=NOON,
    )


def test_what_was_stored_is_read(connection: Connection) -> None:
    """Every field."""
    provider_configurations.insert(connection, stored("a"))

    assert provider_configurations.get(connection, "a") == stored("a")
    assert provider_configurations.get(connection, "b") is None


def test_those_that_exist_are_found(connection: Connection) -> None:
    """By id; asking twice for one, or for nothing, is fine."""
    for id_ in ("a", "b", "c"):
        provider_configurations.insert(connection, stored(id_))

    found = provider_configurations.find(connection, ["c", "a", "a", "unknown"])

    assert found == {"a": stored("a"), "c": stored("c")}
    assert provider_configurations.find(connection, []) == {}
