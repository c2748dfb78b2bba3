import pytest
import torch

from lab.training.forward import Outputs
from lab.training.losses import UNIFORM_SHARE, attention_loss, balanced_patch_loss, loss_of


def test_the_attention_loss_is_zero_at_its_target_and_positive_elsewhere() -> None:
    cover = torch.zeros(1, 196)
    cover[0, 40:44] = 1.0
    target = (1 - UNIFORM_SHARE) * cover / 4 + UNIFORM_SHARE / 196
    assert attention_loss(target, cover).item() == pytest.approx(0.0, abs=1e-5)
    assert attention_loss(torch.full((1, 196), 1 / 196), cover).item() > 1.0


def test_views_without_an_object_tell_the_attention_nothing() -> None:
    attention = torch.full((2, 196), 1 / 196, requires_grad=True)
    assert attention_loss(attention, torch.zeros(2, 196)).item() == 0.0


def test_object_patches_weigh_as_much_as_bare_ones() -> None:
    logits = torch.zeros(1, 10, 3)
    logits[0, 0, 1] = 5.0
    truth = torch.tensor([[1] + [0] * 9])
    right = torch.nn.functional.cross_entropy(logits[0, :1], truth[0, :1])
    bare = torch.nn.functional.cross_entropy(logits[0, 1:], truth[0, 1:])
    assert balanced_patch_loss(logits, truth).item() == pytest.approx(((right + bare) / 2).item())


def test_a_batch_without_any_known_truth_costs_nothing() -> None:
    outputs = Outputs(torch.randn(2, 3), torch.randn(2, 4, 3), torch.full((2, 4), 0.25))
    ignored = torch.full((2,), -1)
    loss = loss_of(outputs, ignored, ignored[:, None].expand(2, 4), torch.zeros(2, 4), guide_attention=True)
    assert loss.item() == 0.0
