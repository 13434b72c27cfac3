"""One attempt of one node: built-in nodes are evaluated in place, calls go out through the executors."""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from flowker.domain.calls import ExecutorCall
from flowker.domain.errors import InternalError
from flowker.domain.executions import Attempt, Event, Outcome, Postponed, Run, Settled
from flowker.domain.kazaam import Occasion
from flowker.domain.mappings import MappingFailed
from flowker.domain.nodes import Node
from flowker.domain.retries import delay_s
from flowker.domain.steps import Produced, Wait, run_builtin
from flowker.domain.timestamps import format_timestamp
from flowker.engine.clock import Clock
from flowker.engine.inputs import map_output, prepare_input
from flowker.engine.tallies import Tallies
from flowker.engine.ways import Way, Ways
from flowker.executors.breaker import Breakers
from flowker.executors.client import Call, Caller, CallFailed, CallResult
from flowker.storage.database import Store
from flowker.storage.vault import SecretUnreadable, Vault

log = structlog.get_logger("flowker.engine")

STORE_RETRY_S = 1.0
"""How long a call waits for a store that is away, before it is tried again."""

SPREAD_S = (0.5, 5.0)
"""How much later than they could those come back who were held off: a thousand at once would be an outage of its own.
The least is for clocks that do not run quite alike."""


def configuration_id(node: Node) -> str:
    """The configuration that a node calls through, of either kind; empty when it names none."""
    call = node.behaviour
    if not isinstance(call, ExecutorCall):
        return ""
    return call.endpoint.configuration_id if call.endpoint else call.provider_configuration_id or ""


def run_in_place(node: Node, run: Run, context: Mapping[str, Any], now: datetime, at: str) -> Outcome | Postponed:
    """Evaluate a built-in node; it takes no time and has no effect outside. `at` is the text of `now`."""
    occasion = partial(_occasion, context.get("execution", {}).get("id", ""), node.id, at)
    result = run_builtin(node.behaviour, context, elapsed=run.not_before is not None, occasion=occasion)
    if isinstance(result, Produced):
        return Outcome(node.id, "completed", result.output, attempts=run.attempt, executed_at=at)
    if isinstance(result, Wait):
        return Postponed(node.id, format_timestamp(now + timedelta(seconds=result.seconds)), run.attempt)
    return Outcome(node.id, "failed", error=result.message, attempts=run.attempt, executed_at=at)


class Steps:
    """Makes the calls of executor nodes."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        caller: Caller,
        clock: Clock,
        breakers: Breakers,
        tallies: Tallies,
    ) -> None:
        self._ways = Ways(store, vault)
        self._caller = caller
        self._clock = clock
        self._breakers = breakers
        self._tallies = tallies

    def hold_off(self, node: Node, run: Run) -> Event | None:
        """None when the call of a node may begin; while its circuit breaker is open, what becomes of the attempt.

        It waits for the breaker as for any other retry, as long as attempts are left. To be asked before the call is
        written down, with the very run that is then called.
        """
        call = node.behaviour
        if not isinstance(call, ExecutorCall):
            return None
        open_s = self._breakers.admit(configuration_id(node), run)
        if not open_s:
            return None
        self._tallies.held_off[call.executor_id] += 1
        now = self._clock.now()
        back_s = open_s + random.uniform(*SPREAD_S)  # noqa: S311 - jitter
        wait_s = delay_s(call.retry, run.tries, random.random(), back_s)  # noqa: S311 - jitter
        if wait_s is not None:
            return Postponed(node.id, format_timestamp(now + timedelta(seconds=wait_s)), run.attempt + 1)
        error = "FLK-0507: the circuit breaker of the configuration is open"
        at = format_timestamp(now)
        return Settled(at, (Outcome(node.id, "failed", error=error, attempts=run.attempt, executed_at=at),))

    async def call(self, execution_id: str, node: Node, run: Run, context: Mapping[str, Any]) -> Event:
        """Make one attempt of an executor node: the node's outcome, or when it is attempted again."""
        behaviour = node.behaviour
        if not isinstance(behaviour, ExecutorCall):
            raise TypeError(f"node {node.id} makes no call")
        self._breakers.begin(configuration_id(node), run)
        try:
            return await self._call(execution_id, node, behaviour, run, context)
        finally:
            self._breakers.release(configuration_id(node), run)

    async def _call(
        self, execution_id: str, node: Node, behaviour: ExecutorCall, run: Run, context: Mapping[str, Any]
    ) -> Event:
        started = self._clock.now()
        try:
            way = await self._ways.find(behaviour)
        except SecretUnreadable as error:
            log.warning("secrets unreadable", execution_id=execution_id, node_id=node.id, reason=str(error))
            way = None
        except InternalError:
            # No attempt was made. To fail here would cut off the calls of the branches beside this one.
            return Postponed(node.id, format_timestamp(started + timedelta(seconds=STORE_RETRY_S)), run.attempt)
        result = await self._attempt(execution_id, node.id, behaviour, run, context, way)
        ended = self._clock.now()
        if isinstance(result, CallFailed) and result.retryable:
            wait_s = delay_s(behaviour.retry, run.tries, random.random(), result.retry_after_s)  # noqa: S311 - jitter
            if wait_s is not None:
                self._tallies.retries[behaviour.executor_id] += 1
                made = _attempt(run, result, started, ended)
                return Postponed(node.id, format_timestamp(ended + timedelta(seconds=wait_s)), run.attempt + 1, made)
        mapped = await map_output(behaviour, result)
        outcome = _outcome(node.id, run, mapped, started, ended, _status_code(result))
        return Settled(format_timestamp(ended), (outcome,))

    async def _attempt(
        self,
        execution_id: str,
        node_id: str,
        call: ExecutorCall,
        run: Run,
        context: Mapping[str, Any],
        way: Way | None,
    ) -> CallResult:
        if way is None:
            return CallFailed("the configuration is unknown, not active or unreadable", retryable=False)
        try:
            input_ = await prepare_input(call, context, _occasion(execution_id, node_id, run.opened_at))
        except MappingFailed as error:
            return CallFailed(str(error), retryable=False)
        return await self._send(
            run,
            Call(
                execution_id=execution_id,
                node_id=node_id,
                attempt=run.attempt,
                executor_id=call.executor_id,
                configuration=way.configuration,
                method=way.method,
                path=way.path,
                timeout_s=way.timeout_s,
                input=input_,
                success_status_codes=call.success_status_codes,
            ),
        )

    async def _send(self, run: Run, call: Call) -> CallResult:
        """Make a call, and tell the breaker of its configuration and the tallies how it ended."""
        started = self._clock.now()
        result = await self._caller.call(call)
        self._breakers.settle(call.configuration.id, run, result)
        self._tallies.call_ended(call.executor_id, result, self._clock.now() - started)
        return result


def _occasion(execution_id: str, node_id: str, now: str) -> Occasion:
    """Each attempt of a node has the same time and draws the same UUIDs: a repeated call carries them again."""
    return Occasion(now, f"{execution_id}:{node_id}")


def _outcome(
    node_id: str, run: Run, result: CallResult, started: datetime, ended: datetime, status_code: int | None
) -> Outcome:
    failed = isinstance(result, CallFailed)
    return Outcome(
        node_id,
        "failed" if failed else "completed",
        result.output,
        result.message if isinstance(result, CallFailed) else None,
        run.attempt,
        format_timestamp(started),
        _milliseconds(started, ended),
        status_code,
    )


def _attempt(run: Run, failed: CallFailed, started: datetime, ended: datetime) -> Attempt:
    started_at = format_timestamp(started)
    return Attempt(run.attempt, started_at, _milliseconds(started, ended), _status_code(failed), failed.message)


def _status_code(result: CallResult) -> int | None:
    """What the far side answered, if it did."""
    return (result.output or {}).get("status")


def _milliseconds(started: datetime, ended: datetime) -> int:
    return max(0, round((ended - started).total_seconds() * 1000))
