"""`saccade evaluate`: from a request to a report folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import EvaluationError
from lab.evaluation.corpus import Corpus
from lab.evaluation.experiments import (
    DEFAULT_BUDGET,
    SDT_SCALE,
    Plan,
    default_schemes,
    full_schemes,
    plan,
    restored_schemes,
)
from lab.evaluation.inference_cache import (
    DEFAULT_CACHE,
    AttentionOf,
    ChunkStore,
    ServerAnswers,
    answer,
    glance_treated,
)
from lab.evaluation.loading import FullModel, load_corpus, load_models, load_restorers
from lab.evaluation.measurement import (
    EdgeView,
    look,
    pair_up,
    say_estimate,
    say_first_estimate,
    time_models,
)
from lab.evaluation.methods import setting_of
from lab.evaluation.models import LAST
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.report.page import RunNotes, other_server_schemes, other_server_section, write_report
from lab.evaluation.report.render import setting_text
from lab.evaluation.schemes import SERVER, Downscaled, Scheme, Whole, low_resolution_source
from lab.progress import Progress, TerminalProgress


@dataclass(frozen=True)
class EvaluateRequest:
    """What to measure.

    Without `stream` exactly one of `data` and `scenes` is given. With it, `scenes` is the number of rendered
    cameras (default 48), `clips` a folder of videos and `tracks` one of labelled tracks; where only these are given
    nothing is rendered. `fps` is their rate, None for several.

    `out` is the report folder, made if absent; `labels` a CSV beside `data`. `limit` takes at most so many
    images, evenly spread, or so many seconds of each camera. `full` lifts the budget of server passes.
    `rivals` False leaves out, of streams, whole frames as stills and as video, which is most of the time.
    `dtype` is auto, float32 or bfloat16.

    Raises:
        EvaluationError: the fields contradict each other.
    """

    out: Path
    edge: str = "deit_tiny_patch16_224"
    server: str = "deit_base_patch16_224"
    other_server: str | None = None
    data: Path | None = None
    labels: Path | None = None
    scenes: int | None = None
    seed: int = 0
    stream: bool = False
    clips: Path | None = None
    tracks: Path | None = None
    fps: float | None = None
    limit: int | None = None
    full: bool = False
    rivals: bool = True
    dtype: str = "auto"
    super_resolution: Path | None = None
    masked_autoencoder: Path | None = None
    cache: Path = DEFAULT_CACHE
    command: str = "saccade evaluate"

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise EvaluationError(f"limit: {self.limit}, must be at least 1")
        if self.stream:
            if self.data is not None or self.labels is not None:
                raise EvaluationError("--stream takes --scenes, --clips and --tracks, not --data or --labels")
            if self.fps is not None and not self.fps > 0:
                raise EvaluationError(f"fps: {self.fps}, must be above 0")
            return
        if (self.data is None) == (self.scenes is None):
            raise EvaluationError("give images with --data DIR or rendered scenes with --scenes N, not both")
        if (self.clips, self.tracks, self.fps) != (None, None, None):
            raise EvaluationError("--clips, --tracks and --fps belong to --stream")
        if self.labels is not None and self.data is None:
            raise EvaluationError("--labels belongs to --data")


def evaluate(request: EvaluateRequest, progress: Progress | None = None) -> Path:
    """The report is written; returns the path of its page.

    Progress goes to standard error unless a progress is given. After an interruption the same request goes on
    where it was.

    Raises:
        EvaluationError: data, labels and models do not fit together.
        ModelError: a model cannot be loaded.
    """
    if progress is None:
        with TerminalProgress() as terminal:
            return evaluate(request, terminal)
    servers = [name for name in (request.server, request.other_server) if name is not None]
    models = load_models(request.edge, servers, request.dtype)
    try:
        if request.stream:
            from lab.evaluation.stream.run import evaluate_stream

            return evaluate_stream(request, models[0], models[1], progress)
        corpus = load_corpus(
            data=request.data,
            labels=request.labels,
            scenes=request.scenes,
            seed=request.seed,
            limit=request.limit,
            classes=models[0].facts.classes,
            progress=progress,
        )
        return measure(request, corpus, models, progress)
    except KeyboardInterrupt:
        progress.say(f"stopped; finished work is in {request.cache}, the same command goes on from there")
        raise


def measure(
    request: EvaluateRequest, corpus: Corpus, models: Sequence[FullModel], progress: Progress
) -> Path:
    """The report of one corpus is written; returns its page.

    Args:
        models: the edge's, the server's and perhaps another server's.
    """
    begun = time.monotonic()
    store, edge, server = ChunkStore(request.cache), models[0], models[1]
    timings = time_models(corpus, edge, server)
    say_first_estimate(len(corpus.names), timings, None if request.full else DEFAULT_BUDGET, progress)
    seen = look(corpus, edge, store, progress, rollouts=True)
    answers = _server_views(seen, server, store, progress, whole=server is not edge)
    restorers, *named = load_restorers(request.super_resolution, request.masked_autoencoder)
    chosen = _plan(request, seen, server, list(answers), restored_schemes(*named))
    say_estimate(chosen, seen, server, store, timings, progress)
    progress.start("server", len(seen.corpus.names) * len(chosen.schemes))
    answers |= answer(seen.corpus, server, chosen.schemes, seen.attention, store, progress, restorers)
    pairs = pair_up(seen, edge, server, answers)
    notes = RunNotes(
        command=request.command,
        unreadable=seen.unreadable,
        timings=timings,
        equivalents=chosen.total_equivalents,
        left_out=[_text(each) for each in chosen.left_out],
        wall_s=time.monotonic() - begun,
        extra_sections=[_figure_9(pairs, seen, edge, other, store, progress) for other in models[2:]],
    )
    progress.say("writing the report")
    return write_report(request.out, pairs, notes)


def _server_views(
    seen: EdgeView, server: FullModel, store: ChunkStore, progress: Progress, *, whole: bool
) -> dict[Scheme, ServerAnswers]:
    """Return the server's answers where its attention is wanted too, which goes into `seen.attention`."""
    views = [(low_resolution_source(SDT_SCALE), Downscaled(SDT_SCALE))] + (
        [(SERVER, Whole())] if whole else []
    )
    answers: dict[Scheme, ServerAnswers] = {}
    for source, scheme in views:
        progress.start(f"server, {source}", len(seen.corpus.names))
        answers[scheme], attention = glance_treated(seen.corpus, server, scheme, LAST, store, progress)
        seen.attention[source] = AttentionOf(attention.rows, f"{attention.identity}:{source}")
    return answers


def _plan(
    request: EvaluateRequest,
    seen: EdgeView,
    server: FullModel,
    done: Sequence[Scheme],
    asked: Sequence[Scheme],
) -> Plan:
    """Return what to run; schemes that were asked for come first."""
    wanted = full_schemes(seen.rows) if request.full else default_schemes(seen.rows)
    facts = server.facts
    return plan(
        [scheme for scheme in (Whole(), *asked, *wanted) if scheme not in done],
        seen.rows,
        len(seen.corpus.names),
        embed_dim=facts.embed_dim,
        depth=facts.depth,
        budget=None if request.full else DEFAULT_BUDGET,
        already=float(len(done)),
    )


def _figure_9(
    pairs: PairedPredictions,
    seen: EdgeView,
    edge: FullModel,
    other: FullModel,
    store: ChunkStore,
    progress: Progress,
) -> str:
    wanted = other_server_schemes()
    progress.start(f"other server, {other.facts.name}", len(seen.corpus.names) * len(wanted))
    answers = answer(seen.corpus, other, wanted, seen.attention, store, progress)
    return other_server_section(pairs, pair_up(seen, edge, other, answers))


def _text(scheme: Scheme) -> str:
    setting = setting_of(scheme)
    return type(scheme).__name__ if setting is None else setting_text(setting)
