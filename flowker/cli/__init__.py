"""The commands: serve, demo, db upgrade, audit verify, spec check, secrets rotate; prune, audit archive, db backup.

Exit codes: 0 done, 1 failed, 2 used wrongly.

On SIGTERM and SIGINT `serve` ends as soon as what is in flight has come to the end of its step, and then as uvicorn
does: by SIGTERM itself (143 to a shell), or with 130 after SIGINT. A supervisor sees that the service was stopped.
"""

import os
import sys
from typing import Annotated, NoReturn

import typer

from flowker import __version__
from flowker.app import StoreInUse
from flowker.cli import retention
from flowker.cli.audit import audit_commands
from flowker.cli.console import err, out
from flowker.cli.database import database_commands, secrets_commands
from flowker.cli.demo import run_demo
from flowker.cli.document import document_commands
from flowker.cli.server import serve
from flowker.demo import DemoFailed
from flowker.settings import InvalidSettings
from flowker.storage.database import DatabaseUnusable
from flowker.storage.vault import SecretUnreadable

cli = typer.Typer(
    help="Flowker: a webhook becomes a durable, audited execution of a workflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    # Without colours Rich would still send its codes for bold and dim.
    rich_markup_mode=None if os.environ.get("NO_COLOR") else "rich",
)
cli.command()(serve)
cli.command("demo")(run_demo)
cli.add_typer(database_commands, name="db")
cli.add_typer(audit_commands, name="audit")
cli.add_typer(document_commands, name="spec")
cli.add_typer(secrets_commands, name="secrets")
retention.register(cli, database_commands, audit_commands)


def main() -> None:
    """Run the command line; problems that a person can mend are told in a line, without a traceback."""
    try:
        cli()
    except InvalidSettings as error:
        _fail("The settings cannot be used:", f"\n{error}", code=2)
    except DemoFailed as error:
        _fail("The demo failed:", f" {error}", code=1)
    except (StoreInUse, DatabaseUnusable, SecretUnreadable, *retention.FAILURES) as error:
        _fail("Error:", f" {error}", code=1)


def _fail(what: str, why: str, *, code: int) -> NoReturn:
    err.print(what, style="red", end="")
    err.print(why)
    sys.exit(code)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"flowker {__version__}")
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Flowker: a webhook becomes a durable, audited execution of a workflow."""
