from __future__ import annotations

import json

from saccade.camera_view import camera_rows
from schemas.camera_state import CameraState

NOW_NS = 10**18
ONLINE = CameraState("s/a", "online", "rtsp://h/s", NOW_NS, 4.96, NOW_NS - 3 * 10**9, 120, 0)
LOST = CameraState(
    "s/long",
    "waiting",
    "x",
    NOW_NS,
    0.0,
    0,
    0,
    3,
    {"late": 2},
    "login_refused",
    "refused",
    NOW_NS - 300 * 10**9,
)
GONE = CameraState("s/g", "online", "x", NOW_NS - 60 * 10**9, 5.0, NOW_NS - 60 * 10**9, 9, 0)


def test_a_person_reads_one_line_a_camera() -> None:
    header, online, lost, gone = camera_rows([ONLINE, LOST, GONE], NOW_NS, as_json=False)
    assert header.split()[:3] == ["camera", "state", "frames/s"]
    assert online.split() == ["s/a", "online", "5.0", "3", "s", "ago", "120", "none", "0"]
    assert "waiting" in lost
    assert "never" in lost
    assert lost.endswith("login_refused, 5 min ago: refused")
    assert gone.split()[1] == "offline"


def test_a_program_reads_one_object_a_camera() -> None:
    found = [json.loads(row) for row in camera_rows([ONLINE, LOST, GONE], NOW_NS, as_json=True)]
    assert [each["online"] for each in found] == [True, False, False]
    assert found[1]["error"] == "login_refused"
