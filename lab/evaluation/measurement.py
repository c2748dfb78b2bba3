"""Steps of a measurement on one corpus: look with the edge, time the models, plan, say how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from lab.errors import EvaluationError
from lab.evaluation.corpus import Corpus, Subset, calibration_half
from lab.evaluation.experiments import Plan
from lab.evaluation.inference_cache import AttentionOf, ChunkStore, ServerAnswers, glance, missing_answers
from lab.evaluation.models import LAST, LAYER_ROLLOUT, ROLLOUT, AttentiveModel, Embedding, Logits, PatchModel
from lab.evaluation.paired import LABEL, Ints, PairedPredictions, Timings
from lab.evaluation.schemes import (
    EDGE,
    EDGE_LAYER_ROLLOUT,
    EDGE_ROLLOUT,
    FrameFacts,
    Scheme,
    Whole,
)
from lab.progress import Progress
from schemas.errors import DecodeError
from schemas.geometry import Attention
from vit.preprocess import Pixels

_TIMED_IMAGES: Final = 16
_PREPARE_MS: Final = 4.0
"""Selecting, encoding and decoding one payload, about; used for the estimate only."""
_SOURCES: Final = {LAST: EDGE, ROLLOUT: EDGE_ROLLOUT, LAYER_ROLLOUT: EDGE_LAYER_ROLLOUT}


@dataclass(frozen=True)
class EdgeView:
    """The readable images, and what the edge made of them: (N, C) logits, (N, D) embedding, attentions."""

    corpus: Corpus
    unreadable: tuple[str, ...]
    logits: Logits
    embedding: Embedding
    attention: dict[str, AttentionOf]

    @property
    def rows(self) -> dict[str, Attention]:
        """(N, 196) attention by source."""
        return {source: each.rows for source, each in self.attention.items()}


def look(
    corpus: Corpus, edge: AttentiveModel, store: ChunkStore, progress: Progress, *, rollouts: bool
) -> EdgeView:
    """Return the readable part of a corpus as the edge sees it.

    Raises:
        EvaluationError: no image is readable.
    """
    sources = list(_SOURCES) if rollouts else [LAST]
    progress.start("edge", len(corpus.names))
    seen = glance(corpus, edge, sources, store, progress)
    unreadable = tuple(name for name, ok in zip(corpus.names, seen.readable, strict=True) if not ok)
    if not seen.readable.any():
        raise EvaluationError(_nothing_readable(corpus))
    if unreadable:
        progress.say(f"{len(unreadable)} unreadable images are left out, the first is {unreadable[0]}")
    attention = {
        _SOURCES[source]: AttentionOf(seen.attention[source][seen.readable], edge.facts.identity)
        for source in sources
    }
    kept = Subset(corpus, np.flatnonzero(seen.readable))
    readable = seen.readable
    return EdgeView(kept, unreadable, seen.logits[readable], seen.embedding[readable], attention)


def pair_up(
    seen: EdgeView,
    edge: AttentiveModel,
    server: PatchModel,
    answers: Mapping[Scheme, ServerAnswers],
    *,
    accuracy_kind: str = LABEL,
    clusters: Ints | None = None,
) -> PairedPredictions:
    """Return the predictions of what was seen and answered.

    Without labels (`accuracy_kind` server_agreement) the server's answer on the raw whole image is the truth.
    """
    names = seen.corpus.names
    truth = seen.corpus.labels if accuracy_kind == LABEL else answers[Whole()].top1
    return PairedPredictions(
        data=seen.corpus.description,
        accuracy_kind=accuracy_kind,
        truth=truth,
        clusters=clusters,
        calibration=calibration_half([PurePosixPath(name).name for name in names]),
        edge=edge.facts,
        server=server.facts,
        edge_logits=seen.logits,
        attention=seen.rows,
        answers=answers,
    )


def time_models(corpus: Corpus, edge: AttentiveModel, server: PatchModel) -> Timings:
    """Return milliseconds an image of both models on whole images, in one batch after a warm-up.

    Raises:
        EvaluationError: no image is readable.
    """
    crops = list(islice(_readable_crops(corpus), _TIMED_IMAGES))
    if not crops:
        raise EvaluationError(_nothing_readable(corpus))
    sent = [Whole().apply(crop, FrameFacts("", {})) for crop in crops]
    patches, positions = [each.patches for each in sent], [each.positions for each in sent]
    batch = np.stack(crops)
    return Timings(
        _second_run_ms(lambda: edge.attend(batch, [LAST])) / len(crops),
        _second_run_ms(lambda: server.classify(patches, positions)) / len(crops),
    )


def say_first_estimate(num_images: int, timings: Timings, budget: float | None, progress: Progress) -> None:
    """Show before any work about how long a run without anything cached takes; None as budget is no bound."""
    # Rollouts need a second edge pass through every layer's maps.
    edge_ms = 3.0 * timings.edge_ms + _PREPARE_MS
    server_ms = timings.server_full_ms + _PREPARE_MS
    if budget is None:
        per_pass = num_images * server_ms / 60_000
        progress.say(
            f"{num_images} images: about {num_images * edge_ms / 60_000:.1f} minutes for the edge and "
            f"{per_pass:.1f} for each full server pass, less what is cached"
        )
        return
    minutes = num_images * (edge_ms + budget * server_ms) / 60_000
    progress.say(
        f"{num_images} images, at most {budget:g} full server passes each: about {minutes:.1f} minutes, less "
        "what is cached"
    )


def say_estimate(
    plan: Plan, seen: EdgeView, server: PatchModel, store: ChunkStore, timings: Timings, progress: Progress
) -> None:
    """Show how much work the plan is and about how long what is not yet cached will take."""
    num_images = len(seen.corpus.names)
    milliseconds = 0.0
    for scheme in plan.schemes:
        missing = missing_answers(seen.corpus, server, scheme, seen.attention, store)
        milliseconds += missing * (plan.equivalents[scheme] * timings.server_full_ms + _PREPARE_MS)
    progress.say(
        f"{num_images} images, {len(plan.schemes)} server passes worth {plan.total_equivalents:.1f} full "
        f"images each, {timings.server_full_ms:.1f} ms a full image: about {milliseconds / 60_000:.1f} "
        "minutes to go"
    )
    if plan.left_out:
        progress.say(f"{len(plan.left_out)} passes are beyond the budget and left out; --full makes all")


def _readable_crops(corpus: Corpus) -> Iterator[Pixels]:
    for idx in range(len(corpus.names)):
        try:
            yield corpus.crop(idx)
        except DecodeError:
            continue


def _nothing_readable(corpus: Corpus) -> str:
    return f"{corpus.description}: none of {len(corpus.names)} images is readable"


def _second_run_ms(run: Callable[[], object]) -> float:
    run()
    begun = time.perf_counter()
    run()
    return (time.perf_counter() - begun) * 1000.0
