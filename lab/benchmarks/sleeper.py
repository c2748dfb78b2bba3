"""A control process: it sleeps until each of evenly spaced moments, and tells by how many seconds it woke late.

python -m lab.benchmarks.sleeper RATE SECONDS
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    rate, seconds = (float(text) for text in sys.argv[1:])
    begin_s, late_s = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due_s = begin_s + number / rate
        time.sleep(max(due_s - time.perf_counter(), 0.0))
        late_s.append(time.perf_counter() - due_s)
    sys.stdout.write(json.dumps(late_s) + "\n")


if __name__ == "__main__":
    main()
