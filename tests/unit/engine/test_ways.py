"""Where calls go: as it is stored now, opened once for as long as it stays the same."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from flowker.domain.calls import EndpointName, ExecutorCall
from flowker.domain.retries import compile_retry
from flowker.engine.ways import OPENED_MAX, Way, Ways
from flowker.storage import executor_configurations, provider_configurations
from flowker.storage.provider_configurations import StoredProviderConfiguration
from flowker.storage.vault import SecretUnreadable, Vault, make_key
from tests.unit.engine.conftest import CONFIGURATION_ID

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench

NOW = "2026-03-17T14:35:00.000000Z"

TO_ENDPOINT = EndpointName(CONFIGURATION_ID, "screen")


def call_through(id_: str = CONFIGURATION_ID, endpoint: EndpointName | None = None, **more: Any) -> ExecutorCall:
    call = ExecutorCall("http.request", id_, "PUT", "/pay", None, compile_retry({}), None, {}, endpoint=endpoint)
    return replace(call, **more)


@pytest.fixture
def ways(bench: "Bench") -> Ways:
    return Ways(bench.store, bench.vault)


async def configure(bench: "Bench", id_: str = CONFIGURATION_ID) -> StoredProviderConfiguration:
    """A configuration with a secret."""
    sealed = bench.vault.seal({"base_url": "https://one.example", "headers": {"X-Token": "canary"}}, id_)
    stored = StoredProviderConfiguration(id_, id_, "", "http", sealed, "active", {}, 1, NOW, NOW)
    await bench.store.write(provider_configurations.insert, stored)
    return stored


async def change(bench: "Bench", stored: StoredProviderConfiguration, **changes: Any) -> StoredProviderConfiguration:
    """Store a configuration with these changes."""
    changed = replace(stored, **changes, revision=stored.revision + 1)
    await bench.store.write(provider_configurations.replace, changed, stored.revision)
    return changed


async def found(ways: Ways, call: ExecutorCall) -> Way:
    way = await ways.find(call)
    assert way is not None
    return way


class TestAsStoredNow:
    async def test_a_configuration_that_was_disabled_stops_the_next_call(self, bench: "Bench", ways: Ways) -> None:
        """And one that is active again lets it through."""
        stored = await configure(bench)

        before = await ways.find(call_through())
        stored = await change(bench, stored, status="disabled")
        disabled = await ways.find(call_through())
        await change(bench, stored, status="active")

        assert before is not None
        assert disabled is None
        assert await ways.find(call_through()) == before

    async def test_a_configuration_that_is_gone_stops_the_next_call(self, bench: "Bench", ways: Ways) -> None:
        """Like one that never was."""
        await configure(bench)
        before = await ways.find(call_through())
        await bench.store.write(provider_configurations.delete, CONFIGURATION_ID)

        assert before is not None
        assert await ways.find(call_through()) is None
        assert await ways.find(call_through("22222222-0000-7000-8000-000000000002")) is None

    async def test_a_change_is_seen_by_the_next_call(self, bench: "Bench", ways: Ways) -> None:
        """The secrets too, which are opened again."""
        stored = await configure(bench)
        await ways.find(call_through())
        other = {"base_url": "https://two.example", "headers": {"X-Token": "canary two"}}
        await change(bench, stored, config=bench.vault.seal(other, CONFIGURATION_ID))

        way = await found(ways, call_through())

        assert way.configuration.config == other

    async def test_an_endpoint_is_found_as_it_is_now(self, bench: "Bench", ways: Ways) -> None:
        """Its method and path are its own; the node may say another time."""
        await bench.configure_endpoints("https://one.example")
        stored = await bench.store.read(executor_configurations.require, CONFIGURATION_ID)

        before = await found(ways, call_through(endpoint=TO_ENDPOINT))
        endpoint = {"name": "screen", "path": "/v2/screen", "method": "POST", "timeout": 5}
        changed = replace(stored, endpoints=[endpoint], revision=2)
        await bench.store.write(executor_configurations.replace, changed, 1)
        after = await found(ways, call_through(endpoint=TO_ENDPOINT, timeout_s=7.0))
        await bench.store.write(executor_configurations.replace, replace(changed, endpoints=[], revision=3), 2)

        assert (before.method, before.path, before.timeout_s) == ("PUT", "/v1/screen", 30.0)
        assert before.configuration.config["auth"]["config"]["key"] == "canary"
        assert (after.method, after.path, after.timeout_s) == ("POST", "/v2/screen", 7.0)
        assert await ways.find(call_through(endpoint=TO_ENDPOINT)) is None


class TestOpenedOnce:
    async def test_what_stays_the_same_is_opened_once(self, bench: "Bench", ways: Ways) -> None:
        """However often it is read: each call gets the same clear configuration, with what its node says."""
        await configure(bench)

        first = await found(ways, call_through())
        second = await found(ways, call_through(path="/other", timeout_s=3.0))

        assert second.configuration is first.configuration
        assert (second.path, second.timeout_s) == ("/other", 3.0)

    async def test_what_is_disabled_is_kept_in_clear_no_longer(self, bench: "Bench", ways: Ways) -> None:
        """It is opened again when it is active again."""
        stored = await configure(bench)
        before = await found(ways, call_through())
        disabled = await change(bench, stored, status="disabled")
        await ways.find(call_through())
        # The very row that was opened before.
        await bench.store.write(provider_configurations.replace, stored, disabled.revision)

        after = await found(ways, call_through())

        assert after == before
        assert after.configuration is not before.configuration

    async def test_the_ones_called_last_are_kept(self, bench: "Bench", ways: Ways) -> None:
        """The others are opened again."""
        ids = [f"{number:08d}-0000-7000-8000-000000000000" for number in range(OPENED_MAX + 1)]
        for id_ in ids:
            await configure(bench, id_)
        kept, dropped = [await found(ways, call_through(id_)) for id_ in ids[:2]]
        for id_ in ids[2:]:
            await ways.find(call_through(ids[0]))
            await ways.find(call_through(id_))

        assert (await found(ways, call_through(ids[0]))).configuration is kept.configuration
        assert (await found(ways, call_through(ids[1]))).configuration is not dropped.configuration

    async def test_what_cannot_be_opened_is_tried_again(self, bench: "Bench") -> None:
        """Each call hears so."""
        await configure(bench)
        ways = Ways(bench.store, Vault(lambda: [make_key()]))

        for _ in range(2):
            with pytest.raises(SecretUnreadable):
                await ways.find(call_through())
