"""The rooms' arrows point one way, and heavy or outside libraries stay behind the modules that own them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PRODUCT = {
    "schemas": set(),
    "runtime": {"schemas"},
    "imaging": {"schemas"},
    "gating": {"schemas"},
    "vit": {"schemas", "imaging"},
    "uplink": {"schemas", "runtime"},
    "producers": {"schemas", "runtime", "imaging"},
    "edge_workers": {"schemas", "runtime", "imaging", "vit", "gating", "uplink"},
    "server_workers": {"schemas", "runtime", "vit", "gating"},
    "page": {"schemas", "runtime", "imaging", "vit"},
}
"""Room of the product → the rooms that it may import."""
LAB = {
    "lab.scenes": {"schemas", "producers"},
    "lab.training": {"schemas", "vit", "gating", "lab.scenes", "lab.evaluation"},
    "lab.evaluation": {
        *("schemas", "imaging", "vit", "gating", "uplink"),
        *("lab.scenes", "lab.research", "lab.simulation"),
    },
    "lab.research": {"schemas", "vit", "gating", "lab.evaluation", "lab.training"},
    "lab.simulation": {"schemas", "gating", "uplink", "devstack"},
    "lab.benchmarks": {*PRODUCT, "saccade", "devstack", "lab"},
}
"""Room of the lab → the rooms that it may import."""
ON_USE = {"saccade": {*PRODUCT, "devstack", "lab"}, "devstack": {*PRODUCT, "saccade", "lab"}}
"""The command line and the workshop: what they import of the lab they import inside functions only."""
ARROWS = PRODUCT | LAB | ON_USE

OWNERS = {
    "torch": {"vit.*", "lab.training.*", "lab.research.*"},
    "timm": {"vit.*", "lab.training.*", "lab.research.*"},
    "openvino": {"vit.*"},
    "aiokafka": {"runtime.kafka*"},
    "redis": {"runtime.redis_*"},
}
"""Library → the modules that may import it. The benchmarks may import all: they set rivals beside the product."""
HEAVY = ("torch", "timm", "openvino")

PURE = {
    "schemas": {"numpy", "msgpack", "zstandard"},
    "gating": {"numpy"},
}
"""Room → the only libraries beside Python's own that it may import."""


@dataclass(frozen=True)
class Import:
    """`module` imports `name`, at `line`."""

    module: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.name}"


def modules() -> Iterator[tuple[str, Path]]:
    for top in sorted({room.partition(".")[0] for room in ARROWS}):
        for path in sorted((ROOT / top).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


@cache
def trees() -> list[tuple[str, ast.Module]]:
    return [(module, ast.parse(path.read_text(encoding="utf-8"))) for module, path in modules()]


@cache
def imports() -> list[Import]:
    """Every import statement of every module, also those inside functions and for types only."""
    return list(_imports())


def _imports() -> Iterator[Import]:
    for module, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (Import(module, alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}:{node.lineno}: relative imports hide the arrows"
                assert node.module
                yield from (
                    Import(module, f"{node.module}.{alias.name}", node.lineno) for alias in node.names
                )


def inside(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def owns(module: str, library: str) -> bool:
    return any(fnmatchcase(module, pattern) for pattern in OWNERS[library])


def room_of(name: str) -> str | None:
    """The innermost room that holds `name`."""
    return max((room for room in ARROWS if inside(name, room)), key=len, default=None)


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    allowed = ARROWS[room] | {room}
    wrong = [
        str(each)
        for each in imports()
        if room_of(each.module) == room
        and (target := room_of(each.name))
        # A room may use what lies inside it, such as edge_workers its control.
        and not any(inside(target, part) for part in allowed)
    ]
    assert not wrong


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_stays_with_its_owners(library: str) -> None:
    wrong = [
        str(each)
        for each in imports()
        if inside(each.name, library)
        and not owns(each.module, library)
        and not inside(each.module, "lab.benchmarks")
    ]
    assert not wrong


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_imports_little(room: str) -> None:
    known = set(sys.stdlib_module_names) | PURE[room]
    tops = {top.partition(".")[0] for top in ARROWS}
    wrong = [
        str(each)
        for each in imports()
        if inside(each.module, room) and each.name.partition(".")[0] not in known | tops
    ]
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    "room", sorted({*ARROWS} - {"vit", "lab.training", "lab.research", "lab.benchmarks"})
)
def test_importing_a_room_loads_no_model_library(room: str) -> None:
    """In a fresh process: running a worker loads torch, importing its room's other modules does not."""
    light = [
        name
        for name, _ in modules()
        if room_of(name) == room
        and not name.endswith("__main__")
        and not any(owns(name, library) for library in HEAVY)
    ]
    code = (
        f"import sys, importlib\nfor name in {light!r}: importlib.import_module(name)\n"
        f"print([library for library in {HEAVY!r} if library in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_no_two_classes_of_the_product_have_one_name() -> None:
    names: dict[str, list[str]] = {}
    for module, tree in trees():
        if room_of(module) in {*PRODUCT, "saccade"}:
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    names.setdefault(node.name, []).append(module)
    assert {name: found for name, found in names.items() if len(found) > 1} == {}
