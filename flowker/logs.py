"""How the service logs: one line an event, past tense, values as fields; JSON unless a person is watching.

A line that cannot be written is lost and nothing else: what is done does not depend on whether it can be told.
"""

import json
import logging
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

import msgspec
import structlog

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_encoder = msgspec.json.Encoder(enc_hook=str)


def configure_logs(level: str) -> None:
    """Send every log line of this process to standard error."""
    watched = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_for_people() if watched else _for_machines()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_Lines(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries()], level=max(_LEVELS[level], logging.WARNING), force=True)


class _Lines:
    """Both structlog's factory and its logger: writes a line, or loses it when there is nowhere to write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream.buffer

    def __call__(self, *_: Any) -> "_Lines":
        return self

    def msg(self, line: bytes) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(line + b"\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _Libraries(logging.Handler):
    """What libraries log in the standard way becomes a line like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)


def _for_people() -> list[Any]:
    # Without the frames' variables, which structlog would show: they hold what customers sent.
    renderer = structlog.dev.ConsoleRenderer(
        colors=not os.environ.get("NO_COLOR"), exception_formatter=structlog.dev.plain_traceback
    )
    return [renderer, _encode]


def _for_machines() -> list[Any]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_render)]


def _encode(_: Any, __: str, line: str) -> bytes:
    return line.encode(errors="backslashreplace")


def _render(event: Any, **_: Any) -> bytes:
    try:
        return _encoder.encode(event)
    except ValueError:
        # Text that is no Unicode: JSON can escape it.
        return json.dumps(event, default=str, skipkeys=True).encode()
