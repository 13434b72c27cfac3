"""The commands: serve, demo, db upgrade, spec check. Exit codes: 0 done, 1 failed, 2 used or set wrongly."""

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from rich.console import Console

from flowker import __version__, demo
from flowker.app import build, check_document, document_path
from flowker.logs import configure_logs
from flowker.seeds import add_http_configuration
from flowker.settings import InvalidSettings, Settings, load_settings
from flowker.storage.database import upgrade

cli = typer.Typer(
    help="Flowker: a webhook becomes a durable, audited execution of a workflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
database = typer.Typer(help="The store.", no_args_is_help=True)
document = typer.Typer(help="The OpenAPI document.", no_args_is_help=True)
cli.add_typer(database, name="db")
cli.add_typer(document, name="spec")

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def main() -> None:
    """Run the command line; problems that a person can mend are told in a line, without a traceback."""
    try:
        cli()
    except InvalidSettings as error:
        err.print(f"[red]The settings cannot be used:[/red]\n{error}", markup=True)
        sys.exit(2)
    except demo.DemoFailed as error:
        err.print(f"[red]The demo failed:[/red] {error}")
        sys.exit(1)


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
    settings, made_now = _ready_settings(host, port)
    if reload:
        os.environ |= {"API_KEY": ",".join(settings.api_key), "SERVER_ADDRESS": settings.server_address}
        uvicorn.run("flowker.app:create", factory=True, reload=True, **_uvicorn_options(settings))
        return
    configure_logs(settings.log_level)
    server = _Server(settings, lambda url: _announce(url, settings, sample=made_now))
    server.run()
    raise typer.Exit(0 if server.started else 1)


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
    settings, _ = _ready_settings(None, None)
    key = settings.api_key[0] if settings.api_key else None
    with _service_for_demo(url, settings) as address:
        client = demo.Client(address, key)
        configuration_id = _configure_screening(settings, screening_url) if screening_url else None
        out.print(f"Service    {address}")
        out.print(f"Workflow   {demo.ensure_sample(client, configuration_id)} is active")
        accepted = demo.send_payment(client)
        out.print(f"Webhook    answered {accepted.status}: {json.dumps(accepted.body)}")
        results = demo.await_results(client, accepted.body["executionId"])
        out.print(f"Execution  {results['status']}, output {json.dumps(results['finalOutput'])}")
        for step in results["stepResults"]:
            out.print(f"  {step['stepNumber']}. {step['stepName']}: {step['status']}", markup=False)


@database.command("upgrade")
def upgrade_database() -> None:
    """Create the store or bring its schema up to this version."""
    settings = load_settings()
    upgrade(settings.database_url)
    out.print(f"{settings.database_url} is up to date")


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
        err.print(problem, markup=False)
    if problems:
        raise typer.Exit(1)
    out.print(f"{checked} is valid and every operation has its handler", markup=False)


class _Server(uvicorn.Server):
    """uvicorn that tells when it listens, and where."""

    def __init__(self, settings: Settings, listening: Callable[[str], None]) -> None:
        super().__init__(uvicorn.Config(build(settings).asgi, **_uvicorn_options(settings)))
        self._host = settings.host
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            host = "127.0.0.1" if self._host in {"0.0.0.0", "::"} else self._host  # noqa: S104 - shown, not bound
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            threading.Thread(target=self._listening, args=[url], daemon=True).start()


def _uvicorn_options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "lifespan": "on",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": max(1, round(settings.shutdown_grace_seconds)),
    }


def _announce(url: str, settings: Settings, *, sample: bool) -> None:
    """Print address, key and a command that works as pasted."""
    key = settings.api_key[0] if settings.api_key else None
    client = demo.Client(url, key)
    out.print(f"Flowker {settings.version} listens on {url}")
    if key is not None and "API_KEY" not in os.environ:
        out.print(f"API key {key} (kept in {_key_path(settings)})")
    try:
        if sample:
            demo.ensure_sample(client)
        found = demo.find_sample(client)
    except demo.DemoFailed as error:
        err.print(f"The sample workflow is not there: {error}", markup=False)
        return
    shown = "$API_KEY" if "API_KEY" in os.environ else key
    if found is not None and found["status"] == "active":
        out.print(f"Try it:\n{demo.curl(url, shown)}", markup=False)
    else:
        out.print("`flowker demo` makes a sample workflow and runs it.", markup=False)


def _ready_settings(host: str | None, port: int | None) -> tuple[Settings, bool]:
    """The settings with an API key; and whether the key was made just now, for a new database."""
    settings = load_settings()
    if host is not None or port is not None:
        address = f"{host or settings.host}:{settings.port if port is None else port}"
        settings = settings.model_copy(update={"server_address": address})
    if not settings.api_key_enabled:
        err.print("API_KEY_ENABLED=false: everybody who reaches this service may use it.", style="yellow")
        return settings, False
    if settings.api_key:
        return settings, False
    key, made_now = _key_of_database(settings)
    return settings.model_copy(update={"api_key": (key,)}), made_now


def _key_path(settings: Settings) -> Path:
    return Path(settings.database_url.removeprefix("sqlite:///") + ".key")


def _key_of_database(settings: Settings) -> tuple[str, bool]:
    """The key that was made for this database, or a new one in a file that only its owner can read."""
    path = _key_path(settings)
    key = f"flk_{secrets.token_urlsafe(24)}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip(), False
    except OSError as error:
        raise InvalidSettings(f"API_KEY: none is set, and {path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
    return key, True


@contextlib.contextmanager
def _service_for_demo(url: str | None, settings: Settings) -> Iterator[str]:
    """The address of the service that was named, of the local one, or of one that ends with the demo."""
    local = url or f"http://{settings.host}:{settings.port}"
    if url is not None or demo.answers(local):
        yield local.rstrip("/")
        return
    configure_logs("warning")
    listening: list[str] = []
    heard = threading.Event()

    def hear(address: str) -> None:
        listening.append(address)
        heard.set()

    server = _Server(settings.model_copy(update={"server_address": "127.0.0.1:0"}), hear)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        if not heard.wait(demo.TIMEOUT_S):
            raise demo.DemoFailed("the service did not start; its log says why")
        yield listening[0]
    finally:
        server.should_exit = True
        thread.join()


def _configure_screening(settings: Settings, screening_url: str) -> str:
    return asyncio.run(add_http_configuration(settings.database_url, "Screening (sample)", screening_url))
