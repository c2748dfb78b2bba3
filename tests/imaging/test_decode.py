"""Images to pixels: every kind of still that people have, beside decoders of other libraries."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pillow_heif
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from imaging.decode import FORMATS, decode_image, travels_as_it_is
from imaging.header import format_of
from imaging.jpeg import MAX_MARKERS, MAX_SCANS
from schemas.errors import DecodeError
from vit.preprocess import resize_crop

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
MAX_PIXELS = 10**6


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(height: int = 96, width: int = 160) -> Pixels:
    """Smooth colours with a red, a green and a blue corner, so that each turn looks different."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(
        np.uint8
    )
    pixels[: height // 3, : width // 4] = (230, 20, 20)
    pixels[: height // 3, -width // 4 :] = (20, 230, 20)
    pixels[-height // 3 :, : width // 4] = (20, 20, 230)
    return pixels


def saved(pixels: Pixels | Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def apart(one: Pixels, other: Pixels) -> int:
    """The largest difference of two crops in grey levels."""
    return int(np.abs(resize_crop(one).astype(int) - resize_crop(other).astype(int)).max())


def decoded(data: bytes, **options: Any) -> Pixels:
    encoding = format_of(data)
    assert encoding is not None
    return decode_image(data, encoding, MAX_PIXELS, **options)


def encoded(pixels: Pixels, encoding: str) -> bytes:
    if encoding == "jpeg":
        return simplejpeg.encode_jpeg(pixels, quality=95)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, encoding.upper(), lossless=True)
    return buffer.getvalue()


# Display metadata

STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[::-1],
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: p.swapaxes(0, 1)[:, ::-1],
}
"""How a camera stores an upright picture under each EXIF orientation (CIPA DC-008, 4.6.4)."""


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_stills_are_upright_whatever_their_orientation(image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](picture()))
    options: dict[str, Any] = {} if image_format in {"PNG", "TIFF"} else {"quality": 100}
    if image_format in {"JPEG", "AVIF"}:
        options["subsampling"] = "4:4:4"
    if image_format == "WEBP":
        options["lossless"] = True
    data = saved(stored, image_format, exif=exif, **options)
    upright = decoded(data)
    assert upright.shape == picture().shape
    assert apart(upright, picture()) <= 4
    reference = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert apart(upright, reference) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_upright_whatever_its_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    heif = pillow_heif.from_pillow(Image.fromarray(np.ascontiguousarray(STORED[orientation](picture()))))
    buffer = io.BytesIO()
    heif.save(buffer, quality=100, chroma=444, exif=exif.tobytes())
    upright = decoded(buffer.getvalue())
    assert upright.shape == picture().shape
    assert apart(upright, picture()) <= 6


def test_pixels_as_stored_are_neither_turned_nor_converted() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(picture(), "PNG", exif=exif, icc_profile=wide_profile())
    assert np.array_equal(decoded(data, as_shown=False), picture())


@pytest.mark.parametrize("value", [0, 9, 255])
def test_an_orientation_that_nobody_knows_is_upright(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert np.array_equal(decoded(saved(picture(), "PNG", exif=exif)), picture())


def test_damaged_exif_costs_no_png() -> None:
    pixels = np.full((40, 60, 3), 90, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=b"8 bytes.")
    assert np.array_equal(decode_image(file.getvalue(), "png", 1 << 20), pixels)


@pytest.mark.parametrize("junk", [b"\xff\xd0", b"\xff\xe5\x00\x02", b"\xff\xd0\x00\x00"])
def test_megabytes_of_markers_are_refused_before_they_cost_seconds(junk: bytes) -> None:
    data = b"\xff\xd8" + junk * ((4 << 20) // len(junk))
    with pytest.raises(DecodeError, match=f"more than {MAX_MARKERS} markers"):
        decode_image(data, "jpeg", 1 << 20)


def test_damaged_exif_costs_no_picture() -> None:
    data = saved(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decoded(data).shape == picture().shape


# Numbers that are not 8 bit


def grey16() -> np.ndarray[Any, np.dtype[np.uint16]]:
    return (np.arange(96 * 160).reshape(96, 160) * 4).astype(np.uint16)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_loses_its_low_byte(image_format: str) -> None:
    data = saved(Image.fromarray(grey16()), image_format)
    assert np.array_equal(decoded(data), np.repeat((grey16() >> 8).astype(np.uint8)[..., None], 3, 2))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_of_every_colour_type(colour: int, channels: int) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (8, 9, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    high = (values >> 8).astype(np.uint8)
    expected = high[..., :3] if channels >= 3 else np.repeat(high[..., :1], 3, 2)
    assert np.array_equal(decoded(png(9, 8, 16, colour, rows)), expected)


def test_floats_from_0_to_1_are_scaled() -> None:
    levels = np.linspace(0, 1, 96 * 160, dtype=np.float32).reshape(96, 160)
    found = decoded(saved(Image.fromarray(levels), "TIFF"))
    assert np.array_equal(found[..., 1], np.rint(levels * 255).astype(np.uint8))


@pytest.mark.parametrize("values", [(0, 300), (-0.5, 1), (0, float("nan")), (0, float("inf"))])
def test_other_floats_are_refused_by_name(values: tuple[float, float]) -> None:
    levels = np.array([values] * 4, np.float32)
    with pytest.raises(DecodeError, match=r"floats from .* to .*; want 0 to 1"):
        decoded(saved(Image.fromarray(levels), "TIFF"))


def test_32_bit_integers_are_refused_by_name() -> None:
    with pytest.raises(DecodeError, match="32-bit integers"):
        decoded(saved(Image.fromarray(np.arange(64, dtype=np.int32).reshape(8, 8)), "TIFF"))


# Colours


def wide_profile() -> bytes:
    """A profile whose red and blue are swapped in sRGB's own: every colour changes far more than 5 levels."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = struct.unpack(">I", data[128:132])[0]
    at = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(tags)}
    red, blue = at[b"rXYZ"], at[b"bXYZ"]
    data[red + 4 : red + 12], data[blue + 4 : blue + 12] = (
        data[blue + 4 : blue + 12],
        data[red + 4 : red + 12],
    )
    return bytes(data)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_profile_that_changes_colours_is_applied(image_format: str) -> None:
    by_format: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }
    options = by_format.get(image_format, {})
    data = saved(picture(), image_format, icc_profile=wide_profile(), **options)
    assert apart(decoded(data), picture()[..., ::-1]) <= 4
    image = Image.open(io.BytesIO(data))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(wide_profile()))
    reference = ImageCms.profileToProfile(image.convert("RGB"), profile, ImageCms.createProfile("sRGB"))
    assert apart(decoded(data), np.asarray(reference)) <= 2


def test_a_profile_of_srgb_changes_no_pixel() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(decoded(saved(picture(), "PNG", icc_profile=profile)), picture())


@pytest.mark.parametrize("profile", [b"no profile", bytes(200)])
def test_a_broken_profile_is_left_out(profile: bytes) -> None:
    assert np.array_equal(decoded(saved(picture(), "PNG", icc_profile=profile)), picture())


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_every_colour_model_are_as_another_decoder_shows_them(mode: str, progressive: bool) -> None:
    data = saved(Image.fromarray(picture()).convert(mode), "JPEG", quality=95, progressive=progressive)
    assert apart(decoded(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))) <= 2


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpegs_are_as_ffmpeg_shows_them(subsampling: str) -> None:
    smooth = np.asarray(Image.fromarray(picture()).resize((320, 240), Image.Resampling.BICUBIC))
    data = saved(smooth, "JPEG", quality=98, subsampling=subsampling)
    (frame,) = av.open(io.BytesIO(data), "r", format="jpeg_pipe").decode(video=0)
    planes = frame.reformat(format="yuvj444p", interpolation="BICUBIC").to_ndarray().astype(float)
    luma, blue, red = planes[0], planes[1] - 128, planes[2] - 128
    reference = np.stack(
        [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], -1
    )
    found = resize_crop(decoded(data)).astype(int)
    expected = resize_crop(np.clip(np.rint(reference), 0, 255).astype(np.uint8)).astype(int)
    assert np.abs(found - expected).mean() <= 1
    if subsampling == "4:4:4":  # the others differ where libraries interpolate colour at an edge
        assert np.percentile(np.abs(found - expected), 99.9) <= 2


# JPEGs that every viewer opens


def sampled(luma: tuple[int, int], colour: tuple[int, int]) -> bytes:
    """A JPEG with any sampling factors (across, down): one scan a component, each coded as a grey JPEG."""
    planes = Image.fromarray(picture()).convert("YCbCr").split()
    size = (160 * colour[0] // luma[0], 96 * colour[1] // luma[1])
    greys = [
        saved(plane.resize(size) if number else plane, "JPEG", quality=95)
        for number, plane in enumerate(planes)
    ]
    tables = greys[0][greys[0].index(b"\xff\xdb") : greys[0].index(b"\xff\xc0")]
    codes = greys[0][greys[0].index(b"\xff\xc4") : greys[0].index(b"\xff\xda")]
    parts = b"".join(
        bytes([number, across << 4 | down, 0])
        for number, (across, down) in enumerate([luma, colour, colour], 1)
    )
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 8 + len(parts), 8, 96, 160, 3) + parts
    scans = [
        b"\xff\xda\0\x08\x01" + bytes([number, 0, 0, 63, 0]) + grey[grey.index(b"\xff\xda") + 10 : -2]
        for number, grey in enumerate(greys, 1)
    ]
    return b"\xff\xd8" + tables + frame + codes + b"".join(scans) + b"\xff\xd9"


SAMPLINGS = [
    (luma, colour)
    for luma in [(4, 1), (2, 2), (3, 1), (1, 3), (4, 2), (1, 1)]
    for colour in [(1, 1), (2, 1), (1, 2), (2, 2)]
    if luma[0] % colour[0] == luma[1] % colour[1] == 0
]


@pytest.mark.parametrize(("luma", "colour"), SAMPLINGS)
def test_jpegs_of_any_sampling_are_as_another_decoder_shows_them(
    luma: tuple[int, int], colour: tuple[int, int]
) -> None:
    data = sampled(luma, colour)
    reference = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert apart(decoded(data), reference) <= 2
    assert apart(decoded(data[:-2]), reference) <= 2
    assert travels_as_it_is(data, "jpeg", MAX_PIXELS) == (160, 96)
    for cut in (len(data) // 4, len(data) // 2, len(data) - 60):
        for end in (b"", b"\xff\xd9"):
            with pytest.raises(DecodeError):
                decoded(data[:cut] + end)


def test_bytes_between_segments_are_skipped() -> None:
    clean = saved(picture(), "JPEG", quality=95)
    for junk in (b"\xff\0\0\0", b"\0", b"\xff\xff\xff", b"abc"):
        assert np.array_equal(decoded(clean[:2] + junk + clean[2:]), decoded(clean))
        quantisation = clean.index(b"\xff\xdb")
        assert np.array_equal(decoded(clean[:quantisation] + junk + clean[quantisation:]), decoded(clean))


def test_bytes_before_and_after_the_end_marker_are_skipped_and_the_marker_may_lack() -> None:
    clean = saved(picture(), "JPEG", quality=95)
    for data in (clean[:-2], clean + bytes(500), clean[:-2] + bytes(9) + clean[-2:]):
        assert np.array_equal(decoded(data), decoded(clean))


@pytest.mark.parametrize("progressive", [False, True])
def test_half_a_jpeg_fails_with_and_without_an_end_marker(progressive: bool) -> None:
    clean = saved(noise(96, 160), "JPEG", quality=90, progressive=progressive)
    begin = clean.index(b"\xff\xda")
    for cut in range(begin + 20, len(clean) - 40, (len(clean) - begin) // 15):
        for end in (b"", b"\xff\xd9"):
            with pytest.raises(DecodeError):
                decoded(clean[:cut] + end)


def test_half_a_jpeg_fails_in_the_lenient_decoder_too() -> None:
    clean = saved(Image.fromarray(noise(96, 160)).convert("CMYK"), "JPEG", quality=90)
    assert decoded(clean).shape == (96, 160, 3)
    for end in (b"", b"\xff\xd9"):
        with pytest.raises(DecodeError, match="pixels are missing"):
            decoded(clean[: len(clean) // 2] + end)


# What is refused


def test_a_picture_that_is_a_program_is_refused_and_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", start)
    for data in (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\nshowpage\n",
        b"%PDF-1.7\n",
        b"GIF89a" + bytes(99),
    ):
        assert format_of(data) is None
        for encoding in FORMATS:
            with pytest.raises(DecodeError):
                decode_image(data, encoding, MAX_PIXELS)


def test_a_size_that_the_message_does_not_state_is_refused() -> None:
    for image_format in ("JPEG", "PNG", "WEBP"):
        data = saved(picture(), image_format)
        assert decoded(data, size=(160, 96)).shape == (96, 160, 3)
        with pytest.raises(DecodeError, match="160x96 by its header, 96x160 was stated"):
            decoded(data, size=(96, 160))


@pytest.mark.parametrize(
    ("width", "height"), [(1, 33_000_000), (33_000_000, 1), (20_000, 20_000), (70_000, 2)]
)
def test_a_huge_header_costs_no_memory(width: int, height: int) -> None:
    data = png(width, height, 8, 0, bytes(10_000))
    tracemalloc.start()
    with pytest.raises(DecodeError) as caught:
        decode_image(data, "png", 7680 * 4320)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason == "too_large"
    assert peak < 1e6


def test_more_scans_than_a_picture_needs_are_refused_before_they_are_decoded() -> None:
    clean = saved(picture(), "JPEG", progressive=True)
    scan = clean.index(b"\xff\xda")
    after = clean.index(b"\xff\xda", scan + 2)
    assert decoded(clean).shape == (96, 160, 3)
    data = clean[:after] + clean[scan:after] * MAX_SCANS + clean[after:]
    with pytest.raises(DecodeError, match=f"more than {MAX_SCANS} scans"):
        decoded(data)


def test_a_jpeg_of_12_bits_is_refused_by_name() -> None:
    data = bytearray(saved(picture(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(DecodeError, match="12 bits a sample"):
        decoded(bytes(data))


# What travels


def test_what_travels_as_it_is_decodes_at_the_reader() -> None:
    for image_format in ("JPEG", "PNG", "WEBP"):
        assert travels_as_it_is(saved(picture(), image_format), image_format.lower(), MAX_PIXELS) == (160, 96)


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [
        ("P", "PNG"),
        ("RGBA", "PNG"),
        ("RGBA", "WEBP"),
        ("I;16", "PNG"),
        ("RGB", "TIFF"),
        ("RGB", "BMP"),
        ("RGB", "AVIF"),
    ],
)
def test_other_formats_and_modes_are_to_be_decoded_first(mode: str, image_format: str) -> None:
    data = saved(Image.new(mode, (32, 24)), image_format)
    assert travels_as_it_is(data, image_format.lower(), MAX_PIXELS) is None


@settings(deadline=None, max_examples=60)
@given(encoding=st.sampled_from(["JPEG", "PNG", "WEBP"]), place=st.floats(0, 1), flip=st.integers(1, 255))
def test_sender_and_reader_agree_on_what_is_readable(encoding: str, place: float, flip: int) -> None:
    data = bytearray(saved(noise(16, 24), encoding))
    data[int(place * (len(data) - 1))] ^= flip
    name = encoding.lower()
    try:
        size = travels_as_it_is(bytes(data), name, MAX_PIXELS)
    except DecodeError:
        with pytest.raises(DecodeError):
            decode_image(bytes(data), name, MAX_PIXELS)
    else:
        assert size is None or decode_image(bytes(data), name, MAX_PIXELS, size=size).ndim == 3


# Every encoding


@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_lossless_encodings_decode_to_the_very_pixels(encoding: str) -> None:
    pixels = noise(30, 50)
    assert np.array_equal(decode_image(encoded(pixels, encoding), encoding, 1500), pixels)


def test_a_jpeg_decodes_at_full_size_in_rgb() -> None:
    pixels = np.full((48, 64, 3), (200, 100, 20), np.uint8)
    decoded = decode_image(encoded(pixels, "jpeg"), "jpeg", 48 * 64)
    assert decoded.shape == (48, 64, 3)
    assert np.abs(decoded.astype(int) - pixels).max() < 4


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colour_models_become_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (40, 30)).save(buffer, "JPEG")
    assert decode_image(buffer.getvalue(), "jpeg", 1200).shape == (30, 40, 3)


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp"])
def test_a_size_above_the_limit_is_refused_from_the_header(encoding: str) -> None:
    header_only = encoded(noise(30, 50), encoding)
    with pytest.raises(DecodeError, match="50x30 is outside 1 to 1499 pixels") as caught:
        decode_image(header_only, encoding, 1499)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp"])
def test_truncated_images_are_decode_errors(encoding: str) -> None:
    data = encoded(noise(30, 50), encoding)
    for length in range(0, len(data) - 20, 97):
        with pytest.raises(DecodeError):
            decode_image(data[:length], encoding, 1500)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(["jpeg", "png", "webp"]), st.floats(0, 1), st.integers(1, 255))
def test_a_corrupt_byte_gives_an_image_of_the_size_or_a_decode_error(encoding: str, place, flip) -> None:
    data = bytearray(encoded(noise(16, 24), encoding))
    data[int(place * (len(data) - 1))] ^= flip
    try:
        decoded = decode_image(bytes(data), encoding, 10_000)
    except DecodeError:
        return
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3
    assert decoded.shape[0] * decoded.shape[1] <= 10_000


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(DecodeError, match="'eps' is not one of jpeg, png, webp"):
        decode_image(b"", "eps", 100)
