from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lab.research.restoration import MaskedAutoencoder, SuperResolution, _Generator, _Network
from schemas.errors import ModelError
from vit.preprocess import to_patches


def write(path: Path, width: int = 8, growth: int = 4, blocks: int = 2) -> Path:
    torch.manual_seed(0)
    save_file(
        {key: tensor.contiguous() for key, tensor in _Generator(width, growth, blocks).state_dict().items()},
        path,
    )
    return path


def test_a_small_image_comes_back_at_the_crops_size(tmp_path: Path) -> None:
    network = SuperResolution(write(tmp_path / "g.safetensors"))
    small = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    large = network(small)
    assert large.shape == (224, 224, 3)
    assert large.dtype == np.uint8
    assert len(network.identity) == 12


def test_the_published_networks_names_are_the_generators() -> None:
    """23 blocks of 64 channels, growth 32: 702 tensors in the released file."""
    with torch.device("meta"):
        names = set(_Generator(64, 32, 23).state_dict())
    assert len(names) == 702
    for name in (
        "conv_first.weight",
        "body.22.rdb3.conv5.bias",
        "conv_body.bias",
        "conv_up2.weight",
        "conv_last.bias",
    ):
        assert name in names


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="never pickled"):
        SuperResolution(tmp_path / "g.pth")
    with pytest.raises(ModelError, match="not a readable"):
        SuperResolution(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="no Real-ESRGAN generator"):
        SuperResolution(tmp_path / "x.safetensors")


def write_autoencoder(path: Path) -> Path:
    torch.manual_seed(0)
    network = _Network(width=64, depth=2, decoder_width=32, decoder_depth=1)
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, path)
    return path


@pytest.mark.slow
def test_visible_patches_stay_and_the_others_are_painted_from_them_alone(tmp_path: Path) -> None:
    paint = MaskedAutoencoder(write_autoencoder(tmp_path / "m.safetensors"))
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


@pytest.mark.slow
def test_the_order_of_positions_does_not_matter(tmp_path: Path) -> None:
    paint = MaskedAutoencoder(write_autoencoder(tmp_path / "m.safetensors"))
    crop = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    visible = np.array([5, 100, 7, 60])
    difference = paint(crop, visible).astype(int) - paint(crop, np.sort(visible))
    assert np.abs(difference).max() <= 1


@pytest.mark.slow
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


def test_other_files_are_no_autoencoder(tmp_path: Path) -> None:
    save_file({"cls_token": torch.zeros(1, 1, 8)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="no masked auto-encoder"):
        MaskedAutoencoder(tmp_path / "x.safetensors")
