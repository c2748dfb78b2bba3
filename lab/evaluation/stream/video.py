"""Video codecs as rivals: one packet a frame, no delay, the bytes of all packets with parameter sets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from lab.evaluation.wire import record_wire_bytes
from schemas.geometry import CROP_SIDE

# SVT-AV1 prints its settings for every encoder that is made, unless told before its first use.
os.environ.setdefault("SVT_LOG", "1")

KEYFRAME_S: Final = 2.0
_NEVER: Final = 1_000_000
_DECODERS: Final = {"h264": "h264", "av1": "libdav1d"}
_ENCODERS: Final = {"h264": "libx264", "av1": "libsvtav1"}


@dataclass(frozen=True, slots=True)
class VideoCodec:
    """One setting of a video encoder; `periodic_keyframes` means one every two seconds."""

    name: str
    crf: int
    periodic_keyframes: bool

    @property
    def label(self) -> str:
        """The codec's name in reports."""
        return f"{self.name}-{'key2s' if self.periodic_keyframes else 'key1'}"

    def options(self) -> dict[str, str]:
        """Return the encoder's options: no look-ahead, no reordering, one thread."""
        if self.name == "h264":
            return {"preset": "veryfast", "tune": "zerolatency", "crf": str(self.crf)}
        return {"preset": "9", "crf": str(self.crf), "svtav1-params": "pred-struct=1:lookahead=0:lp=1"}


@dataclass(frozen=True)
class Coded:
    """Decoded frames (T, 224, 224, 3) uint8 and (T,) wire bytes, each packet in a record of its own."""

    frames: NDArray[np.uint8]
    wire_bytes: NDArray[np.float64]


def through_codec(crops: NDArray[np.uint8], codec: VideoCodec, fps: float) -> Coded:
    """Return what the server sees of a camera's frames, and what that costs.

    Args:
        crops: (T, 224, 224, 3) uint8 in the order of time, T >= 1.
        codec: the setting.
        fps: frames a second that reach the encoder; decides where keyframes fall.

    Raises:
        RuntimeError: the codec does not return one packet and one picture a frame.
    """
    encoder = _encoder(codec, fps)
    decoder = av.CodecContext.create(_DECODERS[codec.name], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    packets: list[bytes] = []
    pictures: list[av.VideoFrame] = []
    for number, crop in enumerate(crops):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(crop), format="rgb24")
        yuv = frame.reformat(format="yuv420p")
        yuv.pts = number
        _take(encoder.encode(yuv), decoder, packets, pictures)
    _take(encoder.encode(None), decoder, packets, pictures)
    pictures += decoder.decode(None)
    if len(packets) != len(crops) or len(pictures) != len(crops):
        raise RuntimeError(
            f"{codec.label}: {len(crops)} frames became {len(packets)} packets and {len(pictures)} pictures"
        )
    wire = [record_wire_bytes(codec.name, min(codec.crf, 100), packet) for packet in packets]
    seen = np.stack([np.asarray(picture.to_ndarray(format="rgb24"), dtype=np.uint8) for picture in pictures])
    return Coded(seen, np.asarray(wire, dtype=np.float64))


def _encoder(codec: VideoCodec, fps: float) -> av.VideoCodecContext:
    encoder = av.CodecContext.create(_ENCODERS[codec.name], "w")
    assert isinstance(encoder, av.VideoCodecContext)
    rate = Fraction(fps).limit_denominator(1000)
    encoder.width = encoder.height = CROP_SIDE
    encoder.pix_fmt = "yuv420p"
    encoder.time_base, encoder.framerate = 1 / rate, rate
    encoder.gop_size = max(1, round(KEYFRAME_S * fps)) if codec.periodic_keyframes else _NEVER
    encoder.max_b_frames = 0
    encoder.thread_count = 1
    encoder.options = codec.options()
    with usual_priority():
        encoder.open()
    return encoder


@contextmanager
def usual_priority() -> Iterator[None]:
    """The threads of this process have the scheduling policy of before when the block ends, new ones too.

    For root SVT-AV1 makes its threads real-time ones of the highest priority, and the thread that opens it as well.
    All that this thread started later would inherit that and could stop the machine.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):
                if os.sched_getscheduler(int(thread.name)) != policy:
                    os.sched_setscheduler(int(thread.name), policy, parameter)


def _take(
    made: Sequence[av.Packet[av.VideoStream]],
    decoder: av.VideoCodecContext,
    packets: list[bytes],
    pictures: list[av.VideoFrame],
) -> None:
    for packet in made:
        packets.append(bytes(packet))
        pictures += decoder.decode(packet)
