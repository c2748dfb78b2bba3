"""A link between edge worker and broker whose rate steps: a shaped veth pair, or a TCP relay without root.

The namespace's end of the pair has `tc tbf` on what it sends, and the kernel counts those bytes. Silence is a
wrong hardware address for the other end: packets leave and nobody takes them, as `tbf` refuses rate 0 and not
every kernel has `netem`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from devstack.child import GuardedChild
from devstack.demo.processes import free_port
from devstack.link.relay import Relay, relay_to
from lab.benchmarks.crossing import outside
from schemas.rates import Schedule

SAMPLE_S = 0.1
_BURST_BYTES = 4_000
_QUEUE_BYTES = 64_000
_PREFIX = "saccade-"
_NOBODY = "02:00:00:00:00:99"


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

    async def follow(self, rates: Schedule) -> None:
        """The link has these rates from now on; ends after the last step."""
        ...


def can_shape() -> bool:
    """Return whether this process may make namespaces and shape them."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
        return False
    name = f"saccade-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made


@asynccontextmanager
async def link_to(port: list[int], *, shaped: bool) -> AsyncIterator[Link]:
    """Yield a link to the broker's port on loopback, which may be filled in later; no limit yet."""
    target = lambda: ("127.0.0.1", port[0])  # noqa: E731 - asked anew for each connection
    if not shaped:
        async with relay_to(target) as relay:
            yield RelayedLink(relay)
        return
    async with AsyncExitStack() as resources:
        remove_orphans()
        ends = Ends.of(os.getpid())
        make(ends)
        resources.callback(unmake, ends)
        relay = Relay(target, None)
        await relay.serve(ends.host_address, free_port())
        resources.push_async_callback(relay.close)
        yield await resources.enter_async_context(counting(ShapedLink(ends, relay, resources)))


@dataclass(frozen=True, slots=True)
class Ends:
    """A process's own namespace and pair: two runs, or one and what a killed one left, never meet."""

    name: str
    host: str
    host_address: str
    guest_address: str

    @classmethod
    def of(cls, pid: int) -> Self:
        first = 4 * (pid % 16_384)
        network = f"10.231.{first // 256}."
        return cls(
            f"{_PREFIX}{pid}", f"scd{pid}", f"{network}{first % 256 + 1}", f"{network}{first % 256 + 2}"
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

    async def follow(self, rates: Schedule) -> None:
        self._relay.follow(rates)
        await asyncio.sleep(rates.starts_s[-1])


class ShapedLink:
    """A namespace whose only way out is a veth pair with `tc tbf`."""

    kind = "namespace, tc tbf"

    def __init__(self, ends: Ends, relay: Relay, resources: AsyncExitStack) -> None:
        self.samples: list[tuple[float, float]] = []
        self._ends = ends
        self._relay = relay
        self._resources = resources

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

    async def follow(self, rates: Schedule) -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        for start_s, rate in zip(rates.starts_s, rates.rates_bytes_per_s, strict=True):
            await asyncio.sleep(max(begin_s + start_s - loop.time(), 0.0))
            self.set_rate(rate)

    def set_rate(self, bytes_per_s: float) -> None:
        """The pair carries this from now on; 0 is a silent drop."""
        if bytes_per_s > 0:
            self._point_to(self._hardware_address())
            shape = ["tbf", "rate", f"{bytes_per_s * 8:.0f}bit"]
            shape += ["burst", f"{_BURST_BYTES}", "limit", f"{_QUEUE_BYTES}"]
            run(*self.prefix, "tc", "qdisc", "replace", "dev", "out", "root", *shape)
        else:
            self._point_to(_NOBODY)

    def sent_bytes(self) -> float:
        """Return what the namespace has sent, link-layer headers taken off."""
        (qdisc,) = json.loads(run(*self.prefix, "tc", "-s", "-j", "qdisc", "show", "dev", "out"))
        return float(qdisc["bytes"]) - 14.0 * float(qdisc["packets"])

    def _point_to(self, hardware_address: str) -> None:
        neighbour = [self._ends.host_address, "lladdr", hardware_address, "dev", "out"]
        run(*self.prefix, "ip", "neigh", "replace", *neighbour)

    def _hardware_address(self) -> str:
        (link,) = json.loads(run("ip", "-j", "link", "show", self._ends.host))
        return str(link["address"])


@asynccontextmanager
async def counting(link: ShapedLink) -> AsyncIterator[ShapedLink]:
    """The kernel's counter is read ten times a second within the block."""

    async def sample() -> None:
        loop = asyncio.get_running_loop()
        base = total = 0.0
        while True:
            sent = await asyncio.to_thread(link.sent_bytes)
            if sent < total - base:
                base = total  # a replaced qdisc counts anew
            total = base + sent
            link.samples.append((loop.time(), total))
            await asyncio.sleep(SAMPLE_S)

    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(sample())
        try:
            yield link
        finally:
            sampling.cancel()


def make(ends: Ends) -> None:
    """The namespace has one way out, `out`, towards the host's end here."""
    run("ip", "netns", "add", ends.name)
    run("ip", "link", "add", ends.host, "type", "veth", "peer", "name", "out", "netns", ends.name)
    run("ip", "addr", "add", f"{ends.host_address}/30", "dev", ends.host)
    run("ip", "link", "set", ends.host, "up")
    inside = ["ip", "netns", "exec", ends.name]
    run(*inside, "ip", "link", "set", "lo", "up")
    run(*inside, "ip", "addr", "add", f"{ends.guest_address}/30", "dev", "out")
    run(*inside, "ip", "link", "set", "out", "up")
    run(
        *inside,
        "tc",
        "qdisc",
        "add",
        "dev",
        "out",
        "root",
        "tbf",
        "rate",
        "10mbit",
        "burst",
        "16kb",
        "limit",
        "64kb",
    )


def unmake(ends: Ends) -> None:
    for command in (["ip", "link", "del", ends.host], ["ip", "netns", "del", ends.name]):
        with suppress(subprocess.CalledProcessError):
            run(*command)


def run(*command: str) -> str:
    """Return what the command printed.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
