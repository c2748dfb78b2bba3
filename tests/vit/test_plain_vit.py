import subprocess
import sys

import numpy as np
import pytest
import torch

from vit.architecture import Architecture
from vit.model import random_model
from vit.packed_forward import normalised
from vit.plain_vit import build

pytestmark = pytest.mark.slow  # timm takes seconds to load

SHAPES = [
    Architecture(embed_dim=32, depth=2, num_heads=2, mlp_ratio=4.0, num_classes=5),
    Architecture(embed_dim=48, depth=1, num_heads=3, mlp_ratio=3.5, num_classes=17),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_has_timms_names_and_shapes(shape) -> None:
    from vit.timm_variants import build_timm

    plain, timms = build(shape).state_dict(), build_timm(shape).state_dict()
    assert {name: tensor.shape for name, tensor in plain.items()} == {
        name: tensor.shape for name, tensor in timms.items()
    }


def test_every_norm_and_scale_is_timms() -> None:
    from vit.timm_variants import build_timm

    plain, timms = build(SHAPES[1]), build_timm(SHAPES[1])
    norms = [(name, each.eps) for name, each in plain.named_modules() if isinstance(each, torch.nn.LayerNorm)]
    assert norms == [
        (name, each.eps) for name, each in timms.named_modules() if isinstance(each, torch.nn.LayerNorm)
    ]
    assert plain.blocks[0].attn.scale == timms.blocks[0].attn.scale  # type: ignore[union-attr]
    assert plain.no_embed_class == timms.no_embed_class


def test_timms_module_over_the_same_weights_answers() -> None:
    model = random_model(SHAPES[0])
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    assert model.timm(normalised(crops, model)).shape == (2, 5)
    assert model.timm.head.weight.data_ptr() == model.vit.head.weight.data_ptr()  # type: ignore[operator]


@pytest.mark.parametrize("engine", ["edge_workers.engine", "server_workers.engine"])
def test_a_worker_starts_without_timm_and_torchs_compiler(engine) -> None:
    """They took 7 of the 12 processor seconds of its start."""
    wanted = (
        f"import sys, {engine}; from vit.weights import load_model; load_model('shipped:edge'); "
        "print([name for name in ('timm', 'torchvision', 'torch._dynamo', 'sympy') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", wanted], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
