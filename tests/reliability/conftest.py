"""The service as users run it: a process of its own that can be killed, on a real database file."""

import base64
import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO

import httpx
import psutil
import psycopg
import pytest
from psycopg.rows import dict_row
from xdist.scheduler import LoadScopeScheduling

from tests.reliability import figures
from tests.reliability.scenarios import FarSide
from tests.reliability.stub_provider import StubProvider
from tests.reliability.zygote import Child, Zygote

if TYPE_CHECKING:
    from tests.reliability.stores import Stores

# What is compared there is told as in a test.
pytest.register_assert_rewrite("tests.reliability.conversation")

KEY = "reliability-key"
START_S = 20.0
DIES_WITHIN_S = 10.0
LONG = (
    "test_simulation",
    "test_model",
    "test_kill",
    "test_failpoints",
    "test_database_calls",
    "test_duplicates",
    "test_many_rows",
    "test_waiting",
    "test_store_faults",
)
"""They begin first, the longest before the others, so that in the end nobody waits for one of them alone."""

SHARED = {"calling_service", "installed", "written"}
"""What the tests of a module use together."""

SHARING = {
    "test_audit_tampering",
    "test_calls",
    "test_examples",
    "test_far_side_faults",
    "test_first_example",
    "test_model",
}
"""The modules of which one process has all tests, so that what these share is started once."""

END_S = 30.0
"""How long an execution may take to end. They take less than a second, or the few that their faults take."""


class ServiceProcess:
    """`flowker serve` on one database; it can be started again after it was killed.

    It is a new process of Python. Commands beside it are forked, which does the same in less time.
    """

    def __init__(self, directory: Path, environment: dict[str, str], zygote: Zygote) -> None:
        self._zygote = zygote
        self._log = (directory / "service.log").open("ab")
        self._directory = directory
        self._environment = {
            "PATH": os.environ["PATH"],
            "API_KEY": KEY,
            "LOG_LEVEL": "warning",
            "FLOWKER_DATABASE_URL": f"sqlite:///{directory / 'flowker.db'}",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | Child | None = None
        self.launcher: Sequence[str] = ()
        """A command that becomes the service, after it has changed what is around it."""
        self.url = ""

    @property
    def database_url(self) -> str:
        return self._environment["FLOWKER_DATABASE_URL"]

    @property
    def process(self) -> psutil.Process:
        """The process as its system sees it."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def await_exit(self) -> int:
        """The status of a process that ends by itself."""
        assert self._process is not None
        status = self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status

    def start(self, *, standing_by: bool = False) -> None:
        """Start and wait until the service is ready; one that stands by answers, and is not."""
        self._process = self._launch()
        self.url = self._listening_url()
        if standing_by:
            assert not self.is_ready()
        else:
            self.await_ready()

    def is_ready(self) -> bool:
        with self.client() as client:
            return client.get("/health/ready").status_code == 200

    def await_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not self.is_ready():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same database, with the same settings."""
        with TemporaryFile() as errors:
            child = self._fork(command, log=errors)
            with child.stdout:
                printed = child.stdout.read().decode()
            code = child.wait()
            errors.seek(0)
            return subprocess.CompletedProcess(command, code, printed, errors.read().decode())

    def send(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, no warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def command(self, *arguments: str) -> str:
        """What a command prints that is run beside it, with its settings."""
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def command_line(self) -> list[str]:
        """What anybody on the machine can read of it."""
        assert self._process is not None
        return psutil.Process(self._process.pid).cmdline()

    def memory_bytes(self) -> int:
        """What the process has for itself."""
        assert self._process is not None
        return psutil.Process(self._process.pid).memory_full_info().uss

    def peak_memory_bytes(self) -> int:
        """The most that it ever had in memory, as Linux tells it."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", status)
        return int(kilobytes) * 1024

    def cpu_s(self) -> float:
        """Its time of the processor so far."""
        assert self._process is not None
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def held_up_s(self) -> float:
        """How long so far its event loop could have run and others had the processors; 0 where nobody tells."""
        assert self._process is not None
        told = Path(f"/proc/{self._process.pid}/schedstat")
        return int(told.read_text().split()[1]) / 1e9 if told.exists() else 0.0

    def log(self) -> str:
        return (self._directory / "service.log").read_text()

    def client(self) -> httpx.Client:
        # Reading the certificates of the system takes longer than what most tests ask, and nothing here is encrypted.
        return httpx.Client(base_url=self.url, headers={"X-API-Key": KEY}, timeout=30, verify=False)  # noqa: S501

    def wait(self) -> int:
        """The exit code, once it has ended by itself or by what was sent."""
        assert self._process is not None
        code = self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._log.close()

    def _launch(self) -> subprocess.Popen[bytes] | Child:
        return subprocess.Popen(
            [*self.launcher, sys.executable, "-m", "flowker", "serve", "--port", "0"],
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    def _fork(self, arguments: Sequence[str], failpoint: str = "", log: BinaryIO | None = None) -> Child:
        return self._zygote.launch(
            arguments,
            directory=self._directory,
            environment=self._environment,
            log=log or self._log,
            failpoint=failpoint,
        )

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(timeout=END_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _listening_url(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(rb"http://[^\s]+", line):
                return found.group().decode()
        raise AssertionError(self.log())


class ForkedService(ServiceProcess):
    """The same without the second that a start takes to import everything; it can die at a failpoint."""

    def __init__(self, directory: Path, environment: dict[str, str], zygote: Zygote) -> None:
        super().__init__(directory, environment, zygote)
        self._failpoint = ""

    def start_to_die(self, failpoint: str) -> None:
        """Start a service that is going to die there; it may never come so far as to listen."""
        self._failpoint = failpoint
        self._process = self._launch()
        self._failpoint = ""
        assert self._process.stdout is not None
        found = re.search(rb"http://[^\s]+", self._process.stdout.readline())
        self.url = found.group().decode() if found else ""

    def exit_code(self) -> int:
        """How the process ended that was to die; it is waited for."""
        assert self._process is not None
        assert self._process.stdout is not None
        code = self._process.wait(timeout=DIES_WITHIN_S)
        self._process.stdout.close()
        return code

    def run_to_die(self, failpoint: str, *arguments: str) -> int:
        """The exit code of a command with a failpoint; 0 when it did not come there."""
        child = self._fork(arguments, failpoint)
        with child.stdout:
            child.stdout.read()
        return child.wait()

    def _launch(self) -> Child:
        return self._fork(["serve", "--port", "0"], self._failpoint)


class Api:
    """Asks a service; an answer that is not the expected one fails the test with what it says."""

    _numbers = itertools.count(1)

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def expect(self, status: int, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """The answer with this status. A body that is text or bytes is sent as it is."""
        content = body if isinstance(body, str | bytes | None) else json.dumps(body)
        sent = {"Content-Type": "application/json", **headers} if content is not None else headers
        answer = self._client.request(method, path, content=content, headers=sent)
        assert answer.status_code == status, answer.text
        return answer

    def configure(self, provider: str, config: dict[str, Any]) -> str:
        """The id of a new configuration."""
        body = {"name": f"{provider} {next(self._numbers)}", "providerId": provider, "config": config}
        return str(self.expect(201, "POST", "/v1/provider-configurations", body).json()["id"])

    def activate(self, definition: str | dict[str, Any]) -> str:
        """The id of a new workflow that takes deliveries."""
        workflow_id = str(self.expect(201, "POST", "/v1/workflows", definition).json()["workflowId"])
        self.expect(200, "POST", f"/v1/workflows/{workflow_id}/activate")
        return workflow_id

    def deliver(self, path: str, body: Any, status: int = 200, **headers: str) -> str:
        """The id of the execution that a webhook starts; 200 says that it ended already, 201 that it began."""
        answer = self.expect(status, "POST", f"/v1/webhooks/{path}", body, **headers)
        return str(answer.json()["executionId"])

    def results_text(self, execution_id: str) -> str:
        """The results of an execution that has ended, or is about to, as they are sent."""
        deadline = time.monotonic() + END_S
        while (answer := self._client.get(f"/v1/executions/{execution_id}/results")).status_code == 422:
            assert time.monotonic() < deadline, "the execution does not end"
            time.sleep(0.02)
        assert answer.status_code == 200, answer.text
        return answer.text

    def results(self, execution_id: str) -> dict[str, Any]:
        """The same, understood with exact numbers."""
        return dict(json.loads(self.results_text(execution_id), parse_float=Decimal))

    def steps(self, execution_id: str) -> dict[str, Any]:
        """The steps of an execution by node."""
        return {step["nodeId"]: step for step in self.results(execution_id)["stepResults"]}


def read_rows(database_url: str, query: str) -> list[dict[str, Any]]:
    """What is stored, past the service."""
    if database_url.startswith("postgresql://"):
        with psycopg.connect(database_url) as server:
            return server.cursor(row_factory=dict_row).execute(query).fetchall()
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as file:
        file.row_factory = sqlite3.Row
        return [dict(row) for row in file.execute(query)]


def await_ends(service: ServiceProcess, within_s: float = END_S) -> list[dict[str, Any]]:
    """Every execution that is stored, with its key, when none of them runs any more."""
    query = "SELECT idempotency_key, id, status FROM executions"
    deadline = time.monotonic() + within_s
    rows = read_rows(service.database_url, query)
    while "running" in {row["status"] for row in rows}:
        assert time.monotonic() < deadline, "executions do not end"
        time.sleep(0.2)
        rows = read_rows(service.database_url, query)
    return rows


class Scheduling(LoadScopeScheduling):
    """A test goes to whichever process is free, and the tests of modules that share something to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0]).stem
        return module if module in SHARING else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    # Groups of xdist 3.8 are part of the ids of tests, which pytest 9 does not let it change.
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's row goes with its report, also from another process; the longest begin first."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
    for item in items:
        for marker in item.iter_markers(figures.ROW):
            item.user_properties.append((figures.ROW, marker.args[0]))
        if item.path.stem not in SHARING and SHARED & set(getattr(item, "fixturenames", ())):
            raise pytest.UsageError(f"{item.path.stem} shares something between tests, and is not in SHARING")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # It tells the process that prints the table.
        return
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    lines = figures.lines_of(reports)
    if lines:
        lines = figures.gather([*lines, figures.line_of_run(terminalreporter.stats)])
        terminalreporter.section("what was promised, and what was seen")
        terminalreporter.write_line("\n".join(figures.table(lines)))


@pytest.fixture
def provider() -> Iterator[StubProvider]:
    stub = StubProvider()
    yield stub
    stub.close()


@pytest.fixture(scope="module")
def calling_service(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> Iterator[ServiceProcess]:
    """One service for the tests of a module, which may call one address of loopback."""
    service = ForkedService(tmp_path_factory.mktemp("calling"), {"FLOWKER_EGRESS_ALLOW": "127.0.0.1/32"}, zygote)
    service.start()
    yield service
    service.close()


@pytest.fixture
def api(calling_service: ServiceProcess) -> Iterator[Api]:
    with calling_service.client() as client:
        yield Api(client)


@pytest.fixture
def postgresql_environment(postgresql_url: str) -> dict[str, str]:
    """What a service needs that runs on PostgreSQL."""
    return {"FLOWKER_DATABASE_URL": postgresql_url, "FLOWKER_SECRET_KEY": base64.b64encode(bytes(32)).decode()}


@pytest.fixture
def make_service(tmp_path: Path, zygote: Zygote) -> Iterator[Callable[..., ServiceProcess]]:
    """Makes services on databases of their own; every one of them is gone when the test ends."""
    made: list[ServiceProcess] = []

    def make(name: str = "service", **environment: str) -> ServiceProcess:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        made.append(ServiceProcess(directory, environment, zygote))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    forking = Zygote()
    yield forking
    forking.close()


@pytest.fixture
def make_forked(tmp_path: Path, zygote: Zygote) -> Iterator[Callable[..., ForkedService]]:
    """As `make_service`, for tests that are not about how a process begins, nor how much memory it has."""
    made: list[ForkedService] = []

    def make(name: str = "service", **environment: str) -> ForkedService:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        made.append(ForkedService(directory, environment, zygote))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def far_side(provider: StubProvider) -> FarSide:
    return FarSide(provider)


@pytest.fixture
def stores(
    request: pytest.FixtureRequest, tmp_path: Path, zygote: Zygote, far_side: FarSide, database: str
) -> "Stores":
    """Stores on the database that the test is for."""
    from tests.reliability.stores import ENVIRONMENT, Stores  # noqa: PLC0415 - it uses what is above

    made = Stores(tmp_path, zygote, ENVIRONMENT)
    if database == "postgresql":
        made.environment = ENVIRONMENT | request.getfixturevalue("postgresql_environment")
        made.server = request.getfixturevalue("postgresql_server")
    made.begin(far_side.provider.url)
    return made
