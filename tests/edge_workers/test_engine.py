from pathlib import Path

import numpy as np
import pytest

from devstack.settings import Settings
from edge_workers.engine import EdgeEngine
from vit.export import export
from vit.weights import load_model


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


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.slow
def test_an_exported_folder_answers_as_torch_does(crops: np.ndarray, tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    export(load_model("shipped", role="edge"), tmp_path, checked=crops[:1], data="noise")
    expected = engine(dtype="float32", backend="torch").classify(crops)
    exported = engine(dtype="float32", backend=backend, model=str(tmp_path))
    output = exported.classify(crops)
    assert output.logits == pytest.approx(expected.logits, abs=1e-2)
    assert output.attention == pytest.approx(expected.attention, abs=1e-3)
    assert output.embedding == pytest.approx(expected.embedding, abs=1e-2)
    assert exported.identity.weights_hash == engine(backend="torch").identity.weights_hash


@pytest.mark.slow
def test_openvino_takes_a_model_that_is_not_exported(crops: np.ndarray) -> None:
    pytest.importorskip("openvino")
    expected, output = (
        engine(dtype="float32", backend=name).classify(crops) for name in ("torch", "openvino")
    )
    assert output.logits == pytest.approx(expected.logits, abs=1e-2)
