from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lab.evaluation.loading import load_corpus, load_models, load_restorers
from lab.evaluation.reporter import SilentReporter
from lab.research.super_resolution import _Generator
from schemas.errors import ModelError
from vit.architecture import Architecture
from vit.model import random_model
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
    silent = SilentReporter()

    def names(labels: Path | None) -> int:
        corpus = load_corpus(
            data=image_folder,
            labels=labels,
            scenes=None,
            seed=0,
            limit=None,
            classes=classes,
            reporter=silent,
        )
        return len(corpus.names)

    assert names(None) == 12
    assert names(table) == 1
