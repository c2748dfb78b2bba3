import pytest

from lab.scenes.seeds import (
    CALIBRATION_SEEDS,
    RANGES,
    TEST_SEEDS,
    TRAIN_SEEDS,
    Split,
    assert_disjoint,
    assert_split,
    generator,
    split_of,
)


def test_no_seed_lies_in_two_splits() -> None:
    assert_disjoint(tuple(RANGES.values()))
    assert not set(TRAIN_SEEDS[-3:]) & set(CALIBRATION_SEEDS[:3])
    with pytest.raises(ValueError, match="overlap"):
        assert_disjoint((range(10), range(9, 12)))


@pytest.mark.parametrize("split", Split)
def test_every_range_belongs_to_its_split(split) -> None:
    assert split_of(RANGES[split][0]) == split_of(RANGES[split][-1]) == split


@pytest.mark.parametrize("seed", [-1, TEST_SEEDS.stop])
def test_a_seed_outside_all_ranges_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"seed {seed}"):
        split_of(seed)


def test_a_range_that_leaves_its_split_is_refused() -> None:
    assert_split(range(5), Split.TRAIN)
    with pytest.raises(ValueError, match="not all train"):
        assert_split(range(TRAIN_SEEDS.stop - 1, TRAIN_SEEDS.stop + 1), Split.TRAIN)


def test_generators_of_different_purposes_share_nothing() -> None:
    assert generator("view", 1).integers(1 << 60) != generator("place", 1).integers(1 << 60)
    assert generator("view", 1).integers(1 << 60) == generator("view", 1).integers(1 << 60)
