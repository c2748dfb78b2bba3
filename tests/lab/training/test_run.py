import json
from pathlib import Path

import numpy as np
import pytest

from lab.errors import TrainingError
from lab.progress import SilentProgress
from lab.scenes.classes import CLASSES
from lab.training.fine_tune import fine_tune, pace_of
from lab.training.plan import TrainingPlan, TrainingStage
from lab.training.pool import render_pool
from lab.training.report import Asking
from lab.training.run import Setup, train_pair, usual_setup
from schemas.operating_point import OperatingPoint
from vit.architecture import Architecture
from vit.classes import same_classes
from vit.weights import ROLES, load_model

TINY = Setup(scenes=12, watched=4, watch_every=2)
SHAPE = Architecture(embed_dim=24, depth=1, num_heads=2, mlp_ratio=2.0, num_classes=len(CLASSES))
STAGES = {"edge": TrainingStage(5, 4, 2), "server": TrainingStage(14, 4, 2, subsets=True)}
PLANS = (
    TrainingPlan("edge", SHAPE, (STAGES["edge"],), 1, decay_share=0.2, guide_attention=True),
    TrainingPlan("server", SHAPE, (STAGES["server"],), 2, decay_share=0.2, guide_attention=False),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("pair")
    return folder, train_pair(folder / "out", folder / "work", TINY, plans=PLANS)


@pytest.mark.slow
def test_a_trained_pair_loads_and_agrees_on_its_classes(trained) -> None:
    _, paths = trained
    edge, server = (load_model(str(path)) for path in paths)
    same_classes(edge.classes, server.classes)
    assert edge.classes == CLASSES


@pytest.mark.slow
def test_the_record_tells_accuracy_as_it_was_learnt(trained) -> None:
    folder, _ = trained
    marks = json.loads((folder / "work/record.json").read_text())["marks"]
    assert {mark["role"] for mark in marks} == {"edge", "server"}
    assert all(0 <= mark["accuracy"] <= 1 for mark in marks)


@pytest.mark.slow
def test_training_again_changes_nothing_that_is_finished(trained) -> None:
    folder, paths = trained
    before = [path.read_bytes() for path in paths]
    train_pair(folder / "out", folder / "work", TINY, plans=PLANS)
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.slow
def test_a_work_folder_of_another_run_is_refused(trained) -> None:
    folder, _ = trained
    with pytest.raises(TrainingError, match="scale"):
        train_pair(folder / "out", folder / "work", Setup(scenes=12, watched=4, scale=2.0))


@pytest.mark.slow
def test_several_processes_render_the_same_pool(trained, tmp_path: Path) -> None:
    folder, _ = trained
    one = np.memmap(folder / "work/pool/crops.bin", np.uint8, "r")
    other = render_pool(tmp_path, 12, 1_000_000, easy=1, processes=2, progress=SilentProgress())
    assert (np.asarray(one) == other.crops.ravel()).all()
    assert other.filled() == 12


@pytest.mark.slow
def test_a_trained_pair_is_fine_tuned_on_folders_of_images(trained, photos, tmp_path: Path) -> None:
    _, (edge, server) = trained
    outcome = fine_tune(
        photos,
        tmp_path / "out",
        tmp_path / "work",
        asking=Asking(OperatingPoint(0.8, 0.97, 1, "webp", 75), 0.5),
        heads_only=False,
        edge=str(edge),
        server=str(server),
        epochs=3,
        setup=TINY,
    )
    assert outcome.total.before is None
    models = [load_model(str(tmp_path / "out"), role=role) for role in ROLES]
    assert {model.classes for model in models} == {("blue", "red")}
    assert models[0].architecture.embed_dim == load_model(str(edge)).architecture.embed_dim


@pytest.mark.parametrize(
    ("right", "steps", "pace"), [(0.5, 100.4, (100, 0.3)), (0.49, 100.4, (301, 2.0)), (1.0, 0.1, (3, 0.3))]
)
def test_a_model_whose_features_do_not_fit_learns_faster_and_longer(right, steps, pace) -> None:
    assert pace_of(right, steps) == pace


@pytest.mark.parametrize(("name", "value"), [("scenes", 0), ("threads", 0), ("scale", 0.0)])
def test_a_setup_outside_its_range_is_refused(name: str, value) -> None:
    with pytest.raises(TrainingError, match=name):
        Setup(**{name: value})


def test_the_usual_setup_fits_this_machine() -> None:
    assert usual_setup().threads >= 1
