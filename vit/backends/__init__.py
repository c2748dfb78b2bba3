"""What computes the models: one module a backend, by whose name the settings call it.

Called by both workers' engines, on their device threads. Must not import torch. numpy in, numpy out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError, SettingsError
from vit.preprocess import Pixels, resize_crop
from vit.registry import Registry

Role = Literal["edge", "server"]
Crops = NDArray[np.uint8]
Patches = Sequence[NDArray[np.uint8]]
PositionSets = Sequence[NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which model is to run, and how.

    Args:
        model: what the settings call it; see `vit.weights.load_model`.
        dtype: number format of the products: auto (the fastest exact one), float32 or bfloat16.
        device: auto, cpu or cuda.
        threads: of the processor.
        quantised: the folder with the int8 form of this very model.
    """

    model: str
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 1
    quantised: Path | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Which model it is: `classes` names each output, the hashes tell lists and weights apart."""

    name: str
    classes: tuple[str, ...]
    classes_hash: str
    weights_hash: str


@dataclass(frozen=True, slots=True)
class EdgeOutput:
    """What the edge's model says of B crops.

    `logits` (B, C) float32. `attention` (B, 196) float32, each row non-negative with sum 1. `embedding` (B, D)
    float32: the class token after all blocks and the last norm, which the head reads.
    """

    logits: NDArray[np.float32]
    attention: NDArray[np.float32]
    embedding: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EdgeModel:
    """A model that is ready to see whole crops.

    `forward` takes (B, 224, 224, 3) uint8, B >= 1. `resize_crop` makes such a crop of a (height, width, 3) uint8
    image in a codec thread; `in_codec_thread` is called once in each of those before.
    """

    identity: Identity
    forward: Callable[[Crops], EdgeOutput]
    resize_crop: Callable[[Pixels], Pixels] = resize_crop
    in_codec_thread: Callable[[], None] = lambda: None


class PendingScores(Protocol):
    """A batch that the device may still be computing."""

    def result(self) -> NDArray[np.float32]:
        """Wait; the scores (B, C) float32."""
        ...


@dataclass(frozen=True, slots=True)
class ServerModel:
    """A model that is ready to see sets of patches.

    `submit` takes B >= 1 sets: patches (k_i, 16, 16, 3) uint8 at positions (k_i,) int64, ascending in 0..195.
    `warm_up` makes the kernels that any later batch may need. `batches_in_flight` is how many may be
    submitted before the first one's result is waited for.
    """

    identity: Identity
    submit: Callable[[Patches, PositionSets], PendingScores]
    warm_up: Callable[[], None] = lambda: None
    batches_in_flight: int = 1


@dataclass(frozen=True, slots=True)
class Backend:
    """What opens a model for each role, or raises ModelError; None where the backend does not serve it."""

    edge: Callable[[Choice], EdgeModel] | None = None
    server: Callable[[Choice], ServerModel] | None = None


BACKENDS: Final = Registry(__name__, Backend)
"""Name → backend."""


def check_backend(name: str) -> None:
    """Return where there is such a backend; ValueError, which names those that are, where not."""
    if name not in BACKENDS:
        raise ValueError(f"must be one of {', '.join(BACKENDS)}")


def open_edge(name: str, choice: Choice) -> EdgeModel:
    """Return the edge's model on the backend.

    Raises:
        SettingsError: the backend does not serve the edge.
        ModelError: its library is not installed, or the model is not to be had or not one for it.
    """
    opener = _backend(name).edge
    if opener is None:
        raise SettingsError(f"edge.backend = {name!r}: it has no way to see whole crops")
    return opener(choice)


def open_server(name: str, choice: Choice) -> ServerModel:
    """Return the server's model on the backend; raises as `open_edge`."""
    opener = _backend(name).server
    if opener is None:
        raise SettingsError(f"server.backend = {name!r}: it has no way to see sets of patches")
    return opener(choice)


def _backend(name: str) -> Backend:
    try:
        return BACKENDS[name]
    except ModuleNotFoundError as error:
        raise ModelError(f"backend {name}: the library {error.name} is not installed") from error


def check_finite(name: str, scores: NDArray[np.float32]) -> None:
    """Return where the scores are numbers; ModelError otherwise."""
    if not np.isfinite(scores).all():
        raise ModelError(f"model {name}: the scores of a black image are no numbers")
