"""What connections really sent, read from the kernel on real sockets."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from runtime.tcp_info import HEADER_BYTES, WireCounter, read_tcp

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO as it is read here is Linux's")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            yield client, accepted


def receive(sock: socket.socket, num_bytes: int) -> None:
    while num_bytes:
        num_bytes -= len(sock.recv(num_bytes))


def test_headers_count_and_every_byte_does(pair: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = pair
    before = read_tcp(client)
    client.sendall(bytes(100_000))
    receive(accepted, 100_000)
    after = read_tcp(client)
    assert before is not None
    assert after is not None
    assert 100_000 + HEADER_BYTES <= after.wire_bytes - before.wire_bytes <= 110_000


def test_the_round_trip_is_the_kernels(pair: tuple[socket.socket, socket.socket]) -> None:
    """Loopback answers within a second, and takes longer than nothing."""
    client, accepted = pair
    counter: WireCounter[str] = WireCounter(3_000)
    client.sendall(bytes(100_000))
    receive(accepted, 100_000)
    counter.total({"one": client.fileno()})
    assert 0.0 < counter.round_trip_s < 1.0
    counter.total({})
    assert counter.round_trip_s == 0.0


def test_the_sum_over_connections_survives_their_end(pair: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = pair
    counter: WireCounter[str] = WireCounter(3_000)
    start = counter.total({"one": client.fileno()})
    client.sendall(bytes(5_000))
    receive(accepted, 5_000)
    one = counter.total({"one": client.fileno()})
    assert start is not None
    assert one is not None
    assert one >= start + 5_000
    assert counter.total({}) == one
    both = counter.total({"two": accepted.fileno()})
    assert both is not None
    assert both > one


def test_a_closed_descriptor_is_no_error(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    counter: WireCounter[str] = WireCounter(3_000)
    descriptor = client.fileno()
    before = counter.total({"one": descriptor})
    client.close()
    assert counter.total({"one": descriptor}) == before


def test_an_abandoned_connection_drops_what_it_could_not_send(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Closing resets, so that no old copy of a request follows a client that has reconnected."""
    client, accepted = pair
    counter: WireCounter[str] = WireCounter(3_000)
    counter.total({"one": client.fileno()})
    client.sendall(b"x")
    client.close()
    with pytest.raises(ConnectionResetError):
        while accepted.recv(10):
            pass
