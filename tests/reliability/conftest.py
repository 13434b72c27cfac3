"""The service as users run it: a process of its own that can be killed, on a real database file."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

KEY = "reliability-key"
START_S = 20.0


class ServiceProcess:
    """`flowker serve` on one database; it can be started again after it was killed."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._log = (directory / "service.log").open("ab")
        self._directory = directory
        self._environment = {
            "PATH": os.environ["PATH"],
            "API_KEY": KEY,
            "LOG_LEVEL": "warning",
            "FLOWKER_DATABASE_URL": f"sqlite:///{directory / 'flowker.db'}",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        """Start and wait until the service is ready."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flowker", "serve", "--port", "0"],
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self.url = self._listening_url()
        deadline = time.monotonic() + START_S
        while httpx.get(f"{self.url}/health/ready").status_code != 200:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, no warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def memory_bytes(self) -> int:
        """What the process has for itself."""
        assert self._process is not None
        return psutil.Process(self._process.pid).memory_full_info().uss

    def cpu_s(self) -> float:
        """Its time of the processor so far."""
        assert self._process is not None
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def log(self) -> str:
        return (self._directory / "service.log").read_text()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"X-API-Key": KEY}, timeout=30)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._log.close()

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _listening_url(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(rb"http://[^\s]+", line):
                return found.group().decode()
        raise AssertionError(self.log())


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Makes services on databases of their own; every one of them is gone when the test ends."""
    made: list[ServiceProcess] = []

    def make(name: str = "service", **environment: str) -> ServiceProcess:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        made.append(ServiceProcess(directory, environment))
        return made[-1]

    yield make
    for service in made:
        service.close()
