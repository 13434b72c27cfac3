"""Circuit breakers in the engine: executions wait for a far side that fails, and one of them asks it."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from flowker.domain.executions import Event, Outcome, Postponed, Run, Settled
from flowker.domain.nodes import Node, compile_node
from flowker.domain.timestamps import parse_timestamp
from flowker.engine.records import Recorded
from flowker.engine.steps import SPREAD_S, Steps
from flowker.executors.breaker import FAILURES_MAX, OPEN_S, PROBE_WAIT_S
from flowker.storage import provider_configurations

if TYPE_CHECKING:
    from tests.unit.engine.conftest import Bench, Draw

EXECUTION_ID = "00000000-0000-7000-8000-000000000001"

OPENING_TURN_S = OPEN_S + SPREAD_S[1] + 1
PROBE_TURN_S = PROBE_WAIT_S + SPREAD_S[1] + 1
"""By these the clock is turned until whoever was held off is due again."""


class FarSide:
    """A listener that counts connections; each carries one request, and is answered when it may be."""

    def __init__(self) -> None:
        self.status = 503
        self.connections = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            await self.answers.wait()
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self.status)
            await writer.drain()
        except OSError:
            pass  # the caller gave up
        finally:
            writer.close()


@pytest.fixture
async def far_side(bench: "Bench") -> AsyncIterator[FarSide]:
    """Fails until a test says otherwise; the configuration of the bench leads to it."""
    listener = FarSide()
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    listener.url = f"http://{host}:{port}"
    await bench.configure_http(listener.url)
    yield listener
    listener.answers.set()
    server.close()
    await server.wait_closed()


async def workflow(bench: "Bench", draw: "Draw", **retry: Any) -> str:
    return await bench.save([draw.trigger, draw.call("c", retry=retry)], draw.chain("t", "c"))


async def open_breaker(bench: "Bench", draw: "Draw") -> None:
    impatient = await workflow(bench, draw, maxAttempts=1)
    for _ in range(FAILURES_MAX):
        await bench.run(impatient)


def waits(recorded: Recorded) -> list[Postponed]:
    return [event for event in recorded.events if isinstance(event, Postponed)]


async def waiting(bench: "Bench", execution_id: str, times: int = 1) -> Postponed:
    """The last wait of an execution, once it has waited so often."""
    recorded = await bench.until(execution_id, lambda one: len(waits(one)) == times)
    return waits(recorded)[-1]


class TestExecutions:
    async def test_the_sixth_attempt_makes_no_connection(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """Five failures in a row opened the breaker; the execution waits for it, and its attempt counts."""
        await open_breaker(bench, draw)

        wait = await waiting(bench, await bench.accept(await workflow(bench, draw)))

        seconds = (parse_timestamp(wait.not_before) - bench.clock.now()).total_seconds()
        assert far_side.connections == FAILURES_MAX
        assert wait.attempt == 2
        assert OPEN_S + SPREAD_S[0] <= seconds <= OPEN_S + SPREAD_S[1]
        assert bench.tallies.held_off == {"http.request": 1}

    async def test_one_execution_of_many_is_the_probe(self, bench: "Bench", draw: "Draw", far_side: FarSide) -> None:
        """The others wait until it has answered, and then they all go through."""
        await open_breaker(bench, draw)
        patient = await workflow(bench, draw)
        ids = [await bench.accept(patient) for _ in range(20)]
        for id_ in ids:
            await waiting(bench, id_)
        far_side.answers.clear()
        far_side.status = 200
        bench.clock.turn(OPENING_TURN_S)
        held_off = FAILURES_MAX + len(ids) + len(ids) - 1

        await bench.eventually(lambda: bench.tallies.held_off.total() == held_off - FAILURES_MAX)
        await bench.eventually(lambda: far_side.connections > FAILURES_MAX)
        probes = far_side.connections - FAILURES_MAX
        far_side.answers.set()
        await bench.eventually(lambda: not bench.breakers.states())
        await _turn_until_ended(bench, ids)

        assert probes == 1
        assert far_side.connections == FAILURES_MAX + len(ids)

    async def test_a_probe_that_fails_keeps_everybody_waiting(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """As long as the first time, for one connection."""
        await open_breaker(bench, draw)
        patient = await workflow(bench, draw, backoffSeconds=0.1)
        first = await bench.accept(patient)
        await waiting(bench, first)
        bench.clock.turn(OPENING_TURN_S)
        await waiting(bench, first, times=2)

        wait = await waiting(bench, await bench.accept(patient))

        assert far_side.connections == FAILURES_MAX + 1
        assert (parse_timestamp(wait.not_before) - bench.clock.now()).total_seconds() >= OPEN_S
        assert bench.breakers.openings == 2

    @pytest.mark.parametrize("status", [400, 404, 429])
    async def test_answers_below_500_never_open(
        self, bench: "Bench", draw: "Draw", far_side: FarSide, status: int
    ) -> None:
        """Each of many executions is told so by the far side itself, and fails at once."""
        far_side.status = status
        impatient = await workflow(bench, draw, maxAttempts=1)

        ended = [await bench.run(impatient) for _ in range(2 * FAILURES_MAX)]

        assert far_side.connections == len(ended)
        assert {recorded.row.status for recorded in ended} == {"failed"}
        assert bench.breakers.states() == {}
        assert bench.tallies.calls == {("http.request", "refused"): len(ended)}

    async def test_without_attempts_left_the_execution_fails(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """Waiting for the breaker took them; the reason is told with its code."""
        await open_breaker(bench, draw)
        probe = await bench.accept(await workflow(bench, draw, maxAttempts=10))
        await waiting(bench, probe)
        far_side.answers.clear()
        bench.clock.turn(OPENING_TURN_S)
        await bench.eventually(lambda: far_side.connections > FAILURES_MAX)
        thrice = await bench.accept(await workflow(bench, draw, maxAttempts=3))
        for times in (1, 2):
            await waiting(bench, thrice, times=times)
            bench.clock.turn(PROBE_TURN_S)

        recorded = await bench.end(thrice)

        assert far_side.connections == FAILURES_MAX + 1
        error = "FLK-0507: node c failed: the circuit breaker of the configuration is open"
        assert recorded.row.error_message == error
        [settled] = [event for event in recorded.events if isinstance(event, Settled)]
        assert settled.outcomes[0].error == "FLK-0507: the circuit breaker of the configuration is open"
        assert settled.outcomes[0].attempts == 3

    async def test_an_error_edge_is_taken_when_the_breaker_is_open(
        self, bench: "Bench", draw: "Draw", far_side: FarSide
    ) -> None:
        """It is a failed node as any other."""
        await open_breaker(bench, draw)
        edges = draw.chain("t", "c", "a")
        edges[1]["sourceHandle"] = "error"
        workflow_id = await bench.save(
            [draw.trigger, draw.call("c", retry={"maxAttempts": 1}), draw.action("a")], edges
        )

        recorded = await bench.run(workflow_id)

        assert recorded.row.status == "completed"
        assert far_side.connections == FAILURES_MAX

    async def test_a_new_start_knows_of_no_failure(self, bench: "Bench", draw: "Draw", far_side: FarSide) -> None:
        """Breakers are in memory: what waits is attempted at its time, and the far side speaks for itself."""
        await open_breaker(bench, draw)
        id_ = await bench.accept(await workflow(bench, draw))
        await waiting(bench, id_)
        await bench.restart()
        far_side.status = 200
        bench.clock.turn(OPENING_TURN_S)

        recorded = await bench.end(id_)

        assert recorded.row.status == "completed"
        assert far_side.connections == FAILURES_MAX + 1


async def _turn_until_ended(bench: "Bench", ids: list[str]) -> None:
    """Those that were held off come back in their own time."""
    for id_ in ids:
        recorded = await bench.until(id_, lambda one: one.row.status != "running" or len(waits(one)) == 2)
        if recorded.row.status == "running":
            bench.clock.turn(PROBE_TURN_S)
        recorded = await bench.end(id_)
        assert recorded.row.status == "completed"


class Attempts:
    """Single attempts of one node, as an engine makes them."""

    def __init__(self, bench: "Bench", node: Node) -> None:
        self.steps = Steps(bench.store, bench.vault, bench.caller, bench.clock, bench.breakers, bench.tallies)
        self.node = node

    async def call(self, run: Run) -> Event:
        held_off = self.steps.hold_off(self.node, run)
        return held_off or await self.steps.call(EXECUTION_ID, self.node, run, {"workflow": {}})

    def hold_off(self, run: Run) -> Event | None:
        return self.steps.hold_off(self.node, run)


@pytest.fixture
async def half_open(bench: "Bench", draw: "Draw", far_side: FarSide) -> Attempts:
    """Attempts of a node whose far side has failed, and which may be asked once."""
    attempts = Attempts(bench, compile_node(draw.call("c"), "nodes[0]", {"http.request": "http"}))
    for _ in range(FAILURES_MAX):
        await attempts.call(Run("c"))
    bench.clock.turn(OPEN_S)
    far_side.status = 200
    return attempts


class TestAttempts:
    async def test_who_was_not_held_off_is_not_held_off_by_the_call(
        self, half_open: Attempts, far_side: FarSide
    ) -> None:
        """The engine asks before it records that a call begins; the place is kept meanwhile, for this run alone."""
        run, equal_run = Run("c"), Run("c")

        asked = [half_open.hold_off(run), half_open.hold_off(equal_run), half_open.hold_off(run)]
        event = await half_open.call(run)

        assert [type(one) for one in asked] == [type(None), Postponed, type(None)]
        assert isinstance(event, Settled)
        assert far_side.connections == FAILURES_MAX + 1

    async def test_a_probe_that_is_cancelled_makes_room(
        self, bench: "Bench", half_open: Attempts, far_side: FarSide
    ) -> None:
        """At once, for the next attempt."""
        far_side.answers.clear()
        probe = asyncio.create_task(half_open.call(Run("c")))
        await bench.eventually(lambda: far_side.connections == FAILURES_MAX + 1)
        probe.cancel()
        await asyncio.wait([probe])
        far_side.answers.set()

        event = await half_open.call(Run("c"))

        assert isinstance(event, Settled)
        assert event.outcomes[0].status == "completed"
        assert bench.breakers.states() == {}

    async def test_a_probe_without_a_store_makes_room(
        self, bench: "Bench", half_open: Attempts, far_side: FarSide
    ) -> None:
        """No call was made, and nothing is known of the far side."""
        bench.store.refuse(provider_configurations.get)
        await half_open.call(Run("c"))

        assert bench.breakers.states() == {"11111111-0000-7000-8000-000000000001": "half-open"}
        assert half_open.hold_off(Run("c")) is None
        assert far_side.connections == FAILURES_MAX

    async def test_an_endpoint_has_the_breaker_of_its_configuration(self, bench: "Bench", far_side: FarSide) -> None:
        """Whichever endpoint it is."""
        configuration_id = await bench.configure_endpoints(far_side.url)
        data = {"executorConfigId": configuration_id, "endpointName": "screen"}
        node = compile_node({"id": "c", "type": "executor", "data": data}, "nodes[0]", {"http.request": "http"})
        attempts = Attempts(bench, node)
        for _ in range(FAILURES_MAX):
            await attempts.call(Run("c"))

        event = await attempts.call(Run("c"))

        assert bench.breakers.states() == {configuration_id: "open"}
        assert isinstance(event, Postponed)
        assert far_side.connections == FAILURES_MAX

    async def test_a_node_that_makes_no_call_is_never_held_off(self, bench: "Bench", draw: "Draw") -> None:
        """Whatever state a breaker is in."""
        node = compile_node(draw.action("a"), "nodes[0]", {})

        assert Attempts(bench, node).hold_off(Run("a")) is None

    async def test_the_last_attempt_is_settled_where_it_is_held_off(
        self, bench: "Bench", half_open: Attempts
    ) -> None:
        """With the moment, and without a duration."""
        half_open.hold_off(Run("c"))

        event = half_open.hold_off(Run("c", 5))

        at = "2026-03-17T14:35:30.000000Z"
        error = "FLK-0507: the circuit breaker of the configuration is open"
        assert event == Settled(at, (Outcome("c", "failed", None, error, 5, at, 0),))
        assert bench.tallies.held_off == {"http.request": 1}
