from dataclasses import replace

import numpy as np
import pytest
import torch

from vit.architecture import Architecture
from vit.model import Model, random_model
from vit.packed_forward import PackedForward, normalised
from vit.preprocess import from_patches, to_patches

SMALL = Architecture(embed_dim=64, depth=3, num_heads=2, mlp_ratio=4.0, num_classes=7)
ALL = np.arange(196)
# Rounding of float32 sums in another order, on logits of order one.
FP32_TOLERANCE = 5e-5
# As in test_edge_forward: timm's own bf16 forward is as far from its float32 one.
BF16_TOLERANCE = 0.1


def token_sets(*counts: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(sum(counts))
    positions = [np.sort(rng.permutation(196)[:count]) for count in counts]
    return [rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8) for count in counts], positions


def one_by_one(model: Model, patches: list[np.ndarray], positions: list[np.ndarray]) -> np.ndarray:
    """(B, C) float32 logits by timm's own modules, one set after the other, in float32 on the CPU."""
    vit, logits = model.timm, []
    with torch.inference_mode():
        for pixels, kept in zip(patches, positions, strict=True):
            image = np.zeros((196, 16, 16, 3), np.uint8)
            image[kept] = pixels
            tokens = vit._pos_embed(vit.patch_embed(normalised(from_patches(image)[None], model)))
            rows = torch.from_numpy(np.concatenate([[0], kept + 1]))
            tokens = vit.blocks(vit.norm_pre(tokens[:, rows]))
            logits.append(vit.forward_head(vit.norm(tokens))[0].float().numpy())
    return np.stack(logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", [SMALL, "deit_tiny_patch16_224", "deit3_small_patch16_224"])
def test_all_patches_kept_is_timms_own_forward(name: str) -> None:
    model = random_model(name)
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = model.timm(normalised(crops, model)).numpy()
    packed = PackedForward(model, dtype=torch.float32)([to_patches(crop) for crop in crops], [ALL, ALL])
    assert packed == pytest.approx(expected, abs=FP32_TOLERANCE)
    assert packed.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, FP32_TOLERANCE), (torch.bfloat16, BF16_TOLERANCE)]
)
@pytest.mark.parametrize("name", [SMALL, "deit_tiny_patch16_224"])
def test_subsets_are_the_one_by_one_forward_in_the_order_given(name: str, dtype, tolerance: float) -> None:
    model = random_model(name)
    patches, positions = token_sets(147, 1, 196, 30, 147, 2, 30, 8)
    packed = PackedForward(model, dtype=dtype)(patches, positions)
    assert packed == pytest.approx(one_by_one(model, patches, positions), abs=tolerance)


def test_a_set_does_not_see_its_neighbours() -> None:
    forward = PackedForward(random_model(SMALL), dtype=torch.float32)
    patches, positions = token_sets(20, 50, 20)
    alone = forward(patches[1:2], positions[1:2])
    assert forward(patches, positions)[1:2] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_kernels_built_beforehand_change_no_answer(depth: int) -> None:
    forward = PackedForward(random_model(replace(SMALL, depth=depth)), dtype=torch.float32)
    patches, positions = token_sets(20, 100, 196)
    before = forward(patches, positions)
    forward.build_kernels()
    assert (forward(patches, positions) == before).all()


def test_positions_matter() -> None:
    forward = PackedForward(random_model(SMALL), dtype=torch.float32)
    patches, positions = token_sets(20)
    moved = np.sort((positions[0] + 1) % 196)
    assert np.abs(forward(patches, positions) - forward(patches, [moved])).max() > 1e-3


@pytest.mark.slow
def test_many_equal_sets_are_cut_to_fit_the_cache_and_stay_right() -> None:
    model = random_model(SMALL)
    patches, positions = token_sets(*[180] * 12)
    packed = PackedForward(model, dtype=torch.float32)(patches, positions)
    assert packed == pytest.approx(one_by_one(model, patches, positions), abs=FP32_TOLERANCE)


def test_read_only_patches_are_accepted() -> None:
    forward = PackedForward(random_model(SMALL), dtype=torch.float32)
    patches, positions = token_sets(5)
    frozen = np.frombuffer(patches[0].tobytes(), np.uint8).reshape(patches[0].shape)
    assert np.array_equal(forward([frozen], positions), forward(patches, positions))


@pytest.mark.parametrize("positions", [[], [3, 3], [4, 2], [-1, 2], [0, 196]])
def test_positions_that_are_not_ascending_patches_are_refused(positions) -> None:
    forward = PackedForward(random_model(SMALL))
    with pytest.raises(ValueError, match="set 0: positions must ascend"):
        forward([np.zeros((len(positions), 16, 16, 3), np.uint8)], [np.array(positions, np.int64)])


def test_sets_of_other_shapes_are_refused() -> None:
    forward = PackedForward(random_model(SMALL))
    with pytest.raises(ValueError, match=r"set 0: uint8 \(2, 16, 16, 3\) patches, 3 positions"):
        forward([np.zeros((2, 16, 16, 3), np.uint8)], [np.arange(3)])
    with pytest.raises(ValueError, match="0 patch sets with 0 position sets"):
        forward([], [])


gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("compiled", [pytest.param(False, marks=gpu), pytest.param(True, marks=gpu)])
def test_a_gpu_gives_the_same_answer(compiled) -> None:
    model = random_model("deit_tiny_patch16_224")
    patches, positions = token_sets(147, 1, 196, 30, 147, 2, 30, 8)
    packed = PackedForward(model, "cuda", torch.bfloat16, compiled=compiled)(patches, positions)
    assert packed == pytest.approx(one_by_one(model, patches, positions), abs=BF16_TOLERANCE)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_second_batch_may_be_submitted_before_the_first_is_read() -> None:
    forward = PackedForward(random_model(SMALL), "cuda")
    first, second = token_sets(10, 20), token_sets(30, 5, 7)
    expected = forward(*first), forward(*second)
    pending = forward.submit(*first), forward.submit(*second)
    assert np.array_equal(pending[0].result(), expected[0])
    assert np.array_equal(pending[1].result(), expected[1])
