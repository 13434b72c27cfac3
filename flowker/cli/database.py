"""`flowker db` and `flowker secrets`: the schema of the store, and the key of what is sealed in it."""

import asyncio

import typer

from flowker.app import open_vault
from flowker.cli.console import out
from flowker.rotation import rotate
from flowker.settings import load_settings
from flowker.storage.database import upgrade, without_password

database_commands = typer.Typer(help="The store.", no_args_is_help=True)
secrets_commands = typer.Typer(help="The secrets in the store.", no_args_is_help=True)


@database_commands.command("upgrade")
def upgrade_database() -> None:
    """Create the store or bring its schema up to this version."""
    settings = load_settings()
    upgrade(settings.database_url, open_vault(settings))
    out.print(f"{without_password(settings.database_url)} is up to date")


@secrets_commands.command("rotate")
def rotate_secrets() -> None:
    """Seal every stored secret with a new key.

    With FLOWKER_SECRET_KEY its first key is the new one, and the service may run. Otherwise a key is made in the
    file beside the database, and the service must be stopped.
    """
    settings = load_settings()
    resealed = asyncio.run(rotate(settings))
    out.print(f"{resealed} rows were sealed with the new key; older keys are not needed any more")
