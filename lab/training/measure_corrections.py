"""What a few corrected labels do to a pair's heads: ``python -m lab.training.measure_corrections``.

The shipped pair meets rendered scenes under another light: darker, bluish, noisy. Heads are bent by labels of the first
half, and judged on the second half and on scenes in the usual light. No such scene chose any constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from lab.progress import Progress, TerminalProgress
from lab.scenes.seeds import TEST_SEEDS
from lab.scenes.views import render_view
from lab.training.heads import REHEARSAL, bent_head, made_up_embeddings, starting_head
from lab.training.pool import camera_crop, quality_of
from vit.edge_forward import EdgeForward
from vit.model import Model
from vit.process import available_threads
from vit.weights import load_model

OTHER_LIGHT: Final = range(TEST_SEEDS.start + 7 * 10**8, TEST_SEEDS.start + 7 * 10**8 + 1_400)
USUAL_LIGHT: Final = range(TEST_SEEDS.start + 8 * 10**8, TEST_SEEDS.start + 8 * 10**8 + 700)
DRAWS: Final = 5
UNSURE: Final = 0.57
"""Below this probability of its answer the edge is unsure of a scene."""
_BATCH: Final = 16

Crops = Iterator[tuple[NDArray[np.uint8], int]]


@dataclass(frozen=True, slots=True)
class Seen:
    """Embeddings (n, D) of one model, and the truths (n,) of the scenes."""

    embedded: NDArray[np.float32]
    truths: NDArray[np.int64]


def crops_of(seeds: range, light: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Crops:
    """Yield the crop and the class of each scene that has one."""
    for seed in seeds:
        view = render_view(seed)
        if view.truth >= 0:
            yield light(camera_crop(view.image, quality_of(seed))), view.truth


def another_light(crop: NDArray[np.uint8], *, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return the crop darker, bluish and noisy."""
    shifted = crop * np.array([0.75, 0.55, 0.45]) + np.array([5, 20, 40]) + random.normal(0, 12, crop.shape)
    return np.asarray(shifted.clip(0, 255), np.uint8)


def see(model: Model, crops: list[NDArray[np.uint8]], truths: list[int]) -> Seen:
    """Return what the model makes of the crops, whole."""
    forward = EdgeForward(model, threads=available_threads())
    parts = [
        forward(np.stack(crops[start : start + _BATCH])).embedding for start in range(0, len(crops), _BATCH)
    ]
    return Seen(np.concatenate(parts), np.array(truths, np.int64))


def right(head: torch.nn.Linear, seen: Seen) -> NDArray[np.bool_]:
    """Return which scenes the head gets right, (n,)."""
    with torch.inference_mode():
        return np.asarray(head(torch.from_numpy(seen.embedded)).argmax(1).numpy() == seen.truths)


def half(seen: Seen, part: slice) -> Seen:
    """Return a part of what was seen."""
    return Seen(seen.embedded[part], seen.truths[part])


def measure(progress: Progress) -> list[tuple[str, list[float]]]:
    """Return rows of (learnt from, [edge, server under another light, edge, server in the usual light])."""
    random = np.random.default_rng(1)
    models = load_model("shipped:edge"), load_model("shipped:server")
    progress.say("rendering scenes")
    other = list(zip(*crops_of(OTHER_LIGHT, lambda crop: another_light(crop, random=random)), strict=True))
    usual = list(zip(*crops_of(USUAL_LIGHT, lambda crop: crop), strict=True))
    seen = [(see(model, *map(list, other)), see(model, *map(list, usual))) for model in models]
    middle = len(other[0]) // 2
    edge_head = starting_head(models[0], models[0].classes)
    learnt = half(seen[0][0], slice(middle))
    with torch.inference_mode():
        sure = edge_head(torch.from_numpy(learnt.embedded)).softmax(1).max(1).values.numpy()
    errors, unsure = np.flatnonzero(~right(edge_head, learnt)), np.flatnonzero(sure < UNSURE)
    every = np.arange(middle)

    def row(chosen: NDArray[np.int64], count: int, rehearsal: float = REHEARSAL) -> list[float]:
        draws = 1 if count == middle else DRAWS
        found = []
        for _ in range(draws):
            picked = random.permutation(chosen)[:count]
            heads = [
                bent_head(
                    both[0].embedded[picked],
                    both[0].truths[picked],
                    starting_head(model, model.classes),
                    made_up_embeddings(model),
                    rehearsal=rehearsal,
                )
                if count
                else starting_head(model, model.classes)
                for model, both in zip(models, seen, strict=True)
            ]
            found.append(
                [
                    right(head, half(both[0], slice(middle, None))).mean()
                    for head, both in zip(heads, seen, strict=True)
                ]
                + [right(head, both[1]).mean() for head, both in zip(heads, seen, strict=True)]
            )
        return [float(value) for value in np.mean(found, 0)]

    return [
        ("nothing", row(every, 0)),
        ("10 errors of the edge, without rehearsal", row(errors, 10, rehearsal=0.0)),
        ("10 errors of the edge", row(errors, 10)),
        ("40 errors of the edge", row(errors, 40)),
        ("40 scenes that the edge was unsure of", row(unsure, 40)),
        ("100 scenes that the edge was unsure of", row(unsure, 100)),
        (f"all {middle}", row(every, middle)),
    ]


def main() -> None:
    """Print the table of docs/models.md."""
    with TerminalProgress() as progress:
        rows = measure(progress)
    print("| learnt from | another light | the usual light |\n|---|---|---|")  # noqa: T201
    for name, values in rows:
        edge, server, edge_usual, server_usual = (f"{100 * value:.1f}" for value in values)
        print(f"| {name} | {edge} / {server} | {edge_usual} / {server_usual} |")  # noqa: T201


if __name__ == "__main__":
    main()
