"""Imports of libraries without what they would import in turn, and Flowker does not use.

It would be a tenth of the modules of a service, of the time of its start, and of its memory.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Import something as if these modules were not installed; it has to be able to do without them."""
    with _in_place(dict.fromkeys(names)):
        yield


@contextmanager
def late(*names: str) -> Iterator[None]:
    """Import something that calls functions and classes of these modules, and imports them only when it does."""
    with _in_place({name: _Late(name) for name in names}):
        yield


class _Late(ModuleType):
    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Any:
            return getattr(import_module(self.__name__), name)(*args, **options)

        return call


@contextmanager
def _in_place(stand_ins: dict[str, Any]) -> Iterator[None]:
    """Who imports them meanwhile gets these; what is imported already stays."""
    placed = {name: stand_in for name, stand_in in stand_ins.items() if name not in sys.modules}
    sys.modules.update(placed)
    try:
        yield
    finally:
        for name in placed:
            del sys.modules[name]
