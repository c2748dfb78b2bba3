"""The server's models while a pair is swapped: who answers which record, and when an older one is gone."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import numpy as np
import pytest

from runtime.clock import ManualClock
from schemas.deployment import Pair, Role, WorkerModels
from schemas.errors import ModelError
from schemas.offload import Offload, bitmap_of
from server_workers.infer import by_engine
from server_workers.models import LINGER_S, ServerModels
from vit.backends import Identity


class FakeEngine:
    def __init__(self, weights: str, classes: str) -> None:
        self.name = weights
        self.identity = Identity(weights, ("a",), classes * 16, weights)


def load(pair: Pair) -> Any:
    if pair.folder == "/bad":
        raise ModelError("no such file")
    return FakeEngine(pair.server_hash, pair.classes_hash[:1])


def record(classes: str) -> Offload:
    return Offload("c", 0, 0, 0, bitmap_of(np.arange(3)), "raw", 0, b"", ((0, 0.5),), classes * 8)


def edge(classes: str) -> WorkerModels:
    return WorkerModels("e", Role.EDGE, "small", "e", classes * 16)


def models(clock: ManualClock) -> ServerModels:
    first: Any = FakeEngine("s0", "0")
    return ServerModels(first, load, clock)


def name_of(found: Any) -> str | None:
    return None if found is None else str(found.name)


async def test_records_of_both_class_lists_are_answered_until_no_edge_asks_with_the_old_one() -> None:
    clock = ManualClock()
    held = models(clock)
    await held.load(Pair("/1", "e1", "s1", "1" * 16))
    assert [name_of(held.of(record(each), math.inf)) for each in "01f"] == ["s0", "s1", None]
    assert held.told().serves == ("s1", "s0")
    clock.advance(LINGER_S + 1)
    held.release([edge("0"), edge("1")])
    assert name_of(held.of(record("0"), math.inf)) == "s0"
    held.release([edge("1")])
    assert held.told().serves == ("s1", "s0"), "a record of the old list came a moment ago"
    old = weakref.ref(held.of(record("0"), math.inf) or held)
    clock.advance(LINGER_S + 1)
    held.release([edge("1")])
    gc.collect()
    assert held.of(record("0"), math.inf) is None
    assert old() is None


async def test_a_model_is_kept_until_the_last_deadline_of_its_records_has_passed() -> None:
    clock = ManualClock()
    held = models(clock)
    held.of(record("0"), clock.monotonic_s() + 100.0)
    held.of(record("0"), clock.monotonic_s() + 5.0)
    await held.load(Pair("/1", "e1", "s1", "1" * 16))
    clock.advance(99.0 + LINGER_S)
    held.release([])
    assert held.told().serves == ("s1", "s0")
    clock.advance(2.0)
    held.release([])
    assert held.told().serves == ("s1",)


async def test_a_class_list_that_is_first_heard_of_meanwhile_does_not_disturb_a_release() -> None:
    clock = ManualClock()
    held = models(clock)
    await held.load(Pair("/1", "e1", "s1", "1" * 16))

    class AskedMeanwhile(float):
        """A time at which another thread reads the first record of the other class list."""

        def __rsub__(self, other: float) -> float:
            held.of(record("1"), math.inf)
            return other - float(self)

    held._wanted_until_s["0" * 16] = AskedMeanwhile(clock.monotonic_s())
    held.release([])
    assert held.told().serves == ("s1", "s0")


async def test_of_one_class_list_the_newer_model_answers_and_the_older_goes_at_once() -> None:
    held = models(ManualClock())
    await held.load(Pair("/1", "e1", "s1", "0" * 16))
    assert name_of(held.of(record("0"), math.inf)) == "s1"
    held.release([edge("0")])
    assert held.told().serves == ("s1",)


async def test_going_back_takes_a_model_that_is_still_held_without_loading_it() -> None:
    held = models(ManualClock())
    first = held.newest
    await held.load(Pair("/1", "e1", "s1", "1" * 16))
    await held.load(Pair("/bad", "e0", "s0", "0" * 16))
    assert held.newest is first
    assert held.told().serves == ("s0", "s1")


async def test_a_pair_that_cannot_be_loaded_changes_nothing() -> None:
    held = models(ManualClock())
    with pytest.raises(ModelError):
        await held.load(Pair("/bad", "e1", "s1", "1" * 16))
    assert held.told().serves == ("s0",)


def test_a_batch_is_computed_model_by_model() -> None:
    class Task:
        def __init__(self, engine: object) -> None:
            self.engine = engine

    one, other = object(), object()
    tasks: list[Any] = [Task(one), Task(other), Task(one)]
    assert by_engine(tasks) == [[tasks[0], tasks[2]], [tasks[1]]]
    assert by_engine([]) == []
