"""Saccade beside LitServe and a plain consumer: answered frames/s and bytes sent, on the same recorded streams.

    python -m lab.benchmarks.peers [--scene swaying|standing] [--edge torch|bf16|int8] [--cameras N] [--frames N]
        [--parts] [--json FILE]

The shipped pair on rendered test cameras with known truth, 5 frames/s of video as fast as it is answered: cameras that
sway, and cameras that stand. Everyone has the same two cores, client, broker and Redis included, the same server
weights, the same code to open a JPEG, and the whole stream once before it counts. The rivals run the server on every
whole frame; Saccade judges by its cameras' beliefs and holds still frames, as it does with a budget. Its edge computes
with torch, or with OpenVINO in bf16 or int8 from an exported file. They take turns, and a ratio is the median over
rounds: the machine's speed changes by the minute.

`--parts` tells what each part is worth: without stillness, and without a belief, at the point that `peer_point` chose
on calibration scenes; what fewer patches and packing save of the server's time; and LitServe with this project's
kernels.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from gating.select import select
from lab.benchmarks.contestants import Clip, Result, Turn, believing, gated, litserve, plain, saccade
from lab.benchmarks.environments import EnvironmentMissing
from lab.benchmarks.machine import two_cores
from lab.benchmarks.model_only import model_only, save_sets
from lab.benchmarks.models import BenchModel, exported_edge, shipped
from lab.benchmarks.peer_point import PairPoint, choose
from lab.benchmarks.recorded import record
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import FOLDER, testbed
from lab.scenes import CALIBRATION_SEEDS, TEST_SEEDS
from lab.scenes.stream import SWAY_PX
from vit.edge_forward import EdgeForward

SCENES = {"swaying": (SWAY_PX, 2.5), "standing": (0.0, 4.0)}
"""Cameras → how far they sway, and how many times LitServe's answered frames are aimed at."""
GOAL_A_CORE = 30.0
CALIBRATION_CAMERAS, CALIBRATION_FRAMES = 24, 30
_EVERY = 4
_ROUNDS = 2


async def measure(scene: str, cameras: int, frames: int, computes: str, *, parts: bool) -> list[Figure]:
    server = shipped("server")
    edge = shipped("edge") if computes == "torch" else exported_edge(int8=computes == "int8")
    (FOLDER / "peers").mkdir(parents=True, exist_ok=True)
    sway_px, goal = SCENES[scene]
    seeds = range(TEST_SEEDS.start, TEST_SEEDS.start + cameras)
    clip = Clip(record(seeds, frames, sway_px=sway_px))
    figures = await beside_rivals(clip, edge, server, goal)
    if parts:
        figures += await parts_of(clip, edge, server, calibrated(shipped("edge"), server))
    return [replace(each, name=f"{scene} cameras, {computes} edge: {each.name}") for each in figures]


async def beside_rivals(clip: Clip, edge: BenchModel, server: BenchModel, goal: float) -> list[Figure]:
    """Return what the whole of Saccade answers, in turns with both rivals."""
    async with (
        litserve(clip, server, "timm") as rival,
        testbed("peers-saccade") as bed,
        saccade(bed, clip, edge, server, believing(stillness="auto")) as ours,
    ):
        own, other = await in_turns([ours, rival], _ROUNDS)
        figures = figures_of("Saccade", clip, own, other, goal)
        async with testbed("peers-plain") as plain_bed, plain(plain_bed, clip, server) as turn:
            own, other = await in_turns([ours, turn], 1)
    return [*figures, *results_of("", clip, other), *versus("Saccade", own, other, None, None)]


async def parts_of(clip: Clip, edge: BenchModel, server: BenchModel, pair: PairPoint) -> list[Figure]:
    """Return what is answered without stillness, without a belief too, and what else a part is worth."""
    figures = []
    async with litserve(clip, server, "timm") as rival:
        for way, how in (
            ("Saccade without stillness", believing(stillness="off")),
            ("Saccade without a belief", gated(pair.point)),
        ):
            async with testbed("peers-saccade") as bed, saccade(bed, clip, edge, server, how) as ours:
                own, other = await in_turns([ours, rival], 1)
            figures += figures_of(way, clip, own, other, None)
    async with litserve(clip, server, "saccade") as turn:
        (results,) = await in_turns([turn], 1)
    return [*figures, *results_of("", clip, results), *await cost_shares(clip, pair)]


def calibrated(edge: BenchModel, server: BenchModel) -> PairPoint:
    """Return the cheapest point without a belief that is as right as the server, on calibration scenes."""
    seeds = range(CALIBRATION_SEEDS.start, CALIBRATION_SEEDS.start + CALIBRATION_CAMERAS)
    shots = [shot for stream in record(seeds, CALIBRATION_FRAMES, every=_EVERY) for shot in stream]
    return choose(edge.load(), server.load(), shots)


async def in_turns(turns: Sequence[Turn], rounds: int) -> list[list[Result]]:
    """Return each contestant's results, round by round, after one round that only warms up."""
    found: list[list[Result]] = [[] for _ in turns]
    for number in range(rounds + 1):
        for results, turn in zip(found, turns, strict=True):
            result = await turn()
            print(f"round {number}: {result.name} {result.rate:.1f}/s", file=sys.stderr, flush=True)
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


def figures_of(
    way: str, clip: Clip, ours: list[Result], rival: list[Result], goal: float | None
) -> list[Figure]:
    """Return the medians over both contestants' rounds, Saccade's ratio to the rival, and what accuracy that cost."""
    lost = [whole.accuracy(clip) - own.accuracy(clip) for own, whole in zip(ours, rival, strict=True)]
    return [
        *results_of(f"{way}, ", clip, ours),
        *results_of(f"beside {way}, ", clip, rival),
        *versus(way, ours, rival, goal, None if goal is None else GOAL_A_CORE),
        Figure(
            f"{way}: accuracy lost against the server alone",
            100 * median(lost),
            "points",
            None if goal is None else 0.0,
            at_least=False,
        ),
    ]


def results_of(prefix: str, clip: Clip, results: list[Result]) -> list[Figure]:
    """Return the medians over one contestant's rounds."""
    name, count = f"{prefix}{results[0].name}", len(clip.frames)
    return [
        Figure(f"{name}: answered", median(each.rate for each in results), "frames/s"),
        Figure(
            f"{name}: all workers' processor time",
            median(each.all_cpu_s for each in results) / count * 1e3,
            "ms/frame",
            note=f"the server's {median(each.server_cpu_s for each in results) / count * 1e3:.2f}",
        ),
        Figure(
            f"{name}: sent to the server",
            median(each.sent_bytes for each in results) / count,
            "bytes/frame",
        ),
        Figure(f"{name}: accuracy", median(each.accuracy(clip) for each in results) * 100, "%"),
    ]


def versus(
    way: str, ours: list[Result], rival: list[Result], goal: float | None, goal_a_core: float | None
) -> list[Figure]:
    """Return Saccade's ratio to a rival with which it took turns: frames answered, and answered a server core."""
    name = rival[0].name
    rates = [own.rate / other.rate for own, other in zip(ours, rival, strict=True)]
    cores = [other.server_cpu_s / own.server_cpu_s for own, other in zip(ours, rival, strict=True)]
    return [
        ratio(f"{way}: answered, against {name}", rates, goal),
        ratio(f"{way}: answered a server core, against {name}", cores, goal_a_core),
    ]


def ratio(name: str, ratios: list[float], goal: float | None) -> Figure:
    listed = ", ".join(f"{each:.2f}" for each in ratios)
    return Figure(name, median(ratios), "x", goal, note=f"median of {listed}")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--scene", choices=SCENES, default="swaying")
    parser.add_argument(
        "--edge", choices=("torch", "bf16", "int8"), default="torch", help="what computes there"
    )
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--frames", type=int, default=30, help="of each camera")
    parser.add_argument("--parts", action="store_true", help="also without stillness, and without a belief")
    arguments = parser.parse_args()
    try:
        figures = asyncio.run(
            measure(
                arguments.scene, arguments.cameras, arguments.frames, arguments.edge, parts=arguments.parts
            )
        )
    except EnvironmentMissing as error:
        parser.exit(1, f"{error}\n")
    publish(figures, arguments.json)


if __name__ == "__main__":
    main()
