import numpy as np

from gating.select import attention_sum_counts
from lab.training.shape.choices import ALL, CALIBRATED, GATED, SHARES, WHOLE, gated, share
from schemas.geometry import NUM_PATCHES


def attention() -> np.ndarray:
    raw = np.random.default_rng(0).dirichlet(np.full(NUM_PATCHES, 0.2), 5)
    return raw.astype(np.float32)


def test_names_are_unique() -> None:
    assert len({choice.name for choice in ALL}) == len(ALL)


def test_every_choice_by_attention_has_a_twin_by_chance() -> None:
    for choice in ALL:
        if choice.by_attention and choice != WHOLE:
            twin = (
                share(choice.share, by_attention=False)
                if choice.share is not None
                else gated(choice.delta, choice.floor, by_attention=False)
            )
            assert twin in ALL
            assert (twin.counts(attention()) == choice.counts(attention())).all()


def test_shares_keep_the_same_number_of_every_scene() -> None:
    for value in SHARES:
        assert set(share(value).counts(attention())) == {round(value * NUM_PATCHES)}
    assert set(WHOLE.counts(attention())) == {NUM_PATCHES}


def test_gated_treatments_follow_the_attention_sum_rule() -> None:
    for delta, floor in GATED:
        expected = attention_sum_counts(attention(), delta, floor)
        assert (gated(delta, floor).counts(attention()) == expected).all()
        assert gated(delta, floor) in CALIBRATED
