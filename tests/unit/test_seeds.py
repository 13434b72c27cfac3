"""Writing into a store what has no operation yet."""

from pathlib import Path

import pytest

from flowker.seeds import add_http_configuration
from flowker.storage import provider_configurations
from flowker.storage.database import Store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'flowker.db'}"


async def test_a_configuration_is_made_in_a_store_that_is_not_there_yet(url: str) -> None:
    """The demo may be the first thing that somebody runs."""
    id_ = await add_http_configuration(url, "Screening", "http://127.0.0.1:8080/screen")

    store = Store(url)
    await store.start()
    made = await store.read(provider_configurations.get, id_)
    await store.stop()
    assert made is not None
    assert (made.provider_id, made.status) == ("http", "active")
    assert made.config == {"base_url": "http://127.0.0.1:8080/screen"}


async def test_an_address_has_one_configuration(url: str) -> None:
    """Asked for again, it is the same; another address has another, with a name of its own."""
    first = await add_http_configuration(url, "Screening", "http://127.0.0.1:8080/")
    again = await add_http_configuration(url, "Screening", "http://127.0.0.1:8080/")
    other = await add_http_configuration(url, "Screening", "http://127.0.0.1:8081/")

    assert first == again
    assert first != other
