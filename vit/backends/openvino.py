"""OpenVINO: the edge's model in bf16 or float32, faster than torch on x86 processors."""

from __future__ import annotations

from vit.backends import Backend, Choice, EdgeModel
from vit.hardware import dtype_named
from vit.openvino_network import OpenVinoEdgeForward
from vit.resize import one_thread, resize_crop_fast
from vit.weights import load_model


def open_edge(choice: Choice) -> EdgeModel:
    """Return the model; in int8 where `choice.quantised` names a folder."""
    model = load_model(choice.model, role="edge")
    forward = OpenVinoEdgeForward(
        model, dtype_named(choice.dtype), quantised=choice.quantised, threads=choice.threads
    )
    return EdgeModel(model.identity, forward, resize_crop_fast, one_thread)


def _edge(choice: Choice) -> EdgeModel:
    return open_edge(Choice(choice.model, choice.dtype, choice.device, choice.threads))


MEMBER = Backend(_edge)
