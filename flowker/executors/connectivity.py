"""Testing a connection before it is used: name, connection, credentials, answer, one stage after another.

A test goes the way of a call, over the same pool and under the same rule of addresses, so that it says what a call
would meet. What it reports is ours to say: statuses and reasons, never what was sent or what the far side wrote.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from multidict import CIMultiDict
from yarl import URL

from flowker.domain.secrets import is_secret_name
from flowker.executors.authentication import NO_CREDENTIALS
from flowker.executors.calls import CallFailed, CallResult, OutgoingRequest
from flowker.executors.client import Caller
from flowker.executors.egress import AddressNotAllowed, check_url
from flowker.executors.refusals import CallRefused

StageName = Literal["dns_resolution", "connectivity", "authentication", "end_to_end"]
StageStatus = Literal["passed", "failed", "skipped"]
OverallStatus = Literal["passed", "failed", "partial"]

STAGE_TIMEOUT_S = 10.0
"""Whoever waits for the test waits for three stages at most: longer than half a minute is no answer."""

CODES: Mapping[StageName, str] = {
    "dns_resolution": "FLK-0280",
    "connectivity": "FLK-0281",
    "authentication": "FLK-0282",
    "end_to_end": "FLK-0283",
}
"""What the `error` of a failed stage begins with."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How one stage went; nothing in it is a secret."""

    name: StageName
    status: StageStatus
    message: str
    duration_ms: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How all stages went, in their order."""

    overall_status: OverallStatus
    stages: Sequence[Stage]
    summary: str
    duration_ms: int


class Connectivity:
    """Tests configurations over the one way out."""

    def __init__(self, caller: Caller, *, stage_timeout_s: float = STAGE_TIMEOUT_S) -> None:
        self._caller = caller
        self._stage_timeout_s = stage_timeout_s

    async def test(self, prepare: Callable[[], OutgoingRequest]) -> Report:
        """Go through the stages with the GET that `prepare` makes; raises `AddressNotAllowed`.

        A failed stage ends the test. A request that cannot be made at all fails the first stage.
        """
        started_s = time.perf_counter()
        stages = await self._go_through(prepare)
        stages += [_skipped(name, "An earlier stage failed.") for name in get_args(StageName)[len(stages) :]]
        return Report(_overall_status(stages), stages, _summary(stages), _duration_ms(started_s))

    async def _go_through(self, prepare: Callable[[], OutgoingRequest]) -> list[Stage]:
        try:
            # In a thread: what signs a request may have to be imported first.
            request = replace(await asyncio.to_thread(prepare), success_status_codes=None, allow_redirects=False)
            check_url(request.url)
        except CallRefused as refused:
            return [_failed("dns_resolution", str(refused), 0)]
        stages: list[Stage] = []
        async with aclosing(self._stages(request)) as running:
            async for stage in running:
                stages.append(stage)
                if stage.status == "failed":
                    break
        return stages

    async def _stages(self, request: OutgoingRequest) -> AsyncGenerator[Stage]:
        """The stages as they end.

        The last one judges the answer of the one before: it is the answer to the very request that a call sends, and
        to send that again would show nothing but cost the far side, which may count or charge it.
        """
        yield await self._resolve(request.url)
        anonymous = _without_credentials(request)
        answer = await self._send(anonymous)
        yield answer.judge("connectivity", passed=answer.status is not None and answer.status < 500)
        if anonymous == request:
            yield _skipped("authentication", "There are no credentials to test.")
        else:
            answer = await self._send(request)
            yield answer.judge("authentication", passed=answer.status is not None and _is_let_in(answer.status))
        yield replace(answer, duration_ms=0).judge("end_to_end", passed=answer.failure is None)

    async def _resolve(self, url: URL) -> Stage:
        started_s = time.perf_counter()
        try:
            async with asyncio.timeout(self._stage_timeout_s):
                addresses = await self._caller.resolve(url)
        except AddressNotAllowed:
            raise
        except TimeoutError:
            reason = f"the host name of the far side did not resolve within {self._stage_timeout_s:g} s"
            return _failed("dns_resolution", reason, _duration_ms(started_s))
        except OSError:
            reason = "the host name of the far side does not resolve"
            return _failed("dns_resolution", reason, _duration_ms(started_s))
        details = {"resolvedIP": addresses[0]}
        return Stage("dns_resolution", "passed", "The host name resolves.", _duration_ms(started_s), details)

    async def _send(self, request: OutgoingRequest) -> "_Answer":
        """Send a request within the time of a stage: all of it, from whatever precedes the call to the last byte."""
        started_s = time.perf_counter()
        try:
            async with asyncio.timeout(self._stage_timeout_s):
                result = await self._caller.send(lambda: request)
        except TimeoutError:
            reason = f"there was no complete response within {self._stage_timeout_s:g} s"
            result = CallFailed(reason, retryable=True)
        return _read_answer(result, _duration_ms(started_s))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back: a status or none, and why a call would have failed, if it would."""

    status: int | None
    said: str
    failure: str | None
    duration_ms: int

    def judge(self, name: StageName, *, passed: bool) -> Stage:
        details = {} if self.status is None else {"statusCode": self.status}
        if passed:
            return Stage(name, "passed", _sentence(self.said), self.duration_ms, details)
        return _failed(name, self.failure or self.said, self.duration_ms, details)


def _read_answer(result: CallResult, duration_ms: int) -> _Answer:
    failure = result.message if isinstance(result, CallFailed) else None
    if result.output is None:
        return _Answer(None, failure or "", failure, duration_ms)
    status, phrase = result.output["status"], result.output["status_text"]
    return _Answer(status, f"the far side answered {status} {phrase}".rstrip(), failure, duration_ms)


def _without_credentials(request: OutgoingRequest) -> OutgoingRequest:
    """The request without what proves who calls, wherever a configuration has put it."""
    secrets = request.credentials.secrets
    headers = CIMultiDict(
        (name, value)
        for name, value in request.headers.items()
        if not is_secret_name(name) and not any(secret in value for secret in secrets)
    )
    credentials = replace(NO_CREDENTIALS, secrets=secrets)
    return replace(request, url=_without_secret_parameters(request.url), headers=headers, credentials=credentials)


def _without_secret_parameters(url: URL) -> URL:
    secret = {name for name in url.query if is_secret_name(name)}
    return url.without_query_params(*secret) if secret else url


def _is_let_in(status: int) -> bool:
    return status not in {401, 403} and status < 500


def _failed(name: StageName, reason: str, duration_ms: int, details: Mapping[str, Any] | None = None) -> Stage:
    return Stage(name, "failed", _sentence(reason), duration_ms, details or {}, f"{CODES[name]}: {reason}")


def _skipped(name: StageName, message: str) -> Stage:
    return Stage(name, "skipped", message)


def _overall_status(stages: Sequence[Stage]) -> OverallStatus:
    """A stage that was skipped because there is nothing to test does not keep the whole from passing."""
    statuses = {stage.status for stage in stages}
    if "failed" not in statuses:
        return "passed"
    return "partial" if "passed" in statuses else "failed"


def _summary(stages: Sequence[Stage]) -> str:
    for stage in stages:
        if stage.status == "failed":
            return f"The test failed at {stage.name}: {stage.message[0].lower()}{stage.message[1:]}"
    return "The far side was reached and answered as a call expects."


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."


def _duration_ms(started_s: float) -> int:
    return round((time.perf_counter() - started_s) * 1000)
