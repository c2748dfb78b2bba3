"""Ports and folders that several stacks share."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from devstack.locks import Locks
from schemas.errors import StackError


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's ephemeral range")
def test_no_port_is_given_twice_and_none_is_ephemeral() -> None:
    first, second = Locks(), Locks()
    ports = [locks.take_port() for locks in (first, second) for _ in range(20)]
    assert len(set(ports)) == 40
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not any(low <= port <= high for port in ports)
    with pytest.raises(StackError, match=f"port {ports[0]} is in use"):
        second.take_port(ports[0])
    first.release()
    assert second.take_port(ports[0]) == ports[0]
    second.release()


def test_a_port_somebody_listens_on_is_refused() -> None:
    locks = Locks()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} is in use: stop what listens there"):
            locks.take_port(port)
    locks.release()


def test_a_folder_is_free_again_after_release(tmp_path: Path) -> None:
    first, second = Locks(), Locks()
    first.take_folder(tmp_path / "run")
    with pytest.raises(StackError, match="is occupied by another stack"):
        second.take_folder(tmp_path / "run")
    first.release()
    second.take_folder(tmp_path / "run")
    second.release()
