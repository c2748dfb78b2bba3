"""The streams that are measured: rendered cameras and labelled tracks with a truth for each frame, clips without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from lab.errors import EvaluationError
from lab.evaluation.corpus import UNLABELLED, MemoryCorpus, folder_corpus
from lab.progress import Progress
from lab.scenes.seeds import TEST_SEEDS
from lab.scenes.stream import SceneStream
from vit.preprocess import Pixels, resize_crop

TRACKS_A_CAMERA: Final = 5
TRACK_FPS: Final = 5.0
_TRACK_SEED: Final = 20260104
VIDEO_SUFFIXES: Final = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm"})


@dataclass(frozen=True)
class Camera:
    """One camera or clip at one frame rate.

    crops: (T, 224, 224, 3) uint8. truth: (T,) class index, -1 where a frame is not scored or has no label.
    """

    name: str
    fps: float
    crops: NDArray[np.uint8]
    truth: NDArray[np.int64]

    @cached_property
    def corpus(self) -> MemoryCorpus:
        """The frames as images of a measurement, in the order of time."""
        names = tuple(f"{self.name}/{idx}" for idx in range(len(self.crops)))
        return MemoryCorpus(f"{self.name} at {self.fps:g} frames/s", names, self.truth, list(self.crops))


def rendered_cameras(
    num_cameras: int,
    seconds: float,
    fps: float,
    seed: int,
    progress: Progress,
    *,
    seeds: Sequence[int] = TEST_SEEDS,
) -> list[Camera]:
    """Return rendered cameras of the test seeds, or others; the same arguments give the same frames."""
    num_frames = max(1, round(seconds * fps))
    progress.start(f"render {num_cameras} cameras at {fps:g} frames/s", num_cameras * num_frames)
    cameras = []
    for number in range(num_cameras):
        frames = SceneStream(seeds[seed * 10_000 + number], fps=fps)
        crops, truth = [], []
        for image, label in islice(frames, num_frames):
            crops.append(resize_crop(image))
            truth.append(label)
            progress.advance()
        cameras.append(Camera(f"scene-{number}", fps, np.stack(crops), np.asarray(truth, dtype=np.int64)))
    return cameras


def clip_cameras(folder: Path, seconds: float, fps: float) -> list[Camera]:
    """Return the clips in `folder` at `fps`, or at their own lower rate, at most `seconds` each.

    Raises:
        EvaluationError: there is no readable clip.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise EvaluationError(f"{folder}: no clips ({', '.join(sorted(VIDEO_SUFFIXES))})")
    return [_clip(path, seconds, fps) for path in paths]


def track_cameras(folder: Path, classes: Sequence[str]) -> list[Camera]:
    """Return labelled tracks strung into cameras of `TRACKS_A_CAMERA` each, in an order that a seed decides.

    Args:
        folder: `CLASS/TRACK_FRAME.jpg`, frames of one object that comes nearer, by rising FRAME. Tracks have no clock:
            they are taken as `TRACK_FPS`.
        classes: the model's class names, which the folders are held against.

    Raises:
        EvaluationError: there are no tracks, or the folders are not the model's classes.
    """
    images = folder_corpus(folder, classes)
    tracks: dict[str, list[int]] = {}
    for idx, name in enumerate(images.names):
        tracks.setdefault(name.rpartition("_")[0], []).append(idx)
    names = sorted(tracks)
    order = [names[place] for place in np.random.default_rng(_TRACK_SEED).permutation(len(names))]
    cameras = []
    for number, first in enumerate(range(0, len(order), TRACKS_A_CAMERA)):
        rows = [idx for name in order[first : first + TRACKS_A_CAMERA] for idx in sorted(tracks[name])]
        crops = np.stack([images.crop(idx) for idx in rows])
        cameras.append(Camera(f"tracks-{number}", TRACK_FPS, crops, images.labels[rows]))
    return cameras


def _clip(path: Path, seconds: float, fps: float) -> Camera:
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            own = float(stream.average_rate or stream.base_rate or fps)
            rate = min(fps, own)
            wanted = max(1, round(seconds * rate))
            every = own / rate
            crops = list(islice(_picked(container.decode(stream), every), wanted))
    except (FFmpegError, OSError, IndexError) as error:
        raise EvaluationError(f"{path.name}: no readable video: {error}") from None
    if not crops:
        raise EvaluationError(f"{path.name}: a video without frames")
    unknown = np.full(len(crops), UNLABELLED, dtype=np.int64)
    return Camera(path.stem, rate, np.stack(crops), unknown)


def _picked(frames: Iterator[av.VideoFrame], every: float) -> Iterator[Pixels]:
    """Yield the crops of every `every`-th frame (>= 1, may be fractional)."""
    due = 0.0
    for number, frame in enumerate(frames):
        if number >= due:
            due += every
            yield resize_crop(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
