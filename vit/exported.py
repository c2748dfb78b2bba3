"""The folder that `saccade export` writes: a model that runs without torch. Must not import torch.

`model.json` says what the model is and how its input is made, and holds a hash of every other file; networks lie
beside it, one a format.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from schemas.errors import ModelError
from schemas.geometry import CROP_SIDE
from vit.backends import Identity
from vit.classes import classes_hash
from vit.preprocess import SHORT_SIDE

FORMAT: Final = 1
DESCRIPTION: Final = "model.json"
OPENVINO: Final = "edge.xml"
OPENVINO_WEIGHTS: Final = "edge.bin"
"""OpenVINO finds them by the network's name."""
ONNX: Final = "edge.onnx"
INPUT: Final = "crops"
OUTPUTS: Final = ("logits", "attention", "embedding")
PREPROCESSING: Final = {
    "short_side": SHORT_SIDE,
    "crop": CROP_SIDE,
    "filter": "bicubic",
    "input": "uint8 RGB (batch, 224, 224, 3); the network normalises",
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an exported network compares with the model itself in torch, float32, on `images` crops.

    `same_answers` of them have the same first class. `logit_distance` is the largest between two logits;
    `attention_moved` the largest share of one crop's attention that lies on other patches.
    """

    data: str
    images: int
    same_answers: int
    logit_distance: float
    attention_moved: float


@dataclass(frozen=True, slots=True)
class Exported:
    """What `model.json` says. `files` are name → SHA-256, `agreement` is by network, `int8` names those in int8."""

    identity: Identity
    embed_dim: int
    files: dict[str, str]
    int8: tuple[str, ...]
    agreement: dict[str, Agreement]

    def write(self, folder: Path) -> None:
        """Write `model.json` beside the networks, which must be there."""
        described = {
            "format": FORMAT,
            "name": self.identity.name,
            "weights_hash": self.identity.weights_hash,
            "classes": self.identity.classes,
            "embed_dim": self.embed_dim,
            "preprocessing": PREPROCESSING,
            "int8": self.int8,
            "files": self.files,
            "agreement": {name: asdict(each) for name, each in self.agreement.items()},
        }
        unfinished = folder / f"{DESCRIPTION}.unfinished"
        unfinished.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(folder / DESCRIPTION)


def is_exported(model: str) -> bool:
    """Return whether the settings' model is such a folder."""
    return (Path(model).expanduser() / DESCRIPTION).is_file()


def exported_in(model: str) -> Exported:
    """Return what the folder says that it holds.

    Raises:
        ModelError: `saccade export` did not write it, or another version did.
    """
    try:
        described = (Path(model).expanduser() / DESCRIPTION).read_text(encoding="utf-8")
        return _described(json.loads(described))
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"model {model}: its {DESCRIPTION} is not what saccade export writes ({error!r})"
        ) from error


def read_exported(model: str, network: str) -> tuple[Exported, Path]:
    """Return what the folder holds and the path of one of its networks, whose files are those that were written.

    Raises:
        ModelError: no such network, a file was changed or is missing, or another version wrote the folder.
    """
    folder, exported = Path(model).expanduser(), exported_in(model)
    if network not in exported.files:
        raise ModelError(
            f"model {model}: it holds no {network}, only {', '.join(exported.files)}; export it where the "
            "library that writes it is installed"
        )
    for name in (network, OPENVINO_WEIGHTS) if network == OPENVINO else (network,):
        _check_file(folder / name, exported.files.get(name))
    return exported, folder / network


def file_hash(path: Path) -> str:
    """Return the SHA-256 of the file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _described(values: dict[str, Any]) -> Exported:
    if values["format"] != FORMAT or values["preprocessing"] != PREPROCESSING:
        raise ValueError(
            f"format {values['format']!r} with {values['preprocessing']}, this version reads {FORMAT}"
        )
    classes = tuple(str(name) for name in values["classes"])
    return Exported(
        Identity(str(values["name"]), classes, classes_hash(classes), str(values["weights_hash"])),
        int(values["embed_dim"]),
        {str(name): str(digest) for name, digest in values["files"].items()},
        tuple(values["int8"]),
        {name: Agreement(**each) for name, each in values["agreement"].items()},
    )


def _check_file(path: Path, digest: str | None) -> None:
    try:
        found = file_hash(path)
    except OSError as error:
        raise ModelError(f"model {path}: {error.strerror}") from error
    if found != digest:
        raise ModelError(f"model {path}: its SHA-256 is {found}, {DESCRIPTION} says {digest}")
