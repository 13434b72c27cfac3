"""What is made of a body of a megabyte is made in threads: the event loop has others to serve meanwhile."""

import gc
import time
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from flowker.operations import executor_configurations, provider_configurations, workflows
from flowker.operations.context import Answer, Context
from tests.unit.operations.conftest import Asked

LARGE = {f"member{number}": {"note": "x" * 8, "number": number} for number in range(20_000)}
AUTHENTICATION = {"type": "bearer", "config": {"token": "secret"}}
HTTP = {"base_url": "https://far.example", "auth": AUTHENTICATION}
CREATE: dict[Any, dict[str, Any]] = {
    provider_configurations: {"providerId": "http", "config": HTTP},
    executor_configurations: {
        "baseUrl": "https://far.example",
        "authentication": AUTHENTICATION,
        "endpoints": [{"name": "a", "path": "/a", "method": "GET"}],
    },
    workflows: {"nodes": [{"id": "t", "type": "trigger", "data": {"triggerId": "webhook", "path": "a"}}]},
}
NOUN = {
    provider_configurations: "provider_configuration",
    executor_configurations: "executor_configuration",
    workflows: "workflow",
}


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    """It runs in whichever thread makes the next object, and looks at what other tests have left, too."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def share_of_the_loop(asked: Awaitable[Answer]) -> tuple[Answer, float]:
    """The answer, and which part of the processor time that it took was the event loop's."""
    loop_s, process_s = time.thread_time(), time.process_time()
    answer = await asked
    return answer, (time.thread_time() - loop_s) / (time.process_time() - process_s)


@pytest.mark.parametrize("module", list(CREATE))
async def test_a_large_body_does_not_stop_the_loop(context: Context, asked: Asked, module: Any) -> None:
    """Created, changed, sent again without a difference, read, and listed."""
    noun = NOUN[module]
    body = {"name": "large", "metadata": LARGE, **CREATE[module]}
    changed = {**body, "metadata": {**LARGE, "one": "more"}}
    changed.pop("providerId", None)
    create, update = getattr(module, f"create_{noun}"), getattr(module, f"update_{noun}")
    get, list_ = getattr(module, f"get_{noun}"), getattr(module, f"list_{noun}s")
    page = {"status": None, "limit": 10, "cursor": None, "sort_by": "name", "sort_order": "ASC"}
    if module is provider_configurations:
        page["provider_id"] = None

    created, *shares = await share_of_the_loop(create(context, body=body, request=asked))
    id_ = created[0].get("id") or created[0]["workflowId"]
    answers = []
    for again in (
        update(context, id_=id_, body=changed, request=asked),
        update(context, id_=id_, body=changed, request=asked),
        get(context, id_=id_),
        list_(context, **page),
    ):
        answer, share = await share_of_the_loop(again)
        answers.append(answer)
        shares.append(share)

    assert answers[2][0]["metadata"]["one"] == "more"
    assert answers[3]["items"] == [answers[2][0]]
    assert max(shares) < 0.2
