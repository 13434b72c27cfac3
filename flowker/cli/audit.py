"""`flowker audit`: whether the trail is as it was written."""

import asyncio
import re
import time
from pathlib import Path
from typing import Annotated

import typer

from flowker.app import open_vault
from flowker.cli.console import err, out, shown_progress
from flowker.cli.retention import verify_archive
from flowker.logs import configure_logs
from flowker.settings import load_settings
from flowker.storage.audit_verification import Verification, verify_database

audit_commands = typer.Typer(help="The audit trail.", no_args_is_help=True)


def _hashes(texts: list[str] | None) -> list[str]:
    if any(not re.fullmatch("[0-9a-f]{64}", text) for text in texts or []):
        raise typer.BadParameter("a hash has 64 digits, 0-9 and a-f")
    return texts or []


@audit_commands.command("verify")
def verify_audit(
    anchor: Annotated[
        list[str] | None,
        typer.Option(callback=_hashes, help="The hash of an entry, noted earlier: it has to be there. Repeatable."),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Verify this archive, instead of what is in the store.")
    ] = None,
    public_key: Annotated[
        str | None, typer.Option(help="Who has to have signed the archive; otherwise the keys of this service.")
    ] = None,
) -> None:
    """Compute every entry of the audit trail again. The service may run meanwhile."""
    if archive is not None:
        verify_archive(archive, public_key, frozenset(anchor or ()))
        return
    settings = load_settings()
    configure_logs(settings.log_level)
    started = time.monotonic()
    with shown_progress("Verifying") as tell:

        def tell_verified(so_far: Verification, entries: int) -> None:
            tell(so_far.sequence, entries)

        verification = asyncio.run(
            verify_database(settings.database_url, open_vault(settings), frozenset(anchor or ()), tell_verified)
        )
    per_second = verification.checked / (time.monotonic() - started)
    out.print(f"{verification.checked} entries checked, {per_second:.0f} per second")
    if verification.first_bad is not None:
        err.print(verification.message, style="red")
    elif verification.anchors:
        err.print(f"No entry has the hash {', '.join(sorted(verification.anchors))}.", style="red")
        err.print("The entries follow from each other, but they are not those that were there.")
        if verification.archived:
            err.print("If it was archived, look for it there: --archive FILE.")
    if not verification.is_good:
        raise typer.Exit(1)
    out.print(verification.message)
    if verification.sequence:
        out.print(f"The last one has the hash {verification.hash}")
