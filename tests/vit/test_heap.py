"""Freed memory stays: arrays that come and go together cost no page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ROUNDS = """
import resource, sys
import numpy as np
from vit.heap import keep_freed_memory

if sys.argv[1] == "keeps":
    sys.exit(77) if not keep_freed_memory() else None
for round in range(6):
    if round == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(2 << 20, np.uint8) for _ in range(4)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_PAGES = 4 * (2 << 20) // 4096 * 4
"""Of what the last four rounds allocate."""


def faults(what: str) -> int:
    """Page faults of four rounds of four 2 MiB arrays, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _ROUNDS, what], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("the C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_freed_memory_is_used_again_without_faults():
    assert faults("keeps") < _PAGES / 20


def test_a_model_on_a_cpu_asks_for_it():
    code = (
        "import vit.heap as heap; asked = []; heap.keep_freed_memory = lambda: asked.append(1); "
        "from vit.edge_forward import EdgeForward; from vit.weights import load_model; "
        "EdgeForward(load_model('shipped:edge')); print(len(asked))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
