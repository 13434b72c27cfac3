"""The life of an executor configuration: tested before it is used, and not changed after that.

A test that proves the configuration takes it from `configured` to `tested`, a later one that does not takes it back.
`unconfigured` is a status of the published API: a configuration is complete when it is created here, so that none
ever has it.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

from flowker.domain.errors import EndpointNameInvalid, ExecutorConfigurationNotModifiable

Status = Literal["unconfigured", "configured", "tested", "active", "disabled"]
Move = Literal["activate", "disable", "enable"]

MOVES: Mapping[Move, tuple[Status, Status]] = MappingProxyType(
    {"activate": ("tested", "active"), "disable": ("active", "disabled"), "enable": ("disabled", "active")}
)
"""From which status each of them leads to which."""

MODIFIABLE: frozenset[Status] = frozenset({"unconfigured", "configured"})

DELETABLE: frozenset[Status] = frozenset({"unconfigured", "configured", "disabled"})

TESTABLE: frozenset[Status] = frozenset({"configured", "tested", "active", "disabled"})

PROVING_STAGES = ("dns_resolution", "connectivity", "authentication")
"""What a test has to go through. How the base URL itself answers proves nothing: its endpoints are called."""


def require_move(current: Status, move: Move) -> Status:
    """The status that a move leads to, or `ExecutorConfigurationNotModifiable`."""
    source, target = MOVES[move]
    if current != source:
        reason = f"Only an executor configuration that is {source} can be {_MOVED[move]}; this one is {current}."
        raise ExecutorConfigurationNotModifiable(reason)
    return target


def require_modifiable(current: Status) -> None:
    if current not in MODIFIABLE:
        reason = f"An executor configuration can be changed until it is tested; this one is {current}."
        raise ExecutorConfigurationNotModifiable(reason)


def require_deletable(current: Status) -> None:
    if current not in DELETABLE:
        raise ExecutorConfigurationNotModifiable(f"An executor configuration that is {current} cannot be deleted.")


def require_testable(current: Status) -> None:
    if current not in TESTABLE:
        raise ExecutorConfigurationNotModifiable(f"An executor configuration that is {current} cannot be tested.")


def status_after_test(current: Status, *, proven: bool) -> Status:
    """What is in use stays in use: to switch it off is for people to decide."""
    if current == "configured" and proven:
        return "tested"
    return "configured" if current == "tested" and not proven else current


def proves(stages: Mapping[str, str]) -> bool:
    """Whether a test with these statuses by stage shows that the far side can be called."""
    return all(stages.get(name) in _FINE for name in PROVING_STAGES)


def require_unique_names(names: Iterable[str]) -> None:
    """Raise `EndpointNameInvalid` where two endpoints have one name."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise EndpointNameInvalid(fields={f"endpoints[{index}].name": "is used before"})
        seen.add(name)


_FINE = ("passed", "skipped")

_MOVED: Mapping[Move, str] = {"activate": "activated", "disable": "disabled", "enable": "enabled"}
