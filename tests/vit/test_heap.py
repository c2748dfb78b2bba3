"""Freed memory stays: arrays that come and go together cost no page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ROUNDS = """
import resource, sys, threading
import numpy as np
from vit.heap import keep_freed_memory

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
def test_freed_memory_is_used_again_without_faults(where):
    done = subprocess.run([sys.executable, "-c", _ROUNDS, where], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("the C library has no mallopt")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < _PAGES / 20


def test_a_model_on_a_cpu_asks_for_it():
    code = (
        "import vit.heap as heap; asked = []; heap.keep_freed_memory = lambda: asked.append(1); "
        "from vit.edge_forward import EdgeForward; from vit.weights import load_model; "
        "EdgeForward(load_model('shipped:edge')); print(len(asked))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
