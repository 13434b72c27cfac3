"""The proxy does what its tests say that a network did."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.reliability.fault_proxy import FaultProxy, Way

SOON_S = 5.0


@pytest.fixture
def echo() -> Iterator[socket.socket]:
    """A server that says everything again."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=[listener.accept()[0]], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def proxy(echo: socket.socket) -> Iterator[FaultProxy]:
    with FaultProxy(*echo.getsockname()) as made:
        yield made


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with _connect(proxy) as made:
        yield made


def test_a_healthy_network_passes_everything_on(client: socket.socket) -> None:
    """Also what is more than one read."""
    said = b"x" * 1_000_000
    threading.Thread(target=client.sendall, args=[said], daemon=True).start()

    assert _hear(client, len(said)) == said


@pytest.mark.parametrize("way", list(Way), ids=lambda way: str(way.name))
def test_what_is_said_in_a_pause_arrives_afterwards(proxy: FaultProxy, client: socket.socket, way: Way) -> None:
    """Nobody is told that there is one."""
    proxy.pause(way)
    client.sendall(b"held")
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)

    proxy.resume()

    client.settimeout(SOON_S)
    assert _hear(client, 4) == b"held"


def test_a_connection_that_is_made_in_a_pause_hears_nothing(proxy: FaultProxy) -> None:
    """A black hole takes connections, too."""
    proxy.pause()
    with _connect(proxy) as late:
        late.sendall(b"held")
        late.settimeout(0.1)
        with pytest.raises(TimeoutError):
            late.recv(1)

        proxy.mend()

        late.settimeout(SOON_S)
        assert _hear(late, 4) == b"held"


def test_a_slow_network_takes_its_time(proxy: FaultProxy, client: socket.socket) -> None:
    """In each direction."""
    proxy.slow(bytes_per_s=1000)
    began = time.monotonic()
    client.sendall(b"x" * 200)

    heard = _hear(client, 200)

    assert len(heard) == 200
    assert time.monotonic() - began >= 0.2


def test_a_cut_ends_connections_in_order_and_new_ones_can_be_made(proxy: FaultProxy, client: socket.socket) -> None:
    """As a server that closes them."""
    client.sendall(b"a")
    _hear(client, 1)

    proxy.cut()

    assert client.recv(1) == b""
    with _connect(proxy) as again:
        again.sendall(b"b")
        assert _hear(again, 1) == b"b"
    assert proxy.connections == 2


def test_a_reset_is_one(proxy: FaultProxy, client: socket.socket) -> None:
    """As of a process that died."""
    client.sendall(b"a")
    _hear(client, 1)

    proxy.reset()

    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_connection_is_cut_in_the_middle(proxy: FaultProxy, client: socket.socket) -> None:
    """To the byte, and once."""
    proxy.cut_after(3)

    client.sendall(b"12345")

    assert _hear(client, 5) == b"123"
    with _connect(proxy) as again:
        again.sendall(b"12345")
        assert _hear(again, 5) == b"12345"


def test_refused_is_refused_until_it_is_mended(proxy: FaultProxy, client: socket.socket) -> None:
    """What is open stays, once the proxy has taken it."""
    client.sendall(b"0")
    assert _hear(client, 1) == b"0"

    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        _connect(proxy)
    client.sendall(b"a")
    stayed = _hear(client, 1)

    proxy.mend()

    assert stayed == b"a"
    with _connect(proxy) as again:
        again.sendall(b"b")
        assert _hear(again, 1) == b"b"


def _connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=SOON_S)


def _hear(client: socket.socket, bytes_: int) -> bytes:
    """So many bytes, or fewer if the connection ends before."""
    heard = b""
    while len(heard) < bytes_ and (data := client.recv(bytes_ - len(heard))):
        heard += data
    return heard
