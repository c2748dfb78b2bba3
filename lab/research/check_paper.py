"""`saccade evaluate --check-paper`: the paper's two exact operating points, on its own images and weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from lab.errors import EvaluationError
from lab.evaluation.corpus import Corpus, Subset
from lab.evaluation.gates import min_entropy_scores, offloaded
from lab.evaluation.inference_cache import DEFAULT_CACHE, AttentionOf, ChunkStore, answer
from lab.evaluation.loading import FullModel, load_corpus
from lab.evaluation.measurement import EdgeView, look
from lab.evaluation.models import Logits
from lab.evaluation.schemes import EDGE, Ranked
from lab.evaluation.selection import Rule
from lab.progress import Progress, TerminalProgress
from schemas.geometry import NUM_PATCHES, Attention

if TYPE_CHECKING:
    from vit.model import Model

DELTA: Final = 0.97
NUM_IMAGES: Final = 50_000
IMAGES_A_CLASS: Final = 50
_ROUNDED_STEP: Final = 2.0**-7


@dataclass(frozen=True, slots=True)
class Figures:
    """The five figures of one operating point; `cost` is a share, accuracies are in percent.

    `patches` is the mean of kept patches over transmitted images, `kept` how many images stay on the edge.
    """

    patches: float
    kept: float
    cost: float
    client: float
    together: float


TOLERANCE: Final = Figures(patches=0.3, kept=150, cost=0.001, client=0.1, together=0.1)
TARGETS: Final = {
    0.8: Figures(patches=147.96, kept=28_566, cost=0.3236, client=72.13, together=80.83),
    1.0: Figures(patches=148.81, kept=32_171, cost=0.2707, client=72.13, together=80.23),
}
"""By tau in bits, at delta .97: the output of the authors' code."""

ARCHITECTURES: Final = {
    "edge": ("deit_tiny_patch16_224", 192, 3),
    "server": ("deit_base_patch16_224", 768, 12),
}
"""Name, width and heads of the original models; both have 12 layers."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure held against its target."""

    tau: float
    name: str
    target: float
    measured: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.measured - self.target) <= self.tolerance


@dataclass(frozen=True)
class CheckPaperRequest:
    """Where the 50,000 ImageNet validation images and the original DeiT weights are."""

    data: Path
    labels: Path | None = None
    edge: str = "deit_tiny_patch16_224"
    server: str = "deit_base_patch16_224"
    cache: Path = DEFAULT_CACHE


def check_paper(request: CheckPaperRequest, progress: Progress | None = None) -> int:
    """Targets, measured figures and differences are printed; returns 0 if all hold, else 1.

    Raises:
        EvaluationError: other images or other weights than the paper's.
        ModelError: a model cannot be loaded.
    """
    if progress is None:
        with TerminalProgress() as terminal:
            return check_paper(request, terminal)
    from lab.evaluation.loading import VitModel
    from vit.weights import load_model

    models = []
    for role, name in (("edge", request.edge), ("server", request.server)):
        model = load_model(name)
        refuse_other_weights(model, role)
        models.append(VitModel(model, "float32"))
    corpus = load_corpus(
        data=request.data,
        labels=request.labels,
        scenes=None,
        seed=0,
        limit=None,
        classes=models[0].facts.classes,
        progress=progress,
    )
    refuse_other_images(corpus.labels)
    checks = measure_checks(corpus, models[0], models[1], ChunkStore(request.cache), progress)
    sys.stdout.write(checks_table(checks))
    return 0 if all(each.passed for each in checks) else 1


def measure_checks(
    corpus: Corpus, edge: FullModel, server: FullModel, store: ChunkStore, progress: Progress
) -> list[Check]:
    """Return all checks of a corpus; the server sees only the images that the lower tau sends."""
    seen = look(corpus, edge, store, progress, rollouts=False)
    if seen.unreadable:
        raise EvaluationError(
            f"{len(seen.unreadable)} images are unreadable, the first is {seen.unreadable[0]}"
        )
    h_min = min_entropy_scores(seen.logits)
    server_top1 = _server_answers(seen, offloaded(h_min, min(TARGETS)), server, store, progress)
    attention = seen.rows[EDGE]
    checks = []
    for tau, target in TARGETS.items():
        figures = paper_figures(seen.logits, attention, corpus.labels, server_top1, DELTA, tau)
        checks += compare(tau, target, figures)
    return checks


def paper_figures(
    edge_logits: Logits,
    attention: Attention,
    labels: NDArray[np.int64],
    server_top1: NDArray[np.int64],
    delta: float,
    tau: float,
) -> Figures:
    """Return the five figures of one operating point.

    Args:
        edge_logits: (N, C).
        attention: (N, 196) of the edge.
        labels: (N,).
        server_top1: (N,) the server's answer on each image's kept patches; read only where it is offloaded.
        delta: attention share to keep.
        tau: threshold in bits.
    """
    sent = offloaded(min_entropy_scores(edge_logits), tau)
    counts = Rule("attention_sum", delta).counts(attention)
    edge_top1 = edge_logits.argmax(axis=1)
    answers = np.where(sent, server_top1, edge_top1)
    return Figures(
        patches=float(counts[sent].mean()) if sent.any() else 0.0,
        kept=float((~sent).sum()),
        cost=float(counts[sent].sum()) / (NUM_PATCHES * labels.size),
        client=100.0 * float((edge_top1 == labels).mean()),
        together=100.0 * float((answers == labels).mean()),
    )


def compare(tau: float, target: Figures, measured: Figures) -> list[Check]:
    """Return one check a figure."""
    return [
        Check(tau, name, getattr(target, name), getattr(measured, name), getattr(TOLERANCE, name))
        for name in ("patches", "kept", "cost", "client", "together")
    ]


def checks_table(checks: Sequence[Check]) -> str:
    """Return the checks as lines of text."""
    lines = [f"{'tau':>4} {'figure':>9} {'target':>10} {'measured':>11} {'difference':>11} {'allowed':>8}"]
    for each in checks:
        verdict = "ok" if each.passed else "OUTSIDE"
        lines.append(
            f"{each.tau:4g} {each.name:>9} {each.target:10g} {each.measured:11.4f} "
            f"{each.measured - each.target:+11.4f} {each.tolerance:8g} {verdict}"
        )
    return "\n".join(lines) + "\n"


def refuse_other_images(labels: NDArray[np.int64]) -> None:
    """Return where the labels are those of the ImageNet-1k validation images.

    Raises:
        EvaluationError: another number of images, or not 50 of each of 1,000 classes.
    """
    counts = np.bincount(labels, minlength=1000)
    if labels.size != NUM_IMAGES or not (counts == IMAGES_A_CLASS).all():
        raise EvaluationError(
            f"{labels.size} images of {np.count_nonzero(counts)} classes: --check-paper needs the "
            f"{NUM_IMAGES:,} ImageNet-1k validation images, {IMAGES_A_CLASS} of each of 1,000 classes"
        )


def refuse_other_weights(model: Model, role: str) -> None:
    """Return where the model can be the original DeiT of its role.

    Raises:
        EvaluationError: another model, another normalisation, or weights that were rounded or halved.
    """
    name, width, heads = ARCHITECTURES[role]
    shape = model.architecture
    same_shape = (shape.embed_dim, shape.num_heads, shape.depth, shape.num_classes) == (
        width,
        heads,
        12,
        1000,
    )
    if model.name.split(".")[0] != name or not same_shape:
        raise EvaluationError(f"{role} model {model.name}: --check-paper needs the original {name}")
    if not np.allclose(model.mean, (0.485, 0.456, 0.406)):
        raise EvaluationError(
            f"{role} model {model.name}: normalises with {model.mean}, the original with ImageNet's"
        )
    for key, tensor in model.vit.state_dict().items():
        values = tensor.numpy()
        halved = bool((values == values.astype(np.float16).astype(np.float32)).all())
        if "norm" in key and bool((values % _ROUNDED_STEP == 0).all()):
            raise EvaluationError(
                f"{role} model {model.name}: {key} was rounded, so these are not the original weights"
            )
        if values.size > 1000 and halved:
            raise EvaluationError(f"{role} model {model.name}: {key} was stored in half precision")


def _server_answers(
    seen: EdgeView, sent: NDArray[np.bool_], server: FullModel, store: ChunkStore, progress: Progress
) -> NDArray[np.int64]:
    """Return (N,) the server's top-1 on the kept patches of the images that are sent, -1 elsewhere."""
    rows = np.flatnonzero(sent)
    edge = seen.attention[EDGE]
    part = AttentionOf(edge.rows[rows], edge.identity)
    scheme = Ranked(Rule("attention_sum", DELTA))
    progress.start("server", rows.size)
    answers = answer(Subset(seen.corpus, rows), server, [scheme], {EDGE: part}, store, progress)
    top1 = np.full(sent.size, -1, dtype=np.int64)
    top1[rows] = answers[scheme].top1
    return top1
