"""Run as a script in a process forked from one that has torch already: `arguments` are those of `saccade`.

The process ends with the one it was forked from, and that one with the test run.
"""

from __future__ import annotations

import ctypes
import signal
import sys

from saccade.cli import main

_PR_SET_PDEATHSIG = 1

arguments: list[str]

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
main(arguments)  # noqa: F821 - given by whoever runs this script
