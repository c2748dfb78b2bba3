import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from saccade.commands.models import pair_of
from schemas.deployment import Role
from schemas.errors import ModelError, SaccadeError
from vit.architecture import Architecture
from vit.backends import AUTO, BackendChoice, EdgeModel, open_edge
from vit.backends.openvino import OpenVinoForward
from vit.edge_forward import EdgeForward
from vit.export import export, quantised
from vit.exported import DESCRIPTION, ONNX, OPENVINO
from vit.model import Model, random_model
from vit.weights import load_model, save_model

pytestmark = pytest.mark.slow

SMALL = Architecture(embed_dim=64, depth=3, num_heads=2, mlp_ratio=4.0, num_classes=7)


def some_crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def exported(model: Model, folder: Path, runtime: str, dtype: str = "float32") -> EdgeModel:
    export(model, folder, checked=some_crops(2), data="noise")
    return open_edge(runtime, BackendChoice(str(folder), dtype))


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("name", [SMALL, "deit3_small_patch16_224"])
def test_a_folder_answers_as_torch_does(tmp_path: Path, name: Architecture | str, runtime: str) -> None:
    model, crops = random_model(name), some_crops(3)
    expected = EdgeForward(model, torch.float32)(crops)
    found = exported(model, tmp_path, runtime)
    output = found.forward(crops)
    assert output.logits == pytest.approx(expected.logits, abs=5e-5)
    assert output.attention == pytest.approx(expected.attention, abs=5e-6)
    assert output.embedding == pytest.approx(expected.embedding, abs=5e-5)
    assert output.logits.dtype == output.attention.dtype == output.embedding.dtype == np.float32
    assert found.identity == model.identity
    with pytest.raises(ValueError, match="crops must be"):
        found.forward(np.zeros((1, 224, 224), np.uint8))


def test_a_norm_before_the_blocks_is_exported(tmp_path: Path) -> None:
    model, crops = random_model("vit_base_patch16_clip_224"), some_crops(1)
    model.vit.blocks = model.vit.blocks[:2]
    expected = EdgeForward(model, torch.float32)(crops)
    output = exported(model, tmp_path, "onnxruntime").forward(crops)
    assert output.logits == pytest.approx(expected.logits, abs=5e-5)


def test_openvino_in_bfloat16_stays_within_its_tolerance(tmp_path: Path) -> None:
    model, crops = random_model(SMALL), some_crops(3)
    expected = EdgeForward(model, torch.float32)(crops)
    output = exported(model, tmp_path, "openvino", "bfloat16").forward(crops)
    assert output.logits == pytest.approx(expected.logits, abs=0.1)
    assert output.attention == pytest.approx(expected.attention, abs=0.01)
    assert output.embedding == pytest.approx(expected.embedding, abs=0.1)


def test_the_folder_says_how_far_each_network_agrees(tmp_path: Path) -> None:
    made = export(random_model(SMALL), tmp_path, checked=some_crops(4), data="noise")
    assert made.agreement[ONNX].same_answers == made.agreement[ONNX].images == 4
    assert made.agreement[ONNX].logit_distance < 1e-4
    assert made.agreement[OPENVINO].logit_distance < 0.1
    told = json.loads((tmp_path / DESCRIPTION).read_text())
    assert told["agreement"][ONNX]["data"] == "noise"
    assert told["preprocessing"]["short_side"] == 256


def test_what_is_installed_runs_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vit import backends

    assert type(exported(random_model(SMALL), tmp_path, AUTO).forward).__name__ == "OpenVinoForward"
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "openvino" else name)
    assert type(open_edge(AUTO, BackendChoice(str(tmp_path))).forward).__name__ == "OnnxForward"


@pytest.mark.parametrize("damaged", [OPENVINO, "edge.bin", ONNX])
def test_a_changed_or_missing_file_is_refused(tmp_path: Path, damaged: str) -> None:
    runtime = "onnxruntime" if damaged == ONNX else "openvino"
    exported(random_model(SMALL), tmp_path, runtime)
    path = tmp_path / damaged
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match=rf"{damaged}: its SHA-256 is .*, model.json says"):
        open_edge(runtime, BackendChoice(str(tmp_path)))
    path.unlink()
    with pytest.raises(ModelError, match=rf"{damaged}: No such file"):
        open_edge(runtime, BackendChoice(str(tmp_path)))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"format": 2}, "format 2"),
        ({"preprocessing": {"short_side": 248}}, "248"),
        ({"classes": 3}, "not what saccade export writes"),
        ({"files": {}}, "it holds no edge.xml"),
    ],
)
def test_another_description_is_refused(tmp_path: Path, changed: dict[str, object], told: str) -> None:
    exported(random_model(SMALL), tmp_path, "openvino")
    description = tmp_path / DESCRIPTION
    description.write_text(json.dumps(json.loads(description.read_text()) | changed))
    with pytest.raises(ModelError, match=told):
        open_edge("openvino", BackendChoice(str(tmp_path)))


def test_a_folder_is_no_model_for_torch_and_weights_none_for_onnxruntime(tmp_path: Path) -> None:
    exported(random_model(SMALL), tmp_path, "onnxruntime")
    with pytest.raises(ModelError, match="an exported folder, which openvino and onnxruntime run"):
        load_model(str(tmp_path))
    with pytest.raises(ModelError, match="a folder that saccade export has written"):
        open_edge("onnxruntime", BackendChoice("shipped"))
    with pytest.raises(ModelError, match="onnxruntime computes in float32"):
        open_edge("onnxruntime", BackendChoice(str(tmp_path), dtype="bfloat16"))


def test_without_nncf_the_way_to_get_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ModelError, match="pip install nncf"):
        quantised(random_model(SMALL), some_crops(1))


def test_int8_is_close(tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    model, crops = random_model(SMALL), some_crops(8)
    made = export(model, tmp_path, checked=crops, data="noise", calibration=crops)
    expected = EdgeForward(model, torch.float32)(crops)
    output = open_edge("openvino", BackendChoice(str(tmp_path))).forward(crops)
    assert made.int8 == (OPENVINO,)
    assert made.agreement[OPENVINO].attention_moved < 0.2
    assert np.corrcoef(output.logits.ravel(), expected.logits.ravel())[0, 1] > 0.95


def test_a_pair_is_deployed_with_the_network_that_was_exported_into_its_folder(tmp_path: Path) -> None:
    (tmp_path / "pair").mkdir()
    for seed, role in enumerate(("edge", "server")):
        model = random_model(SMALL, seed=seed)
        path = tmp_path / "pair" / f"{role}.safetensors"
        save_model(path, model.vit, name=model.name, mean=model.mean, std=model.std, classes=model.classes)
    one, other = (load_model(str(tmp_path / "pair"), role=role) for role in ("edge", "server"))
    for folder in (tmp_path / "pair", tmp_path / "alone"):
        export(one, folder, checked=some_crops(2), data="noise")
    pair = pair_of(tmp_path / "pair")
    edge = open_edge("auto", BackendChoice(pair.folder))
    pair.check(Role.EDGE, edge.identity.weights_hash, edge.identity.classes_hash)
    assert isinstance(edge.forward, OpenVinoForward)
    with pytest.raises(SaccadeError, match="an exported edge alone"):
        pair_of(tmp_path / "alone")
    export(other, tmp_path / "pair", checked=some_crops(2), data="noise")
    with pytest.raises(SaccadeError, match="another edge's"):
        pair_of(tmp_path / "pair")
