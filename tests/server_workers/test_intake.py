import math
from dataclasses import replace

import numpy as np
import pytest

from runtime.clock import ManualClock
from runtime.intake import Delivery
from runtime.kafka import Record
from schemas.offload import Offload, bitmap_of, encode_offload
from server_workers.incoming import Expired, Opened, Ready, Rejected
from server_workers.intake import open_records
from vit.codecs import encode_patches

CROP = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
POSITIONS = np.array([0, 5, 195])
GOOD = Offload(
    camera="c",
    seq=1,
    captured_ns=0,
    deadline_ns=50_000_000,
    bitmap=bitmap_of(POSITIONS),
    codec="raw",
    quality=0,
    patches=encode_patches("raw", 1, CROP, POSITIONS),
    leading=((0, 0.5),),
    classes_hash="7191e700",
)


def opened(*values: bytes, deadline_s: float = math.inf) -> list[Opened]:
    batch = [
        Delivery(Record("offload", 0, offset, 0, None, value), lambda *_: None)
        for offset, value in enumerate(values)
    ]
    return open_records(
        batch,
        classes_hash="7191e700",
        max_offload_bytes=200_000,
        deadline_of=lambda site, deadline_ns: deadline_s,
        clock=ManualClock(10.0),
    )


def test_a_sound_record_becomes_a_token_set_with_its_patches() -> None:
    (ready,) = opened(encode_offload(GOOD))
    assert isinstance(ready, Ready)
    assert (ready.num_tokens, ready.deadline_s, ready.read_s) == (4, math.inf, 10.0)
    assert ready.positions.tolist() == [0, 5, 195]
    assert np.array_equal(ready.patches[2], CROP[208:, 208:])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classes_hash": "0badc0de"}, "classes"),
        ({"codec": "unknown"}, "bad_patches"),
        ({"patches": b"short"}, "bad_patches"),
        ({"bitmap": bitmap_of(np.arange(7))}, "bad_patches"),
        ({"codec": "webp"}, "bad_image"),
    ],
)
def test_a_record_that_is_not_sound_is_rejected_with_its_reason(
    change: dict[str, object], reason: str
) -> None:
    bad = replace(GOOD, **change)  # type: ignore[arg-type]
    first, rejected, last = opened(encode_offload(GOOD), encode_offload(bad), encode_offload(GOOD))
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason
    assert rejected.error
    assert isinstance(first, Ready)
    assert isinstance(last, Ready)


def test_an_expired_record_is_told_apart_without_opening_its_patches() -> None:
    (expired,) = opened(encode_offload(replace(GOOD, patches=b"never opened")), deadline_s=9.9)
    assert isinstance(expired, Expired)
