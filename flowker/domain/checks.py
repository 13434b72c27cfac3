"""How checks go on after a refusal: not at all to save or activate a definition, to their end to validate it.

Both ways run the same checks in the same order, so what is validated is what is refused.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from flowker.domain.errors import FlowkerError

P = ParamSpec("P")
T = TypeVar("T")


class Checks:
    """Runs checks, and hands what they refuse to `refuse`, which raises it, or notes it and lets the checks go on."""

    def __init__(self, refuse: Callable[[FlowkerError], None]) -> None:
        self._refuse = refuse

    def __call__(self, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the check makes; None in its place, whatever its type, when it refuses and the checks go on.

        What is made after a refusal is a sketch: it is looked at by further checks and never run.
        """
        try:
            return check(*args, **kwargs)
        except FlowkerError as refusal:
            self._refuse(refusal)
            return cast("T", None)


def _raise(refusal: FlowkerError) -> None:
    raise refusal


STRICT = Checks(_raise)
"""Raises the first refusal, so that what is made is whole."""
