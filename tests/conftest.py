"""Fixtures that several rooms share."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from devstack import EmbeddedStack
from devstack.settings import Settings, load_settings
from runtime.metrics import PREFIX, MetricGroup, Metrics

_COUNT = itertools.count()
_LONGEST = (
    "page/test_walk.py",
    "pipeline/test_scaling_out.py",
    "uplink/test_site_share_processes.py",
    "page/test_browser.py",
    "saccade/test_cli_processes.py",
    "uplink/test_shell_on_a_link.py",
    "devstack/test_tls.py",
    "runtime/test_kafka_source.py",
    "pipeline/test_status.py",
    "chaos/test_chaos.py",
    "saccade/test_cli_habits.py",
    "compose/test_images.py",
    "runtime/test_kafka_sink.py",
    "lab/simulation/test_simulate.py",
    "devstack/test_stack.py",
    "lab/evaluation/test_run.py",
    "vit/test_edge_forward.py",
    "lab/research/test_rivals.py",
    "pipeline/test_faults.py",
    "uplink/test_site_share.py",
    "pipeline/test_swap.py",
    "vit/test_export.py",
)
"""Files of tests that take ten seconds and more, the longest first."""

# The same examples each run, and no limit to the time of one, or of drawing it: a busy machine is not a failure.
settings.register_profile(
    "saccade", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("saccade")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files begin first, so that no process is left with one of them at the end."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(_LONGEST)}
    assert all(path.exists() for path in places), "tests/conftest.py lists a file that is gone"
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """What was loaded to collect the tests stays to the end: the garbage collector looks at it no more."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """One real Kafka broker and one real Redis for each process of the run, without topics.

    The tests of a process share them: take names of topics, groups, sites and cameras from `unique`, and leave them
    running.
    """
    run_dir = tmp_path_factory.mktemp("stack")
    embedded = EmbeddedStack(run_dir)
    asyncio.run(embedded.start())
    yield embedded
    asyncio.run(embedded.stop())


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Makes names that no other test of this run uses: `unique("frames")` -> `frames-4711-3`."""
    return lambda name: f"{name}-{os.getpid()}-{next(_COUNT)}"


@pytest.fixture
def samples() -> Callable[[Metrics], dict[tuple[str, tuple[tuple[str, str], ...]], float]]:
    """Reads what a process exports: (series, its labels in order) → value."""

    def read(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(metrics.exposition().decode())
            for sample in family.samples
        }

    return read


@pytest.fixture
def names_of() -> Callable[[type[MetricGroup]], set[str]]:
    """The names that a group of metrics exports, without the common prefix, which it checks."""

    def names(kind: type[MetricGroup]) -> set[str]:
        registry = CollectorRegistry()
        kind(registry, per_camera=True)
        found = {family.name for family in registry.collect()}
        assert all(name.startswith(PREFIX) for name in found)
        return {name.removeprefix(PREFIX) for name in found}

    return names


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A loopback port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors file with a vision transformer of random weights, two blocks and five classes."""
    from vit.architecture import Architecture
    from vit.model import random_model
    from vit.weights import save_model

    model = random_model(Architecture(embed_dim=48, depth=2, num_heads=3, mlp_ratio=2.0, num_classes=5))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, model.vit, name="tiny", mean=model.mean, std=model.std, classes=model.classes)
    return path


@pytest.fixture(scope="session")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as the folder that `saccade export` makes."""
    from vit.export import export
    from vit.weights import load_model

    folder = tmp_path_factory.mktemp("exported")
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    export(load_model(str(tiny_model)), folder, checked=crops, data="noise")
    return folder


@pytest.fixture
async def pipeline(
    stack: EmbeddedStack, unique: Callable[[str], str], tiny_model: Path, tmp_path: Path
) -> AsyncIterator[Settings]:
    """Settings of a whole pipeline on the stack with topics and groups of its own, and the tiny model."""
    from runtime.kafka_admin import create_topics, pipeline_topics

    settings = load_settings(
        None,
        {
            "kafka": {"bootstrap_servers": stack.bootstrap_servers, "session_timeout_ms": 6000},
            "topics": {"frames": unique("frames"), "offload": unique("offload"), "partitions": 4},
            "redis": {"url": stack.redis_url},
            "producer": {"state_dir": str(tmp_path / "state")},
            "edge": {
                "group_id": unique("edge"),
                "model": str(tiny_model),
                "threads": 1,
                "tau": 0.0,
                # A busy test machine is no reason to give an offload up.
                "max_latency_ms": 30_000,
            },
            "server": {"group_id": unique("server"), "model": str(tiny_model), "threads": 1},
        },
        {},
    )
    await create_topics(settings.kafka, pipeline_topics(settings))
    yield settings
