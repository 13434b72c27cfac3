"""How checks go on after a refusal: not at all to save or activate a definition, to their end to validate it.

Both ways run the same checks in the same order, so what is validated is what is refused.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar, cast

from flowker.domain.errors import FlowkerError

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=ValueError)


class Checks:
    """Runs checks, and hands what they refuse to `refuse`, which raises it, or notes it and lets the checks go on.

    `translations` make refusals of the errors of checks that do not know their place in the definition.
    """

    def __init__(
        self,
        refuse: Callable[[FlowkerError], None],
        translations: Mapping[type[ValueError], Callable[[Any], FlowkerError]] = MappingProxyType({}),
    ) -> None:
        self._refuse = refuse
        self._translations = translations

    def __call__(self, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the check makes; None in its place, whatever its type, when it refuses and the checks go on.

        What is made after a refusal is a sketch: it is looked at by further checks and never run.
        """
        try:
            return check(*args, **kwargs)
        except FlowkerError as refusal:
            self._refuse(refusal)
        except tuple(self._translations) as error:
            self._refuse(self._translations[type(error)](error))
        return cast("T", None)

    def translating(self, error: type[E], translate: Callable[[E], FlowkerError]) -> "Checks":
        """The same checks, for which this error is a refusal too."""
        return Checks(self._refuse, {**self._translations, error: translate})


def _raise(refusal: FlowkerError) -> None:
    raise refusal from None


STRICT = Checks(_raise)
"""Raises the first refusal, so that what is made is whole."""
