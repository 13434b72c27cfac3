"""Far sides that keep a caller waiting, each at another moment of a call, and one that hears whether anybody comes.

They speak no HTTP of a library: what is sent, byte by byte and when, is what is tested.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BYTES_MAX = 65536
REDIRECTED_EVERY_S = 0.7

Script = Callable[[socket.socket, threading.Event], None]
"""What is done with a connection, until it is over."""


class FarSide:
    """Listens on loopback, and plays one script with everybody who connects; `heard` is how many did."""

    def __init__(self, script: Script, host: str = "127.0.0.1") -> None:
        self.heard = 0
        self._script = script
        self._over = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.heard += 1
                thread = threading.Thread(target=self._play, args=[connection], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _play(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            self._script(connection, self._over)


@contextmanager
def nobody_accepts() -> Iterator[int]:
    """The port of a listener whose backlog is full: its system answers nothing to who wants to connect."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        others = [first]
        first.connect(listener.getsockname())
        # How many fit is for the system to say; they are in when the next one waits.
        while True:
            another = socket.socket()
            others.append(another)
            another.settimeout(0.2)
            try:
                another.connect(listener.getsockname())
            except TimeoutError:
                break
        try:
            yield listener.getsockname()[1]
        finally:
            for other in others:
                other.close()


def says_nothing(_: socket.socket, over: threading.Event) -> None:
    """Not even to the greeting of TLS, if that is what comes."""
    over.wait()


def says(*pieces: bytes, every_s: float = 0.0) -> Script:
    """Hears the request, says these, and then nothing more."""

    def play(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(BYTES_MAX)
        for piece in pieces:
            connection.sendall(piece)
            if over.wait(every_s):
                return
        over.wait()

    return play


def drips(head: bytes, text: bytes, *, every_s: float) -> Script:
    """Says the head at once and then the text again and again, which is always some progress."""

    def play(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(BYTES_MAX)
        connection.sendall(head)
        while not over.wait(every_s):
            connection.sendall(text)

    return play


def redirects_to_itself(connection: socket.socket, over: threading.Event) -> None:
    """Each time a little late."""
    while connection.recv(BYTES_MAX) and not over.wait(REDIRECTED_EVERY_S):
        connection.sendall(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")


def redirects_to(url: str, status: int) -> Script:
    return says(f"HTTP/1.1 {status} Elsewhere\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode())
