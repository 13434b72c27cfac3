"""Where the commands print: what was done, and what went wrong."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer


@dataclass(frozen=True, slots=True)
class Console:
    """One of the standard streams: lines go out as they are, colours only to a terminal."""

    is_err: bool = False

    def print(self, text: object, *, style: str | None = None, end: str = "\n") -> None:
        coloured = typer.style(text, fg=style) if style and not os.environ.get("NO_COLOR") else text
        typer.echo(f"{coloured}{end}", err=self.is_err, nl=False)


out = Console()
err = Console(is_err=True)


@contextmanager
def shown_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar, for whoever sits before a terminal; it is told what is done, and of how much."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console as Terminal  # noqa: PLC0415 - a service shows none
    from rich.progress import Progress  # noqa: PLC0415 - same

    with Progress(console=Terminal(stderr=True), transient=True) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
