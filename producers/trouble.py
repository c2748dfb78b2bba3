"""What is wrong with a camera, by name: for the log, the metrics and `saccade cameras`."""

from __future__ import annotations

import ssl
from enum import StrEnum

from schemas.errors import SourceError


class Trouble(StrEnum):
    """Why a camera gives no pictures. docs/cameras.md says what to do about each."""

    LOGIN_REFUSED = "login_refused"
    """User or password are wrong or missing: tried again at the longest pause only, as cameras lock out."""
    NO_ANSWER = "no_answer"
    """It takes the connection, or swallows it, and says nothing in time."""
    HOST_UNKNOWN = "host_unknown"
    """No address for the host's name."""
    UNREACHABLE = "unreachable"
    """No way to the host, or nothing listens at its port."""
    TLS = "tls"
    """No encrypted connection: it speaks no TLS at this port, or its certificate is not trusted."""
    NOT_FOUND = "not_found"
    """The camera knows no such path, or the file or device is gone."""
    TRANSPORT = "transport"
    """The camera offers another way of sending than the one that was asked for."""
    NO_VIDEO = "no_video"
    """It answers, but with no pictures: sound only, a web page, an empty file."""
    FROZEN = "frozen"
    """It gave pictures, and then no new one for too long: none at all, or the same again and again."""
    UNREADABLE = "unreadable"
    """What it gives cannot be decoded."""
    TOO_LARGE = "too_large"
    """Its pictures have more pixels than producer.max_frame_pixels."""
    ENDED = "ended"
    """The stream ended, or the camera closed the connection."""
    DISK_FULL = "disk_full"
    """The state folder takes no new sequence numbers at present."""
    OTHER = "other"
    """Something else; the message says what."""


class CameraError(SourceError):
    """A camera source cannot be opened, was lost, or cannot be understood; `trouble` names the kind."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.trouble = trouble

    def __reduce__(self) -> tuple[type[CameraError], tuple[Trouble, str]]:
        return (type(self), (self.trouble, str(self)))


def tls_context(*, verify: bool) -> ssl.SSLContext:
    """Return how TLS is spoken with cameras: most sign their certificates themselves."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def tls_words(error: ssl.SSLError) -> str:
    """Return what a failed handshake means; the library's words name its own functions and codes."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}), and producer.verify_tls is set"
    return "no encrypted connection: it speaks no TLS, or none that is known here, at this port"


def trouble_of(error: BaseException) -> Trouble:
    """Return the name of what went wrong, OTHER for errors that carry none."""
    return error.trouble if isinstance(error, CameraError) else Trouble.OTHER
