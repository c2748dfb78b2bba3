"""Small fast stand-ins for data and models; the models follow the same protocols as the real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.evaluation.inference_cache import ServerAnswers
from lab.evaluation.models import Attended, ModelFacts
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.schemes import EDGE, Scheme
from vit.preprocess import to_patches

CLASSES = ("red", "green", "blue")


class FakeModel:
    """Classifies by the mean colour of the patches it gets; `blur` adds seeded noise."""

    def __init__(self, name: str = "fake", blur: float = 0.0, weights: str | None = None) -> None:
        self.blur = blur
        self.calls = 0
        self._facts = ModelFacts(
            name=name,
            identity=f"{name}:{blur}",
            weights_hash=weights or name,
            classes=CLASSES,
            classes_hash="c0ffee",
            embed_dim=192,
            depth=12,
            num_parameters=5,
            dtype="float32",
        )

    @property
    def facts(self) -> ModelFacts:
        return self._facts

    def attend(self, crops: np.ndarray, sources: Sequence[str]) -> Attended:
        self.calls += 1
        patches = np.stack([to_patches(crop) for crop in crops]).astype(np.float64)
        contrast = np.abs(patches.mean(axis=(2, 3)) - patches.mean(axis=(1, 2, 3))[:, None]).sum(-1) + 1.0
        attention = (contrast / contrast.sum(-1, keepdims=True)).astype(np.float32)
        logits = np.stack([self._logits(each) for each in patches])
        flat = np.full_like(attention, 1 / 196)
        mixed = {"last": attention, "layer_rollout": (attention + flat) / 2, "rollout": flat}
        embedding = np.repeat(patches.mean(axis=(1, 2, 3)), 64, axis=1).astype(np.float32)
        return Attended(logits, {source: mixed[source] for source in sources}, embedding)

    def classify(self, patches: Sequence[np.ndarray], positions: Sequence[np.ndarray]) -> np.ndarray:
        self.calls += 1
        assert all(len(p) == len(q) and len(p) > 0 for p, q in zip(patches, positions, strict=True))
        return np.stack([self._logits(each.astype(np.float64)) for each in patches])

    def _logits(self, patches: np.ndarray) -> np.ndarray:
        colour = patches.mean(axis=(0, 1, 2))
        digest = hashlib.blake2b(np.round(colour).astype(np.int64).tobytes(), digest_size=8).digest()
        noise = np.random.default_rng(int.from_bytes(digest, "big")).normal(0, 1, 3)
        return (colour / 12.0 + self.blur * noise).astype(np.float32)


def write_images(folder: Path, per_class: int = 4) -> Path:
    """Class folders of noisy coloured PNGs with one bright blob of the class's colour."""
    rng = np.random.default_rng(0)
    for index, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(60, 140, (240, 256, 3), dtype=np.uint8)
            top, left = rng.integers(20, 120, 2)
            pixels[top : top + 90, left : left + 90, index] = 230
            Image.fromarray(pixels).save(folder / name / f"{name}-{number}.png")
    return folder


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images")


@pytest.fixture
def classes() -> tuple[str, ...]:
    """The fake models' classes, which are also the folders of `image_folder`."""
    return CLASSES


@pytest.fixture
def fake_model() -> type[FakeModel]:
    """The class of fake models: `fake_model(name, blur=..., weights=...)`."""
    return FakeModel


@pytest.fixture
def pair_up() -> Callable[..., PairedPredictions]:
    """`pair_up({scheme: probability of being right}, size=..., same=..., clusters=...)`."""
    return _pair_up


def _pair_up(
    schemes: Mapping[Scheme, float], *, size: int = 200, same: bool = False, clusters: bool = False
) -> PairedPredictions:
    """A pairs of random arrays: each scheme is right with the given probability."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 3, size)
    logits = rng.normal(0, 1, (size, 3)).astype(np.float32)
    logits[np.arange(size), truth] += 0.8
    raw = rng.random((size, 196)) ** 4
    attention = (raw / raw.sum(-1, keepdims=True)).astype(np.float32)
    answers = {}
    for place, (scheme, right) in enumerate(schemes.items()):
        rows = dict.fromkeys((EDGE, "edge_rollout", "edge_layer_rollout"), attention)
        processed = scheme.processed(rows, size)
        hit = rng.random(size) < right
        answers[scheme] = ServerAnswers(
            classes=np.where(hit, truth, (truth + 1) % 3)[:, None],
            probabilities=rng.uniform(0.3, 1.0, (size, 1)),
            processed=processed,
            sent_patches=processed.astype(float),
            wire_bytes=processed.astype(float) * 20.0 + 500 + place,
        )
    edge = FakeModel("edge", weights="w").facts
    return PairedPredictions(
        data="random arrays",
        accuracy_kind="label",
        truth=truth,
        clusters=np.arange(size) // 10 if clusters else None,
        calibration=np.arange(size) % 2 == 0,
        edge=edge,
        server=edge if same else FakeModel("server").facts,
        edge_logits=logits,
        attention={EDGE: attention},
        answers=answers,
    )
