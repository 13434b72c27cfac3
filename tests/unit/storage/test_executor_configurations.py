"""Executor configurations in the store: names, endpoints, revisions, and changes that came too late."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, get_args

import pytest
from sqlalchemy import Connection

from flowker.domain.errors import (
    ChangedMeanwhile,
    ExecutorConfigurationNameTaken,
    ExecutorConfigurationNotFound,
    InvalidQuery,
)
from flowker.domain.executor_configurations import Status
from flowker.storage import executor_configurations, workflows
from flowker.storage.executor_configurations import STATUSES, StoredExecutorConfiguration

NOON = "2026-03-17T12:00:00.000000Z"
LATER = "2026-03-17T13:00:00.000000Z"
SCREEN = {"name": "screen", "path": "/checks", "method": "POST", "timeout": 30}
LOOK = {"name": "look", "path": "/checks/1", "method": "GET", "timeout": 5}


def stored(id_: str, **changes: Any) -> StoredExecutorConfiguration:
    configuration = StoredExecutorConfiguration(
        id=id_,
        name=f"Name of {id_}",
        description="",
        base_url="https://example.com",
        endpoints=[SCREEN, LOOK],
        authentication={"type": "none", "config": {}},
        status="configured",
        metadata={"fee": Decimal("1.50")},
        revision=1,
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(configuration, **changes)


@pytest.fixture
def inserted(connection: Connection) -> StoredExecutorConfiguration:
    configuration = stored("a")
    executor_configurations.insert(connection, configuration)
    return configuration


def test_the_statuses_are_those_of_the_domain() -> None:
    """A list is a merge of them: one that was missing would hide its rows."""
    assert get_args(Status) == STATUSES


def test_what_was_stored_is_read(connection: Connection, inserted: StoredExecutorConfiguration) -> None:
    """Every field, with numbers as exact as they were written."""
    found = executor_configurations.require(connection, "a")

    assert found == executor_configurations.get(connection, "a") == inserted
    assert str(found.metadata["fee"]) == "1.50"


def test_an_endpoint_is_found_by_its_name() -> None:
    """As it is written; one that is not there is none."""
    assert stored("a").endpoint("look") == LOOK
    assert stored("a").endpoint("Look") is None


def test_those_that_exist_are_found(connection: Connection) -> None:
    """By id; asking twice for one, or for nothing, is fine."""
    for id_ in ("a", "b", "c"):
        executor_configurations.insert(connection, stored(id_))

    found = executor_configurations.find(connection, ["c", "a", "a", "unknown"])

    assert found == {"a": stored("a"), "c": stored("c")}
    assert executor_configurations.find(connection, []) == {}


@pytest.mark.usefixtures("inserted")
def test_an_unknown_configuration_is_not_found(connection: Connection) -> None:
    """By whatever function; who may do without it gets nothing."""
    assert executor_configurations.get(connection, "unknown") is None
    with pytest.raises(ExecutorConfigurationNotFound):
        executor_configurations.require(connection, "unknown")
    with pytest.raises(ExecutorConfigurationNotFound):
        executor_configurations.replace(connection, stored("unknown"), 1)
    with pytest.raises(ExecutorConfigurationNotFound):
        executor_configurations.delete(connection, "unknown")


def test_a_name_is_taken_once(connection: Connection, inserted: StoredExecutorConfiguration) -> None:
    """Exactly as it is written, by a new configuration or by a renamed one."""
    other = stored("b", name=inserted.name.upper())
    executor_configurations.insert(connection, other)

    with pytest.raises(ExecutorConfigurationNameTaken):
        executor_configurations.insert(connection, stored("c", name=inserted.name))
    with pytest.raises(ExecutorConfigurationNameTaken):
        executor_configurations.replace(connection, replace(other, name=inserted.name, revision=2), 1)


def test_a_change_is_written_over_the_revision_that_was_read(
    connection: Connection, inserted: StoredExecutorConfiguration
) -> None:
    """Once; the second who read that revision is told, and changes nothing."""
    changed = replace(
        inserted,
        name="New",
        description="Größe",
        base_url="https://example.org",
        endpoints=[LOOK],
        authentication={"type": "bearer", "config": {"token": "sealed"}},
        status="tested",
        metadata={},
        revision=2,
        updated_at=LATER,
        last_tested_at=LATER,
        last_test={"overallStatus": "passed", "durationMs": 12},
    )

    executor_configurations.replace(connection, changed, 1)

    assert executor_configurations.get(connection, "a") == changed
    with pytest.raises(ChangedMeanwhile):
        executor_configurations.replace(connection, replace(inserted, revision=2), 1)
    assert executor_configurations.get(connection, "a") == changed


@pytest.mark.usefixtures("inserted")
def test_a_deleted_configuration_is_gone(connection: Connection) -> None:
    """Its name is free again."""
    executor_configurations.delete(connection, "a")

    assert executor_configurations.get(connection, "a") is None
    executor_configurations.insert(connection, stored("b", name=stored("a").name))


@pytest.fixture
def several(connection: Connection) -> list[StoredExecutorConfiguration]:
    """In every status, with ties in both times."""
    made = [
        stored(
            f"id-{number:02}",
            name=f"Name {number * 5 % 12:02}",
            status=STATUSES[number % len(STATUSES)],
            created_at=f"2026-03-17T{number // 3:02}:00:00.000000Z",
            updated_at=f"2026-03-17T{20 - number // 4:02}:00:00.000000Z",
        )
        for number in range(12)
    ]
    for configuration in made:
        executor_configurations.insert(connection, configuration)
    return made


ATTRIBUTES = {"createdAt": "created_at", "updatedAt": "updated_at", "name": "name"}


@pytest.mark.parametrize("limit", [1, 5, 12])
@pytest.mark.parametrize("status", [None, *STATUSES])
@pytest.mark.parametrize("sort_by", list(ATTRIBUTES))
@pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
def test_pages_have_every_row_once_and_in_order(
    connection: Connection,
    several: list[StoredExecutorConfiguration],
    limit: int,
    status: str | None,
    sort_by: str,
    sort_order: str,
) -> None:
    """Ties are ordered by id; pages of any size add up to the same list."""
    wanted = [one for one in several if status in {None, one.status}]
    wanted.sort(key=lambda one: (getattr(one, ATTRIBUTES[sort_by]), one.id), reverse=sort_order == "DESC")

    found: list[StoredExecutorConfiguration] = []
    cursor: str | None = None
    while cursor != "":
        page = executor_configurations.list_page(
            connection, status=status, limit=limit, cursor=cursor, sort_by=sort_by, sort_order=sort_order
        )
        found += page.items
        cursor = page.next_cursor

    assert found == wanted


@pytest.mark.usefixtures("several")
def test_a_cursor_belongs_to_its_list(connection: Connection) -> None:
    """Elsewhere, or with another filter, its place means nothing."""
    cursor = executor_configurations.list_page(connection, limit=1).next_cursor

    with pytest.raises(InvalidQuery):
        executor_configurations.list_page(connection, status="active", cursor=cursor)
    with pytest.raises(InvalidQuery):
        workflows.list_page(connection, cursor=cursor)


@pytest.mark.parametrize("status", [None, "active"])
@pytest.mark.parametrize("sort_by", list(ATTRIBUTES))
@pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
@pytest.mark.usefixtures("several")
def test_every_list_walks_along_an_index(
    connection: Connection, read_plans: Callable[..., list[str]], status: str | None, sort_by: str, sort_order: str
) -> None:
    """The first page and one behind a cursor."""
    question: dict[str, Any] = {"status": status, "sort_by": sort_by, "sort_order": sort_order}
    cursor = executor_configurations.list_page(connection, limit=1, **question).next_cursor

    plans = [
        plan
        for position in ("", cursor)
        for plan in read_plans(executor_configurations.list_page, cursor=position, **question)
    ]

    assert len(plans) == 2
    assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []


def test_every_other_query_searches_an_index(
    read_plans: Callable[..., list[str]], inserted: StoredExecutorConfiguration
) -> None:
    """Reads, changes and the removal."""
    plans = [
        *read_plans(executor_configurations.get, "a"),
        *read_plans(executor_configurations.find, ["a", "b"]),
        *read_plans(executor_configurations.replace, replace(inserted, revision=2), 1),
        *read_plans(executor_configurations.delete, "a"),
    ]

    assert len(plans) == 4
    assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []
