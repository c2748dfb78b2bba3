"""Attention rollout: which patches the class token draws on through several layers. Pure numpy.

One row of a matrix product is wanted, so vectors are multiplied, never matrices.
"""

import numpy as np
from numpy.typing import NDArray

Attention = NDArray[np.float32]


def rollout(attention: Attention) -> Attention:
    """Return the class token's rollout over all heads apart, averaged at the end.

    Each layer and head counts as A + I without row normalisation, the product runs over every layer given,
    and only then are heads averaged, the class token's own entry dropped and the rest brought to sum 1.

    Args:
        attention: (L, H, N, N), softmax rows, token 0 is the class token, layers from first to last.

    Returns:
        (N - 1,) float32, sum 1.

    Source: the authors' code of arXiv 2404.07217, as described there (Fig. 11).
    """
    _check(attention, 4)
    row = np.zeros((attention.shape[1], 1, attention.shape[-1]), dtype=np.float64)
    row[:, 0, 0] = 1.0
    for layer in attention[::-1]:
        row = row @ layer.astype(np.float64) + row
    return _patch_shares(row[:, 0].mean(axis=0))


def mean_head_rollout(attention: Attention) -> Attention:
    """Return the class token's rollout over head-averaged layers.

    Args:
        attention: (L, N, N), averaged over heads, layers from first to last; give the last six of twelve for
        the
            layer-selective rollout.

    Returns:
        (N - 1,) float32, sum 1.

    Source: eq. 4 of "Token-Oriented Semantic Communication with Pretrained Vision Transformers".
    """
    _check(attention, 3)
    row = np.zeros(attention.shape[-1], dtype=np.float64)
    row[0] = 1.0
    for layer in attention[::-1]:
        row = row @ layer.astype(np.float64) + row
    return _patch_shares(row)


def _patch_shares(row: NDArray[np.float64]) -> Attention:
    patches = row[1:]
    return np.asarray(patches / patches.sum(), dtype=np.float32)


def _check(attention: Attention, num_axes: int) -> None:
    if attention.ndim != num_axes or attention.shape[-1] != attention.shape[-2] or attention.shape[-1] < 2:
        raise ValueError(f"attention: shape {attention.shape}, must have {num_axes} axes, the last two equal")
