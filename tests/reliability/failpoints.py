"""Boundaries at which a process dies: at once and without a word, as by a power cut.

A boundary is written `<moment> <what>`. The moments are `before` and `after` a statement, and `before commit of` and
`after commit of` the transaction in which it is; what it is about is one of the labels of
`tests.reliability.database_calls`. `calling` is before a call goes out, `called` when its answer was read. A number
at the end lets the boundary be passed until then: `before update version_num of alembic_version #3`.
"""

import os
import re
from dataclasses import dataclass
from typing import Final

from flowker.executors.client import Call, Caller, CallResult
from tests.reliability import database_calls
from tests.reliability.database_calls import DatabaseCall, Moment

DIED = 86
"""How a process ends at its failpoint: no other end looks like it."""

CALL_BOUNDARIES: Final = frozenset({"calling", "called"})


@dataclass
class Failpoint:
    """Ends the process when its boundary is reached."""

    boundary: str
    times_left: int = 1

    @classmethod
    def parse(cls, text: str) -> "Failpoint":
        boundary, _, number = text.partition(" #")
        return cls(boundary, int(number or 1))

    def watch(self, moment: Moment, call: DatabaseCall) -> None:
        if any(self.boundary == f"{moment} {name}" for name in call.names):
            self._die_in_turn()

    async def watch_call(self, caller: Caller, call: Call) -> CallResult:
        if self.boundary == "calling":
            self._die_in_turn()
        result = await _make_call(caller, call)
        if self.boundary == "called":
            self._die_in_turn()
        return result

    def _die_in_turn(self) -> None:
        self.times_left -= 1
        if not self.times_left:
            os._exit(DIED)


_make_call = Caller.call


def install(text: str) -> None:
    """Make this process one that dies at a boundary."""
    failpoint = Failpoint.parse(text)
    if failpoint.boundary in CALL_BOUNDARIES:
        _watch_calls(failpoint)
    elif re.match("(before|after) ", failpoint.boundary):
        database_calls.install(failpoint.watch)
    else:
        raise ValueError(f"no boundary is called {text}")


def _watch_calls(failpoint: Failpoint) -> None:
    async def watched_call(caller: Caller, call: Call) -> CallResult:
        return await failpoint.watch_call(caller, call)

    Caller.call = watched_call  # type: ignore[method-assign, assignment]
