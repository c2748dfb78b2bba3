"""An edge without torch: it runs from an exported folder, and nothing on its way asks for torch."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from devstack.child import GuardedChild
from devstack.demo.probe import is_ready
from devstack.demo.processes import free_port
from devstack.settings import Settings
from producers.camera import CameraSpec
from producers.run import run_producers
from runtime.redis_store import RedisStore

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "timm", "torchvision", "safetensors", "huggingface_hub")
WITHOUT = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"the edge asked for {{name}}", name=name)

sys.meta_path.insert(0, Refuse())
"""
COMMAND = WITHOUT + "from saccade.cli import main; main(sys.argv[1:])"
FRAMES = 4


@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_weights_are_refused_in_one_line_where_there_is_no_torch(tiny_model: Path, backend: str) -> None:
    code = (
        WITHOUT
        + "from edge_workers.engine import EdgeEngine\nfrom edge_workers.settings import EdgeSettings\n"
        f"EdgeEngine(EdgeSettings(model={str(tiny_model)!r}, backend={backend!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        f"ModelError: backend {'torch' if backend == 'auto' else backend}: the library torch is not installed: "
        "pip install torch, or where it is: saccade export --model PAIR --out PAIR"
    )


@pytest.mark.stack
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
async def test_the_edge_command_answers_frames_without_torch(
    pipeline: Settings, exported: Path, tmp_path: Path, unique: Callable[[str], str], backend: str
) -> None:
    camera, images, port = unique("gate"), tmp_path / "images", free_port()
    images.mkdir()
    for number in range(FRAMES):
        Image.new("RGB", (320, 240), (number * 60, 90, 200)).save(images / f"{number}.jpg")
    arguments = ["edge", "--model", str(exported), "--backend", backend, "--metrics-port", str(port)]
    for key, value in (
        ("kafka.bootstrap_servers", pipeline.kafka.bootstrap_servers),
        ("redis.url", pipeline.redis.url),
        ("topics.frames", pipeline.topics.frames),
        ("topics.offload", pipeline.topics.offload),
        ("edge.group_id", pipeline.edge.group_id),
        ("edge.tau", "0"),
    ):
        arguments += ["--set", f"{key}={value}"]
    edge = GuardedChild(
        "edge", [sys.executable, "-c", COMMAND, *arguments], tmp_path / "edge.log", grace_s=20.0, held_fds=()
    )
    await edge.start_until(lambda: is_ready(port), 60.0)
    try:
        await run_producers(pipeline, [CameraSpec.parse(f"{camera}={images}")], stop=asyncio.Event())
        async with RedisStore(pipeline.redis) as store, asyncio.timeout(60.0):
            while await store.latest(camera) is None:  # noqa: ASYNC110 - nobody tells when it is there
                await asyncio.sleep(0.05)
    finally:
        await edge.stop()


@pytest.mark.index
def test_the_edge_extra_alone_brings_no_torch_and_runs_the_folder(exported: Path, tmp_path: Path) -> None:
    """The packages of `saccade[edge]`, installed on their own; skipped where no index answers."""
    packages = tmp_path / "packages"
    install = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--target", str(packages)]
    installed = subprocess.run(
        [*install, "--python", sys.executable, "-r", str(ROOT / "pyproject.toml"), "--extra", "edge"],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"no package index answers: {installed.stderr[-200:]}")
    assert not [name for name in HEAVY if (packages / name).exists()]
    size_mb = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file()) / 1e6
    assert size_mb < 360  # beside some 150 MB of Python and its system in the image
    code = (
        "import numpy as np, sys\nfrom edge_workers.engine import EdgeEngine\n"
        "from edge_workers.settings import EdgeSettings\nimport saccade.cli, edge_workers.worker\n"
        f"engine = EdgeEngine(EdgeSettings(model={str(exported)!r}))\n"
        "print(engine.classify(np.zeros((1, 224, 224, 3), np.uint8)).logits.shape)"
    )
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    done = subprocess.run(
        [python, "-S", "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{packages}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "(1, 5)", done.stderr
