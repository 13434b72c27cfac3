"""The schema's history: where a database is in it, and the way to this version.

A store that is there already, as at nearly every start, has none to go. Then Alembic is not imported: that takes
longer than everything else that a start does about the store.
"""

from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, column, delete, insert, select, table

from flowker.storage.vault import Vault


def run(connection: Connection, vault: Vault) -> None:
    """Apply what is missing, inside the transaction that the connection is in. Raises `UnknownRevision`.

    The vault seals what older versions stored in clear.
    """
    if schema_is_current(connection):
        return
    from flowker.storage.migrations import upgrading  # noqa: PLC0415 - as is said above

    upgrading.upgrade(connection, vault)


def schema_is_current(connection: Connection) -> bool:
    return connection.dialect.has_table(connection, _versions.name) and _revisions(connection) == [head()]


def touch(connection: Connection) -> None:
    """Write what is there already: whether the store takes changes. (An update to the same writes nothing.)"""
    revisions = _revisions(connection)
    connection.execute(delete(_versions))
    for revision in revisions:
        connection.execute(insert(_versions).values(version_num=revision))


@cache
def head() -> str:
    """The revision of this version. The file of each begins with its number."""
    return max(path.name[:4] for path in (Path(__file__).parent / "versions").glob("[0-9]*.py"))


def _revisions(connection: Connection) -> list[str]:
    return list(connection.scalars(select(_versions.c.version_num)))


_versions: Final = table("alembic_version", column("version_num"))
"""Alembic's own."""
