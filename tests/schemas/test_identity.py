"""Camera ids: unique across sites, safe in keys, labels and file names."""

from __future__ import annotations

import pytest

from schemas.errors import DecodeError
from schemas.identity import camera_id, check_camera, check_site


def test_a_camera_carries_its_site() -> None:
    assert camera_id("", "gate-1") == "gate-1"
    assert camera_id("north", "gate-1") == "north/gate-1"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "../x", "a/b", ".x", "ü", "x" * 129, "a\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(DecodeError):
        camera_id("", name)
    with pytest.raises(DecodeError):
        camera_id("north", name)


def test_a_camera_of_another_site_is_refused() -> None:
    with pytest.raises(DecodeError, match="south/gate"):
        check_camera("north", "south/gate")
    with pytest.raises(DecodeError, match="SITE/NAME"):
        check_camera("north", "gate")


def test_no_site_is_a_site() -> None:
    check_site("")
    with pytest.raises(DecodeError):
        check_site("a/b")
