"""What an edge saves by not classifying still frames again, and what that does to the answers.

    python -m lab.benchmarks.stillness [--rounds N] [--cameras N] [--seconds S] [--json FILE]

`--rounds 0` leaves out the costs, `--cameras 0` the accuracy.

Cost: the processor time of decoding, resizing and the model for every frame, against glances at every frame and the
rest for those that changed. One thread, batches of 8, in turns; a ratio is the median over rounds. Kafka and Redis
cost the same in both and are left out. The cameras stand: rendered ones with sensor noise, before which nothing
moves, an object passes once a minute, or one follows the other, and a real clip where it is at hand.

Accuracy: other rendered cameras that stand, the shipped pair with its belief; every frame classified, against still
frames held. At a few thresholds an unsure frame asks the server, whose answer is there two frames later.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from gating.belief import CameraBelief, Step
from gating.entropy import min_entropy_bits, softmax
from gating.stillness import TILES, CameraStillness, Tiles
from imaging.decode import decode_image
from imaging.glance import glance
from lab.benchmarks.models import deit_tiny, shipped
from lab.benchmarks.recorded import MAX_PIXELS, Shot, as_jpeg
from lab.benchmarks.report import Figure, options, publish
from lab.evaluation.bootstrap import mean_interval
from lab.evaluation.stream.beliefs import MAX_LATENCY_S
from lab.scenes.seeds import TEST_SEEDS
from lab.scenes.stream import QUIET_S, SceneStream
from schemas.belief_rule import BeliefRule
from schemas.frontier import load_frontier
from schemas.geometry import NUM_PATCHES
from vit import SHIPPED_FRONTIER
from vit.backends import EdgeOutput
from vit.edge_forward import EdgeForward
from vit.packed_forward import PackedForward
from vit.preprocess import crop_box, to_patches
from vit.resize import one_thread, resize_crop_fast

Probabilities = NDArray[np.float64]
FPS = 5.0
BATCH = 8
ONCE_A_MINUTE_S = (45.0, 65.0)
NEVER_S = (1e6, 1e6)
CLIP = Path("../shared/data/clips/car-detection.mp4")
TAUS = (np.inf, 0.9, 0.35)
DELAY = 2
GOAL_RATIO, GOAL_POINTS = 3.0, 0.2


def rendered(seed: int, seconds: float, quiet_s: tuple[float, float] = QUIET_S) -> list[Shot]:
    """Return a rendered camera that stands, with sensor noise and a JPEG camera's coding."""
    stream = SceneStream(TEST_SEEDS[seed], fps=FPS, sway_px=0.0, quiet_s=quiet_s)
    return [Shot(as_jpeg(image), truth) for image, truth in islice(stream, round(FPS * seconds))]


def clip(path: Path, seconds: float) -> list[Shot]:
    """Return a clip's frames at `FPS`, as a camera would send them."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        every = float(video.average_rate or FPS) / FPS
        frames = (frame for number, frame in enumerate(container.decode(video)) if number % every < 1)
        return [
            Shot(as_jpeg(frame.to_ndarray(format="rgb24")), -1)
            for frame in islice(frames, round(FPS * seconds))
        ]


def tiles_of(shot: Shot) -> Tiles:
    """Return what a frame roughly shows, as the edge worker glances at it."""
    image = decode_image(shot.image, "jpeg", MAX_PIXELS)
    size = (image.shape[1], image.shape[0])
    found = glance(shot.image, MAX_PIXELS, size, crop_box(*size), TILES)
    assert found is not None
    return found


def classify(forward: EdgeForward, shots: Sequence[Shot]) -> None:
    """Decode, resize and classify, as the edge worker does."""
    for first in range(0, len(shots), BATCH):
        part = shots[first : first + BATCH]
        forward(np.stack([resize_crop_fast(decode_image(shot.image, "jpeg", MAX_PIXELS)) for shot in part]))


def held(tiles: Iterator[Tiles]) -> list[int]:
    """Return for each frame the number of the classified one that it takes its answer from; its own mostly."""
    camera: CameraStillness[int] = CameraStillness()
    found = []
    for number, each in enumerate(tiles):
        before = camera.look(number, round(number / FPS * 1e9), each, number)
        found.append(number if before is None else before)
    return found


def costs(
    title: str, forward: EdgeForward, shots: Sequence[Shot], rounds: int, goal: float | None
) -> list[Figure]:
    """Return how many cameras at 5 frames/s a core carries with every frame classified, and without still ones."""
    size = _size(shots[0])
    window = crop_box(*size)
    every, ours, ratios = [], [], []
    classify(forward, shots[: 2 * BATCH])  # warms up
    for _ in range(rounds):
        began_s = time.thread_time()
        classify(forward, shots)
        middle_s = time.thread_time()
        seen = (glance(shot.image, MAX_PIXELS, size, window, TILES) for shot in shots)
        rests_on = held(each for each in seen if each is not None)
        classify(forward, [shot for index, shot in enumerate(shots) if rests_on[index] == index])
        ended_s = time.thread_time()
        every.append((middle_s - began_s) / len(shots))
        ours.append((ended_s - middle_s) / len(shots))
        ratios.append(every[-1] / ours[-1])
    still = np.mean([index != before for index, before in enumerate(rests_on)])
    listed = ", ".join(f"{each:.2f}" for each in ratios)
    return [
        Figure(f"{title}: cameras a core, all classified", 1 / (FPS * statistics.median(every)), "cameras"),
        Figure(f"{title}: cameras a core, still frames held", 1 / (FPS * statistics.median(ours)), "cameras"),
        Figure(
            f"{title}: cameras for the same time",
            statistics.median(ratios),
            "x",
            goal,
            note=f"{still:.0%} still; median of {listed}",
        ),
    ]


def _size(shot: Shot) -> tuple[int, int]:
    height, width = decode_image(shot.image, "jpeg", MAX_PIXELS).shape[:2]
    return width, height


@dataclass(frozen=True)
class Watched:
    """One camera with what both models say of each frame, and which frame's answer each takes."""

    shots: Sequence[Shot]
    crops: np.ndarray
    outputs: EdgeOutput
    rests_on: Sequence[int]
    server: PackedForward
    _told: dict[int, Probabilities] = field(default_factory=dict)

    @property
    def truth(self) -> np.ndarray:
        return np.array([shot.truth for shot in self.shots])

    def told(self, number: int) -> Probabilities:
        """The server's (C,) probabilities of a whole frame, computed once."""
        if number not in self._told:
            patches = to_patches(self.crops[number])
            self._told[number] = softmax(self.server([patches], [np.arange(NUM_PATCHES)]))[0]
        return self._told[number]


def watched(seed: int, seconds: float, edge: EdgeForward, server: PackedForward) -> Watched:
    """Return a standing camera that both models have seen."""
    shots = rendered(seed, seconds)
    crops = np.stack([resize_crop_fast(decode_image(shot.image, "jpeg", MAX_PIXELS)) for shot in shots])
    parts = [edge(crops[first : first + BATCH]) for first in range(0, len(crops), BATCH)]
    outputs = EdgeOutput(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("logits", "attention", "embedding")
        )
    )
    return Watched(shots, crops, outputs, held(tiles_of(shot) for shot in shots), server)


def answered(
    camera: Watched, rests_on: Sequence[int], rule: BeliefRule, tau: float
) -> tuple[np.ndarray, int]:
    """Return the final label of every frame, and how many asked the server."""
    belief, outputs = CameraBelief(rule, MAX_LATENCY_S), camera.outputs
    labels = np.empty(len(rests_on), dtype=np.int64)
    in_doubt: set[int] = set()
    asked: list[int] = []

    def settle(steps: Sequence[Step]) -> None:
        for step in steps:
            labels[step.seq] = step.logits.argmax()

    for number, before in enumerate(rests_on):
        if number - DELAY in asked:
            settle(belief.answer(number - DELAY, camera.told(number - DELAY)))
        if before in in_doubt:
            before = number  # noqa: PLW2901 - it is looked at again
        step = belief.see(
            number,
            round(number / FPS * 1e9),
            outputs.logits[before],
            outputs.embedding[before],
            still=before != number,
        )
        settle([step])
        is_unsure = bool(min_entropy_bits(step.logits) >= tau)
        if is_unsure and before == number:
            in_doubt.add(number)
        asks, ended = belief.judged(step, unsure=is_unsure, now_s=number / FPS)
        settle(ended)
        if asks:
            asked.append(number)
    for number in asked[-DELAY:]:
        settle(belief.answer(number, camera.told(number)))
    return labels, len(asked)


def accuracies(num_cameras: int, seconds: float) -> list[Figure]:
    """Return how often each way is right, at thresholds from never asking to asking often."""
    edge = EdgeForward(shipped("edge").load(), threads=1)
    server = PackedForward(shipped("server").load(), threads=1)
    rule = load_frontier(SHIPPED_FRONTIER).belief
    assert rule is not None
    cameras = [watched(100 + seed, seconds, edge, server) for seed in range(num_cameras)]
    frames = sum(len(camera.shots) for camera in cameras)
    figures = []
    for tau in TAUS:
        right: dict[str, list[np.ndarray]] = {"all": [], "held": []}
        asks = dict.fromkeys(right, 0)
        for camera in cameras:
            for way, rests_on in (("all", range(len(camera.shots))), ("held", camera.rests_on)):
                labels, asked = answered(camera, rests_on, rule, tau)
                right[way].append((labels == camera.truth)[camera.truth >= 0])
                asks[way] += asked
        both = {way: 100 * np.concatenate(each).mean() for way, each in right.items()}
        gained = np.concatenate(right["held"]).astype(float) - np.concatenate(right["all"])
        of_camera = np.repeat(np.arange(num_cameras), [len(each) for each in right["all"]])
        low, high = mean_interval(gained, of_camera)
        told = (
            f"asks {asks['all'] / frames:.1%} of the frames, with still ones held {asks['held'] / frames:.1%}"
        )
        name = "edge's belief alone" if np.isinf(tau) else f"pair at tau {tau:g}"
        figures += [
            Figure(f"{name}: all classified", both["all"], "%", note=told),
            Figure(f"{name}: still frames held", both["held"], "%"),
            Figure(
                f"{name}: difference",
                both["held"] - both["all"],
                "points",
                -GOAL_POINTS,
                note=f"95 %: {100 * low:+.2f} to {100 * high:+.2f}; {num_cameras} cameras of {seconds:g} s",
            ),
        ]
    still = np.mean([index != before for camera in cameras for index, before in enumerate(camera.rests_on)])
    return [*figures, Figure("accuracy: frames held", 100 * float(still), "%")]


def all_costs(rounds: int) -> list[Figure]:
    """Return the costs on every scene; on the clip only where it is at hand."""
    scenes = {
        "nothing moves": (rendered(1, 20.0, NEVER_S), GOAL_RATIO),
        "an object a minute": (rendered(1, 60.0, ONCE_A_MINUTE_S), GOAL_RATIO),
        "busy road": (rendered(1, 30.0), None),
    }
    if CLIP.exists():
        scenes["real clip of a gate with cars"] = (clip(CLIP, 30.0), None)
    figures = []
    for chosen in (deit_tiny(), shipped("edge")):
        forward = EdgeForward(chosen.load(), threads=1)
        for scene, (shots, goal) in scenes.items():
            figures += costs(f"{chosen.title}, {scene}", forward, shots, rounds, goal)
    return figures


def measure(rounds: int, num_cameras: int, seconds: float) -> list[Figure]:
    """Return every figure that is wanted."""
    one_thread()
    figures = all_costs(rounds) if rounds else []
    return figures + (accuracies(num_cameras, seconds) if num_cameras else [])


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cameras", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    publish(measure(arguments.rounds, arguments.cameras, arguments.seconds), arguments.json)


if __name__ == "__main__":
    main()
