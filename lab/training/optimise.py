"""bfloat16 passes with float32 masters: Muon for the matrices of the blocks, AdamW for the rest."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

MUON_LR = 2e-3
ADAM_LR = 1e-3
WEIGHT_DECAY = 0.05
WARM_UP_STEPS = 200


class MixedPrecision:
    """A learner in ``dtype`` that follows float32 masters.

    State: the masters, two optimisers over them, and the learner, whose weights are copies of the masters.
    """

    def __init__(self, learner: nn.Module, dtype: torch.dtype) -> None:
        self.masters = {name: p.detach().float().clone() for name, p in learner.named_parameters()}
        self.learner = learner.to(dtype)
        matrices = [p for name, p in self.masters.items() if p.ndim == 2 and ".blocks." in name]
        others = [p for name, p in self.masters.items() if not (p.ndim == 2 and ".blocks." in name)]
        self.muon = torch.optim.Muon(
            matrices, lr=MUON_LR, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"
        )
        self.adam = torch.optim.AdamW(others, lr=ADAM_LR, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
        self._load_masters()

    def step(self, factor: float) -> None:
        """Apply the learner's gradients to the masters at ``factor`` times the full rate; copy them back."""
        gradients = dict(self.learner.named_parameters())
        for name, master in self.masters.items():
            gradient = gradients[name].grad
            master.grad = None if gradient is None else gradient.float()
            gradients[name].grad = None
        nn.utils.clip_grad_norm_(self.masters.values(), 1.0)
        for optimiser, rate in ((self.muon, MUON_LR), (self.adam, ADAM_LR)):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            cast("torch.optim.Optimizer", optimiser).step()
        self._load_masters()

    @torch.no_grad()
    def _load_masters(self) -> None:
        for name, parameter in self.learner.named_parameters():
            parameter.copy_(self.masters[name])

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed run needs of the optimisation."""
        return {"masters": self.masters, "muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state of :meth:`state`."""
        for name, value in state["masters"].items():
            self.masters[name].copy_(value)
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self._load_masters()


def rate_factor(step: int, steps: int, decay_share: float) -> float:
    """Return the rate as a share of the full one: warm-up, constant, then linear to 2 % at the end.

    A short run warms up for a tenth of it.
    """
    warm = min(1.0, (step + 1) / min(WARM_UP_STEPS, max(1, steps // 10)))
    left = (steps - step) / max(1.0, decay_share * steps)
    return warm * max(0.02, min(1.0, left))
