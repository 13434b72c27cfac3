"""The schema's history, and the way from any point of it to this version."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from flowker.storage.vault import Vault


class UnknownRevision(Exception):
    """The database is at a revision that this version does not have."""


def run(connection: Connection, vault: Vault) -> None:
    """Apply what is missing, inside the transaction that the connection is in. Raises `UnknownRevision`.

    The vault seals what older versions stored in clear.
    """
    config = _config()
    config.attributes.update(connection=connection, vault=vault)
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise UnknownRevision from error


def schema_is_current(connection: Connection) -> bool:
    return MigrationContext.configure(connection).get_current_revision() == _head()


def touch(connection: Connection) -> None:
    """Write what is there already: whether the store takes changes. (An update to the same writes nothing.)"""
    revisions = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    connection.execute(text("DELETE FROM alembic_version"))
    for revision in revisions:
        connection.execute(
            text("INSERT INTO alembic_version (version_num) VALUES (:revision)"), {"revision": revision}
        )


@cache
def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    # A percent sign in the path would be read as an interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
