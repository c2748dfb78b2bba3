"""What torch finds on this machine: the fastest exact number format, a GPU."""

from __future__ import annotations

import torch

from schemas.errors import SettingsError


def best_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """Return bfloat16 where the device multiplies it in hardware, else float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    packed_kernels = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return torch.bfloat16 if fast and packed_kernels else torch.float32


def dtype_named(name: str, device: torch.device | str = "cpu") -> torch.dtype:
    """Return the number format called `auto` (`best_dtype`), `float32` or `bfloat16`.

    Raises:
        SettingsError: another name.
    """
    if name == "auto":
        return best_dtype(device)
    if name not in {"float32", "bfloat16"}:
        raise SettingsError(f"dtype {name!r} is not one of auto, float32, bfloat16")
    return torch.float32 if name == "float32" else torch.bfloat16


def best_device() -> torch.device:
    """Return the first CUDA device where there is one, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
