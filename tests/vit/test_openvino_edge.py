import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from schemas.errors import ModelError
from vit import openvino_network
from vit.architecture import Architecture
from vit.edge_forward import EdgeForward
from vit.model import random_model
from vit.openvino_network import OpenVinoEdgeForward, quantise

SMALL = Architecture(embed_dim=64, depth=3, num_heads=2, mlp_ratio=4.0, num_classes=7)


def some_crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def test_without_openvino_the_way_to_get_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match=r"pip install 'saccade\[openvino\]'"):
        OpenVinoEdgeForward(random_model(SMALL))


def test_without_nncf_the_way_to_get_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ModelError, match=r"pip install 'saccade\[openvino\]'"):
        quantise(random_model(SMALL), some_crops(1), tmp_path)


@pytest.mark.parametrize("name", [SMALL, "deit3_small_patch16_224"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_answer_is_the_torch_forwards(monkeypatch, name, dtype):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    monkeypatch.setattr(openvino_network, "best_dtype", lambda: dtype)
    model, crops = random_model(name), some_crops(3)
    expected, output = EdgeForward(model, torch.float32)(crops), OpenVinoEdgeForward(model)(crops)
    tolerance = 5e-5 if dtype == torch.float32 else 0.1
    assert output.logits == pytest.approx(expected.logits, abs=tolerance)
    assert output.attention == pytest.approx(expected.attention, abs=tolerance / 10)
    assert output.embedding == pytest.approx(expected.embedding, abs=tolerance)
    assert output.logits.dtype == output.attention.dtype == output.embedding.dtype == np.float32


def test_other_shapes_are_refused():
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    with pytest.raises(ValueError, match="crops must be"):
        OpenVinoEdgeForward(random_model(SMALL))(np.zeros((1, 224, 224), np.uint8))


def test_int8_is_close_and_belongs_to_its_weights(tmp_path):
    pytest.importorskip("nncf", reason="the extra openvino is not installed")
    model, crops = random_model(SMALL), some_crops(8)
    path = quantise(model, crops, tmp_path / "made")
    assert path.parent == tmp_path / "made"
    expected = EdgeForward(model, torch.float32)(crops)
    output = OpenVinoEdgeForward(model, quantised=path)(crops)
    of_folder = OpenVinoEdgeForward(model, quantised=path.parent)(crops)
    assert (of_folder.logits == output.logits).all()
    moved = np.abs(output.attention - expected.attention).sum(1) / 2
    assert moved.max() < 0.2
    assert np.corrcoef(output.logits.ravel(), expected.logits.ravel())[0, 1] > 0.95
    with pytest.raises(ModelError, match="made from weights"):
        OpenVinoEdgeForward(replace(model, mean=(0.5, 0.5, 0.5)), quantised=path)
    with pytest.raises(ModelError, match="no such file"):
        OpenVinoEdgeForward(model, quantised=tmp_path / "absent.xml")
