"""Starts one contender on its core, waits until it is ready, and stops it with everything that it started."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.contender import Contender, Place
from benchmarks.processes import SERVER_CORE

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60.0
"""How long a start may take; n8n makes its tables at its first one."""

ASKED_EVERY_S = 0.01


@dataclass(frozen=True)
class Server:
    """A contender that runs and is ready."""

    process: psutil.Process
    ready_s: float


@contextmanager
def serving(contender: Contender, place: Place) -> Iterator[Server]:
    contender.before_start(place)
    begun = time.perf_counter()
    with (place.directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *contender.command(place)],
            cwd=place.directory,
            env=_environment(contender, place),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _await_ready(process, place, contender.ready_path)
        yield Server(psutil.Process(process.pid), time.perf_counter() - begun)
    finally:
        _stop(process)


@contextmanager
def far_side() -> Iterator[str]:
    """What is called over HTTP: it costs next to nothing."""
    port = free_port()
    command = [sys.executable, str(ROOT / "benchmarks/contenders/far_side.py"), "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        url = f"http://127.0.0.1:{port}"
        _await(process, lambda: status_of(f"{url}/"))
        yield url
    finally:
        _stop(process)


def uvicorn(application: str, place: Place) -> list[str]:
    """The command that serves an application factory of benchmarks/contenders, without a log of requests."""
    options = ["--factory", "--no-access-log", "--log-level", "warning", "--port", str(place.port)]
    return [sys.executable, "-m", "uvicorn", *options, f"benchmarks.contenders.{application}:create"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def status_of(url: str) -> int | None:
    """The status that a GET is answered with; None when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the address is ours
            return int(answer.status)
    except urllib.error.HTTPError as answer:
        return answer.code
    except OSError:
        return None


def _environment(contender: Contender, place: Place) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if place.database is not None:
        environment["BENCHMARK_URL"] = place.database.url
    return {**environment, **contender.environment(place)}


def _await_ready(process: subprocess.Popen[bytes], place: Place, path: str) -> None:
    try:
        _await(process, lambda: status_of(place.url + path))
    except RuntimeError as error:
        raise RuntimeError(f"{error}: {(place.directory / 'server.log').read_text()[-2000:]}") from None


def _await(process: subprocess.Popen[bytes], status: Callable[[], int | None]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (seen := status()) is None or seen >= 500:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not ready within {PATIENCE_S:.0f} s")
        time.sleep(ASKED_EVERY_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in below:
        if child.is_running():
            child.kill()
