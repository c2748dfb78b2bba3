"""The packed engine on a CUDA device against the device's own bf16 matrix products.

    python -m lab.benchmarks.gpu_engine [--patches 147] [--sets 64 256] [--json FILE]

DeiT-Base's shape with random weights. The ceiling is the best of some large square products. `device` times
batches that lie on the GPU already; `engine` starts from numpy patches in host memory and ends with numpy
logits, two batches in flight. FLOP/s count the products that are executed: the last block's for class tokens
only, so fewer than timm would run.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lab.benchmarks.report import Figure, publish
from schemas.geometry import NUM_PATCHES
from vit.architecture import Architecture
from vit.model import random_model
from vit.packed_forward import PackedForward, PendingLogits, _Batch, _pack

IN_FLIGHT = 2
SECONDS_EACH = 3.0


def executed_macs(shape: Architecture, patches: int) -> int:
    """Return the multiply-accumulates of one set's pass as it is run."""
    width, tokens, hidden = shape.embed_dim, patches + 1, int(shape.embed_dim * shape.mlp_ratio)
    per_token = 4 * width**2 + 2 * width * hidden
    whole_block = tokens * per_token + 2 * tokens**2 * width
    last_block = 2 * tokens * width**2 + (per_token - 2 * width**2) + 2 * tokens * width
    return patches * 768 * width + (shape.depth - 1) * whole_block + last_block + width * shape.num_classes


def ceiling_flops(size: int) -> float:
    """Return FLOP/s of size^3 bf16 products of random matrices."""
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(left)
    seconds = device_seconds(lambda: torch.matmul(left, right, out=out))
    return 2 * size**3 / seconds


def device_seconds(run: Callable[[], object]) -> float:
    """Return seconds a call, over enough back-to-back calls, after warming up."""
    for _ in range(5):
        run()
    calls = 10
    while True:
        begin, end = (torch.cuda.Event(True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        begin.record()
        for _ in range(calls):
            run()
        end.record()
        torch.cuda.synchronize()
        seconds = float(begin.elapsed_time(end)) / 1e3
        if seconds > SECONDS_EACH / 3:
            return seconds / calls
        calls *= max(2, int(SECONDS_EACH / 2 / max(seconds, 1e-3)))


def graphed(forward: PackedForward, batch: _Batch) -> Callable[[], object]:
    """Return the batch's pass as one CUDA graph; what a graph for each token bucket could reach at best."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward._run_cuda(batch)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward._run_cuda(batch)
    return graph.replay


def engine_seconds(forward: PackedForward, batches: list[tuple[list[np.ndarray], list[np.ndarray]]]) -> float:
    """Return seconds a batch from numpy to numpy, with the next batch submitted before the last is read."""
    pending: deque[PendingLogits] = deque()
    done, began_s, warm = 0, 0.0, 3 * len(batches)
    for index, (patches, positions) in enumerate(itertools.cycle(batches)):
        pending.append(forward.submit(patches, positions))
        if len(pending) > IN_FLIGHT:
            pending.popleft().result()
        if index == warm:
            began_s = time.perf_counter()
        elif index > warm:
            done += 1
            if time.perf_counter() - began_s > SECONDS_EACH:
                break
    return (time.perf_counter() - began_s) / done


def measure_sets(
    forwards: dict[str, PackedForward], shape: Architecture, num_sets: int, patches: int, ceiling: float
) -> list[Figure]:
    rng = np.random.default_rng(num_sets)
    batches = [
        (
            list(rng.integers(0, 256, (num_sets, patches, 16, 16, 3), dtype=np.uint8)),
            [np.sort(rng.permutation(NUM_PATCHES)[:patches]) for _ in range(num_sets)],
        )
        for _ in range(4)
    ]
    work = 2.0 * executed_macs(shape, patches) * num_sets
    figures = []

    def add(name: str, seconds: float, goal: float | None = None) -> None:
        figures.append(Figure(f"{name}, {num_sets} sets: rate", num_sets / seconds, "frames/s"))
        figures.append(Figure(f"{name}, {num_sets} sets: speed", work / seconds / 1e12, "TFLOP/s"))
        figures.append(Figure(f"{name}, {num_sets} sets: of ceiling", work / seconds / ceiling, "", goal))

    for name, forward in forwards.items():
        with torch.inference_mode():
            batch = _pack(*batches[0], for_cpu=False).on(forward.device)
            add(f"device, {name}", device_seconds(lambda f=forward, b=batch: f._run_cuda(b)))  # type: ignore[misc]
            add(f"device, {name}, CUDA graph", device_seconds(graphed(forward, batch)))
        add(f"engine, {name}", engine_seconds(forward, batches), 0.5)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="deit_base_patch16_224", help="a timm name; only its shape is used"
    )
    parser.add_argument("--patches", type=int, default=147)
    parser.add_argument("--sets", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--eager-only", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("this benchmark needs a CUDA device")
    model = random_model(arguments.model)
    forwards = {"eager": PackedForward(model, "cuda", torch.bfloat16)}
    if not arguments.eager_only:
        forwards["compiled"] = PackedForward(model, "cuda", torch.bfloat16, compiled=True)
    ceiling = max(ceiling_flops(size) for size in (4096, 8192))
    figures = [
        Figure("bf16 matrix product ceiling", ceiling / 1e12, "TFLOP/s", note="best of 4096^3 and 8192^3")
    ]
    for num_sets in arguments.sets:
        figures += measure_sets(forwards, model.architecture, num_sets, arguments.patches, ceiling)
    publish(figures, arguments.json)


if __name__ == "__main__":
    main()
