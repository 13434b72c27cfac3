"""How a process logs: run in processes of their own, because the configuration is the whole process's."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

LogIn = Callable[..., list[dict[str, Any]]]

PRELUDE = "import logging, structlog; from flowker.logs import configure_logs; configure_logs({level!r})\n"


def run(code: str, level: str, stderr: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PRELUDE.format(level=level) + code]
    return subprocess.Popen(command, stderr=stderr, env={**os.environ, "TERM": "xterm", **environment})


@pytest.fixture
def log_in_pipe() -> LogIn:
    """Runs code whose standard error is read by a machine; the lines."""

    def log(code: str, level: str = "info") -> list[dict[str, Any]]:
        process = run(code, level, subprocess.PIPE, {})
        _, text = process.communicate(timeout=30)
        assert process.returncode == 0, text
        return [json.loads(line) for line in text.splitlines()]

    return log


@pytest.fixture
def log_in_terminal() -> Callable[..., str]:
    """Runs code whose standard error is a terminal; what a person sees there."""

    def log(code: str, **environment: str) -> str:
        reader, writer = pty.openpty()
        process = run(code, "info", writer, environment)
        os.close(writer)
        seen = b""
        while chunk := _read(reader):
            seen += chunk
        os.close(reader)
        assert process.wait(timeout=30) == 0, seen
        return seen.decode()

    return log


def test_a_line_is_one_object_with_its_values_as_fields(log_in_pipe: LogIn) -> None:
    """With level and time; anything that JSON does not have is told as text."""
    [line] = log_in_pipe("structlog.get_logger().info('it happened', count=2, where={1, }, amount=2**70)")

    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "it happened", "level": "info", "count": 2, "where": [1], "amount": 2**70}


def test_an_exception_is_a_field_of_its_line(log_in_pipe: LogIn) -> None:
    """Its lines do not tear the log apart."""
    [line] = log_in_pipe("try: 1/0\nexcept ZeroDivisionError: structlog.get_logger().exception('it broke')")

    assert line["level"] == "error"
    assert line["exception"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_less_severe_than_the_level_is_not_told(level: str, told: list[str], log_in_pipe: LogIn) -> None:
    """Our own lines go by the level that was set."""
    code = "log = structlog.get_logger()\nfor name in ('debug', 'info', 'warning', 'error'): getattr(log, name)(name)"

    assert [line["event"] for line in log_in_pipe(code, level)] == told


def test_what_libraries_warn_of_is_told_in_the_same_form(log_in_pipe: LogIn) -> None:
    """With its arguments filled in, its exception, and without their chatter."""
    code = (
        "log = logging.getLogger('library')\n"
        "log.info('chatter')\n"
        "log.warning('%d left', 3)\n"
        "try: 1/0\nexcept ZeroDivisionError: log.exception('broke')"
    )

    warning, error = log_in_pipe(code, "debug")

    assert (warning["level"], warning["event"]) == ("warning", "3 left")
    assert (error["level"], error["event"]) == ("error", "broke")
    assert "ZeroDivisionError" in error["exception"]


def test_a_value_that_is_no_json_does_not_break_who_logs_it(log_in_pipe: LogIn) -> None:
    """Text that is no Unicode is escaped; everything else is told as text."""
    [line] = log_in_pipe("structlog.get_logger().info('a', text='\\udc80', kind=int, keys={(1, 2): 3})")

    assert line["text"] == "\udc80"
    assert line["kind"] == "<class 'int'>"


def test_a_line_that_cannot_be_written_does_not_break_who_logs_it() -> None:
    """Whoever read the log is gone: the service goes on."""
    reader, writer = os.pipe()
    os.close(reader)
    lines = "for _ in range(3): structlog.get_logger().info('lost')\nlogging.getLogger().error('lost')"
    # An interpreter that ends in the usual way says with 120 that it could not flush: of no interest here.
    code = f"{lines}\nimport os\nos._exit(0)"

    process = run(code, "info", writer, {})
    os.close(writer)

    assert process.wait(timeout=30) == 0


def test_a_library_that_logs_wrongly_is_told_so_and_goes_on() -> None:
    """As the standard library does it: the mistake is shown, and nothing raised."""
    process = run("logging.getLogger().error('%d', 'no number')", "info", subprocess.PIPE, {})
    _, text = process.communicate(timeout=30)

    assert process.returncode == 0
    assert b"--- Logging error ---" in text


def test_a_person_is_shown_readable_lines(log_in_terminal: Callable[..., str]) -> None:
    """In colours, as a terminal can."""
    seen = log_in_terminal("structlog.get_logger().info('it happened', count=2, text='\\udc80')")

    assert "it happened" in seen
    assert "\x1b[" in seen


def test_no_color_is_respected(log_in_terminal: Callable[..., str]) -> None:
    """https://no-color.org"""
    seen = log_in_terminal("structlog.get_logger().info('it happened', count=2)", NO_COLOR="1")

    assert "it happened" in seen
    assert "count=2" in seen
    assert "\x1b" not in seen


def test_a_traceback_does_not_show_what_customers_sent(log_in_terminal: Callable[..., str]) -> None:
    """Frames without their variables."""
    code = (
        "def pay(card):\n    1/0\n"
        "try: pay('41' + '11')\nexcept ZeroDivisionError: structlog.get_logger().exception('broke')"
    )

    seen = log_in_terminal(code)

    assert "ZeroDivisionError" in seen
    assert "4111" not in seen


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # The other end was closed.
        return b""
