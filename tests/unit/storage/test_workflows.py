"""Workflows in the store: names, revisions, and changes that somebody else was faster with."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy import Connection

from flowker.domain.errors import ChangedMeanwhile, WorkflowNameTaken, WorkflowNotFound
from flowker.storage import executions, webhook_routes, workflows
from flowker.storage.executions import Acceptance, Progress
from flowker.storage.webhook_routes import Route
from flowker.storage.workflows import StoredWorkflow

LATER = "2026-03-17T13:00:00.000000Z"

MakeWorkflow = Callable[..., StoredWorkflow]


@pytest.fixture
def draft(connection: Connection, make_workflow: MakeWorkflow) -> StoredWorkflow:
    workflow = make_workflow()
    workflows.insert(connection, workflow)
    return workflow


def test_what_was_stored_is_read(connection: Connection, make_workflow: MakeWorkflow) -> None:
    """Every field, with numbers as exact as they were written."""
    workflow = make_workflow(
        description="Größe",
        nodes=[{"id": "a", "position": {"x": Decimal("1.50"), "y": 12345678901234567890123}}],
        edges=[{"id": "e"}],
        metadata={"price": Decimal("100.10")},
    )

    workflows.insert(connection, workflow)

    assert workflows.get(connection, workflow.id) == workflow
    assert str(workflows.get(connection, workflow.id).metadata["price"]) == "100.10"


def test_a_name_is_taken_once(connection: Connection, draft: StoredWorkflow, make_workflow: MakeWorkflow) -> None:
    """Exactly as it is written."""
    workflows.insert(connection, make_workflow(name=draft.name.upper()))

    with pytest.raises(WorkflowNameTaken):
        workflows.insert(connection, make_workflow(name=draft.name))


def test_an_unknown_workflow_is_not_found(connection: Connection, draft: StoredWorkflow) -> None:
    """By whatever function."""
    with pytest.raises(WorkflowNotFound):
        workflows.get(connection, "unknown")
    with pytest.raises(WorkflowNotFound):
        workflows.get_revision(connection, draft.id, 2)
    with pytest.raises(WorkflowNotFound):
        workflows.replace(connection, replace(draft, id="unknown"), 1)
    with pytest.raises(WorkflowNotFound):
        workflows.set_status(connection, "unknown", expected=("draft", 1), status="active", updated_at=LATER)
    with pytest.raises(WorkflowNotFound):
        workflows.delete(connection, "unknown")


def test_a_replacement_makes_a_revision(connection: Connection, draft: StoredWorkflow) -> None:
    """The former definition stays readable."""
    changed = replace(draft, name="New", nodes=[{"id": "n"}], metadata={"a": 1}, revision=2, updated_at=LATER)

    workflows.replace(connection, changed, 1)

    assert workflows.get(connection, draft.id) == changed
    assert workflows.get_revision(connection, draft.id, 1) == {"nodes": [], "edges": [], "metadata": {}}
    assert workflows.get_revision(connection, draft.id, 2)["nodes"] == [{"id": "n"}]


@pytest.mark.parametrize(("revision", "status"), [(2, "draft"), (1, "active")])
def test_a_replacement_of_what_moved_is_refused(
    connection: Connection, draft: StoredWorkflow, revision: int, status: str
) -> None:
    """Another revision or another status than the caller saw."""
    with pytest.raises(ChangedMeanwhile):
        workflows.replace(connection, replace(draft, status=status, revision=3), revision)

    assert workflows.get(connection, draft.id) == draft


def test_a_replacement_cannot_take_a_name(
    connection: Connection, draft: StoredWorkflow, make_workflow: MakeWorkflow
) -> None:
    """As with a new workflow."""
    other = make_workflow()
    workflows.insert(connection, other)

    with pytest.raises(WorkflowNameTaken):
        workflows.replace(connection, replace(draft, name=other.name, revision=2), 1)


def test_a_status_changes_from_the_expected_one(connection: Connection, draft: StoredWorkflow) -> None:
    """Once; the second who expects it is too late."""
    workflows.set_status(connection, draft.id, expected=("draft", 1), status="active", updated_at=LATER)

    assert workflows.get(connection, draft.id) == replace(draft, status="active", updated_at=LATER)
    with pytest.raises(ChangedMeanwhile):
        workflows.set_status(connection, draft.id, expected=("draft", 1), status="active", updated_at=LATER)


def test_a_deleted_workflow_is_gone_with_its_routes_and_revisions(
    connection: Connection, draft: StoredWorkflow
) -> None:
    """Nothing was executed, so nothing needs the definitions."""
    webhook_routes.claim(connection, draft.id, 1, [Route("POST", "orders", "hook")])

    workflows.delete(connection, draft.id)

    assert webhook_routes.find(connection, "POST", "orders") is None
    with pytest.raises(WorkflowNotFound):
        workflows.get(connection, draft.id)
    with pytest.raises(WorkflowNotFound):
        workflows.get_revision(connection, draft.id, 1)


@pytest.mark.parametrize("ended", [False, True])
def test_executions_of_a_deleted_workflow_keep_their_revision(
    connection: Connection,
    make_workflow: MakeWorkflow,
    make_acceptance: Callable[..., Acceptance],
    make_progress: Callable[..., Progress],
    *,
    ended: bool,
) -> None:
    """What runs, or is looked at later, is the definition that was accepted, whatever happens to the workflow."""
    workflow = make_workflow(status="active", nodes=[{"id": "n"}])
    workflows.insert(connection, workflow)
    item = make_acceptance(workflow_id=workflow.id)
    executions.accept(connection, [item])
    if ended:
        end = make_progress(item.execution_id, status="completed", completed_at=LATER)
        executions.record(connection, [end])

    workflows.delete(connection, workflow.id)

    assert executions.get(connection, item.execution_id).workflow_id == workflow.id
    assert workflows.get_revision(connection, workflow.id, 1)["nodes"] == [{"id": "n"}]


@pytest.mark.parametrize("status", [None, "draft"])
@pytest.mark.parametrize("sort_by", ["createdAt", "updatedAt", "name"])
@pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
def test_every_list_walks_along_an_index(
    connection: Connection,
    read_plans: Callable[..., list[str]],
    make_workflow: MakeWorkflow,
    status: str | None,
    sort_by: str,
    sort_order: str,
) -> None:
    """The first page and one behind a cursor, with every filter and sort."""
    for _ in range(2):
        workflows.insert(connection, make_workflow())
    cursor = workflows.list_page(
        connection, status=status, limit=1, sort_by=sort_by, sort_order=sort_order
    ).next_cursor

    plans = [
        plan
        for position in ("", cursor)
        for plan in read_plans(
            workflows.list_page, status=status, cursor=position, sort_by=sort_by, sort_order=sort_order
        )
    ]

    assert len(plans) == 2
    assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []


def test_every_other_query_searches_an_index(read_plans: Callable[..., list[str]], draft: StoredWorkflow) -> None:
    """Reads, changes, and the removal that looks for executions."""
    plans = [
        *read_plans(workflows.get, draft.id),
        *read_plans(workflows.get_revision, draft.id, 1),
        *read_plans(workflows.replace, replace(draft, revision=2), 1),
        *read_plans(workflows.set_status, draft.id, expected=("draft", 2), status="active", updated_at=LATER),
        *read_plans(workflows.delete, draft.id),
    ]

    assert len(plans) == 8
    assert [plan for plan in plans if "SCAN" in plan or "TEMP B-TREE" in plan] == []
