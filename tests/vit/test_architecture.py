import pytest

from schemas.errors import ModelError
from vit.architecture import Architecture, architecture_from_json, architecture_of
from vit.plain_vit import build

SMALL = Architecture(embed_dim=32, depth=2, num_heads=2, mlp_ratio=4.0, num_classes=5)


def test_json_and_built_models_give_the_shape_back() -> None:
    assert architecture_from_json(SMALL.to_json()) == SMALL
    assert architecture_of(build(SMALL)) == SMALL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"num_heads": 3}, "embed_dim 32 does not divide by num_heads 3"),
        ({"patch_size": 14}, "patch 14 on 224"),
        ({"embed_dim": "32"}, "embed_dim is '32'"),
        ({"mlp_ratio": -1.0}, "mlp_ratio is -1.0"),
    ],
)
def test_impossible_shapes_are_refused(change, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        architecture_from_json(SMALL.to_json() | change)


def test_missing_and_unknown_names_are_refused() -> None:
    with pytest.raises(ModelError, match="heads missing or unknown"):
        architecture_from_json(SMALL.to_json() | {"heads": 3})
