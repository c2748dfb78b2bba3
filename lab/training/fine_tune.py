"""Teaches a pair a user's own classes: edge first, then the server on subsets in the edge's order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from lab.errors import TrainingError
from lab.progress import Progress, SilentProgress
from lab.training.folder import Folder, fill_from_images, read_folder
from lab.training.forward import MEAN, STD
from lab.training.plan import TrainingPlan, TrainingStage
from lab.training.pool import Pool
from lab.training.record import TrainingRecord, claim
from lab.training.run import Setup, export, train_one, usual_setup
from lab.training.subsets import Orders, rank_pool
from vit.model import Model
from vit.weights import load_model

BATCH: Final = 48
WHOLE_GRID: Final = 14
COPIES: Final = 4
RATE: Final = 0.3
"""Of the rate from nothing: what was learnt before is to bend, not to be overwritten."""


def fine_tune(
    data: Path,
    out: Path,
    work: Path,
    *,
    edge: str = "shipped:edge",
    server: str = "shipped:server",
    epochs: float = 30.0,
    seed: int = 1,
    setup: Setup | None = None,
    progress: Progress | None = None,
) -> tuple[Path, Path]:
    """Fine-tune a pair on ``data/CLASS/image`` and return its two files in ``out``.

    The recipe is that of the shipped pair without what only a renderer knows: no truths of patches, no map
    for the attention. The same call again goes on where a cut-off run stopped.

    Args:
        data: one folder per class; every tenth image of each is only watched.
        out: folder for ``edge.safetensors`` and ``server.safetensors``.
        work: folder for pool, checkpoints and ``record.json``; one data folder and pair per work folder.
        edge: model to start from: any name that `vit.weights.load_model` takes.
        server: likewise.
        epochs: how often each image is seen, counting its random pieces.
        seed: of everything random.
        setup: device, threads and how often to watch; `usual_setup` where absent.
        progress: where progress goes.

    Raises:
        TrainingError: data that cannot be learnt from, epochs not above 0, or a work folder of another run.
        ModelError: a model that cannot be loaded.

    """
    if not epochs > 0:
        raise TrainingError(f"epochs: {epochs}, must be above 0")
    setup, progress = setup or usual_setup(), progress or SilentProgress()
    folder = read_folder(data)
    starts = load_model(edge), load_model(server)
    out.mkdir(parents=True, exist_ok=True)
    hashes = [start.weights_hash for start in starts]
    claim(work, {"data": str(data.resolve()), "models": hashes, "epochs": epochs, "seed": seed})
    pool = fill_from_images(work / "pool", folder.learnt, COPIES, seed, progress)
    watched = fill_from_images(work / "watched", folder.watched, 1, seed, progress)
    record = TrainingRecord(work / "record.json", watched, setup.device, progress)
    steps = max(3, round(epochs * len(folder.learnt) / BATCH))
    edge_path, server_path = out / "edge.safetensors", out / "server.safetensors"
    edge_stages = (TrainingStage(WHOLE_GRID, BATCH, steps),)
    tuned = _tune("edge", starts[0], edge_stages, folder, seed, pool, work, setup, record, None, edge_path)
    path = work / f"orders-{tuned.weights_hash}.npy"
    orders = rank_pool(tuned, pool, path, threads=setup.threads, device=setup.device, progress=progress)
    third = max(1, steps // 3)
    server_stages = (
        TrainingStage(WHOLE_GRID, BATCH, steps - third),
        TrainingStage(WHOLE_GRID, BATCH, third, subsets=True),
    )
    _tune(
        "server", starts[1], server_stages, folder, seed + 1, pool, work, setup, record, orders, server_path
    )
    return edge_path, server_path


def _tune(
    role: str,
    start: Model,
    stages: tuple[TrainingStage, ...],
    folder: Folder,
    seed: int,
    pool: Pool,
    work: Path,
    setup: Setup,
    record: TrainingRecord,
    orders: Orders | None,
    path: Path,
) -> Model:
    """Fine-tune one model and return it as written to ``path``."""
    architecture = replace(start.architecture, num_classes=len(folder.classes))
    plan = TrainingPlan(role, architecture, stages, seed, decay_share=0.3, guide_attention=False, rate=RATE)
    initial = starting_weights(start, len(folder.classes), seed)
    learner = train_one(plan, pool, work, setup, record, orders, initial=initial)
    return export(learner, path, f"{start.name} fine-tuned", folder.classes)


def starting_weights(model: Model, num_classes: int, seed: int) -> dict[str, Tensor]:
    """Return the model's weights with a fresh head, for pixels normalised as training normalises them.

    Another mean and deviation are folded into the patch embedding, which then computes the same.
    """
    state = {name: tensor.clone() for name, tensor in model.vit.state_dict().items()}
    mean, std, new_mean, new_std = (
        torch.tensor(values)[:, None, None] for values in (model.mean, model.std, MEAN, STD)
    )
    weight = state["patch_embed.proj.weight"]
    state["patch_embed.proj.bias"] += (weight * ((new_mean - mean) / std)).sum((1, 2, 3))
    state["patch_embed.proj.weight"] = weight * (new_std / std)
    random = torch.Generator().manual_seed(seed)
    state["head.weight"] = 0.02 * torch.randn(num_classes, model.architecture.embed_dim, generator=random)
    state["head.bias"] = torch.zeros(num_classes)
    return state
