"""A network stream: `rtsp://…` and the other schemes that FFmpeg plays."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import ClassVar, Final
from urllib.parse import parse_qsl, quote, urlsplit

from producers.credentials import MASK, shown_url
from producers.sources.source import OpenOptions, Session
from producers.sources.video import FILE_FORMATS, VideoSession
from schemas.errors import SettingsError

FORM: Final = "rtsp://…[?transport=udp] or another stream URL"
TRANSPORTS: Final = {"tcp": "tcp", "udp": "udp", "multicast": "udp_multicast", "http": "http"}
"""What a person writes → FFmpeg's name of it."""
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
_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_RAW: Final = re.compile(r"[@\[\] ]|%(?![0-9A-Fa-f]{2})")
_PLACE: Final = re.compile(r"(\[[0-9A-Fa-f:.]+(%25[\w.-]+)?\]|[^:@\[\]\s]+)(:(?P<port>\d{1,5})?)?")
"""A host and perhaps a port."""
_MAX_PORT: Final = 65_535
_UNWRITTEN: Final = re.compile(r"[^!-~]")
"""What no URL holds as it is: spaces, and letters of other alphabets."""


@dataclass(frozen=True, slots=True)
class StreamUrl:
    """A network stream. `url` holds credentials and is in no repr; `shown` is safe to show.

    `transport` is one of TRANSPORTS, or empty for the setting.
    """

    live: ClassVar[bool] = True
    self_paced: ClassVar[bool] = True

    url: str = field(repr=False)
    shown: str
    transport: str = ""

    def open(self, options: OpenOptions) -> Session:
        """Return an open session; `CameraError` where the camera does not answer or gives no video."""
        playlist = names_playlist(self.url)
        formats, protocols = _PLAYLIST if playlist else _ALLOWED[urlsplit(self.url).scheme.lower()]
        transport = self.transport or options.rtsp_transport
        return VideoSession(
            self,
            self.url,
            options,
            secret_url=self.url,
            formats=formats,
            protocols=protocols,
            ffmpeg_options=ffmpeg_options(self.url, transport, options),
        )


def claims(text: str) -> bool:
    """Return whether `text` is written like a URL."""
    return _SCHEME.match(text) is not None


def parse(text: str) -> StreamUrl:
    """Return the stream; `SettingsError` where the URL is wrong."""
    url, transport = _without_transport(checked(text))
    return StreamUrl(url, shown_url(url), transport)


def checked(text: str) -> str:
    """Return the URL when its scheme is known, its host is there and its password is written as URLs want it.

    As browsers do, the scheme is written small, and what a host or path cannot hold as it is, is encoded.

    Raises:
        SettingsError: says what is wrong, and shows neither user nor password.
    """
    scheme, _, rest = text.partition("://")
    if scheme.lower() not in _ALLOWED:
        known = ", ".join(sorted(_ALLOWED))
        raise SettingsError(f"source {shown_url(text)}: scheme {scheme!r} is none of {known}")
    scheme = scheme.lower()
    _check_user_info(scheme, rest)
    authority = _authority(rest)
    user_info, at, place = authority.rpartition("@")
    found = _PLACE.fullmatch(place)
    if found is None or int(found["port"] or 0) > _MAX_PORT:
        hint = f"; an IPv6 address stands in brackets: {scheme}://[::1]/…" if place.count(":") > 1 else ""
        raise SettingsError(f"source {scheme}://…: this URL has no valid host and port{hint}")
    tail = _UNWRITTEN.sub(lambda sign: quote(sign[0]), rest[len(authority) :])
    return f"{scheme}://{user_info}{at}{_ascii_host(scheme, place)}{tail}"


def names_playlist(url: str) -> bool:
    """Return whether the URL of the web ends like a playlist's: only then may one be followed."""
    parts = urlsplit(url)
    return parts.scheme.lower() in {"http", "https"} and parts.path.lower().endswith(
        (".m3u8", ".m3u", ".mpd")
    )


def ffmpeg_options(url: str, transport: str, options: OpenOptions) -> dict[str, str]:
    """Return how FFmpeg is to open `url`."""
    # Looking for the streams may read a second ahead (FFmpeg's default is five). FFmpeg's `nobuffer` would
    # throw that second away, and with it the first key frame.
    chosen = {"flags": "low_delay", "analyzeduration": "1000000"}
    if url.lower().startswith(("rtsp://", "rtsps://")):
        chosen |= {
            "rtsp_transport": TRANSPORTS[transport],
            "allowed_media_types": "video",
            "timeout": str(int(options.read_timeout_s * 1e6)),
        }
    if options.verify_tls:
        chosen |= {"tls_verify": "1", "ca_file": ssl.get_default_verify_paths().cafile or ""}
    return chosen


def _authority(rest: str) -> str:
    """Return user, password, host and port of what follows a URL's scheme."""
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _ascii_host(scheme: str, place: str) -> str:
    try:
        return place if place.isascii() else place.encode("idna").decode()
    except UnicodeError:
        raise SettingsError(f"source {scheme}://…: no host can have this name") from None


def _check_user_info(scheme: str, rest: str) -> None:
    """Return when user and password hold none of the characters that cut a URL elsewhere.

    At most one @ ends user and password, and what follows it is a host. Where this does not hold, a part of the
    password would be taken for the host, the path or the query.
    """
    authority = _authority(rest)
    user_info, at, place = authority.rpartition("@")
    path, _, query = rest[len(authority) :].partition("?")
    sound = _PLACE.fullmatch(place) is not None
    cut = (
        ("@" in rest[len(authority) :] and not sound)  # u:p/w@host: the port is none
        or (at and "@" in path)  # u:p@w/1@host
        or ("@" in query and not path)  # u:p@w?1@host
        or "@" in rest.partition("#")[2]  # u:p#w@host
    )
    if cut or _RAW.search(user_info):
        signs = ", ".join(f"{sign} as {quote(sign, safe='')}" for sign in "@/?#[]%")
        raise SettingsError(
            f"source {scheme}://{MASK}@…: user or password hold a character that ends them in a URL; "
            f"percent-encode it ({signs})"
        )


def _without_transport(url: str) -> tuple[str, str]:
    """Return an RTSP URL without `transport=…`, which is ours, and what it said."""
    if not url.lower().startswith(("rtsp://", "rtsps://")):
        return url, ""
    place, question, query = url.partition("?")
    wanted = dict(parse_qsl(query)).get("transport", "").lower()
    if not question or wanted not in TRANSPORTS:
        return url, ""
    kept = "&".join(part for part in query.split("&") if not part.startswith("transport="))
    return f"{place}?{kept}" if kept else place, wanted
