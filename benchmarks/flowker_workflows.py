"""The workflows that Flowker is measured with, made over its API."""

from collections.abc import Sequence
from typing import Any

from benchmarks.contender import KEY, TOKEN, Place
from flowker import demo

ALONE = "alone"
STEPS = "steps"
SYNC = "sync"
CALLED = "called"


def make(place: Place) -> None:
    """A trigger alone; trigger, condition and action, answered at once and when done; one call."""
    client = demo.Client(place.url, KEY)
    _activate(client, "Trigger alone", [_trigger(ALONE, verify_token=TOKEN)])
    _activate(client, "Three steps", [_trigger(STEPS, verify_token=TOKEN), *_STEPS], _EDGES)
    _activate(
        client,
        "Three steps, answered when done",
        [_trigger(SYNC, verify_token=TOKEN, responseMode="sync"), *_STEPS],
        _EDGES,
    )
    configuration = {"name": "Far side", "providerId": "http", "config": {"base_url": place.far_side_url}}
    created = client.expect(201, "POST", "/v1/provider-configurations", configuration)
    call = {"executorId": "http.request", "providerConfigId": created.body["id"], "path": "/checks"}
    nodes = [
        _trigger(CALLED, verify_token=TOKEN, responseMode="sync"),
        {"id": "call", "type": "executor", "data": call},
    ]
    _activate(client, "One call", nodes, [{"id": "e1", "source": "received", "target": "call"}])


def _trigger(path: str, **data: str) -> dict[str, Any]:
    return {"id": "received", "type": "trigger", "data": {"triggerId": "webhook", "path": path, **data}}


_STEPS = [
    {
        "id": "within-limits",
        "type": "conditional",
        "data": {"condition": 'workflow.currency in ["BRL", "EUR", "USD"] AND workflow.amount <= 10000'},
    },
    {
        "id": "approved",
        "type": "action",
        "data": {
            "action": "set_output",
            "output": {
                "decision": "approved",
                "paymentId": "{{workflow.paymentId}}",
                "amount": "{{workflow.amount}}",
            },
        },
    },
]
_EDGES = [
    {"id": "e1", "source": "received", "target": "within-limits"},
    {"id": "e2", "source": "within-limits", "target": "approved", "sourceHandle": "true"},
]


def _activate(client: demo.Client, name: str, nodes: list[Any], edges: Sequence[Any] = ()) -> None:
    created = client.expect(201, "POST", "/v1/workflows", {"name": name, "nodes": nodes, "edges": list(edges)})
    client.expect(200, "POST", f"/v1/workflows/{created.body['workflowId']}/activate")
