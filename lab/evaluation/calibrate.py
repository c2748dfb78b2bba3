"""`saccade calibrate`: the frontier of operating points that the controller reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

import numpy as np

from gating.select import SELECTORS
from lab.errors import EvaluationError
from lab.evaluation.chosen import RAW_PATCHES, Candidate, candidates, frontier_candidates
from lab.evaluation.corpus import Corpus, scene_corpus, unlabelled_corpus
from lab.evaluation.experiments import DEFAULT_BUDGET, HEADLINE_DELTA, plan
from lab.evaluation.gates import h_min_quantiles, offloaded
from lab.evaluation.inference_cache import DEFAULT_CACHE, ChunkStore, answer
from lab.evaluation.loading import FullModel, load_corpus, load_models
from lab.evaluation.measurement import look, pair_up, say_estimate, time_models
from lab.evaluation.methods import edge_only
from lab.evaluation.paired import LABEL, SERVER_AGREEMENT, PairedPredictions
from lab.evaluation.points import TEST, Point, Setting
from lab.evaluation.schemes import EDGE, Ranked, Scheme, Whole
from lab.evaluation.selection import Rule, delta_for_share
from lab.evaluation.stream.calibration import stream_frontier, stream_recording
from lab.evaluation.stream.cameras import clip_cameras, rendered_cameras
from lab.evaluation.stream.run import ASKS, recorded
from lab.evaluation.sweep import pareto_rows
from lab.evaluation.wire import value_bytes
from lab.progress import Progress, TerminalProgress
from lab.scenes.seeds import CALIBRATION_SEEDS
from schemas.frontier import Frontier, FrontierPoint, HminBin, dump_frontier, load_frontier
from schemas.geometry import Attention
from schemas.operating_point import OperatingPoint

MIN_IMAGES: Final = 100
STREAM_CAMERAS: Final = 24
STREAM_SECONDS: Final = 60.0
ENTROPY_BINS: Final = 10
PATCH_SHARES: Final = (0.06, 0.12, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class CalibrateRequest:
    """What to calibrate on. Exactly one of `data` and `scenes` is given.

    `out` is the JSON file to write. Images in `data` are labelled by folder or by the CSV `labels`;
    `unlabelled` takes any images and the server's answer on each raw whole image as the truth. `scenes`
    renders that many calibration scenes. `limit` takes at most so many images.

    With `stream` a belief is calibrated instead: `scenes` is the number of rendered cameras (default 24), or `clips` a
    folder of videos, whose truth is the server's answer on each raw frame; `fps` the rate, `limit` the most seconds.
    `recording` is a file to write the frames to, for `saccade simulate`.

    Raises:
        EvaluationError: the fields contradict each other.
    """

    out: Path
    edge: str = "deit_tiny_patch16_224"
    server: str = "deit_base_patch16_224"
    data: Path | None = None
    labels: Path | None = None
    unlabelled: bool = False
    scenes: int | None = None
    seed: int = 0
    limit: int | None = None
    stream: bool = False
    clips: Path | None = None
    fps: float = 5.0
    recording: Path | None = None
    dtype: str = "auto"
    cache: Path = DEFAULT_CACHE

    def __post_init__(self) -> None:
        if self.stream:
            if self.data is not None or (self.clips is not None and self.scenes is not None):
                raise EvaluationError("--stream takes --scenes or --clips, not both, and no --data")
            if not self.fps > 0:
                raise EvaluationError(f"fps: {self.fps}, must be above 0")
            return
        if self.clips is not None or self.recording is not None:
            raise EvaluationError(f"--{'recording' if self.clips is None else 'clips'} belongs to --stream")
        if (self.data is None) == (self.scenes is None):
            raise EvaluationError("give images with --data DIR or rendered scenes with --scenes N, not both")
        if self.labels is not None and (self.data is None or self.unlabelled):
            raise EvaluationError("--labels belongs to --data, without --unlabelled")
        if self.unlabelled and self.data is None:
            raise EvaluationError("--unlabelled belongs to --data")


def calibrate(request: CalibrateRequest, progress: Progress | None = None) -> Path:
    """`request.out` holds the frontier; returns its path.

    After an interruption the same request goes on where it was.

    Raises:
        EvaluationError: data and models do not fit together, there are too few images, or both models are
        one. ModelError: a model cannot be loaded.
    """
    if progress is None:
        with TerminalProgress() as terminal:
            return calibrate(request, terminal)
    edge, server = load_models(request.edge, [request.server], request.dtype)
    if server is edge:
        raise EvaluationError(
            f"edge and server are the same model ({edge.facts.name}): offloading can gain nothing"
        )
    try:
        if request.stream:
            frontier = calibrate_stream(request, edge, server, progress)
        else:
            corpus = _corpus(request, edge, progress)
            frontier = make_frontier(measure_frontier(request, corpus, edge, server, progress))
    except KeyboardInterrupt:
        progress.say(f"stopped; finished work is in {request.cache}, the same command goes on from there")
        raise
    request.out.parent.mkdir(parents=True, exist_ok=True)
    dump_frontier(frontier, request.out)
    load_frontier(request.out)
    progress.say(
        f"{len(frontier.points)} points from {frontier.points[0].accuracy:.3f} at 0 B to "
        f"{frontier.points[-1].accuracy:.3f} at {frontier.points[-1].bytes_per_frame:.0f} B a frame"
    )
    return request.out


def calibrate_stream(
    request: CalibrateRequest, edge: FullModel, server: FullModel, progress: Progress
) -> Frontier:
    """Return a belief's frontier from rendered cameras, or from clips with the server as teacher."""
    seconds = float(request.limit or STREAM_SECONDS)
    if request.clips is not None:
        cameras = clip_cameras(request.clips, seconds, request.fps)
        what = f"{len(cameras)} clips of {request.clips.name}"
    else:
        number = request.scenes or STREAM_CAMERAS
        cameras = rendered_cameras(
            number, seconds, request.fps, request.seed, progress, seeds=CALIBRATION_SEEDS
        )
        what = f"{number} rendered cameras, calibration seeds, seed {request.seed}"
    store = ChunkStore(request.cache)
    views = [look(camera.corpus, edge, store, progress, rollouts=False) for camera in cameras]
    frames, stills = recorded(cameras, views, [Whole(), *ASKS], server, store, progress)
    if request.recording is not None:
        stream_recording(frames, stills, ASKS).save(request.recording)
    progress.say("choosing the belief's parameters")
    data = f"{what}, {seconds:g} s at {request.fps:g} frames/s"
    return stream_frontier(frames, stills, ASKS, edge.facts, server.facts, data)


def measure_frontier(
    request: CalibrateRequest, corpus: Corpus, edge: FullModel, server: FullModel, progress: Progress
) -> PairedPredictions:
    """Return the predictions under all schemes that the frontier may choose from."""
    store = ChunkStore(request.cache)
    seen = look(corpus, edge, store, progress, rollouts=False)
    if len(seen.corpus.names) < MIN_IMAGES:
        raise EvaluationError(f"{len(seen.corpus.names)} readable images, a frontier needs {MIN_IMAGES}")
    facts, num_images = server.facts, len(seen.corpus.names)
    chosen = plan(
        frontier_schemes(seen.rows),
        seen.rows,
        num_images,
        embed_dim=facts.embed_dim,
        depth=facts.depth,
        budget=DEFAULT_BUDGET,
    )
    say_estimate(chosen, seen, server, store, time_models(seen.corpus, edge, server), progress)
    progress.start("server", num_images * len(chosen.schemes))
    answers = answer(seen.corpus, server, chosen.schemes, seen.attention, store, progress)
    kind = SERVER_AGREEMENT if request.unlabelled else LABEL
    return pair_up(seen, edge, server, answers, accuracy_kind=kind)


def frontier_schemes(attention: Mapping[str, Attention]) -> list[Scheme]:
    """Return the payloads a frontier chooses from: whole images and patches through lossy codecs."""
    edge = attention[EDGE]
    # A sum that keeps the smallest share on average keeps one to three patches of most frames: right on scenes
    # like these, ruinous on any whose attention is a little off. So few are chosen by count.
    sums = [Rule("attention_sum", delta_for_share(edge, share)) for share in PATCH_SHARES[1:]]
    sums.append(Rule("attention_sum", HEADLINE_DELTA))
    tops = [Rule("top_k", share) for share in PATCH_SHARES]
    return list(
        chain(
            [Whole(), *(Whole("avif", quality) for quality in (45, 60, 30, 75))],
            (Whole("webp", quality) for quality in (75, 50, 25)),
            (Ranked(rule, "avif", 45) for rule in (*sums, *tops)),
            (Ranked(rule, "avif", quality) for quality in (60, 30) for rule in sums),
            [Whole("jpeg", 75)],
            (Ranked(rule, "webp", 75) for rule in sums),
        )
    )


def make_frontier(pairs: PairedPredictions) -> Frontier:
    """Return the frontier of bytes a frame against accuracy.

    Points are chosen on the calibration half and measured on the test half; those that another one then beats
    are gone. The first point offloads nothing.
    """
    found = frontier_candidates([each for each in candidates(pairs) if each.family != RAW_PATCHES])
    chosen = [each for each in found if each.test.figures.offload_ratio > 0 and _usable(each)]
    points = [_edge_alone(pairs), *(_frontier_point(pairs, each.test) for each in chosen)]
    rows = pareto_rows([each.bytes_per_frame for each in points], [each.accuracy for each in points])
    return Frontier(
        edge_model=pairs.edge.name,
        edge_hash=pairs.edge.weights_hash,
        server_model=pairs.server.name,
        server_hash=pairs.server.weights_hash,
        classes_hash=pairs.edge.classes_hash,
        data=pairs.data,
        accuracy_kind=pairs.accuracy_kind,
        images=pairs.num_images,
        h_min_quantiles=h_min_quantiles(pairs.h_min),
        accuracy_by_h_min=entropy_bins(pairs),
        points=tuple(points[row] for row in rows),
    )


def entropy_bins(pairs: PairedPredictions) -> tuple[HminBin, ...]:
    """Return both models' accuracy by equally filled bins of the edge's min-entropy, server on raw images."""
    inner = np.quantile(pairs.h_min, np.linspace(0, 1, ENTROPY_BINS + 1)[1:-1])
    highest = math.log2(len(pairs.edge.classes))
    edges = sorted({0.0, *(float(each) for each in inner), highest})
    bins = []
    for low, high in pairwise(edges):
        last = high == edges[-1]
        members = (pairs.h_min >= low) & ((pairs.h_min < high) | last)
        count = int(members.sum())
        if count:
            edge, server = pairs.edge_correct[members].mean(), pairs.server_correct[members].mean()
            bins.append(HminBin(low, high, count, float(edge), float(server)))
    return tuple(bins)


def operating_point(setting: Setting) -> OperatingPoint:
    """Return the edge's operating point of a gated setting."""
    assert setting.tau is not None
    assert setting.delta is not None
    assert setting.codec is not None
    return OperatingPoint(
        tau=setting.tau,
        delta=setting.delta,
        min_patches=setting.min_patches or 1,
        codec=setting.codec,
        quality=setting.quality or 0,
        selection=setting.selection or "attention_sum",
    )


def _usable(candidate: Candidate) -> bool:
    return candidate.test.setting.selection in SELECTORS


def _edge_alone(pairs: PairedPredictions) -> FrontierPoint:
    point = edge_only(pairs, TEST)
    low, high = point.accuracy_ci
    nothing = OperatingPoint(tau=math.inf, delta=1.0, codec="avif", quality=45)
    images = point.figures.correct.size
    return FrontierPoint(nothing, 0.0, 0.0, 0.0, 0.0, point.figures.accuracy, low, high, 0.0, images)


def _frontier_point(pairs: PairedPredictions, point: Point) -> FrontierPoint:
    """Return a point with the bytes of record values: the controller adds the framing that it measures."""
    setting, figures = point.setting, point.figures
    rows = ~pairs.calibration & offloaded(pairs.h_min, setting.tau or 0.0)
    values = value_bytes(pairs.answers[_scheme_of(pairs, setting)].wire_bytes[rows])
    low, high = point.accuracy_ci
    return FrontierPoint(
        point=operating_point(setting),
        offload_ratio=figures.offload_ratio,
        bytes_per_offload=float(values.mean()),
        bytes_per_offload_p95=float(np.quantile(values, 0.95)),
        bytes_per_frame=float(values.mean()) * figures.offload_ratio,
        accuracy=figures.accuracy,
        accuracy_lo=low,
        accuracy_hi=high,
        server_macs=figures.server_macs,
        images=figures.correct.size,
    )


def _scheme_of(pairs: PairedPredictions, setting: Setting) -> Scheme:
    """Return the payload of a setting that `frontier_schemes` led to."""
    codec, quality = setting.codec or "", setting.quality or 0
    if setting.method == "codec_gate":
        return Whole(codec, quality)
    rule = Rule(setting.selection or "", setting.delta or 0.0, setting.min_patches or 1)
    found = Ranked(rule, codec, quality)
    assert found in pairs.answers
    return found


def _corpus(request: CalibrateRequest, edge: FullModel, progress: Progress) -> Corpus:
    classes = edge.facts.classes
    if request.scenes is not None:
        number = min(request.scenes, request.limit or request.scenes)
        return scene_corpus(number, request.seed, classes, progress, calibration=True)
    assert request.data is not None
    if request.unlabelled:
        return unlabelled_corpus(request.data, request.limit)
    return load_corpus(
        data=request.data,
        labels=request.labels,
        scenes=None,
        seed=request.seed,
        limit=request.limit,
        classes=classes,
        progress=progress,
    )
