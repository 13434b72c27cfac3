"""What is secret in a configuration, told by the names of its members at any depth, and how it is shown: not at all.

A member is secret when its name says so and its value is no container: `token`, `client_secret`, the header
`Authorization`. The items of a list have the name of the list. Readers see the mask; who sends the mask back keeps
what is stored.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

MASK = "********"

_NAME = re.compile(r"auth|cookie|credential|key|passphrase|passw|secret|session|signature|token", re.IGNORECASE)

_PUBLIC = frozenset({"access_key_id", "auth_type"})
"""Names that the pattern takes for secret and that only identify."""

Path = tuple[str | int, ...]
Change = Callable[[Path, Any], Any]


class NothingBehindMask(ValueError):
    """A mask was sent where nothing is stored; `path` leads to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__("there is no stored secret for this mask")


def is_secret_name(name: str) -> bool:
    return name not in _PUBLIC and _NAME.search(name) is not None


def change_secrets(value: Any, change: Change, path: Path = (), *, secret: bool = False) -> Any:
    """A copy in which every secret is what `change` makes of its path and itself; null and "" are no secrets."""
    if isinstance(value, Mapping):
        return {
            name: change_secrets(member, change, (*path, name), secret=is_secret_name(name))
            for name, member in value.items()
        }
    if isinstance(value, list):
        return [change_secrets(item, change, (*path, index), secret=secret) for index, item in enumerate(value)]
    return change(path, value) if secret and value not in {None, ""} else value


def mask(value: Any) -> Any:
    """A copy that may be shown."""
    return change_secrets(value, lambda _, __: MASK)


def unmask(value: Any, stored: Any) -> Any:
    """A copy with what is stored in place of each mask; raises `NothingBehindMask`."""

    def restore(path: Path, secret: Any) -> Any:
        return _find(stored, path) if secret == MASK else secret

    return change_secrets(value, restore)


def _find(stored: Any, path: Path) -> Any:
    node = stored
    for step in path:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            raise NothingBehindMask(path) from None
    if isinstance(node, Mapping | list) or node in {None, ""}:
        raise NothingBehindMask(path)
    return node
