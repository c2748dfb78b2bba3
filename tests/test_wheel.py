"""The built wheel, installed in a fresh environment outside the checkout, is a whole product."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
PROJECT = ("pyproject.toml", "README.md", "LICENSE")

pytestmark = pytest.mark.slow


def rooms() -> list[str]:
    """The folders that pyproject.toml packs."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return [pattern.removesuffix("*") for pattern in tables["packages"]["find"]["include"]]


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel's files; the libraries are this environment's own."""

    wheel: Path
    bin: Path
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """The command, away from the checkout."""
        program, *arguments = command
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SACCADE"))
        }
        return subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("elsewhere")
    for room in rooms():
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in PROJECT:
        shutil.copy(ROOT / name, source)
    offline = ["--offline", "--no-cache", "--python"]
    build: list[str | Path] = [
        UV,
        "build",
        "--wheel",
        "--no-build-isolation",
        *offline,
        sys.executable,
        "--out-dir",
        folder,
        source,
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    paths = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    packages = Path(sysconfig.get_path("purelib", vars=paths))
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install: list[str | Path] = [UV, "pip", "install", "--no-deps", *offline, python, wheel]
    subprocess.run(install, check=True, capture_output=True)
    return Installed(wheel, python.parent, folder)


def test_every_file_of_a_room_is_in_it(installed: Installed) -> None:
    packed = set(zipfile.ZipFile(installed.wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for room in rooms()
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    # Files for Docker and Kubernetes are used from a checkout; the embedded broker reads its list of jars.
    wanted = {
        path for path in wanted if not path.startswith("compose/") or path.startswith("compose/broker/")
    }
    assert wanted <= packed, sorted(wanted - packed)
    assert {"schemas/offload_v2.dict", "vit/shipped/edge.safetensors", "page/static/index.html"} <= packed


def test_the_command_and_its_settings_are_there(installed: Installed) -> None:
    where = installed.run("python", "-c", "import saccade, lab; print(saccade.__file__, lab.__file__)")
    assert all(path.startswith(str(installed.folder)) for path in where.stdout.split()), where.stdout
    shown = installed.run("saccade", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "produce" in shown.stdout
    settings = installed.run("saccade", "config", "show", "--json")
    assert (settings.returncode, settings.stderr) == (0, "")
    assert {"kafka", "redis", "edge", "server", "page"} <= set(json.loads(settings.stdout))


def test_the_shipped_pair_labels_frames_in_memory(installed: Installed) -> None:
    done = installed.run("python", "-m", "devstack.selftest")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["labels"] == counts["frames"] > counts["offloads"] > 0
