"""The edge model's backends side by side: timm in torch, our torch path, OpenVINO in bf16 and int8.

    python -m lab.benchmarks.edge_backends --model FILE.safetensors --photos FOLDER [--json FILE]

Needs the extra `openvino`. The first photos calibrate int8, the others are scored: how often the answer is
that of float32, and how far the patches selected at delta .97 overlap with its. One thread; all backends take
turns in every round and a ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gating.select import attention_sum
from lab.benchmarks.patch_counts import crops_of
from lab.benchmarks.report import Figure, publish
from vit.backends import EdgeOutput
from vit.backends.openvino import OpenVinoForward
from vit.edge_forward import EdgeForward
from vit.export import quantised
from vit.hardware import best_dtype
from vit.model import Model
from vit.network import openvino_network
from vit.packed_forward import normalised
from vit.weights import load_model

DELTA = 0.97
Backend = Callable[[np.ndarray], object]


def timm_forward(model: Model, dtype: torch.dtype) -> Backend:
    """Return timm's own forward, logits only, as one would write it."""
    vit = copy.deepcopy(model.timm).to(dtype)

    @torch.inference_mode()
    def run(crops: np.ndarray) -> torch.Tensor:
        logits: torch.Tensor = vit(normalised(crops, model).to(dtype))
        return logits

    return run


def answers(backend: Callable[[np.ndarray], EdgeOutput], crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) labels and (N, 196) attention."""
    parts = [backend(crops[start : start + 10]) for start in range(0, len(crops), 10)]
    labels = np.concatenate([part.logits.argmax(1) for part in parts])
    return labels, np.concatenate([part.attention for part in parts])


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean intersection over union of the patches that two attentions select."""
    shares = []
    for ours, theirs in zip(first, second, strict=True):
        one, other = set(attention_sum(ours, DELTA).tolist()), set(attention_sum(theirs, DELTA).tolist())
        shares.append(len(one & other) / len(one | other))
    return float(np.mean(shares))


def times(
    backends: dict[str, Backend], crops: np.ndarray, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Return milliseconds a frame of every backend in every round."""
    spent: dict[str, list[float]] = {name: [] for name in backends}
    for round_idx, (name, backend) in itertools.product(range(-2, rounds), backends.items()):
        began = clock()
        backend(crops)
        if round_idx >= 0:
            spent[name].append((clock() - began) / len(crops) * 1e3)
    return spent


def measure(arguments: argparse.Namespace) -> list[Figure]:
    torch.set_num_threads(1)
    model, dtype = load_model(arguments.model), best_dtype()
    crops = np.concatenate(list(crops_of(arguments.photos)))
    calibration, scored = crops[: arguments.calibration], crops[arguments.calibration :]
    int8 = OpenVinoForward(quantised(model, calibration))
    torch_forward, bf16 = EdgeForward(model, dtype), OpenVinoForward(openvino_network(model))
    backends: dict[str, Backend] = {
        "torch": torch_forward,
        "timm": timm_forward(model, dtype),
        "OpenVINO bf16": bf16,
        "OpenVINO int8": int8,
    }
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    figures = []
    for batch in arguments.batches:
        spent = times(backends, crops[:batch], arguments.rounds, clock)
        for name, values in spent.items():
            note = f"{model.name}, {arguments.clock} clock"
            figures.append(Figure(f"batch {batch}, {name}", statistics.median(values), "ms/frame", note=note))
        for rival, name, goal in (
            ("timm", "torch", None),
            ("torch", "OpenVINO bf16", 1.4),
            ("torch", "OpenVINO int8", 2.0),
            ("timm", "OpenVINO bf16", None),
            ("timm", "OpenVINO int8", None),
        ):
            ratio = statistics.median(a / b for a, b in zip(spent[rival], spent[name], strict=True))
            figures.append(Figure(f"batch {batch}, {name} against {rival}", ratio, "x", goal))
    labels, attention = answers(EdgeForward(model, torch.float32), scored)
    for name, forward, goal in (
        ("torch", torch_forward, 0.99),
        ("OpenVINO bf16", bf16, 0.99),
        ("OpenVINO int8", int8, 0.97),
    ):
        got, seen = answers(forward, scored)
        note = f"{len(scored)} photos against float32"
        figures.append(Figure(f"{name}: same answer", float((got == labels).mean()), "", goal, note=note))
        figures.append(Figure(f"{name}: overlap of patches", overlap(seen, attention), "IoU", 0.9, note=note))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--calibration", type=int, default=120, help="photos that calibrate int8")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    publish(measure(arguments), arguments.json)


if __name__ == "__main__":
    main()
