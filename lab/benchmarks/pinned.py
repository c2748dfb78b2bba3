"""Becomes another Python program on given cores: `python -m lab.benchmarks.pinned 0,1 -m saccade edge ...`."""

from __future__ import annotations

import os
import sys

from lab.benchmarks.machine import pin


def main() -> None:
    pin(*(int(core) for core in sys.argv[1].split(",")))
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])


if __name__ == "__main__":
    main()
