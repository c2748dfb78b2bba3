import json
import threading
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from schemas.errors import ModelError
from vit.architecture import Architecture
from vit.classes import imagenet_names
from vit.model import Model, random_model
from vit.weights import METADATA_KEY, load_model, save_model

SMALL = Architecture(embed_dim=32, depth=2, num_heads=2, mlp_ratio=4.0, num_classes=5)
CLASSES = ("bus", "car", "none", "tram", "van")
DEIT_TINY = Path(__file__).parents[3] / "shared/data/weights/deit_tiny_patch16_224.safetensors"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = random_model(SMALL)
    path = tmp_path / "edge.safetensors"
    save_model(path, model.vit, name="small", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), classes=CLASSES)
    return path


def rewritten(path: Path, *, metadata=None, **tensors) -> Path:
    """The file with other metadata or some tensors replaced (None removes)."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()[METADATA_KEY])
    state = load_file(path) | {key.replace("__", "."): value for key, value in tensors.items()}
    state = {key: value for key, value in state.items() if value is not None}
    described |= metadata or {}
    save_file(state, path, metadata={METADATA_KEY: json.dumps(described)})
    return path


def plain_tiny(path: Path, **options) -> Path:
    """Random DeiT-Tiny weights without metadata."""
    model = random_model("deit_tiny_patch16_224")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(model.vit.state_dict()), path, **options)
    return path


def test_a_saved_model_comes_back_in_float32_with_its_names(saved) -> None:
    model = load_model(str(saved))
    assert (model.name, model.architecture, model.classes) == ("small", SMALL, CLASSES)
    assert (model.mean, model.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    expected = random_model(SMALL).vit.state_dict()
    for key, tensor in model.vit.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected[key].half().float())
    assert not model.vit.training


def test_a_folder_with_one_file_is_a_model_and_with_two_is_refused(saved) -> None:
    assert load_model(str(saved.parent)).name == "small"
    saved.with_name("other.safetensors").write_bytes(saved.read_bytes())
    with pytest.raises(ModelError, match=r"exactly one .safetensors file, found edge.safetensors, other"):
        load_model(str(saved.parent))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"classes": list(CLASSES[:4])}, "4 names for 5 classes"),
        ({"classes": "abcde"}, "classes are not a list of names"),
        ({"mean": [0.5]}, "metadata is incomplete or malformed"),
        ({"std": [0.0, 0.1, 0.1]}, "outside 0 to 1"),
        (
            {"architecture": SMALL.to_json() | {"embed_dim": 64}},
            r"is torch.float16 \(32,\), expected floats \(64,\)",
        ),
        ({"architecture": SMALL.to_json() | {"depth": 3}}, r"lacks weights blocks\.2\.attn"),
        ({"architecture": SMALL.to_json() | {"depth": 1}}, r"has unknown weights blocks\.1\.attn"),
    ],
)
def test_metadata_that_does_not_fit_the_weights_is_refused(saved, metadata, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(str(rewritten(saved, metadata=metadata)))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"head__bias": None}, r"lacks weights head\.bias"),
        ({"extra": torch.zeros(1)}, "has unknown weights extra"),
        ({"head__bias": torch.full((5,), torch.nan)}, r"head\.bias holds values that are not finite"),
        ({"head__bias": torch.zeros(5, dtype=torch.int64)}, r"head\.bias is torch.int64"),
    ],
)
def test_weights_that_do_not_fit_are_refused(saved, tensors, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(str(rewritten(saved, **tensors)))


def test_files_that_are_no_safetensors_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"\x80\x04garbage")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        load_model(str(garbage))
    pickled = tmp_path / "model.pth"
    torch.save({}, pickled)
    with pytest.raises(ModelError, match="never pickled"):
        load_model(str(pickled))


def test_weights_that_float16_cannot_hold_are_not_saved(tmp_path: Path) -> None:
    model = random_model(SMALL)
    model.vit.head.bias[0] = 1e6
    with pytest.raises(ModelError, match="not finite"):
        save_model(
            tmp_path / "m.safetensors", model.vit, name="m", mean=model.mean, std=model.std, classes=CLASSES
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_plain_weights_named_after_their_timm_model_get_its_heads_and_imagenet_names(tmp_path: Path) -> None:
    for path in (
        tmp_path / "deit_tiny_patch16_224.safetensors",
        tmp_path / "deit_tiny_patch16_224/model.safetensors",
    ):
        model = load_model(str(plain_tiny(path)))
        assert model.architecture.num_heads == 3
        assert model.classes == imagenet_names()


@pytest.mark.slow
def test_plain_weights_of_no_known_name_are_refused(tmp_path: Path) -> None:
    path = plain_tiny(tmp_path / "mine.safetensors")
    with pytest.raises(ModelError, match="number of attention heads is not known"):
        load_model(str(path))


@pytest.mark.slow
def test_timms_config_beside_the_weights_is_used(tmp_path: Path) -> None:
    plain_tiny(tmp_path / "model.safetensors")
    names = [f"kind {index}" for index in range(1000)]
    config = {
        "architecture": "deit_tiny_patch16_224",
        "pretrained_cfg": {"mean": [0.5] * 3},
        "label_names": names,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load_model(str(tmp_path))
    assert model.mean == (0.5, 0.5, 0.5)
    assert model.classes == tuple(names)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"not timm's config.json"):
        load_model(str(tmp_path))


@pytest.mark.slow
def test_distilled_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deit_tiny_distilled_patch16_224.safetensors"
    with pytest.raises(ModelError, match="distillation token"):
        load_model(str(plain_tiny(path)))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    """The hub's client: it has nothing yet and answers every question."""
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_args, **_kwargs: None)
    return huggingface_hub


@pytest.mark.slow
@pytest.mark.parametrize("step", ["get_hf_file_metadata", "hf_hub_download"])
def test_a_hub_that_fails_is_one_line_with_the_other_ways(monkeypatch: pytest.MonkeyPatch, hub, step) -> None:
    def fail(*_args, **_kwargs):
        raise OSError("an error\nof many lines") from ConnectionError("name not known\nmore")

    monkeypatch.setattr(hub, step, fail)
    with pytest.raises(ModelError) as caught:
        load_model("deit_tiny_patch16_224")
    assert str(caught.value) == (
        "model deit_tiny_patch16_224: https://huggingface.co gave no weights (name not known); give a folder "
        "with its weights as safetensors instead, or 'shipped' for the pair that comes with Saccade"
    )


@pytest.mark.slow
def test_a_silent_hub_is_named_at_once_and_given_up(
    monkeypatch: pytest.MonkeyPatch, hub, caplog: pytest.LogCaptureFixture
) -> None:
    silent, said = threading.Event(), []

    def say_nothing(*_args, **_kwargs):
        said.extend(caplog.messages)
        silent.wait(60)

    monkeypatch.setattr(hub, "get_hf_file_metadata", say_nothing)
    monkeypatch.setattr("vit.timm_models.ANSWER_S", 0.1)
    with pytest.raises(ModelError, match=r"https://huggingface.co gave no weights \(no answer in 0.1 s\)"):
        load_model("deit_tiny_patch16_224")
    silent.set()
    assert said == [
        "model deit_tiny_patch16_224: asking https://huggingface.co for the weights of "
        "timm/deit_tiny_patch16_224.fb_in1k"
    ]


@pytest.mark.slow
def test_weights_that_were_fetched_before_need_no_hub(
    monkeypatch: pytest.MonkeyPatch, hub, tmp_path: Path
) -> None:
    cached = plain_tiny(tmp_path / "model.safetensors")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: str(cached))
    monkeypatch.setattr(hub, "hf_hub_download", None)
    assert load_model("deit_tiny_patch16_224").name == "deit_tiny_patch16_224"


@pytest.mark.slow
def test_a_hub_model_is_read_from_its_safetensors_only(
    monkeypatch: pytest.MonkeyPatch, hub, tmp_path: Path
) -> None:
    asked = []

    def download(repository: str, filename: str):
        asked.append((repository, filename))
        return str(plain_tiny(tmp_path / "model.safetensors"))

    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert load_model("deit_tiny_patch16_224").name == "deit_tiny_patch16_224"
    assert asked == [("timm/deit_tiny_patch16_224.fb_in1k", "model.safetensors")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("deit_tinny_patch16_224", "near it: deit_tiny_patch16_224", marks=pytest.mark.slow),
        ("./absent", "no such file or folder"),
        ("absent.safetensors", "no such file or folder"),
        ("shipped", "shipped:edge or shipped:server"),
        ("shipped:middle", "shipped:edge or shipped:server"),
        pytest.param("deit_tiny_patch16_224.nonsense", "nonsense", marks=pytest.mark.slow),
        pytest.param("deit_tiny_distilled_patch16_224", "distillation token", marks=pytest.mark.slow),
    ],
)
def test_names_that_lead_nowhere_are_refused_with_a_way_out(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(name)


def test_the_weights_hash_follows_weights_normalisation_and_shape(saved) -> None:
    model = load_model(str(saved))
    assert model.weights_hash == load_model(str(saved)).weights_hash
    assert model.weights_hash != Model(model.vit, "x", (0.5, 0.4, 0.2), model.std, CLASSES).weights_hash
    assert model.weights_hash != random_model(SMALL, seed=1).weights_hash
    assert model.classes_hash != random_model(SMALL).classes_hash


@pytest.mark.slow
@pytest.mark.skipif(not DEIT_TINY.exists(), reason="../shared/data/weights is not here")
def test_the_real_deit_tiny_loads_from_its_file() -> None:
    model = load_model(str(DEIT_TINY))
    assert model.architecture == Architecture(192, 12, 3, 4.0, 1000)
    assert model.classes[0] == "tench"
