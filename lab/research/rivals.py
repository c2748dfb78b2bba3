"""Rows of the table: AECNN and BottleNet++ through the cut, and whole pictures by codec, behind a gate or not."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lab.evaluation.bootstrap import Interval, paired_difference
from lab.research import early_exit as td
from lab.research.aecnn import ChannelPruning, train_aecnn, train_attention
from lab.research.bench import (
    PASSAGE_EPOCHS,
    REFERENCE_EPOCHS,
    WHOLE_EPOCHS,
    Bench,
    TableRow,
    all_rows,
    row,
)
from lab.research.bottleneck import Answers, answer
from lab.research.bottlenet import train_bottlenet
from lab.research.channels import Floats
from lab.research.cost import Cost
from lab.research.split_cnn import SplitCNN, probabilities

AECNN: Final = "AECNN (reconstruction)"
BOTTLENET: Final = "BottleNet++"
GATE_LOSS: Final = 0.005
"""A gate may lose so much accuracy on the held-out pictures against sending all."""

Codec = tuple[Literal["JPEG", "WEBP"], int]
"""An image codec and its quality."""
QUALITIES: Final[tuple[Codec, ...]] = (("JPEG", 10), ("JPEG", 40), ("WEBP", 0), ("WEBP", 20), ("WEBP", 60))


def aecnn_rows(bench: Bench, points: Sequence[tuple[int, int]]) -> list[TableRow]:
    """Return AECNN at (kept maps, bits), always the same maps, and each picture's own at the first point.

    BottleNet++ follows with as many maps as a quarter of the 8-bit values, for equal plain bytes, and the same epochs.
    """
    request, rows = bench.request, []
    for kept, bits, own in ((*points[0], True), *((*point, False) for point in points)):
        net, pruning = aecnn(bench, kept, bits, own=own)
        answers = answer(net, request.split, pruning, bench.learn, bench.test)
        maps = "each picture's own" if own else "fixed"
        rows.append(_coded(bench, AECNN, f"{kept} maps, {bits} bit, {maps}", answers))
    for hidden in dict.fromkeys(max(1, kept * bits // 8) for kept, bits in points):
        net, passage = train_bottlenet(
            bench.net,
            request.split,
            bench.learn,
            hidden=hidden,
            schedules=(bench.schedule(PASSAGE_EPOCHS), bench.schedule(WHOLE_EPOCHS)),
            folder=request.out,
            progress=bench.progress,
        )
        answers = answer(net, request.split, passage, bench.learn, bench.test)
        rows.append(_coded(bench, BOTTLENET, f"{hidden} maps, 8 bit, our coder", answers))
        plain = replace(answers, coded_bytes=np.full(len(bench.test), answers.plain_bytes))
        rows.append(_coded(bench, BOTTLENET, f"{hidden} maps, 8 bit, no coder (theirs)", plain))
    return rows


def aecnn(bench: Bench, kept: int, bits: int, *, own: bool = False) -> tuple[SplitCNN, ChannelPruning]:
    """Return AECNN at one point, trained or taken from the request's folder."""
    request, schedule = bench.request, bench.schedule
    attended = train_attention(
        bench.start,
        request.split,
        bench.learn,
        schedule(REFERENCE_EPOCHS),
        request.out / "attention.pt",
        bench.progress,
    )
    return train_aecnn(
        attended,
        request.split,
        bench.learn,
        kept=kept,
        bits=bits,
        own=own,
        schedules=(schedule(PASSAGE_EPOCHS), schedule(WHOLE_EPOCHS)),
        folder=request.out,
        progress=bench.progress,
    )


def _coded(bench: Bench, method: str, setting: str, answers: Answers) -> TableRow:
    return row(
        bench,
        (method, setting),
        answers.probabilities.argmax(1) == bench.test.truth,
        answers.coded_bytes,
        answers.cost,
        ideal=float(answers.ideal_bytes.mean()),
        plain=answers.plain_bytes,
    )


class EqualAccuracy(NamedTuple):
    """A row of BottleNet++, AECNN's cheapest that is as accurate, and how much more accurate, paired by track."""

    theirs: TableRow
    ours: TableRow
    gain: float
    interval: Interval


def at_equal_accuracy(rows: Sequence[TableRow], tracks: NDArray[np.int64]) -> list[EqualAccuracy]:
    """Return the comparison for each row of BottleNet++ that AECNN reaches; (N,) tracks of the test pictures."""
    found = []
    for theirs in all_rows(rows, BOTTLENET):
        ours = next((each for each in all_rows(rows, AECNN) if each.accuracy >= theirs.accuracy), None)
        if ours is not None:
            right = ours.right.astype(np.float64), theirs.right.astype(np.float64)
            found.append(EqualAccuracy(theirs, ours, *paired_difference(*right, tracks)))
    return found


def whole_image_rows(bench: Bench, codecs: Sequence[Codec], exits: tuple[Floats, Floats]) -> list[TableRow]:
    """Return whole pictures by codec, all sent, and those sent where the exit is unsure, unsplit on the server.

    The gate's threshold is fitted on the held-out pictures.

    Args:
        exits: the exit's probabilities (N, classes) on the held-out and on the test pictures.
    """
    held, test = exits
    all_sent, gated = [], []
    for codec, quality in codecs:
        held_shown, _ = through_codec(bench.held.pixels, codec, quality)
        shown, sizes = through_codec(bench.test.pixels, codec, quality)
        server = probabilities(bench.net, shown).argmax(1)
        right = server == bench.test.truth
        all_sent.append(row(bench, ("whole image", f"{codec} {quality}"), right, sizes, bench.unsplit))
        server_held = probabilities(bench.net, held_shown).argmax(1) == bench.held.truth
        threshold = gate_threshold(td.unsure(held), held.argmax(1) == bench.held.truth, server_held)
        sent = td.unsure(test) >= threshold
        right = np.where(sent, server, test.argmax(1)) == bench.test.truth
        name = ("whole image + exit's gate", f"{codec} {quality}")
        gated.append(row(bench, name, right, sizes, _behind_exit(bench), sent=sent))
    return [*all_sent, *gated]


def _behind_exit(bench: Bench) -> Cost:
    """The device's part always, the whole network on the server; the device is timed as its share of the whole."""
    share = bench.work.device_macs / bench.unsplit.server_macs
    return bench.unsplit._replace(
        device_macs=bench.work.device_macs, device_ms=share * bench.unsplit.server_ms
    )


def gate_threshold(score: Floats, exit_right: NDArray[np.bool_], server_right: NDArray[np.bool_]) -> float:
    """Return the highest threshold that loses at most `GATE_LOSS` against sending all; score >= threshold sends."""
    for threshold in (np.inf, *np.unique(score)[::-1]):
        right = np.where(score >= threshold, server_right, exit_right)
        if right.mean() >= server_right.mean() - GATE_LOSS:
            return float(threshold)
    return float("-inf")


def through_codec(
    pixels: NDArray[np.uint8], codec: Literal["JPEG", "WEBP"], quality: int
) -> tuple[NDArray[np.uint8], Floats]:
    """Return (N, side, side, 3) pixels as they come out of the codec, and (N,) bytes."""
    shown, sizes = np.empty_like(pixels), np.empty(len(pixels))
    for place, each in enumerate(pixels):
        file = io.BytesIO()
        Image.fromarray(each).save(file, codec, quality=quality)
        sizes[place] = file.tell()
        with Image.open(file) as opened:
            shown[place] = np.asarray(opened.convert("RGB"))
    return shown, sizes
