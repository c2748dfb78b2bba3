"""Where a demo runs: the embedded stack with a relay on the offload path, or clusters that the user names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from devstack.demo.plan import DemoPlan
from devstack.kafka_broker import ExtraListener
from devstack.link.relay import Relay, relay_to
from devstack.settings import Settings, load_settings
from devstack.stack import embedded_stack
from runtime.kafka_admin import create_topics, pipeline_topics
from schemas.rates import RateSchedule, parse_budget


@dataclass(frozen=True, slots=True)
class Backend:
    """Addresses as settings for every process; ``relay`` is None where the offload path has none."""

    settings: Settings
    relay: Relay | None

    @property
    def uplink(self) -> str:
        """What the offload path goes through: relay, simulated (one cluster) or link (two clusters)."""
        if self.relay is not None:
            return "relay"
        return "simulated" if self.settings.offload_kafka is None else "link"

    def addresses(self) -> list[str]:
        """Return the command-line flags that lead a ``saccade`` process to this backend."""
        return ["--kafka", self.settings.kafka.bootstrap_servers, "--redis", self.settings.redis.url]

    def flags(self) -> list[str]:
        """Return the flags of the demo's own processes."""
        return [*self.addresses(), "--set", "redis.traces=true"]

    def offload_flags(self) -> list[str]:
        """Return the flags that send a process's offload records through the relay."""
        if self.relay is None:
            return []
        return ["--set", f"offload_kafka.bootstrap_servers={self.relay.address}"]


@asynccontextmanager
async def backend_of(plan: DemoPlan) -> AsyncIterator[Backend]:
    """Yield where the demo runs, topics made; what was started for it is gone afterwards."""
    if plan.kafka is not None and plan.redis is not None:
        settings = settings_at(plan.kafka, plan.redis)
        await create_topics(settings.kafka, pipeline_topics(settings))
        yield Backend(settings, relay=None)
        return
    listener_port: list[int] = []
    async with AsyncExitStack() as resources:
        relay = await resources.enter_async_context(
            relay_to(lambda: ("127.0.0.1", listener_port[0]), limit=link_limit(plan.budget))
        )
        host, port = relay.address.split(":")
        stack = await resources.enter_async_context(
            embedded_stack(plan.out / "stack", extra_listener=ExtraListener(host, int(port)))
        )
        listener_port.append(int(stack.extra_bootstrap_servers.split(":")[1]))
        yield Backend(settings_at(stack.bootstrap_servers, stack.redis_url), relay)


def settings_at(kafka: str, redis: str) -> Settings:
    """Return the default settings at these addresses."""
    tree: dict[str, Any] = {"kafka": {"bootstrap_servers": kafka}, "redis": {"url": redis}}
    return load_settings(None, tree)


AUTO_LINK = "1600kbit@0,300kbit@20,800kbit@40"


def link_limit(budget: str | None) -> RateSchedule | None:
    """Return what the relay itself lets through.

    A told budget must be kept by the edge alone, so the relay only counts; with ``auto`` there is nothing to
    estimate unless the link has an end.
    """
    if budget != "auto":
        return None
    schedule = parse_budget(AUTO_LINK)
    assert isinstance(schedule, RateSchedule)
    return schedule
