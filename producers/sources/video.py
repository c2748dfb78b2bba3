"""An open video, whatever gives it: file, pipe, network stream or webcam, through PyAV (FFmpeg).

Blocking throughout. FFmpeg asks PyAV's time-outs while it does I/O, but neither name resolution nor a
device's read does, so whoever iterates needs a deadline of its own (`producers.capture`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import av
import av.error
from av.stream import Disposition

from producers.pacing import FILE_MAX_GAP_S, STREAM_MAX_GAP_S, LivePace, Pace, Playback, PlaySchedule
from producers.sources.ffmpeg_trouble import explained
from producers.sources.source import Captured, OpenOptions, RawImage, Source, Unreadable
from producers.sources.video_pixels import shown_pixels
from producers.trouble import CameraError, Trouble

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_BAD_PACKETS_IN_A_ROW: Final = 250
"""Ten seconds of a 25 frames/s stream: damage that long is a lost stream, shorter is a glitch."""
FILE_FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,vvc,obu,av1,ivf,"
    "m4v,mjpeg,mxf,nut,gif,apng,y4m,yuv4mpegpipe,dv,rm,wtv,wmv,vob,h263,h261,vc1,swf,mpjpeg"
)
"""What a file may be: no playlist and no other text that names further files."""
_PULLED: Final = frozenset({"hls", "dash"})
"""Streams that come as files of some seconds each: a burst of pictures, then nothing."""
_TS_DISCONT: Final = 0x0200
"""FFmpeg's flag of formats whose times may jump (transport streams, RTP)."""
_PIXEL_SLACK: Final = 1.1
"""Decoders count whole blocks: 1920x1080 is coded as 1920x1088."""
_NO_PLAYER_SHOWS: Final = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


class VideoSession:
    """One open video source; every picture as a player shows it, in RGB."""

    def __init__(
        self,
        source: Source,
        name: str | BinaryIO,
        options: OpenOptions,
        *,
        container: str | None = None,
        secret_url: str = "",
        formats: str = FILE_FORMATS,
        protocols: str = "file",
        ffmpeg_options: Mapping[str, str] | None = None,
        modified_ns: int | None = None,
    ) -> None:
        """Open the source and find the video that a player would show.

        Args:
            source: whose session this is.
            name: what FFmpeg opens.
            options: time limits and the most pixels.
            container: FFmpeg's name of a device format; None finds the format out.
            secret_url: where a network stream is; never shown.
            formats, protocols: all that FFmpeg may use, also for what the source refers to.
            ffmpeg_options: further options of FFmpeg.
            modified_ns: when a file was last written (UTC), for pictures without a time of their own.

        Raises:
            CameraError: it cannot be opened in time, has no video, or one with too many pixels.
        """
        self._source = source
        self._options = options
        self._url = secret_url
        self._modified_ns = modified_ns
        self._max_pixels = int(options.max_pixels * _PIXEL_SLACK)
        # Whatever decodes, also while FFmpeg looks at the streams, allocates no more than this.
        self._limit = {"max_pixels": str(self._max_pixels)}
        chosen = {**(ffmpeg_options or {}), **self._limit}
        if container is None:
            chosen |= {"format_whitelist": formats, "protocol_whitelist": protocols}
        self._container = self._opened(name, container, chosen)
        try:
            self._stream = self._chosen_stream()
        except BaseException:
            self._container.close()
            raise

    def pace(self, fps: float | None) -> Pace:
        """Live cameras leave as they arrive; files, and streams that come in bursts, are played in real time."""
        name = self._container.format.name
        if self._source.self_paced and _PULLED.isdisjoint(name.split(",")):
            return LivePace(fps)
        if self._source.self_paced:
            return Playback(fps, max_gap_s=STREAM_MAX_GAP_S, catch_up_s=0.0)
        if fps is None:
            return PlaySchedule(None, may_drop=False)
        jumps = bool(self._container.format.flags & _TS_DISCONT) and "mov" not in name
        return Playback(fps, max_gap_s=STREAM_MAX_GAP_S if jumps else FILE_MAX_GAP_S)

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        bad_packets = 0
        for packet in self._packets():
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, EOFError, ValueError) as error:
                # Whatever a decoder says of one packet, the next may be whole.
                bad_packets += 1
                if bad_packets > MAX_BAD_PACKETS_IN_A_ROW:
                    raise self._explained(error, 0.0, opening=False) from None
                yield Unreadable(f"{self._source.shown}: {getattr(error, 'strerror', None) or error}")
                continue
            for frame in frames:
                bad_packets = 0
                yield self._captured(frame)

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def _opened(self, name: str | BinaryIO, container: str | None, chosen: dict[str, str]) -> InputContainer:
        timeouts = (self._options.open_timeout_s, self._options.read_timeout_s)
        began_s = time.monotonic()
        try:
            return av.open(name, "r", format=container, options=chosen, timeout=timeouts)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._explained(error, time.monotonic() - began_s, opening=True) from None

    def _chosen_stream(self) -> VideoStream:
        streams = [
            stream for stream in self._container.streams.video if not stream.disposition & _NO_PLAYER_SHOWS
        ]
        if not streams:
            what = "only a cover picture" if self._container.streams.video else "no video stream"
            raise CameraError(Trouble.NO_VIDEO, f"{self._source.shown}: {what} in it")
        streams = [
            stream for stream in streams if stream.frames != 1
        ] or streams  # a cover that is not marked
        best = self._container.streams.best("video")
        stream = best if best in streams else streams[0]
        context = stream.codec_context
        if context is None:
            raise CameraError(Trouble.UNREADABLE, f"{self._source.shown}: no decoder for its video")
        if context.width * context.height > self._max_pixels:
            raise CameraError(
                Trouble.TOO_LARGE,
                f"{self._source.shown}: {context.width}x{context.height} pixels, at most "
                f"{self._options.max_pixels} (producer.max_frame_pixels)",
            )
        context.options = {**context.options, **self._limit}
        # Many cameras share few cores: more decoder threads per camera only add delay and memory.
        context.thread_count = 1
        return stream

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Give the video's packets, the last one of a file empty: it flushes the decoder."""
        # Packets of all streams are asked for. Asked for the video's alone, PyAV would pass over sound by itself,
        # deaf to time-outs and closing, for as long as a camera sends sound without pictures.
        packets = self._container.demux()
        seen_s = time.monotonic()
        while not self._options.pause(0):
            began_s = time.monotonic()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError) as error:
                raise self._explained(error, time.monotonic() - began_s, opening=False) from None
            if packet.stream.index == self._stream.index:
                yield cast("Packet[VideoStream]", packet)
                seen_s = (
                    time.monotonic()
                )  # after the yield: how long the picture was kept is not the camera's doing
            elif self._source.self_paced and time.monotonic() - seen_s > self._options.read_timeout_s:
                waited_s = self._options.read_timeout_s
                raise CameraError(Trouble.FROZEN, f"{self._source.shown}: no picture for {waited_s:g} s")

    def _captured(self, frame: VideoFrame) -> Captured | Unreadable:
        if frame.width * frame.height > self._max_pixels:
            return Unreadable(f"{self._source.shown}: {frame.width}x{frame.height} pixels are too many")
        try:
            pixels = shown_pixels(frame, self._stream.sample_aspect_ratio)
        except (av.error.FFmpegError, ValueError) as error:
            return Unreadable(f"{self._source.shown}: {getattr(error, 'strerror', None) or error}")
        taken_ns = self._taken_ns(frame.time) if self._options.own_time else None
        return Captured(RawImage(pixels), time_s=frame.time, taken_ns=taken_ns)

    def _taken_ns(self, time_s: float | None) -> int | None:
        """When a recording says that it showed this picture: its start, or what its last change leads to."""
        container = self._container
        try:
            began = datetime.fromisoformat(container.metadata["creation_time"])
            began = began if began.tzinfo else began.replace(tzinfo=UTC)
            start_ns = int(began.timestamp()) * 10**9
        except (KeyError, ValueError, OverflowError):
            if self._modified_ns is None:
                return None
            start_ns = self._modified_ns - (container.duration or 0) * 1000
        first_s = float((self._stream.start_time or 0) * (self._stream.time_base or 0))
        taken_ns = start_ns + round(((time_s or first_s) - first_s) * 1e9)
        return taken_ns if taken_ns > 0 else None

    def _explained(self, error: Exception, waited_s: float, *, opening: bool) -> CameraError:
        options = self._options
        limits_s = [options.open_timeout_s, options.read_timeout_s] if opening else [options.read_timeout_s]
        return explained(
            self._source.shown,
            error,
            waited_s=waited_s,
            limits_s=limits_s,
            opening=opening,
            url=self._url,
            verify_tls=options.verify_tls,
        )
