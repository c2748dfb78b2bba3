"""Cameras from a file: what it may hold, what is refused with its line, and edits while they run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog

from producers.camera import CameraSpec
from producers.camera_file import followed, load_cameras
from producers.drop_queue import DropPolicy
from producers.region import Region
from producers.sources.stream import StreamUrl
from schemas.errors import SettingsError

WHOLE_FILE = """
[front]
source = "rtsp://10.0.0.7/stream"
user = "admin"
password_file = "front.password"
transport = "udp"
fps = 2.5
drop = "newest"
site = "north"
crop = [0.0, 0.2, 1.0, 1.0]
mask = [[0.0, 0.0, 0.3, 0.1], [0.9, 0.9, 1, 1]]

["back.yard"]
source = "scenes:1"
limit = 3
loop = true
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "cameras.toml"
    path.write_bytes(text.encode())
    return path


def source_of(spec: CameraSpec) -> StreamUrl:
    assert isinstance(spec.source, StreamUrl)
    return spec.source


def test_a_camera_has_all_that_its_table_says(tmp_path: Path) -> None:
    (tmp_path / "front.password").write_text("p@ss/1#\n")
    front, back = load_cameras(written(tmp_path, WHOLE_FILE))
    assert (front.name, front.fps, front.drop, front.site) == ("front", 2.5, DropPolicy.NEWEST, "north")
    assert front.region == Region((0.0, 0.2, 1.0, 1.0), ((0.0, 0.0, 0.3, 0.1), (0.9, 0.9, 1.0, 1.0)))
    assert source_of(front).url == "rtsp://admin:p%40ss%2F1%23@10.0.0.7/stream"
    assert source_of(front).transport == "udp"
    assert "p@ss" not in repr(front)
    assert (back.name, back.limit, back.loop, back.site) == ("back.yard", 3, True, None)


def test_a_password_may_come_from_the_environment(tmp_path: Path) -> None:
    path = written(tmp_path, '[a]\nsource = "rtsp://h/s"\nuser = "u"\npassword_env = "SECRET"\n')
    (camera,) = load_cameras(path, {"SECRET": "x y"})
    assert source_of(camera).url == "rtsp://u:x%20y@h/s"
    with pytest.raises(SettingsError, match="line 4: camera a, password_env: the variable SECRET is not set"):
        load_cameras(path, {})


def test_files_of_other_systems_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeff[a]\r\nsource = "scenes:1"\r\n')
    assert [camera.name for camera in load_cameras(path)] == ["a"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[a]\nsource = "scenes:1"\nfsp = 5\n', "line 3: camera a, fsp: no such key; known are source, fps,"),
        ('[a]\nsource = "scenes:1"\n\n[b]\nfps = 3\n', "line 4: camera b, source: Field required"),
        ('[a]\nsource = "scenes:1"\nfps = -1\n', "line 3: camera a, fps: want greater than or equal to 0"),
        (
            '[a]\nfps = 1\nsource = "nothing/there"\n',
            "line 3: camera a, source: source 'nothing/there': there is no",
        ),
        (
            '[a]\nsource = "scenes:1"\ndrop = "all"\n',
            "line 3: camera a, drop: want 'newest', 'oldest' or 'never'",
        ),
        (
            '[a]\nsource = "scenes:1"\ncrop = [0, 0, 2, 1]\n',
            "line 3: camera a, crop: crop [0, 0, 2, 1]: want left",
        ),
        ('[a]\nsource = "scenes:1"\nmask = [[0, 1]]\n', "line 3: camera a, mask:"),
        (
            '[a]\nsource = "scenes:1"\nuser = "u"\n',
            "line 2: camera a, source: user, password and transport belong",
        ),
        (
            '[a]\nsource = "rtsp://u:p@h/s"\nuser = "v"\n',
            "line 2: camera a, source: give the user in the source or",
        ),
        (
            '[a]\nsource = "rtsp://u:hunter2#@h/s"\n',
            "line 2: camera a, source: source rtsp://***@…: user or password",
        ),
        (
            '[a]\nsource = "rtsp://h/s"\npassword_file = "no"\n',
            "line 3: camera a, password_file: 'no': No such file",
        ),
        (
            '[a]\nsource = "rtsp://h/s"\npassword_file = "~no-such-user/p"\n',
            "line 3: camera a, password_file: '~no-such-user/p': Could not determine home",
        ),
        (
            '[a]\nsource = "rtsp://h/s"\npassword_file = "a\\u0000b"\n',
            "line 3: camera a, password_file: 'a\\x00b': embedded null byte",
        ),
        (
            '[a]\nsource = "~no-such-user/x.mp4"\n',
            "line 2: camera a, source: source '~no-such-user/x.mp4': there is no home folder of this user",
        ),
        (f"a = {'[' * 20_000}", "cameras.toml: nested too deeply"),
        (f"a = {'1' * 5_000}", "cameras.toml: ValueError: Exceeds the limit"),
        ('["a/b"]\nsource = "scenes:1"\n', "line 2: camera a/b, source: camera 'a/b'"),
        ("a = 1\n", "line 1: camera a: want a table of its own"),
        ("[a]\nsource = scenes\n", "line 2: no TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_without_a_password(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load_cameras(written(tmp_path, text), {})
    assert says in str(error.value)
    assert str(tmp_path / "cameras.toml") in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_file_that_is_no_text_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cameras.toml"
    path.write_bytes(b"# a\n[a]\nsource = '\xff'\n")
    with pytest.raises(SettingsError, match="line 3: no UTF-8 text"):
        load_cameras(path)


async def test_edits_are_followed_and_wrong_ones_leave_the_cameras_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.camera_file.LOOK_S", 0.005)
    secret = tmp_path / "s"
    secret.write_text("one")
    path = written(tmp_path, '[a]\nsource = "rtsp://h/s"\npassword_file = "s"\n')
    changes = followed(path)

    async def after(text: str | None) -> list[str]:
        if text is not None:
            written(tmp_path, text)
        async with asyncio.timeout(5):
            return [
                str(getattr(camera.source, "url", camera.source.shown)) for camera in await anext(changes)
            ]

    assert await after(None) == ["rtsp://:one@h/s"]
    with structlog.testing.capture_logs() as logs:
        written(tmp_path, "[a]\nsource = 7\n")
        waiting = asyncio.create_task(after(None))
        async with asyncio.timeout(5):
            while not logs:  # noqa: ASYNC110 - the log has no event
                await asyncio.sleep(0.005)
    assert not waiting.done()
    assert "line 2: camera a, source" in logs[0]["why"]
    written(tmp_path, '[b]\nsource = "scenes:2"\n')
    assert await waiting == ["scenes:2?width=640&height=480"]
    assert await after('[a]\nsource = "rtsp://h/s"\npassword_file = "s"\n') == ["rtsp://:one@h/s"]
    secret.write_text("two")
    assert await after(None) == ["rtsp://:two@h/s"]
    await changes.aclose()  # type: ignore[attr-defined]


async def test_a_file_that_is_wrong_at_its_first_look_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def next_look(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            written(tmp_path, '[b]\nsource = "scenes:2"\n')

    monkeypatch.setattr("producers.camera_file.asyncio.sleep", next_look)
    changes = followed(written(tmp_path, f"a = {'[' * 20_000}"))
    with structlog.testing.capture_logs() as logs:
        assert [camera.name for camera in await anext(changes)] == ["b"]
    assert [log["event"] for log in logs] == ["cameras unchanged"]
    assert looks == 3
    await changes.aclose()  # type: ignore[attr-defined]
