"""A network stream: `rtsp://…` and the other schemes that FFmpeg plays."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from producers.credentials import shown_url
from producers.sources.source import OpenOptions, Session
from producers.sources.video import FILE_FORMATS, VideoSession
from schemas.errors import SettingsError

FORM: Final = "rtsp://… or another stream URL"
_RTSP: Final = ("rtsp,sdp,rtp", "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https")
_HTTP: Final = (FILE_FORMATS, "http,https,tcp,tls,httpproxy")
_PLAYLIST: Final = (f"hls,dash,webvtt,aac,mp3,{FILE_FORMATS}", f"{_HTTP[1]},crypto")
_ALLOWED: Final = {
    "rtsp": _RTSP,
    "rtsps": _RTSP,
    "rtmp": ("flv,live_flv", "rtmp,rtmpt,tcp"),
    "rtmps": ("flv,live_flv", "rtmps,tcp,tls"),
    "http": _HTTP,
    "https": _HTTP,
    "tcp": (FILE_FORMATS, "tcp"),
    "udp": (FILE_FORMATS, "udp,rtp"),
    "srt": (FILE_FORMATS, "srt"),
}
"""Scheme → formats and protocols that FFmpeg may use: what a camera answers cannot lead elsewhere."""
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class StreamUrl:
    """A network stream. `url` holds credentials and is in no repr; `shown` is safe to show."""

    url: str = field(repr=False)
    shown: str

    @property
    def live(self) -> bool:
        """Always."""
        return True

    @property
    def self_paced(self) -> bool:
        """Always."""
        return True

    def open(self, options: OpenOptions) -> Session:
        """Return an open session; `SourceError` where the camera does not answer or gives no video."""
        formats, protocols = allowed(self.url)
        return VideoSession(
            self,
            self.url,
            options,
            secret_url=self.url,
            formats=formats,
            protocols=protocols,
            ffmpeg_options=ffmpeg_options(self.url, options),
        )


def claims(text: str) -> bool:
    """Return whether `text` is written like a URL."""
    return _SCHEME.match(text) is not None


def parse(text: str) -> StreamUrl:
    """Return the stream; `SettingsError` where the scheme is unknown or the host missing."""
    match = _SCHEME.match(text)
    scheme = match["scheme"].lower() if match else ""
    safe = shown_url(text)
    if scheme not in _ALLOWED:
        raise SettingsError(f"source {safe}: scheme {scheme!r} is none of {', '.join(sorted(_ALLOWED))}")
    place = safe.partition("://")[2]
    if not place or place.startswith(("/", ":", "?")):
        raise SettingsError(f"source {safe}: this URL has no valid host and port")
    return StreamUrl(url=text, shown=safe)


def allowed(url: str) -> tuple[str, str]:
    """Return the formats and the protocols that may be used for `url`; playlists only where it names one."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme in {"http", "https"} and parts.path.lower().endswith((".m3u8", ".m3u", ".mpd")):
        return _PLAYLIST
    return _ALLOWED[scheme]


def ffmpeg_options(url: str, options: OpenOptions) -> dict[str, str]:
    """Return how FFmpeg is to open `url`."""
    # Looking for the streams may read a second ahead (FFmpeg's default is five). FFmpeg's `nobuffer` would
    # throw that second away, and with it the first key frame.
    chosen: dict[str, Any] = {"flags": "low_delay", "analyzeduration": 1_000_000}
    if url.lower().startswith(("rtsp://", "rtsps://")):
        # Over UDP a lost packet damages the picture up to the next key frame, and routers block it.
        chosen |= {"rtsp_transport": "tcp", "allowed_media_types": "video"}
        chosen["timeout"] = int(options.read_timeout_s * 1e6)
    return {key: str(value) for key, value in chosen.items()}
