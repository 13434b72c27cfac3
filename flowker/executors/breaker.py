"""Circuit breakers: a far side that fails again and again is left alone for a while, then asked once.

One per configuration, in the memory of this process. What a breaker says is decided at once, from the time that it is
given; nothing here waits, and only `Breakers` reads a clock. Its states, and what leads from one to another:

    closed ──(5 failures in a row)──► open
    open ──(30 s)──► half-open
    half-open ──(the probe succeeded)──► closed
    half-open ──(the probe failed)──► open

Half-open lets one call through, the probe, and tells everybody else to come back. The probe belongs to the attempt
that got it, which may ask again. An attempt that is never heard of again loses it after a while: nothing stays
half-open for ever.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from flowker.executors.calls import CallResult, CallSucceeded

State = Literal["closed", "open", "half-open"]

FAILURES_MAX = 5

OPEN_S = 30.0

PROBE_WAIT_S = 5.0
"""How long others wait while a probe is under way: most far sides answer within it, and attempts are few."""

CLAIM_S = 30.0
"""How long the call of a probe may take to begin: between the two stands a commit."""

PROBE_MAX_S = 330.0
"""How long the call of a probe may take: the longest timeout of a call, and some time to read its configuration."""

KEPT_MAX = 1_000
"""Configurations whose calls failed last. One whose last call succeeded is not kept at all."""

FORGOTTEN_AFTER_S = 3_600.0
"""A configuration that nobody has called for so long may be deleted, and tells nothing of its far side."""

_log = structlog.get_logger("flowker.executors")


@dataclass(slots=True)
class Breaker:
    """The far side behind one configuration. Every method is told the time, in monotonic seconds."""

    failures: int = 0
    """In a row, the ones of failed probes left out."""
    open_until_s: float | None = None
    probe: object | None = None
    probe_until_s: float = 0.0
    asked_s: float = 0.0

    def state(self, now_s: float) -> State:
        if self.open_until_s is None:
            return "closed"
        return "open" if now_s < self.open_until_s else "half-open"

    def admit(self, attempt: object, now_s: float) -> float:
        """Seconds after which this attempt may ask again; 0 when its call may begin."""
        self.asked_s = now_s
        if self.open_until_s is None:
            return 0.0
        if now_s < self.open_until_s:
            return self.open_until_s - now_s
        if self.probe is not attempt:
            if self.probe is not None and now_s < self.probe_until_s:
                return min(PROBE_WAIT_S, self.probe_until_s - now_s)
            self.probe, self.probe_until_s = attempt, now_s
        self.probe_until_s = max(self.probe_until_s, now_s + CLAIM_S)
        return 0.0

    def begin(self, attempt: object, now_s: float) -> None:
        """The call of an attempt begins: the probe gets the time that a call can take."""
        if self.probe is attempt:
            self.probe_until_s = now_s + PROBE_MAX_S

    def settle(self, attempt: object, now_s: float, *, lives: bool) -> None:
        """A call has told whether the far side lives.

        Unless the breaker is closed only the probe counts: what others tell is older than the failures.
        """
        self.asked_s = now_s
        if self.open_until_s is None:
            self.failures = 0 if lives else self.failures + 1
            if self.failures >= FAILURES_MAX:
                self._open(now_s)
        elif self.probe is attempt and lives:
            self.failures, self.open_until_s, self.probe = 0, None, None
        elif self.probe is attempt:
            self._open(now_s)

    def release(self, attempt: object) -> None:
        """An attempt is over. If it is the probe still, it told nothing: the next one that asks is the probe."""
        if self.probe is attempt:
            self.probe = None

    def _open(self, now_s: float) -> None:
        self.open_until_s, self.probe = now_s + OPEN_S, None


class Breakers:
    """The breakers of all configurations. `attempt` is an object that stands for one attempt; its identity counts."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.openings = 0
        """How often one opened since the start, after a failed probe too."""
        self._monotonic = monotonic
        self._kept: OrderedDict[str, Breaker] = OrderedDict()

    def admit(self, configuration_id: str, attempt: object) -> float:
        """Seconds after which this attempt may ask again; 0 when its call may begin now."""
        breaker = self._kept.get(configuration_id)
        return 0.0 if breaker is None else breaker.admit(attempt, self._monotonic())

    def begin(self, configuration_id: str, attempt: object) -> None:
        """The call of an attempt begins, whether it was admitted or not."""
        breaker = self._kept.get(configuration_id)
        if breaker is not None:
            breaker.begin(attempt, self._monotonic())

    def settle(self, configuration_id: str, attempt: object, result: CallResult) -> None:
        """The call of an attempt has ended with this result."""
        lives = far_side_lives(result)
        if lives is None or (lives and configuration_id not in self._kept):
            return
        now_s = self._monotonic()
        breaker = self._kept.setdefault(configuration_id, Breaker())
        before = breaker.state(now_s)
        breaker.settle(attempt, now_s, lives=lives)
        self._note(configuration_id, before, breaker.state(now_s))
        self._keep(configuration_id, breaker)

    def release(self, configuration_id: str, attempt: object) -> None:
        """An attempt is over, in whatever way. To be called last, and for every attempt that was admitted."""
        breaker = self._kept.get(configuration_id)
        if breaker is not None:
            breaker.release(attempt)

    def states(self) -> dict[str, State]:
        """The configurations whose breaker is not closed, by id."""
        now_s = self._monotonic()
        for configuration_id in list(self._kept):
            if now_s - self._kept[configuration_id].asked_s > FORGOTTEN_AFTER_S:
                del self._kept[configuration_id]
        states = {configuration_id: breaker.state(now_s) for configuration_id, breaker in self._kept.items()}
        return {configuration_id: state for configuration_id, state in sorted(states.items()) if state != "closed"}

    def counts(self) -> Counter[State]:
        """How many are open and how many half-open."""
        return Counter(self.states().values())

    def _keep(self, configuration_id: str, breaker: Breaker) -> None:
        if breaker.failures == 0:
            del self._kept[configuration_id]
            return
        self._kept.move_to_end(configuration_id)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    def _note(self, configuration_id: str, before: State, after: State) -> None:
        if after == "open" and before != "open":
            self.openings += 1
            _log.warning("circuit breaker opened", configuration_id=configuration_id)
        elif after == "closed" and before != "closed":
            _log.info("circuit breaker closed", configuration_id=configuration_id)


def far_side_lives(result: CallResult) -> bool | None:
    """What a result tells of the far side; None when it tells nothing.

    Any answer below 500 is one of somebody who lives: also 408, 425 and 429, which ask for another attempt or for
    patience. What did not get that far, and could another time, is a failure of the far side or of the issuer of its
    tokens. Everything else is our own refusal, or a configuration that cannot work.
    """
    if isinstance(result, CallSucceeded):
        return True
    if result.output is not None:
        return not 500 <= result.output["status"] <= 599
    return False if result.retryable else None
