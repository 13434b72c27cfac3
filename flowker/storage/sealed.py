"""Whether a database file has sealed secrets: asked before a key is made, which would open none of them.

A signed checkpoint of the audit trail counts as one: a new key would not vouch for it.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from flowker import jsontext
from flowker.domain.secrets import change_secrets
from flowker.storage.vault import PREFIX, is_sealed

BUSY_S: Final = 60.0
"""How long an upgrade that switches the mode of the file may keep this waiting."""


def has_sealed(database: Path) -> bool:
    """Reads every row that may have one; raises `sqlite3.Error` when the file cannot be read."""
    if not database.exists():
        return False
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        # A database of an older version has fewer tables.
        return any(_holds(connection, *place) for place in _PLACES if place[0] in names) or (
            "audit_checkpoint" in names and _has_checkpoint(connection)
        )


def _holds(connection: sqlite3.Connection, table: str, column: str, secrets_of: Callable[[Any], Any]) -> bool:
    query = f"SELECT {column} FROM {table} WHERE instr({column}, ?)"  # noqa: S608 - the names are from below
    return any(_is_sealed(secrets_of(jsontext.decode(text))) for (text,) in connection.execute(query, (PREFIX,)))


def _has_checkpoint(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM audit_checkpoint").fetchone() is not None


def _is_sealed(value: Any) -> bool:
    """Whether a secret of it is sealed. What only looks so, and stands elsewhere, was written by somebody else."""
    found: list[bool] = []
    change_secrets(value, lambda _, secret: found.append(is_sealed(secret)))
    return any(found)


def _itself(config: Any) -> Any:
    return config


def _triggers(definition: Any) -> Any:
    return [node.get("data") for node in definition["nodes"] if node["type"] == "trigger"]


_PLACES: Final = (
    ("provider_configurations", "config", _itself),
    ("executor_configurations", "authentication", _itself),
    ("workflow_revisions", "definition", _triggers),
)
