"""What a request costs the processor, beside a bare Starlette route that is measured in the same minute.

Rates say how fast the machine is today. The ratio of two costs depends less on it, so a change that makes requests a
quarter dearer than they were at their dearest is noticed wherever the tests run.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from benchmarks.catalog import WORKFLOW_ID
from benchmarks.contender import KEY as BENCHMARK_KEY
from benchmarks.contender import PAYMENT
from flowker import demo
from tests.reliability.conftest import KEY
from tests.reliability.load_client import connected, post

if TYPE_CHECKING:
    from tests.reliability.conftest import ServiceProcess

VALIDATED = 1.2
"""Times a bare route: everything round a handler that stores nothing."""

DURABLE = 7.0
"""Times a bare route: a webhook of three nodes, delivered, judged, committed and executed to its end, by two threads
that take turns. It was 5.4 to 5.7 in a good hour, and up to 7.9 in a bad one, before it became an eighth cheaper."""

REGRESSION = 1.25
"""How much dearer than that a request may become before this fails."""

ROUNDS = 5
REQUESTS = 640
CONNECTIONS = 32
READY_S = 30.0

Make = Callable[[int], bytes]


@pytest.mark.quiet
@pytest.mark.row("a request costs no more than it did")
async def test_a_request_is_not_a_quarter_dearer_than_it_was(
    make_service: Callable[..., "ServiceProcess"], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The best of several rounds, in each of which all are measured within a second: the machine is not the same all
    the time, and what else it does makes some of them dearer."""
    numbers = count()
    service = make_service()
    service.start()
    demo.ensure_sample(demo.Client(service.url, KEY))

    def deliver(path: str, body: object, key: str) -> Make:
        return lambda _: post(path, body, idempotency_key=f"k-{next(numbers)}", x_api_key=key)

    validated_path = f"/v1/workflows/{WORKFLOW_ID}/executions"
    with served("starlette_route", tmp_path) as bare, served("validated", tmp_path) as validated:
        measured: list[tuple[str, psutil.Process, Make]] = [
            (bare.url, bare.process, deliver("/payments", PAYMENT, BENCHMARK_KEY)),
            (validated.url, validated.process, deliver(validated_path, {"inputData": PAYMENT}, BENCHMARK_KEY)),
            (service.url, service.process, deliver(f"/v1/webhooks/{demo.WEBHOOK_PATH}", PAYMENT, KEY)),
        ]
        rounds = [[await cost_us(*each) for each in measured] for _ in range(ROUNDS)]

    validated_times = min(validated_us / bare_us for bare_us, validated_us, _ in rounds)
    durable_times = min(durable_us / bare_us for bare_us, _, durable_us in rounds)
    record_property("bare", f"{min(bare_us for bare_us, *_ in rounds):.0f} us")
    record_property("validated", f"{validated_times:.2f} times")
    record_property("durable", f"{durable_times:.2f} times")
    assert validated_times < VALIDATED * REGRESSION
    assert durable_times < DURABLE * REGRESSION


async def cost_us(url: str, process: psutil.Process, make: Make) -> float:
    """Microseconds of the processor for each request, when all of them are answered and done."""
    async with connected(url, CONNECTIONS) as client:
        await client.burst([make(number) for number in range(CONNECTIONS)])
        before = processor_ns(process)
        answers = await client.burst([make(number) for number in range(REQUESTS)])
        await asyncio.sleep(0.05)
        spent_ns = processor_ns(process) - before
    assert {answer.status for answer in answers} == {201}
    return spent_ns / REQUESTS / 1000


def processor_ns(process: psutil.Process) -> int:
    """What all threads of a process have had of the processors; the system counts it in ticks of 10 ms otherwise."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


class Served:
    """An application of benchmarks/contenders under uvicorn."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = psutil.Process(process.pid)
        self.url = f"http://127.0.0.1:{port}"


@contextmanager
def served(name: str, directory: Path) -> Iterator[Served]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--factory", "--no-access-log", "--log-level", "warning", "--port", str(port)]
    with (
        (directory / f"{name}.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *options, f"benchmarks.contenders.{name}:create"],
            env={"PATH": os.environ["PATH"]},
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            await_port(port, process)
            yield Served(process, port)
        finally:
            process.terminate()


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
