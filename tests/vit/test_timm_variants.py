import pytest
import torch

from schemas.errors import ModelError
from vit.architecture import Architecture, architecture_of

pytestmark = pytest.mark.slow  # timm takes seconds to load


def built(name: str) -> torch.nn.Module:
    import timm

    with torch.device("meta"):
        return timm.create_model(name)


def require_supported(vit: torch.nn.Module, name: str) -> torch.nn.Module:
    from vit import timm_variants

    return timm_variants.require_supported(vit, name)


def test_the_built_module_has_the_shape() -> None:
    from vit.timm_variants import build_timm

    small = Architecture(embed_dim=32, depth=2, num_heads=2, mlp_ratio=4.0, num_classes=5)
    assert architecture_of(require_supported(build_timm(small), "small")) == small


def test_deit_tiny_has_the_published_shape() -> None:
    tiny = architecture_of(require_supported(built("deit_tiny_patch16_224"), "tiny"))
    assert tiny == Architecture(embed_dim=192, depth=12, num_heads=3, mlp_ratio=4.0, num_classes=1000)


@pytest.mark.parametrize(
    "name",
    [
        "deit_small_patch16_224",
        "deit3_small_patch16_224",
        "vit_tiny_patch16_224",
        "vit_base_patch16_clip_224",
    ],
)
def test_plain_layer_scaled_and_pre_normed_models_are_supported(name: str) -> None:
    require_supported(built(name), name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deit_tiny_distilled_patch16_224", "distillation token"),
        ("vit_base_patch32_224", "patches are"),
        ("deit_base_patch16_384", "patches are"),
        ("vit_small_patch16_dinov3", "it is a Eva"),
        ("vit_base_patch16_siglip_224", "classifies by map pooling"),
        ("vit_base_patch16_clip_quickgelu_224", "activation is QuickGELU"),
        ("vit_medium_patch16_gap_240", "patches are"),
        ("vit_medium_patch16_reg1_gap_256", "patches are"),
        ("resnet18", "it is a ResNet"),
    ],
)
def test_other_kinds_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        require_supported(built(name), name)


def test_register_tokens_are_refused() -> None:
    from timm.models.vision_transformer import VisionTransformer

    with pytest.raises(ModelError, match="2 register tokens"):
        require_supported(VisionTransformer(embed_dim=32, depth=1, num_heads=2, reg_tokens=2), "registers")
