"""`saccade edge` whose uplink sends what is worth most per byte first, not what is most uncertain.

    python -m lab.benchmarks.edge_by_gain edge [--set SECTION.KEY=VALUE ...]

The rule is the decision of adaptive early exiting (arXiv 2311.18098) as an order of the queue. The product keeps the
most uncertain first; `lab.benchmarks.control_order` holds one against the other.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import uplink.setup
from saccade.cli import main
from uplink.admission import AdmissionConfig
from uplink.task import OffloadTask


def gain_per_byte(task: OffloadTask) -> float:
    """The highest expected gain per byte of the record goes first."""
    return -task.expected_gain / task.num_bytes


if __name__ == "__main__":
    cast(Any, uplink.setup).AdmissionConfig = partial(AdmissionConfig, discipline=gain_per_byte)
    main()
