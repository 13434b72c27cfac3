"""Mappings and transforms in executions: through calls that are repeated, a restart, and the store."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from aiohttp import web

from flowker.domain.executions import Postponed, Settled

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Answer, Bench, Draw

Serve = Callable[["Answer"], Awaitable[str]]

TRIGGER = {"id": "start", "type": "trigger", "data": {"path": "p"}}
NOW = {"inputFormat": "$now", "outputFormat": "2006-01-02T15:04:05Z07:00"}


async def test_money_goes_through_every_kind_of_mapping(bench: "Bench", draw: "Draw", serve: Serve) -> None:
    """With its digits: transformed, mapped, sent again after a restart, answered, mapped back, and put out."""
    arrived: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        arrived.append(await request.text())
        if len(arrived) == 1:
            return web.Response(status=503)
        return web.Response(body=await request.read(), content_type="application/json")

    await bench.configure_http(await serve(answer))
    nodes = [
        TRIGGER,
        draw.action(
            "prepare",
            "transform",
            inputMapping=[{"source": "workflow.amount", "target": "amount"}],
            transforms=[
                {"operation": "default", "spec": {"limit": Decimal("5000.00"), "amount": 0}},
                {"operation": "timestamp", "spec": {"at": NOW}},
            ],
        ),
        draw.call(
            "pay",
            inputMapping=[{"source": "prepare", "target": "payment"}, {"source": "workflow.id", "target": "ids[0]"}],
            transforms=[
                {"operation": "shift", "spec": {"value": "payment.amount", "at": "payment.at", "ids": "ids"}},
                {"operation": "timestamp", "spec": {"sentAt": NOW}},
                {"operation": "uuid", "spec": {"reference": {"version": 4}}},
            ],
            outputMapping=[
                {"source": "body.value", "target": "paid", "required": True},
                {"source": "body.ids[*]", "target": "ids"},
            ],
        ),
        draw.action(
            "end",
            "set_output",
            output={"status": "paid"},
            inputMapping=[
                {"source": "pay", "target": "payment"},
                {"source": "prepare.limit", "target": "limit"},
            ],
        ),
    ]
    workflow_id = await bench.save(nodes, draw.chain("start", "prepare", "pay", "end"))

    execution_id = await bench.accept(workflow_id, amount=Decimal("100.10"), id=12345678901234567890)
    await bench.until(execution_id, lambda recorded: isinstance(recorded.events[-1], Postponed))
    await bench.restart()
    bench.clock.turn(61)
    recorded = await bench.end(execution_id)

    first, repeated = arrived
    ended = recorded.events[-1]
    assert repeated == first
    assert first.startswith(
        '{"value":100.10,"at":"2026-03-17T14:35:00Z","ids":[12345678901234567890],"sentAt":"2026-03-17T14:35:00Z",'
        '"reference":"'
    )
    assert isinstance(ended, Settled)
    assert repr(ended.outcomes[-1].output) == repr(
        {
            "status": "paid",
            "payment": {"paid": Decimal("100.10"), "ids": [12345678901234567890]},
            "limit": Decimal("5000.00"),
        }
    )


async def test_a_branch_beside_it_changes_no_repeated_call(bench: "Bench", draw: "Draw", serve: Serve) -> None:
    """A far side that knows the key refuses another body. It is the same after a restart."""
    arrived: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/rate":
            return web.json_response({"rate": 5})
        arrived.append(await request.text())
        return web.Response(status=503 if len(arrived) < 3 else 200)

    await bench.configure_http(await serve(answer))
    mapping = [{"source": "workflow.amount", "target": "amount"}, {"source": "ask.body.rate", "target": "rate"}]
    nodes = [TRIGGER, draw.call("pay", inputMapping=mapping), draw.action("wait", "delay", seconds=0.1)]
    nodes.append(draw.call("ask", "/rate"))
    workflow_id = await bench.save(nodes, draw.edges(("start", "pay"), ("start", "wait"), ("wait", "ask")))

    execution_id = await bench.accept(workflow_id, amount=1)
    await bench.until(execution_id, lambda recorded: recorded.row.wake_at is not None and len(arrived) == 1)
    bench.clock.turn(61)
    await bench.until(execution_id, lambda recorded: recorded.row.wake_at is not None and len(arrived) == 2)
    await bench.restart()
    bench.clock.turn(61)
    recorded = await bench.end(execution_id)

    assert recorded.row.status == "completed"
    assert arrived == ['{"amount":1}'] * 3
