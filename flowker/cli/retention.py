"""The commands for what is kept: prune, audit archive, audit verify --archive, db backup."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from flowker.app import open_vault
from flowker.cli.console import err, out, shown_progress
from flowker.domain.timestamps import format_timestamp, normalize_timestamp
from flowker.logs import configure_logs
from flowker.settings import Settings, load_settings
from flowker.storage.archiving import Archived, NotArchived, archive, verify_file
from flowker.storage.audit_checkpoint import CheckpointBad
from flowker.storage.backup import back_up
from flowker.storage.database import path_beside
from flowker.storage.files import FileUnusable
from flowker.storage.keys import SUFFIX
from flowker.storage.retention import AGE_MIN, Pruned, count_in_database, prune_database
from flowker.storage.signatures import is_signature

FAILURES: Final = (CheckpointBad, FileUnusable, NotArchived)
"""What these commands raise for a person to mend, beside what all commands do."""

DAYS_MAX: Final = 36_500


def register(cli: typer.Typer, database: typer.Typer, audit: typer.Typer) -> None:
    cli.command("prune")(prune)
    database.command("backup")(backup)
    audit.command("archive")(archive_audit)


def _age(text: str) -> timedelta:
    found = re.fullmatch("([0-9]{1,6})([dh])", text)
    if found is None:
        raise typer.BadParameter("an age is a number of days or hours, like 90d or 36h")
    age = timedelta(days=int(found[1])) if found[2] == "d" else timedelta(hours=int(found[1]))
    if age < AGE_MIN:
        raise typer.BadParameter("less than a day would forget idempotency keys that senders still count on")
    if age > timedelta(days=DAYS_MAX):
        raise typer.BadParameter(f"more than {DAYS_MAX} days is no age")
    return age


def _date(text: str) -> str:
    """A timestamp of a day, which begins in UTC, or of a moment."""
    try:
        return normalize_timestamp(f"{text}T00:00:00Z" if re.fullmatch(r"[0-9-]{10}", text) else text)
    except ValueError:
        raise typer.BadParameter(
            "a date is like 2026-01-01, or a time with a zone like 2026-01-01T00:00:00Z"
        ) from None


def prune(
    older_than: Annotated[
        timedelta,
        typer.Option(parser=_age, metavar="AGE", help="How long ago they ended, like 90d or 36h; a day at least."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell how many there are, and remove none.")] = False,
) -> None:
    """Remove executions that ended long ago, with their journals and idempotency keys. The service may run meanwhile.

    The audit trail keeps what it has of them. Revisions of a deleted workflow go with its last execution.
    """
    settings = _load_settings()
    before = format_timestamp(datetime.now(UTC) - older_than)
    if dry_run:
        count = asyncio.run(count_in_database(settings.database_url, before))
        out.print(f"{count} executions ended before {before}; none was removed")
        return
    with shown_progress("Pruning") as tell:

        def tell_removed(so_far: Pruned, total: int) -> None:
            tell(so_far.executions, total)

        pruned = asyncio.run(prune_database(settings.database_url, before, _now, tell_removed))
    out.print(f"{pruned.executions} executions that ended before {before} were removed")
    if pruned.revisions:
        out.print(f"{pruned.revisions} revisions of deleted workflows were removed with them")
    out.print(f"The longest transaction took {pruned.longest_s * 1000:.0f} ms")
    if pruned.reusable_bytes:
        out.print(
            f"{_megabytes(pruned.reusable_bytes)} of the file are free for what comes; VACUUM would return them"
        )


def archive_audit(
    before: Annotated[str, typer.Option(callback=_date, metavar="DATE", help="Entries from before it are archived.")],
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE", help="A new file, for these entries and their checkpoint.")
    ],
) -> None:
    """Move the oldest entries of the audit trail into a file. The service may run meanwhile.

    A signed checkpoint takes their place, and verification begins there.
    """
    settings = _load_settings()
    with shown_progress("Archiving") as tell:

        def tell_archived(so_far: Archived) -> None:
            tell(so_far.written + so_far.removed, 2 * so_far.checkpoint.count)

        archived, signed = asyncio.run(
            archive(settings.database_url, open_vault(settings), before, to, _now, tell_archived)
        )
    checkpoint = archived.checkpoint
    out.print(f"Entries {checkpoint.first_sequence} to {checkpoint.sequence} are in {to}, and no longer in the store")
    out.print(f"The last one has the hash {checkpoint.hash}")
    out.print(f"The checkpoint is signed; its public key is {signed.public_key}")
    out.print(f"The longest transaction took {archived.longest_s * 1000:.0f} ms")


def verify_archive(path: Path, public_key: str | None, anchors: frozenset[str]) -> None:
    """Compute every entry of an archive again, and verify its signature: by the keys of this service, or by one."""
    settings = _load_settings()
    vault = open_vault(settings)
    found = verify_file(
        path,
        lambda one: (
            vault.has_signed(one.checkpoint.text, one.public_key, one.signature)
            if public_key is None
            else is_signature(public_key, one.checkpoint.text, one.signature)
        ),
        anchors,
    )
    out.print(f"{found.entries} entries checked")
    if found.signed is None:
        err.print(found.message, style="red")
    elif found.anchors:
        err.print(f"No entry has the hash {', '.join(sorted(found.anchors))}.", style="red")
    if not found.is_good:
        raise typer.Exit(1)
    out.print(found.message)


def backup(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="A new file for the copy.")],
) -> None:
    """Copy the store as it is at one moment. The service may run meanwhile."""
    settings = _load_settings()
    with shown_progress("Copying") as tell:
        size_bytes = back_up(settings.database_url, to, tell)
    out.print(f"{to} is a whole copy of {settings.database_url}, {_megabytes(size_bytes)}")
    out.print(f"Keep {_keys(settings)} with it: without the key, its secrets cannot be read")


def _load_settings() -> Settings:
    settings = load_settings()
    configure_logs(settings.log_level)
    return settings


def _keys(settings: Settings) -> str:
    if settings.secret_key:
        return "FLOWKER_SECRET_KEY"
    return f"a copy of {path_beside(settings.database_url, SUFFIX)}"


def _now() -> str:
    return format_timestamp(datetime.now(UTC))


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1_000_000:.1f} MB"
