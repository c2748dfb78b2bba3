"""`saccade evaluate --stream`: one report a source and frame rate, and a page over all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from lab.evaluation.experiments import HEADLINE_DELTA, MAIN_SHARE
from lab.evaluation.inference_cache import ChunkStore, ServerAnswers, answer, joined
from lab.evaluation.loading import FullModel
from lab.evaluation.measurement import EdgeView, look
from lab.evaluation.models import forward_macs
from lab.evaluation.points import ALL
from lab.evaluation.report.results import both_ways_document, results_document, write_json, write_points_csv
from lab.evaluation.report.stream_page import StreamPart, overview, stream_page
from lab.evaluation.run import EvaluateRequest
from lab.evaluation.schemes import EDGE, Ranked, Scheme, Whole
from lab.evaluation.selection import Rule, delta_for_share
from lab.evaluation.stream.cameras import Camera, clip_cameras, rendered_cameras, track_cameras
from lab.evaluation.stream.choices import choose
from lab.evaluation.stream.frames import Frames
from lab.evaluation.stream.remembered import belief_rules, remembering_outcomes
from lab.evaluation.stream.rivals import (
    DEFAULT_CODECS,
    FULL_CODECS,
    GATED_CODECS,
    Judge,
    gated_video_outcomes,
    holding_outcomes,
    still_outcomes,
    video_outcomes,
)
from lab.evaluation.sweep import Payload
from lab.progress import Progress
from schemas.geometry import NUM_PATCHES, Attention

DEFAULT_CAMERAS: Final = 48
"""By the hashes of their names about half of them choose and the others report."""
ASKS: Final[tuple[Scheme, ...]] = tuple(Ranked(Rule("top_k", share), "avif", 45) for share in (0.06, 0.12))
"""What a belief asks with: the 12 or 24 most attended of 196 patches."""
SECONDS_BY_FPS: Final = {1.0: 80.0, 5.0: 60.0, 25.0: 12.0}
"""How long each camera is watched: slow streams longer, so that each rate sees several objects pass."""
OTHER_RATES_FRAMES: Final = 300
"""Of each camera, at any other rate."""


def evaluate_stream(request: EvaluateRequest, edge: FullModel, server: FullModel, progress: Progress) -> Path:
    """The reports of all sources and rates are written; returns the page over all of them."""
    begun = time.monotonic()
    pages: list[StreamPart] = []
    for fps in SECONDS_BY_FPS if request.fps is None else (request.fps,):
        seconds = SECONDS_BY_FPS.get(fps, OTHER_RATES_FRAMES / fps)
        watched = min(seconds, float(request.limit or seconds))
        if request.scenes is not None or (request.clips is None and request.tracks is None):
            number = request.scenes or DEFAULT_CAMERAS
            cameras = rendered_cameras(number, watched, fps, request.seed, progress)
            pages.append(measure_cameras(request, f"scenes-{fps:g}fps", cameras, edge, server, progress))
        if request.clips is not None:
            cameras = clip_cameras(request.clips, watched, fps)
            pages.append(measure_cameras(request, f"clips-{fps:g}fps", cameras, edge, server, progress))
    if request.tracks is not None:
        cameras = track_cameras(request.tracks, edge.facts.classes)
        pages.append(measure_cameras(request, "tracks", cameras, edge, server, progress))
    page = request.out / "report.md"
    page.write_text(overview(request.command, edge.facts, server.facts, pages, time.monotonic() - begun))
    return page


def measure_cameras(
    request: EvaluateRequest,
    name: str,
    cameras: Sequence[Camera],
    edge: FullModel,
    server: FullModel,
    progress: Progress,
) -> StreamPart:
    """Write one source's report at one rate; return what it says."""
    store = ChunkStore(request.cache)
    # Camera by camera: what is kept of one does not depend on how many there are.
    views = [look(camera.corpus, edge, store, progress, rollouts=False) for camera in cameras]
    wanted = still_schemes(request, np.concatenate([view.rows[EDGE] for view in views]))
    frames, payloads = recorded(cameras, views, wanted, server, store, progress)
    labelled = any((camera.truth >= 0).any() for camera in cameras)
    judge, gated = Judge(server, store, progress), server is not edge
    outcomes = list(still_outcomes(frames, payloads, gated=gated))
    if request.rivals:
        outcomes += holding_outcomes(frames, payloads)
        outcomes += video_outcomes(frames, FULL_CODECS if request.full else DEFAULT_CODECS, judge)
        if gated:
            outcomes += gated_video_outcomes(frames, GATED_CODECS, judge)
    if gated:
        asks = {scheme: payloads[scheme] for scheme in ASKS}
        progress.start("beliefs", 1)
        outcomes += remembering_outcomes(frames, asks, belief_rules())
        progress.advance()
    points = [frames.point(outcome) for outcome in outcomes]
    choices = choose(frames, outcomes)
    if choices.reported_on != ALL:
        points += [each.test for each in choices.frontier]
    out = request.out / name
    out.mkdir(parents=True, exist_ok=True)
    top1 = [float(frames.edge_correct[frames.scored].mean())]
    top1.append(float((payloads[Whole()][1].top1 == frames.truth)[frames.scored].mean()))
    data = f"{name}: {len(cameras)} cameras, {'labels' if labelled else 'server on the uncompressed frame'}"
    document = results_document(
        data, frames.num_frames, (edge.facts.name, top1[0]), (server.facts.name, top1[1]), points
    )
    write_json(out / "results.json", document)
    write_points_csv(out / "points.csv", points)
    write_json(out / "both_ways.json", both_ways_document(choices))
    part = StreamPart(name, points, choices)
    (out / "report.md").write_text(stream_page(data, frames, part, out / "plots"), encoding="utf-8")
    return part


def still_schemes(request: EvaluateRequest, attention: Attention) -> list[Scheme]:
    """Return the stills that are measured; (T, 196) attention of all frames decides what some of them keep."""
    wanted: list[Scheme] = [Whole(), *ASKS]
    if request.rivals or request.full:
        main = Rule("attention_sum", delta_for_share(attention, MAIN_SHARE))
        wanted += [Whole("avif", 45), Ranked(main, "avif", 45)]
    if request.full:
        headline = Rule("attention_sum", HEADLINE_DELTA)
        wanted += [Ranked(main), Ranked(headline), Ranked(headline, "avif", 45)]
        wanted += [Whole("avif", 30), Whole("avif", 60), Whole("webp", 75)]
    return wanted


def recorded(
    cameras: Sequence[Camera],
    views: Sequence[EdgeView],
    wanted: Sequence[Scheme],
    server: FullModel,
    store: ChunkStore,
    progress: Progress,
) -> tuple[Frames, dict[Scheme, tuple[Payload, ServerAnswers]]]:
    """Return the frames of all cameras, and by scheme what asking about each would cost and bring.

    Where no frame has a label, the server on the raw frame, `Whole()`, which must be among the `wanted`, is the truth.
    """
    found: dict[Scheme, list[ServerAnswers]] = {scheme: [] for scheme in wanted}
    progress.start("stills", sum(len(view.corpus.names) for view in views) * len(wanted))
    for view in views:
        for scheme, part in answer(view.corpus, server, wanted, view.attention, store, progress).items():
            found[scheme].append(part)
    answers = {scheme: joined(parts) for scheme, parts in found.items()}
    truth = np.concatenate([camera.truth for camera in cameras])
    frames = Frames(
        cameras=cameras,
        camera=np.repeat(np.arange(len(cameras)), [len(camera.crops) for camera in cameras]),
        truth=truth if (truth >= 0).any() else answers[Whole()].top1,
        edge_logits=np.concatenate([view.logits for view in views]),
        embedding=np.concatenate([view.embedding for view in views]),
        full_macs=float(forward_macs(NUM_PATCHES, server.facts.embed_dim, server.facts.depth)),
    )
    return frames, {scheme: (_payload(frames, each, server), each) for scheme, each in answers.items()}


def _payload(frames: Frames, answers: ServerAnswers, server: FullModel) -> Payload:
    facts = server.facts
    macs = [0.0, *(float(forward_macs(k, facts.embed_dim, facts.depth)) for k in range(1, NUM_PATCHES + 1))]
    return Payload(
        (answers.top1 == frames.truth).astype(np.float64),
        answers.sent_patches,
        answers.wire_bytes,
        np.asarray(macs)[answers.processed],
    )
