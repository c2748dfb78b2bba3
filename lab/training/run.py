"""Trains the shipped pair from nothing: scenes, edge, its patch orders, server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from lab.errors import TrainingError
from lab.progress import Progress, SilentProgress
from lab.scenes.classes import CLASSES
from lab.scenes.seeds import CALIBRATION_SEEDS, TRAIN_SEEDS
from lab.scenes.views import render_view
from lab.training.forward import MEAN, STD, Learner
from lab.training.learn import learn
from lab.training.plan import TrainingPlan, edge_plan, server_plan
from lab.training.pool import Pool, camera_crop, quality_of, render_pool
from lab.training.record import TrainingRecord, claim
from lab.training.subsets import Orders, rank_pool
from vit.hardware import best_dtype
from vit.model import Model
from vit.process import available_threads
from vit.weights import load_model, save_model

FIRST_SEED: Final = TRAIN_SEEDS.start + 1_000_000
WATCHED_SEED: Final = CALIBRATION_SEEDS.start + 100_000_000
EASY_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Setup:
    """How a pair is trained: ``scale`` multiplies both runs' lengths; ``watched`` scenes show progress."""

    scenes: int = 60_000
    watched: int = 1_000
    scale: float = 1.0
    watch_every: int = 300
    processes: int = 1
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("scenes", "watched", "watch_every", "processes", "threads"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name}: {getattr(self, name)}, must be at least 1")
        if not self.scale > 0:
            raise TrainingError(f"scale: {self.scale}, must be above 0")


def usual_setup(scale: float = 1.0) -> Setup:
    """Return the setup for this machine: its threads, and its GPU where it has one."""
    threads = available_threads()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Setup(scale=scale, processes=threads, threads=threads, device=device)


def train_pair(
    out: Path,
    work: Path,
    setup: Setup | None = None,
    progress: Progress | None = None,
    plans: tuple[TrainingPlan, TrainingPlan] | None = None,
) -> tuple[Path, Path]:
    """Train a pair on rendered scenes and return its two files in ``out``, the edge's and the server's.

    ``work`` (about 150 kB a scene) keeps pool, checkpoints and ``record.json``; the same call again goes on
    from there.

    Args:
        out: folder for the models.
        work: folder for everything that a resumed run needs; one run at a time.
        setup: `usual_setup` where absent.
        progress: where progress goes.
        plans: of edge and server, for another shape or length; those of the shipped pair where absent.

    Raises:
        TrainingError: ``work`` holds a run of another setup.

    """
    setup, progress = setup or usual_setup(), progress or SilentProgress()
    out.mkdir(parents=True, exist_ok=True)
    claim(work, {"scenes": setup.scenes, "watched": setup.watched, "scale": setup.scale})
    easy = round(EASY_SHARE * setup.scenes)
    pool = render_pool(
        work / "pool", setup.scenes, FIRST_SEED, easy=easy, processes=setup.processes, progress=progress
    )
    record = TrainingRecord(
        work / "record.json", watched_pool(work / "watched", setup.watched), setup.device, progress
    )
    edge_path, server_path = out / "edge.safetensors", out / "server.safetensors"
    shipped = edge_plan(len(CLASSES), scale=setup.scale), server_plan(len(CLASSES), scale=setup.scale)
    edge_recipe, server_recipe = plans or shipped
    edge_learner = train_one(edge_recipe, pool, work, setup, record, None)
    edge = export(edge_learner, edge_path, "saccade-edge")
    orders = rank_pool(
        edge,
        pool,
        work / f"orders-{edge.weights_hash}.npy",
        threads=setup.threads,
        device=setup.device,
        progress=progress,
    )
    server_learner = train_one(server_recipe, pool, work, setup, record, orders)
    export(server_learner, server_path, "saccade-server")
    return edge_path, server_path


def train_one(
    plan: TrainingPlan,
    pool: Pool,
    work: Path,
    setup: Setup,
    record: TrainingRecord,
    orders: Orders | None,
    initial: Mapping[str, Tensor] | None = None,
) -> Learner:
    """Return the trained learner of one plan; its checkpoint in ``work`` is named after its role.

    It starts from the weights ``initial``, from new ones where there are none.
    """
    record.begin(plan.role, plan.steps)
    learner = learn(
        plan,
        pool,
        work / f"{plan.role}.pt",
        threads=setup.threads,
        device=setup.device,
        dtype=best_dtype(setup.device),
        orders=orders,
        initial=initial,
        report=record.report,
        evaluate=lambda step, learner: record.watch(plan.role, step, learner),
        evaluate_every=setup.watch_every,
    )
    record.watch(plan.role, plan.steps, learner)
    return learner


def export(learner: Learner, path: Path, name: str, classes: tuple[str, ...] = CLASSES) -> Model:
    """Write the learner's transformer as float16 safetensors; return the model as everyone will load it."""
    save_model(path, learner.vit, name=name, mean=MEAN, std=STD, classes=classes)
    return load_model(str(path))


def watched_pool(folder: Path, size: int) -> Pool:
    """Return a full pool of calibration scenes, which no training step ever sees."""
    pool = Pool.open(folder, size, create=True)
    for index in range(pool.filled(), size):
        seed = WATCHED_SEED + index
        view = render_view(seed, want_mask=True)
        pool.put(index, view, camera_crop(view.image, quality_of(seed)))
        pool.mark(index + 1)
    return pool
