import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vit.cores
from vit.architecture import Architecture
from vit.cores import Cores, even_parts, threads_of_lone
from vit.edge_forward import EdgeForward
from vit.model import random_model
from vit.packed_forward import PackedForward

SMALL = Architecture(embed_dim=64, depth=3, num_heads=2, mlp_ratio=4.0, num_classes=7)


@given(st.lists(st.integers(1, 197), min_size=1, max_size=40), st.integers(1, 8))
def test_parts_cover_all_in_order_and_none_is_empty(sizes, most: int) -> None:
    parts = even_parts(sizes, most)
    assert len(parts) == min(most, len(sizes))
    assert [each for part in parts for each in sizes[part]] == sizes
    assert all(sizes[part] for part in parts)


@given(st.lists(st.integers(100, 197), min_size=8, max_size=40))
def test_two_parts_differ_by_no_more_than_one_item(sizes) -> None:
    first, second = (sum(sizes[part]) for part in even_parts(sizes, 2))
    assert abs(first - second) <= max(sizes)


@pytest.mark.parametrize(
    ("seconds", "threads"),
    [
        ({1: 0.050, 2: 0.026}, 2),  # quiet cores
        ({1: 0.037, 2: 0.050}, 1),  # waking a sleeping thread costs more than it brings
        ({1: 0.050, 2: 0.045}, 1),  # a little is not worth another core
        ({1: 0.120, 4: 3.0}, 1),  # others need the cores
        ({1: 0.040}, 1),
    ],
)
def test_a_lone_item_gets_all_threads_only_where_they_are_clearly_faster(
    seconds: dict[int, float], threads: int
) -> None:
    assert threads_of_lone(seconds) == threads


def test_each_part_has_a_thread_of_its_own_that_computes_alone() -> None:
    meeting = threading.Barrier(3, timeout=30)

    def part(number: int):
        meeting.wait()
        return number, threading.get_ident(), torch.get_num_threads()

    numbers, idents, threads = zip(*Cores(3).run(part, [1, 2, 3]), strict=True)
    assert numbers == (1, 2, 3)
    assert len(set(idents)) == 3
    assert threads == (1, 1, 1)


def test_a_part_that_fails_is_raised_after_all_have_ended() -> None:
    ended = []

    def part(number: int):
        if number == 1:
            raise ValueError("broken")
        ended.append(number)

    with pytest.raises(ValueError, match="broken"):
        Cores(2).run(part, [1, 2])
    assert ended == [2]


def test_a_lone_part_has_the_threads_that_were_chosen_and_the_callers_stay(monkeypatch):
    seen = []
    before = torch.get_num_threads()
    shared, untold = Cores(2), Cores(None)
    for cores in (shared, untold):
        cores.run(lambda _: seen.append(torch.get_num_threads()), ["lone"])
    monkeypatch.setattr(vit.cores, "threads_of_lone", max)
    shared.choose(lambda: None)
    shared.run(lambda _: seen.append(torch.get_num_threads()), ["lone"])
    assert seen == [1, before, 2]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_answer_does_not_depend_on_the_cores(threads: int) -> None:
    model, rng = random_model(SMALL), np.random.default_rng(0)
    crops = rng.integers(0, 256, (5, 224, 224, 3), dtype=np.uint8)
    expected = EdgeForward(model, torch.float32)(crops)
    found = EdgeForward(model, torch.float32, threads=threads)(crops)
    for name in ("logits", "attention", "embedding"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-5)
    counts = [3, 196, 50, 120, 50]
    patches = [rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8) for count in counts]
    positions = [np.sort(rng.permutation(196)[:count]) for count in counts]
    packed = PackedForward(model, dtype=torch.float32)(patches, positions)
    shared = PackedForward(model, dtype=torch.float32, threads=threads)(patches, positions)
    assert shared == pytest.approx(packed, abs=1e-5)
