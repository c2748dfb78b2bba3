from pathlib import Path

import numpy as np
import pytest
import torch

from lab.progress import SilentProgress
from lab.training.heads import fit_heads, fitted_head
from vit.architecture import Architecture
from vit.edge_forward import EdgeForward
from vit.model import random_model
from vit.weights import load_model, save_model


def test_a_head_separates_what_can_be_separated() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    embeddings = (5 * np.eye(3, 8)[labels] + 100 + rng.normal(0, 0.5, (300, 8))).astype(np.float32)
    head = fitted_head(embeddings, labels, 3)
    with torch.inference_mode():
        assert (head(torch.from_numpy(embeddings)).argmax(1).numpy() == labels).mean() > 0.99


@pytest.mark.slow
def test_both_models_keep_their_weights_and_know_the_folders_classes(photos, tmp_path: Path) -> None:
    start = random_model(Architecture(24, 1, 2, 2.0, 5))
    path = tmp_path / "start.safetensors"
    save_model(path, start.vit, name=start.name, mean=start.mean, std=start.std, classes=start.classes)

    class Lines(SilentProgress):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, text: str) -> None:
            self.lines.append(text)

    told = Lines()
    files = fit_heads(
        photos, tmp_path / "out", tmp_path / "work", edge=str(path), server=str(path), progress=told
    )
    assert [file.name for file in files] == ["edge.safetensors", "server.safetensors"]
    assert len(told.lines) == 2
    before, after = load_model(str(path)), load_model(str(files[0]))
    assert after.classes == ("blue", "red")
    for name, tensor in before.vit.state_dict().items():
        if not name.startswith("head"):
            assert torch.equal(tensor, after.vit.state_dict()[name])
    crops = np.zeros((1, 224, 224, 3), np.uint8)
    assert EdgeForward(after)(crops).logits.shape == (1, 2)
