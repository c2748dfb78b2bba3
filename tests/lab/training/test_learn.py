import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.training.learn import learn
from lab.training.plan import TrainingPlan, TrainingStage
from lab.training.subsets import Orders
from schemas.geometry import NUM_PATCHES
from vit.architecture import Architecture

pytestmark = pytest.mark.slow  # timm takes seconds to load

SMALL = Architecture(embed_dim=24, depth=2, num_heads=2, mlp_ratio=2.0, num_classes=4)


def plan_of(*stages: TrainingStage, guide_attention: bool = True) -> TrainingPlan:
    return TrainingPlan("edge", SMALL, stages, 3, decay_share=0.2, guide_attention=guide_attention)


def weights(learner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learner.state_dict().items()}


def test_the_loss_falls(pool, tmp_path: Path) -> None:
    told: list[Any] = []
    plan = plan_of(TrainingStage(5, 24, 100))
    learn(plan, pool, tmp_path / "edge.pt", threads=1, dtype=torch.float32, report=told.append)
    assert [progress.step for progress in told] == [50, 100]
    assert told[-1].loss < 0.85 * told[0].loss
    assert all(progress.images_per_s > 0 for progress in told)


def test_a_resumed_run_equals_an_uninterrupted_one(pool, tmp_path: Path) -> None:
    plan = plan_of(TrainingStage(5, 8, 4), TrainingStage(14, 4, 3))
    whole = weights(learn(plan, pool, tmp_path / "whole.pt", threads=1))
    learn(plan, pool, tmp_path / "cut.pt", threads=1, until=3)
    resumed = weights(learn(plan, pool, tmp_path / "cut.pt", threads=1))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_varied_run_sees_other_pixels_and_is_resumed_the_same(pool, tmp_path: Path) -> None:
    plan = plan_of(TrainingStage(14, 4, 3, subsets=True))
    varied = replace(plan, varied=True)
    as_they_are = weights(learn(plan, pool, tmp_path / "plain.pt", threads=1))
    whole = weights(learn(varied, pool, tmp_path / "whole.pt", threads=1))
    learn(varied, pool, tmp_path / "cut.pt", threads=1, until=2)
    resumed = weights(learn(varied, pool, tmp_path / "cut.pt", threads=1))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not torch.equal(whole["vit.head.weight"], as_they_are["vit.head.weight"])


def test_another_seed_learns_other_weights(pool, tmp_path: Path) -> None:
    plan = plan_of(TrainingStage(5, 8, 1))
    other = TrainingPlan("edge", SMALL, plan.stages, 4, decay_share=0.2, guide_attention=True)
    one = weights(learn(plan, pool, tmp_path / "one.pt", threads=1))
    two = weights(learn(other, pool, tmp_path / "two.pt", threads=1))
    assert not torch.equal(one["vit.head.weight"], two["vit.head.weight"])


def test_given_weights_are_where_learning_begins(pool, tmp_path: Path) -> None:
    plan = plan_of(TrainingStage(5, 8, 2))
    first = learn(plan, pool, tmp_path / "first.pt", threads=1).vit.state_dict()
    begun = learn(plan, pool, tmp_path / "begun.pt", threads=1, initial=first, until=0)
    assert all(torch.equal(value, first[name]) for name, value in begun.vit.state_dict().items())


def test_the_server_learns_on_subsets_in_the_edges_order(pool, tmp_path: Path) -> None:
    ranks = np.tile(np.arange(NUM_PATCHES, dtype=np.uint8), (pool.size, 1))
    plan = plan_of(TrainingStage(14, 4, 1), TrainingStage(14, 4, 3, subsets=True), guide_attention=False)
    learner = learn(plan, pool, tmp_path / "server.pt", threads=1, orders=Orders(ranks))
    assert all(torch.isfinite(value).all() for value in weights(learner).values())


def test_accuracy_is_asked_for_now_and_then(pool, tmp_path: Path) -> None:
    asked = []
    learn(
        plan_of(TrainingStage(5, 4, 5)),
        pool,
        tmp_path / "edge.pt",
        threads=1,
        evaluate=lambda step, _: asked.append(step),
        evaluate_every=2,
    )
    assert asked == [2, 4]


def test_a_checkpoint_that_holds_code_is_not_loaded(pool, tmp_path: Path) -> None:
    checkpoint = tmp_path / "edge.pt"
    torch.save({"step": 0, "masters": Path("/"), "spec": importlib.util.find_spec("os")}, checkpoint)
    with pytest.raises(Exception, match=r"[Ww]eights"):
        learn(plan_of(TrainingStage(5, 4, 1)), pool, checkpoint, threads=1)
