"""What timm knows about a model by its name: shape, normalisation, where its weights lie on the hub.

Called by vit/weights.py only.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import nn

from schemas.errors import ModelError

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preset:
    """A model that timm can build; `classes` is empty where timm has no names for them."""

    name: str
    mean: Rgb
    std: Rgb
    classes: tuple[str, ...] = ()

    def build(self, num_classes: int) -> nn.Module:
        """Return the model without storage (device meta)."""
        try:
            with torch.device("meta"):
                return timm.create_model(self.name, pretrained=False, num_classes=num_classes)
        except Exception as error:  # timm raises whatever a model's constructor does
            raise ModelError(f"model {self.name}: timm cannot build it ({error})") from error

    @property
    def num_heads(self) -> int:
        """How many attention heads each block has; 0 where the model has no such blocks."""
        blocks = getattr(self.build(1), "blocks", None)
        return int(blocks[0].attn.num_heads) if blocks else 0


def is_known(name: str) -> bool:
    """Return whether timm has a model of this name."""
    return bool(name) and timm.is_model(name)


def preset_of(name: str) -> Preset:
    """Return what timm knows about a name; ModelError where it knows none such."""
    if not is_known(name):
        near = difflib.get_close_matches(name, timm.list_models("*patch16_224*"), n=2, cutoff=0.4)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ModelError(
            f"model {name}: neither a file, a folder, 'shipped' nor a name that timm knows{hint}"
        )
    config = _config(name)
    return Preset(name, _rgb(config.mean), _rgb(config.std), tuple(config.label_names or ()))


def preset_of_config(path: Path) -> Preset:
    """Return the preset of the config.json that timm writes beside a model's weights."""
    try:
        config = json.loads(path.read_text())
        preset = preset_of(str(config["architecture"]))
        details: dict[str, Any] = config.get("pretrained_cfg", {})
        return Preset(
            name=preset.name,
            mean=_rgb(details.get("mean", preset.mean)),
            std=_rgb(details.get("std", preset.std)),
            classes=tuple(config.get("label_names") or preset.classes),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"model {path}: not timm's config.json ({error!r})") from error


def download(preset: Preset, other_ways: str) -> Path:
    """Return the local copy of a model's pretrained safetensors.

    Raises:
        ModelError: no weights there, or a hub that does not answer; ends with `other_ways`.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging

    name = preset.name
    hub_id = _config(name).hf_hub_id
    if not hub_id:
        raise ModelError(f"model {name}: timm has no pretrained weights for it on the hub; {other_ways}")
    # Its warning for each retry would bury the one line that matters.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        return Path(hf_hub_download(hub_id, "model.safetensors"))
    except Exception as error:  # network, authorisation, cache: the hub client raises a dozen kinds
        raise ModelError(f"model {name}: the hub gave no weights ({_root(error)}); {other_ways}") from error


def _root(error: BaseException) -> str:
    """Return the first line of the innermost cause, such as the name that did not resolve."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error).split("\n", maxsplit=1)[0] or type(error).__name__


def _config(name: str) -> PretrainedCfg:
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag after the name's dot
        raise ModelError(f"model {name}: {error}") from error
    return config or PretrainedCfg()


def _rgb(values: Any) -> Rgb:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
