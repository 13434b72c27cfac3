"""`flowker demo`: the sample workflow, on a service that runs or on one that ends with it."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from flowker import demo
from flowker.cli.access import grant, load_settings_for, url_of
from flowker.cli.console import out
from flowker.cli.server import Server
from flowker.logs import configure_logs
from flowker.settings import Settings


def run_demo(
    url: Annotated[
        str | None, typer.Option(help="A running service; otherwise the local one, or one of its own.")
    ] = None,
    screening_url: Annotated[
        str | None, typer.Option(help="A service that screens the payment (needs FLOWKER_EGRESS_ALLOW when private).")
    ] = None,
) -> None:
    """Create and activate a sample payment validation, send it one webhook and show the result."""
    access = grant(load_settings_for(None, None), may_make_key=url is None)
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


@contextlib.contextmanager
def _service_for_demo(url: str | None, settings: Settings) -> Iterator[str]:
    """The address of the service that was named, of the local one, or of one that ends with the demo."""
    local = url or url_of(settings.host, settings.port)
    if url is not None or demo.answers(local):
        yield local.rstrip("/")
        return
    configure_logs("warning")
    listening: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()
    server = Server(settings.model_copy(update={"server_address": "127.0.0.1:0"}), listening.put)
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


def _run_and_tell(server: Server, tell: Callable[[BaseException], None]) -> None:
    """Run a server; an end that it comes to by itself is told."""
    try:
        server.run()
    except BaseException as error:  # noqa: BLE001 - it is raised where the demo is waiting
        tell(error)
