"""Run as a script in a process forked from one that has torch already: `arguments` are those of `saccade`.

The process ends with the one it was forked from, and that one with the test run. With `clock_file` its UTC time is
the machine's and the seconds which that file holds at the moment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from saccade.cli import main

_PR_SET_PDEATHSIG = 1

arguments: list[str]
clock_file: Path | None
log_file: Path | None


def step_with(path: Path) -> None:
    """Make the clock follow the file. It can be stepped while the process runs, as an administrator does."""
    true_ns, true_s = time.time_ns, time.time
    time.time_ns = lambda: true_ns() + round(float(path.read_text() or 0) * 1e9)
    time.time = lambda: true_s() + float(path.read_text() or 0)


if sys.platform == "linux":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
if log_file is not None:  # noqa: F821 - given by whoever runs this script
    with log_file.open("ab") as log:  # noqa: F821 - as above
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
if clock_file is not None:  # noqa: F821 - given by whoever runs this script
    step_with(clock_file)  # noqa: F821 - as above
main(arguments)  # noqa: F821 - given by whoever runs this script
