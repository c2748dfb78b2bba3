"""A loaded vision transformer with everything that is needed to run it, and one of random weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from schemas.errors import ModelError
from vit.architecture import Architecture, architecture_of
from vit.backends import Identity
from vit.classes import classes_hash
from vit.plain_vit import PlainVit, build

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Model:
    """A vision transformer in float32 on the CPU, in evaluation mode, with everything needed to run it.

    `vit` is timm's module or a `PlainVit`: the weights under timm's names, whichever it is. `mean` and `std`
    normalise RGB values in 0..1. `classes` names each output.
    """

    vit: Any
    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.classes) != self.architecture.num_classes:
            raise ModelError(
                f"model {self.name}: {len(self.classes)} names for {self.architecture.num_classes} classes"
            )
        if not all(0 <= m <= 1 for m in self.mean) or not all(0 < s <= 1 for s in self.std):
            raise ModelError(f"model {self.name}: mean {self.mean} or std {self.std} is outside 0 to 1")

    @cached_property
    def architecture(self) -> Architecture:
        """The model's shape."""
        return architecture_of(self.vit)

    @cached_property
    def timm(self) -> VisionTransformer:
        """timm's own module over the same weights. Importing timm takes seconds; no worker asks for it."""
        from vit.timm_variants import build_timm

        if not isinstance(self.vit, PlainVit):
            vit: VisionTransformer = self.vit
            return vit
        built = build_timm(self.architecture)
        built.load_state_dict(self.vit.state_dict(), assign=True)
        built.eval().requires_grad_(False)
        return built

    @property
    def identity(self) -> Identity:
        """What tells this model from others."""
        return Identity(self.name, self.classes, self.classes_hash, self.weights_hash)

    @cached_property
    def classes_hash(self) -> str:
        """16 hex digits that tie a label index to this class list."""
        return classes_hash(self.classes)

    @cached_property
    def weights_hash(self) -> str:
        """32 hex digits over everything that decides the outputs: shape, normalisation, every weight."""
        digest = hashlib.sha256()
        digest.update(json.dumps([self.architecture.to_json(), self.mean, self.std]).encode())
        for name, tensor in sorted(self.vit.state_dict().items()):
            digest.update(name.encode())
            digest.update(memoryview(tensor.contiguous().numpy()).cast("B"))
        return digest.hexdigest()[:32]


def random_model(shape: Architecture | str, *, seed: int = 0) -> Model:
    """Return a model of seeded random weights, for tests and timings only.

    `shape` may be a timm name. Weights are scaled so that activations stay of order one and attention is far
    from uniform, which makes mistakes of the forwards visible.
    """
    if isinstance(shape, str):
        from vit.timm_models import preset_of

        name, num_classes = f"random {shape}", 1000
        vit: nn.Module = preset_of(shape).build(num_classes)
    else:
        name, num_classes, vit = "random", shape.num_classes, build(shape)
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, tensor in vit.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim >= 2 and not key.endswith(("token", "pos_embed")):
            state[key] = noise / tensor[0].numel() ** 0.5
        elif "norm" in key and key.endswith("weight"):
            state[key] = 1.0 + 0.1 * noise
        else:
            state[key] = 0.2 * noise
    vit.load_state_dict(state, assign=True)
    vit.eval().requires_grad_(False)
    classes = tuple(f"class {index}" for index in range(num_classes))
    return Model(vit, name, IMAGENET_MEAN, IMAGENET_STD, classes)
