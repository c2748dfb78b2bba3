"""What a learner is told: class of the window, class of every patch, and for the edge where to look."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lab.scenes.classes import IGNORE
from lab.training.forward import Outputs

UNIFORM_SHARE = 0.05
"""Of the attention target, spread over all patches: the object alone would leave the server too little."""
PATCH_WEIGHT = 0.7
ATTENTION_WEIGHT = 0.5
SMOOTHING = 0.05


def loss_of(
    outputs: Outputs, truth: Tensor, patch_truth: Tensor, cover: Tensor, *, guide_attention: bool
) -> Tensor:
    """Return the mean loss of a batch.

    Class cross-entropy, plus patch cross-entropy where object and bare patches weigh the same in total,
    plus for the edge the divergence of its class attention from the object's cover mixed with a uniform
    share.
    """
    logits = outputs.logits.float()
    known = truth != IGNORE
    loss = torch.zeros((), device=logits.device)
    if bool(known.any()):
        loss = F.cross_entropy(logits[known], truth[known], label_smoothing=SMOOTHING)
    loss = loss + PATCH_WEIGHT * balanced_patch_loss(outputs.patch_logits.float(), patch_truth)
    if guide_attention:
        loss = loss + ATTENTION_WEIGHT * attention_loss(outputs.attention, cover)
    return loss


def balanced_patch_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean loss over object patches and the mean over bare ones, averaged."""
    flat, labels = logits.flatten(0, 1), truth.flatten()
    losses = [
        F.cross_entropy(flat[chosen], labels[chosen])
        for chosen in (labels > 0, labels == 0)
        if bool(chosen.any())
    ]
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def attention_loss(attention: Tensor, cover: Tensor) -> Tensor:
    """Return KL(target ‖ attention) over the samples that show an object."""
    total = cover.sum(-1, keepdim=True)
    shown = total[:, 0] > 0.5
    if not bool(shown.any()):
        return attention.sum() * 0
    target = (1 - UNIFORM_SHARE) * cover[shown] / total[shown] + UNIFORM_SHARE / cover.shape[1]
    return F.kl_div(attention[shown].clamp_min(1e-8).log(), target, reduction="batchmean")
