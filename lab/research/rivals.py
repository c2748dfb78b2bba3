"""`saccade research`: AECNN, BottleNet++, early exit and whole images on the same pictures and network."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from lab.evaluation.bootstrap import Interval, mean_interval
from lab.evaluation.wire import wire_bytes
from lab.progress import Progress
from lab.research import early_exit as td
from lab.research.aecnn import train_aecnn, train_attention
from lab.research.analogue import AnalogueCode, ExitHead, record, train_exit_and_code
from lab.research.bottleneck import Answers, answer
from lab.research.bottlenet import train_bottlenet
from lab.research.channels import Floats, faded_snr_db
from lab.research.fitting import Schedule, fit
from lab.research.pictures import Pictures, drawn_tracks, read_tracks
from lab.research.split_cnn import SplitCNN, Work, build, normalised, probabilities, work_by_split

RATES_MBIT_S: Final = (0.1, 1.0, 20.0)
DEVICE_GMACS_PER_S: Final = 20.0
SERVER_GMACS_PER_S: Final = 1000.0
"""Stated speeds of the latency model, not measured: a Jetson-class device at small batches, and a server's GPU."""
SNRS_DB: Final = tuple(float(each) for each in range(-10, 21, 5))
RECORDED_SNRS_DB: Final = np.arange(-20.0, 25.1, 2.5)
PRICES: Final = (0.0, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1)
"""Right answers that a transmission must be expected to bring."""
GATE_LOSS: Final = 0.005
"""A gate may lose so much accuracy on the held-out pictures against sending all."""
HELD_ONE_OF: Final = 6


@dataclass(frozen=True)
class RivalsRequest:
    """What to measure.

    data: folder with train/ and test/ of CLASS/TRACK_FRAME.jpg; None = drawn pictures. length multiplies all epochs.
    limit: at most so many pictures of each part.
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


def quick(out: Path, *, split: str, seed: int, limit: int | None) -> RivalsRequest:
    """Return a request that ends in a minute or two: tiny net, drawn pictures. Its figures say nothing about signs."""
    return RivalsRequest(None, out, "resnet10x4", split=split, side=32, limit=limit, seed=seed)


@dataclass(frozen=True)
class Bench:
    """The network that all methods start from, and pictures to learn from, to fit decisions on, to be judged by."""

    request: RivalsRequest
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

    @property
    def macs(self) -> int:
        """Multiply-adds of the unsplit network."""
        return self.work.device_macs + self.work.server_macs

    def schedule(self, epochs: float) -> Schedule:
        """Return a run of so many epochs at the request's length and seed."""
        small = self.request.data is None
        rate, batch = (5e-3, 16) if small else (2e-3, 64)
        return Schedule(epochs * self.request.length, rate, batch, self.request.seed)


class TableRow(NamedTuple):
    """A method at one setting, over the test pictures.

    payload_bytes is the mean of what a picture sends, 0 for kept ones, and wire_bytes the same with record, Kafka and
    TCP/IP around it; ideal_bytes and plain_bytes are the coder's rate estimate and the size without a coder. The work
    is the mean over all pictures. latency_ms is at `RATES_MBIT_S`.
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
    device_macs: float
    server_macs: float
    latency_ms: tuple[float, ...]


class ExitRow(NamedTuple):
    """A transmission decision at one mean SNR: accuracy, its interval, and the mean of symbols over all pictures."""

    channel: str
    snr_db: float
    decision: str
    accuracy: float
    interval: Interval
    sent: float
    symbols: float


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
    net = build(
        request.network,
        len(learn.classes),
        small_stem=request.small_stem,
        weights=request.weights,
        seed=request.seed,
    )
    works = work_by_split(net, request.side)
    bench = Bench(request, net, learn, held, test, works, progress)
    fit(
        net,
        [net],
        lambda pixels, truth: functional.cross_entropy(net(pixels), truth),
        learn,
        bench.schedule(16),
        request.out / "reference.pt",
        progress,
    )
    return bench


def reference_row(bench: Bench) -> TableRow:
    """Return the unsplit network on the test pictures, all on the server, raw pixels sent."""
    right = probabilities(bench.net, bench.test.pixels).argmax(1) == bench.test.truth
    raw = float(bench.test.pixels[0].size)
    return _row(
        bench, ("unsplit", "raw pixels"), right, np.full(len(right), raw), device=0, server=bench.macs
    )


def aecnn_rows(bench: Bench, points: Sequence[tuple[int, int]]) -> list[TableRow]:
    """Return AECNN at (kept maps, bits), always the same maps, and each picture's own at the first point.

    BottleNet++ follows with as many maps as a quarter of the 8-bit values, for equal plain bytes, and the same epochs.
    """
    request, schedule = bench.request, bench.schedule
    attended = train_attention(
        bench.net, request.split, bench.learn, schedule(4), request.out / "attention.pt", bench.progress
    )
    rows = []
    for place, (kept, bits) in enumerate(points):
        for own in (False, True) if place == 0 else (False,):
            net, pruning = train_aecnn(
                attended,
                request.split,
                bench.learn,
                kept=kept,
                bits=bits,
                own=own,
                schedules=(schedule(4), schedule(6)),
                folder=request.out,
                progress=bench.progress,
            )
            answers = answer(net, request.split, pruning, bench.learn, bench.test)
            maps = "each picture's own" if own else "fixed"
            rows.append(_coded(bench, "AECNN (reconstruction)", f"{kept} maps, {bits} bit, {maps}", answers))
    for hidden in dict.fromkeys(max(1, kept * bits // 8) for kept, bits in points):
        net, passage = train_bottlenet(
            bench.net,
            request.split,
            bench.learn,
            hidden=hidden,
            schedules=(schedule(4), schedule(10)),
            folder=request.out,
            progress=bench.progress,
        )
        answers = answer(net, request.split, passage, bench.learn, bench.test)
        rows.append(_coded(bench, "BottleNet++", f"{hidden} maps, 8 bit, our coder", answers))
        plain = replace(answers, coded_bytes=np.full(len(bench.test), answers.plain_bytes))
        rows.append(_coded(bench, "BottleNet++", f"{hidden} maps, 8 bit, no coder (theirs)", plain))
    return rows


def _coded(bench: Bench, method: str, setting: str, answers: Answers) -> TableRow:
    right = answers.probabilities.argmax(1) == bench.test.truth
    return _row(
        bench,
        (method, setting),
        right,
        answers.coded_bytes,
        device=answers.device_macs,
        server=answers.server_macs,
        ideal=float(answers.ideal_bytes.mean()),
        plain=answers.plain_bytes,
    )


ExitAndCode = tuple[SplitCNN, ExitHead, AnalogueCode]


def exit_and_code(bench: Bench, maps: int) -> ExitAndCode:
    """Return the network with a trained exit and an analogue code of `maps` maps."""
    return train_exit_and_code(
        bench.net,
        bench.request.split,
        bench.learn,
        maps=maps,
        schedules=(bench.schedule(6), bench.schedule(8)),
        folder=bench.request.out,
        progress=bench.progress,
    )


def early_exit_rows(bench: Bench, parts: ExitAndCode) -> list[ExitRow]:
    """Return all decisions over both channels; rules are fitted on the held-out pictures, judged on the test ones."""
    net, head, code = parts

    def recorded(pictures: Pictures, seed: int) -> td.Recorded:
        exits, server, symbols = record(
            net, bench.request.split, head, code, pictures, RECORDED_SNRS_DB, seed=seed
        )
        return td.Recorded(
            pictures.truth,
            exits,
            RECORDED_SNRS_DB,
            server,
            np.full(server.shape, float(symbols)),
            pictures.tracks,
        )

    return judge(recorded(bench.held, 1), recorded(bench.test, 2), seed=bench.request.seed)


def judge(held: td.Recorded, test: td.Recorded, *, seed: int) -> list[ExitRow]:
    """Return every decision at every SNR of `SNRS_DB`, over white noise and Rayleigh block fading. Pure."""
    symbols = float(test.symbols.max())
    rules: dict[str, td.TransmissionDecision] = {"always": td.always, "never": td.never}
    for score in td.SCORES:
        rules[f"{score}, blind"] = td.fit_blind_threshold(held, score, 0.0)
        rules[f"{score}, threshold by SNR"] = td.fit_threshold_by_snr(held, score, 0.0)
    rules["expected gain, blind"] = td.fit_expected_gain(held, 0.0, knows_snr=False)
    for price in PRICES:
        rules[f"expected gain > {price:g}"] = td.fit_expected_gain(held, price / symbols)
    rows = []
    for channel in ("AWGN", "Rayleigh"):
        for snr_db in SNRS_DB:
            count = len(test.truth)
            random = np.random.default_rng([seed, round(10 * snr_db) + 1000])
            at: Floats = np.full(count, snr_db) if channel == "AWGN" else faded_snr_db(snr_db, count, random)
            outcomes = {name: td.play(test, at, rule) for name, rule in rules.items()}
            outcomes["oracle"] = td.play_oracle(test, at)
            for name, outcome in outcomes.items():
                right = outcome.right.astype(np.float64)
                rows.append(
                    ExitRow(
                        channel,
                        snr_db,
                        name,
                        float(right.mean()),
                        mean_interval(right, test.tracks),
                        float(outcome.sent.mean()),
                        float(outcome.symbols.mean()),
                    )
                )
    return rows


def whole_image_rows(
    bench: Bench, qualities: Sequence[tuple[Literal["JPEG", "WEBP"], int]]
) -> list[TableRow]:
    """Return whole pictures by codec, all sent, the unsplit network on the server."""
    rows = []
    for codec, quality in qualities:
        shown, sizes = through_codec(bench.test.pixels, codec, quality)
        right = probabilities(bench.net, shown).argmax(1) == bench.test.truth
        name = ("whole image", f"{codec} {quality}, all sent")
        rows.append(_row(bench, name, right, sizes, device=0, server=bench.macs))
    return rows


def gated_rows(
    bench: Bench, qualities: Sequence[tuple[Literal["JPEG", "WEBP"], int]], parts: ExitAndCode
) -> list[TableRow]:
    """Return whole pictures by codec, sent where the exit is unsure; the threshold is fitted on the held-out ones."""
    net, head, _ = parts

    def exits(pictures: Pictures) -> Floats:
        answers = []
        for start in range(0, len(pictures), 128):
            with torch.inference_mode():
                features = net.device(bench.request.split, normalised(pictures.pixels[start : start + 128]))
                answers.append(head(features).double().softmax(1).numpy())
        return np.concatenate(answers)

    held, test = exits(bench.held), exits(bench.test)
    rows = []
    for codec, quality in qualities:
        held_shown, _ = through_codec(bench.held.pixels, codec, quality)
        shown, sizes = through_codec(bench.test.pixels, codec, quality)
        server_held = probabilities(bench.net, held_shown).argmax(1) == bench.held.truth
        threshold = gate_threshold(td.unsure(held), held.argmax(1) == bench.held.truth, server_held)
        sent = td.unsure(test) >= threshold
        server = probabilities(bench.net, shown).argmax(1)
        right = np.where(sent, server, test.argmax(1)) == bench.test.truth
        name = ("whole image + gate", f"{codec} {quality}")
        rows.append(
            _row(bench, name, right, sizes, device=bench.work.device_macs, server=bench.macs, sent=sent)
        )
    return rows


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


def latency_ms(device_macs: float, wire: float, server_macs: float, rate_mbit_s: float) -> float:
    """Return device + uplink + server in milliseconds at the stated speeds; no queue, no round trip, no downlink."""
    compute_s = device_macs / (DEVICE_GMACS_PER_S * 1e9) + server_macs / (SERVER_GMACS_PER_S * 1e9)
    return 1000.0 * compute_s + wire * 8.0 / (rate_mbit_s * 1000.0)


def _row(
    bench: Bench,
    name: tuple[str, str],
    right: NDArray[np.bool_],
    sizes: Floats,
    *,
    device: float,
    server: float,
    sent: NDArray[np.bool_] | None = None,
    ideal: float | None = None,
    plain: float | None = None,
) -> TableRow:
    send = np.ones(len(right), np.bool_) if sent is None else sent
    values = right.astype(np.float64)
    wire = float((np.array([wire_bytes(int(size)) for size in sizes]) * send).mean())
    share = float(send.mean())
    return TableRow(
        *name,
        accuracy=float(values.mean()),
        interval=mean_interval(values, bench.test.tracks),
        sent=share,
        payload_bytes=float((sizes * send).mean()),
        wire_bytes=wire,
        ideal_bytes=ideal,
        plain_bytes=plain,
        device_macs=device,
        server_macs=server * share,
        latency_ms=tuple(latency_ms(device, wire, server * share, rate) for rate in RATES_MBIT_S),
    )
