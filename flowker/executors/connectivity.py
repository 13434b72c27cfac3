"""Testing a connection before it is used: name, connection, credentials, answer, one stage after another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flowker.executors.calls import OutgoingRequest
from flowker.executors.client import Caller

StageName = Literal["dns_resolution", "connectivity", "authentication", "end_to_end"]
StageStatus = Literal["passed", "failed", "skipped"]
OverallStatus = Literal["passed", "failed", "partial"]


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
    overall_status: OverallStatus
    stages: Sequence[Stage]
    summary: str
    duration_ms: int


class Connectivity:
    """Tests configurations over the one way out."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def test(self, prepare: Callable[[], OutgoingRequest]) -> Report:
        """Go through the stages with the request that `prepare` makes; raises `AddressNotAllowed`."""
        raise NotImplementedError
