"""Where calls go: what is called, through a configuration as it is stored when the call begins."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from flowker.domain.calls import EndpointName, ExecutorCall
from flowker.engine.shared_reads import SharedReads
from flowker.executors.calls import ProviderConfiguration
from flowker.storage import executor_configurations, provider_configurations
from flowker.storage.database import Connection, Store
from flowker.storage.executor_configurations import StoredExecutorConfiguration
from flowker.storage.provider_configurations import StoredProviderConfiguration
from flowker.storage.vault import Vault

OPENED_MAX = 64
"""Configurations that are kept opened. Each may have a megabyte."""

_Stored: TypeAlias = StoredProviderConfiguration | StoredExecutorConfiguration
_S = TypeVar("_S", StoredProviderConfiguration, StoredExecutorConfiguration)


@dataclass(frozen=True, slots=True)
class Way:
    """Where a call goes: the configuration in clear, and what of it is called."""

    configuration: ProviderConfiguration
    method: str
    path: str
    timeout_s: float | None


class Ways:
    """Finds the way of each call anew: a configuration that was disabled a moment ago stops it.

    What is stored is opened once for as long as it stays the very same. The secrets of the configurations that were
    called last are thus in memory in clear, where each call brings them anyway. Those of one that a call finds
    changed, disabled or gone are dropped.
    """

    def __init__(self, store: Store, vault: Vault) -> None:
        self._reads = SharedReads(store)
        self._vault = vault
        self._opened: OrderedDict[str, tuple[_Stored, ProviderConfiguration]] = OrderedDict()

    async def find(self, call: ExecutorCall) -> Way | None:
        """None when there is nothing active to go through.

        Raises `SecretUnreadable`, and what a store raises.
        """
        if call.endpoint is not None:
            return await self._find_endpoint(call, call.endpoint)
        id_ = call.provider_configuration_id or ""
        found = await self._find_active(provider_configurations.get, id_)
        if found is None:
            return None
        return Way(self._open(found, self._open_provider), call.method, call.path, call.timeout_s)

    async def _find_endpoint(self, call: ExecutorCall, name: EndpointName) -> Way | None:
        found = await self._find_active(executor_configurations.get, name.configuration_id)
        endpoint = None if found is None else found.endpoint(name.name)
        if found is None or endpoint is None:
            return None
        timeout_s = float(endpoint["timeout"]) if call.timeout_s is None else call.timeout_s
        return Way(self._open(found, self._open_executor), endpoint["method"], endpoint["path"], timeout_s)

    async def _find_active(self, get: Callable[[Connection, str], _S | None], id_: str) -> _S | None:
        found = await self._reads.read(get, id_)
        if found is not None and found.status == "active":
            return found
        self._opened.pop(id_, None)
        return None

    def _open(self, stored: _S, open_: Callable[[_S], ProviderConfiguration]) -> ProviderConfiguration:
        kept = self._opened.get(stored.id)
        # One read is answered to many: they have the same object.
        if kept is not None and (kept[0] is stored or kept[0] == stored):
            self._opened.move_to_end(stored.id)
            return kept[1]
        opened = open_(stored)
        self._opened[stored.id] = stored, opened
        self._opened.move_to_end(stored.id)
        if len(self._opened) > OPENED_MAX:
            self._opened.popitem(last=False)
        return opened

    def _open_provider(self, stored: StoredProviderConfiguration) -> ProviderConfiguration:
        return ProviderConfiguration(stored.id, stored.provider_id, self._vault.open(stored.config, stored.id))

    def _open_executor(self, stored: StoredExecutorConfiguration) -> ProviderConfiguration:
        auth = self._vault.open(stored.authentication, stored.id)
        return ProviderConfiguration(stored.id, "http", {"base_url": stored.base_url, "auth": auth})
