"""Provider configurations in the store: names, revisions, tests, and changes that somebody else was faster with."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, get_args

import pytest
from sqlalchemy import Connection

from flowker.domain.errors import (
    ChangedMeanwhile,
    InvalidQuery,
    ProviderConfigurationNameTaken,
    ProviderConfigurationNotFound,
)
from flowker.domain.provider_configurations import Status
from flowker.storage import executions, provider_configurations
from flowker.storage.provider_configurations import STATUSES, StoredProviderConfiguration

NOON = "2026-03-17T12:00:00.000000Z"
LATER = "2026-03-17T13:00:00.000000Z"
RESULT = {"overallStatus": "passed", "durationMs": 12}


def stored(id_: str, **changes: Any) -> StoredProviderConfiguration:
    configuration = StoredProviderConfiguration(
        id=id_,
        name=f"Name of {id_}",
        description="",
        provider_id="http",
        config={"base_url": "https://example.com", "timeout_seconds": Decimal("1.50")},
        status="active",
        metadata={"team": "payments"},
        revision=1,
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(configuration, **changes)


@pytest.fixture
def inserted(connection: Connection) -> StoredProviderConfiguration:
    configuration = stored("a")
    provider_configurations.insert(connection, configuration)
    return configuration


def test_the_statuses_are_those_of_the_domain() -> None:
    """A list is a merge of them: one that was missing would hide its rows."""
    assert get_args(Status) == STATUSES


def test_what_was_stored_is_read(connection: Connection, inserted: StoredProviderConfiguration) -> None:
    """Every field, with numbers as exact as they were written."""
    found = provider_configurations.require(connection, "a")

    assert found == provider_configurations.get(connection, "a") == inserted
    assert str(found.config["timeout_seconds"]) == "1.50"


def test_those_that_exist_are_found(connection: Connection) -> None:
    """By id; asking twice for one, or for nothing, is fine."""
    for id_ in ("a", "b", "c"):
        provider_configurations.insert(connection, stored(id_))

    found = provider_configurations.find(connection, ["c", "a", "a", "unknown"])

    assert found == {"a": stored("a"), "c": stored("c")}
    assert provider_configurations.find(connection, []) == {}


@pytest.mark.usefixtures("inserted")
def test_an_unknown_configuration_is_not_found(connection: Connection) -> None:
    """By whatever function; who may do without it gets nothing."""
    assert provider_configurations.get(connection, "unknown") is None
    with pytest.raises(ProviderConfigurationNotFound):
        provider_configurations.require(connection, "unknown")
    with pytest.raises(ProviderConfigurationNotFound):
        provider_configurations.replace(connection, stored("unknown"), 1)
    with pytest.raises(ProviderConfigurationNotFound):
        provider_configurations.delete(connection, "unknown")


def test_a_name_is_taken_once(connection: Connection, inserted: StoredProviderConfiguration) -> None:
    """Exactly as it is written, by a new configuration or by a renamed one."""
    other = stored("b", name=inserted.name.upper())
    provider_configurations.insert(connection, other)

    with pytest.raises(ProviderConfigurationNameTaken):
        provider_configurations.insert(connection, stored("c", name=inserted.name))
    with pytest.raises(ProviderConfigurationNameTaken):
        provider_configurations.replace(connection, replace(other, name=inserted.name, revision=2), 1)


def test_a_change_is_written_over_the_revision_that_was_read(
    connection: Connection, inserted: StoredProviderConfiguration
) -> None:
    """Once; the second who read that revision is told, and changes nothing."""
    changed = replace(
        inserted,
        name="New",
        description="Größe",
        config={"base_url": "https://example.org"},
        status="disabled",
        metadata={},
        revision=2,
        updated_at=LATER,
    )

    provider_configurations.replace(connection, changed, 1)

    assert provider_configurations.get(connection, "a") == changed
    with pytest.raises(ChangedMeanwhile):
        provider_configurations.replace(connection, replace(inserted, revision=2), 1)
    assert provider_configurations.get(connection, "a") == changed


@pytest.mark.usefixtures("inserted")
def test_a_deleted_configuration_is_gone(connection: Connection) -> None:
    """Its name is free again."""
    provider_configurations.delete(connection, "a")

    assert provider_configurations.get(connection, "a") is None
    provider_configurations.insert(connection, stored("b", name=stored("a").name))


def test_a_test_is_kept_and_is_no_change(connection: Connection, inserted: StoredProviderConfiguration) -> None:
    """Neither revision nor time: what clients edit is as it was. Later changes keep what is known of tests."""
    provider_configurations.record_test(connection, "a", 1, LATER, RESULT)

    tested = replace(inserted, last_tested_at=LATER, last_test=RESULT)
    assert provider_configurations.get(connection, "a") == tested
    provider_configurations.replace(connection, replace(inserted, revision=2), 1)
    assert provider_configurations.get(connection, "a") == replace(tested, revision=2)


def test_a_test_of_another_revision_is_not_kept(
    connection: Connection, inserted: StoredProviderConfiguration
) -> None:
    """It says nothing of what is there now; nor does a test of what is gone."""
    provider_configurations.record_test(connection, "a", 2, LATER, RESULT)
    provider_configurations.record_test(connection, "unknown", 1, LATER, RESULT)

    assert provider_configurations.get(connection, "a") == inserted


@pytest.fixture
def several(connection: Connection) -> list[StoredProviderConfiguration]:
    """Of two providers, in both statuses, with ties in both times."""
    made = [
        stored(
            f"id-{number}",
            name=f"Name {number * 5 % 12:02}",
            provider_id=("http", "tracer")[number % 2],
            status=STATUSES[number % 3 == 0],
            created_at=f"2026-03-17T{number // 3:02}:00:00.000000Z",
            updated_at=f"2026-03-17T{20 - number // 4:02}:00:00.000000Z",
        )
        for number in range(12)
    ]
    for configuration in made:
        provider_configurations.insert(connection, configuration)
    return made


ATTRIBUTES = {"createdAt": "created_at", "updatedAt": "updated_at", "name": "name"}


@pytest.mark.parametrize("limit", [1, 5, 12])
@pytest.mark.parametrize("provider_id", [None, "http", "s3"])
@pytest.mark.parametrize("status", [None, "active", "disabled"])
@pytest.mark.parametrize("sort_by", list(ATTRIBUTES))
@pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
def test_pages_have_every_row_once_and_in_order(
    connection: Connection,
    several: list[StoredProviderConfiguration],
    limit: int,
    provider_id: str | None,
    status: str | None,
    sort_by: str,
    sort_order: str,
) -> None:
    """Ties are ordered by id; pages of any size add up to the same list."""
    wanted = [one for one in several if provider_id in {None, one.provider_id} and status in {None, one.status}]
    wanted.sort(key=lambda one: (getattr(one, ATTRIBUTES[sort_by]), one.id), reverse=sort_order == "DESC")

    found: list[StoredProviderConfiguration] = []
    cursor: str | None = None
    while cursor != "":
        page = provider_configurations.list_page(
            connection,
            status=status,
            provider_id=provider_id,
            limit=limit,
            cursor=cursor,
            sort_by=sort_by,
            sort_order=sort_order,
        )
        found += page.items
        cursor = page.next_cursor

    assert found == wanted


@pytest.mark.usefixtures("several")
def test_a_cursor_belongs_to_its_provider(connection: Connection) -> None:
    """With another provider, or with none, its place means nothing."""
    cursor = provider_configurations.list_page(connection, provider_id="http", limit=1).next_cursor

    for provider_id in (None, "tracer"):
        with pytest.raises(InvalidQuery):
            provider_configurations.list_page(connection, provider_id=provider_id, cursor=cursor)
    with pytest.raises(InvalidQuery):
        executions.list_page(connection, cursor=cursor)


@pytest.mark.parametrize("provider_id", [None, "http"])
@pytest.mark.parametrize("status", [None, "active"])
@pytest.mark.parametrize("sort_by", list(ATTRIBUTES))
@pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
@pytest.mark.usefixtures("several")
def test_every_list_walks_along_the_index_of_its_filters(
    connection: Connection,
    read_plans: Callable[..., list[str]],
    provider_id: str | None,
    status: str | None,
    sort_by: str,
    sort_order: str,
) -> None:
    """The first page and one behind a cursor: a provider with few rows is not looked for among all others."""
    question: dict[str, Any] = {
        "status": status,
        "provider_id": provider_id,
        "sort_by": sort_by,
        "sort_order": sort_order,
    }
    cursor = provider_configurations.list_page(connection, limit=1, **question).next_cursor

    plans = [
        plan
        for position in ("", cursor)
        for plan in read_plans(provider_configurations.list_page, cursor=position, **question)
    ]

    assert len(plans) == 2
    assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []
    assert all(("_by_provider_and_" in plan) == (provider_id is not None) for plan in plans)


def test_every_other_query_searches_an_index(
    read_plans: Callable[..., list[str]], inserted: StoredProviderConfiguration
) -> None:
    """Reads, changes, tests and the removal."""
    plans = [
        *read_plans(provider_configurations.get, "a"),
        *read_plans(provider_configurations.find, ["a", "b"]),
        *read_plans(provider_configurations.replace, replace(inserted, revision=2), 1),
        *read_plans(provider_configurations.record_test, "a", 2, LATER, RESULT),
        *read_plans(provider_configurations.delete, "a"),
    ]

    assert len(plans) == 5
    assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []


class TestActive:
    def test_the_first_by_name_are_told(self, connection: Connection) -> None:
        """Those that are active, of one provider or of all."""
        for id_, name, provider_id, status in (
            ("1", "D", "http", "active"),
            ("2", "B", "tracer", "active"),
            ("3", "A", "http", "disabled"),
            ("4", "C", "http", "active"),
        ):
            provider_configurations.insert(connection, stored(id_, name=name, provider_id=provider_id, status=status))

        assert provider_configurations.list_active(connection, None, 9) == [("2", "B"), ("4", "C"), ("1", "D")]
        assert provider_configurations.list_active(connection, None, 2) == [("2", "B"), ("4", "C")]
        assert provider_configurations.list_active(connection, "http", 9) == [("4", "C"), ("1", "D")]
        assert provider_configurations.list_active(connection, "midaz", 9) == []

    @pytest.mark.parametrize("provider_id", [None, "http"])
    def test_they_are_read_in_the_order_of_an_index(
        self, read_plans: Callable[..., list[str]], provider_id: str | None
    ) -> None:
        """Whatever number there is, no more are looked at than are told."""
        plans = read_plans(provider_configurations.list_active, provider_id, 10)

        assert plans
        assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []
