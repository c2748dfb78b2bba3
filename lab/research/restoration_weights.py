"""Weights of the networks that restore images in the evaluation's baselines: safetensors only, checked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from schemas.errors import ModelError

Network = TypeVar("Network", bound=nn.Module)


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """Return the file's tensors as float32, and 12 hex digits of its hash.

    Raises:
        ModelError: not a readable .safetensors file.
    """
    if path.suffix != ".safetensors":
        raise ModelError(f"model {path}: only .safetensors files are read, never pickled ones")
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        return state, hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except (SafetensorError, OSError) as error:
        raise ModelError(f"model {path}: not a readable safetensors file ({error})") from error


def fill_module(network: Network, state: dict[str, torch.Tensor], path: Path) -> Network:
    """Return the network with the weights, in evaluation mode; ModelError names what does not fit."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(f"model {path}: its weights do not fit ({first})") from None
    return network.eval().requires_grad_(False)
