from pathlib import Path

import numpy as np
import pytest

from edge_workers.engine import EdgeEngine
from edge_workers.settings import EdgeSettings
from runtime.section import Section
from schemas.errors import ModelError, SettingsError
from server_workers.engine import ServerEngine
from server_workers.settings import ServerSettings
from vit import backends

EDGE = """
import numpy as np
from vit.backends import Backend, EdgeModel, EdgeOutput, Identity

def forward(crops):
    mean = crops.mean((1, 2)).astype(np.float32)
    return EdgeOutput(mean, np.full((len(crops), 196), 1 / 196, np.float32), mean)

MEMBER = Backend(edge=lambda choice: EdgeModel(Identity(choice.model, ("r", "g", "b"), "c", "w"), forward))
"""
SERVER = """
import numpy as np
from vit.backends import Backend, Identity, ServerModel

class Scores:
    def __init__(self, patches):
        self.patches = patches

    def result(self):
        return np.stack([each.mean((0, 1, 2)) for each in self.patches]).astype(np.float32)

MEMBER = Backend(server=lambda choice: ServerModel(
    Identity(choice.model, ("r", "g", "b"), "c", "w"), lambda patches, positions: Scores(patches),
    batches_in_flight=3))
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more backends, `means` for the edge and `sums` for the server: one file each."""
    (tmp_path / "means.py").write_text(EDGE)
    (tmp_path / "sums.py").write_text(SERVER)
    (tmp_path / "elsewhere.py").write_text("import a_library_that_is_not_here")
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])


@pytest.mark.usefixtures("added")
def test_one_file_adds_a_backend_of_the_edge() -> None:
    engine = EdgeEngine(EdgeSettings(backend="means", model="any"))
    red = np.zeros((2, 224, 224, 3), np.uint8)
    red[..., 0] = 200
    assert engine.classify(red).logits.argmax(1).tolist() == [0, 0]
    assert (engine.name, engine.identity.classes) == ("any", ("r", "g", "b"))
    assert engine.resize_crop(np.zeros((300, 400, 3), np.uint8)).shape == (224, 224, 3)


@pytest.mark.usefixtures("added")
def test_one_file_adds_a_backend_of_the_server() -> None:
    engine = ServerEngine(ServerSettings(backend="sums", model="any"))
    blue = np.zeros((5, 16, 16, 3), np.uint8)
    blue[..., 2] = 200
    assert engine.classify([blue], [np.arange(5)]).argmax(1).tolist() == [2]
    assert engine.batches_in_flight == 3
    assert engine.tokens_per_s > 0


@pytest.mark.usefixtures("added")
def test_a_backend_of_the_other_role_and_one_without_its_library_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"edge.backend = 'sums': it has no way to see whole crops"):
        EdgeEngine(EdgeSettings(backend="sums"))
    with pytest.raises(SettingsError, match=r"server.backend = 'means': it has no way to see sets"):
        ServerEngine(ServerSettings(backend="means"))
    with pytest.raises(ModelError, match="backend elsewhere: the library a_library_that_is_not_here"):
        EdgeEngine(EdgeSettings(backend="elsewhere"))


@pytest.mark.parametrize("settings", [EdgeSettings, ServerSettings])
def test_an_unknown_backend_is_named_with_those_there_are(settings: type[Section]) -> None:
    with pytest.raises(ValueError, match=r"must be one of .*openvino, .*torch"):
        settings.model_validate({"backend": "tvm"})
