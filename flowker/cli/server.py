"""`flowker serve`: a service that tells when it listens, where, and with which key."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any

import typer
import uvicorn
from uvicorn.supervisors import ChangeReload

from flowker import demo
from flowker.app import build
from flowker.cli.access import Access, grant, load_settings_for, url_of
from flowker.cli.console import err, out
from flowker.cli.process import WorkThreads, tune_process
from flowker.http.protocol import BoundedProtocol, connections_of
from flowker.logs import configure_logs
from flowker.settings import Settings

KEEP_ALIVE_S = 75
"""How long an idle connection is kept: longer than load balancers keep theirs (60 s), so that they close first."""

RELOAD_START_S = 60.0
"""How long a start under `--reload` is waited for, to print what a start prints."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; SERVER_ADDRESS otherwise.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = None,
    reload: Annotated[bool, typer.Option(help="Start again whenever a source file changes.")] = False,
) -> None:
    """Start the service. On a new database without API_KEY it makes a key and a sample workflow."""
    access = grant(load_settings_for(host, port))
    if reload:
        _serve_with_reload(access)
        return
    configure_logs(access.settings.log_level)
    server = Server(access.settings, lambda url: _announce(url, access))
    tune_process()
    try:
        server.run()
    except SystemExit:
        # uvicorn has told why it cannot listen; its own exit code would mean nothing here.
        raise typer.Exit(1) from None


class Server(uvicorn.Server):
    """uvicorn that tells when it listens, and where.

    It starts and stops the service itself. Through the lifespan protocol, what keeps a service from starting would
    come out as a traceback in the log, and not as an exception here.
    """

    def __init__(self, settings: Settings, listening: Callable[[str], None]) -> None:
        self._service = build(settings)
        super().__init__(uvicorn.Config(self._service.asgi, lifespan="off", **_uvicorn_options(settings)))
        self._host = settings.host
        self._delay_s = settings.shutdown_delay_seconds
        self._grace_s = settings.shutdown_grace_seconds
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_default_executor(WorkThreads())
        await self._service.start()
        try:
            await super().startup(sockets)
        except SystemExit:
            await self._service.stop()
            raise
        url = url_of(self._host, self.servers[0].sockets[0].getsockname()[1])
        threading.Thread(target=self._listening, args=[url], daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that no more is wanted, then close, answer what is asked, and stop the engine; all in its time."""
        engine, loop = self._service.context.engine, asyncio.get_running_loop()
        engine.drains = True
        connections_of(self.server_state, loop).drain()
        await asyncio.sleep(self._delay_s)
        ends_at = loop.time() + self._grace_s
        engine.stop_waiting()
        # Requests take no long time now, but a client may: it must not have what calls need to end.
        self.config.timeout_graceful_shutdown = self._grace_s / 2  # type: ignore[assignment]
        await super().shutdown(sockets)
        await self._service.stop(max(0.0, ends_at - loop.time()))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as it is called
        """The first signal stops in order, with 0 as the exit code; a second one ends the process where it is."""
        if self.should_exit:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self.should_exit = True


def _serve_with_reload(access: Access) -> None:
    """Serve in a child process, which is started again at each change; it takes its settings from the environment."""
    settings = access.settings
    os.environ |= {"API_KEY": ",".join(settings.api_key), "SERVER_ADDRESS": settings.server_address}
    config = uvicorn.Config(
        "flowker.app:create", factory=True, reload=True, lifespan="on", **_uvicorn_options(settings)
    )
    listener = config.bind_socket()
    url = url_of(settings.host, listener.getsockname()[1])
    threading.Thread(target=_announce_when_ready, args=[url, access], daemon=True).start()
    ChangeReload(config, target=uvicorn.Server(config).run, sockets=[listener]).run()


def _announce_when_ready(url: str, access: Access) -> None:
    patience = time.monotonic() + RELOAD_START_S
    while time.monotonic() < patience:
        if demo.answers(url):
            _announce(url, access)
            return
        time.sleep(0.1)


def _uvicorn_options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "access_log": False,
        "log_config": None,
        "http": BoundedProtocol,
        "ws": "none",
        "limit_concurrency": settings.connections_max,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": max(1, round(settings.shutdown_grace_seconds)),
    }


def _announce(url: str, access: Access) -> None:
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
