from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from edge_workers.encode import Unsure, cheaper, encode
from edge_workers.incoming import Incoming
from gating.select import select
from runtime.intake import Delivery
from runtime.kafka import Record
from schemas.frame import Frame
from schemas.offload import decode_offload, positions_of
from schemas.operating_point import OperatingPoint
from vit.codecs import CODECS, decode_patches

POINT = OperatingPoint(tau=0.5, delta=0.9, codec="webp", quality=80)


def unsure(point: OperatingPoint = POINT) -> Unsure:
    rng = np.random.default_rng(3)
    attention = rng.random(196).astype(np.float32) ** 4
    frame = Frame("site", "site/c", 7, 123, 300, 300, "jpeg", b"")
    delivery = Delivery(Record("frames", 0, 0, 0, None, b""), lambda *_: None)
    return Unsure(
        incoming=Incoming(frame, delivery, 0.0),
        crop=rng.integers(0, 256, (224, 224, 3), np.uint8),
        attention=attention / attention.sum(),
        label=4,
        confidence=0.4,
        min_entropy=1.3,
        deadline_ns=999,
        point=point,
    )


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_the_record_holds_the_selected_patches_and_the_edges_answer(codec: str) -> None:
    frame = unsure(replace(POINT, codec=codec))
    (encoded,) = encode([frame], classes_hash="abc", max_record_bytes=1 << 20)
    assert encoded.data is not None
    record = decode_offload(encoded.data, max_offload_bytes=1 << 20)
    positions = positions_of(record.bitmap)
    assert positions.tolist() == select(frame.attention, frame.point).tolist()
    assert decode_patches(codec, record.patches, positions).shape == (encoded.num_patches, 16, 16, 3)
    assert (record.site, record.camera, record.seq, record.captured_ns) == ("site", "site/c", 7, 123)
    assert (record.edge_label, record.edge_confidence, record.score) == (4, 0.4, 1.3)
    assert (record.tau, record.delta, record.quality, record.deadline_ns) == (0.5, 0.9, 80, 999)
    assert record == encoded.record


def test_a_record_above_the_limit_is_encoded_cheaper_until_it_fits() -> None:
    (free,) = encode([unsure()], classes_hash="abc", max_record_bytes=1 << 20)
    assert free.data is not None
    for limit in (len(free.data) - 1, len(free.data) // 4, 1000):
        (encoded,) = encode([unsure()], classes_hash="abc", max_record_bytes=limit)
        assert encoded.data is not None
        assert len(encoded.data) <= limit
        assert encoded.record.quality < 80


def test_a_record_that_nothing_makes_small_enough_has_no_data() -> None:
    (encoded,) = encode([unsure()], classes_hash="abc", max_record_bytes=100)
    assert encoded.data is None


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_cheaper_points_begin_at_the_point_itself_and_end(codec: str) -> None:
    points = list(cheaper(OperatingPoint(tau=1.0, delta=1.0, codec=codec, quality=100)))
    assert points[0].codec == codec
    assert len(points) < 12
    lossy = [point for point in points if not CODECS[point.codec].lossless]
    assert all(one.quality >= two.quality for one, two in pairwise(lossy))
    assert all(point.tau == 1.0 for point in points)
