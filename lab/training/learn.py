"""One model's training run: resumable, seeded, with progress; it knows nothing of the images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lab.training.batches import TrainingBatch, sample
from lab.training.forward import Learner, normalised, patches_of
from lab.training.losses import loss_of
from lab.training.optimise import MixedPrecision, rate_factor
from lab.training.plan import TrainingPlan, TrainingStage
from lab.training.pool import Pool
from lab.training.subsets import Orders, thin
from lab.training.variation import varied

CHECKPOINT_S = 60.0


@dataclass(frozen=True, slots=True)
class LearningState:
    """What a run tells now and then; ``loss`` is the mean since the last time."""

    role: str
    step: int
    steps: int
    loss: float
    images_per_s: float
    window: int


def learn(
    plan: TrainingPlan,
    pool: Pool,
    checkpoint: Path,
    *,
    threads: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    orders: Orders | None = None,
    initial: Mapping[str, Tensor] | None = None,
    until: int | None = None,
    report: Callable[[LearningState], None] = lambda _: None,
    evaluate: Callable[[int, Learner], None] = lambda _step, _learner: None,
    evaluate_every: int = 500,
) -> Learner:
    """Train by ``plan`` and return the learner; a run that was cut off goes on from its checkpoint.

    The batch of step i depends on (seed, i) and on how much of the pool is filled; with a full pool a
    resumed run equals an uninterrupted one.

    Args:
        checkpoint: file of the state, written each minute and at the end.
        threads: torch threads.
        orders: the edge's patch order of every crop in the pool; without it subsets are random.
        initial: weights to begin with instead of random ones, where there is no checkpoint; names as timm's.
        until: stop, checkpointed, before this step.
    """
    from timm.models.vision_transformer import VisionTransformer  # (takes seconds)

    torch.set_num_threads(threads)
    torch.manual_seed(plan.seed)
    shape = plan.architecture
    vit = VisionTransformer(
        embed_dim=shape.embed_dim,
        depth=shape.depth,
        num_heads=shape.num_heads,
        mlp_ratio=shape.mlp_ratio,
        num_classes=shape.num_classes,
    )
    if initial is not None:
        vit.load_state_dict(initial)
    run = MixedPrecision(Learner(vit).to(device), dtype)
    step = resume(run, checkpoint)
    end = plan.steps if until is None else min(until, plan.steps)
    losses: list[float] = []
    saved_s = told_s = time.monotonic()
    while step < end:
        stage = plan.stage_at(step)
        losses.append(learn_step(run, plan, stage, step, pool, orders, device, dtype))
        step += 1
        now_s = time.monotonic()
        if step % 50 == 0:
            rate = 50 * stage.batch / (now_s - told_s)
            report(LearningState(plan.role, step, plan.steps, float(np.mean(losses)), rate, stage.window))
            losses, told_s = [], now_s
        if step % evaluate_every == 0:
            evaluate(step, run.learner)  # type: ignore[arg-type]
            told_s = time.monotonic()
        if now_s - saved_s > CHECKPOINT_S:
            save(run, step, checkpoint)
            saved_s = now_s
    save(run, step, checkpoint)
    with torch.no_grad():
        learner = run.learner.float()
        for name, parameter in learner.named_parameters():
            parameter.copy_(run.masters[name])
    return learner  # type: ignore[return-value]


def learn_step(
    run: MixedPrecision,
    plan: TrainingPlan,
    stage: TrainingStage,
    step: int,
    pool: Pool,
    orders: Orders | None,
    device: torch.device | str,
    dtype: torch.dtype,
) -> float:
    """Do one step and return its loss."""
    random = np.random.default_rng([plan.seed, step])
    batch, indices = sample(pool, random, stage.batch, stage.window, range(pool.filled()))
    pixels = normalised(torch.from_numpy(batch.pixels).to(device))
    patches = patches_of(varied(pixels, random) if plan.varied else pixels).to(dtype)
    tensors = tensors_of(batch, device)
    if stage.subsets:
        patches, tensors = thin(patches, tensors, None if orders is None else orders.of(indices), random)
    positions, truth, patch_truth, cover = tensors
    outputs = run.learner(patches, positions)
    loss = loss_of(outputs, truth, patch_truth, cover, guide_attention=plan.guide_attention)
    torch.autograd.backward(loss)
    run.step(plan.rate * stage.rate * rate_factor(step, plan.steps, plan.decay_share))
    return float(loss.detach())


def tensors_of(batch: TrainingBatch, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return positions, truth, patch truth and cover on the device."""
    arrays = (batch.positions, batch.truth, batch.patch_truth, batch.cover)
    positions, truth, patch_truth, cover = (torch.from_numpy(array).to(device) for array in arrays)
    return positions, truth, patch_truth, cover


def save(run: MixedPrecision, step: int, checkpoint: Path) -> None:
    """Write the state so that a cut-off never leaves half of it."""
    partial = checkpoint.with_suffix(".partial")
    torch.save({"step": step, **run.state()}, partial)
    partial.replace(checkpoint)


def resume(run: MixedPrecision, checkpoint: Path) -> int:
    """Take up the checkpoint if there is one; return the step to go on with.

    The project's own file of tensors and numbers; read without unpickling anything else.
    """
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    run.restore(state)
    return int(state["step"])
