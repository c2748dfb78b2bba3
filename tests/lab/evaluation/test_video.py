import os
from pathlib import Path

import numpy as np
import pytest

from lab.evaluation.stream.video import VideoCodec, through_codec
from lab.evaluation.wire import record_wire_bytes


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """A bright square that wanders over a still gradient."""
    ramp = np.linspace(40, 200, 224).astype(np.uint8)
    still = np.repeat(np.tile(ramp, (224, 1))[..., None], 3, axis=2)
    frames = np.repeat(still[None], 12, axis=0)
    for number in range(12):
        frames[number, 60:100, 20 + 8 * number : 60 + 8 * number, 0] = 250
    return frames


@pytest.mark.parametrize("name", ["h264", "av1"])
def test_every_frame_comes_back_in_order_and_near(name: str, crops: np.ndarray) -> None:
    coded = through_codec(crops, VideoCodec(name, 26, True), fps=5.0)
    assert coded.frames.shape == crops.shape
    errors = np.abs(coded.frames.astype(int) - crops).mean(axis=(1, 2, 3))
    assert errors.max() < 8
    shifted = np.abs(coded.frames[1:].astype(int) - crops[:-1]).mean(axis=(1, 2, 3))
    assert (errors[1:] < shifted).all()


def test_keyframes_cost_bytes_and_every_packet_pays_an_envelope(crops: np.ndarray) -> None:
    often = through_codec(crops, VideoCodec("h264", 26, True), fps=2.0)
    once = through_codec(crops, VideoCodec("h264", 26, False), fps=2.0)
    assert often.wire_bytes.sum() > once.wire_bytes.sum()
    assert once.wire_bytes.argmax() == 0
    assert once.wire_bytes.min() > record_wire_bytes("h264", 26, b"")


def test_a_coarser_setting_costs_less(crops: np.ndarray) -> None:
    fine, coarse = (through_codec(crops, VideoCodec("h264", crf, False), fps=5.0) for crf in (20, 40))
    assert coarse.wire_bytes.sum() < fine.wire_bytes.sum()


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no scheduling policies")
def test_no_thread_is_left_a_real_time_one(crops: np.ndarray) -> None:
    before = os.sched_getscheduler(0)
    through_codec(crops, VideoCodec("av1", 26, True), fps=5.0)
    assert {os.sched_getscheduler(int(thread.name)) for thread in Path("/proc/self/task").iterdir()} == {
        before
    }
