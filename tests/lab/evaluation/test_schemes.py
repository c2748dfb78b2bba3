import numpy as np
import pytest

from lab.evaluation.schemes import (
    EDGE,
    DetailOnRequest,
    Downscaled,
    FrameFacts,
    MaskedFill,
    RandomPatches,
    Ranked,
    Restorers,
    Scheme,
    Tiered,
    Whole,
    downscale,
    low_resolution_source,
    scheme_key,
    upscale,
)
from lab.evaluation.selection import Rule, kept_positions
from vit.preprocess import to_patches


@pytest.fixture
def crop() -> np.ndarray:
    ramp = np.linspace(0, 255, 224)
    picture = np.stack([np.add.outer(ramp, ramp) / 2, np.tile(ramp, (224, 1)), np.full((224, 224), 90)], -1)
    return picture.astype(np.uint8)


@pytest.fixture
def facts() -> FrameFacts:
    row = np.random.default_rng(0).random(196).astype(np.float32)
    row /= row.sum()
    return FrameFacts("a.png", {EDGE: row, low_resolution_source(2): row})


QUARTER = Rule("top_k", 0.25)


def test_raw_ranked_patches_are_the_most_attended_pixels(crop: np.ndarray, facts: FrameFacts) -> None:
    sent = Ranked(QUARTER).apply(crop, facts)
    np.testing.assert_array_equal(sent.positions, kept_positions(facts.attention[EDGE], 49))
    np.testing.assert_array_equal(sent.patches, to_patches(crop)[sent.positions])
    assert sent.sent_patches == 49


def test_the_whole_image_needs_no_attention(crop: np.ndarray) -> None:
    sent = Whole().apply(crop, FrameFacts("a.png", {}))
    np.testing.assert_array_equal(sent.patches, to_patches(crop))
    assert sent.sent_patches == 196
    assert Whole("avif", 45).apply(crop, FrameFacts("a.png", {})).wire_bytes < sent.wire_bytes / 5


def test_random_patches_are_as_many_as_the_rule_keeps(crop: np.ndarray, facts: FrameFacts) -> None:
    rule = Rule("attention_sum", 0.8)
    chosen, drawn = Ranked(rule).apply(crop, facts), RandomPatches(rule, 1).apply(crop, facts)
    assert drawn.positions.size == chosen.positions.size
    assert not np.array_equal(drawn.positions, chosen.positions)
    assert (np.diff(drawn.positions) > 0).all()


def test_tiers_put_the_sharp_codec_where_attention_is(crop: np.ndarray, facts: FrameFacts) -> None:
    grey = np.random.default_rng(1).integers(0, 255, (224, 224, 1), dtype=np.uint8)
    noisy = np.repeat(grey, 3, axis=2)
    sent = Tiered(QUARTER, "webp", 95, 5).apply(noisy, facts)
    error = np.abs(sent.patches.astype(int) - to_patches(noisy)[sent.positions]).mean(axis=(1, 2, 3))
    sharp = np.isin(sent.positions, kept_positions(facts.attention[EDGE], 24))
    assert sharp.sum() == 24
    assert error[sharp].mean() < error[~sharp].mean() / 1.5
    assert sent.sent_patches == 49


def test_downscaling_sends_a_square_root_of_the_pixels_each_way(crop: np.ndarray) -> None:
    assert downscale(crop, 4).shape == (56, 56, 3)
    assert upscale(downscale(crop, 4)).shape == (224, 224, 3)
    sent = Downscaled(4).apply(crop, FrameFacts("a", {}))
    assert sent.sent_patches == 196 / 16
    assert sent.patches.shape == (196, 16, 16, 3)
    smooth_error = np.abs(sent.patches.astype(int) - to_patches(crop)).mean()
    assert smooth_error < 2


def test_requested_detail_is_sharp_and_the_rest_is_round_one(crop: np.ndarray, facts: FrameFacts) -> None:
    noisy = np.random.default_rng(1).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    sent = DetailOnRequest(2, 0.25).apply(noisy, facts)
    asked = kept_positions(facts.attention[low_resolution_source(2)], 49)
    np.testing.assert_array_equal(sent.patches[asked], to_patches(noisy)[asked])
    others = np.setdiff1d(np.arange(196), asked)
    np.testing.assert_array_equal(sent.patches[others], to_patches(upscale(downscale(noisy, 2)))[others])
    assert sent.sent_patches == 49
    assert sent.positions.size == 196


def test_two_masked_rounds_hold_one_twice_as_large(crop: np.ndarray) -> None:
    """Round two pays for its own patches only, and both together show what one large round shows."""
    nothing = FrameFacts("a.png", {})
    first = MaskedFill(0.25, 1).apply(crop, nothing)
    second = MaskedFill(0.25, 1, 0.25).apply(crop, nothing)
    both = MaskedFill(0.5, 1).apply(crop, nothing)
    assert (first.sent_patches, second.sent_patches, both.sent_patches) == (49, 49, 98)
    np.testing.assert_array_equal(second.patches, both.patches)
    visible = (first.patches == to_patches(crop)).all(axis=(1, 2, 3))
    assert visible.sum() == 49


@pytest.mark.parametrize(
    "scheme",
    [
        Whole("jpeg", 60),
        Ranked(QUARTER, "webp", 50),
        RandomPatches(QUARTER, 3),
        Tiered(QUARTER, "webp", 90, 40),
        Downscaled(2),
        DetailOnRequest(2, 0.1),
        MaskedFill(0.2, 1, 0.1),
    ],
)
def test_the_promised_count_is_what_the_server_computes_on(
    scheme: Scheme, crop: np.ndarray, facts: FrameFacts
) -> None:
    attention = {name: row[None] for name, row in facts.attention.items()}
    sent = scheme.apply(crop, facts)
    assert scheme.processed(attention, 1).tolist() == [sent.positions.size]
    assert sent.patches.shape == (sent.positions.size, 16, 16, 3)
    assert sent.wire_bytes > 300


def test_keys_tell_schemes_apart() -> None:
    keys = [
        scheme_key(each) for each in (Whole(), Ranked(QUARTER), Ranked(Rule("top_k", 0.3)), Downscaled(2))
    ]
    assert len({str(key) for key in keys}) == 4


def test_restoring_networks_replace_bicubic_and_mean_colour(crop: np.ndarray) -> None:
    restorers = Restorers(
        {"net": lambda small: np.full((224, 224, 3), small.shape[0], np.uint8)},
        {"paint": lambda crop, visible: np.full((196, 16, 16, 3), visible.size, np.uint8)},
    )
    facts = FrameFacts("a.png", {}, restorers)
    assert set(Downscaled(4, "net").apply(crop, facts).patches.ravel().tolist()) == {56}
    assert set(MaskedFill(0.25, 1, 0.25, "paint").apply(crop, facts).patches.ravel().tolist()) == {98}
