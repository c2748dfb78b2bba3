"""Teaches a pair a user's own classes in minutes: the models stay as they are, and each gets a new head."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lab.progress import Progress, SilentProgress
from lab.training.folder import fill_from_images, read_folder
from lab.training.pool import Pool
from vit.edge_forward import EdgeForward
from vit.model import Model
from vit.process import available_threads
from vit.weights import load_model, save_model

BATCH: Final = 16
_PENALTY: Final = 1e-4
"""Weight of the squared weights, on features of deviation 1."""


def fit_heads(
    data: Path, out: Path, work: Path, *, edge: str, server: str, progress: Progress | None = None
) -> tuple[Path, Path]:
    """Fit a head on each model's embedding of ``data/CLASS/image``; return the pair's two files in ``out``.

    Every tenth image of a class is only watched: how often each model is then right is told through ``progress``.
    Good where the models were pretrained on much more than ``data`` holds; `fine_tune` bends the whole model.

    Args:
        data: one folder per class.
        out: folder for ``edge.safetensors`` and ``server.safetensors``.
        work: folder for the decoded crops; the same call goes on from there.
        edge: model to start from: any name that `vit.weights.load_model` takes.
        server: likewise.
        progress: where progress goes.

    Raises:
        TrainingError: data that cannot be learnt from. ModelError: a model that cannot be loaded.

    """
    progress = progress or SilentProgress()
    folder = read_folder(data)
    starts = {"edge": load_model(edge), "server": load_model(server)}
    learnt = fill_from_images(work / "pool", folder.learnt, 1, 0, progress)
    watched = fill_from_images(work / "watched", folder.watched, 1, 0, progress)
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for role, model in starts.items():
        progress.start(f"{role}'s embeddings", learnt.size + watched.size)
        known, fresh = (_embeddings(model, pool, progress) for pool in (learnt, watched))
        head = fitted_head(known, _labels(learnt), len(folder.classes))
        with torch.inference_mode():
            right = head(torch.from_numpy(fresh)).argmax(1).numpy() == _labels(watched)
        progress.say(f"{role}: {100 * right.mean():.1f} % of {right.size} watched images are right")
        vit = copy.deepcopy(model.vit)
        vit.head, vit.num_classes = head, len(folder.classes)
        files.append(out / f"{role}.safetensors")
        name = f"{model.name} with a fitted head"
        save_model(files[-1], vit, name=name, mean=model.mean, std=model.std, classes=folder.classes)
    return files[0], files[1]


def fitted_head(embeddings: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int) -> nn.Linear:
    """Return the linear layer of a multinomial logistic regression.

    Args:
        embeddings: (n, D).
        labels: (n,) in 0..num_classes - 1.
        num_classes: how many there are.

    """
    mean, scale = embeddings.mean(0), np.maximum(embeddings.std(0), 1e-3)
    inputs = torch.from_numpy((embeddings - mean) / scale)
    targets = torch.from_numpy(labels)
    weight = torch.zeros(num_classes, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=300, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(inputs @ weight.T + bias, targets) + _PENALTY * weight.square().sum()
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    head = nn.Linear(inputs.shape[1], num_classes)
    with torch.no_grad():
        # The scaling of the inputs goes into the layer.
        head.weight.copy_(weight / torch.from_numpy(scale))
        head.bias.copy_(bias - head.weight @ torch.from_numpy(mean))
    return head


def _embeddings(model: Model, pool: Pool, progress: Progress) -> NDArray[np.float32]:
    forward = EdgeForward(model, threads=available_threads())
    parts = []
    for start in range(0, pool.size, BATCH):
        parts.append(forward(np.array(pool.crops[start : start + BATCH])).embedding)
        progress.advance(len(parts[-1]))
    return np.concatenate(parts)


def _labels(pool: Pool) -> NDArray[np.int64]:
    return pool.meta["truth"].astype(np.int64)
