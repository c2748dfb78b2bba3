"""What TCP connections really sent, from the kernel: retransmissions, TLS and headers included (Linux only).

Used by the Kafka sink on its connections; the uplink's meter is the reader. Nothing else in Kafka's client
tells what left the machine: payload alone misses 69 % at records of 300 bytes and 6 % at 4 kB.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

HEADER_BYTES: Final = 52
"""IPv4 and TCP headers with the timestamp option, on each segment."""
_INFO_BYTES: Final = 256
# Offsets into Linux's struct tcp_info (include/uapi/linux/tcp.h): tcpi_segs_out (u32), tcpi_bytes_sent (u64).
_SEGS_OUT_AT: Final = 136
_BYTES_SENT_AT: Final = 200


def wire_bytes(sock: socket.socket) -> int | None:
    """Bytes that the connection has sent so far, with 52 a segment; None where the kernel does not tell."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, _INFO_BYTES)
    except OSError:
        return None
    if len(info) < _BYTES_SENT_AT + 8:
        return None
    (segments,) = struct.unpack_from("=I", info, _SEGS_OUT_AT)
    (num_bytes,) = struct.unpack_from("=Q", info, _BYTES_SENT_AT)
    return int(num_bytes) + HEADER_BYTES * int(segments)


class WireCounter(Generic[K]):
    """The sum over connections that come and go; never decreases.

    State: the newest reading of each connection that is open, and the sum of those that were closed. What a
    connection sent between its last reading and its end is not counted.
    """

    def __init__(self, give_up_ms: int) -> None:
        self._give_up_ms = give_up_ms
        self._open: dict[K, int] = {}
        self._closed = 0

    def total(self, descriptors: Mapping[K, int]) -> int | None:
        """Bytes sent by all connections so far; `descriptors` maps each open one's identity to its file.

        A connection that is seen first is told to drop what it could not send once it is closed, or once
        nothing was acknowledged for `give_up_ms`: a client that reconnects sends its requests again, and
        the old copies would follow unseen. None where the kernel does not tell.
        """
        for gone in self._open.keys() - descriptors.keys():
            self._closed += self._open.pop(gone)
        for identity, descriptor in descriptors.items():
            with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as sock:
                if identity not in self._open:
                    self._drop_unsent(sock)
                sent = wire_bytes(sock)
                if sent is None:
                    return None
                self._open[identity] = max(sent, self._open.get(identity, 0))
        return self._closed + sum(self._open.values())

    def _drop_unsent(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        user_timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
        if user_timeout is not None:
            sock.setsockopt(socket.IPPROTO_TCP, user_timeout, self._give_up_ms)
