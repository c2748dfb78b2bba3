"""Python environments of rivals and optional backends under `.cache/bench`, made by uv at first use.

The project's own packages are seen from each of them, after its own, so that all contestants compute with the
same torch.
"""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
from pathlib import Path

FOLDER = Path(".cache/bench")
REQUIREMENTS = {
    "litserve": ("litserve==0.2.17",),
    "plain": ("aiokafka==0.14.0",),
    "openvino": ("openvino>=2025.3", "nncf>=2.18"),
}


class EnvironmentMissing(Exception):  # noqa: N818 - read as what is the case
    """The environment could not be made; the message says why in one line."""


def python_of(name: str) -> Path:
    """Return the interpreter of an environment that has its packages.

    Raises:
        EnvironmentMissing: there is no uv, or the packages could not be installed.
    """
    folder = FOLDER / name
    python, ready = (folder / "bin" / "python").absolute(), folder / ".ready"
    wanted = "\n".join(REQUIREMENTS[name])
    if not ready.exists() or ready.read_text() != wanted:
        uv = _uv()
        _run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], name)
        _run([uv, "pip", "install", "-q", "--python", str(python), *REQUIREMENTS[name]], name)
        ready.write_text(wanted)
    # Anew each time: the checkout may have moved, or another one shares the cache.
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "saccade-bench.pth").write_text("\n".join([*site.getsitepackages(), str(Path.cwd())]) + "\n")
    return python


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise EnvironmentMissing("uv is missing: make setup installs it")
    return found


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentMissing(f"the environment {name} could not be made: {reason:.200}")
