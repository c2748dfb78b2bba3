"""Video files, network streams and webcams as sources, through PyAV (FFmpeg).

Blocking throughout. FFmpeg asks PyAV's time-outs while it does I/O, but neither name resolution nor a
device's read does, so whoever iterates needs a deadline of its own (`producers.capture`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import av
import av.error
import numpy as np

from producers.address import Address, StreamUrl, VideoFile, Webcam, shown
from producers.credentials import without_secrets
from producers.image import fit_within
from producers.sources.captured import Captured, RawImage, Unreadable
from schemas.errors import SourceError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_BAD_PACKETS_IN_A_ROW: Final = 250
"""Ten seconds of a 25 frames/s stream: damage that long is a lost stream, shorter is a glitch."""
_WEBCAM_FORMATS: Final = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long FFmpeg may take to open a source and to give one packet, in seconds."""

    open_s: float
    read_s: float


class Video:
    """One open video source.

    Frames larger than `max_pixels` are scaled down while they are converted, which costs less than after.
    """

    def __init__(self, address: Address, *, timeouts: Timeouts, max_pixels: int) -> None:
        """Open the source and find its video stream.

        Raises:
            SourceError: it cannot be opened in time, or has no video.
        """
        self._address = address
        self._max_pixels = max_pixels
        self._container = self._open(timeouts)
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{shown(address)}: no video stream in it")
        self._stream: VideoStream = self._container.streams.video[0]
        # Many cameras share few cores: more decoder threads per camera only add delay and memory.
        self._stream.codec_context.thread_count = 1

    @property
    def fps(self) -> float | None:
        """The container's mean frames per second, None when it does not say."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else None

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        bad_packets = 0
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.InvalidDataError as error:
                bad_packets += 1
                if bad_packets > MAX_BAD_PACKETS_IN_A_ROW:
                    raise self._lost(error) from None
                yield Unreadable(f"{shown(self._address)}: {error.strerror}")
                continue
            except (av.error.FFmpegError, EOFError) as error:
                raise self._lost(error) from None
            for frame in frames:
                bad_packets = 0
                yield self._convert(frame)

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def _open(self, timeouts: Timeouts) -> InputContainer:
        name, container_format, options = _open_arguments(self._address, timeouts)
        try:
            return av.open(
                name,
                "r",
                format=container_format,
                options=options,
                timeout=(timeouts.open_s, timeouts.read_s),
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._lost(error) from None

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        try:
            yield from self._container.demux(self._stream)
        except (av.error.FFmpegError, OSError) as error:
            raise self._lost(error) from None

    def _convert(self, frame: VideoFrame) -> Captured | Unreadable:
        width, height = fit_within(frame.width, frame.height, self._max_pixels)
        try:
            pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
        except (av.error.FFmpegError, ValueError) as error:
            return Unreadable(self._line(error))
        return Captured(RawImage(pixels.astype(np.uint8, copy=False)))

    def _lost(self, error: Exception) -> SourceError:
        return SourceError(self._line(error))

    def _line(self, error: Exception) -> str:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(self._address, StreamUrl):
            text = without_secrets(text, self._address.url)
        return f"{shown(self._address)}: {text}"


def _open_arguments(address: Address, timeouts: Timeouts) -> tuple[str, str | None, dict[str, str]]:
    match address:
        case VideoFile(path):
            return str(path), None, {}
        case Webcam(device):
            return device, _WEBCAM_FORMATS.get(sys.platform, "v4l2"), {}
        case StreamUrl(url):
            return url, None, _stream_options(url, timeouts)
        case _:
            raise ValueError(f"{shown(address)} is no video source")


def _stream_options(url: str, timeouts: Timeouts) -> dict[str, str]:
    # Looking for the streams may read a second ahead (FFmpeg's default is five). FFmpeg's `nobuffer` would
    # throw that second away, and with it the first key frame.
    options: dict[str, Any] = {"flags": "low_delay", "analyzeduration": 1_000_000}
    if url.lower().startswith(("rtsp://", "rtsps://")):
        # Over UDP a lost packet damages the picture up to the next key frame, and routers block it.
        options |= {"rtsp_transport": "tcp", "allowed_media_types": "video"}
        options["timeout"] = int(timeouts.read_s * 1e6)
    return {key: str(value) for key, value in options.items()}
