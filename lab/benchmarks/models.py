"""The models that benchmarks run, as files that worker processes load, and how figures name them.

DeiT-Base has random weights, which changes no timing. DeiT-Tiny has its published weights where they lie in
`../shared/data/weights` or `SACCADE_BENCH_EDGE` names a file, as gate and selection look at what it answers;
else random ones.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks.environments import python_of
from lab.benchmarks.recorded import record
from lab.scenes import CALIBRATION_SEEDS
from vit import SHIPPED
from vit.model import Model, random_model
from vit.weights import load_model, save_model

FOLDER = Path("runs/bench/models")
_TINY = Path("../shared/data/weights/deit_tiny_patch16_224.safetensors")


@dataclass(frozen=True, slots=True)
class BenchModel:
    """`path` is what a worker's `--model` takes, `title` what figures call it."""

    path: str
    title: str

    def load(self) -> Model:
        return load_model(self.path)


def deit_tiny() -> BenchModel:
    """Return DeiT-Tiny, with published weights where they are at hand."""
    given = Path(os.environ.get("SACCADE_BENCH_EDGE", _TINY))
    if given.exists():
        return BenchModel(str(given.resolve()), "DeiT-Tiny, published weights")
    return BenchModel(_random("deit_tiny_patch16_224"), "DeiT-Tiny's shape, random weights")


def deit_base() -> BenchModel:
    """Return DeiT-Base's shape with random weights."""
    return BenchModel(_random("deit_base_patch16_224"), "DeiT-Base's shape, random weights")


def shipped(role: str) -> BenchModel:
    """Return the shipped edge or server model.

    Raises:
        FileNotFoundError: it is not in this checkout.
    """
    path = SHIPPED / f"{role}.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path}: the shipped pair is missing")
    return BenchModel(str(path.resolve()), f"shipped {role} model, trained weights")


def exported_edge(*, int8: bool) -> BenchModel:
    """Return the shipped edge model as `saccade export` writes it for OpenVINO, in bf16 or int8; made at its first use.

    Int8 is calibrated on rendered calibration cameras.

    Raises:
        EnvironmentMissing: the environment that has nncf could not be made.
    """
    kind = "int8" if int8 else "bf16"
    folder = FOLDER / f"shipped-edge-{kind}-{load_model(shipped('edge').path).weights_hash}"
    if not (folder / "model.json").exists():
        images = FOLDER / "calibration"
        _write_calibration(images)
        command = [str(python_of("openvino")), "-m", "saccade", "export", "--model", shipped("edge").path]
        flags = ["--out", str(folder), "--data", str(images), *(["--int8"] if int8 else [])]
        subprocess.run([*command, *flags], check=True)
    return BenchModel(str(folder.resolve()), f"shipped edge model, trained weights, OpenVINO {kind}")


def _write_calibration(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(CALIBRATION_SEEDS.start, CALIBRATION_SEEDS.start + 25)
    shots = [shot for stream in record(seeds, 12, every=4) for shot in stream]
    for number, shot in enumerate(shots):
        (folder / f"{number:03}.jpg").write_bytes(shot.image)


def _random(name: str) -> str:
    """Return the file of a seeded random model; made at its first use."""
    path = FOLDER / f"{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        model = random_model(name)
        save_model(path, model.vit, name=model.name, mean=model.mean, std=model.std, classes=model.classes)
    return str(path.resolve())
