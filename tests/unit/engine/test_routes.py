"""Routes: the store is asked once for each webhook that exists, and again after `forget`."""

from typing import TYPE_CHECKING

import pytest

from flowker.domain.errors import InternalError
from flowker.engine import routes
from flowker.engine.routes import Routes
from flowker.storage import webhook_routes
from flowker.storage.webhook_routes import FoundRoute, Route

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench, Draw, MoodyStore


@pytest.fixture
def known(store: "MoodyStore") -> Routes:
    return Routes(store)


@pytest.fixture
async def owner(bench: "Bench", draw: "Draw") -> str:
    """A workflow that answers POST on a, b and c."""
    workflow_id = await bench.save([draw.trigger], [])
    claimed = [Route("POST", path, "t") for path in ("a", "b", "c")]
    await bench.store.write(webhook_routes.claim, workflow_id, 1, claimed)
    return workflow_id


async def test_a_route_is_asked_for_once(store: "MoodyStore", known: Routes, owner: str) -> None:
    """Later deliveries need no read."""
    first = await known.find("POST", "a")
    store.refuse(webhook_routes.find)

    second = await known.find("POST", "a")

    assert first == second == FoundRoute(owner, 1, "t", active=True)


async def test_a_route_that_was_forgotten_is_asked_for_again(store: "MoodyStore", known: Routes, owner: str) -> None:
    """Forgetting what is not known does no harm."""
    await known.find("POST", "a")
    await store.write(webhook_routes.remove, owner)

    known.forget("POST", "a")
    known.forget("POST", "nothing")

    assert await known.find("POST", "a") is None


async def test_a_route_that_is_switched_off_is_not_remembered(store: "MoodyStore", known: Routes, owner: str) -> None:
    """It may be switched on at any time, and nobody would forget it here."""
    await store.write(webhook_routes.deactivate, owner)
    found = await known.find("POST", "a")
    await store.write(webhook_routes.claim, owner, 2, [Route("POST", "a", "t")])

    assert found == FoundRoute(owner, 1, "t", active=False)
    assert await known.find("POST", "a") == FoundRoute(owner, 2, "t", active=True)


@pytest.mark.usefixtures("owner")
async def test_what_does_not_exist_is_not_remembered(store: "MoodyStore", known: Routes) -> None:
    """Probing for paths fills nothing: the store is asked each time."""
    assert await known.find("POST", "z") is None
    store.refuse(webhook_routes.find)

    with pytest.raises(InternalError):
        await known.find("POST", "z")


@pytest.mark.usefixtures("owner")
async def test_a_route_belongs_to_its_method(known: Routes) -> None:
    """The same path with another method is another webhook."""
    assert await known.find("POST", "a") is not None
    assert await known.find("GET", "a") is None


@pytest.mark.usefixtures("owner")
async def test_the_routes_that_were_used_last_are_kept(
    store: "MoodyStore", known: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for two, the one that was not asked for longest makes room for the third."""
    monkeypatch.setattr(routes, "KEPT_MAX", 2)
    for path in ("a", "b", "a", "c"):
        await known.find("POST", path)
    store.refuse(webhook_routes.find)

    await known.find("POST", "a")
    await known.find("POST", "c")
    with pytest.raises(InternalError):
        await known.find("POST", "b")
