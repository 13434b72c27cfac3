"""The embedded engine: what was accepted comes to an end, exactly once, whatever happens on the way."""

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from flowker import jsontext
from flowker.domain.executions import Postponed, Settled
from flowker.engine import embedded
from flowker.storage import executions
from flowker.storage.database import Connection

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench

TRIGGER = {"id": "t", "type": "trigger", "data": {"path": "p"}}


def action(id_: str, kind: str = "log", **data: Any) -> dict[str, Any]:
    return {"id": id_, "type": "action", "data": {"action": kind, **data}}


def call(id_: str, configuration_id: str, path: str, **data: Any) -> dict[str, Any]:
    described = {"executorId": "http.request", "providerConfigId": configuration_id, "method": "POST", "path": path}
    return {"id": id_, "type": "executor", "data": {**described, **data}}


def chain(*ids: str) -> list[dict[str, Any]]:
    pairs = enumerate(itertools.pairwise(ids))
    return [{"id": f"e{i}", "source": source, "target": target} for i, (source, target) in pairs]


async def start_far_side(routes: list[web.RouteDef]) -> TestServer:
    app = web.Application()
    app.add_routes(routes)
    server = TestServer(app)
    await server.start_server()
    return server


async def test_a_run_of_built_in_nodes_completes_with_one_commit_after_accepting(bench: "Bench") -> None:
    """Three waves without a call are one journal entry."""
    workflow_id = await bench.save([TRIGGER, action("a"), action("b"), action("c")], chain("t", "a", "b", "c"))

    recorded = await bench.run(workflow_id, amount=1)

    assert recorded.row.status == "completed"
    assert recorded.row.current_step_number == recorded.row.total_steps == 3
    assert len(recorded.events) == 2
    assert isinstance(recorded.events[1], Settled)
    assert [outcome.node_id for outcome in recorded.events[1].outcomes] == ["a", "b", "c"]


async def test_a_workflow_that_is_only_a_trigger_completes(bench: "Bench") -> None:
    """There is nothing to run, and the execution still ends."""
    recorded = await bench.run(await bench.save([TRIGGER], []))

    assert recorded.row.status == "completed"
    assert recorded.row.completed_at is not None


async def test_a_failed_node_fails_the_execution_and_says_which(bench: "Bench") -> None:
    """The message carries the code and the node."""
    workflow_id = await bench.save(
        [TRIGGER, action("f", "fail", message="no funds"), action("z")], chain("t", "f", "z")
    )

    recorded = await bench.run(workflow_id)

    assert recorded.row.status == "failed"
    assert recorded.row.error_message == "FLK-0504: node f failed: no funds"


async def test_a_delay_is_a_row_and_no_memory_until_its_time(bench: "Bench") -> None:
    """The parked execution is held by nobody; turning the clock wakes it."""
    workflow_id = await bench.save([TRIGGER, action("d", "delay", seconds=60), action("z")], chain("t", "d", "z"))
    execution_id = await bench.accept(workflow_id)
    parked = await bench.until(execution_id, lambda recorded: recorded.row.wake_at is not None)
    await _until_idle(bench)

    bench.clock.turn(61)
    ended = await bench.until(execution_id, lambda recorded: recorded.row.status != "running")

    assert parked.row.wake_at == "2026-03-17T14:36:00.000000Z"
    assert ended.row.status == "completed"
    assert isinstance(ended.events[1], Postponed)


async def test_a_delay_survives_a_restart(bench: "Bench") -> None:
    """The wait is in the store: another engine takes it up."""
    workflow_id = await bench.save([TRIGGER, action("d", "delay", seconds=60)], chain("t", "d"))
    execution_id = await bench.accept(workflow_id)
    await bench.until(execution_id, lambda recorded: recorded.row.wake_at is not None)

    await bench.restart()
    bench.clock.turn(61)
    ended = await bench.until(execution_id, lambda recorded: recorded.row.status != "running")

    assert ended.row.status == "completed"


async def test_an_accepted_execution_that_nobody_drove_is_taken_up_at_the_next_start(bench: "Bench") -> None:
    """Accepted while the engine stood still, as when the process died right after the commit."""
    await bench.engine.stop()
    bench.make_engine()
    workflow_id = await bench.save([TRIGGER, action("a")], chain("t", "a"))
    execution_id = await bench.accept(workflow_id)

    await bench.make_engine().start()
    ended = await bench.until(execution_id, lambda recorded: recorded.row.status != "running")

    assert ended.row.status == "completed"


async def test_a_committed_outcome_is_not_repeated_after_a_restart(bench: "Bench") -> None:
    """The call before the delay was recorded; the new engine does not make it again."""
    calls: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        calls.append(request.headers["Idempotency-Key"])
        return web.json_response({"ok": True})

    far_side = await start_far_side([web.post("/pay", answer)])
    configuration_id = await bench.configure_http(str(far_side.make_url("/")))
    nodes = [TRIGGER, call("pay", configuration_id, "/pay"), action("d", "delay", seconds=5)]
    execution_id = await bench.accept(await bench.save(nodes, chain("t", "pay", "d")))
    await bench.until(execution_id, lambda recorded: recorded.row.wake_at is not None)

    await bench.restart()
    bench.clock.turn(6)
    ended = await bench.until(execution_id, lambda recorded: recorded.row.status != "running")

    assert ended.row.status == "completed"
    assert calls == [f"{execution_id}:pay"]
    await far_side.close()


async def test_two_slow_branches_run_at_the_same_time(bench: "Bench") -> None:
    """Each call is answered only when both have arrived."""
    both = asyncio.Barrier(2)

    async def answer(_: web.Request) -> web.Response:
        await asyncio.wait_for(both.wait(), 5)
        return web.json_response({})

    far_side = await start_far_side([web.post("/slow", answer)])
    configuration_id = await bench.configure_http(str(far_side.make_url("/")))
    nodes = [
        TRIGGER,
        call("a", configuration_id, "/slow"),
        call("b", configuration_id, "/slow"),
        action("j", "set_output", output="{{a.status}}"),
    ]
    edges = [
        {"id": "1", "source": "t", "target": "a"},
        {"id": "2", "source": "t", "target": "b"},
        {"id": "3", "source": "a", "target": "j"},
        {"id": "4", "source": "b", "target": "j"},
    ]

    recorded = await bench.run(await bench.save(nodes, edges))

    assert recorded.row.status == "completed"
    assert recorded.row.current_step_number == 3
    await far_side.close()


async def test_a_failed_attempt_is_repeated_after_its_wait_with_the_same_key(bench: "Bench") -> None:
    """A 503 can be different later: the wait is durable, and the far side can tell a repetition."""
    keys: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        keys.append(request.headers["Idempotency-Key"])
        return web.json_response({}, status=503 if len(keys) == 1 else 200)

    far_side = await start_far_side([web.post("/flaky", answer)])
    configuration_id = await bench.configure_http(str(far_side.make_url("/")))
    workflow_id = await bench.save([TRIGGER, call("c", configuration_id, "/flaky")], chain("t", "c"))
    execution_id = await bench.accept(workflow_id)
    await bench.until(execution_id, lambda recorded: recorded.row.wake_at is not None)

    await bench.restart()
    bench.clock.turn(2)
    ended = await bench.until(execution_id, lambda recorded: recorded.row.status != "running")

    assert ended.row.status == "completed"
    assert keys == [f"{execution_id}:c"] * 2
    await far_side.close()


async def test_an_error_edge_catches_a_failed_call(bench: "Bench") -> None:
    """A 404 fails at once; the error edge leads on and the execution completes."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"reason": "unknown"}, status=404)

    far_side = await start_far_side([web.post("/gone", answer)])
    configuration_id = await bench.configure_http(str(far_side.make_url("/")))
    nodes = [
        TRIGGER,
        call("c", configuration_id, "/gone"),
        action("caught", "set_output", output={"status": "{{c.status}}"}),
        action("never"),
    ]
    edges = [
        {"id": "1", "source": "t", "target": "c"},
        {"id": "2", "source": "c", "target": "caught", "sourceHandle": "error"},
        {"id": "3", "source": "c", "target": "never"},
    ]

    recorded = await bench.run(await bench.save(nodes, edges))

    settled = [outcome for event in recorded.events if isinstance(event, Settled) for outcome in event.outcomes]
    assert recorded.row.status == "completed"
    assert {outcome.node_id: outcome.status for outcome in settled} == {"c": "failed", "caught": "completed"}
    assert settled[-1].output == {"status": 404}
    await far_side.close()


async def test_the_time_limit_ends_an_execution_that_hangs_in_a_call(bench: "Bench") -> None:
    """The far side never answers; the limit of the workflow counts."""
    arrived = asyncio.Event()
    release = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        arrived.set()
        await release.wait()
        return web.json_response({})

    far_side = await start_far_side([web.post("/hang", answer)])
    configuration_id = await bench.configure_http(str(far_side.make_url("/")))
    nodes = [TRIGGER, call("c", configuration_id, "/hang")]
    execution_id = await bench.accept(await bench.save(nodes, chain("t", "c"), timeoutSeconds=10))
    await asyncio.wait_for(arrived.wait(), 5)

    bench.clock.turn(11)
    ended = await bench.until(execution_id, lambda recorded: recorded.row.status != "running")

    assert ended.row.status == "failed"
    assert ended.row.error_message == "FLK-0503: the execution reached its time limit of 10 s"
    release.set()
    await far_side.close()


async def test_the_time_limit_ends_an_execution_that_waits(bench: "Bench") -> None:
    """A delay beyond the limit is cut off at the limit."""
    nodes = [TRIGGER, action("d", "delay", seconds=600)]
    execution_id = await bench.accept(await bench.save(nodes, chain("t", "d"), timeoutSeconds=10))
    parked = await bench.until(execution_id, lambda recorded: recorded.row.wake_at is not None)

    bench.clock.turn(11)
    ended = await bench.until(execution_id, lambda recorded: recorded.row.status != "running")

    assert parked.row.wake_at == "2026-03-17T14:35:10.000000Z"
    assert ended.row.error_message == "FLK-0503: the execution reached its time limit of 10 s"


async def test_an_execution_whose_definition_is_poison_fails_alone(bench: "Bench") -> None:
    """Its stored revision no longer compiles; the execution beside it completes."""
    await bench.engine.stop()
    bench.make_engine()
    good_id = await bench.accept(await bench.save([TRIGGER, action("a")], chain("t", "a")))
    bad_workflow = await bench.save([TRIGGER, action("a")], chain("t", "a"))
    bad_id = await bench.accept(bad_workflow)
    await bench.store.write(_spoil, bad_workflow)

    await bench.make_engine().start()
    good = await bench.until(good_id, lambda recorded: recorded.row.status != "running")
    bad = await bench.until(bad_id, lambda recorded: recorded.row.status != "running")

    assert good.row.status == "completed"
    assert bad.row.status == "failed"
    assert bad.row.error_message == "FLK-9999: the execution cannot be continued"


async def test_more_executions_than_the_queue_holds_all_complete(
    bench: "Bench", monkeypatch: pytest.MonkeyPatch
) -> None:
    """What finds no room waits in the store and is swept up."""
    monkeypatch.setattr(embedded, "READY_MAX", 20)
    await bench.engine.stop()
    bench.make_engine(workers=2)
    workflow_id = await bench.save([TRIGGER, action("a")], chain("t", "a"))
    ids = await asyncio.gather(*[bench.accept(workflow_id) for _ in range(210)])

    await bench.engine.start()
    deadline = asyncio.get_running_loop().time() + 30
    while running := await bench.store.read(_count_running):
        assert asyncio.get_running_loop().time() < deadline, running
        await asyncio.sleep(0.05)

    assert len(set(ids)) == 210


async def test_stopping_lets_a_call_in_flight_end_and_starts_nothing_new(bench: "Bench") -> None:
    """The outcome is recorded; the next node waits for the next start."""
    arrived = asyncio.Event()
    release = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        arrived.set()
        await release.wait()
        return web.json_response({})

    far_side = await start_far_side([web.post("/first", answer), web.post("/second", answer)])
    configuration_id = await bench.configure_http(str(far_side.make_url("/")))
    nodes = [TRIGGER, call("a", configuration_id, "/first"), call("b", configuration_id, "/second")]
    execution_id = await bench.accept(await bench.save(nodes, chain("t", "a", "b")))
    await asyncio.wait_for(arrived.wait(), 5)

    stopping = asyncio.create_task(bench.engine.stop())
    await asyncio.sleep(0)
    release.set()
    await stopping
    stopped = await bench.until(execution_id, lambda _: True)
    await bench.make_engine().start()
    ended = await bench.until(execution_id, lambda recorded: recorded.row.status != "running")

    assert stopped.row.current_step_number == 1
    assert stopped.row.wake_at is None
    assert ended.row.status == "completed"
    await far_side.close()


async def _until_idle(bench: "Bench") -> None:
    while bench.engine._held:  # noqa: ASYNC110 - it is emptied without a sign
        await asyncio.sleep(0.005)


def _count_running(connection: Connection) -> int:
    return len(executions.unfinished(connection, after_id="", limit=3_000))


def _spoil(connection: Connection, workflow_id: str) -> None:
    spoilt = jsontext.encode({"nodes": [{"id": "t", "type": "nothing"}], "edges": [], "metadata": {}}).decode()
    connection.exec_driver_sql(
        "UPDATE workflow_revisions SET definition = ? WHERE workflow_id = ?", (spoilt, workflow_id)
    )


async def test_a_call_that_became_ready_with_the_failure_is_not_made(bench: "Bench") -> None:
    """A branch fails in the same turn in which another branch would call: no money moves after the failure."""
    arrived: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        arrived.append(request.path)
        return web.json_response({})

    far_side = await start_far_side([web.post("/pay", answer)])
    configuration_id = await bench.configure_http(str(far_side.make_url("/")))
    nodes = [TRIGGER, call("pay", configuration_id, "/pay"), action("f", "fail", message="rejected")]
    edges = [{"id": "1", "source": "t", "target": "pay"}, {"id": "2", "source": "t", "target": "f"}]

    recorded = await bench.run(await bench.save(nodes, edges))

    assert recorded.row.status == "failed"
    assert recorded.row.error_message == "FLK-0504: node f failed: rejected"
    assert arrived == []
    await far_side.close()


async def test_outputs_that_grow_beyond_the_bound_end_the_execution(bench: "Bench") -> None:
    """Forty nodes that each put out half a megabyte: what is kept of an execution has a bound."""
    copies = [action(f"c{i}", "set_output", output="{{workflow}}") for i in range(40)]
    edges = [{"id": f"e{i}", "source": "t", "target": f"c{i}"} for i in range(40)]

    recorded = await bench.run(await bench.save([TRIGGER, *copies], edges), text="x" * 500_000)

    assert recorded.row.status == "failed"
    assert recorded.row.error_message == "FLK-0504: the outputs of the execution are larger than 16 MB together"
    assert recorded.journal_bytes < 16 * 2**20


async def test_a_heavy_turn_leaves_the_event_loop_to_others(bench: "Bench") -> None:
    """A hundred conditions over a large input are evaluated beside the loop, and the time limit counts meanwhile."""
    condition = " AND ".join(['NOT (workflow.text contains "nowhere")'] * 10)
    nodes = [{"id": f"c{i}", "type": "conditional", "data": {"condition": condition}} for i in range(90)]
    edges = [{"id": f"e{i}", "source": "t", "target": f"c{i}"} for i in range(90)]
    workflow_id = await bench.save([TRIGGER, *nodes], edges)
    longest_s = 0.0

    running = asyncio.create_task(bench.run(workflow_id, text="x" * 300_000))
    while not running.done():
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(0.001)
        longest_s = max(longest_s, asyncio.get_running_loop().time() - before)

    assert running.result().row.status in {"completed", "failed"}
    assert longest_s < 3
