"""Saccade beside LitServe and a plain consumer: answered frames/s and bytes sent, on one recorded stream.

    python -m lab.benchmarks.peers [--cameras N] [--frames N] [--json FILE]

The shipped pair on rendered test cameras with known truth. Everyone has the same two cores, client, broker
and Redis included, the same server weights, the same code to open a JPEG, and the whole stream once before it
counts. The rivals run the server on every whole frame; Saccade runs at the point that `peer_point` chose on
calibration scenes. Saccade and LitServe take turns, and a ratio is the median over rounds: the machine's speed
changes by the minute. LitServe is also given this project's kernels, which shows what gate and selection
alone are worth.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from statistics import median

import simplejpeg

from gating.select import select
from lab.benchmarks.contestants import Clip, Result, Turn, litserve, plain, saccade
from lab.benchmarks.environments import EnvironmentMissing
from lab.benchmarks.machine import two_cores
from lab.benchmarks.model_only import model_only, save_sets
from lab.benchmarks.models import shipped
from lab.benchmarks.peer_point import PairPoint, choose
from lab.benchmarks.recorded import record
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import FOLDER, testbed
from lab.scenes import CALIBRATION_SEEDS, TEST_SEEDS
from vit.edge_forward import EdgeForward

GOAL, GOAL_A_CORE = 2.0, 3.0
CALIBRATION_CAMERAS, CALIBRATION_FRAMES = 24, 30
_EVERY = 4
_ROUNDS = 3


async def measure(cameras: int, frames: int) -> list[Figure]:
    edge, server = shipped("edge"), shipped("server")
    (FOLDER / "peers").mkdir(parents=True, exist_ok=True)
    seeds = range(CALIBRATION_SEEDS.start, CALIBRATION_SEEDS.start + CALIBRATION_CAMERAS)
    calibration = [shot for stream in record(seeds, CALIBRATION_FRAMES, every=_EVERY) for shot in stream]
    pair = choose(edge.load(), server.load(), calibration)
    clip = Clip(record(range(TEST_SEEDS.start, TEST_SEEDS.start + cameras), frames, every=_EVERY))
    async with (
        testbed("peers-saccade") as bed,
        saccade(bed, clip, edge, server, pair.point) as ours,
        litserve(clip, server, "timm") as rival,
    ):
        results = await in_turns([ours, rival], _ROUNDS)
    async with litserve(clip, server, "saccade") as turn:
        results += await in_turns([turn], 1)
    async with testbed("peers-plain") as bed, plain(bed, clip, server) as turn:
        results += await in_turns([turn], 1)
    return figures_of(clip, pair, results[0], results[1:]) + await cost_shares(clip, pair)


async def in_turns(turns: Sequence[Turn], rounds: int) -> list[list[Result]]:
    """Return each contestant's results, round by round, after one round that only warms up."""
    found: list[list[Result]] = [[] for _ in turns]
    for number in range(rounds + 1):
        for results, turn in zip(found, turns, strict=True):
            result = await turn(number)
            if number:
                results.append(result)
    return found


async def cost_shares(clip: Clip, pair: PairPoint) -> list[Figure]:
    """Return what fewer patches and packing save of the server's time, on offloads of the clip."""
    edge, server = shipped("edge"), shipped("server")
    crops = [shot.crop() for _, shot in clip.frames[:48]]
    forward = EdgeForward(edge.load(), threads=1)
    kept = [select(forward(crop[None]).attention[0], pair.point) for crop in crops]
    every = [select(forward(crop[None]).attention[0], type(pair.point)(0.0, 1.0)) for crop in crops]
    folder, core = FOLDER / "peers", two_cores()[0]
    times = {}
    for name, positions in (("kept", kept), ("whole", every)):
        inputs = save_sets(folder / f"{name}.npz", crops, positions)
        async with model_only("server", server.path, inputs, core) as loop:
            for batch in (16, 1):
                burst = await loop.run(2.0, batch)
                times[name, batch] = burst.cpu_s / burst.images
    patches = statistics.mean(len(positions) for positions in kept)
    return [
        Figure(
            "share of the gate, by MACs",
            pair.gate_bound,
            "x",
            note=f"{pair.offload_share:.0%} of the calibration frames offloaded, each whole",
        ),
        Figure(
            "share of fewer patches, server's time",
            times["whole", 16] / times["kept", 16],
            "x",
            note=f"{patches:.0f} of 196 patches, 16 sets a batch",
        ),
        Figure(
            "share of packing, server's time",
            times["kept", 1] / times["kept", 16],
            "x",
            note="16 sets, not 1",
        ),
    ]


def figures_of(clip: Clip, pair: PairPoint, ours: list[Result], rivals: list[list[Result]]) -> list[Figure]:
    """Return the medians over each contestant's rounds, and Saccade's ratio to each."""
    crop_bytes = statistics.mean(
        len(simplejpeg.encode_jpeg(shot.crop().copy(), 75)) for _, shot in clip.frames[:48]
    )
    point, count = pair.point, len(clip.frames)
    how = f"tau {point.tau:.2f}, {point.selection} {point.delta:g}, {point.codec}-{point.quality}"
    figures = [
        Figure(
            "the bound that the MACs set",
            pair.bound,
            "x",
            note=f"{pair.whole_macs / 1e6:.0f} M against {pair.edge_macs / 1e6:.0f} M and "
            f"{pair.offload_share:.0%} of {pair.server_macs / 1e6:.0f} M a frame",
        )
    ]
    for results in (ours, *rivals):
        note = (
            f"{how}; {count} frames of {len(clip.streams)} cameras, shipped pair" if results is ours else ""
        )
        name = results[0].name
        figures += [
            Figure(f"{name}: answered", median(each.rate for each in results), "frames/s", note=note),
            Figure(
                f"{name}: answered a server core",
                count / median(each.server_cpu_s for each in results),
                "frames/s",
            ),
            Figure(
                f"{name}: all workers' processor time",
                median(each.all_cpu_s for each in results) / count * 1e3,
                "ms/frame",
            ),
            Figure(
                f"{name}: sent to the server",
                median(each.sent_bytes for each in results) / count / 1e3,
                "kB/frame",
            ),
            Figure(f"{name}: accuracy", median(each.accuracy(clip) for each in results) * 100, "%"),
        ]
    lost = median(
        (whole.accuracy(clip) - own.accuracy(clip)) * 100 for own, whole in zip(ours, rivals[0], strict=True)
    )
    figures += [
        Figure("accuracy lost against the server alone", lost, "points", 1.0, at_least=False),
        Figure("whole crops as JPEG-75 would be", crop_bytes / 1e3, "kB/frame"),
    ]
    for results, goal, core_goal in zip(rivals, (GOAL, None, None), (GOAL_A_CORE, None, None), strict=True):
        name = results[0].name
        figures += [
            ratio(
                f"answered, against {name}",
                [each.rate for each in ours],
                [each.rate for each in results],
                goal,
            ),
            ratio(
                f"answered a server core, against {name}",
                [1 / each.server_cpu_s for each in ours],
                [1 / each.server_cpu_s for each in results],
                core_goal,
            ),
        ]
    return figures


def ratio(name: str, ours: list[float], theirs: list[float], goal: float | None) -> Figure:
    """Return the median ratio of the same round, or of the medians where the other took no turns with us."""
    if len(theirs) < len(ours):
        return Figure(name, median(ours) / median(theirs), "x", goal, note="not in turns")
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    return Figure(
        name, median(ratios), "x", goal, note=f"median of {', '.join(f'{each:.2f}' for each in ratios)}"
    )


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--cameras", type=int, default=24)
    parser.add_argument("--frames", type=int, default=30, help="of each camera")
    arguments = parser.parse_args()
    try:
        publish(asyncio.run(measure(arguments.cameras, arguments.frames)), arguments.json)
    except EnvironmentMissing as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
