"""Pages: every row exactly once, in order, whatever ties, nulls and insertions there are."""

import base64
import json
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from sqlalchemy import Connection

from flowker.domain.errors import InvalidQuery, InvalidSortOrder
from flowker.storage import executions, executor_configurations, provider_configurations, workflows
from flowker.storage.executions import Acceptance, Progress
from flowker.storage.executor_configurations import StoredExecutorConfiguration
from flowker.storage.provider_configurations import StoredProviderConfiguration
from flowker.storage.workflows import StoredWorkflow

MakeWorkflow = Callable[..., StoredWorkflow]


def at(hour: int) -> str:
    return f"2026-03-17T{hour:02}:00:00.000000Z"


def walk(list_page: Callable[..., Any], connection: Connection, limit: int, **question: Any) -> list[str]:
    """The ids of all pages, one after the other."""
    ids: list[str] = []
    cursor = None
    while cursor != "":
        page = list_page(connection, limit=limit, cursor=cursor, **question)
        assert len(page.items) <= limit
        assert page.has_more == bool(page.next_cursor)
        ids += [item.id for item in page.items]
        cursor = page.next_cursor
    return ids


@pytest.fixture
def twelve_executions(
    connection: Connection,
    make_workflow: MakeWorkflow,
    make_acceptance: Callable[..., Acceptance],
    make_progress: Callable[..., Progress],
) -> list[executions.StoredExecution]:
    """Of two workflows: ties in the start, some running, some ended, ties in the end."""
    for _ in range(2):
        workflows.insert(connection, make_workflow(status="active"))
    for number in range(12):
        item = make_acceptance(started_at=at(number // 3), workflow_id=f"workflow-00{1 + number % 2}")
        executions.accept(connection, [item])
        if number % 4:
            status = "failed" if number % 4 == 1 else "completed"
            ended = make_progress(item.execution_id, status=status, completed_at=at(12 - number // 3))
            executions.record(connection, [ended])
    return [executions.get(connection, f"execution-{number:05}") for number in range(1, 13)]


@pytest.mark.parametrize("limit", [1, 2, 5, 12, 100])
@pytest.mark.parametrize("workflow_id", [None, "workflow-001"])
@pytest.mark.parametrize("status", [None, "running", "completed", "failed", "pending"])
@pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
def test_executions_by_start_come_once_and_in_order(
    connection: Connection,
    twelve_executions: list[executions.StoredExecution],
    limit: int,
    workflow_id: str | None,
    status: str | None,
    sort_order: str,
) -> None:
    """Ties are ordered by id; pages of any size add up to the same list."""
    expected = sorted(
        (
            execution
            for execution in twelve_executions
            if workflow_id in {None, execution.workflow_id} and status in {None, execution.status}
        ),
        key=lambda execution: (execution.started_at, execution.id),
        reverse=sort_order == "DESC",
    )

    ids = walk(
        executions.list_page,
        connection,
        limit,
        workflow_id=workflow_id,
        status=status,
        sort_by="startedAt",
        sort_order=sort_order,
    )

    assert ids == [execution.id for execution in expected]


@pytest.mark.parametrize("limit", [1, 2, 5, 12, 100])
@pytest.mark.parametrize("workflow_id", [None, "workflow-002"])
@pytest.mark.parametrize("status", [None, "running", "completed"])
@pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
def test_executions_by_completion_have_what_runs_at_the_end(
    connection: Connection,
    twelve_executions: list[executions.StoredExecution],
    limit: int,
    workflow_id: str | None,
    status: str | None,
    sort_order: str,
) -> None:
    """What has not ended counts as ending last, by its start; in descending order it comes first."""
    expected = sorted(
        (
            execution
            for execution in twelve_executions
            if workflow_id in {None, execution.workflow_id} and status in {None, execution.status}
        ),
        key=lambda execution: (
            execution.completed_at is None,
            execution.completed_at or execution.started_at,
            execution.id,
        ),
        reverse=sort_order == "DESC",
    )

    ids = walk(
        executions.list_page,
        connection,
        limit,
        workflow_id=workflow_id,
        status=status,
        sort_by="completedAt",
        sort_order=sort_order,
    )

    assert ids == [execution.id for execution in expected]


@pytest.mark.parametrize("sort_order", ["ASC", "DESC"])
def test_rows_inserted_between_pages_disturb_nothing(
    connection: Connection, make_workflow: MakeWorkflow, sort_order: str
) -> None:
    """Every row that was there when the walk began comes exactly once, in order."""
    before = [make_workflow(name=name) for name in "bdfhj"]
    for workflow in before:
        workflows.insert(connection, workflow)

    ids: list[str] = []
    cursor = None
    while cursor != "":
        page = workflows.list_page(connection, limit=2, cursor=cursor, sort_by="name", sort_order=sort_order)
        ids += [item.id for item in page.items]
        cursor = page.next_cursor
        for name in "aegk":
            workflows.insert(connection, make_workflow(name=f"{name}{len(ids)}"))

    expected = [workflow.id for workflow in before]
    assert [id_ for id_ in ids if id_ in expected] == (expected if sort_order == "ASC" else expected[::-1])
    assert len(ids) == len(set(ids))


class TestLargeRows:
    """A page ends before it is too large, and the next one goes on where it ended."""

    SIZES = (3, 3, 1, 9, 3, 6, 1, 1)
    """Megabytes of the rows, in their order."""

    PAGES: ClassVar = {"ASC": ["012", "3", "4", "567"], "DESC": ["765", "4", "3", "210"]}

    MADE: ClassVar[dict[Any, Callable[[dict[str, Any]], Any]]] = {
        workflows: lambda common: StoredWorkflow(
            **common, status="draft" if common["name"] < "4" else "active", nodes=[], edges=[]
        ),
        provider_configurations: lambda common: StoredProviderConfiguration(
            **common, status="active" if common["name"] < "4" else "disabled", provider_id="http", config={}
        ),
        executor_configurations: lambda common: StoredExecutorConfiguration(
            **common, status="tested", base_url="", endpoints=[], authentication={}
        ),
    }

    @pytest.mark.parametrize("module", list(MADE))
    def test_end_a_page_early(self, connection: Connection, module: Any) -> None:
        """One that is too large by itself is a page, and bytes count, not characters."""
        for number, megabytes in enumerate(self.SIZES):
            text = "é" * (megabytes * (2**20 - 100) // 2)
            common = {"id": f"id{9 - number}", "name": str(number), "metadata": {"text": text}}
            times = {"description": "", "revision": 1, "created_at": at(1), "updated_at": at(2)}
            module.insert(connection, self.MADE[module]({**common, **times}))

        for sort_order, expected in self.PAGES.items():
            pages, cursor = [], None
            while cursor != "":
                page = module.list_page(connection, limit=100, cursor=cursor, sort_by="name", sort_order=sort_order)
                assert page.has_more == bool(page.next_cursor)
                pages.append("".join(item.name for item in page.items))
                cursor = page.next_cursor

            assert pages == expected

    def test_keep_to_the_limit(self, connection: Connection, make_workflow: MakeWorkflow) -> None:
        """Whichever is reached first."""
        for _ in range(12):
            workflows.insert(connection, make_workflow(metadata={"text": "x" * 2**20}))

        pages = [
            len(workflows.list_page(connection, limit=limit, sort_by="name").items) for limit in (1, 6, 7, 8, 100)
        ]

        assert pages == [1, 6, 7, 7, 7]


def test_an_empty_list_is_a_page(connection: Connection) -> None:
    """Without items, without more."""
    page = workflows.list_page(connection)

    assert (page.items, page.next_cursor, page.has_more) == ([], "", False)


def test_a_full_last_page_knows_that_it_is_the_last(connection: Connection, make_workflow: MakeWorkflow) -> None:
    """As many rows as the limit: no cursor to an empty page."""
    for _ in range(2):
        workflows.insert(connection, make_workflow())

    page = workflows.list_page(connection, limit=2)

    assert (len(page.items), page.has_more, page.next_cursor) == (2, False, "")


@pytest.fixture
def cursor(connection: Connection, make_workflow: MakeWorkflow) -> str:
    """Of workflows in draft, by creation, descending."""
    for _ in range(3):
        workflows.insert(connection, make_workflow())
    return workflows.list_page(connection, status="draft", limit=1).next_cursor


def test_a_cursor_is_safe_in_a_url(cursor: str) -> None:
    """Letters, digits, minus and underscore."""
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert cursor.isascii()


@pytest.mark.parametrize(
    "question",
    [
        {"status": "active"},
        {"status": None},
        {"status": "draft", "sort_by": "name"},
        {"status": "draft", "sort_order": "ASC"},
    ],
)
def test_a_cursor_is_good_for_its_own_question_only(
    connection: Connection, cursor: str, question: dict[str, Any]
) -> None:
    """Another filter, sort or order is refused, naming the cursor."""
    with pytest.raises(InvalidQuery) as refusal:
        workflows.list_page(connection, cursor=cursor, **question)

    assert list(refusal.value.fields) == ["cursor"]


def test_a_cursor_of_another_list_is_refused(connection: Connection, cursor: str) -> None:
    """Also when both lists have the same shape of filter."""
    with pytest.raises(InvalidQuery):
        executions.list_page(connection, cursor=cursor)


def _encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


_QUESTION = ["workflows", "createdAt", "DESC", "draft"]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "%%%",
        "ü",
        "\ud800",
        "a" * 5000,
        "a" * 4000,
        _encoded(None),
        _encoded({"phase": 0}),
        _encoded([]),
        _encoded([_QUESTION, 0, "x"]),
        _encoded([_QUESTION, 0, 5, "x"]),
        _encoded([_QUESTION, "0", "x", "x"]),
        _encoded([_QUESTION, 1, "x", "x"]),
        _encoded([_QUESTION, -1, "x", "x"]),
        _encoded([_QUESTION, 0, "x", "x", "x"]),
        _encoded([_QUESTION, 0, "\ud800", "x"]),
        _encoded([_QUESTION, 0, "x", "x"]) + "=",
        _encoded([_QUESTION, 0, "x", "x"]) + "\n",
    ],
)
def test_what_is_no_cursor_is_refused(connection: Connection, text: str) -> None:
    """Never an error of a library, never a page."""
    with pytest.raises(InvalidQuery) as refusal:
        workflows.list_page(connection, status="draft", cursor=text)

    assert list(refusal.value.fields) == ["cursor"]


def test_an_empty_cursor_is_the_first_page(connection: Connection, cursor: str) -> None:
    """As it came with the last page of another walk."""
    assert cursor
    assert len(workflows.list_page(connection, status="draft", cursor="").items) == 3


def test_an_unknown_sort_is_refused(connection: Connection) -> None:
    """By field and by order; the document refuses both before."""
    with pytest.raises(InvalidQuery):
        workflows.list_page(connection, sort_by="description")
    with pytest.raises(InvalidSortOrder):
        workflows.list_page(connection, sort_order="desc")
