import numpy as np
import pytest

from lab.evaluation.experiments import (
    PAPER_DELTAS,
    RANDOM_SEEDS,
    default_schemes,
    full_schemes,
    plan,
)
from lab.evaluation.schemes import EDGE, SERVER, RandomPatches, Ranked, Whole
from lab.evaluation.selection import Rule


@pytest.fixture
def attention() -> dict[str, np.ndarray]:
    raw = np.random.default_rng(0).random((30, 196)) ** 3
    return {EDGE: (raw / raw.sum(-1, keepdims=True)).astype(np.float32)}


def test_the_default_run_stays_within_its_budget(attention: dict[str, np.ndarray]) -> None:
    made = plan(default_schemes(attention), attention, 30, embed_dim=192, depth=12, budget=20.0, already=1.0)
    assert 15.0 < made.total_equivalents <= 20.0
    assert made.schemes[0] == Whole()
    assert {Ranked(Rule("attention_sum", delta)) for delta in PAPER_DELTAS} <= set(made.schemes)
    assert sum(isinstance(each, RandomPatches) for each in made.schemes) == len(RANDOM_SEEDS)


def test_the_full_run_holds_the_default_run(attention: dict[str, np.ndarray]) -> None:
    everything = full_schemes(attention)
    assert set(default_schemes(attention)) <= set(everything)
    made = plan(everything, attention, 30, embed_dim=192, depth=12, budget=None)
    assert len(made.schemes) == len(set(made.schemes)) > 60


def test_cost_is_relative_to_a_whole_image_and_counts_eq_9(attention: dict[str, np.ndarray]) -> None:
    half = Ranked(Rule("top_k", 0.5))
    made = plan([Whole(), half], attention, 30, embed_dim=768, depth=12, budget=None)
    assert made.equivalents[Whole()] == 1.0
    assert 0.48 < made.equivalents[half] < 0.5


def test_what_does_not_fit_is_named_and_smaller_passes_still_run(attention: dict[str, np.ndarray]) -> None:
    small = Ranked(Rule("top_k", 0.1))
    made = plan([Whole(), Whole("jpeg", 75), small], attention, 30, embed_dim=192, depth=12, budget=1.5)
    assert made.schemes == (Whole(), small)
    assert made.left_out == (Whole("jpeg", 75),)


def test_a_scheme_without_its_attention_is_left_out(attention: dict[str, np.ndarray]) -> None:
    wanted = Ranked(Rule("top_k", 0.1), source=SERVER)
    assert plan([wanted], attention, 30, embed_dim=192, depth=12, budget=None).left_out == (wanted,)
