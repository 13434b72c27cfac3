"""One attempt of one node: evaluated in place, or a call to a far side on a real socket."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from aiohttp import web

from flowker.domain.executions import Attempt, Event, Outcome, Postponed, Run, Settled
from flowker.domain.nodes import Node, compile_node
from flowker.domain.timestamps import parse_timestamp
from flowker.engine.steps import Steps, configuration_id, run_in_place
from flowker.storage import provider_configurations
from flowker.storage.vault import Vault, make_key
from tests.unit.engine.conftest import CONFIGURATION_ID

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Answer, Bench, Draw

NOW = "2026-03-17T14:35:00.000000Z"
EXECUTION_ID = "019cfc5b-5d4a-7c11-9f0e-2a4b6c8d0e1f"

Serve = Callable[["Answer"], Awaitable[str]]


def compiled(node: dict[str, Any]) -> Node:
    return compile_node(node, "nodes[0]", {"http.request": "http"})


def in_place(node: dict[str, Any], run: Run, **input_: Any) -> Outcome | Postponed:
    return run_in_place(compiled(node), run, {"workflow": input_}, parse_timestamp(NOW), NOW)


async def attempt(bench: "Bench", node: dict[str, Any], run: Run | None = None, **input_: Any) -> Event:
    """One attempt of a node."""
    steps = Steps(bench.store, bench.vault, bench.caller, bench.clock, bench.breakers, bench.tallies)
    return await steps.call(EXECUTION_ID, compiled(node), run or Run(node["id"]), {"workflow": input_})


def endpoint_node(configuration_id: str, endpoint: str) -> dict[str, Any]:
    data = {"executorConfigId": configuration_id, "endpointName": endpoint}
    return {"id": "c", "type": "executor", "data": data}


def outcome_of(event: Event) -> Outcome:
    assert isinstance(event, Settled)
    [outcome] = event.outcomes
    return outcome


class TestInPlace:
    def test_a_node_that_produces_is_completed(self, draw: "Draw") -> None:
        """With the moment and the attempt that it ran in."""
        outcome = in_place(
            draw.action("a", "set_output", output={"is": "{{workflow.amount}}"}), Run("a", 2), amount=1
        )

        assert outcome == Outcome("a", "completed", {"is": 1}, None, 2, NOW, 0)

    def test_a_transform_knows_the_time_and_the_place(self, draw: "Draw") -> None:
        """The moment of the turn; ids that belong to this node of this execution."""
        now = {"at": {"inputFormat": "$now", "outputFormat": "2006-01-02T15:04:05Z07:00"}}
        operations = [
            {"operation": "timestamp", "spec": now},
            {"operation": "uuid", "spec": {"id": {"version": 4}}},
        ]

        def made(node_id: str, execution_id: str) -> Any:
            node = compiled(draw.action(node_id, "transform", transforms=operations))
            context = {"workflow": {}, "execution": {"id": execution_id}}
            outcome = run_in_place(node, Run(node_id), context, parse_timestamp(NOW), NOW)
            assert isinstance(outcome, Outcome)
            return outcome.output

        assert made("a", "one") == made("a", "one")
        assert made("a", "one")["at"] == "2026-03-17T14:35:00Z"
        assert len({made("a", "one")["id"], made("b", "one")["id"], made("a", "two")["id"]}) == 3

    def test_a_node_that_fails_says_why(self, draw: "Draw") -> None:
        """In the words of its author."""
        outcome = in_place(draw.action("a", "fail", message="no funds"), Run("a"))

        assert outcome == Outcome("a", "failed", None, "no funds", 1, NOW, 0)

    def test_a_delay_is_postponed_and_then_completed(self, draw: "Draw") -> None:
        """It is over when it comes back with a time."""
        delay = draw.action("d", "delay", seconds=90)

        assert in_place(delay, Run("d")) == Postponed("d", "2026-03-17T14:36:30.000000Z", 1)
        assert in_place(delay, Run("d", 1, NOW)) == Outcome(
            "d", "completed", {"action": "delay", "seconds": 90}, None, 1, NOW, 0
        )

    def test_only_executor_nodes_go_through_a_configuration(self, draw: "Draw") -> None:
        """Of a provider, or with an endpoint."""
        assert configuration_id(compiled(draw.call("c"))) == CONFIGURATION_ID
        assert configuration_id(compiled(endpoint_node(CONFIGURATION_ID, "screen"))) == CONFIGURATION_ID
        assert configuration_id(compiled(draw.action("a"))) == ""


class TestCalling:
    async def test_an_answer_completes_the_node(self, bench: "Bench", draw: "Draw", serve: Serve) -> None:
        """The far side is given the input without the delivery, joined by what the node says itself."""
        arrived: list[Any] = []

        async def answer(request: web.Request) -> web.Response:
            arrived.append((request.headers["Idempotency-Key"], await request.json()))
            bench.clock.turn(1.5)
            return web.json_response({"ok": True})

        await bench.configure_http(await serve(answer))

        event = await attempt(bench, draw.call("c", "/pay", currency="BRL"), amount=1, _webhook={"path": "p"})

        outcome = outcome_of(event)
        assert arrived == [(f"{EXECUTION_ID}:c", {"amount": 1, "currency": "BRL"})]
        assert outcome.status == "completed"
        assert outcome.output["body"] == {"ok": True}
        assert (outcome.executed_at, outcome.duration_ms) == (NOW, 1500)

    async def test_a_mapping_decides_what_the_far_side_is_given(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """In place of the input; what the node says itself goes before it. Digits are kept."""
        arrived: list[Any] = []

        async def answer(request: web.Request) -> web.Response:
            arrived.append(await request.text())
            return web.json_response({})

        await bench.configure_http(await serve(answer))
        mapping = [
            {"source": "workflow.amount", "target": "send.value", "required": True},
            {"source": "workflow.nobody", "target": "description"},
            {"source": "workflow.kind", "target": "kind"},
        ]

        event = await attempt(
            bench, draw.call("c", inputMapping=mapping, kind="static"), amount=Decimal("100.10"), kind="mapped"
        )

        assert outcome_of(event).status == "completed"
        assert arrived == ['{"send":{"value":100.10},"kind":"static"}']

    async def test_what_was_mapped_is_transformed(self, bench: "Bench", draw: "Draw", serve: Serve) -> None:
        """Then come the members of the node itself. Money keeps its digits."""
        arrived: list[Any] = []

        async def answer(request: web.Request) -> web.Response:
            arrived.append(await request.text())
            return web.json_response({})

        await bench.configure_http(await serve(answer))
        node = draw.call(
            "c",
            inputMapping=[{"source": "workflow", "target": "in"}],
            transforms=[
                {"operation": "shift", "spec": {"value": "in.amount", "large": "in.large", "kind": "in.kind"}},
                {
                    "operation": "concat",
                    "spec": {"sources": [{"path": "value"}, {"value": " BRL"}], "targetPath": "text"},
                },
            ],
            kind="static",
        )

        event = await attempt(bench, node, amount=Decimal("100.10"), large=12345678901234567890, kind="given")

        assert outcome_of(event).status == "completed"
        assert arrived == ['{"value":100.10,"large":12345678901234567890,"kind":"static","text":"100.10 BRL"}']

    async def test_every_attempt_carries_the_same_ids(self, bench: "Bench", draw: "Draw", serve: Serve) -> None:
        """Those that `uuid` draws: a far side that compares repeated calls sees the same one."""
        arrived: list[Any] = []

        async def answer(request: web.Request) -> web.Response:
            arrived.append((request.headers["Idempotency-Key"], await request.json()))
            return web.Response(status=503)

        await bench.configure_http(await serve(answer))
        node = draw.call("c", transforms=[{"operation": "uuid", "spec": {"id": {"version": 4}}}])

        await attempt(bench, node, amount=1)
        bench.clock.turn(60)
        await attempt(bench, node, Run("c", 2), amount=1)
        await attempt(bench, {**node, "id": "d"}, amount=1)

        (key, first), (repeated_key, repeated), (_, other) = arrived
        assert (repeated_key, repeated) == (key, first)
        assert UUID(first["id"]).version == 4
        assert other["id"] != first["id"]

    async def test_what_is_no_object_is_not_sent(self, bench: "Bench", draw: "Draw", serve: Serve) -> None:
        """An input has members."""
        await bench.configure_http(await serve(_unavailable))
        node = draw.call("c", transforms=[{"operation": "extract", "spec": {"path": "amount"}}])

        outcome = outcome_of(await attempt(bench, node, amount=1))

        assert outcome.error == "transforms: what they make is no object, which the input of a call has to be"
        assert outcome.output is None

    async def test_an_output_mapping_makes_the_output(self, bench: "Bench", draw: "Draw", serve: Serve) -> None:
        """Of the answer, with its digits; the step keeps the status of the call."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(
                body=b'{"balance": 100.10, "id": 12345678901234567890}', content_type="application/json"
            )

        await bench.configure_http(await serve(answer))
        mapping = [
            {"source": "body.balance", "target": "balance"},
            {"source": "body.id", "target": "account.id"},
            {"source": "status_text", "target": "said"},
        ]

        outcome = outcome_of(await attempt(bench, draw.call("c", outputMapping=mapping)))

        assert outcome.status == "completed"
        assert repr(outcome.output) == repr(
            {"balance": Decimal("100.10"), "account": {"id": 12345678901234567890}, "said": "OK"}
        )
        assert outcome.status_code == 200

    async def test_an_answer_without_what_is_mapped_fails_the_node_and_is_kept(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """The call was made: it is not made again, and nobody is left to wonder what came back."""
        arrived: list[str] = []

        async def answer(request: web.Request) -> web.Response:
            arrived.append(request.path)
            return web.json_response({"other": 1}, status=201)

        await bench.configure_http(await serve(answer))
        mapping = [{"source": "body.decision", "target": "decision", "required": True}]

        outcome = outcome_of(await attempt(bench, draw.call("c", "/check", outputMapping=mapping)))

        assert arrived == ["/check"]
        assert outcome.status == "failed"
        assert outcome.error == (
            "the call succeeded, but not what is made of its answer: "
            "outputMapping[0]: the required source body.decision is missing"
        )
        assert (outcome.status_code, outcome.output["body"]) == (201, {"other": 1})

    async def test_the_answer_of_a_failed_call_stays_as_it_is(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """An error edge decides by its status, and no mapping was made for it."""

        async def answer(_: web.Request) -> web.Response:
            return web.json_response({"reason": "unknown"}, status=404)

        await bench.configure_http(await serve(answer))
        mapping = [{"source": "body.decision", "target": "decision", "required": True}]

        outcome = outcome_of(await attempt(bench, draw.call("c", outputMapping=mapping)))

        assert outcome.error == "the far side answered 404 Not Found"
        assert outcome.output["body"] == {"reason": "unknown"}

    async def test_a_required_source_that_is_missing_fails_the_node_at_once(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """Nothing is sent, and no attempt is made again: it would be missing later too."""
        await bench.configure_http(await serve(_unavailable))
        mapping = [{"source": "workflow.amount", "target": "value", "required": True}]

        outcome = outcome_of(await attempt(bench, draw.call("c", inputMapping=mapping)))

        assert outcome.status == "failed"
        assert outcome.error == "inputMapping[0]: the required source workflow.amount is missing"
        assert outcome.output is None

    async def test_a_refusal_of_the_far_side_fails_the_node_at_once(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """A 404 is no different later; what the far side said is kept."""

        async def answer(_: web.Request) -> web.Response:
            return web.json_response({"reason": "unknown"}, status=404)

        await bench.configure_http(await serve(answer))

        outcome = outcome_of(await attempt(bench, draw.call("c")))

        assert outcome.status == "failed"
        assert outcome.error == "the far side answered 404 Not Found"
        assert outcome.output["status"] == 404

    async def test_an_attempt_that_may_succeed_later_is_postponed(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """By half to the whole of the back-off."""
        await bench.configure_http(await serve(_unavailable))

        event = await attempt(bench, draw.call("c", retry={"backoffSeconds": 8}), Run("c", 2))

        assert isinstance(event, Postponed)
        assert event.attempt == 3
        assert 8 <= (parse_timestamp(event.not_before) - bench.clock.now()).total_seconds() <= 16

    async def test_the_far_side_may_ask_for_a_longer_wait(self, bench: "Bench", draw: "Draw", serve: Serve) -> None:
        """`Retry-After` is a lower bound."""

        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=429, headers={"Retry-After": "120"})

        await bench.configure_http(await serve(answer))

        event = await attempt(bench, draw.call("c"))

        made = Attempt(1, "2026-03-17T14:35:00.000000Z", 0, 429, "the far side answered 429 Too Many Requests")
        assert event == Postponed("c", "2026-03-17T14:37:00.000000Z", 2, made)

    async def test_the_last_attempt_fails_the_node(self, bench: "Bench", draw: "Draw", serve: Serve) -> None:
        """The outcome tells how many there were."""
        await bench.configure_http(await serve(_unavailable))

        outcome = outcome_of(await attempt(bench, draw.call("c", retry={"maxAttempts": 3}), Run("c", 3)))

        assert (outcome.status, outcome.attempts) == ("failed", 3)
        assert outcome.error == "the far side answered 503 Service Unavailable"

    async def test_a_configuration_that_was_switched_off_is_not_called(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """It was active when the workflow was activated."""
        await bench.configure_http(await serve(_unavailable), status="disabled")

        outcome = outcome_of(await attempt(bench, draw.call("c")))

        assert outcome.error == "the configuration is unknown, not active or unreadable"

    @pytest.mark.parametrize("configuration_id", [None, "99999999-0000-7000-8000-000000000001"])
    async def test_a_configuration_that_is_not_there_fails_the_node(
        self, bench: "Bench", draw: "Draw", configuration_id: str | None
    ) -> None:
        """Named wrongly, or not at all."""
        outcome = outcome_of(await attempt(bench, draw.call("c", providerConfigId=configuration_id)))

        assert outcome.error == "the configuration is unknown, not active or unreadable"
        assert outcome.output is None

    async def test_an_endpoint_says_where_the_call_goes(self, bench: "Bench", serve: Serve) -> None:
        """Method and path, below the base URL, with the authentication of the configuration."""
        arrived: list[Any] = []

        async def answer(request: web.Request) -> web.Response:
            arrived.append((request.method, request.path, request.headers["X-API-Key"]))
            return web.json_response({})

        configuration_id = await bench.configure_endpoints(await serve(answer))

        outcome = outcome_of(await attempt(bench, endpoint_node(configuration_id, "screen")))

        assert outcome.status == "completed"
        assert arrived == [("PUT", "/v1/screen", "canary")]

    @pytest.mark.parametrize(
        ("endpoint", "status"), [("screen", "disabled"), ("screen", "tested"), ("unknown", "active")]
    )
    async def test_what_is_no_endpoint_of_an_active_configuration_is_not_called(
        self, bench: "Bench", serve: Serve, endpoint: str, status: str
    ) -> None:
        """Whatever it was when the workflow was activated."""
        configuration_id = await bench.configure_endpoints(await serve(_unavailable), status=status)

        outcome = outcome_of(await attempt(bench, endpoint_node(configuration_id, endpoint)))

        assert outcome.error == "the configuration is unknown, not active or unreadable"

    async def test_secrets_that_cannot_be_opened_fail_the_node(self, bench: "Bench", serve: Serve) -> None:
        """A deployment with another key than the one they were sealed with."""
        configuration_id = await bench.configure_endpoints(await serve(_unavailable))
        bench.vault = Vault(lambda: [make_key()])

        outcome = outcome_of(await attempt(bench, endpoint_node(configuration_id, "screen")))

        assert outcome.error == "the configuration is unknown, not active or unreadable"

    async def test_an_input_that_does_not_fit_fails_the_node_before_the_call(
        self, bench: "Bench", draw: "Draw", serve: Serve
    ) -> None:
        """Where the node wants it checked; the first field is named, and its value is not."""
        await bench.configure_http(await serve(_unavailable))

        outcome = outcome_of(await attempt(bench, draw.call("c", validateInput=True), headers="canary", query=[]))

        assert outcome.status == "failed"
        assert outcome.attempts == 1
        assert outcome.error in {
            "the input does not fit the executor: input.headers must be an object",
            "the input does not fit the executor: input.query must be an object",
        }

    async def test_without_a_store_the_same_attempt_is_made_a_little_later(
        self, bench: "Bench", draw: "Draw"
    ) -> None:
        """No attempt was made, so none is counted."""
        bench.store.refuse(provider_configurations.get)

        event = await attempt(bench, draw.call("c"), Run("c", 4))

        assert event == Postponed("c", "2026-03-17T14:35:01.000000Z", 4)

    async def test_a_node_that_makes_no_call_is_not_attempted(self, bench: "Bench", draw: "Draw") -> None:
        """Whoever asks for it has a bug."""
        with pytest.raises(TypeError, match="node a makes no call"):
            await attempt(bench, draw.action("a"))


async def _unavailable(_: web.Request) -> web.Response:
    return web.Response(status=503)
