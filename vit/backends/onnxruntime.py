"""ONNX Runtime, for processors that OpenVINO has no wheel for: the edge's model from an exported folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from schemas.errors import ModelError
from vit.backends import Backend, BackendChoice, Crops, EdgeModel, EdgeOutput, check_crops
from vit.exported import INPUT, ONNX, OUTPUTS, is_exported, read_exported
from vit.process import keep_freed_memory


class OnnxForward:
    """An ONNX network of `vit.network` as a function of crops, in float32."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        keep_freed_memory()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, crops: Crops) -> EdgeOutput:
        """Return what the model says of (B, 224, 224, 3) uint8 RGB crops."""
        check_crops(crops)
        return EdgeOutput(*self._session.run(OUTPUTS, {INPUT: np.ascontiguousarray(crops)}))


def _edge(choice: BackendChoice) -> EdgeModel:
    if not is_exported(choice.model):
        raise ModelError(f"model {choice.model}: onnxruntime runs a folder that saccade export has written")
    if choice.dtype == "bfloat16":
        raise ModelError("edge.dtype = bfloat16: onnxruntime computes in float32; use auto or float32")
    exported, path = read_exported(choice.model, ONNX)
    return EdgeModel(exported.identity, OnnxForward(path, threads=choice.threads))


MEMBER = Backend(_edge)
