"""The server's pass over kept patches: many sets of different sizes as one batch without padding.

Called by the server worker's engine on its device thread, and by evaluation. numpy in, numpy out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.geometry import FULL_TOKENS, NUM_PATCHES, PATCH_SIDE
from vit.attention import CudaSetAttention, varlen_kernel
from vit.backends import Patches, PositionSets
from vit.cores import Cores, even_parts
from vit.cpu_attention import LENGTH_STEP, CpuSetAttention
from vit.hardware import best_dtype
from vit.model import Model
from vit.transformer import Transformer

_PATCH_VALUES = PATCH_SIDE * PATCH_SIDE * 3


class PendingLogits:
    """Logits that the device may still be computing."""

    def __init__(self, logits: torch.Tensor, order: NDArray[np.int64], done: torch.cuda.Event | None) -> None:
        self._logits, self._order, self._done = logits, order, done

    def result(self) -> NDArray[np.float32]:
        """Wait and return (B, C) float32 logits in the order of the submitted sets."""
        if self._done is not None:
            self._done.synchronize()
        logits = np.empty(self._logits.shape, dtype=np.float32)
        logits[self._order] = self._logits.numpy()
        return logits


class PackedForward:
    """The model as a function of patch sets.

    Args:
        model: any that `load_model` returns.
        device: where to run.
        dtype: number format of the products; the fastest exact one of the device where absent.
        threads: how many of the processor's cores share a batch; the calling thread computes it where absent.
        compiled: fuse the element-wise steps with torch.compile (CUDA only; the first batches take a minute).
    """

    def __init__(
        self,
        model: Model,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        *,
        threads: int | None = None,
        compiled: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype or best_dtype(self.device)
        self._on_cpu = self.device.type == "cpu"
        self._cores = Cores(threads if self._on_cpu else None)
        self._transformer = Transformer(model, self.device, self.dtype, scaled=self._on_cpu)
        self._varlen = None if self._on_cpu else varlen_kernel()
        self._run_cuda: Callable[[_Batch], torch.Tensor] = self._cuda_logits
        if compiled and not self._on_cpu:
            self._run_cuda = torch.compile(self._cuda_logits, dynamic=True)

    def build_kernels(self) -> None:
        """The kernels for one set of any length are there; on a CPU they are built when first used.

        From now on a lone set gets one thread or all, whichever is faster on this machine at this time.
        """
        if not self._on_cpu:
            return
        lone = _pack(*_black(NUM_PATCHES), for_cpu=True)
        self._cores.choose(lambda: self._part(lone))
        shallow = self._transformer.shallow()
        for length in (*range(LENGTH_STEP, NUM_PATCHES, LENGTH_STEP), FULL_TOKENS):
            batch = _pack(*_black(length - 1), for_cpu=True)
            self._cores.in_each_way(partial(self._part, batch, shallow))

    def __call__(self, patches: Patches, positions: PositionSets) -> NDArray[np.float32]:
        """Return (B, C) float32 logits; see `submit`."""
        return self.submit(patches, positions).result()

    def submit(self, patches: Patches, positions: PositionSets) -> PendingLogits:
        """Start one batch and return at once on CUDA, after the computation on a CPU.

        Each set's logits are those of timm's forward with every other patch token removed after the positions
        were added.

        Args:
            patches: B >= 1 sets of (k_i, 16, 16, 3) uint8, 1 <= k_i <= 196.
            positions: B sets of (k_i,) int64, ascending in 0..195.

        Raises:
            ValueError: a set whose shapes or positions are not that.
        """
        _check(patches, positions)
        # Equal lengths side by side let attention take them in one step.
        order = np.argsort([len(kept) for kept in positions], kind="stable")
        patches, positions = [patches[i] for i in order], [positions[i] for i in order]
        if self._on_cpu:
            parts = even_parts([len(kept) + 1 for kept in positions], self._cores.threads)
            batches = [_pack(patches[part], positions[part], for_cpu=True) for part in parts]
            return PendingLogits(torch.cat(self._cores.run(self._part, batches)), order, None)
        with torch.inference_mode():
            return self._submit_cuda(_pack(patches, positions, for_cpu=False), order)

    def _part(self, batch: _Batch, transformer: Transformer | None = None) -> torch.Tensor:
        with torch.inference_mode():
            return _cpu_logits(transformer or self._transformer, batch)

    def _submit_cuda(self, batch: _Batch, order: NDArray[np.int64]) -> PendingLogits:
        with torch.cuda.device(self.device):
            logits = self._run_cuda(batch.on(self.device))
            host = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=True)
            host.copy_(logits, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record()
        return PendingLogits(host, order, done)

    def _cuda_logits(self, batch: _Batch) -> torch.Tensor:
        transformer = self._transformer
        offsets, class_rows = batch.offsets.int(), batch.offsets[:-1]
        tokens = transformer.embed(batch.pixels, batch.positions, batch.patch_rows, class_rows)
        class_offsets = torch.arange(len(offsets), dtype=torch.int32, device=self.device)
        assert self._varlen is not None
        attention = CudaSetAttention(offsets, class_offsets, FULL_TOKENS, transformer.num_heads, self._varlen)
        return transformer.classify(transformer.encode(tokens, class_rows, attention))


def normalised(crops: NDArray[np.uint8], model: Model) -> torch.Tensor:
    """Return timm's float32 input (B, 3, 224, 224) of (B, 224, 224, 3) uint8 crops."""
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255.0
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.mean, model.std))
    return (pixels - mean) / std


@dataclass(frozen=True, slots=True)
class _Batch:
    """B sets with P patches as one.

    `pixels` (P, 768) uint8; `positions` and `patch_rows` (P,) int64; `offsets` (B + 1,) int64, each set's
    first row, which is its class token's, and the end.
    """

    pixels: torch.Tensor
    positions: torch.Tensor
    patch_rows: torch.Tensor
    offsets: torch.Tensor

    def on(self, device: torch.device) -> _Batch:
        """Return the batch on a CUDA device, copied there from pinned memory without waiting."""
        lengths = [len(self.positions), len(self.patch_rows), len(self.offsets)]
        indices = torch.cat([self.positions, self.patch_rows, self.offsets]).pin_memory()
        positions, patch_rows, offsets = torch.split(indices.to(device, non_blocking=True), lengths)
        return _Batch(self.pixels.to(device, non_blocking=True), positions, patch_rows, offsets)


def _cpu_logits(transformer: Transformer, batch: _Batch) -> torch.Tensor:
    class_rows = batch.offsets[:-1]
    tokens = transformer.embed(batch.pixels, batch.positions, batch.patch_rows, class_rows)
    attention = CpuSetAttention(batch.offsets.diff().tolist(), transformer.num_heads)
    return transformer.classify(transformer.encode(tokens, class_rows, attention))


def _pack(patches: Patches, positions: PositionSets, *, for_cpu: bool) -> _Batch:
    """Return the sets as one batch.

    For a CPU, empty patches are added up to a row count of which there are few; for CUDA, memory is pinned.
    """
    counts = np.array([len(kept) for kept in positions], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts + 1)])
    kept = int(counts.sum())
    total = _rounded_up(kept + len(counts)) - len(counts) if for_cpu else kept
    pixels = torch.empty(total, _PATCH_VALUES, dtype=torch.uint8, pin_memory=not for_cpu)
    np.concatenate([part.reshape(-1, _PATCH_VALUES) for part in patches], out=pixels[:kept].numpy())
    pixels[kept:] = 0
    places = np.zeros(total, dtype=np.int64)
    np.concatenate(positions, out=places[:kept])
    # Patch j of all stands behind the class tokens of its own and all earlier sets; filling behind all.
    patch_rows = np.arange(total) + len(counts)
    patch_rows[:kept] = np.arange(kept) + np.repeat(np.arange(1, len(counts) + 1), counts)
    return _Batch(pixels, *(torch.from_numpy(part) for part in (places, patch_rows, offsets)))


def _black(count: int) -> tuple[Patches, PositionSets]:
    """Return one set of `count` black patches."""
    return [np.zeros((count, PATCH_SIDE, PATCH_SIDE, 3), np.uint8)], [np.arange(count)]


def _rounded_up(rows: int) -> int:
    """Return a row count of which there are few: at most a fifteenth more, in steps of at least 16.

    oneDNN generates code for every new row count, 1 to 5 ms a layer, and ragged batches bring a new one each
    time.
    """
    step = max(16, 1 << max(0, rows.bit_length() - 5))
    return -(-rows // step) * step


def _check(patches: Patches, positions: PositionSets) -> None:
    if len(patches) != len(positions) or not patches:
        raise ValueError(f"{len(patches)} patch sets with {len(positions)} position sets; at least 1 of each")
    for index, (pixels, kept) in enumerate(zip(patches, positions, strict=True)):
        if pixels.dtype != np.uint8 or pixels.shape != (len(kept), PATCH_SIDE, PATCH_SIDE, 3):
            raise ValueError(f"set {index}: {pixels.dtype} {pixels.shape} patches, {len(kept)} positions")
        ascending = len(kept) > 0 and kept[0] >= 0 and kept[-1] < NUM_PATCHES and (np.diff(kept) > 0).all()
        if not ascending:
            raise ValueError(f"set {index}: positions must ascend within 0..{NUM_PATCHES - 1}, at least one")
