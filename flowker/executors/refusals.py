"""Why a call is not made at all."""

from collections.abc import Callable, Mapping


class CallRefused(Exception):
    """The configuration or the input cannot become a call, now or later. The message has no secret and no value."""


def faults_of(checks: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    """Why checks refuse, by the member that each of them looks at."""
    faults: dict[str, str] = {}
    for member, check in checks.items():
        try:
            check()
        except CallRefused as refused:
            faults[member] = str(refused)
    return faults
