"""What goes into a call and what comes out of it: the words between the engine and the executors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from multidict import CIMultiDict
from yarl import URL

from flowker.executors.authentication import NO_CREDENTIALS, Credentials

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProviderConfiguration:
    """A stored configuration; `config` has clear secrets and is never logged."""

    id: str
    provider_id: str
    config: Mapping[str, Any] = field(repr=False)
    _known: dict[Callable[..., Any], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def know(self, read: Callable[[Mapping[str, Any]], T]) -> T:
        """What `read` makes of the config, made once: many calls go through the same configuration."""
        if read not in self._known:
            self._known[read] = read(self.config)
        known: T = self._known[read]
        return known


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of one executor node."""

    execution_id: str
    node_id: str
    attempt: int
    executor_id: str
    configuration: ProviderConfiguration
    method: str
    path: str
    timeout_s: float | None
    input: Mapping[str, Any]
    success_status_codes: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class CallSucceeded:
    """`output` is the envelope `{status, status_text, url, headers, body}`."""

    output: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallFailed:
    """`retryable` says that the same call can succeed later; `retry_after_s` is what the far side asked for."""

    message: str
    retryable: bool
    output: dict[str, Any] | None = None
    retry_after_s: float | None = None


CallResult = CallSucceeded | CallFailed


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A request that an executor wants to be sent. The credentials are kept apart: they go to one origin only."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    body: bytes | None
    timeout_s: float
    success_status_codes: frozenset[int] | None
    allow_redirects: bool = False
    credentials: Credentials = NO_CREDENTIALS
