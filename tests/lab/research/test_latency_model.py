import pytest

from lab.research.latency_model import (
    PAPER_CLIENT_MS,
    PAPER_IMAGE_BYTES,
    PAPER_SERVER_MS,
    latency,
)


@pytest.mark.parametrize(
    ("rate", "server_only", "proposed"), [(1, 1212.5, 401.7), (8, 158.9, 62.2), (20, 68.5, 33.1)]
)
def test_the_papers_operating_point_gives_the_published_latencies(
    rate: float, server_only: float, proposed: float
) -> None:
    """Tables II and III at delta .97, tau .8: 147.24 patches, 42.9 % offloaded."""
    result = latency(
        rate_mbit_s=rate,
        client_ms=PAPER_CLIENT_MS,
        server_full_ms=PAPER_SERVER_MS,
        offload_ratio=0.4290,
        bytes_per_frame=0.4290 * 147.24 / 196 * PAPER_IMAGE_BYTES,
        server_macs_ratio=0.744,  # eq. 9 at 147.24 patches over eq. 9 at 196
        whole_image_bytes=PAPER_IMAGE_BYTES,
    )
    assert result.server_only_ms == pytest.approx(server_only, abs=0.1)
    assert result.total_ms == pytest.approx(proposed, abs=0.1)
