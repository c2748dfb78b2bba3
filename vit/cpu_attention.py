"""Attention within each token set of a packed batch, on a CPU: few shapes, so that oneDNN generates little code.

Called by vit/edge_forward.py and vit/packed_forward.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from schemas.geometry import FULL_TOKENS

# Scores of one step that stay in a core's second-level cache as float32.
_MAX_SCORES = 1 << 18
LENGTH_STEP = 16
"""Sets are padded to multiples of so many tokens."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring sets that go through together: their first row, their lengths, and what each is padded to."""

    start: int
    lengths: tuple[int, ...]
    padded: int

    @property
    def num_rows(self) -> int:
        return sum(self.lengths)

    @property
    def is_even(self) -> bool:
        """No set of the run needs padding."""
        return min(self.lengths) == self.padded


class CpuSetAttention:
    """Attention as two small batched products around a float32 softmax.

    Neighbouring sets of similar length go through together, padded with keys of weight 0. On a processor
    without AMX this is 2.4 times as fast as torch's fused kernel, which multiplies bf16 in float32 there.

    `class_weights` holds, after `attend_class`, the class tokens' attention: one (sets, heads, n) float32
    tensor for each run, in order, n the length that the run's sets were padded to.
    """

    scaled = True

    def __init__(self, lengths: Sequence[int], num_heads: int) -> None:
        self._num_heads = num_heads
        self._num_rows = sum(lengths)
        self._runs = _runs(lengths, num_heads)
        self.class_weights: list[torch.Tensor] = []

    def attend(self, qkv: torch.Tensor) -> torch.Tensor:
        """See `SetAttention.attend`."""
        out = qkv.new_empty(qkv.shape[0], qkv.shape[1] // 3)
        out[self._num_rows :] = 0.0  # rows that only fill up the batch
        for run in self._runs:
            query, key, value = self._split(qkv, 3, run)
            scores = self._masked(torch.bmm(query, key.mT), run)
            weights = torch.softmax(scores, -1, dtype=torch.float32).to(qkv.dtype)
            self._join(torch.bmm(weights, value), run, out)
        return out

    def attend_class(self, query: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """See `SetAttention.attend_class`."""
        self.class_weights = []
        mixed, done = [], 0
        for run in self._runs:
            count = len(run.lengths)
            key, value = self._split(keys_values, 2, run)
            asked = query[done : done + count].reshape(count * self._num_heads, 1, -1)
            scores = self._masked(torch.bmm(asked.float(), key.float().mT), run)
            weights = torch.softmax(scores, -1)
            self.class_weights.append(weights.view(count, self._num_heads, run.padded))
            mixed.append(torch.bmm(weights.to(value.dtype), value).view(count, -1))
            done += count
        return torch.cat(mixed)

    def _split(self, rows: torch.Tensor, parts: int, run: _Run) -> tuple[torch.Tensor, ...]:
        """Return `parts` tensors of (count * heads, padded, d) from the run's rows of `parts` * heads * d."""
        count, heads = len(run.lengths), self._num_heads
        own = rows[run.start : run.start + run.num_rows]
        if run.is_even:
            split = own.view(count, run.padded, parts, heads, -1).permute(2, 0, 3, 1, 4)
            return split.reshape(parts, count * heads, run.padded, -1).unbind()
        split = rows.new_empty(parts, count, heads, run.padded, rows.shape[1] // parts // heads)
        for index, part in enumerate(torch.split(own, list(run.lengths))):
            split[:, index, :, : len(part)] = part.view(len(part), parts, heads, -1).permute(1, 2, 0, 3)
            split[:, index, :, len(part) :] = 0.0  # whatever was there might be no number
        return split.view(parts, count * heads, run.padded, -1).unbind()

    def _masked(self, scores: torch.Tensor, run: _Run) -> torch.Tensor:
        """Return (count * heads, ..., padded) scores, those of padding minus infinity."""
        if not run.is_even:
            by_set = scores.view(len(run.lengths), -1, run.padded)
            for index, length in enumerate(run.lengths):
                by_set[index, :, length:] = -torch.inf
        return scores

    def _join(self, mixed: torch.Tensor, run: _Run, out: torch.Tensor) -> None:
        """Write the run's (count * heads, padded, d) into its rows of `out`."""
        count, heads = len(run.lengths), self._num_heads
        own = out[run.start : run.start + run.num_rows]
        by_set = mixed.view(count, heads, run.padded, -1)
        if run.is_even:
            own.view(count, run.padded, heads, -1).copy_(by_set.transpose(1, 2))
            return
        for part, heads_of_set in zip(torch.split(own, list(run.lengths)), by_set, strict=True):
            part.view(len(part), heads, -1).copy_(heads_of_set[:, : len(part)].transpose(0, 1))


def _padded(length: int) -> int:
    """Return the next multiple of 16, but no more than a whole crop has, whose sets need no padding then."""
    return min(-(-length // LENGTH_STEP) * LENGTH_STEP, max(length, FULL_TOKENS))


def _runs(lengths: Sequence[int], num_heads: int) -> list[_Run]:
    """Return neighbouring sets of one padded length, cut to what a cache holds.

    Counts are powers of two and lengths multiples of 16: oneDNN generates code for every new shape, 1 to 4 ms each.
    """
    runs, start = [], 0
    for padded, group in groupby(lengths, _padded):
        left, most = list(group), max(1, _MAX_SCORES // (num_heads * padded * padded))
        while left:
            count = 1 << (min(len(left), most).bit_length() - 1)
            run = _Run(start, tuple(left[:count]), padded)
            runs.append(run)
            start, left = start + run.num_rows, left[count:]
    return runs
