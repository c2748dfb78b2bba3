"""A camera over HTTP: a picture a request, pictures without end (MJPEG), or a video that FFmpeg plays.

Which of them it is, its first answer says. Pictures travel byte for byte, as the camera made them.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
import urllib.response
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, ClassVar, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from imaging.header import format_of
from producers.credentials import shown_url
from producers.pacing import LivePace, Pace
from producers.sources import stream
from producers.sources.image_files import read_image
from producers.sources.source import Captured, OpenOptions, Session, Unreadable
from producers.sources.stream import StreamUrl
from producers.trouble import CameraError, Trouble, tls_context, tls_words
from schemas.errors import DecodeError

FORM: Final = "http://… (a picture a request, MJPEG, HLS or a video)"
MAX_PICTURE_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_HEAD_BYTES: Final = 4096
_PLAYLISTS: Final = frozenset(
    {"application/vnd.apple.mpegurl", "application/x-mpegurl", "application/dash+xml"}
)


@dataclass(frozen=True, slots=True)
class HttpCamera:
    """A camera over HTTP. `url` holds credentials and is in no repr; `shown` is safe to show."""

    live: ClassVar[bool] = True
    self_paced: ClassVar[bool] = True

    url: str = field(repr=False)
    shown: str

    def open(self, options: OpenOptions) -> Session:
        """Return the session that the camera's first answer asks for.

        Raises:
            CameraError: it does not answer, refuses, or answers with something else than pictures.
        """
        video = StreamUrl(self.url, self.shown)
        if stream.names_playlist(self.url):
            return video.open(options)
        answer = Asker(self, options).ask()
        try:
            kind = answer.headers.get_content_type()
            if kind == "multipart/x-mixed-replace":
                return MjpegSession(self, answer, options)
            first = answer.read(_HEAD_BYTES)
            if kind.startswith("image/") or format_of(first) is not None:
                answer.close()
                return SnapshotSession(self, options)
        except BaseException:
            answer.close()
            raise
        answer.close()
        if kind.startswith("text/"):
            raise CameraError(
                Trouble.NO_VIDEO,
                f"{self.shown}: answers with text ({kind}), no pictures; perhaps a login page",
            )
        if kind in _PLAYLISTS:
            raise CameraError(
                Trouble.NO_VIDEO,
                f"{self.shown}: answers with a playlist; the URL of one must end in .m3u8 or .mpd",
            )
        return video.open(options)


def claims(text: str) -> bool:
    """Return whether `text` is written like a URL of the web."""
    return text.lower().startswith(("http://", "https://"))


def parse(text: str) -> HttpCamera:
    """Return the camera; `SettingsError` where the URL has no host or raw characters in its password."""
    return HttpCamera(stream.checked(text), shown_url(text))


class Asker:
    """Sends requests to one camera, with its user and password, and tells failures by name."""

    def __init__(self, camera: HttpCamera, options: OpenOptions) -> None:
        self._shown = camera.shown
        self._timeout_s = min(options.open_timeout_s, options.read_timeout_s)
        parts = urlsplit(camera.url)
        place = parts.netloc.rpartition("@")[2]
        self._url = urlunsplit((parts.scheme, place, parts.path or "/", parts.query, ""))
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        if parts.username is not None:
            user, password = unquote(parts.username), unquote(parts.password or "")
            passwords.add_password(None, self._url, user, password)
        context = tls_context(verify=options.verify_tls)
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _LetGo(),
            urllib.request.HTTPBasicAuthHandler(passwords),
            urllib.request.HTTPDigestAuthHandler(passwords),
            _SameHost(parts.hostname or ""),
        ):
            self._opener.add_handler(handler)

    def ask(self) -> http.client.HTTPResponse:
        """Return the answer, whose body is not read yet.

        Raises:
            CameraError: there is none, or it is an error.
        """
        began_s = time.monotonic()
        try:
            answer: http.client.HTTPResponse = self._opener.open(self._url, timeout=self._timeout_s)
        except (OSError, http.client.HTTPException, ValueError, CameraError) as error:
            raise self.explained(error, time.monotonic() - began_s) from None
        return answer

    def explained(self, error: Exception, waited_s: float = 0.0) -> CameraError:
        """Return the failure by name, without what it says of the URL."""
        trouble, words = self._named(error, waited_s)
        return CameraError(trouble, f"{self._shown}: {words}")

    def _named(self, error: Exception, waited_s: float) -> tuple[Trouble, str]:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            return _refused(error.code)
        reason = getattr(error, "reason", None)
        cause = reason if isinstance(reason, Exception) else error
        if isinstance(cause, TimeoutError) or waited_s >= self._timeout_s:
            return Trouble.NO_ANSWER, f"no answer within {self._timeout_s:g} s"
        match cause:
            case CameraError(trouble=trouble):
                found = trouble, str(cause)
            case socket.gaierror():
                found = Trouble.HOST_UNKNOWN, f"no address for the host {urlsplit(self._url).hostname!r}"
            case ssl.SSLError():
                found = Trouble.TLS, tls_words(cause)
            case ConnectionResetError() | BrokenPipeError() | http.client.HTTPException():
                found = Trouble.ENDED, "the camera closed the connection"
            case _:
                words = getattr(cause, "strerror", None) or type(cause).__name__
                found = Trouble.UNREACHABLE, f"cannot be reached: {words}"
        return found


def _refused(status: int) -> tuple[Trouble, str]:
    if status in {401, 403}:
        return Trouble.LOGIN_REFUSED, "the camera refuses the login: user or password are wrong or missing"
    words = f"the camera answers {status} {http.client.responses.get(status, '')}".rstrip()
    return Trouble.NOT_FOUND if status in {404, 410} else Trouble.OTHER, words


class _LetGo(urllib.request.BaseHandler):
    """Lets go of a refused connection before a login handler tries again."""

    handler_order = 0  # before the login handlers

    def http_error_401(
        self,
        req: urllib.request.Request,  # noqa: ARG002 - urllib calls it so
        fp: IO[bytes],
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: http.client.HTTPMessage,  # noqa: ARG002
    ) -> None:
        fp.close()


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the camera's host only: its answer cannot lead to other machines."""

    def __init__(self, host: str) -> None:
        self._host = host

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        parts = urlsplit(newurl)
        if parts.scheme not in {"http", "https"} or parts.hostname != self._host:
            fp.close()
            raise CameraError(
                Trouble.OTHER, f"it leads to another host, {parts.hostname!r}: name that one instead"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class SnapshotSession:
    """A camera that gives one picture a request: asked at the rate that was wanted."""

    def __init__(self, camera: HttpCamera, options: OpenOptions) -> None:
        self._asker = Asker(camera, options)
        self._shown = camera.shown
        self._options = options

    def pace(self, fps: float | None) -> Pace:  # noqa: ARG002 - the requests keep the rate
        """Every picture that was asked for is kept."""
        return LivePace(None)

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        period_s = 0.0 if self._options.fps is None else 1 / self._options.fps
        due_s = time.monotonic()
        while not self._options.pause(max(0.0, due_s - time.monotonic())):
            due_s = max(due_s + period_s, time.monotonic())
            try:
                with self._asker.ask() as answer:
                    data = answer.read(MAX_PICTURE_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise self._asker.explained(error) from None
            yield _picture(self._shown, data, self._options.max_pixels)

    def close(self) -> None:
        """Nothing is held open between pictures."""


class MjpegSession:
    """A camera that sends one JPEG after another in one answer (multipart/x-mixed-replace)."""

    def __init__(self, camera: HttpCamera, answer: http.client.HTTPResponse, options: OpenOptions) -> None:
        self._asker = Asker(camera, options)
        self._shown = camera.shown
        self._answer = answer
        self._options = options
        self._parts = Multipart(str(answer.headers.get_param("boundary", "")))

    def pace(self, fps: float | None) -> Pace:
        """Pictures leave as they arrive: they carry no time."""
        return LivePace(fps)

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        while not self._options.pause(0):
            began_s = time.monotonic()
            try:
                data = self._answer.read1(_CHUNK_BYTES)
            except TimeoutError:
                waited_s = time.monotonic() - began_s
                raise CameraError(Trouble.FROZEN, f"{self._shown}: no picture for {waited_s:.0f} s") from None
            except (OSError, http.client.HTTPException) as error:
                raise self._asker.explained(error) from None
            if not data:
                return
            for body in self._parts.feed(data):
                yield _picture(self._shown, body, self._options.max_pixels)

    def close(self) -> None:
        """Close the connection."""
        self._answer.close()


class Multipart:
    """Cuts an endless multipart answer into its bodies, with or without Content-Length, whatever the line ends."""

    def __init__(self, boundary: str) -> None:
        # Some cameras write the two dashes into the header too.
        self._delimiter = b"--" + boundary.strip('" ').lstrip("-").encode("latin-1", "replace")
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give the bodies that `data` completes.

        Raises:
            CameraError: a picture without end.
        """
        self._buffer += data
        while (found := self._first_body()) is not None:
            body, self._buffer = found
            if body:
                yield body
        if len(self._buffer) > MAX_PICTURE_BYTES:
            raise CameraError(Trouble.UNREADABLE, f"a picture of more than {MAX_PICTURE_BYTES} bytes")

    def _first_body(self) -> tuple[bytes, bytes] | None:
        """Return the first whole body and what follows it."""
        begin = self._buffer.find(self._delimiter)
        head = _HEAD.search(self._buffer, begin + len(self._delimiter)) if begin >= 0 else None
        if head is None:
            return None
        length = _LENGTH.search(self._buffer, begin, head.end())
        if length is not None:
            end = head.end() + int(length[1])
            return (self._buffer[head.end() : end], self._buffer[end:]) if len(self._buffer) >= end else None
        end = self._buffer.find(self._delimiter, head.end())
        return None if end < 0 else (self._buffer[head.end() : end].rstrip(b"\r\n"), self._buffer[end:])


_HEAD = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"(?i)content-length:\s*(\d{1,9})\b")


def _picture(shown: str, data: bytes, max_pixels: int) -> Captured | Unreadable:
    try:
        return Captured(read_image(data, max_pixels=max_pixels))
    except DecodeError as error:
        return Unreadable(f"{shown}: {error}")
    except Exception as error:  # noqa: BLE001 - decoders of damaged pictures raise anything
        return Unreadable(f"{shown}: {type(error).__name__}")
