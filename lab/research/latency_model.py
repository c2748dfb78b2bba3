"""The paper's latency model: client, uplink, server; no queue, no round trip, no downlink. Pure.

Source: section V and eq. 9 of Im et al., arXiv 2404.07217.
"""

from dataclasses import dataclass
from typing import Final

RATES_MBIT_S: Final = (1, 8, 20)
"""Uplinks of Figs. 15 and 16."""
PAPER_CLIENT_MS: Final = 10.99
PAPER_SERVER_MS: Final = 8.32
PAPER_IMAGE_BYTES: Final = 224 * 224 * 3


@dataclass(frozen=True, slots=True)
class Latency:
    """Mean milliseconds a frame; `server_only_ms` is the time when every whole image is sent."""

    client_ms: float
    uplink_ms: float
    server_ms: float
    server_only_ms: float

    @property
    def total_ms(self) -> float:
        """Mean time of a frame with the method."""
        return self.client_ms + self.uplink_ms + self.server_ms


def latency(
    *,
    rate_mbit_s: float,
    client_ms: float,
    server_full_ms: float,
    offload_ratio: float,
    bytes_per_frame: float,
    server_macs_ratio: float,
    whole_image_bytes: float,
) -> Latency:
    """Return the model's latencies.

    Args:
        rate_mbit_s: uplink in 10^6 bit/s.
        client_ms: one edge forward.
        server_full_ms: one server forward of a whole image.
        offload_ratio: share of frames that reach the server.
        bytes_per_frame: mean over all frames, zeros included.
        server_macs_ratio: work of an offloaded frame over a whole one.
        whole_image_bytes: what server-only sends for a frame.
    """
    ms_per_byte = 8.0 / (rate_mbit_s * 1000.0)
    return Latency(
        client_ms=client_ms,
        uplink_ms=bytes_per_frame * ms_per_byte,
        server_ms=offload_ratio * server_macs_ratio * server_full_ms,
        server_only_ms=whole_image_bytes * ms_per_byte + server_full_ms,
    )
