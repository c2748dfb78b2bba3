from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lab.evaluation.loading import VitModel, load_corpus, load_models, load_restorers
from lab.evaluation.models import LAST, LAYER_ROLLOUT, ROLLOUT
from lab.progress import SilentProgress
from lab.research.restoration import _Generator
from schemas.errors import ModelError
from vit.architecture import Architecture
from vit.model import random_model
from vit.preprocess import to_patches
from vit.weights import save_model

SHAPE = Architecture(embed_dim=24, depth=2, num_heads=2, mlp_ratio=2.0, num_classes=3)


def write(path: Path, seed: int, classes: tuple[str, ...] = ("red", "green", "blue")) -> str:
    model = random_model(SHAPE, seed=seed)
    save_model(path, model.vit, name=path.stem, mean=model.mean, std=model.std, classes=classes)
    return str(path)


def test_equal_weights_are_loaded_once(tmp_path: Path) -> None:
    edge, server = write(tmp_path / "edge.safetensors", 0), write(tmp_path / "server.safetensors", 1)
    small, large, same = load_models(edge, [server, edge], "float32")
    assert small is same
    assert small is not large
    assert small.facts.name == "edge"


def test_models_of_different_classes_are_refused(tmp_path: Path) -> None:
    edge = write(tmp_path / "edge.safetensors", 0)
    server = write(tmp_path / "server.safetensors", 1, ("red", "green", "pink"))
    with pytest.raises(ModelError, match="class 2"):
        load_models(edge, [server], "float32")


@pytest.mark.slow
def test_restorers_are_named_by_their_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {key: tensor.contiguous() for key, tensor in _Generator(8, 4, 1).state_dict().items()}
    save_file(state, tmp_path / "g.safetensors")
    restorers, upsampler, filler = load_restorers(tmp_path / "g.safetensors", None)
    assert filler is None
    assert upsampler is not None
    assert upsampler.startswith("real_esrgan_")
    assert restorers.upsample[upsampler](np.zeros((56, 56, 3), np.uint8)).shape == (224, 224, 3)
    assert set(load_restorers(None, None)[0].upsample) == {"bicubic"}


def test_a_table_a_folder_and_scenes_are_told_apart(image_folder: Path, tmp_path: Path) -> None:
    classes = ("red", "green", "blue")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nred-0.png,red\n")
    silent = SilentProgress()

    def names(labels: Path | None) -> int:
        corpus = load_corpus(
            data=image_folder,
            labels=labels,
            scenes=None,
            seed=0,
            limit=None,
            classes=classes,
            progress=silent,
        )
        return len(corpus.names)

    assert names(None) == 12
    assert names(table) == 1


@pytest.fixture(scope="module")
def model() -> VitModel:
    shape = Architecture(embed_dim=24, depth=7, num_heads=2, mlp_ratio=2.0, num_classes=4)
    return VitModel(random_model(shape), "float32")


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), dtype=np.uint8)


@pytest.mark.slow
def test_both_ways_in_agree_on_whole_images(model: VitModel, crops: np.ndarray) -> None:
    logits, attention, embedding = model.attend(crops, [LAST])
    assert embedding.shape == (5, model.facts.embed_dim)
    positions = [np.arange(196)] * 5
    np.testing.assert_allclose(
        logits, model.classify([to_patches(crop) for crop in crops], positions), atol=1e-4
    )
    assert set(attention) == {LAST}


@pytest.mark.slow
def test_every_attention_is_a_distribution_over_patches(model: VitModel, crops: np.ndarray) -> None:
    _, attention, _ = model.attend(crops, [LAST, ROLLOUT, LAYER_ROLLOUT])
    for rows in attention.values():
        assert rows.shape == (5, 196)
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-4)
        assert (rows >= 0).all()
    assert not np.allclose(attention[ROLLOUT], attention[LAYER_ROLLOUT], rtol=1e-3)


@pytest.mark.slow
def test_facts_change_with_weights_and_number_format(model: VitModel) -> None:
    shape = Architecture(embed_dim=24, depth=7, num_heads=2, mlp_ratio=2.0, num_classes=4)
    same = VitModel(random_model(shape), "float32").facts
    assert same == model.facts
    assert VitModel(random_model(shape), "bfloat16").facts.identity != same.identity
    assert VitModel(random_model(shape, seed=1), "float32").facts.weights_hash != same.weights_hash
    assert (same.embed_dim, same.depth, same.dtype) == (24, 7, "float32")
    assert same.num_parameters > 0
