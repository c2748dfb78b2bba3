"""FFmpeg's errors in words that name the thing: its own are riddles ("Invalid data found" for a mute camera)."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import av.error

from producers.trouble import CameraError, Trouble, tls_context, tls_words

_KINDS: Final = (
    (
        (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError),
        Trouble.LOGIN_REFUSED,
        "the camera refuses the login: user or password are wrong or missing",
    ),
    (av.error.HTTPNotFoundError, Trouble.NOT_FOUND, "the camera answers that there is no such path"),
    (
        av.error.HTTPOtherClientError,
        Trouble.NO_VIDEO,
        "no video stream that the camera would play",  # RTSP's answer where there is only sound
    ),
    (
        (av.error.HTTPError, av.error.HTTPClientError, av.error.HTTPServerError),
        Trouble.OTHER,
        "the camera answers with an error of its own",
    ),
    (av.error.ProtocolNotFoundError, Trouble.OTHER, "this installation does not speak the protocol"),
    (av.error.EOFError, Trouble.ENDED, "the stream ended"),
)
_UNREADABLE: Final = (
    av.error.InvalidDataError,
    av.error.PatchWelcomeError,
    av.error.DecoderNotFoundError,
    av.error.DemuxerNotFoundError,
)
_CODES: Final = {
    **dict.fromkeys(
        (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN),
        (Trouble.UNREACHABLE, ""),
    ),
    **dict.fromkeys(
        (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED), (Trouble.ENDED, "the connection was closed")
    ),
    **dict.fromkeys((errno.ENOENT, errno.ENODEV, errno.ENXIO), (Trouble.NOT_FOUND, "")),
    errno.EINVAL: (Trouble.UNREADABLE, "no video that can be read"),  # of a format that is not allowed
    errno.EPROTONOSUPPORT: (
        Trouble.TRANSPORT,
        "the camera does not send RTSP this way; add ?transport=udp (or tcp) to the source",
    ),
}
"""System error codes; without words the system's own are used."""
_DEFAULT_PORTS: Final = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "http": 80, "https": 443}
_ENCRYPTED: Final = frozenset({"rtsps", "rtmps", "https"})
_PROBE_S: Final = 3.0
_PATIENCE: Final = 0.95
"""Share of a time limit from which a failure is called its passing: FFmpeg names it in many ways."""


def explained(
    shown: str,
    error: Exception,
    *,
    waited_s: float,
    limits_s: Sequence[float],
    opening: bool,
    url: str = "",
    verify_tls: bool = False,
) -> CameraError:
    """Return the error by name.

    Args:
        shown: the source without credentials.
        error: what FFmpeg or the system raised.
        waited_s: how long the failed call took.
        limits_s: the time limits that were in force for it.
        opening: whether the source was being opened, not read.
        url: where the source is on a network, to ask the network itself; never shown.
        verify_tls: whether its certificate had to be signed by a known authority.
    """
    trouble, words = _named(error, opening=opening)
    passed_s = [limit_s for limit_s in limits_s if waited_s >= _PATIENCE * limit_s]
    if isinstance(error, av.error.ExitError | TimeoutError) or passed_s:
        limit_s = max(passed_s, default=min(limits_s))
        trouble = Trouble.NO_ANSWER if opening else Trouble.FROZEN
        words = f"no {'answer within' if opening else 'picture for'} {limit_s:g} s"
    if opening and url and trouble in {Trouble.OTHER, Trouble.UNREADABLE, Trouble.UNREACHABLE}:
        found = _asked_network(url, verify_tls=verify_tls)
        trouble, words = found if found is not None else (trouble, words)
    return CameraError(trouble, f"{shown}: {words}")


def _named(error: Exception, *, opening: bool) -> tuple[Trouble, str]:
    for kinds, trouble, words in _KINDS:
        if isinstance(error, kinds):
            return trouble, words
    if isinstance(error, _UNREADABLE):
        return Trouble.UNREADABLE, "no video that can be read" if opening else "its pictures do not decode"
    trouble, words = _CODES.get(getattr(error, "errno", 0), (Trouble.OTHER, ""))
    return trouble, words or _reason(error)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _asked_network(url: str, *, verify_tls: bool) -> tuple[Trouble, str] | None:
    """Return what resolving the host, connecting and TLS say; None when all work or say nothing."""
    place = _place(url)
    if place is None:
        return None
    scheme, host, port = place
    try:
        with socket.create_connection((host, port), timeout=_PROBE_S) as connection:
            if scheme in _ENCRYPTED:
                tls_context(verify=verify_tls).wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLError as error:
        return Trouble.TLS, tls_words(error)
    except socket.gaierror:
        return Trouble.HOST_UNKNOWN, f"no address for the host {host!r}"
    except TimeoutError:
        return Trouble.UNREACHABLE, f"cannot be reached: port {port} does not answer"
    except OSError as error:
        return Trouble.UNREACHABLE, f"cannot be reached: {error.strerror}"
    return None


def _place(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port; None where one of them is not told."""
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
        port = parts.port or _DEFAULT_PORTS.get(scheme)
    except ValueError:
        return None
    return (scheme, host, port) if host and port is not None else None
