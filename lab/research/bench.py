"""What all methods of `saccade research` share: network, pictures, lengths of training, and a row of the table."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lab.evaluation.bootstrap import Interval, mean_interval
from lab.evaluation.wire import wire_bytes
from lab.progress import Progress
from lab.research.channels import Floats
from lab.research.cost import Cost, fastest_ms
from lab.research.fitting import Schedule, fit
from lab.research.pictures import Pictures, drawn_tracks, read_tracks
from lab.research.split_cnn import SplitCNN, Work, build, normalised, probabilities, work_by_split

HELD_ONE_OF: Final = 6
REFERENCE_EPOCHS: Final = 60
"""Of the network, without attention for all others and with it for AECNN."""
PASSAGE_EPOCHS: Final = 10
WHOLE_EPOCHS: Final = 30
"""Of every passage: first with the network as it is, then of all together."""
EXIT_EPOCHS: Final = 20
CODE_EPOCHS: Final = 30


@dataclass(frozen=True)
class RivalsRequest:
    """What to measure.

    data: folder with train/ and test/ of CLASS/TRACK_FRAME.jpg; None = drawn pictures. length multiplies all epochs.
    limit: at most so many pictures of each part. pair: Saccade's edge and server; where they do not
    know these classes they get new heads. None = fine-tune the shipped pair on train/.
    """

    data: Path | None
    out: Path
    network: str = "resnet50"
    weights: Path | None = None
    small_stem: bool = False
    split: str = "layer2"
    side: int = 64
    length: float = 1.0
    limit: int | None = None
    seed: int = 1
    bfloat16: bool = False
    pair: tuple[str, str] | None = None


def quick(out: Path, *, split: str, seed: int, limit: int | None) -> RivalsRequest:
    """Return a request that ends in a minute or two: tiny net, drawn pictures. Its figures say nothing about signs."""
    return RivalsRequest(None, out, "resnet10x4", split=split, side=32, length=0.25, limit=limit, seed=seed)


@dataclass(frozen=True)
class Bench:
    """The network that all methods start from, and pictures to learn from, to fit decisions on, to be judged by.

    start: the network before any training here; AECNN, whose attention learns with it, begins there.
    """

    request: RivalsRequest
    start: SplitCNN
    net: SplitCNN
    learn: Pictures
    held: Pictures
    test: Pictures
    works: list[Work]
    progress: Progress

    @property
    def work(self) -> Work:
        """The work at the split point."""
        return next(each for each in self.works if each.split == self.request.split)

    @cached_property
    def unsplit(self) -> Cost:
        """The network on the server."""
        one = normalised(self.test.pixels[:1])
        with torch.inference_mode():
            server_ms = fastest_ms(lambda: self.net(one))
        return Cost(0.0, self.work.device_macs + self.work.server_macs, 0.0, server_ms)

    def schedule(self, epochs: float) -> Schedule:
        """Return a run of so many epochs at the request's length and seed."""
        batch = 16 if self.request.data is None else 64
        return Schedule(
            epochs * self.request.length, batch=batch, seed=self.request.seed, bfloat16=self.request.bfloat16
        )


class TableRow(NamedTuple):
    """A method at one setting, over the test pictures.

    payload_bytes is the mean of what a picture sends, 0 for kept ones, and wire_bytes the same with record, Kafka and
    TCP/IP around it; ideal_bytes and plain_bytes are the coder's rate estimate and the size without a coder. `cost` is
    the mean over all pictures. right: (N,) of the test pictures; empty where the rows are of other frames.
    """

    method: str
    setting: str
    accuracy: float
    interval: Interval
    sent: float
    payload_bytes: float
    wire_bytes: float
    ideal_bytes: float | None
    plain_bytes: float | None
    cost: Cost
    right: NDArray[np.bool_]


def prepare(request: RivalsRequest, progress: Progress) -> Bench:
    """Return the bench: pictures read, reference network trained or taken from the request's folder."""
    if request.data is None:
        count = 240 if request.limit is None else max(24, request.limit // 4)
        everything, test = (drawn_tracks(n, request.side, seed=n) for n in (count, count // 2))
    else:
        everything, test = (
            read_tracks(request.data / part, request.side, limit=request.limit) for part in ("train", "test")
        )
    learn, held = everything.hold_out(HELD_ONE_OF)
    start = build(
        request.network,
        len(learn.classes),
        small_stem=request.small_stem,
        weights=request.weights,
        seed=request.seed,
    )
    works = work_by_split(start, request.side)
    bench = Bench(request, start, deepcopy(start), learn, held, test, works, progress)
    _train(bench, bench.net, bench.schedule(REFERENCE_EPOCHS), "reference.pt")
    return bench


def reference_rows(bench: Bench) -> list[TableRow]:
    """Return the unsplit network, and the same trained on for as many epochs as the passages are."""
    further = deepcopy(bench.net)
    _train(bench, further, bench.schedule(PASSAGE_EPOCHS + WHOLE_EPOCHS), "further.pt")
    raw = np.full(len(bench.test), float(bench.test.pixels[0].size))
    rows = []
    for net, setting in ((bench.net, "raw pixels"), (further, "raw pixels, trained on")):
        right = probabilities(net, bench.test.pixels).argmax(1) == bench.test.truth
        rows.append(row(bench, ("unsplit", setting), right, raw, bench.unsplit))
    return rows


def _train(bench: Bench, net: SplitCNN, schedule: Schedule, file: str) -> None:
    def loss_of(pixels: Tensor, truth: Tensor) -> Tensor:
        return functional.cross_entropy(net(pixels), truth)

    fit(net, [net], loss_of, bench.learn, schedule, bench.request.out / file, bench.progress)


def row(
    bench: Bench,
    name: tuple[str, str],
    right: NDArray[np.bool_],
    sizes: Floats,
    cost: Cost,
    *,
    sent: NDArray[np.bool_] | None = None,
    ideal: float | None = None,
    plain: float | None = None,
) -> TableRow:
    """Return a row from which pictures (N,) are right, the payload each would send (N,), and which are sent (N,)."""
    send = np.ones(len(right), np.bool_) if sent is None else sent
    values = right.astype(np.float64)
    share = float(send.mean())
    return TableRow(
        *name,
        accuracy=float(values.mean()),
        interval=mean_interval(values, bench.test.tracks),
        sent=share,
        payload_bytes=float((sizes * send).mean()),
        wire_bytes=float((np.array([wire_bytes(int(size)) for size in sizes]) * send).mean()),
        ideal_bytes=ideal,
        plain_bytes=plain,
        cost=cost.where_sent(share),
        right=right,
    )


def all_rows(rows: Sequence[TableRow], method: str) -> list[TableRow]:
    """Return the rows of a method by rising payload."""
    return sorted((each for each in rows if each.method == method), key=lambda each: each.payload_bytes)
