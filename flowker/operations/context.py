"""What every operation is given: the parts of the service, and what is known of the request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flowker.domain.audit import Actor
from flowker.domain.errors import FlowkerError, InputTooLarge
from flowker.domain.timestamps import format_timestamp
from flowker.engine.accepting import Accepting
from flowker.engine.admission import Admission
from flowker.engine.clock import Clock
from flowker.engine.definitions import Definitions
from flowker.engine.embedded import EmbeddedEngine
from flowker.engine.refusals import Refusals
from flowker.engine.routes import Routes
from flowker.engine.tallies import Tallies
from flowker.executors.breaker import Breakers
from flowker.executors.connectivity import Connectivity
from flowker.storage.audit_verification import Verifier
from flowker.storage.database import Store
from flowker.storage.vault import Vault

Answer = Any
"""A body, `(body, status)` or `(body, status, headers)`: the convention of Connexion's handlers."""


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of one running service."""

    store: Store
    engine: EmbeddedEngine
    accepting: Accepting
    admission: Admission
    definitions: Definitions
    routes: Routes
    refusals: Refusals
    vault: Vault
    verifier: Verifier
    connectivity: Connectivity
    breakers: Breakers
    tallies: Tallies
    clock: Clock
    version: str
    started_at: float
    """Monotonic seconds at which the service was started."""

    def timestamp(self) -> str:
        return format_timestamp(self.clock.now())


class Request(Protocol):
    """What an operation may ask of the request it answers."""

    @property
    def method(self) -> str: ...
    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Names in lower case, in the order in which they came."""
        ...

    @property
    def query(self) -> Sequence[tuple[str, str]]: ...
    @property
    def client_address(self) -> str | None: ...
    @property
    def key_fingerprint(self) -> str | None: ...

    def header(self, name: str) -> str | None: ...

    async def raw_body(self, too_large: type[FlowkerError] = InputTooLarge) -> bytes:
        """Read the body now, and judge its size alone; to be asked for before the `body`."""
        ...

    async def body(self, too_large: type[FlowkerError] = InputTooLarge) -> Any:
        """Read, parse and judge the body now; None when an optional body is absent."""
        ...

    def release(self) -> None:
        """Forget the body: a large one has room that others wait for."""
        ...


def actor(request: Request) -> Actor:
    """Who makes this request, for the audit trail."""
    if request.key_fingerprint is None:
        return Actor("user", None, request.client_address)
    return Actor("api_key", request.key_fingerprint, request.client_address)
