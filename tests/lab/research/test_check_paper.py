import math
from pathlib import Path

import numpy as np
import pytest

from lab.errors import EvaluationError
from lab.evaluation.corpus import folder_corpus
from lab.evaluation.inference_cache import ChunkStore
from lab.progress import SilentProgress
from lab.research import check_paper as paper
from lab.research.check_paper import (
    TARGETS,
    Figures,
    checks_table,
    compare,
    measure_checks,
    paper_figures,
    refuse_other_images,
    refuse_other_weights,
)
from vit.architecture import Architecture
from vit.model import random_model

CLASSES = ("red", "green", "blue")


def synthetic(seed: int, size: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2.2, (size, 12)).astype(np.float32)
    raw = rng.random((size, 196)).astype(np.float32) ** rng.uniform(1, 9, (size, 1)).astype(np.float32)
    attention = raw / raw.sum(1, keepdims=True)
    labels = np.where(rng.random(size) < 0.6, logits.argmax(1), rng.integers(0, 12, size))
    return logits, attention, labels, rng.integers(0, 12, size)


@pytest.mark.parametrize("tau", [0.3, 0.8, 1.0, 2.0])
@pytest.mark.parametrize("delta", [0.5, 0.97, 1.0])
def test_the_five_figures_equal_an_independent_loop(tau: float, delta: float) -> None:
    logits, attention, labels, server = synthetic(3)
    kept = sent_patches = sent = client = together = 0
    for row in range(len(labels)):
        exponents = [math.exp(float(value) - float(logits[row].max())) for value in logits[row]]
        best = max(range(12), key=lambda k: exponents[k])
        client += best == labels[row]
        if -math.log2(exponents[best] / sum(exponents)) < tau:
            kept += 1
            together += best == labels[row]
            continue
        sent += 1
        together += server[row] == labels[row]
        count, total = 0, np.float32(0)
        for value in sorted(attention[row], reverse=True):
            total = np.float32(total + value)
            if delta < 1 and total > np.float32(delta):
                break
            count += 1
        sent_patches += max(count, 1)
    figures = paper_figures(logits, attention, labels, server, delta, tau)
    assert figures.kept == kept
    assert figures.patches == pytest.approx(sent_patches / sent)
    assert figures.cost == pytest.approx(sent_patches / (196 * len(labels)))
    assert figures.client == pytest.approx(100 * client / len(labels))
    assert figures.together == pytest.approx(100 * together / len(labels))


def test_each_figure_has_its_tolerance() -> None:
    target = TARGETS[0.8]
    near = Figures(148.2, 28_700, 0.3244, 72.22, 80.74)
    assert all(each.passed for each in compare(0.8, target, near))
    far = Figures(148.3, 28_720, 0.3247, 72.24, 80.94)
    checks = compare(0.8, target, far)
    assert not any(each.passed for each in checks)
    table = checks_table(checks)
    assert table.count("OUTSIDE") == 5
    assert "28566" in table


def test_the_published_points_are_the_targets() -> None:
    assert TARGETS[0.8] == Figures(147.96, 28_566, 0.3236, 72.13, 80.83)
    assert (TARGETS[1.0].patches, TARGETS[1.0].cost, TARGETS[1.0].together) == (148.81, 0.2707, 80.23)


def test_other_images_are_refused() -> None:
    refuse_other_images(np.repeat(np.arange(1000), 50))
    with pytest.raises(EvaluationError, match="500 images of 500 classes"):
        refuse_other_images(np.arange(500))
    with pytest.raises(EvaluationError, match="needs the 50,000"):
        refuse_other_images(np.repeat(np.arange(500), 100))


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Architecture(embed_dim=48, depth=12, num_heads=3, mlp_ratio=4.0, num_classes=1000)
    model = random_model(small)
    with pytest.raises(EvaluationError, match="needs the original deit_tiny_patch16_224"):
        refuse_other_weights(model, "edge")
    monkeypatch.setattr(paper, "ARCHITECTURES", {"edge": ("random", 48, 3)})
    refuse_other_weights(model, "edge")
    state = model.vit.state_dict()
    norm = next(key for key in state if "norm" in key)
    state[norm].copy_((state[norm] * 128).round() / 128)
    with pytest.raises(EvaluationError, match="was rounded"):
        refuse_other_weights(model, "edge")
    halved = random_model(small, seed=1)
    for tensor in halved.vit.state_dict().values():
        tensor.copy_(tensor.half().float())
    with pytest.raises(EvaluationError, match="half precision"):
        refuse_other_weights(halved, "edge")


def test_the_server_answers_only_what_the_lower_tau_sends(
    image_folder: Path, tmp_path: Path, fake_model: type
) -> None:
    """The whole path on a small corpus: its figures equal those of the arrays."""
    corpus = folder_corpus(image_folder, CLASSES)
    checks = measure_checks(
        corpus,
        fake_model("edge", blur=2.0),
        fake_model("server"),
        ChunkStore(tmp_path / "c"),
        SilentProgress(),
    )
    assert [(each.tau, each.name) for each in checks[:2]] == [(0.8, "patches"), (0.8, "kept")]
    assert len(checks) == 10
    by_name = {(each.tau, each.name): each.measured for each in checks}
    assert 0 <= by_name[0.8, "kept"] <= by_name[1.0, "kept"] <= 12
    assert by_name[0.8, "client"] == by_name[1.0, "client"]
