"""What may be shown of a camera's address: never a user, a password or a token.

Every log line, metric label and error message about an address goes through `shown_url` or `hidden_before_at`.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

MASK: Final = "***"
_ASSIGNMENT = re.compile(r"(?P<key>[A-Za-z][\w-]*)=(?P<value>[^&;/?#]*)")
_MIN_SECRET_CHARS = 3
"""Shorter parts (a user named "a") would blank out ordinary words; the whole address is replaced anyway."""


def shown_url(url: str) -> str:
    """Return `url` with user, password, query, fragment and every `key=value` of its path masked.

    Cameras take passwords in all of these places (`/user=admin_password=x_channel=1`, `?token=x`), and people
    write passwords with unescaped `@` and `/`, so everything up to the last `@` goes. What is left is scheme,
    host, port and the plain part of the path; an address that is no URL at all becomes the mask.
    """
    scheme, _, rest = url.partition("://")
    _, at, place = rest.rpartition("@")
    try:
        parts = urlsplit(f"{scheme}://{place}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return MASK
    if ":" in host:
        host = f"[{host}]"
    location = f"{host}:{port}" if port is not None else host
    path = _ASSIGNMENT.sub(rf"\g<key>={MASK}", parts.path)
    hidden_user = f"{MASK}@" if at else ""
    return f"{scheme}://{hidden_user}{location}{path}{f'?{MASK}' if parts.query else ''}"


def without_secrets(text: str, url: str) -> str:
    """Return a library's message with `url`, its parts that may be secret, and their decoded forms masked."""
    text = text.replace(url, shown_url(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _secrets(url: str) -> set[str]:
    _, _, rest = url.partition("://")
    user_info, _, place = rest.rpartition("@")
    path, _, query = place.partition("?")
    found = {user_info, *user_info.split(":", 1), query}
    found |= {match["value"] for match in _ASSIGNMENT.finditer(f"{path}&{query}")}
    return {form for part in found for form in (part, unquote(part)) if len(form) >= _MIN_SECRET_CHARS}


def hidden_before_at(text: str) -> str:
    """Return `text` with everything before its last `@` masked, as it may be a mistyped URL with a password."""
    return f"{MASK}@{text.rpartition('@')[2]}" if "@" in text else text
