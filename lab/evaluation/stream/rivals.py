"""What every method does to the frames of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.corpus import MemoryCorpus
from lab.evaluation.gates import offloaded, tau_grid, threshold_for_ratio
from lab.evaluation.inference_cache import ChunkStore, ServerAnswers, answer
from lab.evaluation.methods import server_only_setting, setting_of
from lab.evaluation.models import PatchModel
from lab.evaluation.points import Setting, with_tau
from lab.evaluation.schemes import Scheme, Whole
from lab.evaluation.stream.frames import Floats, Frames, Ints, Mask, Outcome
from lab.evaluation.stream.video import VideoCodec, through_codec
from lab.evaluation.sweep import Payload
from lab.progress import Progress

GATED_RATIOS: Final = (0.2, 0.5)
HOLD_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
DIFFERENCES: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
DEFAULT_CODECS: Final = (
    *(VideoCodec("h264", crf, periodic_keyframes=False) for crf in (32, 38, 44)),
    *(VideoCodec("av1", crf, periodic_keyframes=False) for crf in (50, 57)),
)
"""One keyframe and no more: fewer bytes than any camera that somebody may tune in to later."""
GATED_CODECS: Final = (VideoCodec("h264", 38, False), VideoCodec("av1", 50, False))
FULL_CODECS: Final = (
    *(
        VideoCodec("h264", crf, periodic)
        for crf in (20, 23, 26, 29, 32, 35, 38, 41)
        for periodic in (True, False)
    ),
    *(VideoCodec("av1", crf, periodic) for crf in (28, 35, 43, 50, 57) for periodic in (True, False)),
)


@dataclass(frozen=True)
class Judge:
    """The server that answers decoded frames, with its cache."""

    server: PatchModel
    store: ChunkStore
    progress: Progress


def still_outcomes(
    frames: Frames, payloads: Mapping[Scheme, tuple[Payload, ServerAnswers]], *, gated: bool
) -> Iterator[Outcome]:
    """Yield edge only, every frame as a still, and stills or patches behind the gate (`gated`)."""
    nothing = np.zeros(frames.num_frames)
    none_sent = nothing.astype(np.bool_)
    yield Outcome(Setting("edge_only", None, None), none_sent, Payload(nothing, nothing, nothing, nothing))
    everything = ~none_sent
    for scheme, (payload, _) in payloads.items():
        setting = setting_of(scheme)
        assert setting is not None
        if isinstance(scheme, Whole):
            yield Outcome(server_only_setting(scheme), everything, payload)
        else:
            yield Outcome(with_tau(setting, 0.0), everything, payload)
        for tau in tau_grid(frames.h_min) if gated else ():
            yield Outcome(with_tau(setting, tau), offloaded(frames.h_min, tau), payload)


def video_outcomes(frames: Frames, codecs: Sequence[VideoCodec], judge: Judge) -> Iterator[Outcome]:
    """Yield every frame as video to the server."""
    everything = np.ones(frames.num_frames, dtype=np.bool_)
    for codec in codecs:
        payload = _video_payload(frames, codec, everything, judge)
        yield Outcome(_video_setting("server_only", codec, None, 0.0), everything, payload)


def gated_video_outcomes(frames: Frames, codecs: Sequence[VideoCodec], judge: Judge) -> Iterator[Outcome]:
    """Yield video of the gated frames only: the encoder sees no other, the edge answers the rest."""
    for ratio in GATED_RATIOS:
        tau = threshold_for_ratio(frames.h_min, ratio)
        fed = offloaded(frames.h_min, tau)
        if not fed.any():
            continue
        for codec in codecs:
            payload = _video_payload(frames, codec, fed, judge)
            yield Outcome(_video_setting("codec_gate", codec, "min_entropy", tau), fed, payload)


def holding_outcomes(
    frames: Frames, payloads: Mapping[Scheme, tuple[Payload, ServerAnswers]]
) -> Iterator[Outcome]:
    """Yield stills of some frames, whose answer stands until the next: every n-th, and when the picture
    changes.
    """
    pictures = [thumbnails(camera.crops) for camera in frames.cameras]
    for scheme, (payload, answers) in payloads.items():
        if not isinstance(scheme, Whole) or scheme.codec == "raw":
            continue
        setting = replace(server_only_setting(scheme), method="codec_gate")
        for n in sorted({max(1, round(seconds * frames.cameras[0].fps)) for seconds in HOLD_SECONDS} - {1}):
            sent = np.concatenate([every_nth(len(camera.crops), n) for camera in frames.cameras])
            named = replace(setting, gate="every_nth", tau=float(n))
            yield Outcome(named, sent, payload, _held_correct(frames, answers.top1, sent))
        for threshold in DIFFERENCES:
            sent = np.concatenate([changed(each, threshold) for each in pictures])
            named = replace(setting, gate="frame_difference", tau=threshold)
            yield Outcome(named, sent, payload, _held_correct(frames, answers.top1, sent))


def _held_correct(frames: Frames, top1: Ints, sent: Mask) -> Mask:
    standing = np.empty_like(top1)
    for number in range(len(frames.cameras)):
        rows = frames.rows_of(number)
        standing[rows] = held(top1[rows], sent[rows])
    return np.asarray(standing == frames.truth)


def _video_payload(frames: Frames, codec: VideoCodec, fed: Mask, judge: Judge) -> Payload:
    """Return the payload of the frames that are `fed` to one encoder a camera; the others cost nothing."""
    top1 = np.full(frames.num_frames, -2, dtype=np.int64)
    wire: Floats = np.zeros(frames.num_frames)
    for number, camera in enumerate(frames.cameras):
        rows = frames.rows_of(number)
        chosen = fed[rows]
        if not chosen.any():
            continue
        coded = through_codec(camera.crops[chosen], codec, camera.fps * float(chosen.mean()))
        names = tuple(f"{camera.name}/{idx}" for idx in np.flatnonzero(chosen))
        labels = frames.truth[rows][chosen]
        corpus = MemoryCorpus(f"{camera.name} as {codec.label}", names, labels, tuple(coded.frames))
        judge.progress.start(f"{codec.label} crf {codec.crf}, {camera.name}", len(names))
        answers = answer(corpus, judge.server, [Whole()], {}, judge.store, judge.progress)[Whole()]
        top1[rows[chosen]] = answers.top1
        wire[rows[chosen]] = coded.wire_bytes
    return frames.whole_payload(top1, wire)


def _video_setting(method: str, codec: VideoCodec, gate: str | None, tau: float) -> Setting:
    return Setting(method, gate, tau, "attention_sum", 1.0, 1, codec.label, codec.crf)


def every_nth(num_frames: int, n: int) -> Mask:
    """Return (T,) which frames are sent: the first and every n-th after it."""
    return np.asarray(np.arange(num_frames) % n == 0)


def changed(thumbnails: NDArray[np.float32], threshold: float) -> Mask:
    """Return (T,) which frames are sent: those that differ from the last one sent.

    Args:
        thumbnails: (T, h, w) grey levels 0..255.
        threshold: mean absolute difference in grey levels from which a frame is sent.
    """
    sent = np.zeros(len(thumbnails), dtype=np.bool_)
    reference = None
    for idx, picture in enumerate(thumbnails):
        if reference is None or float(np.abs(picture - reference).mean()) >= threshold:
            sent[idx] = True
            reference = picture
    return sent


def held(answers: Ints, sent: Mask) -> Ints:
    """Return (T,) the answer that stands at each frame: that of the last frame sent, the first of all."""
    if not sent[0]:
        raise ValueError("sent: the first frame must be sent, or nothing stands before it")
    last = np.maximum.accumulate(np.where(sent, np.arange(sent.size), 0))
    return np.asarray(answers[last])


def thumbnails(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (T, 28, 28) grey means of 8x8 blocks of (T, 224, 224, 3) crops."""
    count, side, _, _ = crops.shape
    blocks = crops.reshape(count, side // 8, 8, side // 8, 8 * 3)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32))
