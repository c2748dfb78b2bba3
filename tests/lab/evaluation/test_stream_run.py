import json
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lab.errors import EvaluationError
from lab.evaluation.inference_cache import ChunkStore
from lab.evaluation.measurement import look
from lab.evaluation.points import Setting
from lab.evaluation.run import EvaluateRequest
from lab.evaluation.schemes import Whole
from lab.evaluation.stream import run
from lab.evaluation.stream.calibration import stream_recording
from lab.evaluation.stream.cameras import Camera, clip_cameras, rendered_cameras, track_cameras
from lab.evaluation.stream.frames import Frames, Outcome
from lab.evaluation.stream.rivals import DEFAULT_CODECS, Judge, gated_video_outcomes, video_outcomes
from lab.evaluation.stream.run import measure_cameras
from lab.progress import SilentProgress

pytestmark = pytest.mark.slow


def camera(name: str, seed: int) -> Camera:
    """A colour that changes now and then; the truth is its channel, every fifth frame is not scored."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, 3, 4), 5)
    crops = rng.integers(80, 120, (20, 14, 14, 1), dtype=np.uint8).repeat(16, 1).repeat(16, 2).repeat(3, 3)
    for idx, label in enumerate(truth):
        crops[idx, ..., label] += 60
    return Camera(name, 5.0, crops, np.where(np.arange(20) % 5 == 0, -1, truth))


@pytest.fixture
def cameras() -> Sequence[Camera]:
    return [camera("gate", 1), camera("door", 2)]


def test_one_source_gives_a_report_with_all_rivals(
    cameras: Sequence[Camera], tmp_path: Path, fake_model: type
) -> None:
    request = EvaluateRequest(out=tmp_path / "out", stream=True, cache=tmp_path / "cache")
    edge, server = fake_model("edge", blur=3.0), fake_model("server")
    part = measure_cameras(request, "test-5fps", cameras, edge, server, SilentProgress())
    name, points = part.name, part.points
    document = json.loads((request.out / name / "results.json").read_text())
    assert document["images"] == 40
    assert set(document) == {"data", "images", "edge", "server", "points"}
    codecs = {point["codec"] for point in document["points"]}
    assert {"raw", "avif", "h264-key1", "av1-key1"} <= codecs
    gates = {point["gate"] for point in document["points"]}
    assert {None, "min_entropy", "every_nth", "frame_difference"} <= gates
    assert {point["method"] for point in document["points"]} == {
        "edge_only", "server_only", "saccade", "codec_gate", "belief", "fused", "hold"
    }  # fmt: skip
    text = (request.out / name / "report.md").read_text()
    assert "one belief a camera" in text
    assert "every frame as video" in text
    assert "gated frames as video" in text
    assert len(points) == len(document["points"])


def test_without_rivals_what_asks_the_server_is_left(
    cameras: Sequence[Camera], tmp_path: Path, fake_model: type
) -> None:
    request = EvaluateRequest(out=tmp_path / "out", stream=True, rivals=False, cache=tmp_path / "cache")
    part = measure_cameras(
        request, "x", cameras, fake_model("edge", blur=3.0), fake_model("s"), SilentProgress()
    )
    assert {point.setting.codec for point in part.points} == {None, "raw", "avif"}
    rows = json.loads((request.out / "x" / "both_ways.json").read_text())
    assert {"one belief a camera", "patches + gate"} <= {row["family"] for row in rows}
    assert {row["condition"] for row in rows} == {"below_server", "bytes_per_frame"}


def test_frames_are_recorded_for_the_simulation(
    cameras: Sequence[Camera], tmp_path: Path, fake_model: type
) -> None:
    edge, server, store = fake_model("edge", blur=3.0), fake_model("s"), ChunkStore(tmp_path)
    views = [look(each.corpus, edge, store, SilentProgress(), rollouts=False) for each in cameras]
    wanted = [Whole(), *run.ASKS]
    frames, stills = run.recorded(cameras, views, wanted, server, store, SilentProgress())
    recording = stream_recording(frames, stills, run.ASKS)
    assert [point.delta for point in recording.families] == [0.06, 0.12]
    assert (recording.num_bytes[:, 0] < recording.num_bytes[:, 1]).all()
    assert recording.stream is not None
    np.testing.assert_array_equal(recording.scored, frames.scored)
    assert not recording.server_right[~recording.scored].any()
    np.testing.assert_allclose(recording.stream.server.sum(axis=2), 1.0, atol=1e-3)


def frames_of(cameras: Sequence[Camera]) -> Frames:
    truth = np.concatenate([each.truth for each in cameras])
    return Frames(
        cameras=cameras,
        camera=np.repeat(np.arange(len(cameras)), [len(each.crops) for each in cameras]),
        truth=truth,
        edge_logits=np.linspace([9.0, 0, 0], [1.0, 0, 0], truth.size, dtype=np.float32),
        embedding=np.ones((truth.size, 2), dtype=np.float32),
        full_macs=1000.0,
    )


def test_frames_that_are_not_scored_still_cost(cameras: Sequence[Camera]) -> None:
    frames = frames_of(cameras)
    everything = np.ones(40, dtype=bool)
    payload = frames.whole_payload(np.maximum(frames.truth, 0), np.full(40, 700.0))
    point = frames.point(Outcome(Setting("server_only", None, 0.0), everything, payload))
    assert point.figures.accuracy == 1.0
    assert point.figures.correct.size == 32
    assert point.figures.bytes_per_frame == 700
    assert point.figures.server_macs == 1000


def test_only_gated_frames_reach_the_encoder(
    cameras: Sequence[Camera], tmp_path: Path, fake_model: type
) -> None:
    frames, judge = frames_of(cameras), Judge(fake_model("s"), ChunkStore(tmp_path), SilentProgress())
    codec = DEFAULT_CODECS[0]
    (every,) = (frames.point(each) for each in video_outcomes(frames, [codec], judge))
    gated = [frames.point(each) for each in gated_video_outcomes(frames, [codec], judge)]
    assert every.figures.offload_ratio == 1.0
    assert [round(each.figures.offload_ratio, 3) for each in gated] == [0.2, 0.5]
    assert all(each.figures.bytes_per_frame < every.figures.bytes_per_frame for each in gated)


def test_rendered_cameras_are_reproducible() -> None:
    one, again = (rendered_cameras(1, 0.6, 5.0, 0, SilentProgress()) for _ in range(2))
    assert one[0].crops.shape == (3, 224, 224, 3)
    np.testing.assert_array_equal(one[0].crops, again[0].crops)
    np.testing.assert_array_equal(one[0].truth, again[0].truth)


def test_tracks_are_strung_in_the_order_of_their_frames(tmp_path: Path) -> None:
    """Seven tracks of three frames make a camera of five and one of two; a frame's grey tells track and place."""
    for track in range(7):
        folder = tmp_path / ("red", "green", "blue")[track % 3]
        folder.mkdir(exist_ok=True)
        for frame in range(3):
            grey = np.full((40, 40, 3), 30 * track + 10 * frame, dtype=np.uint8)
            Image.fromarray(grey).save(folder / f"{track:05}_{frame:05}.png")
    cameras = track_cameras(tmp_path, ("red", "green", "blue"))
    assert [len(each.crops) for each in cameras] == [15, 6]
    greys = np.concatenate([each.crops[:, 100, 100, 0] for each in cameras]).reshape(7, 3)
    assert (np.diff(greys, axis=1) == 10).all()
    tracks = greys[:, 0] // 30
    assert sorted(tracks.tolist()) == list(range(7))
    labels = np.concatenate([each.truth for each in cameras]).reshape(7, 3)
    np.testing.assert_array_equal(labels, np.repeat((tracks % 3)[:, None], 3, axis=1))
    with pytest.raises(EvaluationError, match="do not match"):
        track_cameras(tmp_path, ("cat", "dog"))


def test_clips_are_thinned_to_the_rate(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 240
        stream.pix_fmt = "yuv420p"
        for number in range(20):
            picture = np.full((240, 240, 3), 10 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (thin,) = clip_cameras(tmp_path, 10.0, 5.0)
    assert thin.crops.shape == (10, 224, 224, 3)
    assert (thin.truth == -1).all()
    levels = thin.crops.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, 20.0 * np.arange(10), atol=4)
    (own,) = clip_cameras(tmp_path, 1.0, 25.0)
    assert own.fps == 10
    assert len(own.crops) == 10
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(EvaluationError, match=r"clip.mp4"):
        clip_cameras(tmp_path, 1.0, 5.0)
    (tmp_path / "clip.mp4").unlink()
    with pytest.raises(EvaluationError, match="no clips"):
        clip_cameras(tmp_path, 1.0, 5.0)


def test_the_overview_lists_every_source_and_rate(
    cameras: Sequence[Camera], tmp_path: Path, fake_model: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "rendered_cameras", lambda *_: cameras)
    monkeypatch.setattr(run, "DEFAULT_CODECS", DEFAULT_CODECS[:1])
    request = EvaluateRequest(out=tmp_path / "out", stream=True, cache=tmp_path / "cache")
    model = fake_model("one")
    page = run.evaluate_stream(request, model, model, SilentProgress())
    text = page.read_text()
    for fps in (1, 5, 25):
        assert f"## scenes-{fps}fps" in text
        assert (request.out / f"scenes-{fps}fps" / "plots" / "methods_by_bytes.png").exists()
    assert "same weights" in text
