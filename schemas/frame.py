"""One camera frame as it travels on the topic `frames`. Written by producers, read by edge workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas import envelope
from schemas.errors import DecodeError, decodes
from schemas.identity import check_camera
from schemas.limits import (
    FRAME_ENVELOPE_BYTES,
    MAX_CAMERA_CHARS,
    MAX_CLASSES,
    MAX_NAME_CHARS,
    MAX_SEQ,
    MAX_SIDE,
    MAX_TIME_NS,
)

VERSION: Final = 1
ENCODINGS: Final = frozenset({"jpeg", "png", "webp"})
TRUTH_IGNORED: Final = -1


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera.

    `seq` strictly increases per camera and is never reused; `captured_ns` is UTC; `width` and `height` are
    those of the encoded image; `live` is false for files, whose frames are never too old; `truth` is None
    when unknown, -1 when the frame is streamed but not scored, else the class index. `still` says that the frame
    has nothing to do with the one before it, as in a folder of photos.
    """

    site: str
    camera: str
    seq: int
    captured_ns: int
    width: int
    height: int
    encoding: str
    image: bytes
    live: bool = True
    truth: int | None = None
    still: bool = False


def encode_frame(frame: Frame) -> bytes:
    """The frame as versioned msgpack; its image bytes travel as they are."""
    return envelope.pack(
        {
            "v": VERSION,
            "site": frame.site,
            "camera": frame.camera,
            "seq": frame.seq,
            "captured_ns": frame.captured_ns,
            "width": frame.width,
            "height": frame.height,
            "encoding": frame.encoding,
            "image": frame.image,
            "live": frame.live,
            "truth": frame.truth,
            "still": frame.still,
        }
    )


@decodes
def decode_frame(data: bytes, *, max_frame_bytes: int, max_frame_pixels: int) -> Frame:
    """The frame in `data`, every field checked; the image itself is not opened.

    Args:
        data: the record's value.
        max_frame_bytes: limit of the image bytes; the value may be 1 KiB longer.
        max_frame_pixels: limit of width x height as the message states them.

    Raises:
        DecodeError: with its reason.
    """
    if len(data) > max_frame_bytes + FRAME_ENVELOPE_BYTES:
        raise DecodeError(
            "too_large", f"frame: {len(data)} bytes, at most {max_frame_bytes} and the envelope"
        )
    fields = envelope.unpack("frame", data)
    fields.version(VERSION)
    width, height = fields.integer("width", 1, MAX_SIDE), fields.integer("height", 1, MAX_SIDE)
    if width * height > max_frame_pixels:
        raise DecodeError("too_large", f"frame: {width}x{height} pixels, at most {max_frame_pixels}")
    frame = Frame(
        site=fields.text("site", MAX_NAME_CHARS),
        camera=fields.text("camera", MAX_CAMERA_CHARS),
        seq=fields.integer("seq", 0, MAX_SEQ),
        captured_ns=fields.integer("captured_ns", 0, MAX_TIME_NS),
        width=width,
        height=height,
        encoding=fields.choice("encoding", ENCODINGS),
        image=fields.binary("image", max_frame_bytes),
        live=fields.boolean("live"),
        truth=None if fields.is_null("truth") else fields.integer("truth", TRUTH_IGNORED, MAX_CLASSES),
        still=not fields.is_null("still") and fields.boolean("still"),
    )
    check_camera(frame.site, frame.camera)
    return frame


def identity_of(data: bytes) -> Frame | None:
    """Whose frame it is that `decode_frame` refuses, without its image; None where not even that can be read.

    So it can have its state like any other. Width and height are 1.
    """
    try:
        fields = envelope.unpack("frame", data)
        fields.version(VERSION)  # what another version means by these names is not known
        frame = Frame(
            site=fields.text("site", MAX_NAME_CHARS),
            camera=fields.text("camera", MAX_CAMERA_CHARS),
            seq=fields.integer("seq", 0, MAX_SEQ),
            captured_ns=fields.integer("captured_ns", 0, MAX_TIME_NS),
            width=1,
            height=1,
            encoding="",
            image=b"",
            live=fields.boolean("live"),
        )
        check_camera(frame.site, frame.camera)
    except DecodeError:
        return None
    return frame
