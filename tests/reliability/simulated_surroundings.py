"""What a simulated process has around it: a clock, a store and a far side, in a world that is in trouble."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy import Connection

from flowker.domain.errors import InternalError
from flowker.engine.clock import Alarm
from flowker.executors.client import Call, CallFailed, CallResult, CallSucceeded
from flowker.storage import executions
from tests.reliability.memory_database import transaction
from tests.reliability.virtual_time import begin_outside, current_process, pause

T0 = datetime(2026, 3, 17, 14, 35, tzinfo=UTC)

CALL_TIMEOUT_S = 10.0


@dataclass
class Trouble:
    """How likely what goes wrong is; nothing, once the world is well again."""

    chance: Random
    refused: float = field(init=False)
    """A request of the store that does nothing."""
    answer_lost: float = field(init=False)
    """One that is committed, and nobody hears so."""
    slow: float = field(init=False)
    """One that takes seconds."""
    latency_s: float = field(init=False)
    call_failed: float = field(init=False)
    answer_of_call_lost: float = field(init=False)
    late: float = field(init=False)
    """A call that has its effect, and its answer, when nobody waits for it any more."""
    far_side_away: bool = False
    over: bool = False

    def __post_init__(self) -> None:
        bad = self.chance.uniform(0, 0.3)
        self.refused, self.answer_lost, self.slow = bad * 0.5, bad * 0.3, bad * 0.1
        self.latency_s = self.chance.choice([0.02, 0.02, 0.02, 0.5])
        self.call_failed, self.answer_of_call_lost, self.late = bad * 1.5, bad * 0.6, bad * 0.4

    def strikes(self, likelihood: float) -> bool:
        return not self.over and self.chance.random() < likelihood

    async def stay_until_over(self, mean_s: float) -> bool:
        """Wait for the next occasion; False when the trouble is over."""
        await pause(self.chance.expovariate(1 / mean_s))
        return not self.over


class SimulatedClock:
    """The time of day, which somebody may set while processes run."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> datetime:
        return T0 + timedelta(seconds=asyncio.get_running_loop().time() + self.ahead_s)

    async def sleep(self, seconds: float) -> None:
        await pause(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        # In a frozen process nothing is called until it is thawed.
        sleeping = asyncio.ensure_future(self.sleep(seconds))
        sleeping.add_done_callback(lambda _: None if sleeping.cancelled() else callback())
        return sleeping


class SimulatedStore:
    """Runs the real statements on a database in memory, one after another, in the order that chance decides."""

    def __init__(self, connection: Connection, trouble: Trouble) -> None:
        self.connection = connection
        self.refused_to_stale = 0
        """What a process wanted to record that did not know yet that another one had taken over."""
        self._trouble = trouble

    async def read(self, query: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Nothing else runs meanwhile: what is read is one snapshot without a transaction.
        return await self._run(query, *args, **kwargs)

    async def write(self, change: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._run(_in_transaction, change, *args, **kwargs)

    async def write_together(self, change: Callable[..., Any], item: Any) -> Any:
        [result] = await self._run(_in_transaction, change, [item])
        process = current_process()
        if change is executions.record and not result and process is not None and process.is_stale:
            self.refused_to_stale += 1
        return result

    async def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await self._take_time()
        if self._trouble.strikes(self._trouble.refused):
            raise InternalError
        result = function(self.connection, *args, **kwargs)
        await self._take_time()
        if self._trouble.strikes(self._trouble.answer_lost):
            raise InternalError
        return result

    async def _take_time(self) -> None:
        trouble = self._trouble
        await pause(trouble.chance.uniform(0, 3.0 if trouble.strikes(trouble.slow) else trouble.latency_s))


def _in_transaction(connection: Connection, change: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with transaction(connection):
        return change(connection, *args, **kwargs)


class SimulatedFarSide:
    """Answers calls, badly; `effects` counts how often each idempotency key had one.

    What it was asked to do goes on when nobody waits for it any more: the process that asked may be dead.
    """

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self.effects: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.late = 0

    async def call(self, call: Call) -> CallResult:
        key = f"{call.execution_id}:{call.node_id}"
        self.calls.append(key)
        working = begin_outside(self._work(key))
        await asyncio.wait([working], timeout=CALL_TIMEOUT_S)
        await pause(0)
        if not working.done():
            self.late += 1
            return CallFailed("no answer within 10 s", retryable=True)
        result: CallResult = working.result()
        return result

    async def _work(self, key: str) -> CallResult:
        trouble = self._trouble
        if trouble.far_side_away:
            await asyncio.sleep(trouble.chance.uniform(0, 0.1))
            return CallFailed("nobody is there", retryable=True)
        await asyncio.sleep(trouble.chance.uniform(0, 60 if trouble.strikes(trouble.late) else 5))
        if trouble.strikes(trouble.call_failed):
            return CallFailed("it went wrong", retryable=trouble.chance.random() < 0.8)
        score = trouble.chance.randint(0, 100)
        effect = self.effects.setdefault(key, {"status": 200, "body": {"score": score}})
        if trouble.strikes(trouble.answer_of_call_lost):
            await asyncio.sleep(CALL_TIMEOUT_S)
        return CallSucceeded(dict(effect))
