import numpy as np
import torch

from lab.research.attention_maps import attention_maps
from vit.architecture import Architecture
from vit.edge_forward import EdgeForward
from vit.model import random_model


def test_the_last_layers_class_row_is_the_edges_attention() -> None:
    model = random_model(Architecture(embed_dim=48, depth=3, num_heads=3, mlp_ratio=4.0, num_classes=5))
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    maps = attention_maps(model, crops)
    assert maps.shape == (2, 3, 3, 197, 197)
    np.testing.assert_allclose(maps.sum(-1), 1.0, atol=1e-5)
    row = maps[:, -1].mean(axis=1)[:, 0, 1:]
    expected = EdgeForward(model, torch.float32)(crops).attention
    np.testing.assert_allclose(row / row.sum(-1, keepdims=True), expected, rtol=1e-3, atol=1e-6)
