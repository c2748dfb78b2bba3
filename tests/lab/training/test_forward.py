import numpy as np
import pytest
import torch

from lab.training.forward import MEAN, STD, Learner, normalised, patches_of
from vit.architecture import Architecture
from vit.edge_forward import EdgeForward
from vit.model import Model, random_model
from vit.packed_forward import PackedForward
from vit.preprocess import to_patches

pytestmark = pytest.mark.slow  # timm takes seconds to load

SHAPE = Architecture(embed_dim=24, depth=2, num_heads=2, mlp_ratio=2.0, num_classes=4)


def model() -> Model:
    made = random_model(SHAPE)
    return Model(made.vit, "tiny", MEAN, STD, made.classes)


def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)


def test_training_sees_what_the_edge_will_see() -> None:
    made = model()
    with torch.inference_mode():
        patches = patches_of(normalised(torch.from_numpy(crops())))
        outputs = Learner(made.timm)(patches, torch.arange(196).expand(2, -1))
    deployed = EdgeForward(made, torch.float32)(crops())
    np.testing.assert_allclose(outputs.logits.numpy(), deployed.logits, atol=1e-3)
    np.testing.assert_allclose(outputs.attention.numpy(), deployed.attention, atol=1e-4)


def test_training_on_a_subset_sees_what_the_server_will_see() -> None:
    made, kept = model(), np.array([3, 50, 51, 120, 195])
    with torch.inference_mode():
        patches = patches_of(normalised(torch.from_numpy(crops()[:1])))
        outputs = Learner(made.timm)(patches[:, kept], torch.from_numpy(kept)[None])
    deployed = PackedForward(made, dtype=torch.float32)([to_patches(crops()[0])[kept]], [kept])
    np.testing.assert_allclose(outputs.logits.numpy(), deployed, atol=1e-3)
    assert outputs.patch_logits.shape == (1, 5, 4)
