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
from lab.training.variation import varied

CHECKPOINT_S: Final = 20.0
WARM_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length and pace of a run: AdamW, the rate rises to `rate` in the first tenth and falls to 0 along a half cosine.

    `bfloat16` makes the forward passes in bfloat16, about twice as fast where the processor has it.
    """

    epochs: float
    rate: float = 3e-3
    batch: int = 64
    seed: int = 1
    weight_decay: float = 0.05
    bfloat16: bool = False

    def steps(self, count: int) -> int:
        """Steps of the run on `count` pictures."""
        return max(1, round(self.epochs * count / self.batch))

    def rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of a step of a run of `steps`."""
        risen = min(1.0, (step + 1) / (WARM_SHARE * steps))
        return self.rate * risen * 0.5 * (1.0 + cos(pi * step / steps))


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
    module.eval().requires_grad_(False)
    module.to(memory_format=torch.channels_last)
    for part in parts:
        part.train().requires_grad_(True)
    saved_s = time.monotonic()
    end = steps if until is None else min(until, steps)
    while step < end:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(step, steps)
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        chosen = batch_of(step, len(pictures), schedule)
        pixels = varied(normalised(pictures.pixels[chosen]), np.random.default_rng([schedule.seed, 1, step]))
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.bfloat16):
            loss = loss_of(
                pixels.contiguous(memory_format=torch.channels_last), torch.from_numpy(pictures.truth[chosen])
            )
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
