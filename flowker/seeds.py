"""Writing straight into a store what has no operation yet."""

import uuid
from datetime import UTC, datetime

from flowker.domain.timestamps import format_timestamp
from flowker.storage import provider_configurations
from flowker.storage.database import Connection, Store, upgrade
from flowker.storage.provider_configurations import StoredProviderConfiguration


async def add_http_configuration(database_url: str, name: str, base_url: str) -> str:
    """The id of the configuration of provider `http` for this address; it is made when it is not there."""
    upgrade(database_url)
    store = Store(database_url)
    await store.start()
    try:
        return await store.write(_find_or_insert, name, base_url, format_timestamp(datetime.now(UTC)))
    finally:
        await store.stop()


def _find_or_insert(connection: Connection, name: str, base_url: str, now: str) -> str:
    id_ = str(uuid.uuid5(uuid.NAMESPACE_URL, base_url))
    if provider_configurations.get(connection, id_) is not None:
        return id_
    configuration = StoredProviderConfiguration(
        id=id_,
        name=f"{name} {id_[:8]}",
        description="",
        provider_id="http",
        config={"base_url": base_url},
        status="active",
        metadata={},
        revision=1,
        created_at=now,
        updated_at=now,
    )
    provider_configurations.insert(connection, configuration)
    return id_
