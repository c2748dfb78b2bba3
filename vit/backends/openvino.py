"""OpenVINO, faster than torch on x86 processors: the edge's model from an exported folder, without torch.

A model that is not exported is converted in memory, which needs torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino

from vit.backends import Backend, BackendChoice, Crops, EdgeModel, EdgeOutput, check_crops
from vit.exported import OPENVINO, is_exported, read_exported
from vit.process import keep_freed_memory


class OpenVinoForward:
    """A network of `vit.network` as a function of crops.

    Args:
        network: the network, or its .xml file.
        dtype: number format of what is not int8: auto (bfloat16 where the processor has it), float32, bfloat16.
        threads: of the processor.
    """

    def __init__(self, network: openvino.Model | Path, dtype: str = "auto", *, threads: int = 1) -> None:
        keep_freed_memory()
        core = openvino.Core()
        if dtype == "auto":
            can = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            dtype = "bfloat16" if "BF16" in can else "float32"
        self._compiled = core.compile_model(
            network,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if dtype == "bfloat16" else "f32",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
            },
        )

    def __call__(self, crops: Crops) -> EdgeOutput:
        """Return what the model says of (B, 224, 224, 3) uint8 RGB crops."""
        check_crops(crops)
        results = self._compiled(np.ascontiguousarray(crops))
        return EdgeOutput(results[0], results[1], results[2])


def _edge(choice: BackendChoice) -> EdgeModel:
    if is_exported(choice.model):
        exported, path = read_exported(choice.model, OPENVINO)
        return EdgeModel(exported.identity, OpenVinoForward(path, choice.dtype, threads=choice.threads))
    from vit.network import openvino_network
    from vit.resize import one_thread, resize_crop_fast
    from vit.weights import load_model

    model = load_model(choice.model, role="edge")
    forward = OpenVinoForward(openvino_network(model), choice.dtype, threads=choice.threads)
    return EdgeModel(model.identity, forward, resize_crop_fast, one_thread)


MEMBER = Backend(_edge)
