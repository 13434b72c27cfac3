"""What people ask of executions: kept in order until the driver comes, answered once, refused at the end."""

import asyncio

import pytest

from flowker.domain.audit import SYSTEM
from flowker.domain.errors import ExecutionEnded, InternalError
from flowker.domain.executions import State
from flowker.domain.interventions import Cancel, Retry
from flowker.engine.mailbox import Asked, Mailbox

CANCEL = Cancel(SYSTEM)
RETRY = Retry(SYSTEM)


class TestAnswers:
    async def test_the_first_answer_counts(self) -> None:
        """Whatever comes later, whoever asked has heard it."""
        accepted, refused = Asked(CANCEL), Asked(CANCEL)

        accepted.accept(State({}))
        accepted.refuse(InternalError())
        refused.refuse(ExecutionEnded())
        refused.accept(State({}))

        assert await accepted.answer == State({})
        with pytest.raises(ExecutionEnded):
            await refused.answer

    async def test_who_went_away_disturbs_nobody(self) -> None:
        """An answer that was cancelled is not given, and a refusal that nobody reads is no fault."""
        gone, unread = Asked(CANCEL), Asked(CANCEL)
        gone.answer.cancel()

        gone.accept(State({}))
        gone.refuse(InternalError())
        unread.refuse(InternalError())

        assert gone.answer.cancelled()
        del unread


class TestTaking:
    async def test_what_is_asked_of_an_execution_is_taken_in_order(self) -> None:
        """One at a time or the rest together; others are not touched."""
        mailbox = Mailbox()
        first, second, third = (mailbox.put("one", asked) for asked in (CANCEL, RETRY, CANCEL))
        other = mailbox.put("two", CANCEL)

        assert mailbox.take_next("one") is first
        assert mailbox.take("one") == [second, third]
        assert not mailbox.holds("one")
        assert (mailbox.take_next("one"), mailbox.take("one")) == (None, [])
        assert mailbox.take_next("two") is other
        assert not mailbox.holds("two")

    async def test_what_nobody_has_taken_can_be_withdrawn(self) -> None:
        """And nothing else."""
        mailbox = Mailbox()
        first, second = mailbox.put("one", CANCEL), mailbox.put("one", RETRY)

        assert mailbox.withdraw("one", first)
        assert mailbox.holds("one")
        assert not mailbox.withdraw("one", first)
        assert mailbox.take("one") == [second]
        assert not mailbox.withdraw("one", second)
        assert not mailbox.withdraw("two", first)

    async def test_the_last_that_is_withdrawn_leaves_nothing_behind(self) -> None:
        """An entry for each id that was ever asked for would fill the memory."""
        mailbox = Mailbox()
        asked = mailbox.put("one", CANCEL)

        assert mailbox.withdraw("one", asked)

        assert not mailbox.holds("one")

    async def test_at_the_end_everybody_is_refused(self) -> None:
        """Of every execution, and nothing is left."""
        mailbox = Mailbox()
        everybody = [mailbox.put(execution_id, CANCEL) for execution_id in ("one", "one", "two")]

        mailbox.refuse_all(InternalError())

        for asked in everybody:
            with pytest.raises(InternalError):
                await asked.answer
        assert not mailbox.holds("one")
        assert not mailbox.holds("two")


class TestBell:
    async def test_it_rings_once_for_what_is_asked(self) -> None:
        """However many ask; each execution has its own."""
        mailbox = Mailbox()
        bell, other = mailbox.bell("one"), mailbox.bell("two")

        mailbox.put("one", CANCEL)
        mailbox.put("one", RETRY)

        assert bell.done()
        assert not other.done()

    async def test_it_rings_at_once_for_what_was_asked_before(self) -> None:
        """Between two looks of the driver."""
        mailbox = Mailbox()
        mailbox.put("one", CANCEL)

        assert mailbox.bell("one").done()

    async def test_a_silenced_bell_rings_no_more(self) -> None:
        """The driver does not listen."""
        mailbox = Mailbox()
        bell = mailbox.bell("one")
        mailbox.silence("one")
        mailbox.silence("one")

        mailbox.put("one", CANCEL)

        assert not bell.done()
        assert mailbox.holds("one")

    async def test_a_bell_that_its_driver_dropped_is_left_alone(self) -> None:
        """It was cancelled with what waited for it."""
        mailbox = Mailbox()
        bell = mailbox.bell("one")
        bell.cancel()
        await asyncio.sleep(0)

        mailbox.put("one", CANCEL)

        assert mailbox.holds("one")
