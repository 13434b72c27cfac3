"""Which active workflows use which configuration."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from flowker.domain.errors import ConfigurationInUse
from flowker.storage import configuration_references, workflows
from flowker.storage.workflows import StoredWorkflow


@pytest.fixture
def make(connection: Connection, make_workflow: Callable[..., StoredWorkflow]) -> Callable[[], StoredWorkflow]:
    def made() -> StoredWorkflow:
        workflow = make_workflow(status="active")
        workflows.insert(connection, workflow)
        return workflow

    return made


def test_a_configuration_in_use_names_its_workflows(
    connection: Connection, make: Callable[[], StoredWorkflow]
) -> None:
    """By id and name, those that use it and no others."""
    first, second, other = make(), make(), make()
    configuration_references.claim(connection, first.id, ["a", "b", "a"])
    configuration_references.claim(connection, second.id, ["a"])
    configuration_references.claim(connection, other.id, ["b"])

    with pytest.raises(ConfigurationInUse) as refused:
        configuration_references.require_unused(connection, "a")

    assert refused.value.fields == {
        f"workflows.{first.id}": f"is active and uses it: {first.name}",
        f"workflows.{second.id}": f"is active and uses it: {second.name}",
    }


def test_what_is_released_or_claimed_anew_is_free(connection: Connection, make: Callable[[], StoredWorkflow]) -> None:
    """A new claim is in place of the old one."""
    first, second = make(), make()
    configuration_references.claim(connection, first.id, ["a"])
    configuration_references.claim(connection, second.id, ["a"])

    configuration_references.release(connection, first.id)
    configuration_references.claim(connection, second.id, ["b"])
    configuration_references.claim(connection, first.id, [])

    configuration_references.require_unused(connection, "a")


def test_a_refusal_is_bounded(connection: Connection, make: Callable[[], StoredWorkflow]) -> None:
    """However many workflows there are."""
    for _ in range(configuration_references.NAMED_MAX + 5):
        configuration_references.claim(connection, make().id, ["a"])

    with pytest.raises(ConfigurationInUse) as refused:
        configuration_references.require_unused(connection, "a")

    assert len(refused.value.fields) == configuration_references.NAMED_MAX


def test_no_statement_scans(read_plans: Callable[..., list[str]]) -> None:
    """Each goes by an index."""
    plans = [
        *read_plans(configuration_references.release, "w"),
        *read_plans(configuration_references.require_unused, "c"),
    ]

    assert len(plans) == 2
    assert not any("SCAN" in plan for plan in plans), plans
