"""What people ask of executions, until the one task that drives an execution comes to it."""

import asyncio
from dataclasses import dataclass, field

from flowker.domain.errors import FlowkerError
from flowker.domain.executions import State
from flowker.domain.interventions import Intervention


@dataclass(eq=False, slots=True)
class Asked:
    """One intervention; `answer` is the state that it led to, once that is committed, or a refusal."""

    intervention: Intervention
    answer: asyncio.Future[State] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def accept(self, state: State) -> None:
        if not self.answer.done():
            self.answer.set_result(state)

    def refuse(self, error: FlowkerError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            # Who asked may have gone away; that nobody reads the refusal is no fault then.
            self.answer.exception()


class Mailbox:
    """Interventions by execution, and a bell at the door of each execution that somebody drives."""

    def __init__(self) -> None:
        self._asked: dict[str, list[Asked]] = {}
        self._bells: dict[str, asyncio.Future[None]] = {}

    def put(self, execution_id: str, intervention: Intervention) -> Asked:
        asked = Asked(intervention)
        self._asked.setdefault(execution_id, []).append(asked)
        self.ring(execution_id)
        return asked

    def ring(self, execution_id: str) -> None:
        """Ring the bell of an execution, if it has one: something else than a wish is there for it."""
        bell = self._bells.pop(execution_id, None)
        if bell is not None and not bell.done():
            bell.set_result(None)

    def holds(self, execution_id: str) -> bool:
        return execution_id in self._asked

    def take_next(self, execution_id: str) -> Asked | None:
        """What was asked first of what is asked of an execution; it is the taker's to answer."""
        waiting = self._asked.get(execution_id)
        if waiting is None:
            return None
        asked = waiting.pop(0)
        if not waiting:
            del self._asked[execution_id]
        return asked

    def take(self, execution_id: str) -> list[Asked]:
        """Everything that is asked of an execution; it is the taker's to answer."""
        return self._asked.pop(execution_id, [])

    def withdraw(self, execution_id: str, asked: Asked) -> bool:
        """Take one back that nobody has taken yet."""
        waiting = self._asked.get(execution_id, [])
        if asked not in waiting:
            return False
        waiting.remove(asked)
        if not waiting:
            del self._asked[execution_id]
        return True

    def bell(self, execution_id: str) -> asyncio.Future[None]:
        """A future that is done when something is asked of the execution; `silence` it afterwards."""
        bell: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bells[execution_id] = bell
        if self.holds(execution_id):
            bell.set_result(None)
        return bell

    def silence(self, execution_id: str) -> None:
        self._bells.pop(execution_id, None)

    def refuse_all(self, error: FlowkerError) -> None:
        """Refuse everything: nobody will come for it any more."""
        for execution_id in list(self._asked):
            for asked in self.take(execution_id):
                asked.refuse(error)
