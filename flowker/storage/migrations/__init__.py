"""The schema's history: where a database is in it, and the way to this version.

A store of this version, as at nearly every start, has none to go, and a new one begins at its end. Then Alembic is
not imported: that takes longer than everything else that a start does about the store.
"""

from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, delete, insert, select, text

from flowker.storage.tables import PARTIAL, metadata
from flowker.storage.triggers import TRIGGERS
from flowker.storage.vault import Vault


def run(connection: Connection, vault: Vault) -> None:
    """Apply what is missing, inside the transaction that the connection is in. Raises `UnknownRevision`.

    The vault seals what older versions stored in clear.
    """
    if not connection.dialect.has_table(connection, _versions.name):
        _create(connection)
        return
    if _revisions(connection) == [head()]:
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


def _create(connection: Connection) -> None:
    """Make all at once what the history leads to; a test compares the two."""
    for index in (index for table in metadata.tables.values() for index in table.indexes):
        if PARTIAL in index.info:
            index.dialect_options[connection.dialect.name]["where"] = text(index.info[PARTIAL])
    metadata.create_all(connection, checkfirst=False)
    for statement in TRIGGERS[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    _versions.create(connection)
    connection.execute(insert(_versions).values(version_num=head()))


def _revisions(connection: Connection) -> list[str]:
    return list(connection.scalars(select(_versions.c.version_num)))


_versions: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own, as it makes it itself."""
