from collections.abc import Sequence

import numpy as np
import pytest

from lab.evaluation.points import Setting
from lab.evaluation.stream.cameras import Camera
from lab.evaluation.stream.choices import BUDGETS, FAMILIES, NEAR, choose, family
from lab.evaluation.stream.frames import Frames, Outcome
from lab.evaluation.sweep import Payload

COUNT = 50
RAW = Setting("server_only", None, 0.0, "attention_sum", 1.0, 1, "raw", 0)


def frames_of(names: Sequence[str]) -> Frames:
    """A camera with `COUNT` frames of class 0 for each name; the edge is always wrong."""
    crops = np.zeros((COUNT, 1, 1, 3), dtype=np.uint8)
    size = COUNT * len(names)
    sure = 2.0 ** -np.linspace(0.01, 0.99, size)
    return Frames(
        cameras=[Camera(name, 5.0, crops, np.zeros(COUNT, dtype=np.int64)) for name in names],
        camera=np.repeat(np.arange(len(names)), COUNT),
        truth=np.zeros(size, dtype=np.int64),
        edge_logits=np.stack([np.log1p(-sure), np.log(sure)], axis=1).astype(np.float32),
        embedding=np.ones((size, 2), dtype=np.float32),
        full_macs=1.0,
    )


def outcome(frames: Frames, setting: Setting, right_by_camera: Sequence[float], num_bytes: float) -> Outcome:
    """Every frame is sent at `num_bytes`; the first share of each camera's frames is answered right."""
    right = np.concatenate([np.arange(COUNT) < share * COUNT for share in right_by_camera]).astype(float)
    ones = np.ones(right.size)
    return Outcome(setting, ones.astype(bool), Payload(right, 196 * ones, num_bytes * ones, ones))


def still(quality: int) -> Setting:
    return Setting("server_only", None, 0.0, "attention_sum", 1.0, 1, "webp", quality)


def test_a_setting_is_chosen_on_some_cameras_and_reported_on_the_others() -> None:
    """`gate` and `yard` choose, `door` reports: what looks best there need not be best here."""
    frames = frames_of(["gate", "yard", "door"])
    assert frames.has_halves
    outcomes = [
        outcome(frames, RAW, (1.0, 1.0, 1.0), 1000.0),
        outcome(frames, still(90), (1.0, 1.0, 0.5), 90.0),
        outcome(frames, still(50), (0.5, 0.5, 1.0), 50.0),
    ]
    choices = choose(frames, outcomes)
    assert choices.reported_on == "test"
    assert [each.test.setting for each in choices.frontier] == [still(50), still(90)]
    both = choices.near["every frame as stills"][NEAR.index(0.0)]
    assert both is not None
    # Quality 90 looks good to `gate` and `yard` and is half right at `door`; for 50 it is the other way round.
    assert both.settings == (still(90), still(50))
    assert both.accuracy == pytest.approx(0.5)
    assert both.bytes_per_frame == pytest.approx((90 + 2 * 50) / 3)
    assert both.batched_bytes_per_frame < both.bytes_per_frame
    assert both.gain == pytest.approx(-0.5)
    assert choices.near["every frame as stills"][NEAR.index(-0.01)] is None
    cheap = choices.within["every frame as stills"][BUDGETS.index(60)]
    assert cheap is not None
    assert cheap.settings == (still(50), still(50))
    assert choices.within["every frame as stills"][BUDGETS.index(45)] is None


def test_with_one_half_alone_choices_say_so() -> None:
    frames = frames_of(["gate", "yard"])
    assert not frames.has_halves
    choices = choose(
        frames, [outcome(frames, RAW, (1.0, 1.0), 9.0), outcome(frames, still(75), (0.9, 0.9), 5.0)]
    )
    assert choices.reported_on == "all"
    assert choices.near["every frame as stills"][: NEAR.index(0.05)] == (None,) * NEAR.index(0.05)


def test_every_way_to_send_has_its_family() -> None:
    frames = frames_of(["gate"])

    def named(setting: Setting) -> str | None:
        return family(frames.point(outcome(frames, setting, (1.0,), 1.0)))

    assert named(RAW) is None
    assert named(Setting("edge_only", None, None)) is None
    assert named(still(75)) == "every frame as stills"
    video = Setting("server_only", None, 0.0, "attention_sum", 1.0, 1, "h264-key2s", 26)
    gated = Setting("codec_gate", "min_entropy", 0.4, "attention_sum", 1.0, 1, "av1-key1", 35)
    held = Setting("codec_gate", "every_nth", 5.0, "attention_sum", 1.0, 1, "avif", 45)
    whole = Setting("codec_gate", "min_entropy", 0.4, "attention_sum", 1.0, 1, "avif", 45)
    patches = Setting("saccade", "min_entropy", 0.4, "attention_sum", 0.9, 1, "avif", 45)
    memories = [Setting(method, "min_entropy", 0.4, codec="avif") for method in ("belief", "fused", "hold")]
    found = [named(each) for each in (*memories, patches, whole, still(75), video, gated, held)]
    assert found == list(FAMILIES)
