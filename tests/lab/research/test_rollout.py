import numpy as np
import pytest
import torch

from lab.research.rollout import attention_maps, mean_head_rollout, rollout
from vit.architecture import Architecture
from vit.edge_forward import EdgeForward
from vit.model import random_model


def random_attention(*shape: int) -> np.ndarray:
    raw = np.random.default_rng(3).random(shape)
    return (raw / raw.sum(-1, keepdims=True)).astype(np.float32)


def test_rollout_equals_the_matrix_product_written_out() -> None:
    attention = random_attention(4, 3, 7, 7)
    heads = []
    for head in range(3):
        product = np.eye(7)
        for layer in range(4):
            product = (attention[layer, head] + np.eye(7)) @ product
        heads.append(product[0])
    expected = np.mean(heads, axis=0)[1:]
    np.testing.assert_allclose(rollout(attention), expected / expected.sum(), rtol=1e-5)


def test_mean_head_rollout_equals_the_matrix_product_written_out() -> None:
    attention = random_attention(6, 7, 7)
    product = np.eye(7)
    for layer in attention:
        product = (layer + np.eye(7)) @ product
    expected = product[0, 1:]
    np.testing.assert_allclose(mean_head_rollout(attention), expected / expected.sum(), rtol=1e-5)


def test_one_layer_is_that_layers_class_attention() -> None:
    attention = random_attention(1, 7, 7)
    expected = attention[0, 0, 1:] / attention[0, 0, 1:].sum()
    np.testing.assert_allclose(mean_head_rollout(attention), expected, rtol=1e-6)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="4 axes"):
        rollout(random_attention(2, 7, 7))
    with pytest.raises(ValueError, match="3 axes"):
        mean_head_rollout(random_attention(2, 2, 7, 6)[..., :6])


@pytest.mark.slow
def test_the_last_layers_class_row_is_the_edges_attention() -> None:
    model = random_model(Architecture(embed_dim=48, depth=3, num_heads=3, mlp_ratio=4.0, num_classes=5))
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    maps = attention_maps(model, crops)
    assert maps.shape == (2, 3, 3, 197, 197)
    np.testing.assert_allclose(maps.sum(-1), 1.0, atol=1e-5)
    row = maps[:, -1].mean(axis=1)[:, 0, 1:]
    expected = EdgeForward(model, torch.float32)(crops).attention
    np.testing.assert_allclose(row / row.sum(-1, keepdims=True), expected, rtol=1e-3, atol=1e-6)
