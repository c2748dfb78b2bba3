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
from pathlib import Path
from typing import Protocol

from benchmarks.crossing import outside
from saccade.demo.processes import free_port
from saccade.embedded.child import GuardedChild
from saccade.link.relay import Relay, relay_to
from schemas.rates import Schedule

SAMPLE_S = 0.1
_BURST_BYTES = 4_000
_QUEUE_BYTES = 64_000
_HOST, _GUEST = "10.231.7.1", "10.231.7.2"
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
        name, host = f"saccade-{os.getpid()}", f"scd{os.getpid() % 100_000}"
        make(name, host)
        resources.callback(unmake, name, host)
        relay = Relay(target, None)
        await relay.serve(_HOST, free_port())
        resources.push_async_callback(relay.close)
        yield await resources.enter_async_context(counting(ShapedLink(name, relay, resources)))


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

    def __init__(self, name: str, relay: Relay, resources: AsyncExitStack) -> None:
        self.samples: list[tuple[float, float]] = []
        self._name = name
        self._relay = relay
        self._resources = resources

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._relay.address.split(":")
        return host, int(port)

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self._name]

    async def near(self, ports: Sequence[int], folder: Path) -> None:
        pairs = [(port, folder / f"{port}.sock") for port in ports]
        for port, path in pairs:
            server = await outside(port, path)
            self._resources.callback(server.close)
        command = [*self.prefix, sys.executable, "-m", "benchmarks.crossing"]
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
            run(*self.prefix, "ip", "neigh", "replace", _HOST, "lladdr", self._host_address(), "dev", "out")
            shape = ["tbf", "rate", f"{bytes_per_s * 8:.0f}bit"]
            shape += ["burst", f"{_BURST_BYTES}", "limit", f"{_QUEUE_BYTES}"]
            run(*self.prefix, "tc", "qdisc", "replace", "dev", "out", "root", *shape)
        else:
            run(*self.prefix, "ip", "neigh", "replace", _HOST, "lladdr", _NOBODY, "dev", "out")

    def sent_bytes(self) -> float:
        """Return what the namespace has sent, link-layer headers taken off."""
        (qdisc,) = json.loads(run(*self.prefix, "tc", "-s", "-j", "qdisc", "show", "dev", "out"))
        return float(qdisc["bytes"]) - 14.0 * float(qdisc["packets"])

    def _host_address(self) -> str:
        (link,) = json.loads(run("ip", "-j", "link", "show", f"scd{os.getpid() % 100_000}"))
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


def make(name: str, host: str) -> None:
    """The namespace has one way out, 10.231.7.2 on `out`, towards 10.231.7.1 on `host` here."""
    run("ip", "netns", "add", name)
    run("ip", "link", "add", host, "type", "veth", "peer", "name", "out", "netns", name)
    run("ip", "addr", "add", f"{_HOST}/30", "dev", host)
    run("ip", "link", "set", host, "up")
    inside = ["ip", "netns", "exec", name]
    run(*inside, "ip", "link", "set", "lo", "up")
    run(*inside, "ip", "addr", "add", f"{_GUEST}/30", "dev", "out")
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


def unmake(name: str, host: str) -> None:
    for command in (["ip", "link", "del", host], ["ip", "netns", "del", name]):
        with suppress(subprocess.CalledProcessError):
            run(*command)


def run(*command: str) -> str:
    """Return what the command printed.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
