import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lab.evaluation.split import calibration_half


@given(st.lists(st.text(max_size=20), max_size=30), st.lists(st.text(max_size=20), max_size=30))
def test_a_names_half_does_not_depend_on_the_other_names(names: list[str], others: list[str]) -> None:
    together = calibration_half([*names, *others])
    assert together[: len(names)].tolist() == calibration_half(names).tolist()


def test_the_halves_are_about_equal() -> None:
    assert 0.45 < calibration_half([f"{i}.jpg" for i in range(4000)]).mean() < 0.55


def test_frames_of_one_camera_stand_on_one_side() -> None:
    half = calibration_half(["gate"] * 5 + ["yard"] * 5)
    assert len(np.unique(half[:5])) == len(np.unique(half[5:])) == 1
