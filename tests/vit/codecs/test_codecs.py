from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_workers.settings import EdgeSettings
from schemas.errors import DecodeError
from vit import codecs
from vit.codecs import CODECS, decode_patches, encode_patches
from vit.mosaic import mosaic_grid
from vit.preprocess import to_patches

LOSSY = sorted(name for name, codec in CODECS.items() if not codec.lossless)
LOSSLESS = sorted(name for name, codec in CODECS.items() if codec.lossless)
ALL = np.arange(196)


def smooth_crop(seed: int = 0) -> np.ndarray:
    """A crop of soft gradients, which lossy codecs reproduce closely."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:224, 0:224] / 224
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(0, 6, (3, 3))]
    return ((np.stack(waves, -1) + 1) * 127).astype(np.uint8)


def some_positions(seed: int, count: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(196)[:count])


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(LOSSLESS), st.integers(0, 999), st.integers(1, 196), st.integers(0, 100))
def test_lossless_codecs_return_the_very_patches(codec: str, seed: int, count: int, quality: int) -> None:
    crop = np.random.default_rng(seed).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    positions = some_positions(seed, count)
    decoded = decode_patches(codec, encode_patches(codec, quality, crop, positions), positions)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, to_patches(crop)[positions])


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(LOSSY), st.integers(0, 999), st.integers(1, 196))
def test_lossy_codecs_return_patches_close_to_the_originals_in_their_order(
    codec: str, seed: int, count: int
) -> None:
    crop, positions = smooth_crop(seed), some_positions(seed, count)
    decoded = decode_patches(codec, encode_patches(codec, 90, crop, positions), positions)
    error = decoded.astype(int) - to_patches(crop)[positions]
    assert decoded.shape == (count, 16, 16, 3)
    # Colours bleed a little at the seams; patches in a wrong order would be off by twice as much and more.
    assert np.sqrt((error**2).mean()) < 20


@pytest.mark.parametrize("codec", LOSSY)
def test_less_quality_is_fewer_bytes_and_its_whole_range_is_accepted(codec: str) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    sizes = [len(encode_patches(codec, quality, crop, ALL)) for quality in (0, 30, 75, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_payload_for_another_number_of_patches_is_refused(codec: str) -> None:
    data = encode_patches(codec, 75, smooth_crop(), some_positions(0, 30))
    for count in (29 if codec == "raw" else 25, 31, 100, 196):
        with pytest.raises(DecodeError):
            decode_patches(codec, data, some_positions(1, count))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(CODECS)), st.integers(0, 999), st.data())
def test_truncated_payloads_are_decode_errors(codec: str, seed: int, data) -> None:
    positions = some_positions(seed, 20)
    encoded = encode_patches(codec, 75, smooth_crop(seed), positions)
    length = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(DecodeError):
        decode_patches(codec, encoded[:length], positions)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(CODECS)),
    st.integers(0, 50),
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_corrupt_payloads_give_patches_of_the_right_shape_or_a_decode_error(
    codec: str, seed: int, flips
) -> None:
    positions = some_positions(seed, 20)
    encoded = bytearray(encode_patches(codec, 75, smooth_crop(seed), positions))
    for place, flip in flips:
        encoded[int(place * (len(encoded) - 1))] ^= flip
    try:
        decoded = decode_patches(codec, bytes(encoded), positions)
    except DecodeError as error:
        assert "\n" not in str(error)
    else:
        assert decoded.shape == (20, 16, 16, 3)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=200))
def test_random_bytes_are_decode_errors(codec: str, data) -> None:
    with pytest.raises(DecodeError):
        decode_patches(codec, data, some_positions(0, 20))


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_payload_of_another_codec_is_refused(codec: str) -> None:
    positions = some_positions(0, 20)
    for other in sorted(set(CODECS) - {codec}):
        with pytest.raises(DecodeError):
            decode_patches(codec, encode_patches(other, 75, smooth_crop(), positions), positions)


def test_the_mosaic_is_the_smallest_near_square_grid_and_the_whole_crop_at_196() -> None:
    assert mosaic_grid(196) == (14, 14)
    assert mosaic_grid(1) == (1, 1)
    assert mosaic_grid(147) == (12, 13)
    for count in range(1, 197):
        rows, columns = mosaic_grid(count)
        assert rows * columns >= count > (rows - 1) * columns
        assert 0 <= columns - rows <= 1


def test_all_patches_travel_as_the_crop_itself() -> None:
    crop = smooth_crop()
    data = encode_patches("webp_lossless", 75, crop, ALL)
    assert np.array_equal(decode_patches("webp_lossless", data, ALL), to_patches(crop))


@pytest.mark.parametrize("positions", [[], [3, 3], [5, 4], [-1, 4], [4, 196]])
def test_positions_that_are_not_ascending_patches_are_refused(positions) -> None:
    positions = np.array(positions, np.int64)
    with pytest.raises(ValueError, match="position"):
        encode_patches("raw", 75, smooth_crop(), positions)
    with pytest.raises(DecodeError) as caught:
        decode_patches("raw", bytes(768 * len(positions)), positions)
    assert caught.value.reason == "bad_bitmap"


def test_an_unknown_codec_and_a_quality_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="'h264' is not one of avif, jpeg, raw, webp, webp_lossless"):
        encode_patches("h264", 75, smooth_crop(), ALL)
    with pytest.raises(DecodeError, match="'h264' is not one of"):
        decode_patches("h264", b"", ALL)
    with pytest.raises(ValueError, match="jpeg quality 101 is outside 0 to 100"):
        encode_patches("jpeg", 101, smooth_crop(), ALL)


def test_one_file_adds_a_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inverted.py").write_text(
        "from vit.codecs import CODECS, PatchCodec\n"
        "raw = CODECS['raw']\n"
        "MEMBER = PatchCodec(lambda crop, *rest: raw.encode(255 - crop, *rest),\n"
        "                    lambda data, count: 255 - raw.decode(data, count), lossless=True)\n"
    )
    monkeypatch.setattr(codecs, "__path__", [*codecs.__path__, str(tmp_path)])
    assert "inverted" in CODECS
    crop, positions = smooth_crop(), some_positions(0, 30)
    data = encode_patches("inverted", 75, crop, positions)
    assert data != encode_patches("raw", 75, crop, positions)
    assert np.array_equal(decode_patches("inverted", data, positions), to_patches(crop)[positions])
    assert EdgeSettings(codec="inverted").codec == "inverted"
