"""One training run for all split networks: seeded, resumable at any step, with progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lab.errors import TrainingError
from lab.progress import Progress
from lab.research.pictures import Pictures
from lab.research.split_cnn import normalised

CHECKPOINT_S: Final = 20.0
_SHIFT_PX: Final = 16
"""A picture moves by up to one part in this many of its side."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length and pace of a run: AdamW, the rate falls from `rate` to 0 along a half cosine."""

    epochs: float
    rate: float = 2e-3
    batch: int = 64
    seed: int = 1
    weight_decay: float = 0.02

    def steps(self, count: int) -> int:
        """Steps of the run on `count` pictures."""
        return max(1, round(self.epochs * count / self.batch))


def fit(
    module: nn.Module,
    parts: Sequence[nn.Module],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    pictures: Pictures,
    schedule: Schedule,
    checkpoint: Path,
    progress: Progress,
    *,
    until: int | None = None,
) -> None:
    """Train `parts` of `module` in place; what lies outside `parts` stays as it is, in evaluation mode.

    The batch, its changes and all noise of step i depend on (seed, i) alone, so a run that was cut off and goes on from
    `checkpoint` ends with the weights of one that was not (same torch, same number of threads).

    Args:
        loss_of: (pixels (B, 3, side, side), truth (B,)) to a scalar.
        checkpoint: file of the state, written every 20 s and at the end; a finished one is loaded, not trained again.
        until: stop, checkpointed, before this step.

    Raises:
        TrainingError: the checkpoint is of another schedule.
    """
    steps = schedule.steps(len(pictures))
    identity = {**asdict(schedule), "steps": steps}
    parameters = [each for part in parts for each in part.parameters()]
    optimiser = torch.optim.AdamW(parameters, schedule.rate, weight_decay=schedule.weight_decay)
    step = _resume(checkpoint, identity, module, optimiser)
    progress.start(f"train {checkpoint.stem}", steps)
    progress.advance(step)
    module.eval()
    module.requires_grad_(False)
    for part in parts:
        part.train().requires_grad_(True)
    saved_s = time.monotonic()
    end = steps if until is None else min(until, steps)
    while step < end:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate * 0.5 * (1.0 + cos(pi * step / steps))
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        chosen = batch_of(step, len(pictures), schedule)
        pixels = shifted(pictures.pixels[chosen], np.random.default_rng([schedule.seed, 1, step]))
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(normalised(pixels), torch.from_numpy(pictures.truth[chosen]))
        torch.autograd.backward(loss)
        optimiser.step()
        step += 1
        progress.advance()
        if time.monotonic() - saved_s > CHECKPOINT_S:
            _save(checkpoint, identity, module, optimiser, step)
            saved_s = time.monotonic()
    _save(checkpoint, identity, module, optimiser, step)
    module.eval().requires_grad_(True)


def batch_of(step: int, count: int, schedule: Schedule) -> NDArray[np.int64]:
    """Return the pictures of a step: each epoch shows every picture once, but for what is left over of a batch."""
    size = min(schedule.batch, count)
    epoch, place = divmod(step, count // size)
    order = np.random.default_rng([schedule.seed, 0, epoch]).permutation(count)
    return order[place * size : (place + 1) * size]


def shifted(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return pictures moved by a few pixels and under other light; never mirrored, for signs have a direction."""
    count, side = pixels.shape[:2]
    reach = side // _SHIFT_PX
    wide = np.pad(pixels, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    corners = random.integers(0, 2 * reach + 1, (count, 2))
    moved = np.stack(
        [each[top : top + side, left : left + side] for each, (top, left) in zip(wide, corners, strict=True)]
    )
    gain = random.uniform(0.6, 1.4, (count, 1, 1, 1)).astype(np.float32)
    lift = random.uniform(-20, 20, (count, 1, 1, 1)).astype(np.float32)
    return (moved * gain + lift).clip(0, 255).astype(np.uint8)


def _save(
    path: Path, identity: dict[str, float], module: nn.Module, optimiser: torch.optim.Optimizer, step: int
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    state = {"module": module.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save({"identity": identity, "step": step, **state}, partial)
    partial.replace(path)


def _resume(
    path: Path, identity: dict[str, float], module: nn.Module, optimiser: torch.optim.Optimizer
) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["identity"] != identity:
        raise TrainingError(
            f"checkpoint {path}: it holds a run with {state['identity']}, not {identity}; "
            "give another folder or remove it"
        )
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
