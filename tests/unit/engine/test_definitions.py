"""Compiled definitions: compiled once for each revision, as many as fit."""

from typing import TYPE_CHECKING

import pytest

from flowker import jsontext
from flowker.domain.errors import InternalError, InvalidNodeData, WorkflowNotFound
from flowker.domain.validation import Findings
from flowker.engine import definitions
from flowker.engine.definitions import (
    PROVIDERS_BY_EXECUTOR,
    BrokenDefinition,
    Definitions,
    check_aside,
    compile_aside,
)
from flowker.storage import workflows
from flowker.storage.database import Connection, Store

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench, Draw


@pytest.fixture
def kept(bench: "Bench") -> Definitions:
    return Definitions(bench.store, bench.vault)


async def test_a_revision_is_read_and_compiled_once(bench: "Bench", kept: Definitions, draw: "Draw") -> None:
    """The second time the store is not even asked."""
    workflow_id = await bench.save([draw.trigger, draw.action("a")], draw.chain("t", "a"))
    first = await kept.get(workflow_id, 1)
    bench.store.refuse(workflows.get_revision)

    second = await kept.get(workflow_id, 1)

    assert second is first
    assert list(first.nodes) == ["t", "a"]


async def test_an_unknown_revision_is_told(bench: "Bench", kept: Definitions, draw: "Draw") -> None:
    """A workflow has the revisions that were saved."""
    workflow_id = await bench.save([draw.trigger], [])

    with pytest.raises(WorkflowNotFound):
        await kept.get(workflow_id, 2)


async def test_a_stored_definition_that_does_not_compile_is_no_refusal(
    bench: "Bench", kept: Definitions, draw: "Draw"
) -> None:
    """Nobody who asks now wrote it: the error names the revision and the code, and is no FlowkerError."""
    workflow_id = await bench.save([draw.trigger], [])
    await bench.store.write(_spoil, workflow_id)

    with pytest.raises(BrokenDefinition, match=f"revision 1 of workflow {workflow_id}: FLK-0119"):
        await kept.get(workflow_id, 1)


async def test_the_definitions_that_were_used_last_are_kept(
    bench: "Bench", kept: Definitions, draw: "Draw", monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for two, the one that was not asked for longest makes room for the third."""
    monkeypatch.setattr(definitions, "KEPT_MAX", 2)
    first, second, third = [await bench.save([draw.trigger], []) for _ in range(3)]
    for workflow_id in (first, second, first, third):
        await kept.get(workflow_id, 1)
    bench.store.refuse(workflows.get_revision)

    await kept.get(first, 1)
    await kept.get(third, 1)
    with pytest.raises(InternalError):
        await kept.get(second, 1)


async def test_who_keeps_promises_is_not_refused_for_lack_of_room(bench: "Bench", draw: "Draw") -> None:
    """Whoever only asks is; what one of them has compiled the other one has, too."""
    workflow_id = await bench.save([draw.trigger], [])
    full = Store(bench.url, queue_max=0)
    await full.start()
    kept = Definitions(full, bench.vault)

    with pytest.raises(InternalError):
        await kept.get(workflow_id, 1)
    owed = await kept.owing().get(workflow_id, 1)
    asked = await kept.get(workflow_id, 1)

    await full.stop()
    assert asked is owed


async def test_compiling_refuses_what_is_wrong(draw: "Draw") -> None:
    """The refusal comes out of the thread unchanged."""
    with pytest.raises(InvalidNodeData):
        await compile_aside([draw.trigger, draw.action("a", "dance")], [], {})


async def test_every_input_that_does_not_fit_is_found(draw: "Draw") -> None:
    """Each with its field; a call whose executor is not known has nobody who could judge."""
    account = {"executorId": "midaz.get-account", "providerConfigId": "p", "accountId": "x", "owner": "me"}
    calls = [
        {"id": "a", "type": "executor", "data": account},
        {"id": "b", "type": "executor", "data": {**account, "executorId": "fax.send"}},
        {"id": "c", "type": "executor", "data": account},
    ]
    findings = Findings([draw.trigger, *calls], [])

    await check_aside([draw.trigger, *calls], [], {}, findings.checks)

    assert [(each.code, each.field) for each in findings.found] == [
        ("FLK-0104", "nodes[2].data.executorId"),
        ("FLK-0119", "nodes[1].data.accountId"),
        ("FLK-0119", "nodes[1].data.owner"),
        ("FLK-0119", "nodes[3].data.accountId"),
        ("FLK-0119", "nodes[3].data.owner"),
    ]


async def test_what_no_input_can_make_right_is_refused(draw: "Draw") -> None:
    """A call that could never be made is not saved."""
    nodes = [draw.trigger, draw.call("a", "/up/../down", headers={"Authorization": "x"})]

    with pytest.raises(InvalidNodeData) as caught:
        await check_aside(nodes, [], {})

    assert caught.value.fields == {
        "nodes[1].data.path": "refuses every call: the path of the call has . or .. in it",
        "nodes[1].data.headers": "refuses every call: a header is set that only Flowker, the configuration or its"
        " authentication sets",
    }


def test_every_executor_of_the_catalog_has_its_provider() -> None:
    """What a definition may call, and through which configurations."""
    assert PROVIDERS_BY_EXECUTOR["http.request"] == "http"


def _spoil(connection: Connection, workflow_id: str) -> None:
    node = {"id": "a", "type": "action", "data": {"action": "dance"}}
    spoilt = jsontext.encode({"nodes": [node], "edges": [], "metadata": {}}).decode()
    connection.exec_driver_sql(
        "UPDATE workflow_revisions SET definition = ? WHERE workflow_id = ?", (spoilt, workflow_id)
    )
