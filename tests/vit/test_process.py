"""Threads within the quota, waiting that gives cores away, and freed memory that stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vit import process
from vit.process import bound_spinning

_ROUNDS = """
import resource, sys, threading
import numpy as np
from vit.process import keep_freed_memory

if not keep_freed_memory():
    sys.exit(77)


def rounds():
    for number in range(6):
        if number == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        arrays = [np.ones(2 << 20, np.uint8) for _ in range(40)]
        del arrays
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


if sys.argv[1] == "thread":
    thread = threading.Thread(target=rounds)
    thread.start()
    thread.join()
else:
    rounds()
"""
_PAGES = 40 * (2 << 20) // 4096 * 4
"""Of what the last four rounds allocate: more than a thread's own piece of heap holds."""


@pytest.mark.parametrize("where", ["main", "thread"])
def test_freed_memory_is_used_again_without_faults(where) -> None:
    done = subprocess.run([sys.executable, "-c", _ROUNDS, where], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("the C library has no mallopt")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < _PAGES / 20


def test_a_model_on_a_cpu_asks_for_it() -> None:
    code = (
        "import vit.process as heap; asked = []; heap.keep_freed_memory = lambda: asked.append(1); "
        "from vit.edge_forward import EdgeForward; from vit.weights import load_model; "
        "EdgeForward(load_model('shipped:edge')); print(len(asked))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_threads_follow_the_containers_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(process, "_QUOTA_V2", quota)
    for text, expected in (
        ("250000 100000\n", 2),
        ("max 100000\n", 8),
        ("50000 100000\n", 1),
        ("1600000 100000", 8),
    ):
        quota.write_text(text)
        assert process.available_threads() == expected


def test_threads_without_any_quota_are_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3}, raising=False)
    for name in ("_QUOTA_V1", "_QUOTA_V2", "_PERIOD_V1"):
        monkeypatch.setattr(process, name, tmp_path / "absent")
    assert process.available_threads() == 2


@pytest.mark.parametrize("told", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}])
def test_spinning_is_bounded_unless_the_user_has_said_how_to_wait(told) -> None:
    environ: dict[str, str] = {"PATH": "/bin"}
    bound_spinning(environ)
    assert environ == {"PATH": "/bin", "GOMP_SPINCOUNT": str(process.SPINS)}
    untouched = dict(told)
    bound_spinning(untouched)
    assert untouched == told


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["edge"],
        ["serve"],
        ["evaluate", "--scenes", "1"],
        ["calibrate", "--scenes", "1"],
        ["train"],
        ["export"],
    ],
)
def test_a_command_that_runs_a_model_bounds_spinning_before_torch_reads_it(command: str) -> None:
    code = (
        "import sys, vit.process\n"
        "def seen():\n    print('torch' in sys.modules)\n    raise SystemExit\n"
        f"vit.process.prepare = seen\nfrom saccade.cli import main\nmain({command!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
