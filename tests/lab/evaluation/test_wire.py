import numpy as np
import pytest

from lab.evaluation.wire import record_wire_bytes, share_of_a_batch, wire_bytes


@pytest.mark.parametrize(
    ("value", "wire"), [(0, 140 + 52), (1308, 1448 + 52), (1309, 1449 + 104), (10_000, 10_140 + 8 * 52)]
)
def test_framing_and_one_header_a_segment(value: int, wire: int) -> None:
    assert wire_bytes(value) == wire


def test_a_record_weighs_its_payload_and_a_small_constant() -> None:
    payload = np.random.default_rng(0).bytes(5000)
    assert 5000 + 300 < record_wire_bytes("webp", 75, payload) < 5000 + 900


def test_the_positions_travel_as_a_bitmap_of_fixed_size() -> None:
    payload = np.random.default_rng(0).bytes(500)
    few = record_wire_bytes("webp", 75, payload, np.arange(3))
    assert abs(few - record_wire_bytes("webp", 75, payload, np.arange(0, 196, 2))) < 30


def test_eight_records_in_a_batch_share_its_framing() -> None:
    (share,) = share_of_a_batch(np.asarray([float(wire_bytes(400))]))
    framed = 54 + 61 + 8 * (9 + 400)
    assert share == (framed + 3 * 52) / 8
    assert share < wire_bytes(400) - 100
