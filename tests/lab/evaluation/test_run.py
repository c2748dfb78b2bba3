import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab.errors import EvaluationError
from lab.evaluation.corpus import folder_corpus
from lab.evaluation.measurement import time_models
from lab.evaluation.points import METHODS
from lab.evaluation.run import EvaluateRequest, measure
from lab.progress import SilentProgress

pytestmark = pytest.mark.slow

CLASSES = ("red", "green", "blue")
KEYS = {
    *("method", "gate", "tau", "selection", "delta", "min_patches", "codec", "quality", "split", "accuracy"),
    *("accuracy_ci", "offload_ratio", "patches_mean", "bytes_per_offload", "patch_cost", "bytes_per_frame"),
    *("server_macs", "memory"),
}


class Lines(SilentProgress):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def request_(image_folder: Path, tmp_path: Path) -> EvaluateRequest:
    return EvaluateRequest(out=tmp_path / "out", data=image_folder, cache=tmp_path / "cache")


def test_one_call_writes_the_whole_report(
    request_: EvaluateRequest, image_folder: Path, fake_model: type
) -> None:
    (image_folder / "red" / "broken.png").write_bytes(b"\x89PNG no")
    models = [fake_model("edge", blur=2.0), fake_model("server", blur=0.5), fake_model("other", blur=1.0)]
    progress = Lines()
    page = measure(request_, folder_corpus(image_folder, CLASSES), models, progress)
    text = page.read_text()
    for part in ("Table I", "Table II", "Table III", "Fig. 8", "Fig. 9", "Fig. 10", "Figs. 11 and 12"):
        assert part in text
    for part in ("Fig. 13", "Fig. 14", "Figs. 15 and 16", "reconstruction", "broken.png", "147.24"):
        assert part in text
    document = json.loads((request_.out / "results.json").read_text())
    assert set(document) == {"data", "images", "edge", "server", "points"}
    assert document["images"] == 12
    assert set(document["edge"]) == {"model", "top1"}
    assert {point["method"] for point in document["points"]} == {*METHODS, "fused"}
    assert all(set(point) == KEYS for point in document["points"])
    assert {point["split"] for point in document["points"]} == {"all", "test"}
    for name in ("points.csv", "per_class.csv", "kept_patches.csv", "comparisons.csv", "risk_coverage.csv"):
        assert (request_.out / name).stat().st_size > 20
    assert (request_.out / "plots" / "methods_by_bytes.png").read_bytes()[:4] == b"\x89PNG"
    assert "at most 20 full server passes each" in progress.lines[0]
    assert any("minutes to go" in line for line in progress.lines)
    assert any("unreadable" in line for line in progress.lines)


def test_a_second_run_takes_everything_from_the_cache(
    request_: EvaluateRequest, image_folder: Path, fake_model: type
) -> None:
    first = [fake_model("edge", blur=2.0), fake_model("server")]
    measure(request_, folder_corpus(image_folder, CLASSES), first, SilentProgress())
    before = (request_.out / "results.json").read_text()
    second = [fake_model("edge", blur=2.0), fake_model("server")]
    measure(request_, folder_corpus(image_folder, CLASSES), second, SilentProgress())
    # Two timed batches each, and nothing else.
    assert [model.calls for model in second] == [2, 2]
    assert (request_.out / "results.json").read_text() == before


def test_a_stopped_run_goes_on_where_it_was_and_says_the_same(
    request_: EvaluateRequest, image_folder: Path, fake_model: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of the server's passes: the second run makes the missing ones alone."""
    corpus = folder_corpus(image_folder, CLASSES)
    undisturbed = replace(request_, out=request_.out / "once", cache=request_.cache / "once")
    models = [fake_model("edge", blur=2.0), fake_model("server")]
    measure(undisturbed, corpus, models, SilentProgress())
    stopped = [fake_model("edge", blur=2.0), fake_model("server")]
    classify, limit = stopped[1].classify, 12

    def until_interrupted(patches: list[np.ndarray], positions: list[np.ndarray]) -> np.ndarray:
        if stopped[1].calls == limit:
            raise KeyboardInterrupt
        return np.asarray(classify(patches, positions))

    monkeypatch.setattr(stopped[1], "classify", until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(request_, corpus, stopped, SilentProgress())
    resumed = [fake_model("edge", blur=2.0), fake_model("server")]
    measure(request_, corpus, resumed, SilentProgress())
    # Both runs time the model with two batches.
    assert stopped[1].calls + resumed[1].calls == models[1].calls + 2
    assert resumed[0].calls == 2
    for name in ("results.json", "comparisons.csv", "per_class.csv"):
        assert (request_.out / name).read_text() == (undisturbed.out / name).read_text()


def test_images_that_cannot_be_read_are_not_timed(
    request_: EvaluateRequest, image_folder: Path, fake_model: type
) -> None:
    (image_folder / "blue" / "a-first.png").write_bytes(b"\x89PNG no")
    corpus = folder_corpus(image_folder, CLASSES)
    timings = time_models(corpus, fake_model("edge"), fake_model("server"))
    assert timings.edge_ms > 0
    for path in image_folder.rglob("*.png"):
        path.write_bytes(b"\x89PNG no")
    with pytest.raises(EvaluationError, match="none of 13 images is readable"):
        time_models(corpus, fake_model("edge"), fake_model("server"))


def test_equal_weights_are_said_and_meaningless_parts_left_out(
    request_: EvaluateRequest, image_folder: Path, fake_model: type
) -> None:
    model = fake_model("one", blur=2.0)
    page = measure(request_, folder_corpus(image_folder, CLASSES), [model, model], SilentProgress())
    text = page.read_text()
    assert "same weights" in text
    assert "AUROC" in text
    assert "loss against the raw whole image" in text
    document = json.loads((request_.out / "results.json").read_text())
    methods = {point["method"] for point in document["points"]}
    assert not methods & {"oracle_gate", "random_gate", "codec_gate"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "--data DIR or rendered scenes"),
        ({"data": Path(), "scenes": 3}, "not both"),
        ({"scenes": 3, "labels": Path()}, "--labels"),
        ({"scenes": 3, "limit": 0}, "limit: 0"),
        ({"scenes": 3, "clips": Path()}, "--clips"),
        ({"scenes": 3, "tracks": Path()}, "--tracks"),
        ({"stream": True, "data": Path()}, "--stream"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        EvaluateRequest(out=Path("out"), **fields)  # type: ignore[arg-type]
