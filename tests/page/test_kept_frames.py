"""The file of kept frames: bounded, fair, and the same after a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from page.keeping import Doubt, Reason
from page.kept_frames import KeptFrames, Outcome
from schemas.errors import SettingsError, TransientError
from schemas.frame import Frame

MIB = 1024 * 1024


def doubt(seq: int, camera: str = "gate", reason: Reason = Reason.UNSURE, confidence: float = 0.5) -> Doubt:
    return Doubt(camera, seq, seq * 10**9, reason, "stop", confidence, "yield", "stop")


Keep = Callable[..., Outcome]


@pytest.fixture
def keep(jpeg: Callable[[int], bytes]) -> Keep:
    """`keep(kept, doubt, seed, image)`: the picture is the seed's, or the frame's own."""

    def kept_in(
        kept: KeptFrames, given: Doubt, seed: int | None = None, image: bytes | None = None
    ) -> Outcome:
        thumbnail = jpeg(given.seq if seed is None else seed)
        frame = Frame("", given.camera, given.seq, given.captured_ns, 64, 64, "jpeg", image or thumbnail)
        return kept.keep(given, frame, thumbnail)

    return kept_in


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "harvest.sqlite"


def test_frames_and_labels_survive_a_restart(path: Path, keep: Keep, jpeg: Callable[[int], bytes]) -> None:
    first = KeptFrames.open(path, max_bytes=MIB)
    assert keep(first, doubt(1)) is Outcome.KEPT
    assert keep(first, doubt(2), image=b"as it came") is Outcome.KEPT
    first.label({1: "no entry"})
    first.close()
    again = KeptFrames.open(path, max_bytes=MIB)
    one, two = again.frames()
    assert (one.camera, one.seq, one.edge, one.server, one.label) == ("gate", 1, "yield", "stop", "no entry")
    assert (two.label, again.image(two.id), again.thumbnail(two.id)) == (
        None,
        ("jpeg", b"as it came"),
        jpeg(2),
    )
    assert again.names() == {"stop", "yield", "no entry"}
    assert path.stat().st_mode & 0o777 == 0o600
    again.close()


def test_the_same_frame_and_one_that_looks_like_it_are_kept_once(kept: KeptFrames, keep: Keep) -> None:
    assert keep(kept, doubt(1)) is Outcome.KEPT
    assert keep(kept, doubt(1)) is Outcome.KNOWN
    assert keep(kept, doubt(2), seed=1) is Outcome.NEAR_DUPLICATE
    assert keep(kept, doubt(2, "yard"), seed=1) is Outcome.KEPT
    assert keep(kept, doubt(3, reason=Reason.MARKED), seed=1) is Outcome.KEPT
    assert keep(kept, doubt(1, reason=Reason.MARKED)) is Outcome.KNOWN
    assert [each.reason for each in kept.frames() if each.seq == 1] == [Reason.MARKED]


def test_the_file_stays_within_its_size_and_no_camera_fills_it(
    kept: KeptFrames, path: Path, keep: Keep
) -> None:
    image = bytes(40_000)
    for seq in range(1, 60):
        for camera in ["gate"] * 3 + ["yard"] * (seq % 10 == 0):
            keep(kept, doubt(seq, camera, confidence=0.5), image=image)
        assert path.stat().st_size <= MIB
    by_camera = {each["camera"]: each for each in kept.counts()}
    assert by_camera["yard"]["kept"] == 5
    assert by_camera["gate"]["kept"] > 10
    assert sum(each["num_bytes"] for each in by_camera.values()) <= MIB


def test_what_people_labelled_stays_and_then_there_is_no_room(kept: KeptFrames, keep: Keep) -> None:
    image = bytes(200_000)
    for seq in range(1, 5):
        assert keep(kept, doubt(seq), image=image) is Outcome.KEPT
    kept.label({each.id: "stop" for each in kept.frames()})
    assert keep(kept, doubt(5), image=bytes(400_000)) is Outcome.NO_ROOM
    assert [each.seq for each in kept.frames("labelled")] == [1, 2, 3, 4]


def test_labels_are_taken_back_with_what_they_replaced(kept: KeptFrames, keep: Keep) -> None:
    for seq in (1, 2, 3):
        keep(kept, doubt(seq))
    ids = [each.id for each in kept.frames("open")]
    before = kept.label({ids[0]: "stop", ids[1]: "", 999: "stop"})
    assert before == {ids[0]: None, ids[1]: None}
    assert [each.id for each in kept.frames("open")] == [ids[2]]
    assert [each.id for each in kept.frames("labelled")] == [ids[0]]
    assert [each.id for each in kept.frames("left_out")] == [ids[1]]
    (counts,) = kept.counts()
    assert (counts["kept"], counts["unsure"], counts["open"], counts["labelled"], counts["left_out"]) == (
        3,
        3,
        1,
        1,
        1,
    )
    kept.label(before)
    assert [each.id for each in kept.frames("open")] == ids


def test_frames_with_the_same_answer_stand_together_the_worthiest_first(kept: KeptFrames, keep: Keep) -> None:
    for seq, reason in enumerate([Reason.UNSURE, Reason.DISAGREE, Reason.MARKED], 1):
        keep(kept, doubt(seq, reason=reason))
    assert [each.seq for each in kept.frames()] == [3, 2, 1]
    assert len(kept.frames(limit=2)) == 2


def test_what_is_no_such_file_is_refused(path: Path) -> None:
    with pytest.raises(SettingsError, match=r"harvest\.file .*No such file"):
        KeptFrames.open(path.parent / "missing" / "x", max_bytes=MIB)
    path.write_bytes(b"something else" * 100)
    with pytest.raises(SettingsError, match="not a database"):
        KeptFrames.open(path, max_bytes=MIB)
    assert path.read_bytes().startswith(b"something else")


def test_a_full_disk_is_passing(kept: KeptFrames, keep: Keep) -> None:
    kept._connection.execute("PRAGMA max_page_count = 12")
    with pytest.raises(TransientError, match="full"):
        keep(kept, doubt(1), image=bytes(100_000))
    kept._connection.execute("PRAGMA max_page_count = 10000")
    assert keep(kept, doubt(1)) is Outcome.KEPT
