"""What a validated request and a durable webhook cost, beside a bare Starlette route on the same machine.

Five contenders, each one process on one core, loaded by wrk (Debian package `wrk`) with 32 connections in three
interleaved rounds:

- bare       a Starlette route that parses the JSON body and answers JSON: no key, no validation, nothing stored
- validated  Flowker's whole way of a request (key, routing, parameters, body and answer judged), with a handler
             that stores nothing
- durable    `flowker serve`: each webhook, with an idempotency key, is committed with synchronous=FULL, and so is the
             end of its execution; the workflow has a trigger and no steps
- executed   the same with the sample workflow: a condition, an output, and a branch that is skipped
- called     a workflow of one HTTP call to a far side on loopback; each delivery is answered when its execution has
             ended, so a request is a whole execution

CPU time per request is steadier than rates where a machine is shared. Usage: python benchmarks/webhooks.py [SECONDS]
"""

import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowker import __version__, demo

ROUNDS = 3
CONNECTIONS = 32
KEY = "benchmark-key"
HERE = Path(__file__).resolve().parent
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

WEBHOOK = f"/v1/webhooks/{demo.WEBHOOK_PATH}"
WORKFLOW_ID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
PAYLOAD = json.dumps(
    {
        "inputData": {"note": "the validated route wants its body in this member"},
        "paymentId": "p-1001",
        "amount": 100.25,
        "currency": "BRL",
        "debtor": {"name": "Ada", "account": "12345-6"},
        "creditor": {"name": "Grace", "account": "65432-1"},
        "reference": "invoice 4711",
    }
)


@dataclass(frozen=True)
class Contender:
    name: str
    command: list[str]
    path: str
    payload: str


@dataclass(frozen=True)
class Figures:
    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def main() -> int:
    if shutil.which("wrk") is None:
        print("wrk is not installed (Debian: apt-get install wrk)", file=sys.stderr)
        return 1
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    uvicorn = [sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "warning", "--app-dir", str(HERE)]
    contenders = [
        Contender("bare", [*uvicorn, "--factory", "contenders:bare"], "/payments", PAYLOAD),
        Contender(
            "validated",
            [*uvicorn, "--factory", "contenders:validated"],
            f"/v1/workflows/{WORKFLOW_ID}/executions",
            json.dumps({"inputData": json.loads(PAYLOAD)}),
        ),
        Contender("durable", [sys.executable, "-m", "flowker", "serve"], "/v1/webhooks/bare", PAYLOAD),
        Contender("executed", [sys.executable, "-m", "flowker", "serve"], WEBHOOK, PAYLOAD),
        Contender("called", [sys.executable, "-m", "flowker", "serve"], "/v1/webhooks/called", PAYLOAD),
    ]
    measured: dict[str, list[Figures]] = {contender.name: [] for contender in contenders}
    for _ in range(ROUNDS):
        for contender in contenders:
            measured[contender.name].append(measure(contender, seconds))
    report(measured)
    return 0


def measure(contender: Contender, seconds: int) -> Figures:
    with (
        tempfile.TemporaryDirectory() as directory,
        far_side() as far_side_url,
        running(contender, Path(directory)) as (process, url),
    ):
        client = demo.Client(url, KEY)
        if contender.path.startswith("/v1/webhooks"):
            prepare(client, far_side_url)
        script = Path(directory) / "load.lua"
        script.write_text(_SCRIPT.replace("KEY", KEY).replace("PAYLOAD", contender.payload))
        load(url + contender.path, script, 1)
        before_s = cpu_s(process.pid)
        text = load(url + contender.path, script, seconds)
        spent_s = cpu_s(process.pid) - before_s
        if contender.name == "called":
            check_all_completed(client)
    return read_figures(text, spent_s)


def prepare(client: demo.Client, far_side_url: str) -> None:
    """The workflows of the durable contenders."""
    demo.ensure_sample(client)
    activate(client, "Trigger alone", [trigger("bare")])
    configuration = {"name": "Far side", "providerId": "http", "config": {"base_url": far_side_url}}
    created = client.expect(201, "POST", "/v1/provider-configurations", configuration)
    call = {"executorId": "http.request", "providerConfigId": created.body["id"], "path": "/checks"}
    nodes = [trigger("called", responseMode="sync"), {"id": "call", "type": "executor", "data": call}]
    activate(client, "One call", nodes, [{"id": "e1", "source": "received", "target": "call"}])


def trigger(path: str, **data: str) -> dict[str, Any]:
    return {"id": "received", "type": "trigger", "data": {"triggerId": "webhook", "path": path, **data}}


def activate(client: demo.Client, name: str, nodes: list[Any], edges: Sequence[Any] = ()) -> None:
    definition = {"name": name, "nodes": nodes, "edges": list(edges)}
    created = client.expect(201, "POST", "/v1/workflows", definition)
    client.expect(200, "POST", f"/v1/workflows/{created.body['workflowId']}/activate")


def check_all_completed(client: demo.Client) -> None:
    """An execution that fails is answered with success too, and costs less."""
    counts = client.expect(200, "GET", "/v1/dashboards/executions").body
    if counts["failed"]:
        raise SystemExit(f"{counts['failed']} of {counts['total']} executions failed")


@contextmanager
def far_side() -> Iterator[str]:
    """What is called, on the core of the load: it costs next to nothing."""
    port = free_port()
    core = str((os.cpu_count() or 1) - 1)
    process = subprocess.Popen(["taskset", "-c", core, sys.executable, HERE / "far_side.py", "--port", str(port)])
    try:
        await_listening(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def running(contender: Contender, directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The contender on the first core, on a database of its own."""
    port = free_port()
    environment = {**os.environ, "API_KEY": KEY, "LOG_LEVEL": "warning", "FLOWKER_EGRESS_ALLOW": "127.0.0.1/32"}
    command = ["taskset", "-c", "0", *contender.command, "--port", str(port)]
    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        await_listening(url)
        yield process, url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def load(url: str, script: Path, seconds: int) -> str:
    """wrk's report; its load comes from the last core."""
    core = str((os.cpu_count() or 1) - 1)
    command = [
        "taskset",
        "-c",
        core,
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        str(script),
    ]
    report = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in report or "Socket errors" in report:
        raise SystemExit(f"{url} did not answer every request well:\n{report}")
    return report


def read_figures(report: str, cpu_spent_s: float) -> Figures:
    requests = int(find(r"(\d+) requests in", report))
    return Figures(
        rate=float(find(r"Requests/sec:\s+([\d.]+)", report)),
        cpu_us=cpu_spent_s * 1e6 / requests,
        p50_ms=milliseconds(find(r"\n +50% +(\S+)", report)),
        p99_ms=milliseconds(find(r"\n +99% +(\S+)", report)),
    )


def report(measured: dict[str, list[Figures]]) -> None:
    bare_us = statistics.median(figures.cpu_us for figures in measured["bare"])
    print(
        f"Flowker {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, {ROUNDS} rounds, medians"
    )
    print(f"{'':10} {'requests/s':>10} {'CPU us/request':>15} {'x bare':>7} {'p50 ms':>7} {'p99 ms':>7}")
    for name, rounds in measured.items():
        row = {field: statistics.median(getattr(one, field) for one in rounds) for field in Figures.__annotations__}
        ratio = row["cpu_us"] / bare_us
        columns = f"{row['rate']:10.0f} {row['cpu_us']:15.0f} {ratio:7.2f} {row['p50_ms']:7.1f} {row['p99_ms']:7.1f}"
        print(f"{name:10} {columns}")


def cpu_s(pid: int) -> float:
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"wrk printed something unexpected:\n{text}")
    return found.group(1)


def milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_listening(url: str, patience_s: float = 20) -> Any:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return urllib.request.urlopen(f"{url}/nothing", timeout=5).status  # noqa: S310 - the address is ours
        except urllib.error.HTTPError as answer:
            return answer.code
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-API-Key"] = "KEY"
local n = 0
local run = tostring(os.time()) .. tostring(math.random(1, 1000000000))
function request()
  n = n + 1
  wrk.headers["Idempotency-Key"] = "k-" .. run .. "-" .. tostring(n)
  return wrk.format(nil, nil, nil, [[PAYLOAD]])
end
"""

if __name__ == "__main__":
    sys.exit(main())
