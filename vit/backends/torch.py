"""PyTorch: any model that `load_model` knows, for both roles, on processors and CUDA devices."""

from __future__ import annotations

import torch

from schemas.errors import ModelError
from vit.backends import Backend, BackendChoice, EdgeModel, ServerModel
from vit.edge_forward import EdgeForward
from vit.hardware import best_device, dtype_named
from vit.packed_forward import PackedForward
from vit.resize import one_thread, resize_crop_fast
from vit.weights import load_model


def _edge(choice: BackendChoice) -> EdgeModel:
    model = load_model(choice.model, role="edge")
    forward = EdgeForward(model, dtype_named(choice.dtype), threads=choice.threads)
    forward.choose_threads()
    return EdgeModel(model.identity, forward, resize_crop_fast, one_thread)


def _server(choice: BackendChoice) -> ServerModel:
    model = load_model(choice.model, role="server")
    device = _device(choice.device)
    forward = PackedForward(model, device, dtype_named(choice.dtype, device), threads=choice.threads)
    # While a GPU computes one batch the next is packed and copied; a CPU does one thing after the other.
    batches_in_flight = 1 if device.type == "cpu" else 2
    return ServerModel(model.identity, forward.submit, forward.build_kernels, batches_in_flight)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("server.device = cuda: torch finds no CUDA device; use auto or cpu")
    return best_device() if name == "auto" else torch.device(name)


MEMBER = Backend(_edge, _server)
