"""What computes the models: one module a backend, by whose name the settings call it.

Called by both workers' engines, on their device threads. Must not import torch. numpy in, numpy out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError, SettingsError
from schemas.geometry import CROP_SIDE
from vit.preprocess import Pixels, resize_crop
from vit.registry import Registry

Crops = NDArray[np.uint8]
Patches = Sequence[NDArray[np.uint8]]
PositionSets = Sequence[NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """Which model is to run, and how.

    Args:
        model: what the settings call it; see `vit.weights.load_model`.
        dtype: number format of the products: auto (the fastest exact one), float32 or bfloat16.
        device: auto, cpu or cuda.
        threads: of the processor.
    """

    model: str
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 1


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

    edge: Callable[[BackendChoice], EdgeModel] | None = None
    server: Callable[[BackendChoice], ServerModel] | None = None


BACKENDS: Final = Registry(__name__, Backend)
"""Name → backend, the name of its library."""
AUTO: Final = "auto"


def check_backend(name: str) -> None:
    """Return where there is such a backend; ValueError, which names those that are, where not."""
    if name != AUTO and name not in BACKENDS:
        raise ValueError(f"must be one of {AUTO}, {', '.join(BACKENDS)}")


def open_edge(name: str, choice: BackendChoice) -> EdgeModel:
    """Return the edge's model on the backend.

    `auto` is torch; for a folder that `saccade export` wrote it is OpenVINO, or ONNX Runtime where OpenVINO is not
    installed.

    Raises:
        SettingsError: the backend does not serve the edge.
        ModelError: its library is not installed, or the model is not to be had or not one for it.
    """
    from vit.exported import is_exported

    if name == AUTO:
        name = _installed("openvino", "onnxruntime") if is_exported(choice.model) else "torch"
    opener = _backend(name).edge
    if opener is None:
        raise SettingsError(f"edge.backend = {name!r}: it has no way to see whole crops")
    with _libraries_named(name):
        return opener(choice)


def open_server(name: str, choice: BackendChoice) -> ServerModel:
    """Return the server's model on the backend, `auto` being torch; raises as `open_edge`."""
    opener = _backend("torch" if name == AUTO else name).server
    if opener is None:
        raise SettingsError(f"server.backend = {name!r}: it has no way to see sets of patches")
    return opener(choice)


def _installed(*names: str) -> str:
    """Return the first backend whose library is installed; the last one where none is."""
    return next((name for name in names if find_spec(name)), names[-1])


def _backend(name: str) -> Backend:
    with _libraries_named(name):
        return BACKENDS[name]


@contextmanager
def _libraries_named(backend: str) -> Iterator[None]:
    """A library that is missing inside the block is a `ModelError` that says what to do."""
    try:
        yield
    except ModuleNotFoundError as error:
        way = f"pip install {error.name}"
        if error.name == "torch":
            way += ", or where it is: saccade export --model PAIR --out PAIR"
        raise ModelError(f"backend {backend}: the library {error.name} is not installed: {way}") from error


def check_crops(crops: Crops) -> None:
    """Return where these are (B, 224, 224, 3) with B >= 1; ValueError otherwise."""
    if crops.ndim != 4 or crops.shape[1:] != (CROP_SIDE, CROP_SIDE, 3) or len(crops) < 1:
        raise ValueError(f"crops must be (B, 224, 224, 3) with B >= 1, got {crops.shape}")


def check_finite(name: str, scores: NDArray[np.float32]) -> None:
    """Return where the scores are numbers; ModelError otherwise."""
    if not np.isfinite(scores).all():
        raise ModelError(f"model {name}: the scores of a black image are no numbers")
