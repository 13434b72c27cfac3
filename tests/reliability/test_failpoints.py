"""A service that dies at each boundary of what it does, and the one that starts after it.

For each boundary a scenario runs until the process dies there; that it died there is part of the test. What is stored
then has to be whole, and the scenario, done again by a sender that knows its keys, has to come to its end.
"""

import os
import signal
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.reliability.failpoints import DIED
from tests.reliability.scenarios import SCENARIOS, SENT, FarSide, Scenario, Sender, pays
from tests.reliability.stores import Stores

if TYPE_CHECKING:
    from tests.reliability.conftest import ForkedService

DATABASES = ("sqlite", "postgresql")

ONLY = os.environ.get("FLOWKER_TEST_BOUNDARY", "")
"""Part of `scenario, boundary`, to look at some: `pays, before journal settled`."""

VISITS = [(scenario, boundary) for scenario in SCENARIOS for boundary in scenario.boundaries]

ON_A_SERVER = [
    (scenario, boundary)
    for scenario, boundary in VISITS
    if boundary.startswith("after commit of") or boundary == "before commit of insert executions"
]
"""What was not committed is gone, whatever came last: that is looked at closely where the store is a file."""


@pytest.mark.row("failpoints")
@pytest.mark.parametrize(("database", "visits"), [("sqlite", VISITS), ("postgresql", ON_A_SERVER)], ids=DATABASES)
def test_what_dies_at_a_boundary_is_succeeded_by_what_keeps_its_promises(
    stores: Stores,
    far_side: FarSide,
    record_property: Callable[[str, object], None],
    visits: Sequence[tuple[Scenario, str]],
) -> None:
    """Every boundary is visited, and each has a store of its own."""
    failures: list[str] = []
    visits = [(one, boundary) for one, boundary in visits if ONLY in f"{one.run.__name__}, {boundary}"]
    for scenario, boundary in visits:
        try:
            with stores.copy() as service:
                visit(scenario, boundary, service, stores, far_side)
        except (AssertionError, TimeoutError) as error:
            failures.append(f"{scenario.run.__name__}, {boundary}: {error!r}")

    record_property("boundaries", len(visits))
    assert not failures, "\n".join(failures)


def visit(scenario: Scenario, boundary: str, service: "ForkedService", stores: Stores, far_side: FarSide) -> None:
    sender = Sender(service)
    die(scenario, boundary, sender, service, far_side)
    assert stores.look_at(service).broken_promises() == []

    service.start()
    with sender.connected():
        scenario.run(sender)
    service.kill()

    stored = stores.look_at(service)
    assert stored.broken_promises() == []
    assert {row["id"]: row["status"] in {"completed", "failed"} for row in stored.executions} == dict.fromkeys(
        sender.acknowledged.values(), True
    )
    for execution_id in sender.acknowledged.values():
        assert far_side.calls_of(execution_id) == dict.fromkeys(scenario.calls, 1)


def die(scenario: Scenario, boundary: str, sender: Sender, service: "ForkedService", far_side: FarSide) -> None:
    """Run the scenario until the service is dead."""
    if boundary == SENT:
        service.start()
        far_side.strike = partial(service.send, signal.SIGKILL)
    else:
        service.start_to_die(boundary)
    with suppress(httpx.TransportError), sender.connected():
        scenario.run(sender)
    assert service.exit_code() == (-signal.SIGKILL if boundary == SENT else DIED)


@pytest.mark.parametrize("database", ["sqlite"])
@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM journal WHERE seq = 1",
        "DELETE FROM executions",
        "UPDATE executions SET status = 'running', completed_at = NULL",
        "UPDATE webhook_routes SET active = 0",
        "INSERT INTO journal SELECT execution_id, 99, 'decided', payload FROM journal WHERE seq = 1",
        "DROP TRIGGER audit_events_no_update; UPDATE audit_events SET event_id = 'x' WHERE sequence = 3",
    ],
)
def test_a_promise_that_is_broken_is_noticed(stores: Stores, damage: str) -> None:
    """What the tests here look for is found when it is there."""
    with stores.copy() as service:
        service.start()
        sender = Sender(service)
        with sender.connected():
            pays(sender)
        service.stop()
        whole = stores.look_at(service)
        with closing(sqlite3.connect(service.database_url.removeprefix("sqlite:///"))) as file, file:
            file.executescript(damage)
        broken = stores.look_at(service)

    assert whole.broken_promises() == []
    assert broken.broken_promises() != []
