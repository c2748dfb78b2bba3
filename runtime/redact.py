"""Texts without the credentials of the URLs in them."""

from __future__ import annotations

import re

_USER_INFO = re.compile(r"(?<=://)\S*@")
_QUERY_SECRET = re.compile(
    r"(?i)(?<=[?&;])(usr|user(?:name)?"
    r"|[\w.%\[\]-]{0,64}?(?:auth|cred|key|login|pass|pwd|secret|sig|token)[\w.%\[\]-]{0,64})=[^&\s]*"
)
_HIDDEN = "***"


def redact(text: str) -> str:
    """`text` without user names, passwords and tokens of the URLs in it.

    Everything between `://` and the last `@` before a space goes: passwords are often written with unescaped
    `@`, `/` and quotes, and hiding too much is the safe side.
    """
    return _QUERY_SECRET.sub(rf"\1={_HIDDEN}", _USER_INFO.sub(f"{_HIDDEN}@", text))


def redact_url(url: str) -> str:
    """`url`, which is one URL or a text without any, shown by the same rule; a space does not end its password."""
    scheme, separator, rest = url.partition("://")
    _, at, place = rest.rpartition("@")
    return redact(f"{scheme}://{_HIDDEN}@{place}" if separator and at else url)
