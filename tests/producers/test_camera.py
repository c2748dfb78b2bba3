from __future__ import annotations

import pytest

from producers.camera import CameraSpec, check_names
from producers.drop_queue import DropPolicy
from schemas.errors import SettingsError


def test_parse_takes_the_name_before_the_first_equals_sign() -> None:
    spec = CameraSpec.parse(" front = rtsp://cam/live?token=a=b", fps=5, loop=True, limit=3)
    assert (spec.name, spec.fps, spec.loop, spec.limit) == ("front", 5, True, 3)
    assert str(spec) == "front=rtsp://cam/live?***"


@pytest.mark.parametrize(
    ("text", "live", "self_paced", "policy"),
    [
        ("a=rtsp://cam/live", True, True, DropPolicy.OLDEST),
        ("a=webcam:0", True, True, DropPolicy.OLDEST),
        ("a=scenes:1", False, False, DropPolicy.NEVER),
        ("a=scenes:1?live=true", True, False, DropPolicy.OLDEST),
    ],
)
def test_the_kind_of_source_decides_liveness_and_the_default_policy(
    text: str, live: bool, self_paced: bool, policy: DropPolicy
) -> None:
    spec = CameraSpec.parse(text)
    assert (spec.live, spec.self_paced, spec.drop_policy("auto")) == (live, self_paced, policy)


def test_a_cameras_own_policy_wins_over_the_setting_over_the_kind() -> None:
    spec = CameraSpec.parse("a=rtsp://cam/live")
    assert spec.drop_policy("newest") is DropPolicy.NEWEST
    own = CameraSpec.parse("a=rtsp://cam/live", drop=DropPolicy.NEVER)
    assert own.drop_policy("newest") is DropPolicy.NEVER


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("scenes:1", {}, "NAME=SOURCE"),
        ("rtsp://u:hunter2@cam/x?a=b", {}, "NAME=SOURCE"),
        ("=scenes:1", {}, "camera ''"),
        ("a/b=scenes:1", {}, "camera 'a/b'"),
        ("a=scenes:1", {"fps": -1.0}, "fps -1"),
        ("a=scenes:1", {"fps": float("nan")}, "fps nan"),
        ("a=scenes:1", {"limit": 0}, "limit 0"),
    ],
)
def test_a_bad_camera_is_one_clear_line(text: str, options: dict[str, float], says: str) -> None:
    with pytest.raises(SettingsError) as error:
        CameraSpec.parse(text, **options)  # type: ignore[arg-type]
    assert says in str(error.value)
    assert "hunter2" not in str(error.value)


def test_two_cameras_of_one_name_are_refused() -> None:
    cameras = [CameraSpec.parse("a=scenes:1"), CameraSpec.parse("a=scenes:2")]
    with pytest.raises(SettingsError, match="'a' twice"):
        check_names(cameras)


def test_a_camera_without_a_site_is_one_of_the_settings_site() -> None:
    cameras = [CameraSpec.parse("a=scenes:1"), CameraSpec.parse("a=scenes:2", site="north")]
    check_names(cameras, site="south")
    with pytest.raises(SettingsError, match="'a' twice"):
        check_names(cameras, site="north")
