"""From the bytes of an image to its pixels as a person sees them: upright, 8-bit sRGB, within limits."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from imaging.colour import apply_profile, to_rgb
from imaging.header import check_size, format_of, png_header, webp_header
from imaging.heif import open_heif
from imaging.jpeg import Jpeg, check_jpeg, decode_jpeg, parse_jpeg
from imaging.tiff import open_tiff
from schemas.errors import DecodeError, decodes
from schemas.frame import ENCODINGS

Pixels = NDArray[np.uint8]

# Whatever Pillow warns of is read all the same, or refused by name; nobody could do anything about the warning.
warnings.filterwarnings("ignore", module=r"PIL\.")

FORMATS: Final = ("jpeg", "png", "webp", "bmp", "tiff", "ppm", "avif", "heif")
_ORIENTATION = 0x0112
_TURNS: Final[dict[int, Callable[[Pixels], Pixels]]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: p.swapaxes(0, 1)[::-1],
}
"""EXIF orientation → what turns the stored rows and columns upright."""


@decodes
def decode_image(
    data: bytes,
    encoding: str,
    max_pixels: int,
    *,
    size: tuple[int, int] | None = None,
    as_shown: bool = True,
) -> Pixels:
    """Return the image as (height, width, 3) uint8 RGB.

    The size is read from the header and held against the limits before any pixel is decoded. JPEGs are always
    decoded at full size: libjpeg's cheaper scaled decoding is another filter than the bicubic that the models'
    published accuracies were measured with.

    Args:
        data: the encoded image.
        encoding: jpeg, png or webp, and for files also bmp, tiff, ppm, avif or heif.
        max_pixels: largest allowed width x height.
        size: (width, height) that somebody else stated; it must be the header's.
        as_shown: turned as its EXIF orientation says, and its colour profile applied. Without it pixels are as
            stored, as the published accuracies of models are measured.

    Raises:
        DecodeError: unknown encoding, not such an image, another size, too large, truncated or corrupt.
    """
    if encoding not in FORMATS:
        raise DecodeError("bad_image", f"encoding {encoding!r} is not one of {', '.join(FORMATS)}")
    try:
        if encoding == "jpeg":
            return _decode_jpeg(parse_jpeg(data), max_pixels, size, as_shown=as_shown)
        return _decode_other(data, encoding, max_pixels, size, as_shown=as_shown)
    except DecodeError:
        raise
    except Image.DecompressionBombError:
        raise DecodeError("too_large", f"{encoding} of more pixels than any limit lets through") from None
    except UnidentifiedImageError:
        kind = "damaged, or its pixels are of a kind that is not read here"
        raise DecodeError("bad_image", f"{encoding} does not decode: {kind}") from None
    except Exception as error:  # decoders of hostile bytes raise anything, MemoryError included
        raise DecodeError("bad_image", f"{encoding} does not decode: {error}") from error


def travels_as_it_is(data: bytes, encoding: str, max_pixels: int) -> tuple[int, int] | None:
    """Return (width, height) of the header if the file may be sent byte for byte, None if it must be decoded.

    True of images that a reader decodes by `decode_image`, whole and alone in their file; palettes, alpha and
    more than 8 bits are better flattened before they are sent.

    Raises:
        DecodeError: the reader would refuse it.
    """
    if encoding not in ENCODINGS:
        return None
    if encoding == "jpeg":
        jpeg = parse_jpeg(data)
        check_size("jpeg", jpeg.width, jpeg.height, max_pixels)
        try:
            check_jpeg(jpeg)
        except DecodeError:
            raise
        except Exception as error:
            raise DecodeError("bad_image", f"jpeg does not decode: {error}") from error
        return jpeg.width, jpeg.height
    decode_image(data, encoding, max_pixels)
    with Image.open(io.BytesIO(data), formats=[encoding.upper()]) as picture:
        plain = picture.mode in {"RGB", "L"} and getattr(picture, "n_frames", 1) == 1
        return picture.size if plain else None


def _decode_jpeg(jpeg: Jpeg, max_pixels: int, size: tuple[int, int] | None, *, as_shown: bool) -> Pixels:
    check_size("jpeg", jpeg.width, jpeg.height, max_pixels)
    _check_stated("jpeg", (jpeg.width, jpeg.height), size)
    decoded = decode_jpeg(jpeg)
    if isinstance(decoded, Image.Image):
        pixels = to_rgb(decoded, jpeg.icc if as_shown else b"")
    else:
        pixels = decoded
        if as_shown and jpeg.icc and (shown := _profiled(jpeg, decoded)) is not None:
            pixels = shown
    return upright(pixels, _exif_orientation(jpeg.exif)) if as_shown and jpeg.exif else pixels


def _profiled(jpeg: Jpeg, pixels: Pixels) -> Pixels | None:
    grey = jpeg.components == 1
    return apply_profile(Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if grey else pixels), jpeg.icc)


def _decode_other(
    data: bytes, encoding: str, max_pixels: int, size: tuple[int, int] | None, *, as_shown: bool
) -> Pixels:
    if encoding == "png":
        header = png_header(data)
        check_size(encoding, header.width, header.height, max_pixels)
    elif encoding == "webp":
        header = webp_header(data)
        check_size(encoding, header.width, header.height, max_pixels)
    elif format_of(data) != encoding:
        raise DecodeError("bad_image", f"no {encoding.upper()} header")
    with _opened(data, encoding, max_pixels) as picture:
        check_size(encoding, picture.width, picture.height, max_pixels)
        _check_stated(encoding, picture.size, size)
        if encoding in {"png", "webp"} and picture.size != (header.width, header.height):
            raise DecodeError("bad_image", f"{encoding} header and content differ in size")
        picture.load()
        pixels = to_rgb(picture, picture.info.get("icc_profile") or b"" if as_shown else b"")
        orientation = _orientation(picture) if as_shown else 1
    return upright(pixels, orientation)


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation; a damaged EXIF does not spoil sound pixels."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - Pillow raises anything on it
        return 1


def _opened(data: bytes, encoding: str, max_pixels: int) -> Image.Image:
    """Return the image, opened by the one reader of its format: none of them starts another program."""
    match encoding:
        case "heif":
            return open_heif(data, max_pixels)
        case "tiff":
            return open_tiff(data)
        case _:
            return Image.open(io.BytesIO(data), formats=[encoding.upper()])


def upright(pixels: Pixels, orientation: Any) -> Pixels:
    """Return the stored pixels turned and mirrored as EXIF's orientation (1 to 8) says; unknown ones are 1."""
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def _exif_orientation(exif: bytes) -> Any:
    parsed = Image.Exif()
    try:
        parsed.load(exif)
        return parsed.get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF beside a sound picture
        return 1


def _check_stated(encoding: str, found: tuple[int, int], stated: tuple[int, int] | None) -> None:
    if stated is not None and stated != found:
        raise DecodeError(
            "bad_image",
            f"{encoding} is {found[0]}x{found[1]} by its header, {stated[0]}x{stated[1]} was stated",
        )
