"""A disk that fails by command: what a process asks of its files is answered with errors, as kernels do.

The process is started by this module as its launcher, which installs a filter of system calls (seccomp) that asks the
test about each of a few calls before the kernel carries them out; then it becomes the program. The test lets them
pass, or has them end with an error:

    disk.fail(Call.FLUSH, errno.EIO, on="-wal")      # fsync and fdatasync of files with this ending
    disk.fail(Call.WRITE, errno.ENOSPC)              # a full disk
    disk.fail(Call.OPEN_TO_WRITE, errno.EROFS)       # a file system that was mounted read-only anew
    disk.mend()

It needs Linux 5.5 and no privileges; only the process and its children are concerned.
"""

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import sys
import threading
from collections import Counter
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final


class Call(Enum):
    FLUSH = "flush"
    WRITE = "write"
    OPEN_TO_WRITE = "open to write"


ANSWERED_WITHIN_MS: Final = 200
"""How often a thread looks whether it is to end."""

# The numbers of fsync, fdatasync, pwrite64, ftruncate and openat, and the name that the kernel has for the machine.
_MACHINES: Final = {
    "x86_64": (0xC000003E, {74: Call.FLUSH, 75: Call.FLUSH, 18: Call.WRITE, 77: Call.WRITE}, 257, 317),
    "aarch64": (0xC00000B7, {82: Call.FLUSH, 83: Call.FLUSH, 68: Call.WRITE, 46: Call.WRITE}, 56, 277),
}

_NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
_RESPONSE: Final = struct.Struct("=QqiI")
_RECEIVE: Final = 0xC0002100 | _NOTIFICATION.size << 16
_SEND: Final = 0xC0002101 | _RESPONSE.size << 16
_GO_ON: Final = 1


class FaultyDisk:
    """Answers for the disk of the processes that are started with its `launcher`."""

    def __init__(self, directory: Path) -> None:
        self.failed: Counter[Call] = Counter()
        """How many calls were answered with an error."""
        self._rules: dict[Call, tuple[int, str]] = {}
        path = directory / "disk"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept, name="faulty-disk", daemon=True)]
        self._threads[0].start()
        self.launcher = [sys.executable, __file__, str(path)]

    def fail(self, call: Call, error: int, *, on: str = "") -> None:
        """End these calls with an error, on files whose path ends so."""
        self._rules[call] = (error, on)

    def mend(self) -> None:
        self._rules.clear()

    def close(self) -> None:
        """To be called when the processes have ended: they get no answers any more."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    _, [filter_fd], _, _ = socket.recv_fds(connection, 1, 1)
                    thread = threading.Thread(target=self._answer_all, args=[filter_fd], daemon=True)
                    self._threads.append(thread)
                    thread.start()
                    connection.sendall(b"!")

    def _answer_all(self, filter_fd: int) -> None:
        poll = select.poll()
        poll.register(filter_fd, select.POLLIN)
        while not self._closing.is_set():
            for _, event in poll.poll(ANSWERED_WITHIN_MS):
                if not event & select.POLLIN:  # Nobody is left who could ask.
                    os.close(filter_fd)
                    return
                # A thread that was killed while it waited hears nothing.
                with suppress(FileNotFoundError):
                    self._answer(filter_fd)
        os.close(filter_fd)

    def _answer(self, filter_fd: int) -> None:
        asked = bytearray(_NOTIFICATION.size)
        fcntl.ioctl(filter_fd, _RECEIVE, asked)
        id_, thread_id, _, number, _, _, *arguments = _NOTIFICATION.unpack(asked)
        error = self._error_of(number, thread_id, arguments)
        answer = _RESPONSE.pack(id_, 0, -error, 0) if error else _RESPONSE.pack(id_, 0, 0, _GO_ON)
        fcntl.ioctl(filter_fd, _SEND, bytearray(answer))

    def _error_of(self, number: int, thread_id: int, arguments: list[int]) -> int:
        _, calls, _, _ = _machine()
        call = calls.get(number, Call.OPEN_TO_WRITE)
        rule = self._rules.get(call)
        if rule is None:
            return 0
        error, ending = rule
        if call is not Call.OPEN_TO_WRITE:
            with suppress(FileNotFoundError):
                path = str(Path(f"/proc/{thread_id}/fd/{arguments[0]}").readlink())
                # What is no file (a socket, a pipe) has no place on a disk.
                if not path.startswith("/") or not path.endswith(ending):
                    return 0
        self.failed[call] += 1
        return error


def _launch(path: str, command: list[str]) -> None:
    """Become the command, with a filter that asks whoever listens at this path."""
    filter_fd = _install_filter()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b"?"], [filter_fd])
        connection.recv(1)
    os.execv(command[0], command)  # noqa: S606 - it is what a launcher does


def _install_filter() -> int:
    """The descriptor at which questions arrive."""
    architecture, calls, openat, seccomp = _machine()
    ask, allow = 0x7FC00000, 0x7FFF0000
    load, and_, equal, return_ = 0x20, 0x54, 0x15, 0x06
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, architecture),
        (return_, 0, 0, allow),
        (load, 0, 0, 0),
        *[step for number in calls for step in ((equal, 0, 1, number), (return_, 0, 0, ask))],
        (equal, 1, 0, openat),
        (return_, 0, 0, allow),
        (load, 0, 0, 32),  # The flags; those that want to write are no zeros here.
        (and_, 0, 0, os.O_ACCMODE),
        (equal, 0, 1, 0),
        (return_, 0, 0, allow),
        (return_, 0, 0, ask),
    ]
    filter_ = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(filter_)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_filter, new_listener = 38, 1, 8
    libc.prctl(no_new_privileges, 1, 0, 0, 0)
    filter_fd: int = libc.syscall(seccomp, set_filter, new_listener, head)
    if filter_fd < 0:
        sys.exit(f"this system lets nobody filter system calls: {errno.errorcode[ctypes.get_errno()]}")
    return filter_fd


def _machine() -> tuple[int, dict[int, Call], int, int]:
    found = _MACHINES.get(platform.machine())
    if found is None or sys.platform != "linux":
        sys.exit(f"a faulty disk needs Linux on one of {', '.join(_MACHINES)}")
    return found


if __name__ == "__main__":
    _launch(sys.argv[1], sys.argv[2:])
