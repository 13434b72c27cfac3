"""Processes that start in no time: forked from one that has imported everything, and ended like any other.

What a child does is what `python -m flowker` does with the same arguments and the same environment, but that the
second of importing is behind it. It can be given a failpoint (`tests.reliability.failpoints`), at which it
dies. The children are children of the zygote, which has one thread, waits for orders, and tells how they ended.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

ORDER_BYTES_MAX = 64 * 1024
WAIT_S = 30.0
"""How long a child may take to end."""

IMPORTED_WITHIN_S = 120.0
"""How long the zygote may take to fork: it has to import everything first, beside others that do the same."""


class Zygote:
    """The process from which others are forked."""

    def __init__(self) -> None:
        self._numbers = count()
        self._awaited: dict[int, int] = {}
        """The order that waits for a child."""
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.reliability.zygote", str(theirs.fileno())],
                cwd=Path(__file__).parents[2],
                env={"PATH": os.environ["PATH"]},
                pass_fds=[theirs.fileno()],
            )

    def launch(
        self,
        arguments: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        log: BinaryIO,
        failpoint: str = "",
    ) -> "Child":
        """`flowker` with these arguments, in a process of its own."""
        order = {
            "fork": list(arguments),
            "directory": str(directory),
            "environment": dict(environment),
            "failpoint": failpoint,
        }
        reading, writing = os.pipe()
        number = self._order(order, [writing, log.fileno()])
        os.close(writing)
        return Child(self, self._answer(number, IMPORTED_WITHIN_S), os.fdopen(reading, "rb"))

    def wait(self, pid: int, timeout_s: float) -> int:
        """How a child ended, once it has. Whoever gave up waiting may wait for it again."""
        if pid not in self._awaited:
            self._awaited[pid] = self._order({"wait": pid}, [])
        code = self._answer(self._awaited[pid], timeout_s)
        del self._awaited[pid]
        return code

    def close(self) -> None:
        self._orders.close()
        self._process.wait(WAIT_S)

    def _order(self, order: Mapping[str, Any], fds: Sequence[int]) -> int:
        """The number of an order that was given."""
        number = next(self._numbers)
        socket.send_fds(self._orders, [json.dumps({**order, "number": number}).encode()], fds)
        return number

    def _answer(self, number: int, timeout_s: float) -> int:
        """What became of an order; answers that somebody did not wait for are passed over."""
        self._orders.settimeout(timeout_s)
        while True:
            answer = json.loads(self._orders.recv(ORDER_BYTES_MAX))
            if answer["number"] == number:
                return int(answer["told"])


class Child:
    """A process that was forked, with what tests use of `subprocess.Popen`."""

    def __init__(self, zygote: Zygote, pid: int, stdout: BinaryIO) -> None:
        self._zygote = zygote
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None

    def send_signal(self, how: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, how)

    def poll(self) -> int | None:
        """How it ended, if that was asked for before."""
        return self.returncode

    def wait(self, timeout: float = WAIT_S) -> int:
        """How it ended: its exit code, or the negative number of the signal."""
        if self.returncode is None:
            self.returncode = self._zygote.wait(self.pid, timeout)
        return self.returncode


def _serve_orders(orders: socket.socket) -> None:
    while True:
        data, fds, *_ = socket.recv_fds(orders, ORDER_BYTES_MAX, 2)
        if not data:
            return
        order = json.loads(data)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        else:
            answer = _fork(order, orders, *fds)
        orders.send(json.dumps({"number": order["number"], "told": answer}).encode())


def _fork(order: Mapping[str, Any], orders: socket.socket, stdout: int, log: int) -> int:
    if threading.active_count() > 1:
        raise AssertionError("a process with threads must not be forked")
    pid = os.fork()
    if not pid:
        orders.close()
        os.dup2(stdout, 1)
        os.dup2(log, 2)
        _end_with(order)
    os.close(stdout)
    os.close(log)
    return pid


def _end_with(order: Mapping[str, Any]) -> None:
    """Be the child, to its end: nothing of what the zygote has begun goes on in it."""
    code = 1
    try:
        os.chdir(order["directory"])
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.argv = ["flowker", *order["fork"]]
        if order["failpoint"]:
            failpoints.install(order["failpoint"])
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - told as Python tells it
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    from flowker.app import shipped_document
    from flowker.cli import main
    from tests.reliability import failpoints

    shipped_document()
    # What is there now is shared with all children: none of them has to look through it for garbage.
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as standing_orders:
        _serve_orders(standing_orders)
