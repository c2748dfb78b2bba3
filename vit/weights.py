"""Models by name, folder, file or from the package; every byte is checked and nothing is ever unpickled.

Called by the worker engines, training and evaluation.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from schemas.errors import ModelError
from vit import SHIPPED
from vit.architecture import architecture_from_json
from vit.classes import IMAGENET_CLASSES, imagenet_names
from vit.exported import is_exported
from vit.model import Model
from vit.plain_vit import PlainVit, build

if TYPE_CHECKING:
    from vit.timm_models import Preset

FORMAT: Final = 1
METADATA_KEY: Final = "saccade"
OTHER_WAYS: Final = (
    "give a folder with its weights as safetensors instead, or 'shipped' for the pair that comes with Saccade"
)

StateDict = dict[str, torch.Tensor]
Role = Literal["edge", "server"]
ROLES: Final[tuple[Role, Role]] = ("edge", "server")


def load_model(name_or_path: str, *, role: Role | None = None) -> Model:
    """Return the model, checked.

    Args:
        name_or_path: `shipped:edge`, `shipped:server`, or `shipped` with a `role`; a folder or a .safetensors
            file; else a timm name, whose pretrained weights come from the hub.
        role: which of a pair is meant, the shipped one or that of a folder with edge.safetensors and
            server.safetensors.

    Raises:
        ModelError: not found, hub unreachable, another shape, names or values than declared, not supported.
    """
    if name_or_path == "shipped" or name_or_path.startswith("shipped:"):
        return _load_shipped(name_or_path, role)
    path = Path(name_or_path).expanduser()
    if path.exists():
        return _load_path(path if role is None or not is_pair(path) else file_of(path, role))
    if path.suffix == ".safetensors" or "/" in name_or_path or name_or_path.startswith("."):
        raise ModelError(f"model {name_or_path}: no such file or folder")
    from vit import timm_models
    from vit.timm_variants import require_supported

    preset = timm_models.preset_of(name_or_path)
    require_supported(preset.build(1), preset.name)
    return _from_preset(preset, _read(timm_models.download(preset, OTHER_WAYS))[0], name_or_path)


def is_pair(folder: Path) -> bool:
    """Whether the folder holds both models of a pair, as `saccade train` writes them."""
    return all(file_of(folder, role).is_file() for role in ROLES)


def file_of(folder: Path, role: Role) -> Path:
    """The file of one of a pair's models."""
    return folder / f"{role}.safetensors"


def save_model(
    path: Path,
    vit: nn.Module,
    *,
    name: str,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    classes: tuple[str, ...],
) -> None:
    """Write the model to one safetensors file, weights in float16, that `load_model` accepts.

    Raises:
        ModelError: a kind of model that cannot run here, or a weight that float16 cannot hold.
    """
    if not isinstance(vit, PlainVit):
        from vit.timm_variants import require_supported

        require_supported(vit, name)
    model = Model(vit, name, mean, std, classes)
    state = {key: tensor.detach().cpu().half().contiguous() for key, tensor in vit.state_dict().items()}
    _check_finite(state, name)
    described = {
        "format": FORMAT,
        "name": name,
        "architecture": model.architecture.to_json(),
        "mean": mean,
        "std": std,
        "classes": classes,
    }
    unfinished = path.with_suffix(".unfinished")
    save_file(state, unfinished, metadata={METADATA_KEY: json.dumps(described)})
    unfinished.replace(path)


def _load_shipped(name: str, role: Role | None) -> Model:
    wanted = name.partition(":")[2] or role
    if wanted not in ("edge", "server"):
        raise ModelError(f"model {name}: say which of the pair, shipped:edge or shipped:server")
    path = SHIPPED / f"{wanted}.safetensors"
    if not path.exists():
        raise ModelError(f"model shipped:{wanted}: {path} is missing from this installation")
    return _load_path(path)


def _load_path(path: Path) -> Model:
    """Return the model of a safetensors file, or of a folder with one and perhaps timm's config.json."""
    if is_exported(str(path)):
        raise ModelError(f"model {path}: an exported folder, which openvino and onnxruntime run, not torch")
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if len(files) != 1:
            found = ", ".join(file.name for file in files) or "none"
            raise ModelError(
                f"model {path}: a model folder holds exactly one .safetensors file, found {found}"
            )
        config, path = path / "config.json", files[0]
        if config.exists():
            from vit import timm_models

            return _from_preset(timm_models.preset_of_config(config), _read(path)[0], str(path))
    state, metadata = _read(path)
    if METADATA_KEY in metadata:
        return _from_metadata(metadata[METADATA_KEY], state, str(path))
    from vit import timm_models

    for known in (path.stem, path.parent.name):
        if timm_models.is_known(known):
            return _from_preset(timm_models.preset_of(known), state, str(path))
    # It leaves no trace in the weights, and a wrong number costs accuracy without any error.
    raise ModelError(
        f"model {path}: its number of attention heads is not known; name the file after its timm model "
        "(such as deit_tiny_patch16_224.safetensors), or put timm's config.json beside it"
    )


def _read(path: Path) -> tuple[StateDict, dict[str, str]]:
    """Return the file's tensors and metadata."""
    if path.suffix != ".safetensors":
        raise ModelError(f"model {path}: only .safetensors files are read, never pickled ones")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"model {path}: not a readable safetensors file ({error})") from error


def _from_metadata(text: str, state: StateDict, where: str) -> Model:
    """Return the model of a file that `save_model` wrote."""
    try:
        described = json.loads(text)
        if described.get("format") != FORMAT:
            raise ModelError(
                f"model {where}: format {described.get('format')!r}, this version reads {FORMAT}"
            )
        vit = build(architecture_from_json(described["architecture"]))
        _fill(vit, state, where)
        classes = described["classes"]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ModelError(f"model {where}: its classes are not a list of names")
        return Model(
            vit, str(described["name"]), _rgb(described["mean"]), _rgb(described["std"]), tuple(classes)
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"model {where}: its metadata is incomplete or malformed ({error!r})") from error


def _from_preset(preset: Preset, state: StateDict, where: str) -> Model:
    """Return the model of plain weights whose timm name is known."""
    num_classes = _num_classes(state, where)
    from vit.timm_variants import require_supported

    vit = require_supported(preset.build(num_classes), preset.name)
    _fill(vit, state, where)
    classes = preset.classes or _imagenet_classes(num_classes, where)
    return Model(vit, preset.name, preset.mean, preset.std, classes)


def _fill(vit: nn.Module, state: StateDict, where: str) -> None:
    """Put the weights in, as float32, after every name, shape and value was checked."""
    expected = vit.state_dict()
    for problem, names in (
        ("lacks", expected.keys() - state.keys()),
        ("has unknown", state.keys() - expected.keys()),
    ):
        if names:
            listed = ", ".join(sorted(names)[:3])
            raise ModelError(
                f"model {where}: it {problem} weights {listed}{' ...' if len(names) > 3 else ''}"
            )
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape or not tensor.is_floating_point():
            found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
            raise ModelError(f"model {where}: {name} is {tensor.dtype} {found}, expected floats {wanted}")
    _check_finite(state, where)
    vit.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    vit.eval().requires_grad_(False)


def _check_finite(state: StateDict, where: str) -> None:
    for name, tensor in state.items():
        # The least and the greatest tell of every NaN and infinity, in a tenth of the time that asking each takes.
        if not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
            raise ModelError(f"model {where}: {name} holds values that are not finite")


def _num_classes(state: StateDict, where: str) -> int:
    if "head.weight" not in state:
        raise ModelError(f"model {where}: it has no head.weight, so it does not classify")
    return int(state["head.weight"].shape[0])


def _imagenet_classes(num_classes: int, where: str) -> tuple[str, ...]:
    if num_classes != IMAGENET_CLASSES:
        raise ModelError(
            f"model {where}: nothing names its {num_classes} classes (ImageNet has {IMAGENET_CLASSES})"
        )
    return imagenet_names()


def _rgb(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
