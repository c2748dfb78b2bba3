import numpy as np
import pytest

from lab.evaluation.models import LAST, LAYER_ROLLOUT, ROLLOUT
from lab.evaluation.vit_models import VitModel
from vit.architecture import Architecture
from vit.model import random_model
from vit.preprocess import to_patches


@pytest.fixture(scope="module")
def model() -> VitModel:
    shape = Architecture(embed_dim=24, depth=7, num_heads=2, mlp_ratio=2.0, num_classes=4)
    return VitModel(random_model(shape), "float32")


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), dtype=np.uint8)


def test_both_ways_in_agree_on_whole_images(model: VitModel, crops: np.ndarray) -> None:
    logits, attention = model.attend(crops, [LAST])
    positions = [np.arange(196)] * 5
    np.testing.assert_allclose(
        logits, model.classify([to_patches(crop) for crop in crops], positions), atol=1e-4
    )
    assert set(attention) == {LAST}


def test_every_attention_is_a_distribution_over_patches(model: VitModel, crops: np.ndarray) -> None:
    _, attention = model.attend(crops, [LAST, ROLLOUT, LAYER_ROLLOUT])
    for rows in attention.values():
        assert rows.shape == (5, 196)
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-4)
        assert (rows >= 0).all()
    assert not np.allclose(attention[ROLLOUT], attention[LAYER_ROLLOUT], rtol=1e-3)


def test_facts_change_with_weights_and_number_format(model: VitModel) -> None:
    shape = Architecture(embed_dim=24, depth=7, num_heads=2, mlp_ratio=2.0, num_classes=4)
    same = VitModel(random_model(shape), "float32").facts
    assert same == model.facts
    assert VitModel(random_model(shape), "bfloat16").facts.identity != same.identity
    assert VitModel(random_model(shape, seed=1), "float32").facts.weights_hash != same.weights_hash
    assert (same.embed_dim, same.depth, same.dtype) == (24, 7, "float32")
    assert same.num_parameters > 0
