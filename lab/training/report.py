"""What a fine-tuned pair is worth: before and after on images that it did not learn from, and what misleads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gating.belief import fuse
from gating.entropy import softmax
from gating.gate import Gate
from gating.select import select
from lab.evaluation.loading import VitModel
from lab.evaluation.models import LAST
from lab.evaluation.report.render import render
from lab.progress import Progress
from lab.training.folder import Folder, Images
from lab.training.pool import Pool
from schemas.geometry import NUM_PATCHES
from schemas.operating_point import OperatingPoint
from vit.codecs import decode_patches, encode_patches
from vit.model import Model

ROLES: Final = ("edge", "server", "pair")
SURE: Final = 0.8
"""Probability from which a pair that says another class than an image's label makes the label worth a look."""
_BATCH: Final = 16
_SHOWN: Final = 20
"""Rows of a list in the page; results.json has all."""

Answers = Mapping[str, NDArray[np.float64]]
"""Role → (n, C) probabilities of n images; `pair` is what a frame's label rests on."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How the pair is judged: the gate's and the records' operating point, and the edge's weight in an answer."""

    point: OperatingPoint
    edge_weight: float


@dataclass(frozen=True, slots=True)
class Shares:
    """The share of right answers among `images` of one class, or of all, by role; before is None without one."""

    name: str
    images: int
    before: Mapping[str, float] | None
    after: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Doubt:
    """The pair says another class of an image than its label."""

    file: str
    label: str
    said: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What fine-tuning came to; `total`, `by_class` and `errors` are of the images that were held out.

    `misleading` are images that the pair learnt from and whose label it still contradicts with `SURE` or more:
    wrong labels, most of them, or views that no one could tell.
    """

    method: str
    learnt: int
    held_out_by: str
    classes: Sequence[str]
    new_classes: Sequence[str]
    total: Shares
    by_class: list[Shares]
    misleading: Sequence[Doubt]
    errors: Sequence[Doubt]
    seconds: float

    @property
    def is_worse(self) -> bool:
        """Whether the pair was right more often before."""
        return self.total.before is not None and self.total.after["pair"] < self.total.before["pair"]


def answers_of(
    edge: Model, server: Model, images: Pool, num_images: int, asking: Asking, progress: Progress
) -> Answers:
    """Return what both models, each alone on whole images, and the pair say of a pool's first crops.

    The pair's answer is the edge's where the gate does not ask, else that of both, the server's on the patches
    that a record would carry.
    """
    small, large, gate = VitModel(edge), VitModel(server), Gate()
    rows: dict[str, list[NDArray[np.float64]]] = {role: [] for role in ROLES}
    whole = np.arange(NUM_PATCHES)
    progress.start(f"answers of {edge.name}", num_images)
    for start in range(0, num_images, _BATCH):
        crops = np.array(images.crops[start : min(start + _BATCH, num_images)])
        seen = small.attend(crops, (LAST,))
        kept = [select(row, asking.point) for row in seen.attention[LAST]]
        sets = [
            _as_sent(crop, asking.point.codec, asking.point.quality, places)
            for crop, places in zip(crops, kept, strict=True)
        ]
        alone = large.classify([_as_sent(crop, "raw", 0, whole) for crop in crops], [whole] * len(crops))
        asked = large.classify(sets, kept)
        edge_p = softmax(seen.logits.astype(np.float64))
        fused = [
            softmax(fuse(logits.astype(np.float64), p, asking.edge_weight))
            for logits, p in zip(asked, edge_p, strict=True)
        ]
        results = gate.decide(seen.logits, asking.point.tau)
        rows["edge"].extend(edge_p)
        rows["server"].extend(softmax(alone.astype(np.float64)))
        rows["pair"].extend(
            both if result.asks else own for both, own, result in zip(fused, edge_p, results, strict=True)
        )
        progress.advance(len(crops))
    return {role: np.stack(each) for role, each in rows.items()}


def outcome_of(
    folder: Folder,
    data: Path,
    *,
    method: str,
    known: Sequence[str],
    before: Answers | None,
    after: Answers,
    learnt: Answers,
    seconds: float,
) -> Outcome:
    """Return what the answers on the held-out images, before and after, and on the learnt ones come to."""
    labels = np.array([label for _, label in folder.watched])
    classes = folder.classes

    def shares(name: str, chosen: NDArray[np.bool_]) -> Shares:
        earlier = None if before is None else _right(before, labels, chosen)
        return Shares(name, int(chosen.sum()), earlier, _right(after, labels, chosen))

    return Outcome(
        method=method,
        learnt=len(folder.learnt),
        held_out_by=folder.held_out_by,
        classes=classes,
        new_classes=[name for name in classes if name not in known],
        total=shares("all", np.ones(len(labels), bool)),
        by_class=[shares(classes[label], labels == label) for label in sorted(set(labels.tolist()))],
        misleading=[
            each for each in _doubts(folder.learnt, learnt, classes, data) if each.confidence >= SURE
        ],
        errors=_doubts(folder.watched, after, classes, data),
        seconds=seconds,
    )


def write_outcome(out: Path, outcome: Outcome) -> str:
    """`out` holds report.md and results.json; returns the text of the page."""
    text = render("fine_tuned.md.j2", outcome=outcome, roles=ROLES, shown=_SHOWN, sure=SURE)
    (out / "report.md").write_text(text, encoding="utf-8")
    (out / "results.json").write_text(json.dumps(asdict(outcome), indent=1) + "\n", encoding="utf-8")
    return text


def _as_sent(
    crop: NDArray[np.uint8], codec: str, quality: int, places: NDArray[np.int64]
) -> NDArray[np.uint8]:
    return decode_patches(codec, encode_patches(codec, quality, crop, places), places)


def _right(answers: Answers, labels: NDArray[np.int64], chosen: NDArray[np.bool_]) -> dict[str, float]:
    return {role: float((p.argmax(1) == labels)[chosen].mean()) for role, p in answers.items()}


def _doubts(images: Images, answers: Answers, classes: Sequence[str], data: Path) -> list[Doubt]:
    """Return the images whose label the pair contradicts, the surest first."""
    found = [
        Doubt(path.relative_to(data).as_posix(), classes[label], classes[int(row.argmax())], float(row.max()))
        for (path, label), row in zip(images, answers["pair"], strict=True)
        if int(row.argmax()) != label
    ]
    return sorted(found, key=lambda each: -each.confidence)
