"""Writes a model as the folder that an edge without torch runs from; see `vit.exported`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from schemas.errors import ModelError
from vit.backends import BackendChoice, Crops, EdgeOutput, open_edge
from vit.edge_forward import EdgeForward
from vit.exported import ONNX, OPENVINO, OPENVINO_WEIGHTS, Agreement, Exported, file_hash
from vit.model import Model
from vit.network import SENSITIVE, onnx_network, openvino_network

if TYPE_CHECKING:
    import openvino

_BATCH = 8
_RUNTIMES = {OPENVINO: "openvino", ONNX: "onnxruntime"}


def export(
    model: Model, folder: Path, *, checked: Crops, data: str, calibration: Crops | None = None
) -> Exported:
    """The folder holds the model in each format whose library is installed here.

    Args:
        model: any that `load_model` returns.
        folder: made where it is missing; older networks in it are replaced.
        checked: (N, 224, 224, 3) uint8, on which the agreement with torch is measured.
        data: what those are, in a few words.
        calibration: (N, 224, 224, 3) uint8, typical of what the cameras see, some 200: OpenVINO's network is
            then in int8. Others must be `checked`.

    Raises:
        ModelError: neither OpenVINO nor onnx is installed, or int8 is asked for without OpenVINO and NNCF.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [*_write_openvino(model, folder, calibration), *_write_onnx(model, folder)]
    if not written:
        raise ModelError(
            "nothing to export to: neither the library openvino nor the library onnx is installed"
        )
    int8 = () if calibration is None else (OPENVINO,)
    files = {path.name: file_hash(path) for path in written}
    exported = Exported(model.identity, model.architecture.embed_dim, files, int8, {})
    exported.write(folder)
    expected = _all(EdgeForward(model, torch.float32), checked)
    for network, runtime in _RUNTIMES.items():
        if network in files and importlib.util.find_spec(runtime):
            found = _all(open_edge(runtime, BackendChoice(str(folder))).forward, checked)
            exported.agreement[network] = agreement(expected, found, data)
    exported.write(folder)
    return exported


def agreement(expected: EdgeOutput, found: EdgeOutput, data: str) -> Agreement:
    """Return how far apart both are."""
    return Agreement(
        data,
        len(expected.logits),
        int((expected.logits.argmax(1) == found.logits.argmax(1)).sum()),
        float(np.abs(expected.logits - found.logits).max()),
        float(np.abs(expected.attention - found.attention).sum(1).max() / 2),
    )


def quantised(model: Model, calibration: Crops) -> openvino.Model:
    """Return the model as an OpenVINO network in int8, its ranges calibrated on (N, 224, 224, 3) uint8 crops.

    The patch embedding, the head and the last block's class-token part stay in float.

    Raises:
        ModelError: OpenVINO or NNCF is not installed.
    """
    network = openvino_network(model)
    try:
        import nncf
    except ImportError as error:
        raise ModelError("int8 needs the library nncf, which is not installed: pip install nncf") from error
    made: openvino.Model = nncf.quantize(
        network,
        nncf.Dataset([calibration[index : index + 1] for index in range(len(calibration))]),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(calibration),
        ignored_scope=nncf.IgnoredScope(patterns=[f"({SENSITIVE}).*"]),
    )
    return made


def _write_openvino(model: Model, folder: Path, calibration: Crops | None) -> list[Path]:
    path = folder / OPENVINO
    if not importlib.util.find_spec("openvino"):
        if calibration is not None:
            raise ModelError("int8 needs the library openvino, which is not installed")
        return []
    import openvino

    network = openvino_network(model) if calibration is None else quantised(model, calibration)
    openvino.save_model(network, path, compress_to_fp16=False)
    return [path, folder / OPENVINO_WEIGHTS]


def _write_onnx(model: Model, folder: Path) -> list[Path]:
    if not importlib.util.find_spec("onnx"):
        return []
    import onnx

    onnx.save_model(onnx_network(model), folder / ONNX)
    return [folder / ONNX]


def _all(forward: Callable[[Crops], EdgeOutput], crops: Crops) -> EdgeOutput:
    parts = [forward(crops[start : start + _BATCH]) for start in range(0, len(crops), _BATCH)]
    return EdgeOutput(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.attention for part in parts]),
        np.concatenate([part.embedding for part in parts]),
    )
