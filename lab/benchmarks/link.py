"""A link between edge worker and broker whose rate and delay step: packets carried here, or a TCP relay without root.

Not every kernel has `netem`, so the packets of a namespace pass through this process: TCP at both ends meets
their rate, delay and loss as on a real path.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import os
import random
import shutil
import struct
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from devstack.child import GuardedChild
from devstack.demo.processes import free_port
from devstack.link.relay import Relay, relay_to
from lab.benchmarks.crossing import outside
from schemas.rates import RateSchedule

SAMPLE_S = 0.1
_QUEUE_BYTES = 64_000
_LATE_S = 0.01
"""A timer may be so late: the link makes up for it."""
_MAX_PACKET_BYTES = 65_536
_PREFIX = "saccade-"
_TUN = "/dev/net/tun"
# From Linux's if_tun.h.
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


class Link(Protocol):
    """`address` is what the broker advertises; `samples` are (loop time, bytes towards the broker)."""

    kind: str
    samples: list[tuple[float, float]]

    @property
    def address(self) -> tuple[str, int]: ...

    @property
    def prefix(self) -> list[str]:
        """What a command needs before it to run on the near side."""
        ...

    async def near(self, ports: Sequence[int], folder: Path) -> None:
        """Processes on the near side find these ports of ours on their loopback."""
        ...

    async def follow(self, rates: RateSchedule, round_trips_s: Sequence[float]) -> None:
        """The link has these rates, and in each step this round trip, from now on; ends after the last step."""
        ...


def can_shape() -> bool:
    """Return whether this process may make namespaces and shape them."""
    if os.geteuid() != 0 or not shutil.which("ip") or not Path(_TUN).exists():
        return False
    name = f"saccade-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made


@asynccontextmanager
async def link_to(port: list[int], *, shaped: bool, loss: float = 0.0) -> AsyncIterator[Link]:
    """Yield a link to the broker's port on loopback, which may be filled in later; no limit yet.

    `loss` is the share of packets that a shaped link loses.
    """
    target = lambda: ("127.0.0.1", port[0])  # noqa: E731 - asked anew for each connection
    if not shaped:
        async with relay_to(target) as relay:
            yield RelayedLink(relay)
        return
    async with AsyncExitStack() as resources:
        remove_orphans()
        ends = Ends.of(os.getpid())
        near, far = make(ends, resources)
        relay = Relay(target, None)
        await relay.serve(ends.host_address, free_port())
        resources.push_async_callback(relay.close)
        link = PacketLink(ends, relay, resources, loss)
        yield await resources.enter_async_context(link.carrying(near, far))


@dataclass(frozen=True, slots=True)
class Ends:
    """A process's own namespace and pair: two runs, or one and what a killed one left, never meet."""

    name: str
    host: str
    guest: str
    host_address: str
    guest_address: str

    @classmethod
    def of(cls, pid: int) -> Self:
        first = 4 * (pid % 16_384)
        network = f"10.231.{first // 256}."
        return cls(
            f"{_PREFIX}{pid}",
            f"scd{pid}",
            f"scg{pid}",
            f"{network}{first % 256 + 1}",
            f"{network}{first % 256 + 2}",
        )


def remove_orphans() -> None:
    """Pairs of processes that are gone, killed before they could tidy up, are gone too."""
    for line in run("ip", "netns", "list").splitlines():
        prefix, _, pid = line.split()[0].rpartition("-")
        if f"{prefix}-" == _PREFIX and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            unmake(Ends.of(int(pid)))


class RelayedLink:
    """The relay's own limit and counter; everything runs in one namespace."""

    kind = "relay"

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.samples = relay.counter.samples

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._relay.address.split(":")
        return host, int(port)

    @property
    def prefix(self) -> list[str]:
        return []

    async def near(self, ports: Sequence[int], folder: Path) -> None:
        """Nothing to do: near and far are one."""

    async def follow(self, rates: RateSchedule, round_trips_s: Sequence[float]) -> None:
        if any(round_trips_s):
            raise ValueError("a relay does not delay")
        self._relay.follow(rates)
        await asyncio.sleep(rates.starts_s[-1])


class PacketLink:
    """A namespace whose only way out is a TUN pair; this process carries the packets from one to the other.

    Towards the broker they pass one after the other at the rate of the moment, through a queue of `_QUEUE_BYTES`,
    and each is lost with the probability `loss`. Both ways they travel half a round trip. At rate 0 none arrives.
    """

    kind = "namespace, packets carried"

    def __init__(self, ends: Ends, relay: Relay, resources: AsyncExitStack, loss: float) -> None:
        self.samples: list[tuple[float, float]] = []
        self._ends = ends
        self._relay = relay
        self._resources = resources
        self._loss = loss
        self._luck = random.Random(0)
        self._loop = asyncio.get_running_loop()
        self._bytes_per_s = math.inf
        self._one_way_s = 0.0
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._free_s = 0.0
        self._sent_bytes = 0

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._relay.address.split(":")
        return host, int(port)

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self._ends.name]

    async def near(self, ports: Sequence[int], folder: Path) -> None:
        pairs = [(port, folder / f"{port}.sock") for port in ports]
        for port, path in pairs:
            server = await outside(port, path)
            self._resources.callback(server.close)
        command = [*self.prefix, sys.executable, "-m", "lab.benchmarks.crossing"]
        command += [f"{port}={path}" for port, path in pairs]
        child = GuardedChild("crossing", command, folder / "crossing.log", grace_s=5.0, held_fds=())
        child.start()
        self._resources.push_async_callback(child.stop)

    async def follow(self, rates: RateSchedule, round_trips_s: Sequence[float]) -> None:
        begin_s = self._loop.time()
        for start_s, rate, round_trip_s in zip(
            rates.starts_s, rates.rates_bytes_per_s, round_trips_s, strict=True
        ):
            await asyncio.sleep(max(begin_s + start_s - self._loop.time(), 0.0))
            self._bytes_per_s, self._one_way_s = rate, round_trip_s / 2

    @asynccontextmanager
    async def carrying(self, near: int, far: int) -> AsyncIterator[Self]:
        """Packets pass between the two interfaces' files within the block, and are counted ten times a second."""
        self._loop.add_reader(near, self._sent, near, far)
        self._loop.add_reader(far, self._answered, far, near)
        try:
            async with asyncio.TaskGroup() as group:
                sampling = group.create_task(self._sample())
                yield self
                sampling.cancel()
        finally:
            self._loop.remove_reader(near)
            self._loop.remove_reader(far)

    def _sent(self, near: int, far: int) -> None:
        """A packet came from the namespace: it joins the queue if that has room."""
        packet = os.read(near, _MAX_PACKET_BYTES)
        if self._bytes_per_s == 0 or self._queue_bytes + len(packet) > _QUEUE_BYTES:
            return
        self._queue.append(packet)
        self._queue_bytes += len(packet)
        if len(self._queue) == 1:
            self._free_s = max(self._free_s, self._loop.time() - _LATE_S)
            self._serve(far)

    def _serve(self, far: int) -> None:
        """The queue's first packet leaves when the link has carried it, then the next."""
        if self._bytes_per_s == 0:
            self._queue.clear()
            self._queue_bytes = 0
            return
        self._free_s += len(self._queue[0]) / self._bytes_per_s
        self._loop.call_at(self._free_s, self._left, far)

    def _left(self, far: int) -> None:
        packet = self._queue.popleft()
        self._queue_bytes -= len(packet)
        self._sent_bytes += len(packet)
        if self._luck.random() >= self._loss:
            self._travel(packet, far)
        if self._queue:
            self._serve(far)

    def _answered(self, far: int, near: int) -> None:
        packet = os.read(far, _MAX_PACKET_BYTES)
        if self._bytes_per_s > 0:
            self._travel(packet, near)

    def _travel(self, packet: bytes, to: int) -> None:
        self._loop.call_later(self._one_way_s, os.write, to, packet)

    async def _sample(self) -> None:
        while True:
            self.samples.append((self._loop.time(), float(self._sent_bytes)))
            await asyncio.sleep(SAMPLE_S)


def make(ends: Ends, resources: AsyncExitStack) -> tuple[int, int]:
    """The namespace has one way out, `out`, towards the host's end here; returns the files of both interfaces."""
    run("ip", "netns", "add", ends.name)
    resources.callback(unmake, ends)
    near, far = (tun(name, resources) for name in (ends.guest, ends.host))
    run("ip", "addr", "add", f"{ends.host_address}/30", "dev", ends.host)
    run("ip", "link", "set", ends.host, "up")
    run("ip", "link", "set", ends.guest, "netns", ends.name, "name", "out")
    inside = ["ip", "netns", "exec", ends.name]
    run(*inside, "ip", "link", "set", "lo", "up")
    run(*inside, "ip", "addr", "add", f"{ends.guest_address}/30", "dev", "out")
    run(*inside, "ip", "link", "set", "out", "up")
    return near, far


def tun(name: str, resources: AsyncExitStack) -> int:
    """A file whose reads and writes are the packets of a new interface; both are gone once it is closed."""
    file = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    resources.callback(os.close, file)
    fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return file


def unmake(ends: Ends) -> None:
    with suppress(subprocess.CalledProcessError):
        run("ip", "netns", "del", ends.name)


def run(*command: str) -> str:
    """Return what the command printed.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
