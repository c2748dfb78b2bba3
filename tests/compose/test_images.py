"""Each image's own files start its command, and what an image lacks is said in one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
COMMANDS = {"producer": "produce", "edge": "edge", "server": "serve"}
START = (
    "import sys; sys.path[:0] = [sys.argv.pop(1)]; sys.path.append(sys.argv.pop(1)); "
    "from saccade.__main__ import main; main()"
)


def image(role: str, folder: Path) -> Path:
    """A folder with exactly what the role's Dockerfile copies from the checkout into its last stage."""
    last_stage = (ROOT / "compose" / f"{role}.Dockerfile").read_text().rpartition("\nFROM ")[2]
    for line in last_stage.splitlines():
        if line.startswith("COPY ") and "--from=" not in line:
            *sources, target = line.split()[1:]
            for source in sources:
                origin = ROOT / source
                if origin.is_dir():
                    shutil.copytree(origin, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    into = folder / target / origin.name if target.endswith("/") else folder / target
                    into.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(origin, into)
    return folder


def saccade(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in an image: its files, the installed libraries, and not this checkout."""
    # -S: the editable installation would lend rooms that the image lacks.
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        START,
        str(folder),
        sysconfig.get_path("purelib"),
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)


def installed_by(*extras: str) -> set[str]:
    """The names of all packages that the project with these extras brings."""
    found: set[str] = set()
    waiting = [("saccade", extras)]
    while waiting:
        package, wanted = waiting.pop()
        try:
            needed = [Requirement(text) for text in requires(package) or []]
        except PackageNotFoundError:
            continue
        for each in needed:
            holds = each.marker is None or any(
                each.marker.evaluate({"extra": extra}) for extra in ("", *wanted)
            )
            if holds and each.name not in found:
                found.add(each.name)
                waiting.append((each.name, tuple(each.extras)))
    return found


@pytest.mark.parametrize(("role", "command"), COMMANDS.items())
def test_an_image_starts_its_own_command_and_says_what_it_lacks(
    role: str, command: str, tmp_path: Path
) -> None:
    folder = image(role, tmp_path)
    started = saccade(folder, command, "--help")
    assert (started.returncode, started.stderr) == (0, "")
    assert "--config" in started.stdout
    for other in (*set(COMMANDS.values()) - {command}, "train"):
        refused = saccade(folder, other)
        assert (refused.returncode, refused.stdout) == (1, "")
        (line,) = refused.stderr.splitlines()
        assert "this installation lacks the room" in line


def test_a_producer_and_an_edge_with_openvino_need_no_torch() -> None:
    assert "torch" in installed_by("torch")
    for extra in ("producer", "edge"):
        assert not {"torch", "timm"} & installed_by(extra)
