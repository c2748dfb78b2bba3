import numpy as np
import torch

from lab.training.variation import varied


def test_pictures_are_varied_by_the_seed_alone_and_stay_pictures() -> None:
    pixels = torch.linspace(-2.0, 2.0, 3 * 32 * 32).reshape(1, 3, 32, 32).repeat(8, 1, 1, 1)
    once, again, other = (varied(pixels, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert once.shape == pixels.shape
    assert torch.equal(once, again)
    assert not torch.allclose(once, other)
    assert not torch.allclose(once[0], once[1])
    assert once.abs().max() <= 2.0
    assert (once - pixels).abs().mean() > 0.05
