from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lab.research.masked_autoencoder import MaskedAutoencoder, _Network
from schemas.errors import ModelError
from vit.preprocess import to_patches


def write(path: Path) -> Path:
    torch.manual_seed(0)
    network = _Network(width=64, depth=2, decoder_width=32, decoder_depth=1)
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, path)
    return path


def test_visible_patches_stay_and_the_others_are_painted_from_them_alone(tmp_path: Path) -> None:
    paint = MaskedAutoencoder(write(tmp_path / "m.safetensors"))
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
    visible = rng.permutation(196)[:49]
    patches = paint(crop, visible)
    np.testing.assert_array_equal(patches[visible], to_patches(crop)[visible])
    other = to_patches(crop).copy()
    other[np.setdiff1d(np.arange(196), visible)] = 7
    hidden_changed = other.reshape(14, 14, 16, 16, 3).swapaxes(1, 2).reshape(224, 224, 3)
    np.testing.assert_array_equal(paint(hidden_changed, visible), patches)
    assert patches.shape == (196, 16, 16, 3)


def test_the_order_of_positions_does_not_matter(tmp_path: Path) -> None:
    paint = MaskedAutoencoder(write(tmp_path / "m.safetensors"))
    crop = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    visible = np.array([5, 100, 7, 60])
    difference = paint(crop, visible).astype(int) - paint(crop, np.sort(visible))
    assert np.abs(difference).max() <= 1


def test_the_published_networks_names_are_the_autoencoders() -> None:
    with torch.device("meta"):
        names = set(_Network(1024, 24, 512, 8).state_dict())
    for name in (
        "pos_embed",
        "patch_embed.proj.bias",
        "blocks.23.mlp.fc2.weight",
        "decoder_blocks.7.attn.qkv.bias",
    ):
        assert name in names
    assert {"norm.weight", "decoder_embed.bias", "decoder_norm.bias", "decoder_pred.weight"} <= names


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"cls_token": torch.zeros(1, 1, 8)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="no masked auto-encoder"):
        MaskedAutoencoder(tmp_path / "x.safetensors")
