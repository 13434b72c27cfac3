"""The way from any point of the schema's history to its end, with Alembic: imported only where there is one to go."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from flowker.storage.refusals import UnknownRevision
from flowker.storage.vault import Vault


def upgrade(connection: Connection, vault: Vault) -> None:
    """Apply what is missing, inside the transaction that the connection is in. Raises `UnknownRevision`."""
    config = make_config()
    config.attributes.update(connection=connection, vault=vault)
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise UnknownRevision from error


def make_config() -> Config:
    config = Config()
    # A percent sign in the path would be read as an interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
