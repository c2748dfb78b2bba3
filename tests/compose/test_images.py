"""Each image's own files and libraries do its role's work, and what an image lacks is said in one line."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "compose"
COMMANDS = {"producer": "produce", "edge": "edge", "server": "serve", "page": "page"}
LIBRARIES = sysconfig.get_path("purelib")
START = (
    "import sys; sys.path[:0] = [sys.argv.pop(1)]; sys.path.append(sys.argv.pop(1)); "
    "from saccade.__main__ import main; main()"
)


@dataclass(frozen=True)
class Stage:
    """What one stage of a Dockerfile does, and the stages that it is built from."""

    base: str
    copied: tuple[tuple[str, str], ...] = ()
    """Of the checkout: origin and target."""
    extras: frozenset[str] = frozenset()
    lines: tuple[str, ...] = field(default=(), repr=False)


def stages(role: str, **arguments: str) -> list[Stage]:
    """The stages of the role's Dockerfile, the last being the image."""
    named: dict[str, Stage] = {}
    found: list[Stage] = []
    text = (FOLDER / f"{role}.Dockerfile").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "ARG" and not found:
            name, _, default = rest.partition("=")
            arguments.setdefault(name, default)
        elif word == "FROM":
            base, _, name = rest.partition(" AS ")
            base = arguments[base[1:]] if base.startswith("$") else base
            found.append(replace(named[base], base=base) if base in named else Stage(base))
            named[name] = found[-1]
            current = name
        elif found:
            stage = found[-1]
            copied = stage.copied
            if word == "COPY" and not rest.startswith("--from="):
                *origins, target = rest.split()
                copied += tuple((origin, target) for origin in origins)
            words = rest.split()
            extras = {words[at + 1] for at, each in enumerate(words) if each == "--extra"}
            found[-1] = named[current] = replace(
                stage, copied=copied, extras=stage.extras | extras, lines=(*stage.lines, line)
            )
    return found


def files_of(stage: Stage, folder: Path) -> Path:
    """A folder with exactly what the stage copies from the checkout."""
    for source, target in stage.copied:
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
    command = [sys.executable, "-I", "-S", "-c", START, str(folder), LIBRARIES, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)


def at_work(role: str, stage: Stage, folder: Path, argument: str = "") -> list[str]:
    """The role works in the image, with no library but those of its extras; the image's modules that it took."""
    script = Path(__file__).with_name("role_at_work.py")
    lacking = json.dumps(sorted(lacking_with(*stage.extras)))
    command = [sys.executable, "-I", "-S", str(script), str(folder), LIBRARIES, role, lacking, argument]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def requires_of(package: str) -> list[str]:
    """What a package requires; of this project what the checkout says."""
    if package != "saccade":
        return requires(package) or []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"]] + [
        f"{text.partition(';')[0]}; extra == '{extra}'" + (f" and ({marker})" if marker else "")
        for extra, texts in project["optional-dependencies"].items()
        for text in texts
        for marker in [text.partition(";")[2]]
    ]


def installed_by(*extras: str) -> set[str]:
    """The names of all packages that the project with these extras brings."""
    found: set[str] = set()
    waiting = [("saccade", extras)]
    while waiting:
        package, wanted = waiting.pop()
        try:
            needed = [Requirement(text) for text in requires_of(package)]
        except PackageNotFoundError:
            continue
        for each in needed:
            holds = each.marker is None or any(
                each.marker.evaluate({"extra": extra}) for extra in ("", *wanted)
            )
            name = canonicalize_name(each.name)
            if holds and name not in found:
                found.add(name)
                waiting.append((name, tuple(each.extras)))
    return found


def lacking_with(*extras: str) -> set[str]:
    """What can be imported here, but not where these extras alone are installed."""
    packages = installed_by(*extras)
    return {
        module
        for module, holders in packages_distributions().items()
        if not {canonicalize_name(holder) for holder in holders} & {*packages, "saccade"}
    }


def rooms_asked_for(path: Path) -> set[str]:
    """Modules of the project that a file imports, also inside its functions."""
    tops = {each.parent.name for each in ROOT.glob("*/__init__.py")}
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name for name in names if name.partition(".")[0] in tops}


def is_held(folder: Path, module: str) -> bool:
    path = folder.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(("role", "command"), COMMANDS.items())
def test_an_image_starts_its_own_command_and_says_what_it_lacks(
    role: str, command: str, tmp_path: Path
) -> None:
    folder = files_of(stages(role)[-1], tmp_path)
    started = saccade(folder, command, "--help")
    assert (started.returncode, started.stderr) == (0, "")
    assert "--config" in started.stdout
    for other in (*set(COMMANDS.values()) - {command}, "train"):
        refused = saccade(folder, other)
        assert (refused.returncode, refused.stdout) == (1, "")
        (line,) = refused.stderr.splitlines()
        assert "this installation lacks the room" in line


@pytest.mark.slow
def test_the_edge_works_on_openvino_without_torch(exported: Path, tmp_path: Path) -> None:
    check_work("edge", stages("edge", BACKEND="openvino")[-1], tmp_path, str(exported))


@pytest.mark.slow
def test_the_edge_works_on_torch(tiny_model: Path, tmp_path: Path) -> None:
    check_work("edge", stages("edge", BACKEND="torch")[-1], tmp_path, str(tiny_model))


@pytest.mark.slow
def test_the_server_works(tiny_model: Path, tmp_path: Path) -> None:
    check_work("server", stages("server")[-1], tmp_path, str(tiny_model))


@pytest.mark.slow
@pytest.mark.parametrize("role", ["producer", "page"])
def test_a_role_works_with_its_images_files_and_libraries_alone(role: str, tmp_path: Path) -> None:
    check_work(role, stages(role)[-1], tmp_path)


@pytest.mark.slow
def test_a_library_that_an_image_lacks_is_lacking_at_work(tmp_path: Path) -> None:
    stage = replace(stages("page")[-1], extras=frozenset())
    with pytest.raises(AssertionError, match=r"the image has no (starlette|uvicorn|httpx|aiomqtt)"):
        at_work("page", stage, files_of(stage, tmp_path))


def check_work(role: str, stage: Stage, folder: Path, argument: str = "") -> None:
    names = at_work(role, stage, files_of(stage, folder), argument)
    # What the role did not come across here: imports inside functions. Commands may ask for rooms of other images.
    for name in names:
        if not name.startswith("saccade"):
            path = folder.joinpath(*name.split("."))
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            lacking = [each for each in rooms_asked_for(file) if not is_held(folder, each)]
            assert not lacking, f"{name} imports {lacking}"


@pytest.mark.slow
def test_the_stage_that_exports_has_the_command(tmp_path: Path) -> None:
    (stage,) = [each for each in stages("edge") if any("saccade export" in line for line in each.lines)]
    started = saccade(files_of(stage, tmp_path), "export", "--help")
    assert (started.returncode, started.stderr) == (0, "")


def test_only_images_that_run_torch_install_it() -> None:
    images = {
        "producer": stages("producer")[-1],
        "openvino": stages("edge", BACKEND="openvino")[-1],
        "torch": stages("edge", BACKEND="torch")[-1],
        "server": stages("server")[-1],
        "page": stages("page")[-1],
    }
    with_torch = {name for name, stage in images.items() if "torch" in installed_by(*stage.extras)}
    assert with_torch == {"torch", "server"}
    assert stages("edge")[-1] == images["openvino"]


@pytest.mark.parametrize("role", COMMANDS)
def test_images_take_pinned_packages_with_hashes_only(role: str) -> None:
    locked = {
        canonicalize_name(line.partition("==")[0])
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    }
    for stage in stages(role):
        assert installed_by(*stage.extras) <= locked
        for line in stage.lines:
            if line.startswith("RUN") and "install" in line:
                for part in line.split("&&"):
                    is_project = "--no-deps" in part and "--build-constraint requirements.lock" in part
                    assert is_project or "--require-hashes" in part, part


@pytest.mark.parametrize("role", COMMANDS)
def test_an_image_runs_as_a_plain_user_and_ends_by_sigterm(role: str) -> None:
    lines = stages(role)[-1].lines
    words = {word: rest for word, _, rest in (line.partition(" ") for line in lines)}
    assert words["USER"] == "1000:1000"
    assert words["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(words["ENTRYPOINT"]) == ["python", "-m", "saccade"]
    options, _, check = words["HEALTHCHECK"].partition("CMD")
    assert "--start-period" in options
    code = json.loads(check)[2]
    compile(code, "HEALTHCHECK", "exec")
    path, port = ("/login", "PAGE") if role == "page" else ("/healthz", "METRICS")
    assert path in code
    assert f"SACCADE__{port}__PORT=" in words["ENV"]
    assert f"SACCADE__{port}__PORT" in code
