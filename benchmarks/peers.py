"""Saccade beside LitServe and a plain consumer: answered frames/s and bytes sent, on one recorded stream.

    python -m benchmarks.peers [--cameras N] [--frames N] [--json FILE]

The shipped pair on rendered test cameras with known truth. Everyone has the same two cores, client, broker
and Redis included, the same server weights, the same code to open a JPEG, and the whole stream once before it
counts. The rivals run the server on every whole frame; Saccade runs at the point that `peer_point` chose on
calibration scenes. LitServe is also given this project's kernels, which shows what gate and selection alone
are worth.
"""

from __future__ import annotations

import asyncio
import statistics

import simplejpeg

from benchmarks.bare import bare, save_sets
from benchmarks.contestants import Clip, Result, litserve, plain, saccade
from benchmarks.environments import EnvironmentMissing
from benchmarks.machine import two_cores
from benchmarks.models import shipped
from benchmarks.peer_point import PairPoint, choose
from benchmarks.recorded import record
from benchmarks.report import Figure, options, publish
from benchmarks.testbed import FOLDER, testbed
from scenes import CALIBRATION_SEEDS, TEST_SEEDS
from vit.edge_forward import EdgeForward
from vit.select import select

GOAL, GOAL_A_CORE = 2.0, 3.0
CALIBRATION_CAMERAS, CALIBRATION_FRAMES = 24, 30
_EVERY = 4


async def measure(cameras: int, frames: int) -> list[Figure]:
    edge, server = shipped("edge"), shipped("server")
    (FOLDER / "peers").mkdir(parents=True, exist_ok=True)
    seeds = range(CALIBRATION_SEEDS.start, CALIBRATION_SEEDS.start + CALIBRATION_CAMERAS)
    calibration = [shot for stream in record(seeds, CALIBRATION_FRAMES, every=_EVERY) for shot in stream]
    pair = choose(edge.load(), server.load(), calibration)
    clip = Clip(record(range(TEST_SEEDS.start, TEST_SEEDS.start + cameras), frames, every=_EVERY))
    async with testbed("peers-saccade") as bed:
        ours = await saccade(bed, clip, edge, server, pair.point)
        shares = await cost_shares(clip, pair)
    rivals = [await litserve(clip, server, engine) for engine in ("timm", "saccade")]
    async with testbed("peers-plain") as bed:
        rivals.append(await plain(bed, clip, server))
    return figures_of(clip, pair, ours, rivals) + shares


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
        async with bare("server", server.path, inputs, core) as loop:
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


def figures_of(clip: Clip, pair: PairPoint, ours: Result, rivals: list[Result]) -> list[Figure]:
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
    for result in (ours, *rivals):
        note = f"{how}; {count} frames of {len(clip.streams)} cameras, shipped pair" if result is ours else ""
        each_kb = result.sent_bytes / count / 1e3
        figures += [
            Figure(f"{result.name}: answered", result.rate, "frames/s", note=note),
            Figure(f"{result.name}: answered a server core", count / result.server_cpu_s, "frames/s"),
            Figure(f"{result.name}: all workers' processor time", result.all_cpu_s / count * 1e3, "ms/frame"),
            Figure(f"{result.name}: sent to the server", each_kb, "kB/frame"),
            Figure(f"{result.name}: accuracy", result.accuracy(clip) * 100, "%"),
        ]
    whole = rivals[0]
    lost = (whole.accuracy(clip) - ours.accuracy(clip)) * 100
    figures += [
        Figure("accuracy lost against the server alone", lost, "points", 1.0, at_least=False),
        Figure("whole crops as JPEG-75 would be", crop_bytes / 1e3, "kB/frame"),
    ]
    for rival, goal, core_goal in zip(rivals, (GOAL, None, None), (GOAL_A_CORE, None, None), strict=True):
        figures += [
            Figure(f"answered, against {rival.name}", ours.rate / rival.rate, "x", goal),
            Figure(
                f"answered a server core, against {rival.name}",
                rival.server_cpu_s / ours.server_cpu_s,
                "x",
                core_goal,
            ),
        ]
    return figures


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
