"""Reading once what many ask for at the same time.

Nothing is remembered: a read begins after everybody asked whom it answers, so each of them hears what is stored now,
as from a read of his own. Who asks while it is under way hears from the next one.

    asked ─┬─► read ──► answer to all
    asked ─┘     asked ─┬─► read ──► answer to all
                 asked ─┘
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from flowker.storage.database import Connection, Store

T = TypeVar("T")

_Question: TypeAlias = tuple[Callable[[Connection, str], Any], str]


class SharedReads:
    """At most one read of a question is under way."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[_Question, list[asyncio.Future[Any]]] = {}
        """Who waits for the next read; there is an entry for each question that is being read."""
        self._reading: set[asyncio.Task[None]] = set()

    async def read(self, query: Callable[[Connection, str], T], id_: str) -> T:
        """What the query finds of an id. The answer belongs to others too, so nobody may change it."""
        question = (query, id_)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if question in self._waiting:
            self._waiting[question].append(answer)
        else:
            self._waiting[question] = [answer]
            reading = asyncio.create_task(self._read_while_asked(question))
            self._reading.add(reading)
            reading.add_done_callback(self._reading.discard)
        return await answer

    async def _read_while_asked(self, question: _Question) -> None:
        """Begins a moment after the first one asked: who asks in the same moment is answered with him."""
        askers: Sequence[asyncio.Future[Any]] = ()
        try:
            while askers := self._waiting[question]:
                self._waiting[question] = []
                await self._answer(question, askers)
        finally:
            # When this is cancelled nobody is left waiting for ever.
            for asker in (*askers, *self._waiting.pop(question)):
                asker.cancel()

    async def _answer(self, question: _Question, askers: Sequence[asyncio.Future[Any]]) -> None:
        query, id_ = question
        try:
            found = await self._store.read(query, id_)
        except Exception as error:  # noqa: BLE001 - it belongs to those who asked
            for asker in askers:
                if not asker.done():
                    asker.set_exception(error)
        else:
            for asker in askers:
                if not asker.done():
                    asker.set_result(found)
