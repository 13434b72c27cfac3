"""Who answers a webhook, remembered: the store is asked once for each route, not for each delivery.

What is remembered may be out of date. That does no harm: accepting checks in its transaction that the workflow is
active in the same revision, and whoever is told that it moved asks here again after `forget`.
"""

from collections import OrderedDict

from flowker.storage import webhook_routes
from flowker.storage.database import Store
from flowker.storage.webhook_routes import FoundRoute

KEPT_MAX = 20_000
"""About 10 MB; a deployment with more webhooks asks the store for the ones that are used least."""


class Routes:
    """The webhook routes that were used last. Only what exists is remembered, so that probing fills nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, str], FoundRoute] = OrderedDict()

    async def find(self, method: str, path: str) -> FoundRoute | None:
        """The route of a normalized path, active or switched off."""
        key = (method, path)
        known = self._kept.get(key)
        if known is not None:
            self._kept.move_to_end(key)
            return known
        found = await self._store.read(webhook_routes.find, method, path)
        if found is not None and found.active:
            self._kept[key] = found
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return found

    async def has_moved(self, method: str, path: str) -> bool:
        """Whether the store tells another route than the one that is remembered, which is then forgotten."""
        known = self._kept.get((method, path))
        if known is None or known == await self._store.read(webhook_routes.find, method, path):
            return False
        self.forget(method, path)
        return True

    def forget(self, method: str, path: str) -> None:
        self._kept.pop((method, path), None)
