"""What connections really sent, read from the kernel on real sockets."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from runtime.tcp_info import IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, WireCounter, header_bytes, sent_bytes

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
    before = sent_bytes(client, header_bytes(client))
    client.sendall(bytes(100_000))
    receive(accepted, 100_000)
    after = sent_bytes(client, header_bytes(client))
    assert before is not None
    assert after is not None
    assert 100_000 + IPV4_HEADER_BYTES <= after - before <= 200_000  # the kernel chooses its segments


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
@pytest.mark.parametrize(
    ("address", "expected"), [("::1", IPV6_HEADER_BYTES), ("::ffff:127.0.0.1", IPV4_HEADER_BYTES)]
)
def test_a_header_of_ipv6_is_longer(address: str, expected: int) -> None:
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server,
        socket.socket(socket.AF_INET6) as client,
    ):
        client.connect((address, server.getsockname()[1]))
        assert header_bytes(client) == expected


def test_the_sum_over_connections_survives_their_end(pair: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = pair
    counter = WireCounter(3_000)
    counter.watch(client.fileno(), lambda: client.fileno() >= 0)
    start = counter.total()
    client.sendall(bytes(5_000))
    receive(accepted, 5_000)
    one = counter.total()
    assert start is not None
    assert one is not None
    assert one >= start + 5_000
    client.close()
    assert counter.total() == one
    counter.watch(accepted.fileno(), lambda: True)
    both = counter.total()
    assert both is not None
    assert both > one
    counter.close()


def test_what_a_connection_sent_between_two_readings_counts_also_when_it_has_ended(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, accepted = pair
    counter = WireCounter(3_000)
    counter.watch(client.fileno(), lambda: client.fileno() >= 0)
    client.sendall(bytes(25_000))
    receive(accepted, 25_000)
    client.close()
    counted = counter.total()
    assert counted is not None
    assert counted >= 25_000
    assert counter.total() == counted


def test_what_was_sent_before_the_peer_reset_the_connection_counts(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, accepted = pair
    counter = WireCounter(3_000)
    counter.watch(client.fileno(), lambda: client.fileno() >= 0)
    client.sendall(bytes(25_000))
    receive(accepted, 25_000)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    accepted.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    client.close()
    counted = counter.total()
    assert counted is not None
    assert counted >= 25_000


def test_a_connection_that_has_just_been_closed_is_no_error(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, _ = pair
    counter = WireCounter(3_000)
    descriptor = client.fileno()
    client.close()
    counter.watch(descriptor, lambda: False)
    assert counter.total() == 0


def test_an_abandoned_connection_drops_what_it_could_not_send(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Its end is a reset, so that no old copy of a request follows a client that has reconnected."""
    client, accepted = pair
    counter = WireCounter(3_000)
    counter.watch(client.fileno(), lambda: client.fileno() >= 0)
    client.sendall(b"x")
    client.close()
    counter.total()
    with pytest.raises(ConnectionResetError):
        while accepted.recv(10):
            pass
