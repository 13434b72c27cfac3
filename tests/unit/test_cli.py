"""The commands, as a person runs them: in processes of their own wherever a service is started."""

import asyncio
import base64
import contextlib
import os
import pty
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from pytest_httpserver import HTTPServer
from typer.testing import CliRunner

from flowker import __version__, app, cli, demo
from flowker.cli import access, audit, server
from flowker.settings import Settings, load_settings
from flowker.storage.database import Store, without_password

PATIENCE_S = 30.0

FLOWKER = [sys.executable, "-m", "flowker"]

STORE_IN_USE = "Error: another process drives this store; stop it first, or use another database\n"

SETTINGS = {str(field.alias) for field in Settings.model_fields.values()}


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without any setting of Flowker, and with these."""
    return {name: value for name, value in os.environ.items() if name not in SETTINGS} | changes


class Process:
    """A command that goes on until it is ended; what it prints is read line by line."""

    def __init__(self, directory: Path, *arguments: str, **settings: str) -> None:
        self.directory = directory
        self.printed = ""
        self._errors = (directory / "errors.txt").open("w+")
        self._process = subprocess.Popen(
            [*FLOWKER, *arguments],
            cwd=directory,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def read_until(self, text: str) -> str:
        """Everything printed up to the line with this text."""
        for line in self._stdout:
            self.printed += line
            if text in line:
                return self.printed
        raise AssertionError(f"{text!r} was never printed:\n{self.printed}\n{self.errors}")

    @property
    def errors(self) -> str:
        return (self.directory / "errors.txt").read_text()

    @property
    def url(self) -> str:
        return _find(r"listens on (http://\S+)", self.printed)

    @property
    def key(self) -> str:
        return _find(r"API key (\S+)", self.printed)

    @property
    def curl(self) -> str:
        return self.printed.partition("Try it:\n")[2]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit code, negative for the signal that ended it."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        code = self._process.wait(timeout=PATIENCE_S)
        self._stdout.close()
        self._errors.close()
        return code

    @property
    def _stdout(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts commands that go on; all of them are ended with the test."""
    started: list[Process] = []

    def make(*arguments: str, **settings: str) -> Process:
        started.append(Process(tmp_path, *arguments, **settings))
        return started[-1]

    yield make
    for process in started:
        process.end()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`flowker serve` on a new database, without any setting."""
    process = Process(tmp_path_factory.mktemp("service"), "serve", "--port", "0")
    process.read_until("-d '")
    yield process
    process.end()


@pytest.fixture
def copied(service: Process, tmp_path: Path) -> Process:
    """That service; its database, as it is now, is in the test's directory too."""
    with (
        contextlib.closing(sqlite3.connect(service.directory / "flowker.db")) as source,
        contextlib.closing(sqlite3.connect(tmp_path / "flowker.db")) as copy,
    ):
        source.backup(copy)
    return service


@pytest.fixture
def main(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process, in an empty directory: exit code, output, errors."""
    # How this process logs is no business of a test; nor is how long a start waits for the one before it.
    for module in (server, audit):
        monkeypatch.setattr(module, "configure_logs", _leave_logs)
    monkeypatch.setattr(app, "LOCK_WAIT_S", 0.05)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, **settings: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flowker", *arguments])
        for name in SETTINGS:
            monkeypatch.delenv(name, raising=False)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


class TestUse:
    def test_the_version_is_that_of_the_package(self, main: Callable[..., Any]) -> None:
        """And nothing else is printed."""
        assert main("--version") == (0, f"flowker {__version__}\n", "")

    @pytest.mark.parametrize(
        ("command", "told"),
        [
            ([], ["serve", "demo", "db", "audit", "spec"]),
            (["serve"], ["--host", "--port", "--reload", "makes a key and a sample workflow"]),
            (["demo"], ["--url", "--screening-url", "send it one webhook"]),
            (["db"], ["upgrade"]),
            (["audit"], ["verify"]),
            (["audit", "verify"], ["--anchor", "Compute every entry"]),
            (["db", "upgrade"], ["Create the store or bring its schema up"]),
            (["spec"], ["check"]),
            (["spec", "check"], ["The document to check", "valid OpenAPI 3.1"]),
        ],
    )
    def test_every_command_has_a_help_text(self, command: list[str], told: list[str]) -> None:
        """With what it does and its options."""
        result = CliRunner().invoke(cli.cli, [*command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})

        assert result.exit_code == 0
        assert [text for text in told if text not in result.output] == []

    @pytest.mark.parametrize(
        "command",
        [
            ["dance"],
            ["--loud"],
            ["serve", "--port", "eighty"],
            ["serve", "--port", "65536"],
            ["serve", "--workers", "2"],
            ["db", "downgrade"],
            ["audit", "verify", "--anchor", "abc"],
            ["spec", "check", "one.yaml", "two.yaml"],
        ],
    )
    def test_a_wrong_use_ends_with_2(self, command: list[str]) -> None:
        """Unknown commands, unknown options, values that do not fit."""
        result = CliRunner().invoke(cli.cli, command)

        assert result.exit_code == 2

    @pytest.mark.parametrize("command", [["serve"], ["demo"], ["db", "upgrade"], ["audit", "verify"]])
    def test_bad_settings_end_with_2_and_are_all_told(self, command: list[str], main: Callable[..., Any]) -> None:
        """In one message, without a traceback; nothing was begun."""
        code, out, err = main(*command, FLOWKER_WORKERS="many", FLOWKER_WORKRES="4", LOG_LEVEL="[red]")

        assert (code, out) == (2, "")
        assert err.startswith("The settings cannot be used:\nFLOWKER_WORKRES: no setting has this name;")
        assert "FLOWKER_WORKERS: " in err
        assert "LOG_LEVEL: " in err
        assert list(Path.cwd().iterdir()) == []

    def test_no_color_is_respected(self, tmp_path: Path) -> None:
        """A terminal that does not want colours gets no escape code at all."""
        seen = _run_in_terminal(tmp_path, "--help", NO_COLOR="1")

        assert "Usage: " in seen
        assert "\x1b" not in seen

    def test_a_terminal_shows_a_problem_in_red(self, tmp_path: Path) -> None:
        """What is wrong, and not the rest, where the words are those of whoever set it."""
        seen = _run_in_terminal(tmp_path, "db", "upgrade", FLOWKER_WORKERS="many")

        assert seen.startswith("\x1b[31mThe settings cannot be used:\x1b[0m\r\nFLOWKER_WORKERS: ")

    def test_a_terminal_shows_how_far_a_long_command_is(self, tmp_path: Path) -> None:
        """What is printed after it stays."""
        _run_in_terminal(tmp_path, "db", "upgrade")
        seen = _run_in_terminal(tmp_path, "audit", "verify")

        assert seen.find("Verifying") < seen.find("0 entries checked")
        assert "Verifying" in seen


class TestServe:
    def test_it_prints_where_it_listens_and_its_key(self, service: Process) -> None:
        """And where the key is kept."""
        assert service.printed.startswith(f"Flowker {__version__} listens on http://127.0.0.1:")
        assert f"API key {service.key} (kept in flowker.db.key)" in service.printed

    def test_the_command_it_prints_works_as_pasted(self, service: Process) -> None:
        """201, and the execution completes: its results can be read."""
        pasted = subprocess.run(["/bin/bash", "-c", service.curl], capture_output=True, text=True, check=True)

        head, _, body = pasted.stdout.partition("\n\n")
        client = demo.Client(service.url, service.key)
        results = demo.await_results(client, _find('"executionId":"([^"]+)"', body))
        assert head.startswith("HTTP/1.1 201 Created")
        assert demo.as_json(results["finalOutput"]) == '{"decision":"approved","paymentId":"p-1001","amount":100.10}'

    def test_only_its_owner_can_read_the_key(self, service: Process) -> None:
        """The file is made with that mode, not changed to it."""
        path = service.directory / "flowker.db.key"

        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text() == f"{service.key}\n"

    def test_the_key_is_the_same_at_the_next_start(
        self, copied: Process, start: Callable[..., Process], tmp_path: Path
    ) -> None:
        """And the sample workflow still there; what was made before is not made again."""
        shutil.copy(copied.directory / "flowker.db.key", tmp_path)
        again = start("serve", "--port", "0")
        again.read_until("-d '")

        found = demo.Client(again.url, again.key).expect(200, "GET", "/v1/workflows").body["items"]
        assert again.key == copied.key
        assert [workflow["name"] for workflow in found] == [demo.WORKFLOW_NAME]

    def test_the_sample_is_made_after_a_start_that_came_to_nothing(
        self, start: Callable[..., Process], tmp_path: Path
    ) -> None:
        """That one left its key, and no workflow."""
        (tmp_path / "flowker.db.key").write_text("the-key-of-before\n")

        process = start("serve", "--port", "0")
        process.read_until("-d '")

        assert process.key == "the-key-of-before"

    def test_no_sample_is_made_beside_other_workflows(
        self, copied: Process, start: Callable[..., Process], tmp_path: Path
    ) -> None:
        """Who has removed it does not want it back."""
        shutil.copy(copied.directory / "flowker.db.key", tmp_path)
        with contextlib.closing(sqlite3.connect(tmp_path / "flowker.db")) as connection, connection:
            connection.execute("UPDATE workflows SET name = 'Mine'")

        process = start("serve", "--port", "0")
        process.read_until("`flowker demo`")

        found = demo.Client(process.url, process.key).expect(200, "GET", "/v1/workflows").body["items"]
        assert [workflow["name"] for workflow in found] == ["Mine"]

    @pytest.mark.usefixtures("copied")
    def test_a_key_from_the_environment_is_not_printed(self, start: Callable[..., Process]) -> None:
        """The command names the variable, and works where that is set; it takes the first of several keys."""
        keys = "the-key, the-old-key"
        process = start("serve", "--port", "0", API_KEY=keys)
        process.read_until("-d '")

        command = ["/bin/bash", "-c", process.curl]
        pasted = subprocess.run(command, capture_output=True, text=True, check=True, env=environment(API_KEY=keys))
        assert "the-" not in process.printed + process.errors
        assert pasted.stdout.startswith("HTTP/1.1 201 Created")
        assert not (process.directory / "flowker.db.key").exists()

    def test_without_authentication_it_warns(self, start: Callable[..., Process]) -> None:
        """And prints no key."""
        process = start("serve", "--port", "0", API_KEY_ENABLED="false")
        process.read_until("`flowker demo`")

        assert demo.Client(process.url, None).call("GET", "/v1/workflows").status == 200
        assert process.errors.startswith("API_KEY_ENABLED=false: everybody who reaches this service may use it.")
        assert "API key" not in process.printed

    def test_a_signal_ends_it_with_0(self, start: Callable[..., Process]) -> None:
        """After it has stopped in order: the log has no complaint."""
        codes = {signal.SIGTERM: 0, signal.SIGINT: 0}
        processes = {
            how: start(
                "serve", "--port", "0", API_KEY="k", FLOWKER_DATABASE_URL=f"sqlite:///{how}.db", LOG_LEVEL="error"
            )
            for how in codes
        }
        for process in processes.values():
            process.read_until("`flowker demo`")

        assert {how: process.end(how) for how, process in processes.items()} == codes
        assert [process.errors for process in processes.values()] == ["", ""]

    def test_with_reload_it_prints_what_every_start_prints(self, start: Callable[..., Process]) -> None:
        """And answers; the one who watches the files ends in order."""
        process = start("serve", "--port", "0", "--reload", LOG_LEVEL="warning")
        process.read_until("-d '")

        assert demo.Client(process.url, process.key).call("GET", "/health/ready").status == 200
        assert process.end() == 0

    def test_a_store_that_another_process_drives_is_left_alone(
        self, service: Process, main: Callable[..., Any]
    ) -> None:
        """The second one says so, in a line, and ends with 1."""
        url = f"sqlite:///{service.directory / 'flowker.db'}"

        assert main("serve", "--port", "0", FLOWKER_DATABASE_URL=url) == (1, "", STORE_IN_USE)

    def test_a_port_that_is_taken_is_told(self, main: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
        """In the log; exit code 1, and the store is free again."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            codes = [main("serve", "--port", str(taken.getsockname()[1]))[0] for _ in range(2)]

        assert codes == [1, 1]
        assert "address already in use" in caplog.text

    def test_a_database_that_cannot_be_opened_is_told(self, main: Callable[..., Any]) -> None:
        """Its folder does not exist."""
        code, out, err = main("serve", API_KEY="k", FLOWKER_DATABASE_URL="sqlite:///nowhere/flowker.db")

        assert (code, out) == (1, "")
        assert err.startswith("Error: the database cannot be used: ")


class TestKeyFile:
    def test_a_link_to_the_database_has_the_same_key(self, tmp_path: Path) -> None:
        """The key lies beside the database itself."""
        (tmp_path / "linked.db").symlink_to("flowker.db")

        keys = {
            access.grant(load_settings({"FLOWKER_DATABASE_URL": f"sqlite:///{tmp_path / name}"})).key
            for name in ("flowker.db", "linked.db")
        }

        assert len(keys) == 1
        assert [path.name for path in tmp_path.glob("*.key")] == ["flowker.db.key"]

    def test_an_empty_one_lets_nobody_in(self, main: Callable[..., Any], tmp_path: Path) -> None:
        """The disk was full when it was written: an empty key would let everybody in."""
        (tmp_path / "flowker.db.key").touch()

        code, _, err = main("serve")

        assert code == 2
        assert "API_KEY: none is set, and flowker.db.key is empty; without that file a new key is made" in err

    def test_one_that_is_no_text_is_told(self, main: Callable[..., Any], tmp_path: Path) -> None:
        """It is none of ours."""
        (tmp_path / "flowker.db.key").write_bytes(b"\xff\xfe")

        code, _, err = main("serve")

        assert code == 2
        assert "API_KEY: none is set, and flowker.db.key cannot be used" in err

    def test_one_that_cannot_be_made_is_told(self, main: Callable[..., Any]) -> None:
        """Its folder does not exist."""
        code, _, err = main("serve", FLOWKER_DATABASE_URL="sqlite:///nowhere/flowker.db")

        assert code == 2
        assert "API_KEY: none is set, and nowhere/flowker.db.key cannot be used" in err


class TestAddress:
    @pytest.mark.parametrize(
        ("host", "url"),
        [
            ("127.0.0.1", "http://127.0.0.1:80"),
            ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 - shown, not bound
            ("::", "http://[::1]:80"),
            ("fd00::1", "http://[fd00::1]:80"),
            ("flowker.internal", "http://flowker.internal:80"),
        ],
    )
    def test_it_is_shown_as_it_is_reached(self, host: str, url: str) -> None:
        """Every address of the machine is reached at its loopback one."""
        assert access.url_of(host, 80) == url

    @pytest.mark.parametrize(
        ("host", "port", "expected"),
        [
            (None, None, ("localhost", 4000)),
            ("::1", None, ("::1", 4000)),
            (None, 0, ("localhost", 0)),
            ("127.0.0.2", 80, ("127.0.0.2", 80)),
        ],
    )
    def test_an_option_goes_before_the_setting(
        self, host: str | None, port: int | None, expected: tuple[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The one that is not given stays as it was set."""
        monkeypatch.setenv("SERVER_ADDRESS", "localhost:4000")

        settings = access.load_settings_for(host, port)

        assert (settings.host, settings.port) == expected


class TestAnnouncing:
    @pytest.mark.parametrize(("keys", "shown"), [("", None), ("one", "$API_KEY"), ("one,other", "${API_KEY%%,*}")])
    def test_a_key_of_the_environment_is_shown_by_its_name(self, keys: str, shown: str | None) -> None:
        """As a shell understands it."""
        assert access.Access(load_settings({"API_KEY": keys})).shown_key == shown

    def test_a_key_of_the_database_is_shown_as_it_is(self) -> None:
        """Nobody else can know it."""
        made = access.Access(load_settings({"API_KEY": "made"}), Path("flowker.db.key"))

        assert made.shown_key == made.key == "made"

    def test_a_sample_that_cannot_be_found_is_told(
        self, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The service is there all the same."""
        settings = load_settings({"API_KEY": "k"})

        server._announce(f"http://127.0.0.1:{unused_tcp_port}", access.Access(settings))

        out, err = capsys.readouterr()
        assert out.startswith("Flowker ")
        assert err.startswith("The sample workflow is not there: no Flowker answers at http://127.0.0.1:")

    def test_a_service_that_never_answers_is_not_announced(
        self, unused_tcp_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Under `--reload` its start may fail, which its log tells."""
        monkeypatch.setattr(server, "RELOAD_START_S", 0.05)

        server._announce_when_ready(f"http://127.0.0.1:{unused_tcp_port}", access.Access(load_settings({})))

        assert capsys.readouterr() == ("", "")


class TestDemo:
    def test_without_a_service_it_runs_on_one_of_its_own(self, tmp_path: Path) -> None:
        """Which ends with it; the log is quiet, and the terminal gets no colours that it does not want."""
        seen = _run_in_terminal(tmp_path, "demo", SERVER_ADDRESS=":1", NO_COLOR="1")

        lines = seen.splitlines()
        assert re.fullmatch(r"Service    http://127.0.0.1:\d+", lines[0])
        assert re.fullmatch(r"Workflow   \S+ is active", lines[1])
        assert lines[2].startswith("Webhook    answered 201: {")
        assert lines[3:] == [
            'Execution  completed, output {"decision":"approved","paymentId":"p-1001","amount":100.10}',
            "  1. Known currency, amount within the limit: completed",
            "  2. Reject: skipped",
            "  3. Approve: completed",
        ]

    def test_it_uses_the_service_that_runs(self, service: Process, main: Callable[..., Any], tmp_path: Path) -> None:
        """At the address of the settings, with the key of the database."""
        url = f"sqlite:///{service.directory / 'flowker.db'}"
        address = service.url.removeprefix("http://")

        code, out, _ = main("demo", FLOWKER_DATABASE_URL=url, SERVER_ADDRESS=address)

        assert code == 0
        assert f"Service    {service.url}\n" in out
        assert "Execution  completed" in out
        assert list(tmp_path.iterdir()) == []

    def test_it_uses_the_service_that_is_named(
        self, service: Process, main: Callable[..., Any], tmp_path: Path
    ) -> None:
        """With the key of the environment; nothing is made beside it."""
        code, out, _ = main("demo", "--url", f"{service.url}/", API_KEY=service.key)

        assert code == 0
        assert f"Service    {service.url}\n" in out
        assert list(tmp_path.iterdir()) == []

    def test_without_the_key_of_a_named_service_it_fails(
        self, service: Process, main: Callable[..., Any], tmp_path: Path
    ) -> None:
        """It says what was answered, and makes no key: that would be one for another service."""
        code, _, err = main("demo", "--url", service.url)

        assert code == 1
        assert err.startswith("The demo failed: GET /v1/workflows?")
        assert "answered 401" in err
        assert list(tmp_path.iterdir()) == []

    def test_a_named_service_that_does_not_answer_is_told(
        self, unused_tcp_port: int, main: Callable[..., Any]
    ) -> None:
        """Without a traceback."""
        code, _, err = main("demo", "--url", f"http://127.0.0.1:{unused_tcp_port}")

        assert code == 1
        assert err.startswith("The demo failed: no Flowker answers at http://127.0.0.1:")

    def test_a_store_that_a_service_elsewhere_drives_is_told(
        self, service: Process, main: Callable[..., Any]
    ) -> None:
        """That service is not at the address of the settings, and a second one may not be started."""
        url = f"sqlite:///{service.directory / 'flowker.db'}"

        assert main("demo", FLOWKER_DATABASE_URL=url, SERVER_ADDRESS=":1") == (1, "", STORE_IN_USE)

    def test_a_screening_service_is_called(self, main: Callable[..., Any], httpserver: HTTPServer) -> None:
        """With the payment; its answer is a step."""
        httpserver.expect_request("/screen", method="POST").respond_with_json({"clear": True})
        url = httpserver.url_for("/screen")

        code, out, _ = main("demo", "--screening-url", url, FLOWKER_EGRESS_ALLOW="127.0.0.0/8", SERVER_ADDRESS=":1")

        [(request, _)] = httpserver.log
        assert code == 0
        assert request.get_data() == demo.PAYMENT.replace(": ", ":").replace(", ", ",").encode()
        assert "1. Screen the payment: completed" in out
        assert 'Execution  completed, output {"decision":"approved"' in out

    def test_a_screening_service_in_a_network_that_is_not_allowed_is_not_called(
        self, main: Callable[..., Any], httpserver: HTTPServer
    ) -> None:
        """The payment is rejected."""
        code, out, _ = main("demo", "--screening-url", httpserver.url_for("/screen"), SERVER_ADDRESS=":1")

        assert code == 0
        assert httpserver.log == []
        assert "1. Screen the payment: failed" in out
        assert 'Execution  completed, output {"decision":"rejected"' in out


class TestDatabase:
    def test_an_upgrade_makes_the_store(self, main: Callable[..., Any], tmp_path: Path) -> None:
        """And may be repeated."""
        first = main("db", "upgrade")
        second = main("db", "upgrade")

        assert first == second == (0, "sqlite:///flowker.db is up to date\n", "")
        assert asyncio.run(_is_current(f"sqlite:///{tmp_path / 'flowker.db'}"))

    def test_a_server_is_named_without_what_is_secret(self, main: Callable[..., Any], postgresql_url: str) -> None:
        """The password, and the parameters, which can hold one."""
        code, out, err = main("db", "upgrade", FLOWKER_DATABASE_URL=postgresql_url)

        assert (code, err) == (0, "")
        assert out == f"{without_password(postgresql_url)} is up to date\n"
        assert "?" not in out

    def test_a_service_on_a_server_says_what_it_needs(self, main: Callable[..., Any]) -> None:
        """Both at once, without the URL."""
        code, out, err = main("serve", FLOWKER_DATABASE_URL="postgresql://flowker:canary@127.0.0.1:1/flowker")

        assert (code, out) == (2, "")
        assert [line.partition(":")[0] for line in err.splitlines()[1:]] == ["API_KEY", "FLOWKER_SECRET_KEY"]
        assert "canary" not in err

    def test_a_server_that_is_away_at_the_start_is_told(self, main: Callable[..., Any]) -> None:
        """In the driver's words, which know no password."""
        key = base64.b64encode(bytes(32)).decode()
        url = "postgresql://flowker:canary@127.0.0.1:1/flowker"
        code, out, err = main("serve", FLOWKER_DATABASE_URL=url, API_KEY="k", FLOWKER_SECRET_KEY=key)

        assert (code, out) == (1, "")
        assert err.startswith("Error: the database cannot be used: connection")
        assert "canary" not in err

    @pytest.mark.parametrize(
        ("url", "told"), [("sqlite:///nowhere/flowker.db", "unable to open"), ("sqlite:///no.db", "not a database")]
    )
    def test_a_store_that_cannot_be_made_is_told(
        self, url: str, told: str, main: Callable[..., Any], tmp_path: Path
    ) -> None:
        """Without a traceback."""
        (tmp_path / "no.db").write_bytes(b"no database at all" * 100)

        code, out, err = main("db", "upgrade", FLOWKER_DATABASE_URL=url)

        assert (code, out) == (1, "")
        assert err.startswith("Error: the database cannot be used: ")
        assert told in err


class TestAudit:
    def test_a_trail_is_verified_while_the_service_runs(self, service: Process, main: Callable[..., Any]) -> None:
        """To its last entry, whose hash is told."""
        url = f"sqlite:///{service.directory / 'flowker.db'}"

        code, out, err = main("audit", "verify", FLOWKER_DATABASE_URL=url)

        [newest] = demo.Client(service.url, service.key).expect(200, "GET", "/v1/audit-events?limit=1").body["items"]
        checked, message, last = out.splitlines()
        assert (code, err) == (0, "")
        assert re.fullmatch(r"[0-9]+ entries checked, [0-9]+ per second", checked)
        assert re.fullmatch(r"Every entry from 1 to [0-9]+ is as it was written\.", message)
        assert last == f"The last one has the hash {newest['hash']}"

    @pytest.mark.usefixtures("copied")
    def test_a_hash_that_was_noted_is_looked_for(self, main: Callable[..., Any]) -> None:
        """It has to be the hash of an entry."""
        _, out, _ = main("audit", "verify")
        noted = out.split()[-1]

        found = main("audit", "verify", "--anchor", noted)
        code, _, err = main("audit", "verify", "--anchor", noted, "--anchor", "0" * 64)

        assert found[0] == 0
        assert code == 1
        assert err.startswith(f"No entry has the hash {'0' * 64}.\n")

    @pytest.mark.usefixtures("copied")
    def test_a_changed_entry_is_told(self, main: Callable[..., Any], tmp_path: Path) -> None:
        """With exit code 1."""
        with contextlib.closing(sqlite3.connect(tmp_path / "flowker.db")) as attacker:
            attacker.execute("DROP TRIGGER audit_events_no_update")
            attacker.execute("UPDATE audit_events SET context = '{}' WHERE sequence = 2")
            attacker.commit()

        code, out, err = main("audit", "verify")

        assert code == 1
        assert out.startswith("2 entries checked, ")
        assert err == "Entry 2 is not as it was written: it was changed, moved or taken away.\n"

    def test_a_new_store_has_nothing_to_verify(self, main: Callable[..., Any]) -> None:
        """And no last entry."""
        main("db", "upgrade")

        code, out, _ = main("audit", "verify")

        assert code == 0
        assert out == "0 entries checked, 0 per second\nNothing was recorded yet.\n"

    def test_a_store_that_is_not_there_is_told(self, main: Callable[..., Any]) -> None:
        """And not made."""
        code, _, err = main("audit", "verify")

        assert code == 1
        assert "Error: the database cannot be read\n" in err
        assert list(Path.cwd().iterdir()) == []

    @pytest.mark.usefixtures("copied")
    def test_a_terminal_sees_how_far_it_is(self, tmp_path: Path) -> None:
        """And the same lines when it is done."""
        seen = _run_in_terminal(tmp_path, "audit", "verify")

        assert "Verifying" in seen
        assert "is as it was written." in seen


class TestSpecification:
    def test_the_document_of_this_version_is_good(self, main: Callable[..., Any]) -> None:
        """It is the one that is checked when none is named."""
        code, out, err = main("spec", "check")

        assert (code, err) == (0, "")
        assert out.endswith("flowker.yaml is valid and every operation has its handler\n")

    def test_what_is_wrong_with_a_document_is_told(self, main: Callable[..., Any], tmp_path: Path) -> None:
        """Line by line, as it is; exit code 1."""
        text = app.document_path().read_text().replace("operationId: getVersion", "operationId: '[red]version'")
        (tmp_path / "bad.yaml").write_text(text)

        code, out, err = main("spec", "check", "bad.yaml")

        assert (code, out) == (1, "")
        assert "[red]version: the document has it, and there is no handler\n" in err
        assert "getVersion: there is a handler, and the document does not have it\n" in err


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, text
    return found[1]


async def _is_current(url: str) -> bool:
    store = Store(url)
    await store.start()
    try:
        return await store.check()
    finally:
        await store.stop()


def _run_in_terminal(directory: Path, *arguments: str, **settings: str) -> str:
    """Run a command to its end in a terminal; what a person sees there."""
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        [*FLOWKER, *arguments],
        cwd=directory,
        env=environment(TERM="xterm-256color", **settings),
        stdin=writer,
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    seen = b""
    while chunk := _read(reader):
        seen += chunk
    os.close(reader)
    process.wait(timeout=PATIENCE_S)
    return seen.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # The other end was closed.
        return b""


def _leave_logs(_: str) -> None:
    """In place of `configure_logs`."""
