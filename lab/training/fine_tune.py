"""Teaches a pair from what it is: heads first, then both models as a whole where there are images enough.

The edge learns first, then the server on subsets in the edge's order.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from lab.errors import TrainingError
from lab.progress import Progress, SilentProgress
from lab.training.folder import fill_from_images, read_folder
from lab.training.forward import MEAN, STD
from lab.training.heads import embeddings, with_fitted_head
from lab.training.plan import TrainingPlan, TrainingStage
from lab.training.pool import Pool
from lab.training.record import TrainingRecord
from lab.training.report import Asking, Outcome, answers_of, outcome_of
from lab.training.run import Setup, export, train_one, usual_setup
from lab.training.subsets import Orders, rank_pool
from vit.model import Model
from vit.weights import is_pair, load_model, save_model

BATCH: Final = 48
WHOLE_GRID: Final = 14
COPIES: Final = 4
BENT_RATE: Final = 0.3
"""Of the rate from nothing: what was learnt before is to bend, not to be overwritten."""
ANEW_RATE, ANEW_LENGTH = 2.0, 3
"""Rate and epochs of a model whose features do not fit the images: there is little to lose, and much to learn."""
FITS_FROM: Final = 0.5
"""Features fit where a new head alone is right on so many of the images that are watched."""
ENOUGH_IMAGES: Final = 1_000
"""From so many on whole models are bent; fewer would rather be learnt by heart than understood."""


def fine_tune(
    data: Path,
    out: Path,
    work: Path,
    *,
    asking: Asking,
    edge: str = "shipped:edge",
    server: str = "shipped:server",
    heads_only: bool | None = None,
    epochs: float = 30.0,
    seed: int = 1,
    setup: Setup | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Fine-tune a pair on ``data/CLASS/image``; ``out`` is then the folder of the new pair.

    Heads are fitted on the embeddings of both models, from the heads that they have. Whole models are bent from
    there by the recipe of the shipped pair without what only a renderer knows: no truths of patches, no map for the
    attention. Each time that an image is shown it is moved, turned and relit, and mostly with a part of its patches,
    which costs half. A model whose features do not fit the images learns faster and longer. The same call again goes
    on where a cut-off run stopped.

    Args:
        data: one folder per class; see `read_folder` for what is held out and which classes the pair will know.
        out: folder for ``edge.safetensors`` and ``server.safetensors``, which must not hold a pair yet.
        work: folder of folders for pool, checkpoints and ``record.json``, one a run; those of heads alone are not kept.
        asking: how the pair is judged before and after.
        edge: model to start from: any name that `vit.weights.load_model` takes.
        server: likewise. Where its classes are not the edge's, the pair learns those of the images alone.
        heads_only: whether the models but for their heads stay as they are; None: where the images are few.
        epochs: how often whole models see each image, counting its random pieces; one that learns anew sees it
            `ANEW_LENGTH` times as often.
        seed: of everything random.
        setup: device, threads and how often to watch; `usual_setup` where absent.
        progress: where progress goes.

    Raises:
        TrainingError: data that cannot be learnt from, epochs not above 0, or a folder that holds a pair.
        ModelError: a model that cannot be loaded.

    """
    if not epochs > 0:
        raise TrainingError(f"epochs: {epochs}, must be above 0")
    if is_pair(out):
        raise TrainingError(f"out {out}: it holds a pair, which workers may run; give another folder")
    began_s = time.monotonic()
    setup, progress = setup or usual_setup(), progress or SilentProgress()
    starts = load_model(edge, role="edge"), load_model(server, role="server")
    known = starts[0].classes if starts[0].classes == starts[1].classes else ()
    folder = read_folder(data, known, seed=seed)
    if heads_only is None:
        heads_only = len(folder.learnt) < ENOUGH_IMAGES
    hashes = [start.weights_hash for start in starts]
    run = repr((data.resolve(), folder, hashes, heads_only, epochs, seed))
    work = work / hashlib.sha256(run.encode()).hexdigest()[:12]
    out.mkdir(parents=True, exist_ok=True)
    pool = fill_from_images(work / "pool", folder.learnt, 1 if heads_only else COPIES, seed, progress)
    watched = fill_from_images(work / "watched", folder.watched, 1, seed, progress)
    num_learnt, num_watched = len(folder.learnt), len(folder.watched)
    before = answers_of(*starts, watched, num_watched, asking, progress) if folder.is_extended else None
    fitted = [with_fitted_head(start, pool, num_learnt, folder.classes, progress) for start in starts]
    paths = out / "edge.safetensors", out / "server.safetensors"
    if heads_only:
        for model, path in zip(fitted, paths, strict=True):
            save_model(
                path, model.vit, name=model.name, mean=model.mean, std=model.std, classes=model.classes
            )
    else:
        record = TrainingRecord(work / "record.json", watched, setup.device, progress)
        steps = epochs * num_learnt / BATCH
        paces = [pace_of(_right_share(model, watched, progress), steps) for model in fitted]
        _bend(fitted, paths, paces, seed, pool, work, setup, record, progress)
    tuned = load_model(str(paths[0])), load_model(str(paths[1]))
    outcome = outcome_of(
        folder,
        data,
        method="new heads" if heads_only else "whole models",
        known=known,
        before=before,
        after=answers_of(*tuned, watched, num_watched, asking, progress),
        learnt=answers_of(*tuned, pool, num_learnt, asking, progress),
        seconds=time.monotonic() - began_s,
    )
    if heads_only:
        shutil.rmtree(work)
    return outcome


class Pace(NamedTuple):
    """How a model learns: `rate` multiplies the rate from nothing."""

    steps: int
    rate: float


def pace_of(right: float, steps: float) -> Pace:
    """Return the pace of a model whose new head alone is right on this share of the watched images."""
    if right >= FITS_FROM:
        return Pace(max(3, round(steps)), BENT_RATE)
    return Pace(max(3, round(ANEW_LENGTH * steps)), ANEW_RATE)


def _right_share(fitted: Model, watched: Pool, progress: Progress) -> float:
    embedded = embeddings(fitted, watched, watched.size, progress)
    with torch.inference_mode():
        said = fitted.vit.head(torch.from_numpy(embedded)).argmax(1).numpy()
    right = float((said == watched.meta["truth"]).mean())
    progress.say(f"{fitted.name}: a new head alone is right on {right:.1%} of the watched images")
    return right


def _bend(
    fitted: list[Model],
    paths: tuple[Path, Path],
    paces: list[Pace],
    seed: int,
    pool: Pool,
    work: Path,
    setup: Setup,
    record: TrainingRecord,
    progress: Progress,
) -> None:
    """Both models learn as a whole and are written to their paths, the server in the new edge's order."""
    whole = max(1, paces[0].steps // 3)
    edge_stages = (
        TrainingStage(WHOLE_GRID, BATCH, paces[0].steps - whole, subsets=True),
        TrainingStage(WHOLE_GRID, BATCH, whole),
    )
    edge = _tune(
        "edge", fitted[0], edge_stages, paces[0].rate, seed, pool, work, setup, record, None, paths[0]
    )
    orders_path = work / f"orders-{edge.weights_hash}.npy"
    orders = rank_pool(edge, pool, orders_path, threads=setup.threads, device=setup.device, progress=progress)
    server_stages = (TrainingStage(WHOLE_GRID, BATCH, paces[1].steps, subsets=True),)
    _tune(
        "server",
        fitted[1],
        server_stages,
        paces[1].rate,
        seed + 1,
        pool,
        work,
        setup,
        record,
        orders,
        paths[1],
    )


def _tune(
    role: str,
    start: Model,
    stages: tuple[TrainingStage, ...],
    rate: float,
    seed: int,
    pool: Pool,
    work: Path,
    setup: Setup,
    record: TrainingRecord,
    orders: Orders | None,
    path: Path,
) -> Model:
    """Fine-tune one model and return it as written to ``path``."""
    architecture = replace(start.architecture, num_classes=len(start.classes))
    plan = TrainingPlan(
        role, architecture, stages, seed, decay_share=0.3, guide_attention=False, rate=rate, varied=True
    )
    learner = train_one(plan, pool, work, setup, record, orders, initial=starting_weights(start))
    return export(learner, path, start.name, start.classes)


def starting_weights(model: Model) -> dict[str, Tensor]:
    """Return the model's weights for pixels normalised as training normalises them.

    Another mean and deviation are folded into the patch embedding, which then computes the same.
    """
    state = {name: tensor.clone() for name, tensor in model.vit.state_dict().items()}
    mean, std, new_mean, new_std = (
        torch.tensor(values)[:, None, None] for values in (model.mean, model.std, MEAN, STD)
    )
    weight = state["patch_embed.proj.weight"]
    state["patch_embed.proj.bias"] += (weight * ((new_mean - mean) / std)).sum((1, 2, 3))
    state["patch_embed.proj.weight"] = weight * (new_std / std)
    return state
