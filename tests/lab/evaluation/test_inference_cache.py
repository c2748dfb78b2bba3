from pathlib import Path

import numpy as np
import pytest

from lab.evaluation import inference_cache
from lab.evaluation.corpus import folder_corpus
from lab.evaluation.inference_cache import (
    AttentionOf,
    ChunkStore,
    answer,
    glance,
    glance_treated,
    missing_answers,
)
from lab.evaluation.schemes import EDGE, Downscaled, Ranked, Scheme, Whole
from lab.evaluation.selection import Rule
from lab.progress import SilentProgress

CLASSES = ("red", "green", "blue")
SCHEMES: list[Scheme] = [Whole(), Ranked(Rule("top_k", 0.25)), Whole("jpeg", 50)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference_cache, "CHUNK_IMAGES", 5)


def test_a_second_run_computes_nothing_and_says_the_same(
    image_folder: Path, tmp_path: Path, fake_model: type
) -> None:
    corpus, store, silent = folder_corpus(image_folder, CLASSES), ChunkStore(tmp_path / "c"), SilentProgress()
    model = fake_model()
    first = glance(corpus, model, ["last"], store, silent)
    attention = {EDGE: AttentionOf(first.attention["last"], model.facts.identity)}
    answers = answer(corpus, model, SCHEMES, attention, store, silent)
    made = model.calls
    assert missing_answers(corpus, model, SCHEMES[0], attention, store) == 0
    again = glance(folder_corpus(image_folder, CLASSES), model, ["last"], store, silent)
    answers_again = answer(corpus, model, SCHEMES, attention, store, silent)
    assert model.calls == made
    np.testing.assert_array_equal(first.logits, again.logits)
    for scheme in SCHEMES:
        np.testing.assert_array_equal(answers[scheme].top1, answers_again[scheme].top1)
        np.testing.assert_array_equal(answers[scheme].wire_bytes, answers_again[scheme].wire_bytes)


def test_a_stopped_run_goes_on_where_it_was(
    image_folder: Path, tmp_path: Path, fake_model: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, store, silent = folder_corpus(image_folder, CLASSES), ChunkStore(tmp_path / "c"), SilentProgress()
    model = fake_model()
    whole = model.classify

    def interrupted(patches: list[np.ndarray], positions: list[np.ndarray]) -> np.ndarray:
        if model.calls == 2:
            raise KeyboardInterrupt
        return whole(patches, positions)

    monkeypatch.setattr(model, "classify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        answer(corpus, model, [Whole()], {}, store, silent)
    assert missing_answers(corpus, model, Whole(), {}, store) == 2
    monkeypatch.setattr(model, "classify", whole)
    resumed = answer(corpus, model, [Whole()], {}, store, silent)[Whole()]
    assert model.calls == 3
    fresh = answer(corpus, fake_model(), [Whole()], {}, ChunkStore(tmp_path / "d"), silent)[Whole()]
    np.testing.assert_array_equal(resumed.top1, fresh.top1)


def test_another_model_or_attention_is_computed_anew(
    image_folder: Path, tmp_path: Path, fake_model: type
) -> None:
    corpus, store, silent = folder_corpus(image_folder, CLASSES), ChunkStore(tmp_path / "c"), SilentProgress()
    rows = np.full((12, 196), 1 / 196, dtype=np.float32)
    one, other = AttentionOf(rows, "edge one"), AttentionOf(rows, "edge two")
    answer(corpus, fake_model(), [SCHEMES[1]], {EDGE: one}, store, silent)
    assert missing_answers(corpus, fake_model(), SCHEMES[1], {EDGE: one}, store) == 0
    assert missing_answers(corpus, fake_model(), SCHEMES[1], {EDGE: other}, store) == 12
    assert missing_answers(corpus, fake_model("else"), SCHEMES[1], {EDGE: one}, store) == 12


def test_unreadable_images_are_marked_and_do_not_disturb_the_others(
    image_folder: Path, tmp_path: Path, fake_model: type
) -> None:
    silent = SilentProgress()
    clean = glance(
        folder_corpus(image_folder, CLASSES), fake_model(), ["last"], ChunkStore(tmp_path / "a"), silent
    )
    (image_folder / "blue" / "blue-1.png").write_bytes(b"broken")
    seen = glance(
        folder_corpus(image_folder, CLASSES), fake_model(), ["last"], ChunkStore(tmp_path / "b"), silent
    )
    assert np.flatnonzero(~seen.readable).tolist() == [1]
    np.testing.assert_array_equal(seen.logits[seen.readable], clean.logits[seen.readable])
    np.testing.assert_array_equal(
        seen.attention["last"][seen.readable], clean.attention["last"][seen.readable]
    )


def test_a_treated_glance_gives_answers_attention_and_costs(
    image_folder: Path, tmp_path: Path, fake_model: type
) -> None:
    corpus, store, silent = folder_corpus(image_folder, CLASSES), ChunkStore(tmp_path / "c"), SilentProgress()
    answers, attention = glance_treated(corpus, fake_model(), Downscaled(2), "last", store, silent)
    assert attention.rows.shape == (12, 196)
    assert set(answers.sent_patches.tolist()) == {49.0}
    direct = answer(corpus, fake_model(), [Downscaled(2)], {}, store, silent)[Downscaled(2)]
    np.testing.assert_array_equal(answers.top1, direct.top1)
    np.testing.assert_array_equal(answers.wire_bytes, direct.wire_bytes)


def test_arrays_come_back_under_their_key_only(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path)
    assert store.load({"a": 1}) is None
    store.save({"a": 1, "b": [1.5]}, {"x": np.arange(3), "y": np.ones((2, 2), np.float32)})
    found = store.load({"b": [1.5], "a": 1})
    assert found is not None
    assert found["x"].tolist() == [0, 1, 2]
    assert found["y"].dtype == np.float32
    assert store.has({"a": 1, "b": [1.5]})
    assert store.load({"a": 2, "b": [1.5]}) is None


def test_a_damaged_or_unfinished_file_counts_as_missing(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path)
    store.save({"a": 1}, {"x": np.arange(1000)})
    (path,) = tmp_path.rglob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert store.load({"a": 1}) is None
    path.write_bytes(b"")
    assert store.load({"a": 1}) is None
    path.unlink()
    path.with_suffix(".partial").write_bytes(whole)
    assert not store.has({"a": 1})
