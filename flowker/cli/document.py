"""`flowker spec`: whether the document is valid, and the handlers fit it."""

from pathlib import Path
from typing import Annotated

import typer

from flowker.app import check_document, document_path
from flowker.cli.console import err, out

document_commands = typer.Typer(help="The OpenAPI document.", no_args_is_help=True)


@document_commands.command("check")
def check_specification(
    path: Annotated[
        Path | None, typer.Argument(help="The document to check; otherwise the one of this version.")
    ] = None,
) -> None:
    """Check that a document is valid OpenAPI 3.1 and that the handlers fit it."""
    checked = path or document_path()
    problems = check_document(checked)
    for problem in problems:
        err.print(problem)
    if problems:
        raise typer.Exit(1)
    out.print(f"{checked} is valid and every operation has its handler")
