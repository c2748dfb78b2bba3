"""New heads on models that stay as they are: what the embeddings of a few images can teach."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lab.progress import Progress
from lab.training.pool import Pool
from vit.edge_forward import EdgeForward
from vit.model import Model
from vit.process import available_threads

BATCH: Final = 16
REHEARSED: Final = 800
"""Embeddings that are made up to rehearse what a head knows."""
REHEARSAL: Final = 1_000.0
"""Weight of the divergence from what the head said of them, beside the summed loss of all images: ten images bend it
a little, a thousand as far as they need."""
_PULL: Final = 1.0
"""Of the squared change of a head that is kept, beside the same sum."""
_PENALTY: Final = 1e-4
"""Of the squared weights of a head from nothing, beside the mean loss; on features of deviation 1."""


def with_fitted_head(
    model: Model, images: Pool, num_images: int, classes: Sequence[str], progress: Progress
) -> Model:
    """Return the model with a head for ``classes``, fitted on its embeddings of a pool's first crops.

    Where the model knows some of the classes its head is bent, else the head is fitted from nothing.
    """
    labels = images.meta["truth"][:num_images].astype(np.int64)
    embedded = embeddings(model, images, num_images, progress)
    if set(classes).isdisjoint(model.classes):
        head = fitted_head(embedded, labels, len(classes))
    else:
        head = bent_head(embedded, labels, starting_head(model, classes), made_up_embeddings(model))
    vit = copy.deepcopy(model.vit)
    vit.head, vit.num_classes = head, len(classes)
    vit.eval().requires_grad_(False)
    return Model(vit, f"{model.name} fine-tuned", model.mean, model.std, tuple(classes))


def starting_head(model: Model, classes: Sequence[str]) -> nn.Linear:
    """Return the model's head with its outputs in the order of ``classes``, and zeros for a class that it lacks."""
    head = nn.Linear(model.architecture.embed_dim, len(classes))
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        for row, name in enumerate(classes):
            if name in model.classes:
                known = model.classes.index(name)
                head.weight[row], head.bias[row] = model.vit.head.weight[known], model.vit.head.bias[known]
    return head


def made_up_embeddings(model: Model, *, seed: int = 0) -> NDArray[np.float32]:
    """Return (n, D) embeddings like those of images of the model's classes, of which there are none any more.

    An embedding leaves the last norm: it is gamma * z + beta, where z has mean 0 and length sqrt(D). Here z lies
    near the direction that a class's weights ask for, or between two classes', at any distance.
    """
    random = np.random.default_rng(seed)
    gamma, beta = model.vit.norm.weight.numpy(), model.vit.norm.bias.numpy()
    weight = model.vit.head.weight.numpy()
    towards = _unit((weight - weight.mean(0)) * gamma)
    num_classes, dim = weight.shape
    first, second = random.integers(0, num_classes, (2, REHEARSED))
    share = (random.random(REHEARSED) * (random.random(REHEARSED) < 0.5))[:, None]  # half are of one class
    near = random.uniform(0.2, 0.95, (REHEARSED, 1))
    direction = _unit((1 - share) * towards[first] + share * towards[second])
    noise = _unit(random.normal(size=(REHEARSED, dim)))
    z = near * direction + np.sqrt(1 - near**2) * noise
    z = np.sqrt(dim) * _unit(z - z.mean(1, keepdims=True))
    return np.asarray(z * gamma + beta, np.float32)


def bent_head(
    embedded: NDArray[np.float32],
    labels: NDArray[np.int64],
    start: nn.Linear,
    rehearsed: NDArray[np.float32],
    *,
    rehearsal: float = REHEARSAL,
) -> nn.Linear:
    """Return ``start`` bent to say ``labels`` of ``embedded`` and what it said before of ``rehearsed``.

    Without the rehearsal a few images ruin a head, above all where each is one that the model got wrong: it then
    learns that whatever it says is wrong.

    Args:
        embedded: (n, D), n >= 1.
        labels: (n,) in 0..C - 1.
        start: D to C.
        rehearsed: (m, D), m >= 1.
        rehearsal: weight of the divergence on ``rehearsed``; 0 for none.

    Source: distillation of a model's own answers, Li and Hoiem, "Learning without Forgetting", arXiv 1606.09282.
    """
    inputs, targets, old = torch.from_numpy(embedded), torch.from_numpy(labels), torch.from_numpy(rehearsed)
    with torch.no_grad():
        before, said = start(inputs), start(old).softmax(1)
    # Steps in units of the embeddings' root mean square: the same pull for models of any scale.
    scale = inputs.square().mean().sqrt()
    change, shift = torch.zeros_like(start.weight), torch.zeros_like(start.bias)

    def loss() -> Tensor:
        kept = change.square().sum() + shift.square().sum()
        now = (said.clamp_min(1e-12).log() + (old / scale) @ change.T + shift).log_softmax(1)
        forgotten = F.kl_div(now, said, reduction="batchmean")
        wrong = F.cross_entropy(before + (inputs / scale) @ change.T + shift, targets, reduction="sum")
        return (wrong + rehearsal * forgotten + _PULL * kept) / len(targets)

    _minimise(loss, change, shift)
    head = nn.Linear(start.in_features, start.out_features)
    with torch.no_grad():
        head.weight.copy_(start.weight + change / scale)
        head.bias.copy_(start.bias + shift)
    return head


def fitted_head(embedded: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int) -> nn.Linear:
    """Return the linear layer of a multinomial logistic regression, from nothing.

    Args:
        embedded: (n, D).
        labels: (n,) in 0..num_classes - 1.
        num_classes: how many there are.

    """
    mean, scale = embedded.mean(0), np.maximum(embedded.std(0), 1e-3)
    inputs, targets = torch.from_numpy((embedded - mean) / scale), torch.from_numpy(labels)
    weight, bias = torch.zeros(num_classes, inputs.shape[1]), torch.zeros(num_classes)

    def loss() -> Tensor:
        return F.cross_entropy(inputs @ weight.T + bias, targets) + _PENALTY * weight.square().sum()

    _minimise(loss, weight, bias)
    head = nn.Linear(inputs.shape[1], num_classes)
    with torch.no_grad():
        # The scaling of the inputs goes into the layer.
        head.weight.copy_(weight / torch.from_numpy(scale))
        head.bias.copy_(bias - head.weight @ torch.from_numpy(mean))
    return head


def _minimise(loss: Callable[[], Tensor], *parameters: Tensor) -> None:
    """The parameters are where the loss, convex, is least."""
    for each in parameters:
        each.requires_grad_(True)
    optimiser = torch.optim.LBFGS(parameters, max_iter=300, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        torch.autograd.backward(value)
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]


def _unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def embeddings(model: Model, images: Pool, num_images: int, progress: Progress) -> NDArray[np.float32]:
    """Return the (n, D) embeddings of a pool's first crops, whole."""
    forward = EdgeForward(model, threads=available_threads())
    progress.start(f"embeddings of {model.name}", num_images)
    parts = []
    for start in range(0, num_images, BATCH):
        crops = np.array(images.crops[start : min(start + BATCH, num_images)])
        parts.append(forward(crops).embedding)
        progress.advance(len(crops))
    return np.concatenate(parts)
