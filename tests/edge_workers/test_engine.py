import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from devstack.settings import Settings
from edge_workers.engine import EdgeEngine
from schemas.errors import ModelError
from vit.openvino_network import quantise
from vit.weights import load_model

HAS_OPENVINO = all(importlib.util.find_spec(name) for name in ("openvino", "nncf"))
with_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="the extra openvino is not installed")


def engine(**edge: object) -> EdgeEngine:
    settings = Settings(edge={"model": "shipped", "batch_frames": 2, "threads": 1, **edge})  # type: ignore[arg-type]
    return EdgeEngine(settings.edge)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 224, 224, 3), dtype=np.uint8)


def test_the_settings_choose_the_number_format(crops: np.ndarray) -> None:
    exact, short = (engine(dtype=dtype).classify(crops[:2]) for dtype in ("float32", "bfloat16"))
    assert exact.attention.shape == (2, 196)
    assert exact.logits == pytest.approx(short.logits, abs=0.5)
    assert (exact.logits != short.logits).any()


@pytest.mark.parametrize("backend", ["openvino", "openvino_int8"])
def test_without_its_extra_a_backend_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match=r"^[^\n]*pip install 'saccade\[openvino\]'$"):
        engine(backend=backend, quantised=tmp_path)


@with_openvino
def test_openvino_answers_as_torch_does(crops: np.ndarray) -> None:
    expected, output = (
        engine(dtype="float32", backend=name).classify(crops) for name in ("torch", "openvino")
    )
    assert output.logits == pytest.approx(expected.logits, abs=1e-2)
    assert output.attention == pytest.approx(expected.attention, abs=1e-3)


@with_openvino
def test_int8_runs_from_its_folder_and_belongs_to_its_model(crops: np.ndarray, tmp_path: Path) -> None:
    quantise(load_model("shipped", role="edge"), crops, tmp_path)
    output = engine(backend="openvino_int8", quantised=tmp_path).classify(crops[:2])
    assert output.attention.shape == (2, 196)
    with pytest.raises(ModelError, match="saccade quantise makes it"):
        engine(backend="openvino_int8", quantised=tmp_path / "elsewhere")
    other = load_model("shipped", role="server")
    quantise(other, crops, tmp_path)
    with pytest.raises(ModelError, match="made from weights"):
        engine(backend="openvino_int8", quantised=tmp_path)
