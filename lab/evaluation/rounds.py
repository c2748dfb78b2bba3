"""Methods that may ask a second time: costs add up, the last answer counts. Pure numpy."""

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.sweep import Payload


def two_rounds(first: Payload, doubt: NDArray[np.float64], second: Payload, tau: float) -> Payload:
    """Return the payload of a method whose server asks for more where it stays unsure.

    Args:
        first: the payload of round one.
        doubt: (N,) H_min in bits of the server's answer after round one.
        second: the payload of round two alone.
        tau: round two happens where `doubt` >= `tau`.
    """
    again = doubt >= tau
    return Payload(
        np.where(again, second.correct, first.correct),
        first.patches + again * second.patches,
        first.wire_bytes + again * second.wire_bytes,
        first.server_macs + again * second.server_macs,
    )
