import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vit.architecture import Architecture
from vit.edge_forward import EdgeForward
from vit.model import random_model
from vit.packed_forward import normalised
from vit.preprocess import resize_crop
from vit.weights import load_model

SMALL = Architecture(embed_dim=64, depth=3, num_heads=2, mlp_ratio=4.0, num_classes=7)
DATA = Path(__file__).parents[3] / "shared/data"
# bf16 keeps 8 bits; after some blocks, logits of order one differ by a few hundredths. timm's own bf16
# forward is as far from its float32 one.
BF16_TOLERANCE = 0.1


def some_crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def timm_logits(model, crops) -> np.ndarray:
    with torch.inference_mode():
        return model.timm(normalised(crops, model)).numpy()


def timm_embedding(model, crops) -> np.ndarray:
    """The class token that timm's own head reads."""
    with torch.inference_mode():
        return model.timm.forward_features(normalised(crops, model))[:, 0].numpy()


def class_attention_by_hand(model, crops) -> np.ndarray:
    """The last block's class attention from timm's own q and k, in float64 numpy."""
    kept = []
    attention = model.timm.blocks[-1].attn
    handle = attention.qkv.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    timm_logits(model, crops)
    handle.remove()
    tokens, heads = kept[0].shape[1], attention.num_heads
    qkv = kept[0].numpy().astype(np.float64).reshape(len(crops), tokens, 3, heads, -1)
    query, key = qkv[:, 0, 0], qkv[:, :, 1]
    scores = np.einsum("bhd,bnhd->bhn", query, key) / np.sqrt(query.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    patches = weights.mean(1)[:, 1:]
    return patches / patches.sum(-1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [SMALL, "deit_tiny_patch16_224", "deit3_small_patch16_224"])
def test_logits_attention_and_embedding_are_timms_in_float32(name: str) -> None:
    model, crops = random_model(name), some_crops(2)
    output = EdgeForward(model, torch.float32)(crops)
    assert output.logits == pytest.approx(timm_logits(model, crops), abs=5e-5)
    assert output.attention == pytest.approx(class_attention_by_hand(model, crops), abs=1e-6)
    assert output.embedding == pytest.approx(timm_embedding(model, crops), abs=5e-5)
    assert output.logits.dtype == output.attention.dtype == output.embedding.dtype == np.float32


@pytest.mark.slow
def test_a_norm_before_the_blocks_is_applied() -> None:
    model, crops = random_model("vit_base_patch16_clip_224"), some_crops(1)
    model.vit.blocks = model.vit.blocks[:2]
    assert EdgeForward(model, torch.float32)(crops).logits == pytest.approx(
        timm_logits(model, crops), abs=5e-5
    )


@pytest.mark.slow
def test_bfloat16_stays_within_its_tolerance() -> None:
    model, crops = random_model("deit_tiny_patch16_224"), some_crops(3)
    output = EdgeForward(model, torch.bfloat16)(crops)
    assert output.logits == pytest.approx(timm_logits(model, crops), abs=BF16_TOLERANCE)
    assert output.embedding == pytest.approx(timm_embedding(model, crops), abs=BF16_TOLERANCE)
    by_hand = class_attention_by_hand(model, crops)
    # As shares of one: half the summed difference is the attention that moved elsewhere.
    assert (np.abs(output.attention - by_hand).sum(1) / 2).max() < 0.02


def test_the_batch_does_not_change_the_answer() -> None:
    model, crops = random_model(SMALL), some_crops(5)
    forward = EdgeForward(model, torch.float32)
    together = forward(crops)
    for index in range(5):
        alone = forward(crops[index : index + 1])
        assert together.logits[index] == pytest.approx(alone.logits[0], abs=1e-5)
        assert together.attention[index] == pytest.approx(alone.attention[0], abs=1e-6)


def test_attention_is_a_share_of_patches() -> None:
    attention = EdgeForward(random_model(SMALL))(some_crops(4)).attention
    assert attention.shape == (4, 196)
    assert (attention >= 0).all()
    assert attention.sum(1) == pytest.approx(np.ones(4), abs=1e-5)


def test_read_only_and_strided_crops_are_accepted() -> None:
    forward, crops = EdgeForward(random_model(SMALL), torch.float32), some_crops(2)
    expected = forward(crops).logits
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])[:, :, ::-1]
    frozen = crops.copy()
    frozen.setflags(write=False)
    assert np.array_equal(forward(mirrored).logits, expected)
    assert np.array_equal(forward(frozen).logits, expected)


@pytest.mark.parametrize("shape", [(0, 224, 224, 3), (224, 224, 3), (1, 224, 224, 4)])
def test_other_shapes_are_refused(shape) -> None:
    with pytest.raises(ValueError, match="crops must be"):
        EdgeForward(random_model(SMALL))(np.zeros(shape, np.uint8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_answer() -> None:
    model, crops = random_model("deit_tiny_patch16_224"), some_crops(4)
    output = EdgeForward(model, torch.bfloat16, device="cuda")(crops)
    assert output.logits == pytest.approx(timm_logits(model, crops), abs=BF16_TOLERANCE)
    assert output.attention == pytest.approx(class_attention_by_hand(model, crops), abs=1e-2)


needs_photos = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")


@pytest.fixture(scope="module")
def photos() -> tuple[np.ndarray, np.ndarray]:
    """The 240 photos' crops and their classes."""
    with (DATA / "photos/labels.csv").open() as table:
        rows = list(csv.DictReader(table))
    crops = [resize_crop(Image.open(DATA / "photos/images" / row["file"])) for row in rows]
    return np.stack(crops), np.array([int(row["class_index"]) for row in rows])


def deit_tinys_logits(crops: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    model = load_model(str(DATA / "weights/deit_tiny_patch16_224.safetensors"))
    forward = EdgeForward(model, dtype, threads=1)
    return np.concatenate([forward(crops[start : start + 20]).logits for start in range(0, len(crops), 20)])


@needs_photos
@pytest.mark.slow
def test_deit_tiny_is_right_on_200_of_the_240_photos_and_bfloat16_agrees(photos) -> None:
    crops, classes = photos
    exact, short = (deit_tinys_logits(crops, dtype) for dtype in (torch.float32, torch.bfloat16))
    # The closest two classes of a photo are .013 apart, float32's own error is below .0001: the count is exact.
    assert (exact.argmax(1) == classes).sum() == 200
    # Each logit moves by less than .3, so that only answers with a margin below .6 may change; 1 of 240 does.
    assert np.abs(short - exact).max() < 0.3
    assert (short.argmax(1) == exact.argmax(1)).sum() >= 237
