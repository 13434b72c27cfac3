"""Webhook routes: one active owner, and a memory of those that were switched off."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from flowker.domain.errors import WebhookTaken
from flowker.storage import webhook_routes, workflows
from flowker.storage.webhook_routes import FoundRoute, Route
from flowker.storage.workflows import StoredWorkflow

ORDERS = Route("POST", "orders/paid", "hook")


@pytest.fixture(autouse=True)
def _workflows(connection: Connection, make_workflow: Callable[..., StoredWorkflow]) -> None:
    for id_ in ("a", "b"):
        workflows.insert(connection, make_workflow(id=id_))


def find(connection: Connection, route: Route = ORDERS) -> FoundRoute | None:
    return webhook_routes.find(connection, route.method, route.path)


def test_a_claimed_route_finds_its_workflow(connection: Connection) -> None:
    """By method and path, to the letter."""
    webhook_routes.claim(connection, "a", 3, [ORDERS, Route("GET", "orders/paid", "other")])

    assert find(connection) == FoundRoute("a", 3, "hook", active=True)
    assert find(connection, Route("GET", "orders/paid", "")) == FoundRoute("a", 3, "other", active=True)
    assert find(connection, Route("POST", "Orders/paid", "")) is None
    assert find(connection, Route("PUT", "orders/paid", "")) is None


def test_an_active_route_is_taken(connection: Connection) -> None:
    """By another workflow, or by another node of the same."""
    webhook_routes.claim(connection, "a", 1, [ORDERS])

    with pytest.raises(WebhookTaken):
        webhook_routes.claim(connection, "b", 1, [ORDERS])
    with pytest.raises(WebhookTaken):
        webhook_routes.claim(connection, "b", 1, [Route("PUT", "x", "n1"), Route("PUT", "x", "n2")])


def test_what_another_workflow_owns_is_taken(connection: Connection) -> None:
    """Not what it owns itself, and not what its owner was switched off for."""
    webhook_routes.claim(connection, "a", 1, [ORDERS])
    webhooks = [("POST", "orders/paid"), ("PUT", "orders/paid"), ("POST", "orders")]

    taken = webhook_routes.find_taken(connection, "b", webhooks)
    own = webhook_routes.find_taken(connection, "a", webhooks)
    webhook_routes.deactivate(connection, "a")

    assert (taken, own) == ({("POST", "orders/paid")}, set())
    assert webhook_routes.find_taken(connection, "b", webhooks) == set()


def test_a_claim_replaces_the_workflows_own_routes(connection: Connection) -> None:
    """A new revision may leave a route and take another."""
    webhook_routes.claim(connection, "a", 1, [ORDERS])

    webhook_routes.claim(connection, "a", 2, [Route("POST", "new", "hook")])

    assert find(connection) is None
    assert find(connection, Route("POST", "new", "")) == FoundRoute("a", 2, "hook", active=True)


def test_a_claim_of_nothing_frees_everything(connection: Connection) -> None:
    """The revision has no webhook any more."""
    webhook_routes.claim(connection, "a", 1, [ORDERS])

    webhook_routes.claim(connection, "a", 2, [])

    assert find(connection) is None


def test_a_deactivated_route_is_remembered_and_free(connection: Connection) -> None:
    """Its sender can be told that the workflow is off; another workflow can take it and goes first."""
    webhook_routes.claim(connection, "a", 1, [ORDERS])
    webhook_routes.deactivate(connection, "a")
    remembered = find(connection)

    webhook_routes.claim(connection, "b", 5, [ORDERS])

    assert remembered == FoundRoute("a", 1, "hook", active=False)
    assert find(connection) == FoundRoute("b", 5, "hook", active=True)


@pytest.mark.parametrize("last", ["a", "b"])
def test_of_several_inactive_owners_the_last_one_is_remembered(connection: Connection, last: str) -> None:
    """Whatever the order of their ids or claims."""
    first = "b" if last == "a" else "a"
    for id_, at in ((first, "13:00"), (last, "14:00")):
        webhook_routes.claim(connection, id_, 1, [ORDERS])
        webhook_routes.deactivate(connection, id_)
        timestamp = f"2026-03-17T{at}:00.000000Z"
        workflows.set_status(connection, id_, expected=("draft", 1), status="inactive", updated_at=timestamp)

    assert find(connection) == FoundRoute(last, 1, "hook", active=False)


def test_a_removed_route_is_forgotten(connection: Connection) -> None:
    """As after a move to draft."""
    webhook_routes.claim(connection, "a", 1, [ORDERS])

    webhook_routes.remove(connection, "a")

    assert find(connection) is None


def test_a_route_needs_its_workflow(connection: Connection) -> None:
    """A workflow cannot go and leave routes behind."""
    webhook_routes.claim(connection, "a", 1, [ORDERS])

    with pytest.raises(IntegrityError):
        connection.exec_driver_sql("DELETE FROM workflows WHERE id = 'a'")


def test_every_query_searches_an_index(connection: Connection, read_plans: Callable[..., list[str]]) -> None:
    """Ten thousand webhooks are found like ten."""
    assert find(connection) is None

    plans = [
        *read_plans(webhook_routes.find, "POST", "orders"),
        *read_plans(webhook_routes.find_taken, "a", [("POST", "orders")]),
        *read_plans(webhook_routes.deactivate, "a"),
        *read_plans(webhook_routes.remove, "a"),
    ]

    assert len(plans) == 4
    assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []
