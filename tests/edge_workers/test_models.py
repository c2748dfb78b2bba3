"""The edge's model while a pair is swapped: when it is taken, and what comes with it."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge_workers.models import FRONTIER, EdgeModels, Loaded, load
from edge_workers.settings import EdgeSettings
from schemas.deployment import Pair, Role, WorkerModels
from schemas.errors import ModelError
from schemas.frontier import Frontier, dump_frontier
from uplink.curve import FrontierRefusedError
from uplink.default_curve import default_frontier
from vit.backends import Identity

PAIR = Pair("/pairs/1", "e1", "s1", "c1")


class FakeEngine:
    """An engine of the model that the settings name; its hashes are made of the folder's last letter."""

    def __init__(self, settings: EdgeSettings) -> None:
        mark = settings.model[-1]
        self.name = settings.model
        self.identity = Identity(settings.model, ("a",), f"c{mark}", f"e{mark}")


class FakeUplink:
    def __init__(self) -> None:
        self.used: list[Frontier | None] = []

    def use(self, frontier: Frontier | None) -> None:
        self.used.append(frontier)


def models() -> tuple[EdgeModels, FakeUplink]:
    opener: Any = FakeEngine
    load_pair = partial(load, opener, EdgeSettings(model="started0"))
    uplink: Any = FakeUplink()
    return EdgeModels(load_pair(Pair("")), load_pair, uplink), uplink


def server(*serves: str) -> WorkerModels:
    return WorkerModels("s", Role.SERVER, "large", serves[0], "c", serves)


async def test_a_loaded_model_is_taken_once_every_server_holds_its_partner() -> None:
    held, uplink = models()
    await held.load(PAIR)
    assert held.take(PAIR, [server("s0")]) == "waits until every server holds the pair"
    assert held.told().weights == "e0"
    assert held.take(PAIR, [server("s1", "s0")]) == ""
    assert (held.told().weights, held.told().classes) == ("e1", "c1")
    assert uplink.used == [None]
    assert held.take(PAIR, [server("s0")]) == "", "what is in use is not taken twice"
    assert uplink.used == [None]


async def test_a_pair_that_cannot_be_loaded_drops_the_one_that_waited() -> None:
    held, _ = models()
    await held.load(PAIR)
    with pytest.raises(ModelError, match="weights"):
        await held.load(replace(PAIR, edge_hash="e2"))
    assert held.take(PAIR, []) == ""
    assert held.told().weights == "e0"


async def test_a_pairs_calibration_is_taken_with_it_also_when_it_comes_later(tmp_path: Path) -> None:
    folder = tmp_path / "pair1"
    folder.mkdir()
    pair = replace(PAIR, folder=str(folder))
    held, uplink = models()
    await held.load(pair)
    held.take(pair, [])
    before = held.engine.identity
    frontier = replace(default_frontier(), edge_hash="e1", classes_hash="c1")
    dump_frontier(frontier, folder / FRONTIER)
    await held.load(pair)
    held.take(pair, [])
    assert uplink.used == [None, frontier]
    assert held.engine.identity == before
    assert held.engine.identity is not before, "beliefs begin afresh"


async def test_a_calibration_of_another_pair_refuses_the_pair(tmp_path: Path) -> None:
    folder = tmp_path / "pair1"
    folder.mkdir()
    dump_frontier(replace(default_frontier(), edge_hash="e9", classes_hash="c1"), folder / FRONTIER)
    held, _ = models()
    with pytest.raises(FrontierRefusedError):
        await held.load(replace(PAIR, folder=str(folder)))


def test_a_worker_that_begins_with_a_pair_takes_its_calibration() -> None:
    opener: Any = FakeEngine
    uplink: Any = FakeUplink()
    frontier = default_frontier()
    EdgeModels(Loaded(opener(EdgeSettings(model="x1")), frontier), lambda _: models()[0].engine, uplink)  # type: ignore[arg-type, return-value]
    assert uplink.used == [frontier]


async def test_a_disk_that_does_not_answer_keeps_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter waits for every thread that is no daemon, and for those of `to_thread`."""
    found: list[threading.Thread] = []

    def frontier_of(*_: object) -> None:
        found.append(threading.current_thread())

    held, _ = models()
    monkeypatch.setattr("edge_workers.models.frontier_of", frontier_of)
    await held.load(PAIR)
    held.take(PAIR, [])
    await held.load(PAIR)
    assert [each.daemon for each in found] == [True, True]
