"""Fixtures that several rooms share."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from saccade.embedded import EmbeddedStack

_COUNT = itertools.count()

# The same examples each run, and no time limit for one: a busy machine is not a failure.
settings.register_profile("saccade", deadline=None, derandomize=True)
settings.load_profile("saccade")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """One real Kafka broker and one real Redis for the whole run, without topics.

    Tests share them: take names of topics, groups, sites and cameras from `unique`, and leave them running.
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
