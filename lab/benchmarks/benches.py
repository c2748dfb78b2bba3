"""What `python -m lab.benchmarks` can run: how, how long at most, and what it needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks.environments import EnvironmentMissing, python_of

PHOTOS = Path("../shared/data/photos/images")
TINY = Path("../shared/data/weights/deit_tiny_patch16_224.safetensors")


@dataclass(frozen=True, slots=True)
class Bench:
    """`commands` are Python command lines that take `--json FILE`; `marks` tell their figures apart.

    `in_all` is False for what does not fit the suite's fifteen minutes.
    """

    name: str
    about: str
    commands: Sequence[Sequence[str]]
    marks: Sequence[str] = ("",)
    limit_s: float = 300.0
    in_all: bool = True


class NotHere(Exception):  # noqa: N818 - read as what is the case
    """The benchmark cannot run on this machine; the message says why."""


def interpreter(bench: Bench) -> str:
    """Return the Python that runs the benchmark.

    Raises:
        NotHere: what it needs is missing.
    """
    if bench.name == "gpu" and not _has_cuda():
        raise NotHere("this machine has no CUDA device")
    if bench.name != "openvino":
        return sys.executable
    if not PHOTOS.exists() or not TINY.exists():
        raise NotHere("needs DeiT-Tiny's weights and the photos in ../shared/data")
    try:
        return str(python_of("openvino"))
    except EnvironmentMissing as error:
        raise NotHere(str(error)) from None


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


_ALL = (
    Bench(
        "edge",
        "the whole edge worker against its bound, with two codecs",
        (
            ("-m", "lab.benchmarks.edge", "--rounds", "2", "--seconds", "3"),
            ("-m", "lab.benchmarks.edge", "--rounds", "2", "--seconds", "3", "--codec", "jpeg"),
        ),
        ("", ", JPEG patches"),
    ),
    Bench(
        "server",
        "the whole server worker against its engine alone",
        (("-m", "lab.benchmarks.server", "--seconds", "5"),),
    ),
    Bench(
        "packed",
        "packed token sets against padding, one by one and whole images, one and two threads",
        (
            ("-m", "lab.benchmarks.packed_attention", "--sets", "10", "--rounds", "3"),
            ("-m", "lab.benchmarks.packed_attention", "--sets", "10", "--rounds", "3", "--threads", "2"),
        ),
        (", 1 thread", ", 2 threads"),
    ),
    Bench("transport", "offload records through Kafka", (("-m", "lab.benchmarks.transport"),)),
    Bench(
        "latency",
        "what the pipeline adds to the model's time at half load",
        (("-m", "lab.benchmarks.latency", "--seconds", "10"),),
    ),
    Bench("scaling", "two server workers, a third one, and new ones", (("-m", "lab.benchmarks.scaling"),)),
    Bench(
        "cameras",
        "the cost of a frame from 1 to 200 cameras",
        (("-m", "lab.benchmarks.cameras", "--rounds", "2"),),
    ),
    Bench(
        "stage-cost",
        "what one frame, offload and label cost each part",
        (("-m", "lab.benchmarks.stage_cost"),),
    ),
    Bench(
        "stillness",
        "cameras that stand, with every frame classified and with still ones held",
        (("-m", "lab.benchmarks.stillness"),),
        limit_s=900,
        in_all=False,
    ),
    Bench(
        "page",
        "what the live page costs and how soon it shows what happens",
        tuple(("-m", f"lab.benchmarks.{each}") for each in ("page", "page_wall", "page_beside_edge")),
        marks=("", "", ""),
        limit_s=300,
        in_all=False,
    ),
    Bench(
        "sites",
        "one site's backlog beside another site's records",
        (("-m", "lab.benchmarks.sites"),),
        in_all=False,
    ),
    Bench(
        "peers",
        "LitServe and a plain consumer on the same streams",
        (("-m", "lab.benchmarks.peers"),),
        limit_s=400,
    ),
    Bench(
        "peers-standing",
        "the same with cameras that stand",
        (("-m", "lab.benchmarks.peers", "--scene", "standing"),),
        limit_s=400,
        in_all=False,
    ),
    Bench(
        "gpu",
        "the packed engine against the device's matrix ceiling",
        (
            (
                "-m",
                "lab.benchmarks.gpu_engine",
            ),
        ),
    ),
    Bench(
        "openvino",
        "the edge's backends side by side, and the server's ragged batches",
        (
            ("-m", "lab.benchmarks.edge_backends", "--model", str(TINY), "--photos", str(PHOTOS)),
            (
                "-m",
                "lab.benchmarks.server_backends",
            ),
        ),
        ("", ", server"),
        limit_s=600,
        in_all=False,
    ),
    Bench(
        "soak",
        "an hour's frames through a whole site: does memory grow",
        (("-m", "lab.benchmarks.soak"),),
        limit_s=3600,
        in_all=False,
    ),
    Bench(
        "control",
        "the budget on a real link",
        (("-m", "lab.benchmarks.control"),),
        limit_s=1200,
        in_all=False,
    ),
)
BENCHES = {bench.name: bench for bench in _ALL}
