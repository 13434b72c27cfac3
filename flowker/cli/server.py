"""The commands: serve, demo, db upgrade, audit verify, spec check. Exit codes: 0 done, 1 failed, 2 used wrongly.

On SIGTERM and SIGINT `serve` ends as soon as what is in flight has come to the end of its step, and then as uvicorn
does: by SIGTERM itself (143 to a shell), or with 130 after SIGINT. A supervisor sees that the service was stopped.
"""

import asyncio
import contextlib
import os
import queue
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import uvicorn
from rich.console import Console
from rich.progress import Progress
from uvicorn.supervisors import ChangeReload

from flowker import __version__, demo
from flowker.app import StoreInUse, build, check_document, document_path, open_vault
from flowker.logs import configure_logs
from flowker.rotation import rotate
from flowker.settings import InvalidSettings, Settings, load_settings
from flowker.storage.audit_verification import Verification, verify_database
from flowker.storage.database import DatabaseUnusable, path_beside, upgrade
from flowker.storage.keys import KeysUnusable
from flowker.storage.vault import SecretUnreadable

RELOAD_START_S = 60.0
"""How long a start under `--reload` is waited for, to print what a start prints."""

cli = typer.Typer(
    help="Flowker: a webhook becomes a durable, audited execution of a workflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    # Without colours Rich would still send its codes for bold and dim.
    rich_markup_mode=None if os.environ.get("NO_COLOR") else "rich",
)
database = typer.Typer(help="The store.", no_args_is_help=True)
audit = typer.Typer(help="The audit trail.", no_args_is_help=True)
document = typer.Typer(help="The OpenAPI document.", no_args_is_help=True)
stored_secrets = typer.Typer(help="The secrets in the store.", no_args_is_help=True)
cli.add_typer(database, name="db")
cli.add_typer(audit, name="audit")
cli.add_typer(document, name="spec")
cli.add_typer(stored_secrets, name="secrets")

# What is printed holds paths, addresses and answers: brackets and colons in them are not Rich's markup.
out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, stderr=True)


def main() -> None:
    """Run the command line; problems that a person can mend are told in a line, without a traceback."""
    try:
        cli()
    except InvalidSettings as error:
        _fail("The settings cannot be used:", f"\n{error}", code=2)
    except demo.DemoFailed as error:
        _fail("The demo failed:", f" {error}", code=1)
    except (StoreInUse, DatabaseUnusable, KeysUnusable, SecretUnreadable) as error:
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


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; SERVER_ADDRESS otherwise.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = None,
    reload: Annotated[bool, typer.Option(help="Start again whenever a source file changes.")] = False,
) -> None:
    """Start the service. On a new database without API_KEY it makes a key and a sample workflow."""
    access = _grant(_load_settings(host, port))
    if reload:
        _serve_with_reload(access)
        return
    configure_logs(access.settings.log_level)
    server = _Server(access.settings, lambda url: _announce(url, access))
    try:
        server.run()
    except SystemExit:
        # uvicorn has told why it cannot listen; its own exit code would mean nothing here.
        raise typer.Exit(1) from None


@cli.command("demo")
def run_demo(
    url: Annotated[
        str | None, typer.Option(help="A running service; otherwise the local one, or one of its own.")
    ] = None,
    screening_url: Annotated[
        str | None, typer.Option(help="A service that screens the payment (needs FLOWKER_EGRESS_ALLOW when private).")
    ] = None,
) -> None:
    """Create and activate a sample payment validation, send it one webhook and show the result."""
    access = _grant(_load_settings(None, None), may_make_key=url is None)
    with _service_for_demo(url, access.settings) as address:
        client = demo.Client(address, access.key)
        sample = demo.Sample(demo.ensure_screening(client, screening_url) if screening_url else None)
        out.print(f"Service    {address}")
        out.print(f"Workflow   {demo.ensure_sample(client, sample)} is active")
        accepted = demo.send_payment(client, sample)
        out.print(f"Webhook    answered {accepted.status}: {demo.as_json(accepted.body)}")
        results = demo.await_results(client, accepted.body["executionId"])
        out.print(f"Execution  {results['status']}, output {demo.as_json(results['finalOutput'])}")
        for step in results["stepResults"]:
            out.print(f"  {step['stepNumber']}. {step['stepName']}: {step['status']}")


@database.command("upgrade")
def upgrade_database() -> None:
    """Create the store or bring its schema up to this version."""
    settings = load_settings()
    upgrade(settings.database_url, open_vault(settings))
    out.print(f"{settings.database_url} is up to date")


@stored_secrets.command("rotate")
def rotate_secrets() -> None:
    """Seal every stored secret with a new key.

    With FLOWKER_SECRET_KEY its first key is the new one, and the service may run. Otherwise a key is made in the
    file beside the database, and the service must be stopped.
    """
    settings = load_settings()
    resealed = asyncio.run(rotate(settings))
    out.print(f"{resealed} rows were sealed with the new key; older keys are not needed any more")


def _hashes(texts: list[str] | None) -> list[str]:
    if any(not re.fullmatch("[0-9a-f]{64}", text) for text in texts or []):
        raise typer.BadParameter("a hash has 64 digits, 0-9 and a-f")
    return texts or []


@audit.command("verify")
def verify_audit(
    anchor: Annotated[
        list[str] | None,
        typer.Option(callback=_hashes, help="The hash of an entry, noted earlier: it has to be there. Repeatable."),
    ] = None,
) -> None:
    """Compute every entry of the audit trail again. The service may run meanwhile."""
    settings = load_settings()
    configure_logs(settings.log_level)
    started = time.monotonic()
    with _shown_progress() as tell:
        verification = asyncio.run(verify_database(settings.database_url, frozenset(anchor or ()), tell))
    per_second = verification.checked / (time.monotonic() - started)
    out.print(f"{verification.checked} entries checked, {per_second:.0f} per second")
    if verification.first_bad is not None:
        err.print(verification.message, style="red")
    elif verification.anchors:
        err.print(f"No entry has the hash {', '.join(sorted(verification.anchors))}.", style="red")
        err.print("The entries follow from each other, but they are not those that were there.")
    if not verification.is_good:
        raise typer.Exit(1)
    out.print(verification.message)
    if verification.sequence:
        out.print(f"The last one has the hash {verification.hash}")


@contextlib.contextmanager
def _shown_progress() -> Iterator[Callable[[Verification, int], None]]:
    """A bar, for whoever sits before a terminal."""
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        bar = progress.add_task("Verifying", total=None)
        yield lambda so_far, entries: progress.update(bar, completed=so_far.sequence, total=entries)


@document.command("check")
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


class _Server(uvicorn.Server):
    """uvicorn that tells when it listens, and where.

    It starts and stops the service itself. Through the lifespan protocol, what keeps a service from starting would
    come out as a traceback in the log, and not as an exception here.
    """

    def __init__(self, settings: Settings, listening: Callable[[str], None]) -> None:
        self._service = build(settings)
        super().__init__(uvicorn.Config(self._service.asgi, lifespan="off", **_uvicorn_options(settings)))
        self._host = settings.host
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._service.start()
        try:
            await super().startup(sockets)
        except SystemExit:
            await self._service.stop()
            raise
        url = _url(self._host, self.servers[0].sockets[0].getsockname()[1])
        threading.Thread(target=self._listening, args=[url], daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._service.stop()


def _serve_with_reload(access: "_Access") -> None:
    """Serve in a child process, which is started again at each change; it takes its settings from the environment."""
    settings = access.settings
    os.environ |= {"API_KEY": ",".join(settings.api_key), "SERVER_ADDRESS": settings.server_address}
    config = uvicorn.Config(
        "flowker.app:create", factory=True, reload=True, lifespan="on", **_uvicorn_options(settings)
    )
    listener = config.bind_socket()
    url = _url(settings.host, listener.getsockname()[1])
    threading.Thread(target=_announce_when_ready, args=[url, access], daemon=True).start()
    ChangeReload(config, target=uvicorn.Server(config).run, sockets=[listener]).run()


def _announce_when_ready(url: str, access: "_Access") -> None:
    patience = time.monotonic() + RELOAD_START_S
    while time.monotonic() < patience:
        if demo.answers(url):
            _announce(url, access)
            return
        time.sleep(0.1)


def _url(host: str, port: int) -> str:
    """Where a service that listens on this address is reached from this machine."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - shown, not bound
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _uvicorn_options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": max(1, round(settings.shutdown_grace_seconds)),
    }


def _announce(url: str, access: "_Access") -> None:
    """Print address, key and a command that works as pasted."""
    client = demo.Client(url, access.key)
    out.print(f"Flowker {access.settings.version} listens on {url}")
    if access.key_path is not None:
        out.print(f"API key {access.key} (kept in {access.key_path})")
    try:
        # The key may be from a start that came to nothing, so it is the store that tells whether all is new.
        if access.key_path is not None and not demo.has_workflows(client):
            demo.ensure_sample(client)
        found = demo.find_sample(client)
    except demo.DemoFailed as error:
        err.print(f"The sample workflow is not there: {error}")
        return
    if found is not None and found["status"] == "active":
        out.print(f"Try it:\n{demo.curl(url, access.shown_key)}")
    else:
        out.print("`flowker demo` makes a sample workflow and runs it.")


@dataclass(frozen=True, slots=True)
class _Access:
    """The settings with the key that this process uses itself, and where that one came from."""

    settings: Settings
    key_path: Path | None = None
    """The file of the key that was made for the database; None when the key is the environment's or there is none."""

    @property
    def key(self) -> str | None:
        return self.settings.api_key[0] if self.settings.api_key else None

    @property
    def shown_key(self) -> str | None:
        """The key as it may be printed: one from the environment only by its name."""
        if self.key is None or self.key_path is not None:
            return self.key
        return "$API_KEY" if len(self.settings.api_key) == 1 else "${API_KEY%%,*}"


def _load_settings(host: str | None, port: int | None) -> Settings:
    settings = load_settings()
    if host is None and port is None:
        return settings
    address = f"{host or settings.host}:{settings.port if port is None else port}"
    return settings.model_copy(update={"server_address": address})


def _grant(settings: Settings, *, may_make_key: bool = True) -> _Access:
    """See that there is a key when one is needed: the environment's, or the one that is kept beside the database."""
    path = path_beside(settings.database_url, ".key")
    if not settings.api_key_enabled:
        err.print("API_KEY_ENABLED=false: everybody who reaches this service may use it.", style="yellow")
    if settings.api_key or not settings.api_key_enabled or not (may_make_key or path.exists()):
        return _Access(settings)
    try:
        key = _make_or_read_key(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"API_KEY: none is set, and {path} cannot be used: {error}") from error
    if not key:
        raise InvalidSettings(f"API_KEY: none is set, and {path} is empty; without that file a new key is made")
    return _Access(settings.model_copy(update={"api_key": (key,)}), path)


def _make_or_read_key(path: Path) -> str:
    """The key that was made for this database, or a new one in a file that only its owner can read."""
    key = f"flk_{secrets.token_urlsafe(24)}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
    return key


@contextlib.contextmanager
def _service_for_demo(url: str | None, settings: Settings) -> Iterator[str]:
    """The address of the service that was named, of the local one, or of one that ends with the demo."""
    local = url or _url(settings.host, settings.port)
    if url is not None or demo.answers(local):
        yield local.rstrip("/")
        return
    configure_logs("warning")
    listening: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()
    server = _Server(settings.model_copy(update={"server_address": "127.0.0.1:0"}), listening.put)
    thread = threading.Thread(target=_run_and_tell, args=[server, listening.put])
    thread.start()
    try:
        heard = listening.get()
        if isinstance(heard, BaseException):
            raise heard
        yield heard
    finally:
        server.should_exit = True
        thread.join()


def _run_and_tell(server: _Server, tell: Callable[[BaseException], None]) -> None:
    """Run a server; an end that it comes to by itself is told."""
    try:
        server.run()
    except BaseException as error:  # noqa: BLE001 - it is raised where the demo is waiting
        tell(error)
