from pathlib import Path

import numpy as np
import pytest
import torch

from lab.errors import TrainingError
from lab.training.fine_tune import fine_tune
from lab.training.heads import bent_head, fitted_head, made_up_embeddings, starting_head
from lab.training.report import Asking, write_outcome
from schemas.errors import ModelError
from schemas.operating_point import OperatingPoint
from vit.architecture import Architecture
from vit.model import Model, random_model
from vit.weights import load_model, save_model

ASKING = Asking(OperatingPoint(0.8, 0.97, 1, "webp", 75), 0.5)


@pytest.mark.slow
def test_a_head_separates_what_can_be_separated() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    embeddings = (5 * np.eye(3, 8)[labels] + 100 + rng.normal(0, 0.5, (300, 8))).astype(np.float32)
    head = fitted_head(embeddings, labels, 3)
    with torch.inference_mode():
        assert (head(torch.from_numpy(embeddings)).argmax(1).numpy() == labels).mean() > 0.99


@pytest.mark.slow
def test_ten_errors_do_not_make_a_model_forget_and_a_new_class_is_learnt() -> None:
    shipped = load_model("shipped:edge")
    start = starting_head(shipped, (*shipped.classes, "new"))
    made_up = made_up_embeddings(shipped)
    before = start(torch.from_numpy(made_up)).argmax(1)
    assert not (before == len(shipped.classes)).any()
    errors, labels = made_up[:10], (before[:10].numpy() + 3) % len(shipped.classes)
    head = bent_head(errors, labels, start, made_up_embeddings(shipped, seed=1))
    assert (head(torch.from_numpy(made_up)).argmax(1) == before).float().mean() > 0.9

    fresh = made_up_embeddings(shipped, seed=2)[:1] + np.random.default_rng(0).normal(0, 0.1, (40, 96))
    seen, unseen = np.split(fresh.astype(np.float32), 2)
    head = bent_head(seen, np.full(20, len(shipped.classes)), start, made_up)
    assert (head(torch.from_numpy(unseen)).argmax(1) == len(shipped.classes)).all()


def pair_of(folder: Path, classes: tuple[str, ...]) -> Path:
    """A pair of random weights."""
    folder.mkdir()
    for seed, role in enumerate(("edge", "server")):
        made = random_model(Architecture(24, 1, 2, 2.0, len(classes)), seed=seed)
        save_model(
            folder / f"{role}.safetensors", made.vit, name=role, mean=made.mean, std=made.std, classes=classes
        )
    return folder


@pytest.mark.slow
def test_a_pair_learns_from_what_it_is_and_reports_before_and_after(photos, tmp_path: Path) -> None:
    start = pair_of(tmp_path / "start", ("none", "red"))
    out = tmp_path / "out"
    outcome = fine_tune(
        photos, out, tmp_path / "work", asking=ASKING, edge=str(start), server=str(start), heads_only=True
    )
    text = write_outcome(out, outcome)
    assert {"results.json", "report.md"} < {path.name for path in out.iterdir()}
    assert outcome.new_classes == ["blue"]
    assert outcome.total.before is not None
    assert set(outcome.total.after) == {"edge", "server", "pair"}
    assert "before → after" in text
    assert "| all | 2 |" in text
    assert list((tmp_path / "work").iterdir()) == []
    with pytest.raises(TrainingError, match="holds a pair"):
        fine_tune(photos, out, tmp_path / "work", asking=ASKING)
    for role in ("edge", "server"):
        before, after = load_model(str(start), role=role), load_model(str(out), role=role)
        assert after.classes == ("none", "red", "blue")
        for name, tensor in before.vit.state_dict().items():
            if not name.startswith("head"):
                assert torch.equal(tensor, after.vit.state_dict()[name])


@pytest.mark.slow
def test_models_of_different_classes_learn_those_of_the_folder_alone(photos, tmp_path: Path) -> None:
    edge, server = pair_of(tmp_path / "a", ("none", "red")), pair_of(tmp_path / "b", ("x", "y", "z"))
    outcome = fine_tune(
        photos, tmp_path / "out", tmp_path / "w", asking=ASKING, edge=str(edge), server=str(server)
    )
    assert outcome.classes == ("blue", "red")
    assert outcome.total.before is None


def test_a_folder_of_a_pair_needs_a_role(tmp_path: Path) -> None:
    folder = pair_of(tmp_path / "pair", ("a", "b"))
    assert load_model(str(folder), role="server").name == "server"
    with pytest.raises(ModelError, match=r"found edge\.safetensors, server\.safetensors"):
        load_model(str(folder))
    assert isinstance(load_model(str(folder), role="edge"), Model)
