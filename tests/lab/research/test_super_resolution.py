from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lab.research.super_resolution import SuperResolution, _Generator
from schemas.errors import ModelError


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
